/* SPDX-License-Identifier: Apache-2.0 */
/* When a batch is due, and that calls get in and out of it in order. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>

#include "executor/executor.h"

#define WINDOW UINT64_C(1000)
#define MOST   8

static uint32_t target_of(struct backend *b, uint32_t slot)
{
	return slot % b->n_targets;
}

static const struct backend_ops ops = {.target = target_of};

struct world {
	struct executor executor;
	struct backend backend;
	struct trajectory trajectories[4]; /* with slots 0 to 3 */
	struct call calls[16];
};

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return -1;
	w->backend = (struct backend){.ops = &ops, .n_targets = 2};
	w->executor.backend = &w->backend;
	for (uint32_t i = 0; i < 4; i++)
		w->trajectories[i].slot = i;
	for (uint32_t i = 0; i < 16; i++) {
		list_init(&w->calls[i].link);
		w->calls[i].trajectory = &w->trajectories[i % 4];
	}
	*state = w;
	return batches_init(&w->executor.batches, 2, WINDOW, MOST);
}

static int tear_down(void **state)
{
	struct world *w = *state;

	batches_deinit(&w->executor.batches);
	free(w);
	return 0;
}

static void add(struct world *w, int i, uint64_t now_ns)
{
	w->executor.loop.now_ns = now_ns;
	batch_add(&w->executor, &w->calls[i]);
}

/* An idle target's batch is due at once, a busy one's when it is full or its window is over. */
static void when_it_is_due(void **state)
{
	struct world *w = *state;
	struct batches *b = &w->executor.batches;
	struct batch *batch = &b->batches[0];

	add(w, 0, 100);
	assert_true(batch_is_due(b, batch, 100));
	batch->n_running = 1;
	assert_false(batch_is_due(b, batch, 100));
	assert_false(batch_is_due(b, batch, 100 + WINDOW - 1));
	assert_true(batch_is_due(b, batch, 100 + WINDOW));
	batch->n_calls = MOST - 1;
	assert_false(batch_is_due(b, batch, 100));
	batch->n_calls = MOST;
	assert_true(batch_is_due(b, batch, 100));
	batch->n_calls = 1;
	batch_answered(&w->executor, 2);
	assert_true(batch_is_due(b, batch, 100));
}

/* Without a window it is always due. */
static void without_a_window(void **state)
{
	struct world *w = *state;
	struct batches *b = &w->executor.batches;

	b->window_ns = 0;
	add(w, 0, 100);
	b->batches[0].n_running = 5;
	assert_true(batch_is_due(b, &b->batches[0], 100));
}

/* Calls go to their slot's target, in order; the window begins with the oldest. */
static void calls_go_to_their_target(void **state)
{
	struct world *w = *state;
	struct batches *b = &w->executor.batches;
	int i = 0;

	for (int k = 0; k < 16; k++)
		add(w, k, 100 + (uint64_t)k);
	assert_int_equal(b->batches[0].n_calls, 8);
	assert_int_equal(b->batches[1].n_calls, 8);
	assert_int_equal(b->batches[0].since_ns, 100);
	assert_int_equal(b->batches[1].since_ns, 101);
	list_for_each (l, &b->batches[1].calls) {
		assert_ptr_equal(container_of(l, struct call, link), &w->calls[2 * i + 1]);
		assert_int_equal(w->calls[2 * i + 1].state, CALL_BATCHED);
		i++;
	}
	assert_int_equal(i, 8);
}

/* A batch is on the list of the filled as long as there is a call in it. */
static void calls_can_be_taken_out(void **state)
{
	struct world *w = *state;
	struct batches *b = &w->executor.batches;

	assert_true(list_empty(&b->filled));
	add(w, 0, 100);
	add(w, 2, 100);
	add(w, 1, 100);
	batch_remove(&w->executor, &w->calls[0]);
	assert_int_equal(b->batches[0].n_calls, 1);
	assert_ptr_equal(b->filled.next, &b->batches[0].link);
	batch_remove(&w->executor, &w->calls[2]);
	assert_ptr_equal(b->filled.next, &b->batches[1].link);
	batch_remove(&w->executor, &w->calls[1]);
	assert_true(list_empty(&b->filled));
	add(w, 0, 500);
	assert_int_equal(b->batches[0].since_ns, 500);
	assert_ptr_equal(b->filled.next, &b->batches[0].link);
	batch_remove(&w->executor, &w->calls[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(when_it_is_due, set_up, tear_down),
		cmocka_unit_test_setup_teardown(without_a_window, set_up, tear_down),
		cmocka_unit_test_setup_teardown(calls_go_to_their_target, set_up, tear_down),
		cmocka_unit_test_setup_teardown(calls_can_be_taken_out, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
