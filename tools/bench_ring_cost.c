/* SPDX-License-Identifier: Apache-2.0 */
/* What calls cost when there is much to remember, and what clients cost that do nothing. */
#include <errno.h>
#include <stdio.h>

#include "bench_calls.h"
#include "bench_ring.h"
#include "cli.h"

#define N_MANY     100000
#define N_FEW      10
#define N_IDLE     64
#define IDLE_MIB   (8.0 * 1024 * 1024)
#define CLIENT_MIB (1.0 * 1024 * 1024)

/* Nanoseconds for one of n pipelined calls; the least so far. */
static int time_calls(struct bench_calls *calls, uint64_t n, double *best_ns)
{
	uint64_t before = bench_now_ns();
	double ns;
	uint64_t n_done;
	int r = bench_calls_run(calls, n, 0, &n_done);

	if (r < 0)
		return r;
	ns = (double)(bench_now_ns() - before) / (double)n;
	if (*best_ns == 0 || ns < *best_ns)
		*best_ns = ns;
	return 0;
}

static int measure_trajectories(struct bench_ring *ring, struct tr_client *client, double *ret_few,
				double *ret_many)
{
	static struct bench_calls few;
	static struct bench_calls many;
	uint32_t n_many = ring->options->quick ? 1000 : N_MANY;
	uint64_t n_calls = ring->options->quick ? 1000 : 300000;
	int n_turns = ring->options->quick ? 1 : 5;
	uint64_t n;
	int r;

	bench_calls_init(&few, client, TR_KIND_EXECUTE, N_FEW, 1);
	bench_calls_init(&many, client, TR_KIND_EXECUTE, n_many, 2);
	/* Every one is touched before, so that none acquires its slot while we measure. */
	few.in_turn = true;
	many.in_turn = true;
	r = bench_calls_run(&few, N_FEW, 0, &n);
	if (r == 0)
		r = bench_calls_run(&many, n_many, 0, &n);
	few.in_turn = false;
	many.in_turn = false;
	for (int i = 0; i < n_turns && r == 0; i++) {
		r = time_calls(&few, n_calls, ret_few);
		if (r == 0)
			r = time_calls(&many, n_calls, ret_many);
	}
	bench_calls_deinit(&few);
	bench_calls_deinit(&many);
	return r;
}

int bench_ring_trajectories(struct bench_ring *ring)
{
	/* Every trajectory holds a slot. */
	static const char *const flags[] = {"--slots-max", "131072", NULL};
	_cleanup_(bench_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	double few = 0;
	double many = 0;
	int r = bench_ring_daemon(ring, flags, &daemon);

	if (r == 0)
		r = bench_open(&daemon, &client);
	if (r == 0)
		r = measure_trajectories(ring, client, &few, &many);
	if (r < 0)
		return r;
	bench_ring_add(ring, &(struct bench_row){.name = "trajectories_100k",
						 .value = many,
						 .unit = BENCH_NS,
						 .baseline = ring->options->quick
								     ? "at one of 10 (1k, not 100k)"
								     : "a call at one of 10",
						 .baseline_value = few,
						 .target = BENCH_AT_MOST,
						 .limit = 1.5});
	return 0;
}

struct idle {
	struct tr_client *clients[N_IDLE];
	double cpu_ns; /* in 10 s */
	double private_bytes;
	double shared_bytes;
};

static void idle_deinit(struct idle *idle)
{
	for (size_t i = 0; i < N_IDLE; i++)
		tr_close(idle->clients[i]);
}

static int idle_open(struct idle *idle, const struct bench_daemon *daemon)
{
	int r = 0;

	for (size_t i = 0; i < N_IDLE && r == 0; i++) {
		r = bench_open(daemon, &idle->clients[i]);
		if (r == 0)
			r = tr_ping(idle->clients[i], 10000, NULL);
	}
	return r;
}

static int idle_measure(struct idle *idle, const struct bench_daemon *daemon, uint64_t window_ns)
{
	uint64_t cpu_before;
	uint64_t cpu_after;
	uint64_t private;
	uint64_t shared;
	pid_t pid;
	int r = bench_daemon_pid(daemon, idle->clients[0], &pid);

	/* Whatever the start and the pings set going has come to rest by then. */
	bench_sleep_ns(300 * BENCH_NS_PER_MS);
	if (r == 0)
		r = bench_cpu_ns(pid, &cpu_before);
	if (r == 0) {
		bench_sleep_ns(window_ns);
		r = bench_cpu_ns(pid, &cpu_after);
	}
	if (r == 0)
		r = bench_private_bytes(pid, &private);
	if (r == 0)
		r = bench_shared_bytes(&shared);
	if (r < 0)
		return r;
	idle->cpu_ns = (double)(cpu_after - cpu_before) * 10e9 / (double)window_ns;
	idle->private_bytes = (double)private;
	idle->shared_bytes = (double)shared;
	return 0;
}

int bench_ring_idle(struct bench_ring *ring)
{
	_cleanup_(bench_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(idle_deinit) struct idle idle = {0};
	uint64_t window_ns = (ring->options->quick ? 1 : 10) * (uint64_t)BENCH_NS_PER_S;
	int r = bench_ring_daemon(ring, NULL, &daemon);

	if (r == 0)
		r = idle_open(&idle, &daemon);
	if (r == 0)
		r = idle_measure(&idle, &daemon, window_ns);
	if (r < 0)
		return r;
	bench_ring_add(ring, &(struct bench_row){.name = "idle_cpu",
						 .value = idle.cpu_ns,
						 .unit = BENCH_NS,
						 .target = BENCH_BELOW,
						 .limit = 1e6});
	/* What is toolringd's alone, and every segment. */
	bench_ring_add(ring, &(struct bench_row){.name = "idle_memory",
						 .value = idle.private_bytes + idle.shared_bytes,
						 .unit = BENCH_BYTES,
						 .target = BENCH_BELOW,
						 .limit = IDLE_MIB + N_IDLE * CLIENT_MIB});
	bench_ring_add(ring, &(struct bench_row){.name = "idle_private",
						 .value = idle.private_bytes,
						 .unit = BENCH_BYTES});
	return 0;
}
