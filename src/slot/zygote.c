/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zygotes, from the init's side. One is started while nobody lives in its room (the shell's) and
 * before it drops what it may do: it enters the room's namespaces, which its children are born into
 * while it stays outside the room's pid namespace, then becomes the guest for good.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/decimal.h"
#include "base/fdpass.h"
#include "slot/slot.h"
#include "slot/zygote.h"

#define READY_MS_MAX 20000
#define FORK_MS_MAX  10000
#define COMMAND_MAX  (PLAN_PATH_MAX + 64)

/* ---- in the zygote's process ---------------------------------------------------------------------- */

/* Everything a guest is shut into, in the order in which it can be had. */
static int become_guest_in(const struct slot *s, const struct room *room, const char **ret_step)
{
	int r = room_enter(s, room);

	*ret_step = "entering the room";
	if (r == 0 && (chdir("/workspace") < 0 || setsid() < 0))
		r = -errno;
	if (r == 0)
		r = rlimit_enter(s->plan, ret_step);
	if (r == 0)
		r = landlock_enter(s->plan, &s->params, ret_step);
	if (r == 0)
		r = namespace_become_guest(s->plan, ret_step);
	if (r == 0)
		r = filter_enter(s->plan, ret_step);
	return r;
}

static void exec_shell(const struct plan *p)
{
	char command[COMMAND_MAX] = "enable -f '";
	char name[] = "bash", no_file[] = "--norc", flag[] = "-c";
	char *argv[] = {name, no_file, flag, command, NULL};
	char **env = spawner_env(p, NULL, 0);

	strcat(command, p->zygote_path);
	strcat(command, "' toolring_zygote; toolring_zygote ");
	decimal_append(command, sizeof(command), ZYGOTE_FD);
	if (env)
		execve(p->shell, argv, env);
}

static void set_descriptors(int socket, int null)
{
	/* The socket first: it may stand in the way of none of the others. */
	if (dup2(socket, ZYGOTE_FD) < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0 ||
	    syscall(SYS_close_range, ZYGOTE_FD + 1, ~0u, 0) < 0)
		_exit(EXIT_FAILURE);
}

static void set_default_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(022);
}

_Noreturn static void zygote_main(const struct slot *s, const struct room *room,
				  enum zygote_kind kind, int socket)
{
	struct slot_report birth;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	const char *step = "";

	birth = report_of(become_guest_in(s, room, &step), step);
	if (birth.error) {
		send(socket, &birth, sizeof(birth), MSG_NOSIGNAL);
		_exit(EXIT_FAILURE);
	}
	set_descriptors(socket, null);
	set_default_signals();
	munmap(room->account, sizeof(*room->account));
	/* It would count as its children's memory. */
	run_deinit((struct slot *)s);
	if (kind == ZYGOTE_SHELL)
		exec_shell(s->plan);
	else if (kind == ZYGOTE_SCREEN)
		screen_main(s->shell.n_columns, s->shell.n_rows);
	else
		spawner_main(s->plan);
	_exit(EXIT_FAILURE);
}

/* ---- in the init ---------------------------------------------------------------------------------- */

static bool wait_readable(int fd, int ms)
{
	struct pollfd fds = {.fd = fd, .events = POLLIN};
	int r;

	do {
		r = poll(&fds, 1, ms);
	} while (r < 0 && errno == EINTR);
	return r > 0;
}

/* READY is one byte; what went wrong before is told as a birth is. */
static int wait_ready(struct zygote *z, const char **ret_step)
{
	static struct slot_report birth;
	ssize_t n = -1;

	*ret_step = "a zygote that gets ready";
	if (wait_readable(z->socket, READY_MS_MAX))
		n = recv(z->socket, &birth, sizeof(birth), MSG_DONTWAIT);
	if (n == 1 && *(char *)&birth == ZYGOTE_READY)
		return 0;
	if (n == sizeof(birth) && birth.error > 0) {
		birth.step[sizeof(birth.step) - 1] = '\0';
		*ret_step = birth.step;
		return -birth.error;
	}
	return -EPIPE;
}

/* The late rows of the mount table hide what a shell's zygote is loaded from. */
static int start(struct slot *s, struct room *room, enum zygote_kind kind, const char **ret_step)
{
	struct zygote *z = &room->zygotes[kind];
	int pair[2], r;

	*ret_step = "a zygote's process";
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	z->socket = pair[0];
	z->pid = fork();
	if (z->pid == 0)
		zygote_main(s, room, kind, pair[1]);
	r = z->pid < 0 ? -errno : 0;
	close(pair[1]);
	if (r < 0)
		z->pid = 0;
	return r < 0 ? r : wait_ready(z, ret_step);
}

int zygote_start(struct slot *s, struct room *room, enum zygote_kind kind, const char **ret_step)
{
	int r = 0;

	if (room->zygotes[kind].pid)
		return 0;
	if (kind == ZYGOTE_SHELL)
		r = room_finish(room, true, ret_step);
	if (r == 0)
		r = start(s, room, kind, ret_step);
	if (r == 0)
		r = room_finish(room, false, ret_step);
	if (r < 0)
		zygote_end(&room->zygotes[kind]);
	return r;
}

void zygote_end(struct zygote *z)
{
	if (z->pid)
		kill(z->pid, SIGKILL);
	fd_close(&z->socket);
	z->pid = 0; /* it is reaped with all others */
}

/* ---- children ------------------------------------------------------------------------------------- */

void child_close(struct child *c)
{
	fd_close(&c->out);
	fd_close(&c->err);
	fd_close(&c->command);
	c->pid = 0;
	c->is_asked = false;
}

void child_discard(struct child *c)
{
	if (c->pid) {
		kill(c->pid, SIGKILL);
		waitpid(c->pid, NULL, __WALL);
	}
	child_close(c);
}

static int make_pipe(int *ret_ours, int *ret_theirs)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	*ret_ours = ends[0];
	*ret_theirs = ends[1];
	return fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int ask_for_fork(struct zygote *z, const int fds[ZYGOTE_N_FDS])
{
	struct zygote_fork request = {.magic = ZYGOTE_MAGIC};
	ssize_t n = fdpass_send(z->socket, &request, sizeof(request), fds, ZYGOTE_N_FDS, 0);

	return n < 0 ? (int)n : 0;
}

static int hear_of_fork(struct zygote *z, pid_t *ret_pid)
{
	int32_t answer;

	if (!wait_readable(z->socket, FORK_MS_MAX) ||
	    recv(z->socket, &answer, sizeof(answer), MSG_DONTWAIT) != sizeof(answer))
		return -EPIPE;
	if (answer <= 0)
		return answer ? answer : -EPROTO;
	*ret_pid = answer;
	return 0;
}

/* One that cannot be talked to is of no use any more. */
static int fork_failed(struct room *room, enum zygote_kind kind, struct child *c, int r)
{
	child_close(c);
	if (r == -EPIPE || r == -EPROTO || r == -ECONNRESET)
		zygote_end(&room->zygotes[kind]);
	return r;
}

int zygote_fork_begin(struct room *room, enum zygote_kind kind, int input, struct child *ret_child)
{
	_cleanup_(cleanup_close) int in = input, out = -1, err = -1, command = -1;
	struct child c = CHILD_NONE;
	int pair[2], fds[ZYGOTE_N_FDS], r = 0;

	if (in < 0)
		in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (in < 0)
		return -errno;
	r = make_pipe(&c.out, &out);
	if (r == 0)
		r = make_pipe(&c.err, &err);
	if (r == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		r = -errno;
	if (r == 0) {
		c.command = pair[0];
		command = pair[1];
		fds[ZYGOTE_STDIN] = in;
		fds[ZYGOTE_STDOUT] = out;
		fds[ZYGOTE_STDERR] = err;
		fds[ZYGOTE_COMMAND] = command;
		r = ask_for_fork(&room->zygotes[kind], fds);
	}
	if (r < 0)
		return fork_failed(room, kind, &c, r);
	c.is_asked = true;
	*ret_child = c;
	return 0;
}

int zygote_fork_end(struct room *room, enum zygote_kind kind, struct child *c)
{
	int r = c->is_asked ? hear_of_fork(&room->zygotes[kind], &c->pid) : 0;

	c->is_asked = false;
	return r < 0 ? fork_failed(room, kind, c, r) : 0;
}
