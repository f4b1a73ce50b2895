/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IO_TIMER_H
#define IO_TIMER_H

/* Deadlines in a binary heap. Setting, moving and cancelling are O(log n) and allocate only to grow. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timer {
	uint64_t at_ns;
	uint32_t index; /* in the heap, from 1; 0: not set */
	/* Called from timers_fire(); marks state and queues, no more. */
	void (*fire)(struct timer *timer, void *context);
};

struct timers {
	struct timer **heap; /* [1..n] */
	uint32_t n;
	uint32_t size;
};

void timers_init(struct timers *t);
void timers_deinit(struct timers *t);

/* Sets or moves a timer. -ENOMEM (never when it was set already). */
int timer_set(struct timers *t, struct timer *timer, uint64_t at_ns);
void timer_cancel(struct timers *t, struct timer *timer);

/* Fires up to n_max due timers; more are left for the next turn. Returns how many. */
size_t timers_fire(struct timers *t, uint64_t now_ns, void *context, size_t n_max);

/* When the next one is due; UINT64_MAX if none is set. */
static inline uint64_t timers_next(const struct timers *t)
{
	return t->n ? t->heap[1]->at_ns : UINT64_MAX;
}

static inline bool timer_is_set(const struct timer *timer)
{
	return timer->index != 0;
}

#endif
