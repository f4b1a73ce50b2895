/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_calls.h"
#include "bench_ring.h"
#include "cli.h"

#define N_CLIENTS      8
#define N_TRAJECTORIES 64
#define N_WARM         20000

/* Between the clients' processes and ours. */
struct race {
	uint32_t n_ready;
	uint64_t end_ns;
	uint64_t n_calls[N_CLIENTS];
	int error[N_CLIENTS];
};

struct rate {
	struct bench_ring *ring;
	const struct bench_daemon *daemon;
	enum tr_kind kind;
	uint64_t duration_ns;
};

static int client_run(const struct rate *rate, struct race *race, uint32_t index, int start_fd)
{
	static struct bench_calls calls;
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	uint64_t n;
	char byte;
	int r = bench_open(rate->daemon, &client);

	if (r < 0)
		return r;
	bench_calls_init(&calls, client, rate->kind, N_TRAJECTORIES, index);
	r = bench_calls_run(&calls, rate->ring->options->quick ? 1000 : N_WARM, 0, &n);
	__atomic_add_fetch(&race->n_ready, 1, __ATOMIC_RELEASE);
	/* Ends when the last holder of the other end, our parent, closes it. */
	while (read(start_fd, &byte, 1) < 0 && errno == EINTR)
		;
	if (r == 0)
		r = bench_calls_run(&calls, UINT32_MAX, race->end_ns, &race->n_calls[index]);
	bench_calls_deinit(&calls);
	return r;
}

static pid_t client_start(const struct rate *rate, struct race *race, uint32_t index,
			  uint32_t n_clients, const int start[2])
{
	pid_t us = getpid();
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != us)
		_exit(1);
	close(start[1]);
	/* Many clients take all cores but toolringd's, which on two cores is one again. */
	if (rate->ring->cores.theirs >= 0 && n_clients > 1)
		bench_pin_all_but(rate->ring->cores.theirs);
	race->error[index] = client_run(rate, race, index, start[0]);
	_exit(0);
}

/* Calls a second that n_clients processes had answered, all together. */
static int measure(const struct rate *rate, uint32_t n_clients, double *ret_rate)
{
	struct race *race = mmap(NULL, sizeof(*race), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[N_CLIENTS];
	uint32_t n_started = 0;
	uint64_t n_calls = 0;
	int start[2];
	int r = 0;

	if (race == MAP_FAILED)
		return -errno;
	if (pipe2(start, O_CLOEXEC) < 0) {
		munmap(race, sizeof(*race));
		return -errno;
	}
	for (; n_started < n_clients && r == 0; n_started += r == 0) {
		pids[n_started] = client_start(rate, race, n_started, n_clients, start);
		if (pids[n_started] < 0)
			r = -errno;
	}
	close(start[0]);
	while (r == 0 && __atomic_load_n(&race->n_ready, __ATOMIC_ACQUIRE) < n_started) {
		bench_sleep_ns(BENCH_NS_PER_MS);
		for (uint32_t i = 0; i < n_started; i++)
			r = race->error[i] < 0 ? race->error[i] : r;
	}
	race->end_ns = bench_now_ns() + rate->duration_ns;
	close(start[1]);
	for (uint32_t i = 0; i < n_started; i++) {
		int status;

		if (waitpid(pids[i], &status, 0) < 0 || status != 0)
			r = -EPIPE; /* killed or crashed */
		r = race->error[i] < 0 ? race->error[i] : r;
		n_calls += race->n_calls[i];
	}
	munmap(race, sizeof(*race));
	if (r == 0)
		*ret_rate = (double)n_calls * 1e9 / (double)rate->duration_ns;
	return r;
}

/* One client and eight in turns, the best of each. */
static int measure_both(struct bench_ring *ring, enum tr_kind kind, double *ret_one,
			double *ret_many)
{
	_cleanup_(bench_cleanup_daemon) struct bench_daemon daemon = {0};
	struct rate rate = {.ring = ring,
			    .daemon = &daemon,
			    .kind = kind,
			    .duration_ns =
				    (ring->options->quick ? 50 : 250) * (uint64_t)BENCH_NS_PER_MS};
	int n_turns = ring->options->quick ? 1 : 10;
	double one = 0;
	double many = 0;
	int r = bench_ring_daemon(ring, NULL, &daemon);

	for (int i = 0; i < n_turns && r == 0; i++) {
		double v;

		r = measure(&rate, 1, &v);
		if (r == 0 && v > one)
			one = v;
		if (r == 0)
			r = measure(&rate, N_CLIENTS, &v);
		if (r == 0 && v > many)
			many = v;
	}
	*ret_one = one;
	*ret_many = many;
	return r;
}

static int add_rows(struct bench_ring *ring, enum tr_kind kind, const char *name_one,
		    const char *name_many, double limit)
{
	double one;
	double many;
	int r = measure_both(ring, kind, &one, &many);

	if (r < 0)
		return r;
	bench_ring_add(ring, &(struct bench_row){.name = name_one,
						 .value = one,
						 .unit = BENCH_PER_SECOND,
						 .target = BENCH_AT_LEAST,
						 .limit = limit});
	/* With cores to spare more clients must not be slower than one. */
	bench_ring_add(ring, &(struct bench_row){.name = name_many,
						 .value = many,
						 .unit = BENCH_PER_SECOND,
						 .baseline = name_one,
						 .baseline_value = one,
						 .target = BENCH_AT_LEAST,
						 .limit = bench_n_cores() >= 10 ? 1.0 : 0.7});
	return 0;
}

int bench_ring_ping_rate(struct bench_ring *ring)
{
	return add_rows(ring, TR_KIND_PING, "ping_rate_1", "ping_rate_8", 3e6);
}

int bench_ring_execute_rate(struct bench_ring *ring)
{
	return add_rows(ring, TR_KIND_EXECUTE, "execute_rate_1", "execute_rate_8", 1e6);
}
