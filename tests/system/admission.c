/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that what there is too much of is answered `unavailable` with the limit's name, that nothing
 * that was admitted suffers from it, and that clients get slots and are taken in by fair turns.
 */
#include "world.h"

#include <signal.h>

#define N_FLOOD 1000

static uint64_t submit_numbered(struct tr_client *c, const char *what, int i)
{
	char name[32];

	snprintf(name, sizeof(name), "%s-%d", what, i);
	return submit(c, name, NULL);
}

static void release_numbered(struct tr_client *c, const char *what, int i)
{
	char name[32];

	snprintf(name, sizeof(name), "%s-%d", what, i);
	release(c, name, true);
}

/* ---- limits --------------------------------------------------------------------------------------- */

static void calls_queued_max(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t running, queued[4], more;

	world_start(w, "--limit", "calls_queued_max=4", "--slots-max", "1", NULL);
	c = world_client(w);
	running = submit(c, "a", FOREVER);
	taken_in(c);
	/* Two behind it, and two that wait for a slot. */
	for (int i = 0; i < 4; i++)
		queued[i] = submit(c, i < 2 ? "a" : "b", NULL);
	more = submit(c, "c", NULL);
	expect_error(c, more, TR_UNAVAILABLE, "calls_queued_max");
	for (int i = 0; i < 4; i++)
		assert_true(is_pending(c, queued[i]));
	assert_int_equal(tr_cancel(c, running), 0);
	expect_result(c, running, TR_CANCELLED);
	expect_result(c, queued[0], TR_OK);
	expect_result(c, queued[1], TR_OK);
	/* The twin: with room in the queue it is admitted. */
	more = submit(c, "a", NULL);
	expect_result(c, more, TR_OK);
}

/* A full queue of calls that wait for a slot does not keep out the RELEASE that frees one. */
static void full_queue_lets_a_release_in(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t waiting;

	world_start(w, "--limit", "calls_queued_max=1", "--slots-max", "1", NULL);
	c = world_client(w);
	expect(c, "a", NULL, TR_OK);
	waiting = submit(c, "b", NULL);
	expect_error(c, submit(c, "a", NULL), TR_UNAVAILABLE, "calls_queued_max");
	release(c, "a", true);
	expect_result(c, waiting, TR_OK);
}

static void trajectory_calls_max(void **state)
{
	struct world *w = *state;
	struct tr_client *c, *other;
	uint64_t running, queued[2];

	world_start(w, "--limit", "trajectory_calls_max=2", NULL);
	c = world_client(w);
	other = world_client(w);
	running = submit(c, "a", FOREVER);
	taken_in(c);
	queued[0] = submit(c, "a", NULL);
	queued[1] = submit(c, "a", NULL);
	taken_in(c);
	expect_error(c, submit(c, "a", NULL), TR_UNAVAILABLE, "trajectory_calls_max");
	expect_error(other, submit(other, "a", NULL), TR_UNAVAILABLE, "trajectory_calls_max");
	expect(c, "b", NULL, TR_OK);
	assert_int_equal(tr_cancel(c, running), 0);
	expect_result(c, queued[0], TR_OK);
	expect_result(c, queued[1], TR_OK);
	expect(other, "a", NULL, TR_OK);
}

static void trajectories_max(void **state)
{
	struct world *w = *state;
	struct tr_client *c;

	world_start(w, "--limit", "trajectories_max=2", NULL);
	c = world_client(w);
	expect(c, "a", NULL, TR_OK);
	expect(c, "b", NULL, TR_OK);
	expect_error(c, submit(c, "c", NULL), TR_UNAVAILABLE, "trajectories_max");
	expect(c, "a", NULL, TR_OK);
	release(c, "a", true);
	expect(c, "c", NULL, TR_OK);
}

static void trajectories_per_session_max(void **state)
{
	struct world *w = *state;
	struct tr_client *c, *other;

	world_start(w, "--limit", "trajectories_per_session_max=2", NULL);
	c = world_client(w);
	other = world_client(w);
	expect(c, "a", NULL, TR_OK);
	expect(c, "b", NULL, TR_OK);
	expect_error(c, submit(c, "c", NULL), TR_UNAVAILABLE, "trajectories_per_session_max");
	expect(other, "c", NULL, TR_OK);
	/* What was refused left nothing behind. */
	assert_int_equal(status(c, "trajectories", NULL), 3);
	release(c, "a", true);
	expect(c, "c", NULL, TR_OK);
}

static void trajectory_holders_max(void **state)
{
	struct world *w = *state;
	struct tr_client *c[3];

	world_start(w, "--limit", "trajectory_holders_max=2", NULL);
	for (int i = 0; i < 3; i++)
		c[i] = world_client(w);
	expect(c[0], "a", NULL, TR_OK);
	expect(c[1], "a", NULL, TR_OK);
	expect_error(c[2], submit(c[2], "a", NULL), TR_UNAVAILABLE, "trajectory_holders_max");
	expect(c[0], "a", NULL, TR_OK);
	world_close(w, c[0]);
	sessions_become(c[1], 2);
	expect(c[2], "a", NULL, TR_OK);
}

/* Who got no slot in time is told so; who has one goes on. */
static void acquire_timeout(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t ids[3];

	world_start(w, "--slots-max", "1", "--acquire-timeout-s", "0.25", NULL);
	c = world_client(w);
	expect(c, "a", NULL, TR_OK);
	for (int i = 0; i < 3; i++)
		ids[i] = submit(c, i < 2 ? "b" : "c", NULL);
	for (int i = 0; i < 3; i++)
		expect_error(c, ids[i], TR_UNAVAILABLE, "within 0.25 s (acquire timeout)");
	expect(c, "a", NULL, TR_OK);
	assert_int_equal(status(c, "trajectories", NULL), 1);
	release(c, "a", true);
	expect(c, "b", NULL, TR_OK);
}

/* An acquire timeout of 0 does not wait at all, and still takes what is free. */
static void acquire_timeout_of_zero(void **state)
{
	struct world *w = *state;
	struct tr_client *c;

	world_start(w, "--slots-max", "1", "--acquire-timeout-s", "0", NULL);
	c = world_client(w);
	expect(c, "a", NULL, TR_OK);
	expect_error(c, submit(c, "b", NULL), TR_UNAVAILABLE, "acquire timeout");
	release(c, "a", true);
	expect(c, "b", NULL, TR_OK);
}

/* A backend that takes too long to make a slot ready is within the same time. */
static void acquire_timeout_of_the_backend(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t ids[3];

	world_start(w, "--fake", "acquire_s=500", "--acquire-timeout-s", "0.25", NULL);
	c = world_client(w);
	for (int i = 0; i < 3; i++)
		ids[i] = submit(c, i < 2 ? "a" : "b", NULL);
	for (int i = 0; i < 3; i++)
		expect_error(c, ids[i], TR_UNAVAILABLE, "acquire timeout");
}

/* A backend that gives no slots is infrastructure: never `failed`. */
static void backend_without_slots(void **state)
{
	struct world *w = *state;
	struct tr_client *c;

	world_start(w, "--fake", "acquire_fail=1", NULL);
	c = world_client(w);
	for (int i = 0; i < 3; i++)
		expect_error(c, submit(c, "a", NULL), TR_UNAVAILABLE, "no slot: ");
	assert_int_equal(status(c, "slots", "used"), 0);
	assert_int_equal(status(c, "trajectories", NULL), 0);
}

static int64_t backlog_of_last_session(struct tr_client *c)
{
	struct tr_value *all = status_ask(c);
	const struct tr_value *sessions = tr_value_get(all, "sessions");
	int64_t n = tr_value_get(&sessions->u.items[sessions->n - 1], "backlog_bytes")->u.integer;

	tr_value_free(all);
	return n;
}

/* Answers without a payload that nobody takes count against the backlog's limit, and none is lost. */
static void unread_answers_are_bounded(void **state)
{
	const struct tr_options narrow = {
		.completion_bytes = 4096,
		.submission_bytes = 65536,
		.n_calls = 2048,
	};
	struct world *w = *state;
	struct tr_client *c, *other;
	struct tr_result result = {0};
	uint64_t n_taken;

	world_start(w, "--limit", "session_backlog_bytes_max=8192", NULL);
	other = world_client(w);
	c = world_client_with(w, narrow);
	for (int i = 0; i < 2000; i++)
		assert_int_equal(tr_submit_raw(c, TR_KIND_PING, NULL, 0, NULL, 0, NULL), 0);
	for (int i = 0; backlog_of_last_session(other) <= 8192; i++) {
		assert_true(i < 5000);
		look_again_soon();
	}
	/* Time enough to take in all of them, if that were not held back. */
	for (int i = 0; i < 100; i++)
		taken_in(other);
	n_taken = tr_stats(other)->pings_total - 100;
	assert_in_range(n_taken, 256, 1000);
	for (int i = 0; i < 2000; i++) {
		assert_int_equal(tr_reap(c, &result, LONG_MS), 0);
		assert_int_equal(result.kind, TR_KIND_PING);
	}
	tr_result_deinit(&result);
	assert_int_equal(backlog_of_last_session(other), 0);
	expect(c, "a", NULL, TR_OK);
}

/* ---- fairness ------------------------------------------------------------------------------------- */

/* Which of these calls has been answered; it is taken. -1: none yet. */
static int answered_one(struct tr_client *c, uint64_t *ids, int n)
{
	for (int i = 0; i < n; i++) {
		if (!ids[i] || is_pending(c, ids[i]))
			continue;
		ids[i] = 0;
		return i;
	}
	return -1;
}

/* With one slot, a client that wants one gets the second at the latest, however many another wants. */
static void few_are_not_behind_many(void **state)
{
	struct world *w = *state;
	struct tr_client *many, *few;
	uint64_t ids[50], id;
	int turns = 0;

	world_start(w, "--slots-max", "1", NULL);
	many = world_client(w);
	few = world_client(w);
	expect(many, "first", NULL, TR_OK);
	for (int i = 0; i < 50; i++)
		ids[i] = submit_numbered(many, "m", i);
	taken_in(many);
	id = submit(few, "f", NULL);
	taken_in(few);
	release(many, "first", true);
	while (is_pending(few, id)) {
		int i = answered_one(many, ids, 50);

		if (i < 0)
			continue;
		assert_int_equal(++turns, 1);
		release_numbered(many, "m", i);
	}
}

/* Two that want many get them in turns. */
static void many_take_turns(void **state)
{
	struct world *w = *state;
	struct tr_client *c[2];
	uint64_t ids[2][20];
	int n[2] = {0, 0};

	world_start(w, "--slots-max", "1", NULL);
	c[0] = world_client(w);
	c[1] = world_client(w);
	expect(c[0], "first", NULL, TR_OK);
	for (int k = 0; k < 2; k++) {
		for (int i = 0; i < 20; i++)
			ids[k][i] = submit_numbered(c[k], k ? "x" : "y", i);
		taken_in(c[k]);
	}
	release(c[0], "first", true);
	while (n[0] + n[1] < 40) {
		for (int k = 0; k < 2; k++) {
			int i = answered_one(c[k], ids[k], 20);

			if (i < 0)
				continue;
			n[k]++;
			release_numbered(c[k], k ? "x" : "y", i);
		}
		assert_true(n[0] - n[1] <= 1 && n[1] - n[0] <= 1);
	}
}

/*
 * Both rings are filled while the executor is stopped, so that it finds all of it at once: far more
 * from the one than the queue takes, one call from the other. The one call is among those admitted.
 */
static void flood_leaves_room_for_others(void **state)
{
	struct world *w = *state;
	struct tr_client *flood, *other;
	struct tr_result result = {0};
	int n[TR_N_VERDICTS] = {0};
	uint64_t running, id;
	pid_t pid;

	world_start(w, "--slots-max", "1", "--limit", "calls_queued_max=200", NULL);
	flood = world_client_with(w, (struct tr_options){.submission_bytes = 1 << 20});
	other = world_client(w);
	running = submit(other, "running", FOREVER);
	status_becomes(other, "calls_running", NULL, 1);
	pid = executor_pid(other);
	stop_process(pid);
	for (int i = 0; i < N_FLOOD; i++)
		submit(flood, "flood", NULL);
	id = submit(other, "other", NULL);
	assert_int_equal(kill(pid, SIGCONT), 0);
	taken_in(flood);
	assert_true(is_pending(other, id));
	assert_int_equal(status(other, "calls_queued", NULL), 200);
	assert_int_equal(tr_cancel(other, running), 0);
	expect_result(other, running, TR_CANCELLED);
	release(other, "running", true);
	/* Whoever gets the slot first must give it back for the other one. */
	for (int i = 0; i < N_FLOOD; i++) {
		while (tr_reap(flood, &result, 0) == -EAGAIN) {
			if (tr_wait(other, id, &result, 10) == 0) {
				assert_int_equal(result.verdict, TR_OK);
				release(other, "other", true);
			}
		}
		n[result.verdict]++;
	}
	release(flood, "flood", true);
	if (tr_wait(other, id, &result, LONG_MS) == 0)
		assert_int_equal(result.verdict, TR_OK);
	assert_int_equal(n[TR_OK], 199);
	assert_int_equal(n[TR_UNAVAILABLE], N_FLOOD - 199);
	tr_result_deinit(&result);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		world_test(calls_queued_max),
		world_test(full_queue_lets_a_release_in),
		world_test(trajectory_calls_max),
		world_test(trajectories_max),
		world_test(trajectories_per_session_max),
		world_test(trajectory_holders_max),
		world_test(acquire_timeout),
		world_test(acquire_timeout_of_zero),
		world_test(acquire_timeout_of_the_backend),
		world_test(backend_without_slots),
		world_test(unread_answers_are_bounded),
		world_test(few_are_not_behind_many),
		world_test(many_take_turns),
		world_test(flood_leaves_room_for_others),
	};

	world_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
