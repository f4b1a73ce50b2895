/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_tmux.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_guard.h"
#include "bench_system.h"

#define START_MS 5000

/* Not as a daemon, so that it dies with us. */
static _Noreturn void become_server(const struct bench_tmux *t, pid_t parent)
{
	const char *const words[] = {t->program, "-D", "-S", t->socket, "-f", "/dev/null", NULL};

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(1);
	execv(t->program, (char *const *)(uintptr_t)words);
	_exit(127);
}

static bool answers(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool yes;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	yes = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	if (fd >= 0)
		close(fd);
	return yes;
}

static int wait_server(struct bench_tmux *t)
{
	for (int i = 0; i < START_MS; i++) {
		if (answers(t->socket))
			return 0;
		if (waitpid(t->server, NULL, WNOHANG) == t->server) {
			bench_guard_forget(t->server);
			t->server = 0;
			return -ECHILD;
		}
		bench_sleep_ns(BENCH_NS_PER_MS);
	}
	return -ETIMEDOUT;
}

static void fill(const struct bench_tmux *t, struct bench_words *words, const char *const *more)
{
	bench_words_add(words, (const char *[]){t->program, "-S", t->socket, NULL});
	bench_words_add(words, more);
}

int bench_tmux_start(struct bench_tmux *t, const char *dir, const char *key)
{
	struct bench_words pane = {0};
	pid_t us = getpid();
	int r;

	if (!bench_find_program("tmux", t->program, sizeof(t->program)))
		return -ENOENT;
	snprintf(t->socket, sizeof(t->socket), "%s/tmux", dir);
	fill(t, &pane, (const char *[]){"new-session", "-d", "-x", "80", "-y", "24", "cat", NULL});
	fill(t, &t->send, (const char *[]){"send-keys", key, NULL});
	fill(t, &t->clear, (const char *[]){"send-keys", "C-u", NULL});
	fill(t, &t->capture.words, (const char *[]){"capture-pane", "-p", NULL});
	t->capture.output = t->screen;
	t->capture.n_output_max = sizeof(t->screen);
	t->server = fork();
	if (t->server == 0)
		become_server(t, us);
	if (t->server < 0)
		return -errno;
	bench_guard_watch(t->server);
	r = wait_server(t);
	return r < 0 ? r : bench_spawn(&pane);
}

void bench_tmux_stop(struct bench_tmux *t)
{
	if (t->server <= 0)
		return;
	kill(t->server, SIGTERM);
	waitpid(t->server, NULL, 0);
	bench_guard_forget(t->server);
	t->server = 0;
}

int bench_tmux_capture(struct bench_tmux *t)
{
	return bench_spawn_read(&t->capture);
}
