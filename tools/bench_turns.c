/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_system.h"
#include "bench_turns.h"
#include "cli.h"

#define N_PROCESSES_MAX 64

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

double bench_percentile(uint64_t *samples, size_t n, double share)
{
	if (n == 0)
		return 0;
	qsort(samples, n, sizeof(*samples), compare);
	return (double)samples[(size_t)((double)(n - 1) * share)];
}

static double least(double a, double b)
{
	return a == 0 || b < a ? b : a;
}

static int do_step(struct bench_side *side, uint64_t *ret_ns)
{
	uint64_t before;
	int r = side->prepare ? side->prepare(side->data) : 0;

	if (r < 0)
		return r;
	before = bench_now_ns();
	r = side->step(side->data);
	*ret_ns = bench_now_ns() - before;
	return r == 0 && side->check ? side->check(side->data) : r;
}

static int take_turn(struct bench_side *side)
{
	uint64_t *ns = calloc(side->n_steps, sizeof(*ns));
	int r = ns ? 0 : -ENOMEM;

	for (size_t i = 0; i <= side->n_steps / 20 && r == 0; i++)
		r = do_step(side, &ns[0]);
	for (size_t i = 0; i < side->n_steps && r == 0; i++)
		r = do_step(side, &ns[i]);
	if (r == 0) {
		side->p50_ns = least(side->p50_ns, bench_percentile(ns, side->n_steps, 0.5));
		side->p99_ns = least(side->p99_ns, bench_percentile(ns, side->n_steps, 0.99));
	}
	free(ns);
	return r;
}

int bench_turns(struct bench_side *sides, size_t n_sides, int n_turns)
{
	int r = 0;

	for (int turn = 0; turn < n_turns; turn++)
		for (size_t i = 0; i < n_sides && r == 0; i++)
			r = take_turn(&sides[i]);
	return r;
}

int bench_races(struct bench_racer *racers, size_t n_racers, int n_turns, uint64_t duration_ns,
		uint64_t rest_ns)
{
	for (int turn = 0; turn < n_turns; turn++)
		for (size_t i = 0; i < n_racers; i++) {
			struct bench_racer *racer = &racers[i];
			uint64_t n = 0;
			double rate;
			int r = racer->run(racer->data, bench_now_ns() + duration_ns, &n);

			if (r < 0)
				return r;
			rate = (double)n * 1e9 / (double)duration_ns;
			racer->rate = rate > racer->rate ? rate : racer->rate;
			racer->mean_rate += rate / n_turns;
			bench_sleep_ns(rest_ns);
		}
	return 0;
}

/* Between the processes of bench_loops() and us. */
struct loop_result {
	uint64_t n;
	int error;
};

static _Noreturn void become_loop(int (*once)(void *), void *data, pid_t parent, uint64_t end_ns,
				  struct loop_result *result)
{
	int r = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	while (bench_now_ns() < end_ns && r == 0) {
		r = once(data);
		result->n++;
	}
	result->error = r;
	_exit(0);
}

int bench_loops(int (*once)(void *data), void *data, int n_processes, uint64_t end_ns,
		uint64_t *ret_n)
{
	struct loop_result *results;
	pid_t pids[N_PROCESSES_MAX];
	pid_t us = getpid();
	uint64_t n = 0;
	int n_started = 0;
	int r = 0;

	if (n_processes > N_PROCESSES_MAX)
		n_processes = N_PROCESSES_MAX;
	results = mmap(NULL, N_PROCESSES_MAX * sizeof(*results), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (results == MAP_FAILED)
		return -errno;
	for (; n_started < n_processes && r == 0; n_started += r == 0) {
		pid_t pid = fork();

		if (pid == 0)
			become_loop(once, data, us, end_ns, &results[n_started]);
		if (pid < 0)
			r = -errno;
		else
			pids[n_started] = pid;
	}
	for (int i = 0; i < n_started; i++) {
		int status;

		if (waitpid(pids[i], &status, 0) < 0 || status != 0)
			r = -EPIPE; /* killed or crashed */
		r = results[i].error < 0 ? results[i].error : r;
		n += results[i].n;
	}
	munmap(results, N_PROCESSES_MAX * sizeof(*results));
	if (r == 0)
		*ret_n = n;
	return r;
}
