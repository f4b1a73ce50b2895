/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that no wake-up is lost where everybody sleeps each time: the executor does not spin, nor do
 * the clients. One that was lost would leave a client with an event loop in poll() for ever, and the
 * executor in its sleep, which has no bound either; then the watchdog ends the test. (A client that
 * blocks looks by itself now and then; there the calls are only shown to be answered.)
 */
#include "world.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#define WATCHDOG_S 150

struct share {
	int n;      /* calls */
	int n_deep; /* in flight at a time; 0: blocks for each */
};

static bool submit_one(struct tr_client *c, int i)
{
	static const struct script brief = {.wait_s = 0.0001};
	uint64_t id;

	if (i % 2)
		return tr_submit_raw(c, TR_KIND_PING, &i, sizeof(i), NULL, 0, &id) == 0;
	return try_submit(c, "a", i % 16 ? NULL : &brief, &id) == 0;
}

/* false: something else than a result came. */
static bool reap_all(struct tr_client *c, int *n_reaped)
{
	static struct tr_result result;
	int r;

	while ((r = tr_reap(c, &result, 0)) == 0) {
		if (result.verdict != TR_OK)
			return false;
		++*n_reaped;
	}
	return r == -EAGAIN || r == -ENOENT;
}

static bool run_event_loop(struct tr_client *c, const struct share *s)
{
	struct pollfd p = {.fd = tr_fd(c), .events = POLLIN};
	int n_submitted = 0, n_reaped = 0;

	while (n_reaped < s->n) {
		int r;

		while (n_submitted < s->n && n_submitted - n_reaped < s->n_deep)
			if (!submit_one(c, n_submitted++))
				return false;
		r = tr_fd_arm(c);
		if (r < 0 || (r == 0 && poll(&p, 1, -1) < 0) || !reap_all(c, &n_reaped))
			return false;
	}
	return true;
}

static bool run_blocking(struct tr_client *c, const struct share *s)
{
	static struct tr_result result;

	for (int i = 0; i < s->n; i++)
		if (!submit_one(c, i) || tr_reap(c, &result, LONG_MS) < 0 ||
		    result.verdict != TR_OK)
			return false;
	return true;
}

static _Noreturn void be_client(const struct world *w, const struct share *s)
{
	const struct tr_options options = {
		.size = sizeof(options),
		.name = w->socket,
		.spin_us = -1,
		/* Small enough that the executor, too, waits for room now and then. */
		.completion_bytes = 4096,
	};
	struct tr_client *c;
	bool well;

	alarm(WATCHDOG_S);
	well = tr_open_with(&c, &options) == 0 &&
	       (s->n_deep ? run_event_loop(c, s) : run_blocking(c, s));
	_exit(well ? 0 : 1);
}

static void all_are_answered(struct world *w, const char *io_disable)
{
	static const struct share shares[] = {{20000, 1}, {40000, 24}, {20000, 0}};
	pid_t pids[3];

	world_start(w, "--spin-us", "0", "--io-disable", io_disable, NULL);
	for (int i = 0; i < 3; i++) {
		pids[i] = world_fork(w);
		if (pids[i] == 0)
			be_client(w, &shares[i]);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(world_wait_child(w, pids[i]), 0);
}

/* The clients wake the executor by futex, where the kernel can wait for one in io_uring. */
static void by_futex(void **state)
{
	all_are_answered(*state, "");
}

/* They do it by a byte on the socket. */
static void by_socket(void **state)
{
	all_are_answered(*state, "futex");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		world_test(by_futex),
		world_test(by_socket),
	};

	world_main(argc, argv);
	alarm(2 * WATCHDOG_S);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
