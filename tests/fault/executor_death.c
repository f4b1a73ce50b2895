/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows what is true after the executor was killed with -9, and after its keeper was: each function
 * below main() says what. How it is under load stands in executor_storm.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <toolring/toolring.h>

#include "daemon.h"

#define WAIT_MS 60000

/* ---- calls ----------------------------------------------------------------------------------------- */

static struct tr_client *open_client(const struct daemon *d, uint32_t flags)
{
	struct tr_options o = {.size = sizeof(o), .name = d->socket, .flags = flags};
	struct tr_client *c;
	int r = tr_open_with(&c, &o);

	check(r == 0, "open: %s", strerror(-r));
	return c;
}

/* A call that takes that long. */
static uint64_t submit(struct tr_client *c, const char *trajectory, double wait_s)
{
	struct tr_member script[] = {{"wait_s", tr_float(wait_s)}};
	struct tr_member arguments[] = {{"fake", tr_map(script, 1)}};
	struct tr_call call = {
		.trajectory_id = trajectory,
		.tool = "bash",
		.arguments = tr_map(arguments, wait_s > 0 ? 1 : 0),
		.timeout_s = 600,
	};
	uint64_t id;
	int r = tr_submit_wait(c, &call, WAIT_MS, &id);

	check(r == 0, "submit: %s", strerror(-r));
	return id;
}

static uint64_t submit_other(struct tr_client *c, enum tr_kind kind, const char *trajectory)
{
	struct tr_call call = {.kind = kind, .trajectory_id = trajectory};
	uint64_t id;
	int r = tr_submit_wait(c, &call, WAIT_MS, &id);

	check(r == 0, "submit: %s", strerror(-r));
	return id;
}

static void ends_as(struct tr_client *c, uint64_t id, enum tr_verdict verdict, const char *what)
{
	struct tr_result result = {0};
	int r = tr_wait(c, id, &result, WAIT_MS);

	check(r == 0, "%s: %s", what, strerror(-r));
	check(result.verdict == verdict, "%s ended as %s: %s", what,
	      tr_verdict_name(result.verdict), result.error.data);
	check(result.success == (verdict == TR_OK), "%s: success", what);
	tr_result_deinit(&result);
}

/* The slot that the trajectory has, -1: none was given. */
static int slot_of(struct tr_client *c, const char *trajectory)
{
	struct tr_result result = {0};
	int slot = -1;
	int r = tr_acquire(c, trajectory, NULL, &result, WAIT_MS);

	check(r == 0, "acquire %s: %s", trajectory, strerror(-r));
	check(result.verdict == TR_OK && sscanf(result.slot_id.data, "fake-%d", &slot) == 1,
	      "acquire %s: %s, '%s'", trajectory, tr_verdict_name(result.verdict),
	      result.error.data);
	tr_result_deinit(&result);
	return slot;
}

/* Waits until so many calls run and wait. The gauges are those of the last turn: a ping makes one. */
static void until_calls(struct tr_client *c, uint64_t n_running, uint64_t n_queued)
{
	const struct tr_stats *s = tr_stats(c);
	struct patience p = {0};

	while (__atomic_load_n(&s->calls_running, __ATOMIC_RELAXED) != n_running ||
	       __atomic_load_n(&s->calls_queued, __ATOMIC_RELAXED) != n_queued) {
		check(patience_look_again(&p), "%lu calls run and %lu wait, not %lu and %lu",
		      s->calls_running, s->calls_queued, n_running, n_queued);
		check(tr_ping(c, WAIT_MS, NULL) == 0, "ping");
	}
}

/* ---- verdicts -------------------------------------------------------------------------------------- */

/*
 * A call that ran is unknown, whatever it is; one that waited behind it, or for a slot, never began.
 * The client is connected again by its next call.
 */
static void verdicts_are_true(const char *program)
{
	struct tr_client *c;
	uint64_t running[2], behind[3], without_slot, reset, release, behind_release;
	struct daemon d;

	daemon_start(&d, program, "--slots-max", "4", "--fake", "release_s=600", "--limit",
		     "stop_grace_ms=0", NULL);
	c = open_client(&d, 0);
	running[0] = submit(c, "a", 600);
	behind[0] = submit(c, "a", 0);
	behind[1] = submit_other(c, TR_KIND_RESET, "a");
	running[1] = submit(c, "b", 600);
	behind[2] = submit_other(c, TR_KIND_RELEASE, "b");
	slot_of(c, "c");
	reset = submit_other(c, TR_KIND_RESET, "c");
	slot_of(c, "d");
	release = submit_other(c, TR_KIND_RELEASE, "d");
	behind_release = submit(c, "d", 0);
	without_slot = submit(c, "e", 0);
	until_calls(c, 4, 5);
	daemon_kill_executor(&d);
	ends_as(c, running[0], TR_UNKNOWN, "the running call");
	ends_as(c, running[1], TR_UNKNOWN, "the other running call");
	ends_as(c, reset, TR_UNKNOWN, "the running reset");
	ends_as(c, release, TR_UNKNOWN, "the running release");
	ends_as(c, behind[0], TR_NOT_STARTED, "the call behind");
	ends_as(c, behind[1], TR_NOT_STARTED, "the reset behind");
	ends_as(c, behind[2], TR_NOT_STARTED, "the release behind");
	ends_as(c, behind_release, TR_NOT_STARTED, "the call behind a release");
	ends_as(c, without_slot, TR_NOT_STARTED, "the call without a slot");
	ends_as(c, submit(c, "b", 0), TR_OK, "a call afterwards");
	check(tr_session_count(c) == 2, "%lu sessions", tr_session_count(c));
	check(tr_n_in_flight(c) == 0, "something is in flight");
	tr_close(c);
	daemon_stop(&d);
}

/* With TR_OPEN_RESUBMIT, what never began is sent again by itself, in its order, and ends once. */
static void resubmitted(const char *program)
{
	enum {
		N_BEHIND = 20
	};
	struct tr_result result = {0};
	uint64_t first, behind[N_BEHIND];
	struct tr_client *c;
	struct daemon d;

	daemon_start(&d, program, NULL);
	c = open_client(&d, TR_OPEN_RESUBMIT);
	first = submit(c, "a", 600);
	for (int i = 0; i < N_BEHIND; i++)
		behind[i] = submit(c, "a", 0);
	until_calls(c, 1, N_BEHIND);
	daemon_kill_executor(&d);
	check(tr_reap(c, &result, WAIT_MS) == 0, "reap");
	check(result.call_id == first && result.verdict == TR_UNKNOWN, "the first is %s",
	      tr_verdict_name(result.verdict));
	for (int i = 0; i < N_BEHIND; i++) {
		check(tr_reap(c, &result, WAIT_MS) == 0, "reap");
		check(result.call_id == behind[i] && result.verdict == TR_OK,
		      "result %d is %s, of call %lu", i, tr_verdict_name(result.verdict),
		      result.call_id);
	}
	check(tr_reap(c, &result, 0) == -ENOENT, "one result too many");
	tr_result_deinit(&result);
	tr_close(c);
	daemon_stop(&d);
}

/* The fake backend kills its executor from inside a call: that one is unknown, as often as it is tried. */
static void killed_by_a_call(const char *program)
{
	struct tr_member script[] = {{"die", tr_string("executor")}};
	struct tr_member arguments[] = {{"fake", tr_map(script, 1)}};
	struct tr_call call = {
		.trajectory_id = "a", .tool = "bash", .arguments = tr_map(arguments, 1)};
	struct tr_result result = {0};
	struct tr_client *c;
	struct daemon d;

	daemon_start(&d, program, NULL);
	c = open_client(&d, TR_OPEN_RESUBMIT);
	for (int i = 0; i < 5; i++) {
		int r = tr_call_wait(c, &call, &result, WAIT_MS);

		check(r == 0, "%s", strerror(-r));
		check(result.verdict == TR_UNKNOWN, "%s", tr_verdict_name(result.verdict));
	}
	check(tr_ping(c, WAIT_MS, NULL) == 0, "ping");
	tr_result_deinit(&result);
	tr_close(c);
	daemon_stop(&d);
}

/* ---- slots ----------------------------------------------------------------------------------------- */

/*
 * A trajectory has the slot that it had before, whatever was given back in between; one that comes
 * later gets none of those. Slots whose client does not come back are free after the grace time (shown in system/review_restart.c).
 */
static void slots_are_kept(const char *program)
{
	enum {
		N = 9
	};
	struct tr_client *c, *late;
	struct tr_result result = {0};
	struct patience p = {0};
	const struct tr_stats *s;
	int slots[N], slot;
	char id[16];
	struct daemon d;

	daemon_start(&d, program, "--limit", "recovery_grace_ms=1500", NULL);
	c = open_client(&d, TR_OPEN_RESUBMIT);
	late = open_client(&d, TR_OPEN_RESUBMIT);
	for (int i = 0; i < N; i++) {
		snprintf(id, sizeof(id), "t%d", i);
		slots[i] = slot_of(c, id);
		for (int j = 0; j < i; j++)
			check(slots[j] != slots[i], "slot %d is given twice", slots[i]);
	}
	for (int i = 0; i < N; i += 2) {
		snprintf(id, sizeof(id), "t%d", i);
		check(tr_release(c, id, true, &result, WAIT_MS) == 0, "release");
		check(result.verdict == TR_OK, "release: %s", result.error.data);
	}
	daemon_kill_executor(&d);
	/* All but t1 are used again. */
	for (int i = 3; i < N; i += 2) {
		snprintf(id, sizeof(id), "t%d", i);
		slot = slot_of(c, id);
		check(slot == slots[i], "%s has slot %d, and had %d", id, slot, slots[i]);
	}
	slot = slot_of(late, "another");
	for (int i = 3; i < N; i += 2)
		check(slot != slots[i], "slot %d is given twice", slot);
	s = tr_stats(c);
	check(s, "no statistics");
	/* Those, the other one, and t1: its client is back too, if quiet (system/review_restart.c). */
	while (__atomic_load_n(&s->slots_used, __ATOMIC_RELAXED) != N / 2 + 1) {
		check(patience_look_again(&p), "%lu slots are in use, not %d", s->slots_used,
		      N / 2 + 1);
		check(tr_ping(c, WAIT_MS, NULL) == 0, "ping");
	}
	/* And once more: what was taken over is taken over again. */
	daemon_kill_executor(&d);
	check(slot_of(late, "another") == slot, "the second time");
	check(slot_of(c, "t5") == slots[5], "the second time");
	tr_result_deinit(&result);
	tr_close(c);
	tr_close(late);
	daemon_stop(&d);
}

/* ---- what is left ---------------------------------------------------------------------------------- */

/*
 * A name that an executor left in /dev/shm because it was killed between making and removing it goes
 * with the next executor; and this is the place that shows that daemon_n_shm() counts the right ones.
 */
static void names_are_swept(const char *program)
{
	char prefix[64], path[128];
	struct patience p = {0};
	struct daemon d;
	int fd;

	daemon_start(&d, program, NULL);
	daemon_shm_prefix(&d, prefix, sizeof(prefix));
	snprintf(path, sizeof(path), "/dev/shm/%sleft", prefix);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	check(fd >= 0, "%s", path);
	close(fd);
	check(daemon_n_shm(&d) == 1, "it is not counted");
	daemon_kill_executor(&d);
	while (daemon_n_shm(&d)) {
		if (!patience_look_again(&p)) {
			unlink(path);
			check(false, "%s stays", path);
		}
	}
	daemon_stop(&d);
}

/* An executor that dies again and again: toolringd says so and ends with 1, and calls get verdicts. */
static void keeper_gives_up(const char *program)
{
	struct tr_client *c, *none;
	struct patience p = {0};
	uint64_t running, behind;
	struct daemon d;
	pid_t executor;
	int r;

	daemon_start(&d, program, "--limit", "restarts_max=3", "--limit",
		     "restarts_window_ms=600000", NULL);
	for (int i = 0; i < 3; i++)
		daemon_kill_executor(&d);
	c = open_client(&d, TR_OPEN_RESUBMIT);
	running = submit(c, "a", 600);
	behind = submit(c, "a", 0);
	until_calls(c, 1, 1);
	executor = daemon_executor(&d, 0);
	check(kill(executor, SIGKILL) == 0, "kill");
	ends_as(c, running, TR_UNKNOWN, "the running call");
	while (!daemon_said(&d, "giving up"))
		check(patience_look_again(&p), "it does not say that it gives up");
	check(daemon_said(&d, "restarts_max"), "it does not name the limit");
	daemon_ends(&d, 1);
	r = tr_ping(c, 200, NULL);
	check(r == -ENOTCONN || r == -ETIMEDOUT, "ping: %d", r);
	r = tr_open(&none, d.socket);
	check(r == -ENOENT, "open: %d", r);
	/* What never began still waits to be sent again; closing is what ends it. */
	check(tr_cancel(c, behind) == 0, "cancel");
	tr_close(c);
}

/* The keeper killed with -9: its executor ends, and a new start at the same socket works at once. */
static void keeper_killed(const char *program)
{
	struct tr_client *c;
	uint64_t running, behind;
	struct daemon d;
	pid_t executor;

	daemon_start(&d, program, NULL);
	for (int i = 0; i < 10; i++) {
		c = open_client(&d, 0);
		running = submit(c, "a", 600);
		behind = submit(c, "a", 0);
		until_calls(c, 1, 1);
		executor = daemon_executor(&d, 0);
		daemon_kill_keeper(&d);
		daemon_start_again(&d);
		process_is_gone(executor);
		/* The executor has the time to say so. */
		ends_as(c, running, TR_CANCELLED, "the running call");
		ends_as(c, behind, TR_NOT_STARTED, "the call behind");
		ends_as(c, submit(c, "a", 0), TR_OK, "a call to the new one");
		check(tr_session_count(c) == 2, "%lu sessions", tr_session_count(c));
		check(daemon_n_shm(&d) == 0, "/dev/shm");
		tr_close(c);
	}
	daemon_stop(&d);
}

int main(int argc, char **argv)
{
	const char *program = daemon_program(argc, argv);
	static const struct {
		const char *name;
		void (*run)(const char *program);
	} tests[] = {
		{"verdicts are true", verdicts_are_true},
		{"what never began is sent again", resubmitted},
		{"killed by a call", killed_by_a_call},
		{"slots are kept", slots_are_kept},
		{"names in /dev/shm are swept", names_are_swept},
		{"the keeper gives up", keeper_gives_up},
		{"the keeper is killed", keeper_killed},
	};

	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++) {
		if (argc > 2 && !strstr(tests[i].name, argv[2]))
			continue;
		printf("%s\n", tests[i].name);
		fflush(stdout);
		tests[i].run(program);
	}
	return 0;
}
