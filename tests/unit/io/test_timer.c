/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of deadlines, against what a plain array says. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>

#include "base/list.h"
#include "io/timer.h"

#define N_TIMERS 1000
#define N_STEPS  200000

struct item {
	struct timer timer;
	uint64_t at_ns; /* as the test thinks */
	bool is_set;
	unsigned n_fired;
};

struct world {
	struct timers timers;
	struct item items[N_TIMERS];
	struct item *fired[N_TIMERS];
	size_t n_fired;
	uint64_t seed;
};

static void on_fire(struct timer *timer, void *context)
{
	struct world *w = context;
	struct item *item = container_of(timer, struct item, timer);

	assert_false(timer_is_set(timer));
	item->n_fired++;
	item->is_set = false;
	w->fired[w->n_fired++] = item;
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return -1;
	timers_init(&w->timers);
	for (size_t i = 0; i < N_TIMERS; i++)
		w->items[i].timer.fire = on_fire;
	w->seed = 88172645463325252;
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	timers_deinit(&w->timers);
	free(w);
	return 0;
}

static uint64_t roll(struct world *w, uint64_t below)
{
	w->seed ^= w->seed << 13;
	w->seed ^= w->seed >> 7;
	w->seed ^= w->seed << 17;
	return w->seed % below;
}

static void set(struct world *w, struct item *item, uint64_t at_ns)
{
	assert_int_equal(timer_set(&w->timers, &item->timer, at_ns), 0);
	item->at_ns = at_ns;
	item->is_set = true;
}

static void cancel(struct world *w, struct item *item)
{
	timer_cancel(&w->timers, &item->timer);
	item->is_set = false;
}

/* Each element's parent is due no later, and knows where it stands. */
static void check_heap(const struct world *w)
{
	uint64_t first = UINT64_MAX;
	uint32_t n_set = 0;

	for (size_t i = 0; i < N_TIMERS; i++) {
		const struct item *item = &w->items[i];

		assert_int_equal(timer_is_set(&item->timer), item->is_set);
		if (!item->is_set)
			continue;
		n_set++;
		assert_int_equal(item->timer.at_ns, item->at_ns);
		assert_ptr_equal(w->timers.heap[item->timer.index], &item->timer);
		if (item->at_ns < first)
			first = item->at_ns;
	}
	assert_int_equal(w->timers.n, n_set);
	assert_int_equal(timers_next(&w->timers), first);
	for (uint32_t i = 2; i <= w->timers.n; i++)
		assert_true(w->timers.heap[i / 2]->at_ns <= w->timers.heap[i]->at_ns);
}

/* With nothing set there is nothing to wait for and nothing to fire. */
static void empty_heap(void **state)
{
	struct world *w = *state;

	assert_int_equal(timers_next(&w->timers), UINT64_MAX);
	assert_int_equal(timers_fire(&w->timers, UINT64_MAX, w, 10), 0);
	timer_cancel(&w->timers, &w->items[0].timer);
	check_heap(w);
}

/* Timers fire in the order of their times, those due and no others, however they were set. */
static void fires_in_order(void **state)
{
	struct world *w = *state;
	uint64_t last = 0;

	for (size_t i = 0; i < N_TIMERS; i++)
		set(w, &w->items[i], 1 + (i * 7919) % N_TIMERS);
	check_heap(w);
	assert_int_equal(timers_fire(&w->timers, 0, w, N_TIMERS), 0);
	assert_int_equal(timers_fire(&w->timers, N_TIMERS / 2, w, N_TIMERS), N_TIMERS / 2);
	for (size_t i = 0; i < w->n_fired; i++) {
		assert_true(w->fired[i]->at_ns >= last);
		last = w->fired[i]->at_ns;
	}
	assert_int_equal(last, N_TIMERS / 2);
	check_heap(w);
}

/* No more than asked for at a time; the rest is still due. */
static void fires_boundedly(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < 100; i++)
		set(w, &w->items[i], 5);
	assert_int_equal(timers_fire(&w->timers, 5, w, 30), 30);
	assert_int_equal(timers_next(&w->timers), 5);
	assert_int_equal(timers_fire(&w->timers, 5, w, 100), 70);
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(w->items[i].n_fired, 1);
}

/* A timer that is set again moves; one that was cancelled does not fire; both may be done twice. */
static void moves_and_cancels(void **state)
{
	struct world *w = *state;

	set(w, &w->items[0], 10);
	set(w, &w->items[1], 20);
	set(w, &w->items[2], 30);
	set(w, &w->items[0], 40);
	assert_int_equal(timers_next(&w->timers), 20);
	set(w, &w->items[2], 5);
	assert_int_equal(timers_next(&w->timers), 5);
	cancel(w, &w->items[2]);
	cancel(w, &w->items[2]);
	check_heap(w);
	assert_int_equal(timers_fire(&w->timers, 100, w, 10), 2);
	assert_ptr_equal(w->fired[0], &w->items[1]);
	assert_ptr_equal(w->fired[1], &w->items[0]);
	assert_int_equal(w->items[2].n_fired, 0);
}

static void on_fire_set_again(struct timer *timer, void *context)
{
	struct world *w = context;
	struct item *item = container_of(timer, struct item, timer);

	item->n_fired++;
	set(w, item, item->at_ns + 10);
	if (timer_is_set(&w->items[1].timer))
		cancel(w, &w->items[1]);
}

/* What fires may set itself again and cancel others. */
static void fire_may_change_the_heap(void **state)
{
	struct world *w = *state;

	w->items[0].timer.fire = on_fire_set_again;
	set(w, &w->items[0], 10);
	set(w, &w->items[1], 11);
	assert_int_equal(timers_fire(&w->timers, 15, w, 10), 1);
	assert_int_equal(w->items[0].n_fired, 1);
	assert_int_equal(w->items[1].n_fired, 0);
	assert_int_equal(timers_next(&w->timers), 20);
	check_heap(w);
}

/* Two hundred thousand random steps, often with equal times and the extremes. */
static void random_steps(void **state)
{
	struct world *w = *state;
	uint64_t now = 1000;

	for (int step = 0; step < N_STEPS; step++) {
		struct item *item = &w->items[roll(w, N_TIMERS)];
		uint64_t at = now + roll(w, 64);

		switch (roll(w, 8)) {
		case 0:
			cancel(w, item);
			break;
		case 1:
			now += roll(w, 8);
			w->n_fired = 0;
			timers_fire(&w->timers, now, w, N_TIMERS);
			assert_true(timers_next(&w->timers) > now);
			for (size_t i = 0; i < w->n_fired; i++)
				assert_true(w->fired[i]->at_ns <= now);
			break;
		case 2:
			set(w, item, roll(w, 2) ? UINT64_MAX : 0);
			break;
		default:
			set(w, item, at);
			break;
		}
		if (step % 500 == 0)
			check_heap(w);
	}
	check_heap(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(empty_heap, set_up, tear_down),
		cmocka_unit_test_setup_teardown(fires_in_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(fires_boundedly, set_up, tear_down),
		cmocka_unit_test_setup_teardown(moves_and_cancels, set_up, tear_down),
		cmocka_unit_test_setup_teardown(fire_may_change_the_heap, set_up, tear_down),
		cmocka_unit_test_setup_teardown(random_steps, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
