/* SPDX-License-Identifier: Apache-2.0 */
/* Shows what a cancel does at each stage of a call, and that a session takes its calls with it. */
#include "world.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static int64_t n_executed(struct tr_client *c)
{
	return status(c, "backend", "executed");
}

/* A call in the queue of its trajectory never begins. */
static void queued_call_never_begins(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t running, queued, last;
	int64_t n;

	world_start(w, NULL);
	c = world_client(w);
	running = submit(c, "a", FOREVER);
	queued = submit(c, "a", NULL);
	last = submit(c, "a", NULL);
	taken_in(c);
	n = n_executed(c);
	assert_int_equal(tr_cancel(c, queued), 0);
	expect_error(c, queued, TR_CANCELLED, "before it began");
	assert_true(is_pending(c, running));
	assert_true(is_pending(c, last));
	assert_int_equal(tr_cancel(c, running), 0);
	expect_result(c, last, TR_OK);
	/* Of the three the running one had begun, and only the last began after it. */
	assert_int_equal(n_executed(c), n + 1);
}

/* Nor does one that waits for a slot; and whom it was waiting for is then forgotten. */
static void waiting_call_never_begins(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t waiting;
	int64_t n;

	world_start(w, "--slots-max", "1", NULL);
	c = world_client(w);
	expect(c, "a", NULL, TR_OK);
	n = n_executed(c);
	waiting = submit(c, "b", NULL);
	assert_true(is_pending(c, waiting));
	assert_int_equal(status(c, "trajectories", NULL), 2);
	assert_int_equal(tr_cancel(c, waiting), 0);
	expect_error(c, waiting, TR_CANCELLED, "before it began");
	status_becomes(c, "trajectories", NULL, 1);
	release(c, "a", true);
	expect(c, "c", NULL, TR_OK);
	assert_int_equal(n_executed(c), n + 1);
}

/* A running call is ended by its backend. */
static void running_call_is_cancelled(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t id;

	world_start(w, NULL);
	c = world_client(w);
	id = submit(c, "a", FOREVER);
	status_becomes(c, "calls_running", NULL, 1);
	assert_int_equal(tr_cancel(c, id), 0);
	expect_result(c, id, TR_CANCELLED);
	expect(c, "a", NULL, TR_OK);
}

/* A call that has ended keeps its result, whether the cancel finds it or not. */
static void finished_call_keeps_its_result(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t id;

	world_start(w, NULL);
	c = world_client(w);
	id = submit(c, "a", NULL);
	while (tr_stats(c)->results_total == 0)
		look_again_soon();
	assert_int_equal(tr_cancel(c, id), 0);
	expect_result(c, id, TR_OK);
	assert_int_equal(tr_cancel(c, id), -ENOENT);
	/* The cancel that found nothing harmed nothing. */
	expect(c, "a", NULL, TR_OK);
}

/* A client with as many calls in flight as it may have can still cancel each of them. */
static void full_table_can_be_cancelled(void **state)
{
	struct world *w = *state;
	struct tr_client *c, *other;
	uint64_t ids[16];
	char name[16];

	world_start(w, NULL);
	other = world_client(w);
	c = world_client_with(w, (struct tr_options){.n_calls = 16});
	for (int i = 0; i < 16; i++) {
		snprintf(name, sizeof(name), "t-%d", i);
		ids[i] = submit(c, name, FOREVER);
	}
	assert_int_equal(try_submit(c, "more", NULL, &(uint64_t){0}), -EAGAIN);
	status_becomes(other, "calls_running", NULL, 16);
	for (int i = 15; i >= 0; i--) {
		assert_int_equal(tr_cancel(c, ids[i]), 0);
		expect_result(c, ids[i], TR_CANCELLED);
	}
}

/* Closing a session cancels its calls, queued and running, and no other session's. */
static void close_cancels(void **state)
{
	struct world *w = *state;
	struct tr_client *c, *other;
	uint64_t own, behind;

	world_start(w, NULL);
	c = world_client(w);
	other = world_client(w);
	own = submit(other, "other", FOREVER);
	submit(c, "a", FOREVER);
	submit(c, "a", FOREVER);
	behind = submit(other, "behind", NULL);
	submit(c, "b", FOREVER);
	status_becomes(other, "calls_running", NULL, 3);
	expect_result(other, behind, TR_OK);
	behind = submit(other, "a", NULL);
	taken_in(other);
	world_close(w, c);
	/* It waited for the two of the session that is gone. */
	expect_result(other, behind, TR_OK);
	status_becomes(other, "calls_running", NULL, 1);
	assert_int_equal(status(other, "calls_queued", NULL), 0);
	assert_true(is_pending(other, own));
	/* "b" was held by none but the closed session; "other", "behind" and "a" are ours. */
	status_becomes(other, "trajectories", NULL, 3);
	status_becomes(other, "slots", "used", 3);
}

/* A trajectory stays as long as one session holds it, and goes with the last. */
static void last_holder_takes_the_trajectory_along(void **state)
{
	struct world *w = *state;
	struct tr_client *c, *holders[2];
	char before[64];

	world_start(w, NULL);
	c = world_client(w);
	for (int i = 0; i < 2; i++)
		holders[i] = world_client(w);
	expect(holders[0], "a", NULL, TR_OK);
	snprintf(before, sizeof(before), "%s", slot_of(holders[1], "a", NULL));
	assert_int_equal(status(c, "slots", "used"), 1);
	world_close(w, holders[0]);
	sessions_become(c, 2);
	assert_int_equal(status(c, "slots", "used"), 1);
	assert_string_equal(slot_of(holders[1], "a", NULL), before);
	world_close(w, holders[1]);
	status_becomes(c, "slots", "used", 0);
	assert_int_equal(status(c, "trajectories", NULL), 0);
}

/*
 * A client that was killed is seen to be dead although a child of it still has its socket open, so
 * that there is no hang-up.
 */
static void death_shows_without_a_hang_up(void **state)
{
	struct world *w = *state;
	int hold[2], ready[2];
	struct tr_client *c, *own;
	char byte;
	pid_t pid;

	world_start(w, NULL);
	c = world_client(w);
	assert_int_equal(pipe(hold), 0);
	assert_int_equal(pipe(ready), 0);
	pid = world_fork(w);
	if (pid == 0) {
		if (world_open(w, &own, NULL, 0) < 0 ||
		    try_submit(own, "a", FOREVER, &(uint64_t){0}) < 0)
			_exit(1);
		close(hold[1]);
		if (fork() == 0) {
			/* Until the test closes the other end, or ends. */
			byte = 0;
			if (write(ready[1], &byte, 1) == 1)
				while (read(hold[0], &byte, 1) > 0)
					;
			_exit(0);
		}
		for (;;)
			pause();
	}
	close(hold[0]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	status_becomes(c, "calls_running", NULL, 1);
	sessions_become(c, 2);
	assert_true(WIFSIGNALED(world_reap(w, pid)));
	sessions_become(c, 1);
	status_becomes(c, "calls_running", NULL, 0);
	status_becomes(c, "slots", "used", 0);
	assert_int_equal(status(c, "trajectories", NULL), 0);
	close(hold[1]);
	close(ready[0]);
	close(ready[1]);
}

/* A RESET or a RELEASE that waits its turn can be cancelled like a call. */
static void other_kinds_are_cancelled(void **state)
{
	static const enum tr_kind kinds[] = {TR_KIND_RESET, TR_KIND_RELEASE, TR_KIND_ACQUIRE,
					     TR_KIND_ARTIFACT_LIST};
	struct world *w = *state;
	struct tr_client *c;
	uint64_t running, ids[4];

	world_start(w, NULL);
	c = world_client(w);
	running = submit(c, "a", FOREVER);
	for (int i = 0; i < 4; i++) {
		struct tr_member path = {"path", tr_string(".")};
		struct tr_call call = {.kind = kinds[i], .trajectory_id = "a"};

		if (kinds[i] == TR_KIND_ARTIFACT_LIST)
			call.arguments = tr_map(&path, 1);
		assert_int_equal(tr_submit(c, &call, &ids[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		assert_true(is_pending(c, ids[i]));
		assert_int_equal(tr_cancel(c, ids[i]), 0);
		expect_error(c, ids[i], TR_CANCELLED, "before it began");
	}
	assert_true(is_pending(c, running));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		world_test(queued_call_never_begins),
		world_test(waiting_call_never_begins),
		world_test(running_call_is_cancelled),
		world_test(finished_call_keeps_its_result),
		world_test(full_table_can_be_cancelled),
		world_test(close_cancels),
		world_test(last_holder_takes_the_trajectory_along),
		world_test(death_shows_without_a_hang_up),
		world_test(other_kinds_are_cancelled),
	};

	world_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
