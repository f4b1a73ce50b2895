/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_POOL_H
#define BACKEND_LOCAL_POOL_H

/*
 * Seats: places for slots, of which the keeper has so many. Some are made ahead of need, so that
 * whoever wants one seldom waits; who wants another sort, or comes when none is ready, has one made
 * to order and gets the first that fits.
 */

#include <stdbool.h>
#include <stdint.h>

#include "backend/local/plan.h"
#include "base/list.h"
#include "io/loop.h"

enum local_seat_state {
	LOCAL_SEAT_EMPTY,
	LOCAL_SEAT_FOUND, /* left by an earlier executor; its slot may claim it */
	LOCAL_SEAT_MAKING,
	LOCAL_SEAT_SPARE,
	LOCAL_SEAT_WARM, /* a spare, with its rooms and zygote made ahead */
	LOCAL_SEAT_BOUND,
	LOCAL_SEAT_GOING, /* dropped */
	LOCAL_SEAT_STUCK, /* dropped too long ago: cannot be proven dead */
	LOCAL_N_SEAT_STATES
};

struct local_seat {
	struct list link;      /* among those of its state */
	struct list send_link; /* something is to be said of it when the keeper listens again */
	uint8_t state;         /* enum local_seat_state */
	uint8_t to_send;       /* enum store_kind */
	bool ordered;          /* MAKING, for a wish */
	bool poll_is_old;      /* of a socket that is closed */
	bool is_urgent;        /* GOING, and a call waits for the end of that */
	int control;           /* -1 */
	uint32_t slot;         /* BOUND: to which number */
	uint32_t n_stray;      /* replies that answered nothing */
	uint64_t going_ns;
	struct plan_params params;
	struct loop_op poll;
	struct local_pool *pool;
	void *waiter; /* GOING: who is to be told of the end; NULL */
};

/* Somebody who wants a seat. */
struct local_wish {
	struct list link;
	struct plan_params params;
	bool ordered; /* a seat is being made for it */
};

struct local_pool;

/* May be called from inside the functions below. */
struct local_pool_events {
	/* The wish is fulfilled: the seat is bound and watched. */
	void (*made)(struct local_pool *p, struct local_wish *w, struct local_seat *seat);
	void (*refused)(struct local_pool *p, struct local_wish *w, const char *why);
	/* A bound seat can be read from. */
	void (*readable)(struct local_pool *p, struct local_seat *seat);
	/* The slot of a bound seat is dead; the seat is empty. */
	void (*died)(struct local_pool *p, struct local_seat *seat);
	/* A dropped seat with a waiter is gone, or stuck. */
	void (*ended)(struct local_pool *p, struct local_seat *seat);
};

struct local_pool {
	const struct local_pool_events *events;
	struct loop *loop;
	const struct plan *plan;
	int store;
	uint32_t generation;
	uint32_t n_min;
	uint32_t n_warm;
	uint64_t gone_ns;
	/* By seat, shared with the next executor: 1: made, and never bound. */
	uint32_t *fresh;
	struct local_seat *seats;
	struct list by_state[LOCAL_N_SEAT_STATES];
	uint32_t n_by_state[LOCAL_N_SEAT_STATES];
	struct list wishes;
	uint32_t n_wishes;
	uint32_t n_unordered;
	uint32_t n_urgent;
	struct list unsent;
	struct loop_op store_op;
	struct timer send_timer;
	struct timer gone_timer;
	struct timer shrink_timer;
	struct timer make_timer; /* set: making ahead failed a moment ago */
	bool found_all;          /* what an earlier executor left is known */
	bool stopped;
	bool failing; /* the last that was made was not */
	uint64_t n_made_total;
	uint64_t n_failed_total;
	uint64_t n_stuck_total;
	char failure[128]; /* the last one */
};

/* Sets up all but events, loop, plan, store, generation, n_min, n_warm, gone_ns and fresh. */
int local_pool_init(struct local_pool *p);
void local_pool_deinit(struct local_pool *p);
/* Learns what an earlier executor left, and begins to make. */
int local_pool_start(struct local_pool *p);
/* No more is made. all: every slot is dropped. */
void local_pool_stop(struct local_pool *p, bool all);

/* Wants a seat made to w->params: events->made or refused will say, maybe at once. */
void local_pool_want(struct local_pool *p, struct local_wish *w);
void local_pool_unwant(struct local_pool *p, struct local_wish *w);
/* A seat that was found: bound and watched again. NULL: it is gone. */
struct local_seat *local_pool_claim(struct local_pool *p, uint32_t seat);
/* Those that nobody claimed are dropped. */
void local_pool_drop_unclaimed(struct local_pool *p);
/* Kills what is in it. waiter: passed to events->ended through the seat; NULL: nobody waits. */
void local_pool_drop(struct local_pool *p, struct local_seat *seat, void *waiter);
/* The same for one whose end a call waits for: nothing is made ahead meanwhile. */
void local_pool_drop_urgently(struct local_pool *p, struct local_seat *seat, void *waiter);
/* Waits for the next reply. */
void local_pool_watch(struct local_pool *p, struct local_seat *seat);

bool local_params_equal(const struct plan_params *a, const struct plan_params *b);

#endif
