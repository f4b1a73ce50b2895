/* SPDX-License-Identifier: Apache-2.0 */
#include "io/timer.h"

#include <errno.h>
#include <stdlib.h>

void timers_init(struct timers *t)
{
	*t = (struct timers){0};
}

void timers_deinit(struct timers *t)
{
	free(t->heap);
	timers_init(t);
}

static void place(struct timers *t, uint32_t i, struct timer *timer)
{
	t->heap[i] = timer;
	timer->index = i;
}

static void sift_up(struct timers *t, uint32_t i, struct timer *timer)
{
	while (i > 1 && t->heap[i / 2]->at_ns > timer->at_ns) {
		place(t, i, t->heap[i / 2]);
		i /= 2;
	}
	place(t, i, timer);
}

static void sift_down(struct timers *t, uint32_t i, struct timer *timer)
{
	for (;;) {
		uint32_t child = 2 * i;

		if (child > t->n)
			break;
		if (child < t->n && t->heap[child + 1]->at_ns < t->heap[child]->at_ns)
			child++;
		if (t->heap[child]->at_ns >= timer->at_ns)
			break;
		place(t, i, t->heap[child]);
		i = child;
	}
	place(t, i, timer);
}

static void settle(struct timers *t, uint32_t i, struct timer *timer)
{
	if (i > 1 && t->heap[i / 2]->at_ns > timer->at_ns)
		sift_up(t, i, timer);
	else
		sift_down(t, i, timer);
}

static int grow(struct timers *t)
{
	uint32_t size = t->size ? t->size * 2 : 256;
	struct timer **heap;

	if (t->n + 1 < t->size)
		return 0;
	heap = realloc(t->heap, size * sizeof(struct timer *));
	if (!heap)
		return -ENOMEM;
	t->heap = heap;
	t->size = size;
	return 0;
}

int timer_set(struct timers *t, struct timer *timer, uint64_t at_ns)
{
	int r;

	if (!timer->index) {
		r = grow(t);
		if (r < 0)
			return r;
		timer->index = ++t->n;
		t->heap[timer->index] = timer;
	}
	timer->at_ns = at_ns;
	settle(t, timer->index, timer);
	return 0;
}

void timer_cancel(struct timers *t, struct timer *timer)
{
	uint32_t i = timer->index;
	struct timer *last;

	if (!i)
		return;
	timer->index = 0;
	last = t->heap[t->n--];
	if (last != timer)
		settle(t, i, last);
}

size_t timers_fire(struct timers *t, uint64_t now, void *context, size_t n_max)
{
	size_t n = 0;

	while (n < n_max && t->n && t->heap[1]->at_ns <= now) {
		struct timer *timer = t->heap[1];

		timer_cancel(t, timer);
		timer->fire(timer, context);
		n++;
	}
	return n;
}
