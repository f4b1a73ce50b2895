/* SPDX-License-Identifier: Apache-2.0 */

/* zygote_host's main: runs commands for zygote.py, checks the protocol, measures. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "zygote_host.h"

#define TIMEOUT_MS 10000
#define OUTPUT_MAX (1 << 20) /* bytes kept; what a command says past them is dropped */

/* ---- One command ------------------------------------------------------------------------------- */

struct bytes {
	char *data;
	size_t n;
	size_t size;
};

struct run {
	int status; /* as of waitpid() */
	bool timed_out;
	struct bytes out;
	struct bytes err;
};

/* False at the end of fd. */
static bool bytes_read(struct bytes *b, int fd)
{
	char dropped[65536];
	ssize_t n;

	if (b->n >= OUTPUT_MAX) {
		n = read(fd, dropped, sizeof(dropped));
		return n > 0 || (n < 0 && errno == EINTR);
	}

	if (b->size - b->n < 65536) {
		b->size = b->size * 2 + 65536;
		b->data = realloc(b->data, b->size);
		if (!b->data)
			host_die("memory");
	}
	n = read(fd, b->data + b->n, b->size - b->n);
	if (n > 0)
		b->n += (size_t)n;
	return n > 0 || (n < 0 && errno == EINTR);
}

static int stdin_of(const char *text, size_t n)
{
	int pair[2];

	if (n == 0)
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (pipe2(pair, O_CLOEXEC) < 0 || write(pair[1], text, n) != (ssize_t)n)
		host_die("stdin");
	close(pair[1]);
	return pair[0];
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Reads what the command says until it ends; what it left behind is killed, then the rest is read. */
static void run_watch(struct host *h, struct run *run, pid_t pid, int out, int err)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int64_t end = now_ns() + (int64_t)TIMEOUT_MS * 1000000;
	struct pollfd fds[] = {{out, POLLIN, 0}, {err, POLLIN, 0}, {pidfd, POLLIN, 0}};

	if (pidfd < 0)
		host_die("pidfd_open");
	while (!fds[2].revents) {
		int64_t left_ms = (end - now_ns()) / 1000000;

		if (left_ms <= 0) {
			run->timed_out = true;
			kill(pid, SIGKILL);
			break;
		}
		if (poll(fds, 3, (int)left_ms) < 0 && errno != EINTR)
			host_die("poll");
		if (fds[0].revents && !bytes_read(&run->out, out))
			fds[0].fd = -1;
		if (fds[1].revents && !bytes_read(&run->err, err))
			fds[1].fd = -1;
	}
	waitpid(pid, &run->status, 0);
	close(pidfd);
	host_room(h, 'C');
	while (bytes_read(&run->out, out))
		;
	while (bytes_read(&run->err, err))
		;
}

static void run_command(struct host *h, enum host_side side, const char *text, size_t n,
			const char *input, size_t n_input, struct run *run)
{
	int out[2];
	int err[2];
	int command[2];
	pid_t pid;

	host_room(h, 'P');
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, command) < 0)
		host_die("pipes");
	const int fds[ZYGOTE_N_FDS] = {stdin_of(input, n_input), out[1], err[1], command[1]};

	pid = host_fork(h, side, fds);
	if (pid <= 0) {
		errno = -pid;
		host_die("the zygote's fork");
	}
	for (int i = 0; i < ZYGOTE_N_FDS; i++)
		close(fds[i]);
	host_send_command(command[0], text, n);
	run_watch(h, run, pid, out[0], err[0]);
	close(command[0]);
	close(out[0]);
	close(err[0]);
}

/* ---- For zygote.py ----------------------------------------------------------------------------- */

struct ask {
	uint32_t side;
	uint32_t n_input;
	uint64_t n_command;
};

struct answer {
	int32_t status;
	uint32_t timed_out;
	uint64_t n_out;
	uint64_t n_err;
};

static bool read_all(void *to, size_t n)
{
	return n == 0 || fread(to, n, 1, stdin) == 1;
}

static int serve(struct host *h)
{
	struct ask ask;

	while (read_all(&ask, sizeof(ask))) {
		struct run run = {0};
		char *command = malloc(ask.n_command + 1);
		char *input = malloc(ask.n_input + 1);

		if (!command || !input || ask.side >= HOST_N_SIDES ||
		    !read_all(command, ask.n_command) || !read_all(input, ask.n_input))
			return 1;
		run_command(h, ask.side, command, ask.n_command, input, ask.n_input, &run);
		const struct answer answer = {run.status, run.timed_out, run.out.n, run.err.n};

		fwrite(&answer, sizeof(answer), 1, stdout);
		fwrite(run.out.data, 1, run.out.n, stdout);
		fwrite(run.err.data, 1, run.err.n, stdout);
		fflush(stdout);
		free(run.out.data);
		free(run.err.data);
		free(command);
		free(input);
	}
	return 0;
}

/* ---- The protocol ------------------------------------------------------------------------------ */

static int n_failed;

static void check(bool holds, const char *what)
{
	printf("%s %s\n", holds ? "ok  " : "FAIL", what);
	if (!holds)
		n_failed++;
}

/* A child that waits for its command at *ret_socket; what it says comes out of *ret_out. */
static pid_t make_child(struct host *h, int *ret_socket, int *ret_out)
{
	int command[2];
	int out[2];
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, command) < 0 ||
	    pipe2(out, O_CLOEXEC) < 0)
		host_die("pipes");
	const int fds[ZYGOTE_N_FDS] = {null, out[1], out[1], command[1]};

	pid = host_fork(h, HOST_ZYGOTE, fds);
	close(null);
	close(out[1]);
	close(command[1]);
	*ret_socket = command[0];
	*ret_out = out[0];
	return pid;
}

static int status_of(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return status;
}

/* A hang-up before all of a command has come ends the child, silently. */
static void check_hang_up(struct host *h, size_t n, const char *what)
{
	const struct zygote_command half = {.magic = ZYGOTE_MAGIC, .n_bytes = 100000};
	char text[sizeof(half) + 10];
	int socket;
	int out;
	pid_t pid = make_child(h, &socket, &out);
	char byte;

	memset(text, 'x', sizeof(text));
	memcpy(text, &half, sizeof(half));
	if (write(socket, text, n) != (ssize_t)n)
		host_die("write");
	close(socket);
	check(status_of(pid) == 0 && read(out, &byte, 1) == 0, what);
	close(out);
}

static void check_malformed(struct host *h, struct zygote_command command, const char *what)
{
	int socket;
	int out;
	pid_t pid = make_child(h, &socket, &out);
	char byte;

	if (write(socket, &command, sizeof(command)) < 0)
		host_die("write");
	check(status_of(pid) == W_EXITCODE(ZYGOTE_EXIT_CANNOT, 0) && read(out, &byte, 1) == 0,
	      what);
	close(socket);
	close(out);
}

/* A request that is not sound is answered, and costs the zygote neither its life nor descriptors. */
static void check_requests(struct host *h)
{
	struct zygote_fork request = {.magic = ~ZYGOTE_MAGIC};
	int32_t answer = 0;
	bool all = true;

	for (int i = 0; i < 40 && all; i++) {
		size_t n = i % 2 ? sizeof(request) : 1;

		all = send(h->zygote[HOST_ZYGOTE], &request, n, MSG_NOSIGNAL) == (ssize_t)n &&
		      read(h->zygote[HOST_ZYGOTE], &answer, sizeof(answer)) == sizeof(answer) &&
		      answer == -EINVAL;
	}
	check(all, "a request that is not sound is answered with -EINVAL");
	request.magic = ZYGOTE_MAGIC;
	send(h->zygote[HOST_ZYGOTE], &request, sizeof(request), MSG_NOSIGNAL);
	check(read(h->zygote[HOST_ZYGOTE], &answer, sizeof(answer)) == sizeof(answer) &&
		      answer == -EINVAL,
	      "so is one without descriptors");
}

/* A child that waited has its time, id and random numbers from when its command came. */
static void check_waited(struct host *h)
{
	static const char text[] = "echo $SECONDS; [ $$ = $BASHPID ] && echo same";
	const struct timespec second = {1, 200000000};
	char got[64] = {0};
	int socket;
	int out;
	pid_t pid = make_child(h, &socket, &out);

	/* Not to wait for anything: time has to pass. */
	nanosleep(&second, NULL);
	host_send_command(socket, text, strlen(text));
	check(status_of(pid) == 0 && read(out, got, sizeof(got) - 1) > 0 &&
		      strcmp(got, "0\nsame\n") == 0,
	      "a child made ahead counts SECONDS from its command on");
	close(socket);
	close(out);
}

/* What a command says of itself is whole, past any limit exec has. */
static void check_large(struct host *h)
{
	const size_t n = 16 << 20;
	static const char front[] = "printf %s ${#BASH_EXECUTION_STRING}; x='";
	char *text = malloc(n + 1);
	struct run run = {0};

	if (!text)
		host_die("memory");
	memset(text, 'a', n);
	memcpy(text, front, strlen(front));
	text[n - 1] = '\'';
	run_command(h, HOST_ZYGOTE, text, n, NULL, 0, &run);
	check(run.status == 0 && run.err.n == 0 && run.out.n == 8 &&
		      memcmp(run.out.data, "16777216", 8) == 0,
	      "a command of 16 MiB");
	free(text);
	free(run.out.data);
	free(run.err.data);
}

static bool says(struct host *h, const char *text, const char *expected)
{
	struct run run = {0};
	bool same;

	run_command(h, HOST_ZYGOTE, text, strlen(text), NULL, 0, &run);
	same = run.out.n == strlen(expected) && memcmp(run.out.data, expected, run.out.n) == 0;
	if (!same)
		printf("     %s: %.*s%.*s\n", text, (int)run.out.n, run.out.data, (int)run.err.n,
		       run.err.data);
	free(run.out.data);
	free(run.err.data);
	return same;
}

/* Run by a command: 0 if the kernel let it make a child of its parent's parent. */
static int try_clone_parent(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	printf("%s\n", pid > 0 ? "made" : strerror(errno));
	return 0;
}

/* The same call by a process without that filter: makes a child of this one. */
static bool twin_clone_parent(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		pid_t sibling = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);

		_exit(sibling < 0);
	}
	status = status_of(pid);
	return status == 0 && waitpid(-1, &status, 0) > 0 && status == 0;
}

static int check_all(struct host *h)
{
	const struct zygote_command wrong[] = {
		{.magic = ~ZYGOTE_MAGIC, .n_bytes = 1},
		{.magic = ZYGOTE_MAGIC, .n_bytes = UINT64_MAX},
		{.magic = ZYGOTE_MAGIC, .n_bytes = 1, .n_args = 1},
		{.magic = ZYGOTE_MAGIC, .n_bytes = 1, .n_env = 1},
		{.magic = ZYGOTE_MAGIC, .n_bytes = 1, .n_cwd = 1},
	};

	check_hang_up(h, 0, "a hang-up before the command ends the child");
	check_hang_up(h, 5, "so does one within the header");
	check_hang_up(h, sizeof(struct zygote_command) + 10, "and one within the text");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		check_malformed(h, wrong[i], "a malformed command is refused");
	check_requests(h);
	check_waited(h);
	check_large(h);
	check(says(h, "zygote_host clone-parent", "Operation not permitted\n"),
	      "a command cannot make children of the init");
	check(twin_clone_parent(), "where nothing denies it, that works");
	check(says(h, "grep -cE 'toolring|zygote' /proc/$$/maps", "0\n"),
	      "no mapping names the object");
	check(says(h, "stat -c %U:%a /proc/$$ >/dev/null; [ -O /proc/$$/stat ] && echo own",
		   "own\n"),
	      "a command may look into itself");
	close(h->zygote[HOST_ZYGOTE]);
	check(WIFEXITED(status_of(h->zygote_pid[HOST_ZYGOTE])), "a hang-up ends the zygote");
	h->zygote[HOST_ZYGOTE] = -1;
	return n_failed != 0;
}

/* ---- What it costs ----------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a;
	int64_t y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

enum bench {
	BENCH_AHEAD,
	BENCH_FORK,
	BENCH_SPAWN
};

static int64_t bench_one(struct host *h, enum bench what)
{
	char *const argv[] = {(char *)(uintptr_t) "bash", (char *)(uintptr_t) "-c",
			      (char *)(uintptr_t) "true", NULL};
	int64_t start = now_ns();
	int socket = -1;
	int out = -1;
	pid_t pid;

	if (what == BENCH_SPAWN) {
		if (posix_spawn(&pid, "/bin/bash", NULL, NULL, argv,
				(char *const *)(uintptr_t)host_env) != 0)
			host_die("posix_spawn");
	} else {
		pid = make_child(h, &socket, &out);
		if (what == BENCH_AHEAD) {
			const struct timespec rest = {0, 3000000};

			nanosleep(&rest, NULL); /* until the child waits */
			start = now_ns();
		}
		host_send_command(socket, "true", 4);
	}
	if (status_of(pid) != 0)
		host_die("true");
	int64_t took = now_ns() - start;

	if (socket >= 0) {
		close(socket);
		close(out);
	}
	return took;
}

static int bench(struct host *h, int n)
{
	static const char *const names[] = {"forked ahead", "forked", "posix_spawn of bash -c"};
	int64_t *times = calloc((size_t)n, sizeof(*times));

	if (!times)
		return 1;
	for (enum bench what = BENCH_AHEAD; what <= BENCH_SPAWN; what++) {
		for (int i = 0; i < n; i++)
			times[i] = bench_one(h, what);
		qsort(times, (size_t)n, sizeof(*times), by_value);
		printf("true, %-24s p50 %7.1f us   p90 %7.1f us\n", names[what],
		       (double)times[n / 2] / 1e3, (double)times[n * 9 / 10] / 1e3);
	}
	free(times);
	return 0;
}

int main(int argc, char **argv)
{
	struct host h = {0};
	int result;

	if (argc == 2 && strcmp(argv[1], "clone-parent") == 0)
		return try_clone_parent();
	if (argc < 3) {
		fprintf(stderr, "usage: zygote_host OBJECT BASH [check | bench N]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	host_start(&h, argv[1], argv[2]);
	if (argc == 4 && strcmp(argv[3], "check") == 0)
		result = check_all(&h);
	else if (argc == 5 && strcmp(argv[3], "bench") == 0)
		result = bench(&h, atoi(argv[4]));
	else
		result = serve(&h);
	host_stop(&h);
	return result;
}
