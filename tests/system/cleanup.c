/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that nothing is left of who dies, and that a start never trips over an earlier run: clients
 * killed with -9, the keeper, the whole of toolringd, a socket that somebody else has.
 */
#include "world.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* A client that was killed is gone soon, with its calls, its trajectories and its slots. */
static void killed_client_is_cleaned_up(void **state)
{
	struct world *w = *state;
	struct tr_client *c, *own;
	pid_t pids[3];

	world_start(w, NULL);
	c = world_client(w);
	expect(c, "kept", NULL, TR_OK);
	for (int i = 0; i < 3; i++) {
		pids[i] = world_fork(w);
		if (pids[i])
			continue;
		if (world_open(w, &own, NULL, 0) < 0)
			_exit(1);
		for (int k = 0; k < 20; k++) {
			char name[16];

			snprintf(name, sizeof(name), "t-%d-%d", i, k / 2);
			if (try_submit(own, name, FOREVER, &(uint64_t){0}) < 0)
				_exit(1);
		}
		for (;;)
			pause();
	}
	status_becomes(c, "calls_running", NULL, 30);
	status_becomes(c, "calls_queued", NULL, 30);
	assert_int_equal(status(c, "slots", "used"), 31);
	for (int i = 0; i < 3; i++)
		assert_true(WIFSIGNALED(world_reap(w, pids[i])));
	sessions_become(c, 1);
	status_becomes(c, "slots", "used", 1);
	assert_int_equal(status(c, "calls_running", NULL), 0);
	assert_int_equal(status(c, "calls_queued", NULL), 0);
	assert_int_equal(status(c, "trajectories", NULL), 1);
}

/* With the keeper and the executor killed, a new start at the same socket works as if nothing was. */
static void start_after_a_kill(void **state)
{
	struct world *w = *state;
	struct tr_client *c, *after;
	uint64_t id;
	int r;

	world_start(w, NULL);
	c = world_client(w);
	id = submit(c, "a", FOREVER);
	status_becomes(c, "calls_running", NULL, 1);
	world_kill(w, executor_pid(c), true);
	/* The dead one's socket is still there. */
	assert_int_equal(access(w->socket, F_OK), 0);
	expect_result(c, id, TR_UNKNOWN);
	world_start(w, NULL);
	after = world_client(w);
	expect(after, "a", NULL, TR_OK);
	assert_int_equal(status(after, "generation", NULL), 1);
	assert_int_equal(status(after, "slots", "used"), 1);
	/* The client of the first attaches to the second. */
	while ((r = tr_ping(c, LONG_MS, NULL)) == -ENOTCONN)
		look_again_soon();
	assert_int_equal(r, 0);
	assert_int_equal(tr_session_count(c), 2);
}

/* An executor does not outlive its keeper, and what it was doing is answered. */
static void executor_follows_its_keeper(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	uint64_t id;

	world_start(w, NULL);
	c = world_client_with(w, (struct tr_options){.flags = TR_OPEN_NO_RECONNECT});
	id = submit(c, "a", FOREVER);
	status_becomes(c, "calls_running", NULL, 1);
	world_kill(w, executor_pid(c), false);
	expect_result(c, id, TR_CANCELLED);
	world_start(w, NULL);
	expect(world_client(w), "a", NULL, TR_OK);
}

/* Starts another toolringd at the same socket, which must not work; text is what it says. */
static void second_start_fails(struct world *w, const char *text)
{
	const char *const none[] = {NULL};
	struct world second = *w;
	char *said;
	int end;

	assert_false(world_try_start(&second, none, NULL, &end));
	assert_true(WIFEXITED(end));
	assert_int_equal(WEXITSTATUS(end), 1);
	said = world_said(w);
	if (!strstr(said, text))
		print_error("\"%s\" is not in: %s\n", text, said);
	assert_non_null(strstr(said, text));
	free(said);
}

/* A live instance is left alone by another start at its socket. */
static void live_instance_is_left_alone(void **state)
{
	struct world *w = *state;
	struct tr_client *c;

	world_start(w, NULL);
	c = world_client(w);
	second_start_fails(w, "is running at");
	expect(c, "a", NULL, TR_OK);
	expect(world_client(w), "b", NULL, TR_OK);
}

/* What lies at the socket's place and is no socket is not ours to remove. */
static void file_in_its_place_is_kept(void **state)
{
	struct world *w = *state;
	int fd;

	world_place(w);
	fd = open(w->socket, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	second_start_fails(w, "is no socket");
	assert_int_equal(access(w->socket, F_OK), 0);
	/* The twin: with it gone, the start works. */
	assert_int_equal(unlink(w->socket), 0);
	world_start(w, NULL);
	expect(world_client(w), "a", NULL, TR_OK);
}

/* Many sessions, one after another, cost nothing that stays. */
static void sessions_leave_nothing(void **state)
{
	struct world *w = *state;
	struct tr_client *c;

	world_start(w, "--limit", "sessions_max=8", NULL);
	c = world_client(w);
	for (int i = 0; i < 300; i++) {
		struct tr_client *own = NULL;
		int r;

		while ((r = world_open(w, &own, NULL, 0)) == -EUSERS)
			look_again_soon();
		assert_int_equal(r, 0);
		submit(own, "a", i % 2 ? NULL : FOREVER);
		tr_close(own);
	}
	sessions_become(c, 1);
	status_becomes(c, "slots", "used", 0);
	assert_int_equal(status(c, "trajectories", NULL), 0);
	assert_int_equal(status(c, "calls_running", NULL), 0);
	assert_int_equal(tr_stats(c)->sessions_total, 301);
	assert_int_equal(tr_stats(c)->sessions_lost_total, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		world_test(killed_client_is_cleaned_up), world_test(start_after_a_kill),
		world_test(executor_follows_its_keeper), world_test(live_instance_is_left_alone),
		world_test(file_in_its_place_is_kept),   world_test(sessions_leave_nothing),
	};

	world_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
