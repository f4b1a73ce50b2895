/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows how toolringd stops: the first SIGTERM takes nothing new in and lets what was admitted end,
 * up to a grace period; the second cancels; and that every call gets its answer and nothing is left
 * behind (world_teardown() looks).
 */
#include "world.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void stop_once(struct world *w)
{
	assert_int_equal(kill(w->keeper, SIGTERM), 0);
}

/* It has heard of it once it takes no new calls. */
static void stopping(struct tr_client *c)
{
	struct tr_result result = {0};
	uint64_t id;

	do {
		look_again_soon();
		id = submit(c, "probe", NULL);
		assert_int_equal(tr_wait(c, id, &result, LONG_MS), 0);
		assert_true(result.verdict == TR_OK || result.verdict == TR_UNAVAILABLE);
	} while (result.verdict == TR_OK);
	assert_non_null(strstr(result.error.data, "stopping"));
	tr_result_deinit(&result);
}

static void ends_well(struct world *w)
{
	assert_int_equal(world_wait_end(w), 0);
}

static struct tr_client *client_that_stays_gone(struct world *w)
{
	return world_client_with(w, (struct tr_options){.flags = TR_OPEN_NO_RECONNECT});
}

/* With nothing to do it leaves at once, sessions or not. */
static void idle_stop(void **state)
{
	struct world *w = *state;
	struct tr_client *c;

	world_start(w, NULL);
	c = client_that_stays_gone(w);
	expect(c, "a", NULL, TR_OK);
	stop_once(w);
	ends_well(w);
	assert_int_equal(tr_ping(c, LONG_MS, NULL), -ENOTCONN);
}

/* What was admitted ends by itself, that behind it in the queue as well; nothing new is admitted. */
static void first_signal_drains(void **state)
{
	const struct script slow = {.wait_s = 1};
	struct world *w = *state;
	struct tr_client *c;
	uint64_t running, queued;
	char message[256] = "";

	world_start(w, NULL);
	c = client_that_stays_gone(w);
	running = submit(c, "a", &slow);
	queued = submit(c, "a", &slow);
	taken_in(c);
	stop_once(w);
	stopping(c);
	assert_int_equal(world_open(w, &(struct tr_client *){NULL}, message, sizeof(message)),
			 -ESHUTDOWN);
	assert_non_null(strstr(message, "stopping"));
	expect_error(c, submit(c, "b", NULL), TR_UNAVAILABLE, "stopping");
	expect_result(c, running, TR_OK);
	expect_result(c, queued, TR_OK);
	ends_well(w);
}

/* The second signal cancels what runs and what is queued behind it, at once. */
static void second_signal_cancels(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t running, queued, waiting;

	world_start(w, "--slots-max", "1", "--limit", "stop_grace_ms=3600000", NULL);
	c = client_that_stays_gone(w);
	running = submit(c, "a", FOREVER);
	queued = submit(c, "a", NULL);
	waiting = submit(c, "b", NULL);
	taken_in(c);
	stop_once(w);
	stopping(c);
	/* What waits for a slot might wait for ever: who holds one may not release it any more. */
	expect_error(c, waiting, TR_UNAVAILABLE, "stopping");
	assert_true(is_pending(c, running));
	assert_true(is_pending(c, queued));
	stop_once(w);
	expect_result(c, running, TR_CANCELLED);
	expect_error(c, queued, TR_CANCELLED, "before it began");
	ends_well(w);
}

/* After the grace period what still runs is cancelled without a second signal. */
static void grace_period_ends(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t running, queued;

	world_start(w, "--limit", "stop_grace_ms=300", NULL);
	c = client_that_stays_gone(w);
	running = submit(c, "a", FOREVER);
	queued = submit(c, "a", FOREVER);
	taken_in(c);
	stop_once(w);
	expect_result(c, running, TR_CANCELLED);
	expect_result(c, queued, TR_CANCELLED);
	ends_well(w);
}

/* A slot that heeds nothing does not hold up the end: its call is answered, and toolringd leaves. */
static void hanging_call_does_not_hold_it_up(void **state)
{
	const struct script hang = {.die = "hang", .timeout_s = 600};
	struct world *w = *state;
	struct tr_client *c;
	uint64_t running;

	world_start(w, "--limit", "stop_grace_ms=100", "--limit", "cancel_grace_ms=100", NULL);
	c = client_that_stays_gone(w);
	running = submit(c, "a", &hang);
	taken_in(c);
	stop_once(w);
	expect_result(c, running, TR_CANCELLED);
	ends_well(w);
}

/* Results nobody takes do not hold it up for longer than the grace periods either. */
static void unread_results_do_not_hold_it_up(void **state)
{
	const struct tr_member fake = {"output_bytes", tr_int(1 << 20)};
	const struct tr_member arguments = {"fake", tr_map(&fake, 1)};
	const struct tr_call call = {
		.trajectory_id = "a",
		.tool = "bash",
		.arguments = tr_map(&arguments, 1),
	};
	struct world *w = *state;
	struct tr_client *c, *other;
	uint64_t id;

	world_start(w, "--limit", "stop_grace_ms=100", "--limit", "cancel_grace_ms=100", NULL);
	c = client_that_stays_gone(w);
	other = client_that_stays_gone(w);
	assert_int_equal(tr_submit(c, &call, &id), 0);
	while (tr_stats(other)->results_total == 0)
		look_again_soon();
	stop_once(w);
	ends_well(w);
}

/* SIGINT and SIGHUP do the same as SIGTERM. */
static void other_signals_stop_too(void **state)
{
	static const int signals[] = {SIGINT, SIGHUP};

	for (size_t i = 0; i < 2; i++) {
		struct world *w = *state;

		world_start(w, NULL);
		assert_int_equal(kill(w->keeper, signals[i]), 0);
		ends_well(w);
	}
}

/* ---- who started it ends ------------------------------------------------------------------------- */

/* The pidfd of a process that does nothing, and what toolringd inherits it as. */
static int starter_fd;

static void hand_over(void)
{
	fcntl(starter_fd, F_SETFD, 0);
}

static pid_t starter_fork(struct world *w)
{
	pid_t pid = world_fork(w);

	if (pid == 0)
		for (;;)
			pause();
	starter_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	assert_true(starter_fd >= 0);
	return pid;
}

static bool start_for(struct world *w, bool with_flag, int *ret_status)
{
	char flag[32];
	const char *flags[] = {"--limit", "stop_grace_ms=3600000", with_flag ? flag : NULL, NULL};
	bool serves;

	snprintf(flag, sizeof(flag), "--stop-fd=%d", starter_fd);
	serves = world_try_start(w, flags, hand_over, ret_status);
	close(starter_fd);
	return serves;
}

/*
 * With --stop-fd toolringd ends when who started it is killed: at once, whatever runs, and with the
 * folder of its socket, which nobody else is left to remove.
 */
static void ends_with_its_starter(void **state)
{
	struct world *w = *state;
	pid_t starter = starter_fork(w);
	struct tr_client *c;
	uint64_t running;
	int status;

	assert_true(start_for(w, true, &status));
	c = client_that_stays_gone(w);
	running = submit(c, "a", FOREVER);
	taken_in(c);
	assert_true(is_pending(c, running));
	world_reap(w, starter);
	expect_result(c, running, TR_CANCELLED);
	ends_well(w);
	assert_int_equal(access(w->directory, F_OK), -1);
	assert_int_equal(mkdir(w->directory, 0700), 0); /* for the teardown */
}

/* The twin: without the flag it lives on. */
static void outlives_its_starter(void **state)
{
	struct world *w = *state;
	pid_t starter = starter_fork(w);
	int status;

	assert_true(start_for(w, false, &status));
	world_reap(w, starter);
	expect(world_client(w), "a", NULL, TR_OK);
	stop_once(w);
	ends_well(w);
	assert_int_equal(access(w->directory, F_OK), 0);
}

/* Who has ended before toolringd looks is seen too: a pidfd never comes to stand for another. */
static void ends_if_its_starter_has(void **state)
{
	struct world *w = *state;
	pid_t starter = starter_fork(w);
	int status = 0;

	world_reap(w, starter);
	if (start_for(w, true, &status))
		status = world_wait_end(w);
	assert_int_equal(status, 0);
	assert_int_equal(access(w->directory, F_OK), -1);
	assert_int_equal(mkdir(w->directory, 0700), 0);
}

static void ignore_children(void)
{
	signal(SIGCHLD, SIG_IGN);
}

/* Who ignores the end of its own children hands that on; toolringd hears of its children all the same. */
static void hears_of_its_children(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	int status;

	assert_true(world_try_start(w, (const char *const[]){NULL}, ignore_children, &status));
	c = world_client(w);
	kill(executor_pid(c), SIGKILL);
	while (tr_stats(c)->generation != 2)
		look_again_soon();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		world_test(idle_stop),
		world_test(first_signal_drains),
		world_test(second_signal_cancels),
		world_test(grace_period_ends),
		world_test(hanging_call_does_not_hold_it_up),
		world_test(unread_results_do_not_hold_it_up),
		world_test(other_signals_stop_too),
		world_test(ends_with_its_starter),
		world_test(outlives_its_starter),
		world_test(ends_if_its_starter_has),
		world_test(hears_of_its_children),
	};

	world_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
