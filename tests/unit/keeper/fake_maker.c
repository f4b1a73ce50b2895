/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A maker of slots without any: what test_store.c has the store start in its place. A slot is a child
 * that echoes what it reads on its control socket and leaves at its hang-up. What to be like stands
 * in the plan's shell: "", or "refuse", "leave", "quiet", "die" (at the first MAKE), "hold" (answer no
 * MAKE).
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/local/plan.h"
#include "backend/local/store.h"
#include "base/fdpass.h"

#define PLAN_FD   3
#define SOCKET_FD 4
#define SLOTS_MAX 64

static struct plan plan;
static struct {
	pid_t pid;
	int pidfd;
	uint32_t seat;
} slots[SLOTS_MAX];
static size_t n_slots;

static void say(enum store_kind kind, uint32_t seat, const char *text, const int *fd)
{
	struct store_message m = {.kind = kind, .seat = seat};

	strncpy(m.text, text, sizeof(m.text) - 1);
	fdpass_send(SOCKET_FD, &m, sizeof(m), fd, fd != NULL, 0);
}

/* Nothing but the three of everybody and our two, and nothing in the environment. */
static const char *what_came_along(char *const *envp)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;
	int n = 0;
	sigset_t blocked;

	if (*envp)
		return "an environment came along";
	if (!d)
		return "no /proc";
	while ((e = readdir(d)))
		n += e->d_name[0] != '.' && atoi(e->d_name) > SOCKET_FD &&
		     atoi(e->d_name) != dirfd(d);
	closedir(d);
	if (n)
		return "descriptors came along";
	sigprocmask(SIG_SETMASK, NULL, &blocked);
	if (sigismember(&blocked, SIGTERM) || signal(SIGPIPE, SIG_DFL) != SIG_DFL)
		return "signals are blocked or ignored";
	return NULL;
}

static _Noreturn void be_slot(int control)
{
	char byte;

	close(SOCKET_FD);
	while (read(control, &byte, 1) == 1)
		if (write(control, &byte, 1) != 1)
			break;
	_exit(0);
}

static void make(const struct store_message *m, int control)
{
	pid_t pid;
	int pidfd;

	if (strcmp(plan.shell, "die") == 0)
		raise(SIGKILL);
	if (strcmp(plan.shell, "hold") == 0)
		return;
	if (m->params.memory_bytes == 1) {
		say(STORE_FAILED, m->seat, "too small", NULL);
		return;
	}
	pid = fork();
	if (pid == 0)
		be_slot(control);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	slots[n_slots].pid = pid;
	slots[n_slots].pidfd = pidfd;
	slots[n_slots++].seat = m->seat;
	say(STORE_MADE, m->seat, "", &pidfd);
}

static void reap(size_t i)
{
	waitpid(slots[i].pid, NULL, 0);
	close(slots[i].pidfd);
	say(STORE_GONE, slots[i].seat, "", NULL);
	slots[i] = slots[--n_slots];
}

/* false: the keeper hung up. */
static bool listen_to_keeper(void)
{
	struct store_message m;
	int fds[FDPASS_MAX];
	ssize_t n = fdpass_receive(SOCKET_FD, &m, sizeof(m), fds, 0);

	if (n == sizeof(m) && m.kind == STORE_MAKE)
		make(&m, fds[0]);
	if (n > 0 && fds[0] >= 0)
		close(fds[0]);
	return n > 0;
}

int main(int argc, char **argv, char **envp)
{
	const char *fault = what_came_along(envp);
	bool listens = true;

	(void)argv;
	if (argc != 2 || read(PLAN_FD, &plan, sizeof(plan)) != sizeof(plan))
		fault = "no plan came along";
	if (strcmp(plan.shell, "leave") == 0)
		return 1;
	if (strcmp(plan.shell, "refuse") == 0)
		fault = "as told";
	if (strcmp(plan.shell, "quiet") != 0)
		say(fault ? STORE_FAILED : STORE_READY, UINT32_MAX, fault ? fault : "", NULL);
	while (listens || n_slots) {
		struct pollfd p[1 + SLOTS_MAX] = {
			{.fd = listens ? SOCKET_FD : -1, .events = POLLIN}};
		size_t n = n_slots;

		for (size_t i = 0; i < n; i++)
			p[1 + i] = (struct pollfd){.fd = slots[i].pidfd, .events = POLLIN};
		poll(p, 1 + n, -1);
		for (size_t i = n; i--;)
			if (p[1 + i].revents)
				reap(i);
		if (p[0].revents)
			listens = listen_to_keeper();
	}
	return 0;
}
