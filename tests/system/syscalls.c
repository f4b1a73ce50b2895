/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that neither side makes a system call while both are awake, by counting: a client process
 * and the executor are traced (ptrace stops at each system call) while the client makes thousands of
 * calls, one after another. The client marks where such a window begins and ends with a system call
 * of its own, which is not counted.
 *
 * The machine may be busy: a side that is not scheduled for long may send the other to sleep, which
 * is right. So both spin for long, and one quiet window out of many is enough. That a window without
 * a system call can be told from one with them is shown first, with a client that never spins.
 */
#include "world.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WINDOWS_MAX 30
#define N_WARM      500
#define N_PINGS     20000
#define N_EXECUTES  5000

enum mark {
	MARK_BEGIN,
	MARK_END,
	MARK_DONE,
};

struct tracee {
	pid_t pid;
	uint64_t n; /* system calls in this window */
};

struct count {
	struct tracee client;
	struct tracee executor;
	bool in_window;
	bool done;
	uint64_t n_windows;
	uint64_t n_quiet;
	uint64_t n_least; /* of both sides, in the best window */
	bool *enough;     /* shared with the client */
};

/* ---- the client ----------------------------------------------------------------------------------- */

static void mark(enum mark m)
{
	syscall(SYS_getppid, (long)m);
}

static bool ping(struct tr_client *c)
{
	return tr_ping(c, LONG_MS, NULL) == 0;
}

static bool execute(struct tr_client *c)
{
	static struct tr_result result;
	const struct tr_member command = {"command", tr_string("true")};
	const struct tr_call call = {
		.trajectory_id = "a",
		.tool = "bash",
		.arguments = tr_map(&command, 1),
	};

	return tr_call_wait(c, &call, &result, LONG_MS) == 0 && result.verdict == TR_OK;
}

static _Noreturn void be_client(const struct world *w, int32_t spin_us,
				bool (*once)(struct tr_client *), int n, int go, const bool *enough)
{
	const struct tr_options options = {
		.size = sizeof(options),
		.name = w->socket,
		.spin_us = spin_us,
	};
	struct tr_client *c;
	bool well = tr_open_with(&c, &options) == 0;
	char byte;

	well = well && read(go, &byte, 1) == 1;
	for (int k = 0; k < WINDOWS_MAX && well && !__atomic_load_n(enough, __ATOMIC_RELAXED);
	     k++) {
		for (int i = 0; i < N_WARM && well; i++)
			well = once(c);
		mark(MARK_BEGIN);
		for (int i = 0; i < n && well; i++)
			well = once(c);
		mark(MARK_END);
	}
	mark(MARK_DONE);
	_exit(well ? 0 : 1);
}

/* ---- the tracer ----------------------------------------------------------------------------------- */

static void handle_mark(struct count *c, enum mark m)
{
	uint64_t n = c->client.n + c->executor.n;

	switch (m) {
	case MARK_BEGIN:
		c->in_window = true;
		c->client.n = 0;
		c->executor.n = 0;
		break;
	case MARK_END:
		c->in_window = false;
		if (!c->n_windows++ || n < c->n_least)
			c->n_least = n;
		if (n == 0) {
			c->n_quiet++;
			__atomic_store_n(c->enough, true, __ATOMIC_RELAXED);
		}
		break;
	case MARK_DONE:
		c->done = true;
		break;
	}
}

static void handle_syscall(struct count *c, pid_t pid)
{
	struct __ptrace_syscall_info info;

	assert_true(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0);
	if (info.op != PTRACE_SYSCALL_INFO_ENTRY)
		return;
	if (pid == c->client.pid && info.entry.nr == SYS_getppid)
		handle_mark(c, (enum mark)info.entry.args[0]);
	else if (pid == c->client.pid)
		c->client.n++;
	else
		c->executor.n++;
}

static void trace(struct count *c)
{
	while (!c->done) {
		int status, signal = 0;
		pid_t pid = waitpid(-1, &status, __WALL);

		assert_true(pid == c->client.pid || pid == c->executor.pid);
		assert_true(WIFSTOPPED(status));
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			handle_syscall(c, pid);
		else if (status >> 16 == 0)
			signal = WSTOPSIG(status);
		if (!c->done || pid != c->client.pid)
			assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, signal), 0);
	}
}

static void seize(pid_t pid)
{
	int status;

	assert_int_equal(ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACESYSGOOD), 0);
	assert_int_equal(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL), 0);
	assert_int_equal(waitpid(pid, &status, __WALL), pid);
	assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
}

static void let_go(pid_t pid)
{
	int status;

	ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
	assert_int_equal(waitpid(pid, &status, __WALL), pid);
	assert_int_equal(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
}

/* Counts in up to WINDOWS_MAX windows of n calls each, until one is quiet. */
static void count(struct world *w, int32_t spin_us, bool (*once)(struct tr_client *), int n,
		  struct count *ret_count)
{
	struct count c = {0};
	struct tr_client *asker;
	int go[2], status;

	world_start(w, "--spin-us", "1000000", NULL);
	c.enough =
		mmap(NULL, sizeof(bool), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(c.enough != MAP_FAILED);
	asker = world_client(w);
	c.executor.pid = executor_pid(asker);
	world_close(w, asker);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	c.client.pid = world_fork(w);
	if (c.client.pid == 0)
		be_client(w, spin_us, once, n, go[0], c.enough);
	seize(c.executor.pid);
	seize(c.client.pid);
	assert_int_equal(write(go[1], "g", 1), 1);
	trace(&c);
	let_go(c.executor.pid);
	assert_int_equal(ptrace(PTRACE_DETACH, c.client.pid, NULL, NULL), 0);
	status = world_wait_child(w, c.client.pid);
	assert_int_equal(status, 0);
	close(go[0]);
	close(go[1]);
	munmap(c.enough, sizeof(bool));
	print_message("%d calls a window: %llu windows, the best with %llu system calls\n", n,
		      (unsigned long long)c.n_windows, (unsigned long long)c.n_least);
	*ret_count = c;
}

/* A client that sleeps each time needs at least a call for each ping: the counting works. */
static void asleep_is_counted(void **state)
{
	struct count c;

	count(*state, -1, ping, 200, &c);
	assert_int_equal(c.n_windows, WINDOWS_MAX);
	assert_true(c.n_least > 0);
}

static void pings_make_none(void **state)
{
	struct count c;

	count(*state, 1000000, ping, N_PINGS, &c);
	assert_true(c.n_quiet > 0);
}

static void executes_make_none(void **state)
{
	struct count c;

	count(*state, 1000000, execute, N_EXECUTES, &c);
	assert_true(c.n_quiet > 0);
}

static bool may_trace(void)
{
	pid_t pid = fork();
	bool may;

	if (pid == 0) {
		pause();
		_exit(0);
	}
	may = pid > 0 && ptrace(PTRACE_SEIZE, pid, NULL, 0) == 0;
	kill(pid, SIGKILL);
	while (waitpid(pid, &(int){0}, __WALL) == pid)
		;
	return may;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		world_test(asleep_is_counted),
		world_test(pings_make_none),
		world_test(executes_make_none),
	};
	cpu_set_t cpus;

	world_main(argc, argv);
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) < 2)
		skip_all("two sides cannot be awake at once on one core");
	if (!may_trace()) {
		if (geteuid() != 0)
			return 77;
		skip_all("ptrace is not permitted");
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
