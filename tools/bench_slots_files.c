/* SPDX-License-Identifier: Apache-2.0 */
/* What reading a file of 1 KiB takes, one at a time, and how many go through. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_slots.h"
#include "bench_tool.h"
#include "bench_slots_uring.h"
#include "bench_turns.h"
#include "cli.h"

#define N_TRAJECTORIES 64
#define N_LANES        128 /* two calls for each: a slot that is done has its next one at hand */
#define FILE_NAME      "bench.txt"
#define REQUEST_BYTES  64

static const char *content(void)
{
	static char text[BENCH_FILE_BYTES];

	memset(text, 'x', sizeof(text));
	for (size_t i = 63; i < sizeof(text); i += 64)
		text[i] = '\n';
	return text;
}

/* A process that answers each request with as many bytes as the file has, and nothing else. */
struct echo {
	pid_t pid;
	int socket;
};

static _Noreturn void become_echo(int socket, pid_t parent)
{
	char request[REQUEST_BYTES];
	const char *answer = content();

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	while (recv(socket, request, sizeof(request), 0) > 0)
		if (send(socket, answer, BENCH_FILE_BYTES, MSG_NOSIGNAL) != BENCH_FILE_BYTES)
			break;
	_exit(0);
}

/* core: to run on; -1: any. */
static int echo_start(struct echo *echo, int core)
{
	pid_t us = getpid();
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	echo->pid = fork();
	if (echo->pid == 0) {
		close(pair[0]);
		if (core >= 0)
			bench_pin(core);
		become_echo(pair[1], us);
	}
	close(pair[1]);
	echo->socket = pair[0];
	return echo->pid < 0 ? -errno : 0;
}

static void echo_stop(struct echo *echo)
{
	if (echo->socket < 0)
		return;
	close(echo->socket);
	if (echo->pid > 0)
		waitpid(echo->pid, NULL, 0);
}

static int echo_step(void *data)
{
	static char answer[BENCH_FILE_BYTES];
	const struct echo *echo = data;
	const char request[REQUEST_BYTES] = {0};

	if (send(echo->socket, request, sizeof(request), MSG_NOSIGNAL) != sizeof(request) ||
	    recv(echo->socket, answer, sizeof(answer), 0) != sizeof(answer))
		return -EPIPE;
	return 0;
}

static int write_file(struct tr_client *client, const char *use, uint64_t number)
{
	_cleanup_(bench_tool_deinit) struct bench_tool write = {0};

	bench_tool_write(&write, client, use, FILE_NAME, content(), BENCH_FILE_BYTES);
	write.trajectory = bench_name(use, number);
	return bench_tool_call(&write);
}

/* core: of toolringd and of the other process; -1: any. */
static int time_reads(struct bench_suite *suite, int core, double *ret_ns, double *ret_echo_ns)
{
	_cleanup_(bench_suite_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(bench_tool_deinit) struct bench_tool tool = {0};
	_cleanup_(echo_stop) struct echo echo = {.socket = -1};
	size_t n = suite->options.quick ? 100 : 5000;
	struct bench_side sides[] = {
		{.step = bench_tool_call, .data = &tool, .n_steps = n},
		{.step = echo_step, .data = &echo, .n_steps = n},
	};
	int r = bench_suite_start_on(suite, core, NULL, &daemon, &client);

	bench_tool_read(&tool, client, "file", FILE_NAME);
	if (r == 0)
		r = write_file(client, "file", 0);
	if (r == 0)
		r = echo_start(&echo, core);
	if (r == 0)
		r = bench_turns(sides, N_ELEMENTS(sides), suite->options.quick ? 1 : 7);
	*ret_ns = sides[0].p50_ns;
	*ret_echo_ns = sides[1].p50_ns;
	return r;
}

/*
 * What is judged: we on one core, toolringd with its slots (or the other process) on another, as in
 * bench ring. Left to itself the kernel may put both on one core, where a switch between two
 * processes that do nothing else takes a twentieth of the time; or not, and then it takes as long.
 */
int bench_slots_read(struct bench_suite *suite)
{
	double ns;
	double echo_ns;
	int r;

	if (bench_suite_wants(suite, "read_file_p50")) {
		bench_pin(suite->cores.ours);
		r = time_reads(suite, suite->cores.theirs, &ns, &echo_ns);
		bench_unpin();
		if (r < 0)
			return r;
		bench_suite_add(suite, &(struct bench_row){.name = "read_file_p50",
							   .value = ns,
							   .unit = BENCH_NS,
							   .baseline = "bare socketpair round trip",
							   .baseline_value = echo_ns,
							   .target = BENCH_AT_MOST,
							   .limit = 1.5});
	}
	if (!bench_suite_wants(suite, "read_file_any_core"))
		return 0;
	r = time_reads(suite, -1, &ns, &echo_ns);
	if (r < 0)
		return r;
	bench_suite_add(suite, &(struct bench_row){.name = "read_file_any_core",
						   .value = ns,
						   .unit = BENCH_NS,
						   .baseline = "bare, on whatever cores",
						   .baseline_value = echo_ns});
	return 0;
}

/* read_file on all trajectories. */
struct crowd {
	struct tr_client *client;
	struct bench_tool tool;
};

static int crowd_next(void *data, size_t lane, struct tr_call *ret_call)
{
	struct crowd *crowd = data;

	crowd->tool.trajectory = bench_name("file", lane % N_TRAJECTORIES);
	bench_tool_fill(&crowd->tool, ret_call);
	return 0;
}

static int crowd_run(void *data, uint64_t end_ns, uint64_t *ret_n)
{
	struct crowd *crowd = data;
	const struct bench_flight flight = {
		.client = crowd->client, .next = crowd_next, .data = crowd, .n_lanes = N_LANES};

	return bench_flight_run(&flight, end_ns, ret_n);
}

static int make_host_file(const struct bench_suite *suite)
{
	char path[160];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/" FILE_NAME, suite->dir);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	n = write(fd, content(), BENCH_FILE_BYTES);
	close(fd);
	return n == BENCH_FILE_BYTES ? 0 : -EIO;
}

static void cleanup_readers(struct bench_readers **readers)
{
	bench_readers_stop(*readers);
}

int bench_slots_read_rate(struct bench_suite *suite)
{
	_cleanup_(bench_suite_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(cleanup_readers) struct bench_readers *readers = NULL;
	struct crowd crowd = {0};
	uint64_t duration_ns = (suite->options.quick ? 100 : 2000) * (uint64_t)BENCH_NS_PER_MS;
	int r = make_host_file(suite);

	if (r == 0)
		r = bench_readers_start(&readers, N_TRAJECTORIES, suite->dir, FILE_NAME);
	if (r == 0)
		r = bench_suite_start(suite, NULL, &daemon, &client);
	crowd.client = client;
	bench_tool_read(&crowd.tool, client, "file", FILE_NAME);
	for (uint64_t i = 0; i < N_TRAJECTORIES && r == 0; i++)
		r = write_file(client, "file", i);
	if (r == 0) {
		struct bench_racer racers[] = {
			{.run = crowd_run, .data = &crowd},
			{.run = bench_readers_run, .data = readers},
		};

		r = bench_races(racers, N_ELEMENTS(racers), suite->options.quick ? 1 : 5,
				duration_ns, 0);
		if (r < 0)
			return r;
		bench_suite_add(suite,
				&(struct bench_row){.name = "read_file_rate_64",
						    .value = racers[0].rate,
						    .unit = BENCH_PER_SECOND,
						    .baseline = "bare io_uring over 64 readers",
						    .baseline_value = racers[1].rate,
						    .target = BENCH_AT_LEAST,
						    .limit = 0.6});
	}
	return r;
}
