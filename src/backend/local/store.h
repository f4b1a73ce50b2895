/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_STORE_H
#define BACKEND_LOCAL_STORE_H

/*
 * What the executor, the keeper and the maker of slots (toolring-slot) say to each other, over
 * SEQPACKET pairs: executor <-> keeper <-> maker. A seat is a place for a slot: a number, which fixes
 * the range of ids and the cgroup. The keeper passes MAKE and DROP on and keeps what comes back.
 *
 *   seat:  empty --MAKE--> making --MADE--> made --DROP, or its init dies--> going --GONE--> empty
 *                             \--FAILED--> empty
 *
 * DROP kills. GONE says that every process of the slot is dead; its cgroup goes at once after. An executor
 * that starts is first told of each seat that is not empty (HAVE: made; GOING: not gone yet), then
 * ALL.
 */

#include <stdint.h>

#include "backend/local/plan.h"

enum store_kind {
	STORE_MAKE = 1, /* executor -> keeper -> maker (there with the slot's end of its socket) */
	STORE_DROP,     /* executor -> keeper */
	STORE_MADE,     /* maker -> keeper (with its pidfd) -> executor (with its control socket) */
	STORE_FAILED,   /* the same way; text says why */
	STORE_GONE,     /* the same way */
	STORE_HAVE,     /* keeper -> executor, with its control socket */
	STORE_GOING,    /* keeper -> executor */
	STORE_ALL,      /* keeper -> executor */
	STORE_READY, /* maker -> keeper: its template stands (FAILED with seat UINT32_MAX: it cannot) */
};

struct store_message {
	uint32_t kind;
	uint32_t seat;
	struct plan_params params; /* MAKE, MADE, HAVE */
	char text[256];            /* FAILED */
};

#endif
