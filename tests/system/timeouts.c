/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows how long a call may run: where its timeout comes from and what it is held to, that waiting
 * never counts, and what happens to a slot that does not keep the time. The fake backend compares a
 * call's wait_s with the timeout it was given, so no verdict here depends on how fast the machine is.
 */
#include "world.h"

#include "base/clock.h"

/* Sees to it that a call of these times is cut off; not: it ends by itself. */
static void timeout_is(struct tr_client *c, double own, double argument, double wait_s, bool is_cut)
{
	const struct script s = {
		.wait_s = wait_s,
		.timeout_s = own,
		.argument_timeout_s = argument,
	};

	expect(c, "a", &s, is_cut ? TR_TIMEOUT : TR_OK);
}

/* timeout_s goes before arguments.timeout, which goes before the default. */
static void timeout_comes_from(void **state)
{
	struct world *w = *state;
	struct tr_client *c;

	world_start(w, "--default-timeout-s", "1", NULL);
	c = world_client(w);
	timeout_is(c, 0, 0, 500, true);
	timeout_is(c, 0, 0, 0.1, false);
	timeout_is(c, 0, 1, 500, true);
	timeout_is(c, 0, 2, 1.1, false);
	timeout_is(c, 1, 600, 500, true);
	timeout_is(c, 2, 1, 1.1, false);
}

/* The default is 30 s where the operator named none: beyond 1.1 s at any rate. */
static void default_is_longer(void **state)
{
	struct world *w = *state;
	struct tr_client *c;

	world_start(w, NULL);
	c = world_client(w);
	timeout_is(c, 0, 0, 1.1, false);
}

/*
 * Below 1 s means 1 s. (That above 600 s means 600 s is for the codec's own test to show, which
 * need not wait for it.)
 */
static void timeout_is_clamped(void **state)
{
	struct world *w = *state;
	struct tr_client *c;

	world_start(w, NULL);
	c = world_client(w);
	timeout_is(c, 0.01, 0, 0.5, false);
	timeout_is(c, 0.01, 0, 500, true);
	timeout_is(c, 0, 0.01, 0.5, false);
	timeout_is(c, 1e9, 0, 0.1, false);
}

/* The backend sees the arguments without the timeout that was taken from them. */
static void timeout_is_not_an_argument(void **state)
{
	struct world *w = *state;
	const struct tr_member members[] = {
		{"command", tr_string("true")},
		{"timeout", tr_int(17)},
		{"other", tr_int(18)},
	};
	const struct tr_call call = {
		.trajectory_id = "a",
		.tool = "bash",
		.arguments = tr_map(members, 3),
	};
	struct tr_result result = {0};
	struct tr_value *metadata;
	const struct tr_value *seen;

	world_start(w, NULL);
	assert_int_equal(tr_call_wait(world_client(w), &call, &result, LONG_MS), 0);
	assert_int_equal(result.verdict, TR_OK);
	assert_int_equal(tr_value_parse(result.metadata.data, result.metadata.n, &metadata), 0);
	seen = tr_value_get(metadata, "arguments");
	assert_non_null(seen);
	assert_int_equal(seen->n, 2);
	assert_non_null(tr_value_get(seen, "command"));
	assert_non_null(tr_value_get(seen, "other"));
	assert_null(tr_value_get(seen, "timeout"));
	tr_value_free(metadata);
	tr_result_deinit(&result);
}

/* A call that waits longer than its timeout for its turn, or for a slot, has all of it left. */
static void waiting_does_not_count(void **state)
{
	struct world *w = *state;
	const struct script brief = {.wait_s = 0.5, .timeout_s = 1};
	struct tr_client *c;
	uint64_t first, behind, other, until;
	struct tr_result result = {0};

	world_start(w, "--slots-max", "1", NULL);
	c = world_client(w);
	first = submit(c, "a", FOREVER);
	behind = submit(c, "a", &brief);
	other = submit(c, "b", &brief);
	taken_in(c);
	/* They shall have waited for longer than they may run. */
	until = now_ns() + 1500 * NS_PER_MS;
	while (now_ns() < until)
		look_again_soon();
	assert_int_equal(tr_cancel(c, first), 0);
	expect_result(c, first, TR_CANCELLED);
	assert_int_equal(tr_wait(c, behind, &result, LONG_MS), 0);
	assert_int_equal(result.verdict, TR_OK);
	assert_true(result.timing.ns[TR_PHASE_QUEUE] > NS_PER_S);
	release(c, "a", true);
	assert_int_equal(tr_wait(c, other, &result, LONG_MS), 0);
	assert_int_equal(result.verdict, TR_OK);
	assert_true(result.timing.ns[TR_PHASE_SLOT_WAIT] > NS_PER_S);
	tr_result_deinit(&result);
}

/*
 * A slot that neither keeps the timeout nor heeds the cancel is taken out of use; its call ends as
 * timed out, its trajectory gets another slot, and nobody else notices.
 */
static void hanging_slot_is_taken_out_of_use(void **state)
{
	struct world *w = *state;
	const struct script hang = {.die = "hang", .timeout_s = 1};
	char before[64];
	struct tr_client *c;
	uint64_t id, behind;

	world_start(w, "--limit", "cancel_grace_ms=100", "--slots-max", "3", NULL);
	c = world_client(w);
	expect(c, "b", NULL, TR_OK);
	snprintf(before, sizeof(before), "%s", slot_of(c, "a", NULL));
	assert_int_equal(status(c, "slots", "out_of_use"), 0);
	id = submit(c, "a", &hang);
	behind = submit(c, "a", NULL);
	expect(c, "b", NULL, TR_OK);
	expect_error(c, id, TR_TIMEOUT, "taken out of use");
	expect_result(c, behind, TR_OK);
	assert_int_equal(status(c, "slots", "out_of_use"), 1);
	assert_int_equal(status(c, "slots", "used"), 3);
	assert_string_not_equal(slot_of(c, "a", NULL), before);
	expect(c, "b", NULL, TR_OK);
	/* It is not handed out again. */
	release(c, "a", true);
	assert_string_not_equal(slot_of(c, "c", NULL), before);
	assert_int_equal(status(c, "calls_running", NULL), 0);
}

/* The twin: a slot that keeps its timeout stays in use, and stays its trajectory's. */
static void timeout_keeps_the_slot(void **state)
{
	struct world *w = *state;
	const struct script late = {.wait_s = 500, .timeout_s = 1};
	char before[64];
	struct tr_client *c;

	world_start(w, NULL);
	c = world_client(w);
	snprintf(before, sizeof(before), "%s", slot_of(c, "a", NULL));
	expect(c, "a", &late, TR_TIMEOUT);
	assert_string_equal(slot_of(c, "a", NULL), before);
	assert_int_equal(status(c, "slots", "out_of_use"), 0);
}

/* A call that hangs and is cancelled ends as cancelled, by the same way. */
static void hanging_call_can_be_cancelled(void **state)
{
	struct world *w = *state;
	const struct script hang = {.die = "hang", .timeout_s = 600};
	struct tr_client *c;
	uint64_t id;

	world_start(w, "--limit", "cancel_grace_ms=100", NULL);
	c = world_client(w);
	id = submit(c, "a", &hang);
	assert_true(is_pending(c, id));
	assert_int_equal(tr_cancel(c, id), 0);
	expect_result(c, id, TR_CANCELLED);
	assert_int_equal(status(c, "slots", "out_of_use"), 1);
	expect(c, "a", NULL, TR_OK);
}

/* A slot that dies ends its call as unknown; the next call of the trajectory has another one. */
static void dead_slot_is_replaced(void **state)
{
	struct world *w = *state;
	const struct script die = {.die = "slot"};
	struct tr_client *c;
	uint64_t id, behind;

	world_start(w, NULL);
	c = world_client(w);
	id = submit(c, "a", &die);
	behind = submit(c, "a", NULL);
	expect_result(c, id, TR_UNKNOWN);
	expect_result(c, behind, TR_OK);
	assert_int_equal(status(c, "slots", "used"), 1);
	assert_int_equal(status(c, "slots", "out_of_use"), 0);
}

/* A backend that does not keep the time but heeds a cancel: the call was late, and not cancelled. */
static void late_call_is_not_called_cancelled(void **state)
{
	struct world *w = *state;
	struct tr_result result = {0};
	struct tr_client *c;
	char before[64];

	/* The fake backend keeps no timeout of a RESET. */
	world_start(w, "--fake", "release_s=500", "--default-timeout-s", "1", "--limit",
		    "cancel_grace_ms=100", NULL);
	c = world_client(w);
	snprintf(before, sizeof(before), "%s", slot_of(c, "a", NULL));
	assert_int_equal(tr_reset(c, "a", &result, LONG_MS), 0);
	assert_int_equal(result.verdict, TR_TIMEOUT);
	assert_string_equal(slot_of(c, "a", NULL), before);
	tr_result_deinit(&result);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		world_test(timeout_comes_from),     world_test(default_is_longer),
		world_test(timeout_is_clamped),     world_test(timeout_is_not_an_argument),
		world_test(waiting_does_not_count), world_test(hanging_slot_is_taken_out_of_use),
		world_test(timeout_keeps_the_slot), world_test(hanging_call_can_be_cancelled),
		world_test(dead_slot_is_replaced),  world_test(late_call_is_not_called_cancelled),
	};

	world_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
