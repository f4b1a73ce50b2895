/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KEEPER_PLACE_H
#define KEEPER_PLACE_H

/* What toolringd has in the file system: the control socket, and names of segments for a moment. */

#include <stdbool.h>
#include <stddef.h>

/*
 * Makes the directory if it is ours to make, removes what a dead instance left, binds and listens.
 * Returns the descriptor, or -errno with the cause and the remedy in error. -EADDRINUSE: a live
 * instance is there.
 */
int place_listen(const char *path, bool own_directory, bool is_open, char *error, size_t n_error);

/* Removes the directory of a path, if nothing is in it. */
void place_remove_directory(const char *path);

/* Removes the names a killed executor may have left behind in /dev/shm. */
void place_sweep(const char *shm_prefix);

#endif
