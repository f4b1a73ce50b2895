/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_daemon.h"
#include "bench_guard.h"
#include "bench_system.h"
#include "cli.h"
#include "program.h"

#define START_MS 15000
#define STOP_NS  (UINT64_C(15) * BENCH_NS_PER_S)
#define N_WORDS  32
#define AWAKE_US 1000

int bench_find_preload(char *ret_path, size_t n)
{
	/* In the build tree; installed, also if the whole installation was moved. */
	static const char *const places[] = {
		"toolring-alloc-count.so",
		"../" TOOLRING_LIBDIR "/toolring/toolring-alloc-count.so",
		TOOLRING_PREFIX "/" TOOLRING_LIBDIR "/toolring/toolring-alloc-count.so",
	};
	int r = program_find_beside(places, N_ELEMENTS(places), ret_path, n);

	if (r < 0)
		cli_error(
			"toolring-alloc-count.so lies neither beside toolring nor in " TOOLRING_LIBDIR
			"/toolring");
	return r;
}

static _Noreturn void become_daemon(const struct bench_daemon *d, const char *dir,
				    const struct bench_daemon_options *o, int ready_fd)
{
	char program[PATH_MAX];
	char log[128];
	char fd_text[16];
	const char *words[N_WORDS] = {
		"toolringd",  "--socket", d->socket, "--backend", o->backend ? o->backend : "fake",
		"--ready-fd", fd_text};
	size_t n = 7;
	int fd;

	snprintf(fd_text, sizeof(fd_text), "%d", ready_fd);
	for (size_t i = 0; o->flags && o->flags[i] && n + 1 < N_WORDS; i++)
		words[n++] = o->flags[i];
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	fcntl(ready_fd, F_SETFD, 0);
	/* Its own words are wanted only if it fails. */
	snprintf(log, sizeof(log), "%s/log", dir);
	fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd >= 0) {
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
	}
	if (o->core >= 0)
		bench_pin(o->core);
	if (o->preload)
		setenv("LD_PRELOAD", o->preload, 1);
	program_find_daemon(o->program, program, sizeof(program));
	if (program[0] != '/' && strchr(program, '/')) {
		char *real = realpath(program, NULL);

		snprintf(program, sizeof(program), "%s", real ? real : program);
	}
	/* A .env that lies here is not meant for it. */
	if (chdir(dir) == 0)
		execvp(program, (char *const *)(uintptr_t)words);
	fprintf(stderr, "cannot run %s: %s\n", program, strerror(errno));
	_exit(127);
}

static void show_log(const char *dir)
{
	char path[128];
	char line[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/log", dir);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		fprintf(stderr, "  %s", line);
	if (file)
		fclose(file);
}

int bench_daemon_start(struct bench_daemon *d, const char *dir,
		       const struct bench_daemon_options *options)
{
	static int n_started;
	int ready[2];
	char byte = 0;
	struct pollfd p;
	pid_t pid;

	snprintf(d->socket, sizeof(d->socket), "%s/%d.sock", dir, n_started++);
	if (pipe2(ready, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid < 0) {
		close(ready[0]);
		close(ready[1]);
		return -errno;
	}
	if (pid == 0)
		become_daemon(d, dir, options, ready[1]);
	close(ready[1]);
	d->pid = pid;
	bench_guard_watch(pid);
	p = (struct pollfd){.fd = ready[0], .events = POLLIN};
	if (poll(&p, 1, START_MS) == 1 && read(ready[0], &byte, 1) != 1)
		byte = 0;
	close(ready[0]);
	if (byte)
		return 0;
	bench_daemon_stop(d);
	cli_error("toolringd did not start. It says:");
	show_log(dir);
	return -ESRCH;
}

void bench_daemon_stop(struct bench_daemon *d)
{
	uint64_t end = bench_now_ns() + STOP_NS;

	if (d->pid <= 0)
		return;
	kill(d->pid, SIGTERM);
	while (waitpid(d->pid, NULL, WNOHANG) == 0) {
		if (bench_now_ns() > end)
			kill(d->pid, SIGKILL);
		bench_sleep_ns(BENCH_NS_PER_MS);
	}
	bench_guard_forget(d->pid);
	d->pid = 0;
}

void bench_daemon_use(struct bench_daemon *d, const char *name)
{
	d->pid = 0;
	snprintf(d->socket, sizeof(d->socket), "%s", name);
}

int bench_open(const struct bench_daemon *d, struct tr_client **ret_client)
{
	return cli_open(ret_client, d->socket) == 0 ? 0 : -ENOTCONN;
}

int bench_open_awake(const struct bench_daemon *d, struct tr_client **ret_client)
{
	const struct tr_options options = {
		.size = sizeof(options), .name = d->socket, .spin_us = AWAKE_US};
	int r = tr_open_with(ret_client, &options);

	if (r < 0)
		cli_error("%s: %s", d->socket, strerror(-r));
	return r;
}

/* Parent of a process, if that is a toolringd too; else the process itself. */
static pid_t keeper_of(pid_t pid)
{
	pid_t parent = bench_parent(pid);
	char path[64];
	char name[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)parent);
	file = fopen(path, "re");
	if (file && !fgets(name, sizeof(name), file))
		name[0] = 0;
	if (file)
		fclose(file);
	return strncmp(name, "toolring", 8) == 0 ? parent : pid;
}

int bench_daemon_pid(const struct bench_daemon *d, struct tr_client *client, pid_t *ret_pid)
{
	struct ucred peer;
	socklen_t n = sizeof(peer);

	if (d->pid > 0) {
		*ret_pid = d->pid;
		return 0;
	}
	if (getsockopt(tr_fd(client), SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
		return -errno;
	if (peer.pid <= 0)
		return -ESRCH;
	*ret_pid = keeper_of(peer.pid);
	return 0;
}

int bench_daemon_idle(const struct bench_daemon *d, struct tr_client *client, bool quick,
		      double *ret_ns)
{
	uint64_t window_ns = (quick ? 1 : 10) * (uint64_t)BENCH_NS_PER_S;
	uint64_t before;
	uint64_t after;
	pid_t pid = 0;
	int r = bench_daemon_pid(d, client, &pid);

	/* What the last calls left to do is done by then. */
	bench_sleep_ns(500 * BENCH_NS_PER_MS);
	if (r == 0)
		r = bench_cpu_ns(pid, &before);
	if (r < 0)
		return r;
	bench_sleep_ns(window_ns);
	r = bench_cpu_ns(pid, &after);
	if (r == 0)
		*ret_ns = (double)(after - before) * 10e9 / (double)window_ns;
	return r;
}
