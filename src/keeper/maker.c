/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/maker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/local/plan.h"
#include "base/cleanup.h"
#include "base/write.h"
#include "base/clock.h"
#include "base/log.h"

/* What it finds its things at. */
#define PLAN_FD   3
#define SOCKET_FD 4

static int seal_plan(const struct plan *plan)
{
	_cleanup_(cleanup_close) int fd =
		memfd_create("toolring-plan", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return -errno;
	r = write_all(fd, span_of(plan, sizeof(*plan)));
	if (r < 0)
		return r;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 ||
	    lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	return fd_steal(&fd);
}

/* The child, which has nothing of ours but what it is given: no descriptor, signal or variable. */
static void run(const char *program, int plan_fd, int socket)
{
	char *const argv[] = {(char *)program, (char *)"--maker", NULL};
	char *const envp[] = {NULL};
	sigset_t none;

	/* Its own group, so that a terminal's interrupt ends it through us, and not before us. */
	setpgid(0, 0);
	/* Out of the way of each other first. */
	plan_fd = fcntl(plan_fd, F_DUPFD_CLOEXEC, SOCKET_FD + 1);
	socket = fcntl(socket, F_DUPFD_CLOEXEC, SOCKET_FD + 1);
	if (plan_fd < 0 || socket < 0 || dup2(plan_fd, PLAN_FD) < 0 || dup2(socket, SOCKET_FD) < 0)
		return;
	close_range(SOCKET_FD + 1, ~0u, 0);
	/* Guests would inherit what is ignored. */
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(program, argv, envp);
	log_error("cannot run %s: %s", program, strerror(errno));
}

int maker_start(struct maker *m, const char *program, const struct plan *plan)
{
	_cleanup_(cleanup_close) int plan_fd = seal_plan(plan);
	_cleanup_(cleanup_close) int ours = -1, its = -1;
	int pair[2];
	pid_t pid;

	if (plan_fd < 0)
		return plan_fd;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ours = pair[0];
	its = pair[1];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		run(program, plan_fd, its);
		_exit(127);
	}
	m->pid = pid;
	m->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	m->socket = fd_steal(&ours);
	return 0;
}

void maker_reaped(struct maker *m)
{
	m->pid = 0;
	fd_close(&m->socket);
	fd_close(&m->pidfd);
}

void maker_stop(struct maker *m, uint64_t wait_ns)
{
	uint64_t until = now_ns() + wait_ns;
	struct pollfd p = {.fd = m->pidfd, .events = POLLIN};
	int r = 0;

	fd_close(&m->socket);
	if (!m->pid)
		return;
	while (m->pidfd >= 0 && r == 0 && now_ns() < until) {
		r = poll(&p, 1, (int)((until - now_ns()) / NS_PER_MS) + 1);
		if (r < 0 && errno == EINTR)
			r = 0;
	}
	if (r != 1) {
		log_warning("the maker of slots does not end: killing it");
		kill(m->pid, SIGKILL);
	}
	waitpid(m->pid, NULL, 0);
	maker_reaped(m);
}
