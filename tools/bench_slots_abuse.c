/* SPDX-License-Identifier: Apache-2.0 */
/* What calls take while other slots are abused. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_slots.h"
#include "bench_tool.h"
#include "bench_turns.h"
#include "cli.h"

#define N_VICTIMS 4
#define N_TURNS   3
#define ABUSE_S   3 /* how long each may run before it is ended and started again */

/* Each goes on for ever, or as long as it is let. */
static const char *const abuses[] = {
	/* fork bomb */
	"bomb() { bomb | bomb & }; while :; do bomb; done",
	/* memory bomb */
	"while :; do tail /dev/zero; done",
	/* disk filler */
	"while :; do cat /dev/zero >fill; rm -f fill; done",
	/* endless output */
	"yes",
	/* thread bomb */
	"python3 -c 'import threading, time\n"
	"while True:\n"
	"  try: threading.Thread(target=time.sleep, args=(100,)).start()\n"
	"  except RuntimeError: time.sleep(0.01)' || "
	"while :; do sleep 100 & done",
	/* 10,000 zombies */
	"python3 -c 'import os, time\n"
	"for i in range(10000):\n"
	"  try: os.fork() or os._exit(0)\n"
	"  except OSError: time.sleep(0.01)\n"
	"time.sleep(100)' || "
	"{ for i in {1..300}; do sleep 0.2 & done; exec sleep 100; }",
};

#define N_ABUSES N_ELEMENTS(abuses)

static int abuse_start(struct tr_client *client, size_t i)
{
	_cleanup_(bench_tool_deinit) struct bench_tool tool;
	struct tr_call call;

	bench_tool_bash(&tool, client, "abuse", abuses[i]);
	tool.trajectory = bench_name("abuse", i);
	tool.timeout_s = ABUSE_S;
	bench_tool_fill(&tool, &call);
	call.user_data = (void *)(uintptr_t)i;
	return tr_submit(client, &call, NULL);
}

static int abuse_acquire(struct tr_client *client, size_t i)
{
	_cleanup_(bench_tool_deinit) struct bench_tool tool;

	bench_tool_bash(&tool, client, "abuse", "");
	tool.trajectory = bench_name("abuse", i);
	return bench_tool_other(&tool, TR_KIND_ACQUIRE);
}

/* All abuses, each started again when it ended, until we are killed. How they end does not matter. */
static int abuse(const struct bench_daemon *daemon, int ready_fd)
{
	struct tr_client *client;
	struct tr_result result = {0};
	int r = bench_open(daemon, &client);

	for (size_t i = 0; i < N_ABUSES && r == 0; i++)
		r = abuse_acquire(client, i);
	for (size_t i = 0; i < N_ABUSES && r == 0; i++)
		r = abuse_start(client, i);
	if (r < 0 || write(ready_fd, "r", 1) != 1)
		return r;
	while (r == 0) {
		r = tr_reap(client, &result, -1);
		if (r == 0)
			r = abuse_start(client, (size_t)(uintptr_t)result.user_data);
	}
	return r;
}

static int abuser_start(const struct bench_daemon *daemon, pid_t *ret_pid)
{
	pid_t us = getpid();
	char byte;
	int ready[2];
	ssize_t n;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != us)
			_exit(1);
		close(ready[0]);
		_exit(abuse(daemon, ready[1]) < 0 ? 1 : 0);
	}
	close(ready[1]);
	n = pid < 0 ? -1 : read(ready[0], &byte, 1);
	close(ready[0]);
	if (pid > 0)
		*ret_pid = pid;
	return n == 1 ? 0 : -EPIPE;
}

/* Its session ends with it, and so do its calls and its slots. */
static void abuser_stop(const pid_t *pid)
{
	if (*pid <= 0)
		return;
	kill(*pid, SIGKILL);
	waitpid(*pid, NULL, 0);
}

struct samples {
	uint64_t *ns;
	size_t n;
};

static void samples_deinit(struct samples *s)
{
	free(s->ns);
}

/* n calls, on all victims in turn. */
static int sample(struct bench_tool victims[N_VICTIMS], struct samples *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t before = bench_now_ns();
		int r = bench_tool_call(&victims[i % N_VICTIMS]);

		if (r < 0)
			return r;
		s->ns[s->n++] = bench_now_ns() - before;
	}
	return 0;
}

static int sample_abused(const struct bench_daemon *daemon, struct bench_tool victims[N_VICTIMS],
			 struct samples *s, size_t n)
{
	_cleanup_(abuser_stop) pid_t abuser = 0;
	int r = abuser_start(daemon, &abuser);

	if (r < 0)
		return r;
	bench_sleep_ns(500 * BENCH_NS_PER_MS);
	return sample(victims, s, n);
}

int bench_slots_abuse(struct bench_suite *suite)
{
	_cleanup_(bench_suite_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(samples_deinit) struct samples quiet = {0};
	_cleanup_(samples_deinit) struct samples abused = {0};
	static struct bench_tool victims[N_VICTIMS];
	int n_turns = suite->options.quick ? 1 : N_TURNS;
	size_t n = suite->options.quick ? 40 : 2000;
	int r = bench_suite_start(suite, NULL, &daemon, &client);

	quiet.ns = calloc(n * N_TURNS, sizeof(*quiet.ns));
	abused.ns = calloc(n * N_TURNS, sizeof(*abused.ns));
	if (!quiet.ns || !abused.ns)
		return -ENOMEM;
	for (size_t i = 0; i < N_VICTIMS; i++) {
		bench_tool_bash(&victims[i], client, "victim", "true");
		victims[i].trajectory = bench_name("victim", i);
		for (int k = 0; k < 3 && r == 0; k++)
			r = bench_tool_call(&victims[i]);
	}
	for (int turn = 0; turn < n_turns && r == 0; turn++) {
		r = sample(victims, &quiet, n);
		if (r == 0)
			r = sample_abused(&daemon, victims, &abused, n);
		/* Until all that is gone. */
		bench_sleep_ns((suite->options.quick ? 500 : 3000) * (uint64_t)BENCH_NS_PER_MS);
	}
	for (size_t i = 0; i < N_VICTIMS; i++)
		bench_tool_deinit(&victims[i]);
	if (r == 0)
		bench_suite_add(suite,
				&(struct bench_row){
					.name = "abuse_p99",
					.value = bench_percentile(abused.ns, abused.n, 0.99),
					.unit = BENCH_NS,
					.baseline = "p99 while all is quiet",
					.baseline_value = bench_percentile(quiet.ns, quiet.n, 0.99),
					.target = BENCH_AT_MOST,
					.limit = 3});
	return r;
}
