/* SPDX-License-Identifier: Apache-2.0 */

/*
 * toolring-zygote.so: makes a bash that has started a zygote (zygote.h): it waits for requests, forks,
 * and each child runs one command as `bash -c COMMAND` would.
 *
 * A loadable builtin, bash's own way to be extended. It uses nothing but bash's exported symbols and
 * raw system calls: no header of bash, no C library. So one object serves every bash from 4.4 on, with
 * glibc or musl; what not every version has is weak and looked at before use.
 *
 * How the slot's init must start it (for what the shell shows is settled then):
 *   file          the room's bash
 *   argv          {"bash", "--norc", "-c", "enable -f PATH toolring_zygote; toolring_zygote 3"}
 *                 argv[0] is $0 and stands in front of errors. --norc: bash reads ~/.bashrc, which is the
 *                 guest's, where it takes its stdin for that of a remote shell.
 *   envp          the commands' own environment, all of it; no BASH_ENV, ENV, SHELLOPTS, BASHOPTS, _
 *   directory     /workspace; umask 022; no signal blocked, all with their default action
 *   descriptors   0, 1, 2: /dev/null (not a socket); 3: ZYGOTE_FD
 * Ids, limits, Landlock, no_new_privs and the guest's filter may all be settled before.
 * Of what a guest's filter may deny, the zygote needs clone with CLONE_PARENT, and its child
 * prctl(PR_SET_SECCOMP), PR_SET_DUMPABLE and, for the command to stand in /proc/PID/cmdline,
 * PR_SET_MM with PR_SET_MM_MAP.
 *
 * The start leaves traces: `-c` has begun to execute a command. zygote_forget() takes them back once, by
 * bash's own means: it unwinds as an error would, to where main() was about to run its command. The C
 * stack stays deeper, but nobody returns there: an error or `exit` jumps to run_one_command(), whose
 * frame is still there, and the end of the command is the end of the process. What depends on time and
 * process is settled in child_become(), when the command has come.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <asm/unistd.h>
#include <linux/close_range.h>
#include <linux/errno.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>

#include "slot/bash.h"
#include "slot/zygote.h"
#include "slot/zygote_filter.h"
#include "slot/zygote_image.h"
#include "slot/zygote_kernel.h"

/* ---- This object's own ------------------------------------------------------------------------- */

/* In front of the command, so that it lies in memory as bash's argv would. */
static const char argv_front[] = "bash\0-c";

/* What the zygote settles before the first fork and each child uses. */
static struct {
	int *tid;       /* where the C library keeps the thread's id; NULL: not known */
	int eval_flags; /* as this version's run_one_command() has them */
} zygote;

/* Where the C library keeps the thread's id, which a fork it does not know of would leave wrong. */
static void zygote_find_tid(void)
{
	int *at = NULL;

	if (call6(__NR_prctl, PR_GET_TID_ADDRESS, (long)&at, 0, 0, 0, 0) == 0 && at != NULL &&
	    *at == call3(__NR_gettid, 0, 0, 0))
		zygote.tid = at;
}

/* Takes back what loading and calling this builtin has changed. */
static void zygote_forget(void)
{
	static char nothing[] = ":";
	int no_tokens[8] = {0}; /* bash reads 4 or 5 of them */

	top_level_cleanup();

	shell_builtins = static_shell_builtins;
	num_shell_builtins--;
	zygote.eval_flags = BASH_SEVAL_NOHIST | BASH_SEVAL_NOFREE;
	if (!bash_before_5_1())
		zygote.eval_flags |= BASH_SEVAL_RESETLINE;
	/* Bash still points to the command that called this builtin, in variables of its own (one says
	 * what line an error is in), and the command is gone. They are cleared where a command ends. */
	parse_and_execute(nothing, "-c", zygote.eval_flags);
	if (&restore_token_state)
		restore_token_state(no_tokens);

	this_command_name = NULL;
	if (&this_shell_builtin)
		this_shell_builtin = NULL;
	if (&last_shell_builtin)
		last_shell_builtin = NULL;
	if (&the_printed_command_except_trap)
		the_printed_command_except_trap = NULL;
	last_command_exit_value = 0;
	unbind_variable("PIPESTATUS");
	bind_variable("_", dollar_vars[0], 0);
}

/* ---- A child ----------------------------------------------------------------------------------- */

static void child_deny_clone_parent(void)
{
	struct sock_fprog program = zygote_filter_program();

	if (call3(__NR_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (long)&program) == 0)
		return;
	/* A kernel without seccomp: the operator has been told, and the guest has no filter at all. */
	if (call3(__NR_prctl, PR_GET_SECCOMP, 0, 0) == -EINVAL)
		return;
	leave(ZYGOTE_EXIT_CANNOT);
}

/* At least n_min bytes, at most n. A hang-up is no error: the command is not wanted any more. */
static size_t child_read(char *to, size_t n_min, size_t n)
{
	size_t n_read = 0;

	while (n_read < n_min) {
		long r = call3(__NR_read, ZYGOTE_FD, (long)(to + n_read), (long)(n - n_read));

		if (r == -EINTR)
			continue;
		if (r <= 0)
			leave(0);
		n_read += (size_t)r;
	}
	return n_read;
}

/* Returns the command, with argv_front before it and a NUL behind. */
static char *child_receive(size_t *ret_n)
{
	char first[4096]; /* most commands come whole in one read */
	struct zygote_command command;
	size_t n_front = sizeof(argv_front);
	size_t n_first = child_read(first, sizeof(command), sizeof(first)) - sizeof(command);

	memcpy(&command, first, sizeof(command));
	if (command.magic != ZYGOTE_MAGIC || command.n_args || command.n_env || command.n_cwd ||
	    command.n_bytes < n_first || command.n_bytes > UINT64_C(1) << 32)
		leave(ZYGOTE_EXIT_CANNOT);

	char *text = xmalloc(n_front + command.n_bytes + 1);

	memcpy(text, argv_front, n_front);
	memcpy(text + n_front, first + sizeof(command), n_first);
	child_read(text + n_front + n_first, command.n_bytes - n_first, command.n_bytes - n_first);
	text[n_front + command.n_bytes] = 0;
	*ret_n = n_front + command.n_bytes + 1;
	return text;
}

/* Seeds $RANDOM as a start would. */
static void child_seed(const struct kernel_timeval *now, int pid)
{
	uint32_t seed = (uint32_t)(now->sec ^ now->usec ^ pid);
	char digits[12];
	char *at = digits + sizeof(digits);

	if (&seedrand) {
		seedrand();
		if (&seedrand32)
			seedrand32();
		return;
	}
	*--at = 0;
	do
		*--at = (char)('0' + seed % 10);
	while (seed /= 10);
	bind_variable("RANDOM", at, 0);
}

/* What a start settles from the process and the time. */
static void child_become(int pid, char *arguments, size_t n)
{
	struct kernel_timeval now = {0, 0};

	call3(__NR_gettimeofday, (long)&now, 0, 0);
	shell_start_time = now.sec;
	if (&shellstart)
		shellstart = now;
	dollar_dollar_pid = pid;
	if (&shell_pgrp)
		shell_pgrp = pid;
	set_ppid();
	child_seed(&now, pid);
	command_execution_string = arguments + sizeof(argv_front);
	bind_variable("BASH_EXECUTION_STRING", command_execution_string, 0);
	image_show_arguments(arguments, n);
}

/* fd: the four that came with the request, in a row from ZYGOTE_FD + 1 on. */
static _Noreturn void child_main(void)
{
	const unsigned first = ZYGOTE_FD + 1;
	int pid = (int)call3(__NR_setsid, 0, 0, 0);
	size_t n;

	for (unsigned i = ZYGOTE_STDIN; i <= ZYGOTE_STDERR; i++)
		call3(__NR_dup3, first + i, i, 0);
	/* Takes the place of the zygote's own socket. */
	call3(__NR_dup3, first + ZYGOTE_COMMAND, ZYGOTE_FD, 0);
	close_from(first, first + ZYGOTE_COMMAND);
	child_deny_clone_parent();

	char *arguments = child_receive(&n);

	child_become(pid, arguments, n);
	/* Last, for from now on the processes in the room may look into this one. */
	call3(__NR_close, ZYGOTE_FD, 0, 0);
	call3(__NR_prctl, PR_SET_DUMPABLE, 1, 0);
	parse_and_execute(command_execution_string, "-c", zygote.eval_flags);
	exit_shell(last_command_exit_value);
}

/* ---- The zygote -------------------------------------------------------------------------------- */

static long zygote_fork(void)
{
	unsigned long flags = CLONE_PARENT | 17 /* SIGCHLD */;
	long tid = (long)zygote.tid;
	long pid;

	if (zygote.tid)
		flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
#if defined(__x86_64__)
	pid = call6(__NR_clone, (long)flags, 0, 0, tid, 0, 0);
#else
	pid = call6(__NR_clone, (long)flags, 0, 0, 0, tid, 0);
#endif
	if (pid == 0)
		child_main();
	return pid;
}

/* The descriptors come in order as the lowest free: nothing above ZYGOTE_FD is open. */
static bool zygote_request_is_sound(const struct zygote_fork *request, long n,
				    const struct kernel_msghdr *message, const void *control)
{
	struct kernel_cmsghdr header;
	int fd;

	if (n != sizeof(*request) || request->magic != ZYGOTE_MAGIC ||
	    message->n_control < sizeof(header) + ZYGOTE_N_FDS * sizeof(fd))
		return false;
	memcpy(&header, control, sizeof(header));
	if (header.level != KERNEL_SOL_SOCKET || header.type != KERNEL_SCM_RIGHTS ||
	    header.n != sizeof(header) + ZYGOTE_N_FDS * sizeof(fd))
		return false;
	for (int i = 0; i < ZYGOTE_N_FDS; i++) {
		memcpy(&fd, (const char *)control + sizeof(header) + (size_t)i * sizeof(fd),
		       sizeof(fd));
		if (fd != ZYGOTE_FD + 1 + i)
			return false;
	}
	return true;
}

static _Noreturn void zygote_serve(void)
{
	const char ready = ZYGOTE_READY;

	call3(__NR_write, ZYGOTE_FD, (long)&ready, sizeof(ready));
	for (;;) {
		struct zygote_fork request = {0, 0};
		struct kernel_iovec iov = {&request, sizeof(request)};
		_Alignas(
			8) char control[sizeof(struct kernel_cmsghdr) + ZYGOTE_N_FDS * sizeof(int)];
		struct kernel_msghdr message = {NULL, 0, &iov, 1, control, sizeof(control), 0};
		long n = call3(__NR_recvmsg, ZYGOTE_FD, (long)&message, 0);
		int32_t answer = -EINVAL;

		if (n == -EINTR)
			continue;
		if (n <= 0)
			leave(n < 0);
		if (zygote_request_is_sound(&request, n, &message, control))
			answer = (int32_t)zygote_fork();
		close_from(ZYGOTE_FD + 1, UINT32_MAX);
		if (call3(__NR_write, ZYGOTE_FD, (long)&answer, sizeof(answer)) < 0)
			leave(1);
	}
}

static int zygote_builtin(struct bash_word_list *list)
{
	long fd = list ? number_of(list->word->word) : -1;

	if (fd < 0)
		return 2;
	/* Nothing may look in, or the room's processes could take over what is to become of them. */
	if (call3(__NR_prctl, PR_SET_DUMPABLE, 0, 0) < 0)
		return 1;
	if (fd != ZYGOTE_FD && call3(__NR_dup3, fd, ZYGOTE_FD, 0) < 0)
		return 1;
	for (long i = 0; i < ZYGOTE_FD; i++)
		if (call6(__NR_fcntl, i, 1 /* F_GETFD */, 0, 0, 0, 0) < 0)
			call3(__NR_dup3, ZYGOTE_FD, i, 0);
	close_from(ZYGOTE_FD + 1, UINT32_MAX);
	zygote_find_tid();
	zygote_forget();
	image_take_arguments(shell_environment);
	image_hide_object();
	zygote_serve();
}

/* `enable -f` looks for this. */
extern struct bash_builtin toolring_zygote_struct;

__attribute__((visibility("default"))) struct bash_builtin toolring_zygote_struct = {
	"toolring_zygote", zygote_builtin, BASH_BUILTIN_ENABLED, NULL, "toolring_zygote FD", NULL};
