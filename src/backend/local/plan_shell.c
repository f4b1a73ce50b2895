/* SPDX-License-Identifier: Apache-2.0 */
/* Finds out whether a shell is one that can be made a zygote of, by trying. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/local/plan_rows.h"
#include "base/cleanup.h"

#define LOAD_MS_MAX 5000

/* Only loads it: what it does starts when the builtin is called. */
static const char script[] = "enable -f \"$1\" toolring_zygote";

_Noreturn static void run_shell(const char *shell, const char *object)
{
	const char *const argv[] = {shell, "-c", script, "toolringd", object, NULL};
	const char *const envp[] = {"PATH=/usr/bin:/bin", NULL};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0 && dup2(null, 0) == 0 && dup2(null, 1) == 1 && dup2(null, 2) == 2) {
		syscall(SYS_close_range, 3, ~0U, 0);
		execve(shell, (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)envp);
	}
	_exit(127);
}

bool plan_shell_loads(const char *shell, const char *object)
{
	_cleanup_(cleanup_close) int pidfd = -1;
	struct pollfd wait = {.events = POLLIN};
	siginfo_t end = {0};
	pid_t pid = fork();

	if (pid < 0)
		return false;
	if (pid == 0)
		run_shell(shell, object);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	wait.fd = pidfd;
	if (pidfd < 0 || poll(&wait, 1, LOAD_MS_MAX) != 1)
		kill(pid, SIGKILL);
	if (waitid(P_PID, (id_t)pid, &end, WEXITED) < 0)
		return false;
	return end.si_code == CLD_EXITED && end.si_status == 0;
}
