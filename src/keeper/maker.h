/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KEEPER_MAKER_H
#define KEEPER_MAKER_H

/*
 * The process that makes slots: toolring-slot --maker, with the plan in a sealed file of memory as
 * its descriptor 3 and a SEQPACKET socket, on which backend/local/store.h is spoken, as its 4. It ends
 * by itself once that hangs up and its slots are gone.
 */

#include <stdint.h>
#include <sys/types.h>

struct plan;

struct maker {
	int socket; /* our end; -1: none */
	int pidfd;  /* -1: none */
	pid_t pid;  /* 0: none, or reaped */
};

#define MAKER_NONE ((struct maker){.socket = -1, .pidfd = -1})

/* Starts one: whether it can make slots it says itself (STORE_READY). */
int maker_start(struct maker *m, const char *program, const struct plan *plan);
/* Hangs up, waits so long for its end, then kills it. */
void maker_stop(struct maker *m, uint64_t wait_ns);
/* It has been reaped. */
void maker_reaped(struct maker *m);

#endif
