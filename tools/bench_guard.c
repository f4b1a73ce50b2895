/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench_guard.h"
#include "cli.h"

#define N_WATCHED_MAX 16
#define GRACE_S       15

#define SCRATCH "/dev/shm"

/* What guard and worker share. */
static struct shared {
	pid_t watched[N_WATCHED_MAX]; /* 0: free */
	bool has_scratch;
} * shared;
static char scratch[128]; /* its name, from before the fork */

static void replace(pid_t old, pid_t new)
{
	for (size_t i = 0; i < N_WATCHED_MAX; i++) {
		pid_t expected = old;

		if (__atomic_compare_exchange_n(&shared->watched[i], &expected, new, false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return;
	}
}

void bench_guard_watch(pid_t pid)
{
	replace(0, pid);
}

void bench_guard_forget(pid_t pid)
{
	replace(pid, 0);
}

int bench_guard_scratch(const char **ret_path)
{
	shared->has_scratch = true;
	if (mkdir(scratch, 0700) < 0) {
		int r = -errno;

		shared->has_scratch = false; /* it is not ours */
		return r;
	}
	*ret_path = scratch;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

static void remove_directory(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Waits for one signal of the set; false: none within seconds. */
static bool wait_signal(const sigset_t *set, int seconds, int *ret_signal)
{
	struct timespec limit = {.tv_sec = seconds};
	int r;

	do
		r = sigtimedwait(set, NULL, &limit);
	while (r < 0 && errno == EINTR);
	*ret_signal = r;
	return r > 0;
}

/* Until the worker is gone. Returns its exit status; told to end, ends it. */
static int wait_worker(pid_t worker, const sigset_t *set)
{
	int status;
	int signal;

	while (waitpid(worker, &status, WNOHANG) != worker)
		if (wait_signal(set, 3600, &signal) && signal != SIGCHLD)
			kill(worker, SIGKILL);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Until none of the worker's children is left; what does not end by itself is killed. */
static void wait_rest(const sigset_t *set)
{
	int signal;

	for (;;) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);

		if (pid < 0)
			return;
		if (pid > 0) {
			bench_guard_forget(pid);
			continue;
		}
		if (wait_signal(set, GRACE_S, &signal))
			continue;
		for (size_t i = 0; i < N_WATCHED_MAX; i++)
			if (shared->watched[i] > 0)
				kill(shared->watched[i], SIGKILL);
	}
}

static _Noreturn void become_worker(int (*work)(const char *, void *), const char *dir, void *data,
				    pid_t guard)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != guard) /* it died before that */
		_exit(CLI_INFRASTRUCTURE);
	exit(work(dir, data));
}

int bench_guarded(int (*work)(const char *dir, void *data), void *data)
{
	const char *parent = getenv("TMPDIR");
	char dir[80];
	sigset_t set;
	sigset_t before;
	pid_t worker;
	int r;

	/* The name has to leave room for a Unix socket's path (107 bytes). */
	if (!parent || strlen(parent) > 48)
		parent = "/tmp";
	snprintf(dir, sizeof(dir), "%s/toolring-bench-XXXXXX", parent);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED || !mkdtemp(dir))
		return cli_error("no directory to work in: %s", strerror(errno));
	snprintf(scratch, sizeof(scratch), SCRATCH "%s", strrchr(dir, '/'));
	fflush(NULL); /* what is buffered would else be written twice */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, &before);
	r = getpid();
	worker = fork();
	if (worker == 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		become_worker(work, dir, data, r);
	}
	if (worker < 0)
		r = cli_error("cannot fork: %s", strerror(errno));
	else
		r = wait_worker(worker, &set);
	wait_rest(&set);
	remove_directory(dir);
	if (shared->has_scratch)
		remove_directory(scratch);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}
