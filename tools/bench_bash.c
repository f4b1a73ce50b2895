/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_bash.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_system.h"

#define ANSWER "0\n"

static int spawn(int from, int to, pid_t *ret_pid)
{
	static const char *const words[] = {"/bin/bash", "--norc", "--noprofile", NULL};
	static const char *const environment[] = {"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", NULL};
	posix_spawn_file_actions_t actions;
	int r;

	posix_spawn_file_actions_init(&actions);
	r = posix_spawn_file_actions_adddup2(&actions, from, STDIN_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, to, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn(ret_pid, words[0], &actions, NULL, (char *const *)(uintptr_t)words,
				(char *const *)(uintptr_t)environment);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

int bench_bash_start(struct bench_bash *b, int core, bool spins)
{
	cpu_set_t ours;
	int in[2];
	int out[2];
	int r;

	if (pipe2(in, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(out, O_CLOEXEC) < 0) {
		r = -errno;
		close(in[0]);
		close(in[1]);
		return r;
	}
	sched_getaffinity(0, sizeof(ours), &ours);
	if (core >= 0)
		bench_pin(core);
	r = spawn(in[0], out[1], &b->pid);
	sched_setaffinity(0, sizeof(ours), &ours);
	close(in[0]);
	close(out[1]);
	b->to = in[1];
	b->from = out[0];
	if (r < 0) {
		close(in[1]);
		close(out[0]);
		b->pid = 0;
		return r;
	}
	if (spins)
		fcntl(b->from, F_SETFL, O_NONBLOCK);
	return 0;
}

void bench_bash_stop(struct bench_bash *b)
{
	if (b->pid <= 0)
		return;
	close(b->to); /* its end of input, at which it exits */
	close(b->from);
	waitpid(b->pid, NULL, 0);
	b->pid = 0;
}

/* Keeps the end of what is read, which is where the answer stands. */
static void keep_tail(struct bench_bash *b, const char *data, size_t n)
{
	size_t n_kept = sizeof(ANSWER) - 1;

	if (n >= n_kept) {
		memcpy(b->tail, data + n - n_kept, n_kept);
		return;
	}
	memmove(b->tail, b->tail + n, n_kept - n);
	memcpy(b->tail + n_kept - n, data, n);
}

int bench_bash_step(void *data)
{
	struct bench_bash *b = data;
	char buffer[65536];
	size_t n_left = b->n_output + sizeof(ANSWER) - 1;
	int n = snprintf(buffer, sizeof(buffer), "%s\nprintf '%%d\\n' $?\n", b->command);

	if (write(b->to, buffer, (size_t)n) != n)
		return -EPIPE;
	while (n_left > 0) {
		ssize_t n_read = read(b->from, buffer, sizeof(buffer));

		if (n_read == 0)
			return -EPIPE;
		if (n_read < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n_read <= 0)
			continue;
		if ((size_t)n_read > n_left)
			return -EPROTO;
		n_left -= (size_t)n_read;
		keep_tail(b, buffer, (size_t)n_read);
	}
	return memcmp(b->tail, ANSWER, sizeof(ANSWER) - 1) == 0 ? 0 : -EPROTO;
}
