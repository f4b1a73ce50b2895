/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the calls of one trajectory run in order and one at a time, whoever submitted them, and
 * that different trajectories never wait for each other: not for a slow call, nor for a full pool,
 * nor for a slow batch. What must not wait is waited for while the slow one has no end of its own.
 */
#include "world.h"

#include "base/clock.h"

#define N_CALLS 40

/* Pipelined from one session: answered in the order of submission, never two at a time. */
static void one_session_keeps_order(void **state)
{
	struct world *w = *state;
	const struct script slow = {.wait_s = 0.01};
	struct tr_client *c;
	uint64_t ids[N_CALLS], begin;
	struct tr_result result = {0};

	world_start(w, NULL);
	c = world_client(w);
	begin = now_ns();
	for (int i = 0; i < N_CALLS; i++)
		ids[i] = submit(c, "a", &slow);
	for (int i = 0; i < N_CALLS; i++) {
		assert_int_equal(tr_reap(c, &result, LONG_MS), 0);
		assert_int_equal(result.call_id, ids[i]);
		assert_int_equal(result.verdict, TR_OK);
	}
	/* Two at a time would be through in half of it. */
	assert_true(now_ns() - begin >= N_CALLS * 10 * NS_PER_MS);
	tr_result_deinit(&result);
}

/* Calls that several sessions of one uid submit in turns run in the order they came in. */
static void sessions_share_a_trajectory(void **state)
{
	struct world *w = *state;
	const struct script slow = {.wait_s = 0.01};
	struct tr_client *clients[3];
	uint64_t ids[N_CALLS], begin;

	world_start(w, NULL);
	for (int i = 0; i < 3; i++)
		clients[i] = world_client(w);
	begin = now_ns();
	for (int i = 0; i < N_CALLS; i++) {
		ids[i] = submit(clients[i % 3], "a", &slow);
		taken_in(clients[i % 3]);
	}
	for (int i = N_CALLS - 1; i >= 0; i--) {
		/* Once the last is answered, so is each that came before it. */
		if (i < N_CALLS - 1)
			assert_false(is_pending(clients[i % 3], ids[i]));
		else
			expect_result(clients[i % 3], ids[i], TR_OK);
	}
	assert_true(now_ns() - begin >= N_CALLS * 10 * NS_PER_MS);
}

/* A call that has not ended delays the trajectory's own next, and nobody else's. */
static void slow_call_delays_only_its_own(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t slow, behind;

	world_start(w, NULL);
	c = world_client(w);
	slow = submit(c, "slow", FOREVER);
	behind = submit(c, "slow", NULL);
	for (int i = 0; i < N_CALLS; i++)
		expect(c, "fast", NULL, TR_OK);
	assert_true(is_pending(c, slow));
	assert_true(is_pending(c, behind));
	assert_int_equal(tr_cancel(c, slow), 0);
	expect_result(c, slow, TR_CANCELLED);
	expect_result(c, behind, TR_OK);
}

/* Trajectories that wait for a slot do not delay the one that has it. */
static void full_pool_delays_only_those_who_wait(void **state)
{
	struct world *w = *state;
	struct tr_client *c, *other;
	uint64_t waiting[N_CALLS];
	char name[16];

	world_start(w, "--slots-max", "1", NULL);
	c = world_client(w);
	other = world_client(w);
	expect(c, "first", NULL, TR_OK);
	for (int i = 0; i < N_CALLS; i++) {
		snprintf(name, sizeof(name), "later-%d", i);
		waiting[i] = submit(i % 2 ? c : other, name, NULL);
	}
	for (int i = 0; i < N_CALLS; i++)
		expect(c, "first", NULL, TR_OK);
	for (int i = 0; i < N_CALLS; i++)
		assert_true(is_pending(i % 2 ? c : other, waiting[i]));
	/* The twin: with the slot given back, each gets it once the one before has released it. */
	release(c, "first", true);
	for (int left = N_CALLS; left;) {
		for (int i = 0; i < N_CALLS; i++) {
			struct tr_client *owner = i % 2 ? c : other;

			if (!waiting[i] || is_pending(owner, waiting[i]))
				continue;
			snprintf(name, sizeof(name), "later-%d", i);
			release(owner, name, true);
			waiting[i] = 0;
			left--;
		}
	}
}

/* A target with a batch that has no end delays neither other targets nor later calls to itself. */
static void slow_batch_delays_nobody(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t slow[4];
	char name[16];

	world_start(w, "--fake", "targets=2,window_ms=20", NULL);
	c = world_client(w);
	/* Slots 0 and 2 are of one target, 1 and 3 of the other. */
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "slow-%d", i);
		slow[i] = submit(c, name, i % 2 == 0 ? FOREVER : NULL);
		if (i % 2)
			expect_result(c, slow[i], TR_OK);
		taken_in(c);
	}
	for (int i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "fast-%d", i);
		expect(c, name, NULL, TR_OK);
	}
	for (int i = 0; i < 4; i += 2) {
		assert_true(is_pending(c, slow[i]));
		assert_int_equal(tr_cancel(c, slow[i]), 0);
		expect_result(c, slow[i], TR_CANCELLED);
	}
}

/* Calls that run into their timeouts together do not hold up those that were batched with them. */
static void timeout_group_delays_nobody(void **state)
{
	struct world *w = *state;
	const struct script late = {.wait_s = 500, .timeout_s = 1};
	struct tr_client *c;
	uint64_t group[N_CALLS];
	char name[16];

	world_start(w, "--fake", "window_ms=20", NULL);
	c = world_client(w);
	for (int i = 0; i < N_CALLS; i++) {
		snprintf(name, sizeof(name), "late-%d", i);
		group[i] = submit(c, name, i ? &late : FOREVER);
	}
	for (int i = 0; i < 5; i++)
		expect(c, "fast", NULL, TR_OK);
	for (int i = 1; i < N_CALLS; i++)
		expect_result(c, group[i], TR_TIMEOUT);
	expect(c, "fast", NULL, TR_OK);
	assert_true(is_pending(c, group[0]));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		world_test(one_session_keeps_order),
		world_test(sessions_share_a_trajectory),
		world_test(slow_call_delays_only_its_own),
		world_test(full_pool_delays_only_those_who_wait),
		world_test(slow_batch_delays_nobody),
		world_test(timeout_group_delays_nobody),
	};

	world_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
