/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows when calls are handed to a target: at once where it is idle, gathered where it is busy, up
 * to the most of a batch and never longer than the window. A target is kept busy by a call that does
 * not end, and batches are counted, so that nothing here depends on time but where the window itself
 * is shown. The fake backend spreads slots over its targets by their number.
 */
#include "world.h"

#include <signal.h>

#define TARGETS "targets=2"
#define N_PAIRS 24

/* Trajectories even-0, odd-0, even-1, ... get slots of the one and the other target in turns. */
static void take_slots(struct tr_client *c)
{
	char name[16], want[16];

	for (int i = 0; i < 2 * N_PAIRS; i++) {
		snprintf(name, sizeof(name), "%s-%d", i % 2 ? "odd" : "even", i / 2);
		snprintf(want, sizeof(want), "fake-%d", i);
		assert_string_equal(slot_of(c, name, NULL), want);
	}
}

static uint64_t submit_to(struct tr_client *c, const char *target, int i, const struct script *s)
{
	char name[16];

	snprintf(name, sizeof(name), "%s-%d", target, i);
	return submit(c, name, s);
}

static uint64_t n_batches(struct tr_client *c)
{
	/* After the next turn all of the one before is counted. */
	taken_in(c);
	return tr_stats(c)->batches_total;
}

static uint64_t keep_even_busy(struct tr_client *c)
{
	uint64_t busy = submit_to(c, "even", 0, FOREVER);

	status_becomes(c, "backend", "executed", 1);
	return busy;
}

/* A lone call is its own batch and waits for no timer, also beside a target that gathers. */
static void lone_call_goes_at_once(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t gathered, before;

	world_start(w, "--fake", TARGETS, "--batch-window-ms", "60000", NULL);
	c = world_client(w);
	take_slots(c);
	expect(c, "even-0", NULL, TR_OK);
	assert_int_equal(n_batches(c), 1);
	submit_to(c, "even", 0, FOREVER);
	status_becomes(c, "backend", "executed", 2);
	gathered = submit_to(c, "even", 1, NULL);
	before = n_batches(c);
	for (int i = 0; i < 20; i++)
		expect_result(c, submit_to(c, "odd", i, NULL), TR_OK);
	assert_int_equal(n_batches(c), before + 20);
	assert_true(is_pending(c, gathered));
}

/* What comes while the target is busy is gathered, and goes as one batch once it is idle. */
static void busy_target_gathers(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t busy, ids[20], before;

	world_start(w, "--fake", TARGETS, "--batch-window-ms", "60000", NULL);
	c = world_client(w);
	take_slots(c);
	busy = keep_even_busy(c);
	before = n_batches(c);
	for (int i = 0; i < 20; i++)
		ids[i] = submit_to(c, "even", i + 1, NULL);
	for (int i = 0; i < 20; i++)
		assert_true(is_pending(c, ids[i]));
	assert_int_equal(n_batches(c), before);
	assert_int_equal(tr_cancel(c, busy), 0);
	for (int i = 0; i < 20; i++)
		expect_result(c, ids[i], TR_OK);
	assert_int_equal(n_batches(c), before + 1);
}

/* A gathered call can be cancelled, and has then never begun; the rest of its batch goes on. */
static void gathered_call_can_be_cancelled(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t busy, ids[3];

	world_start(w, "--fake", TARGETS, "--batch-window-ms", "60000", NULL);
	c = world_client(w);
	take_slots(c);
	busy = keep_even_busy(c);
	for (int i = 0; i < 3; i++)
		ids[i] = submit_to(c, "even", i + 1, NULL);
	assert_int_equal(tr_cancel(c, ids[1]), 0);
	expect_error(c, ids[1], TR_CANCELLED, "before it began");
	assert_true(is_pending(c, ids[0]));
	assert_int_equal(tr_cancel(c, busy), 0);
	expect_result(c, ids[0], TR_OK);
	expect_result(c, ids[2], TR_OK);
	assert_int_equal(status(c, "backend", "executed"), 3);
}

/* A batch that is full goes though the target is busy; what is left over waits. */
static void full_batch_goes(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t ids[20], before;

	world_start(w, "--fake", TARGETS, "--batch-window-ms", "60000", "--max-batch-size", "8",
		    NULL);
	c = world_client(w);
	take_slots(c);
	keep_even_busy(c);
	before = n_batches(c);
	for (int i = 0; i < 20; i++)
		ids[i] = submit_to(c, "even", i + 1, NULL);
	for (int i = 0; i < 16; i++)
		expect_result(c, ids[i], TR_OK);
	for (int i = 16; i < 20; i++)
		assert_true(is_pending(c, ids[i]));
	assert_int_equal(n_batches(c), before + 2);
}

/* Nothing waits longer than the window, however long the target is busy. */
static void window_ends(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t busy, ids[20], before;
	pid_t pid;

	world_start(w, "--fake", TARGETS ",window_ms=50", NULL);
	c = world_client(w);
	take_slots(c);
	busy = keep_even_busy(c);
	before = n_batches(c);
	/* The executor finds all of them at once. */
	pid = executor_pid(c);
	stop_process(pid);
	for (int i = 0; i < 20; i++)
		ids[i] = submit_to(c, "even", i + 1, NULL);
	assert_int_equal(kill(pid, SIGCONT), 0);
	for (int i = 0; i < 20; i++)
		expect_result(c, ids[i], TR_OK);
	assert_true(is_pending(c, busy));
	assert_in_range(n_batches(c), before + 1, before + 5);
}

/* Without a window nothing is gathered beyond a turn: each call goes though the target is busy. */
static void no_window_gathers_nothing(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t busy, before;

	world_start(w, "--fake", TARGETS, NULL);
	c = world_client(w);
	take_slots(c);
	busy = keep_even_busy(c);
	before = n_batches(c);
	for (int i = 0; i < 20; i++)
		expect_result(c, submit_to(c, "even", i + 1, NULL), TR_OK);
	assert_int_equal(n_batches(c), before + 20);
	assert_true(is_pending(c, busy));
}

/* A slot that was taken out of use does not count as a target's being busy for ever. */
static void slot_out_of_use_is_not_busy(void **state)
{
	const struct script hang = {.die = "hang", .timeout_s = 1};
	struct world *w = *state;
	struct tr_client *c;
	uint64_t gathered, before;

	world_start(w, "--fake", TARGETS, "--batch-window-ms", "60000", "--limit",
		    "cancel_grace_ms=100", NULL);
	c = world_client(w);
	take_slots(c);
	before = submit_to(c, "even", 0, &hang);
	status_becomes(c, "backend", "executed", 1);
	gathered = submit_to(c, "even", 1, NULL);
	expect_result(c, before, TR_TIMEOUT);
	/* Much sooner than the window. */
	for (int i = 0; is_pending(c, gathered); i++) {
		assert_true(i < 5000);
		look_again_soon();
	}
	before = n_batches(c);
	for (int i = 1; i < 20; i++)
		expect_result(c, submit_to(c, "even", i, NULL), TR_OK);
	assert_int_equal(n_batches(c), before + 19);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		world_test(lone_call_goes_at_once),
		world_test(busy_target_gathers),
		world_test(gathered_call_can_be_cancelled),
		world_test(full_batch_goes),
		world_test(window_ends),
		world_test(no_window_gathers_nothing),
		world_test(slot_out_of_use_is_not_busy),
	};

	world_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
