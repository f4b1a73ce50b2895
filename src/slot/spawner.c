/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plain zygote: a copy of the slot's init that has become the guest and waits. What Landlock and
 * seccomp cost is paid once, and all it spawns are in one Landlock domain, so that one program of a
 * room may signal and trace another.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fdpass.h"
#include "slot/pty.h"
#include "slot/slot.h"
#include "slot/zygote.h"
#include "slot/zygote_filter.h"

#define N_STRINGS_MAX 65536
#define N_BYTES_MAX   (UINT64_C(64) << 20)

static int deny_siblings(void)
{
	struct sock_fprog program = zygote_filter_program();

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

/*
 * Where memory runs out, a guest goes before the slot's init, which may hold much of its output. The
 * file is ours only once we may be looked into, as what we are to exec may anyway.
 */
void spawner_offer_to_oom(void)
{
	_cleanup_(cleanup_close) int fd = -1;

	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, ZYGOTE_OOM_SCORE, sizeof(ZYGOTE_OOM_SCORE) - 1) < 0)
		return;
}

static bool receive_all(int fd, void *data, size_t n)
{
	uint8_t *at = data;

	while (n) {
		ssize_t r = recv(fd, at, n, 0);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return false;
		at += r;
		n -= (size_t)r;
	}
	return true;
}

/* Points to n strings that stand one after another; NULL behind the last. */
static char *split(char *text, const char *end, char **ret_strings, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t length = strnlen(text, (size_t)(end - text));

		if (text + length >= end)
			return NULL;
		ret_strings[i] = text;
		text += length + 1;
	}
	ret_strings[n] = NULL;
	return text;
}

static bool names_same(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return strncmp(a, b, n) == 0 && b[n] == '=';
}

char **spawner_env(const struct plan *p, char **given, size_t n_given)
{
	size_t n = 0;
	char **env;

	for (uint32_t at = 0; at < p->n_env_bytes; at += (uint32_t)strlen(p->env + at) + 1)
		n++;
	env = calloc(n + n_given + 1, sizeof(*env));
	if (!env)
		return NULL;
	n = 0;
	for (uint32_t at = 0; at < p->n_env_bytes; at += (uint32_t)strlen(p->env + at) + 1) {
		bool is_given = false;

		for (size_t i = 0; i < n_given; i++)
			is_given |= names_same(given[i], p->env + at);
		if (!is_given)
			env[n++] = (char *)p->env + at;
	}
	if (n_given)
		memcpy(env + n, given, n_given * sizeof(*env));
	return env;
}

_Noreturn static void give_up(int command, int error)
{
	int32_t code = error;

	send(command, &code, sizeof(code), MSG_NOSIGNAL);
	_exit(ZYGOTE_EXIT_CANNOT);
}

static void run(const struct plan *p, int command, const struct zygote_command *c, bool is_shell,
		char *text)
{
	char *end = text + c->n_bytes;
	char **strings = calloc((size_t)c->n_args + c->n_env + 2, sizeof(*strings));
	char **argv = strings, **given, **env, *cwd;

	if (!strings)
		give_up(command, ENOMEM);
	given = strings + c->n_args + 1;
	text = split(text, end, argv, c->n_args);
	text = text ? split(text, end, given, c->n_env) : NULL;
	cwd = text;
	env = spawner_env(p, given, c->n_env);
	if (!text || !argv[0] || !env || (c->n_cwd && strnlen(cwd, c->n_cwd) >= c->n_cwd))
		give_up(command, EINVAL);
	if (c->n_cwd && chdir(cwd) < 0)
		/* Told apart from a program that is missing. */
		give_up(command, -errno);
	environ = env;
	if (is_shell)
		execve(p->shell, argv, env);
	else
		execvpe(argv[0], argv, env);
	give_up(command, errno);
}

_Noreturn static void be_shell(const struct plan *p, int command)
{
	struct winsize size;
	int fds[FDPASS_MAX];

	if (fdpass_receive(command, &size, sizeof(size), fds, 0) != sizeof(size) || fds[0] < 0)
		_exit(0);
	pty_main(p, command, &size, fds[0]);
}

_Noreturn static void be_child(const struct plan *p, const int fds[ZYGOTE_N_FDS])
{
	struct zygote_command c;
	int command = fds[ZYGOTE_COMMAND];
	bool is_shell;
	char *text;

	/* The zygote's group is not to be reached by `kill 0`. */
	if (setsid() < 0 || dup2(fds[ZYGOTE_STDIN], 0) < 0 || dup2(fds[ZYGOTE_STDOUT], 1) < 0 ||
	    dup2(fds[ZYGOTE_STDERR], 2) < 0 || dup2(command, ZYGOTE_FD) < 0 ||
	    syscall(SYS_close_range, ZYGOTE_FD + 1, ~0u, 0) < 0)
		_exit(ZYGOTE_EXIT_CANNOT);
	command = ZYGOTE_FD;
	syscall(SYS_close_range, ZYGOTE_FD, ZYGOTE_FD, CLOSE_RANGE_CLOEXEC);
	if (plan_has(p, PLAN_SECCOMP) && deny_siblings() < 0)
		_exit(ZYGOTE_EXIT_CANNOT);
	if (!receive_all(command, &c, sizeof(c)))
		_exit(0);
	if (c.magic == ZYGOTE_MAGIC && c.n_args == ZYGOTE_PTY)
		be_shell(p, command);
	if (c.magic == ZYGOTE_MAGIC && c.n_args == ZYGOTE_JOB)
		job_main(command);
	spawner_offer_to_oom();
	is_shell = c.n_args & ZYGOTE_SHELL_ARGS;
	c.n_args &= ~ZYGOTE_SHELL_ARGS;
	if (c.magic != ZYGOTE_MAGIC || c.n_bytes > N_BYTES_MAX || c.n_args > N_STRINGS_MAX ||
	    c.n_env > N_STRINGS_MAX || !c.n_args)
		give_up(command, EINVAL);
	text = malloc(c.n_bytes + 1);
	if (!text)
		give_up(command, ENOMEM);
	if (!receive_all(command, text, c.n_bytes))
		_exit(0);
	run(p, command, &c, is_shell, text);
	_exit(ZYGOTE_EXIT_CANNOT);
}

static int32_t spawn(const struct plan *p, const int fds[ZYGOTE_N_FDS])
{
	/* fork(), but that the child is our parent's. */
	long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		be_child(p, fds);
	return pid < 0 ? -errno : (int32_t)pid;
}

void spawner_main(const struct plan *p)
{
	char ready = ZYGOTE_READY;

	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	prctl(PR_SET_NAME, "toolring-zygote", 0, 0, 0);
	send(ZYGOTE_FD, &ready, 1, MSG_NOSIGNAL);
	for (;;) {
		struct zygote_fork request;
		int fds[FDPASS_MAX];
		ssize_t n = fdpass_receive(ZYGOTE_FD, &request, sizeof(request), fds, 0);
		int32_t answer = -EPROTO;

		if (n == -EINTR)
			continue;
		if (n <= 0)
			_exit(0);
		if (n == sizeof(request) && request.magic == ZYGOTE_MAGIC &&
		    fds[ZYGOTE_N_FDS - 1] >= 0)
			answer = spawn(p, fds);
		for (size_t i = 0; i < FDPASS_MAX; i++)
			if (fds[i] >= 0)
				close(fds[i]);
		send(ZYGOTE_FD, &answer, sizeof(answer), MSG_NOSIGNAL);
	}
}
