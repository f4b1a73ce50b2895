/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHM_GUARD_H
#define SHM_GUARD_H

/*
 * Surviving a client that truncates its segment: touching the lost pages raises SIGBUS. The handler
 * puts zero pages in place of the whole mapping and lets the access happen again; whoever owns the
 * mapping finds out by guard_is_hit(). For the executor alone: a library installs no handlers.
 */

#include <stdbool.h>
#include <stddef.h>

/* Installs the handler. n_max: how many mappings may be guarded at a time. -ENOMEM. */
int guard_init(size_t n_max);
void guard_deinit(void);

/* Guards a mapping; returns its number, or -ENOSPC. */
int guard_add(void *base, size_t bytes);
void guard_remove(int number);

/* Has this mapping been lost? */
bool guard_is_hit(int number);
/* How many have been lost so far: a cheap look whether to ask one by one. */
unsigned guard_n_hits(void);

#endif
