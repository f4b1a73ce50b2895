/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_PROGRAM_H
#define TOOLS_PROGRAM_H

/* What was built or installed together with this program. */

#include <stddef.h>

/* The first of the places (absolute, or as seen from our own folder) that there is. -ENOENT. */
int program_find_beside(const char *const *places, size_t n_places, char *ret_path, size_t n);

/*
 * The path of toolringd: what was given, else $TOOLRINGD, else the one beside us, else its bare name,
 * to be looked for in PATH.
 */
void program_find_daemon(const char *given, char *ret_path, size_t n);

#endif
