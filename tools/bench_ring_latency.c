/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench_peer.h"
#include "bench_ring.h"
#include "cli.h"

#define PING_MS  10000
#define PAUSE_NS (2 * BENCH_NS_PER_MS)

/* What one side took, in ticks. */
struct samples {
	uint32_t *ticks;
	size_t n;
};

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int samples_init(struct samples *s, size_t n)
{
	s->n = n;
	s->ticks = malloc(n * sizeof(*s->ticks));
	if (!s->ticks)
		return -ENOMEM;
	/* So that no page fault falls into a round trip. */
	memset(s->ticks, 1, n * sizeof(*s->ticks));
	return 0;
}

static void samples_deinit(struct samples *s)
{
	free(s->ticks);
}

/* Sorts. Nanoseconds that share of the samples do not exceed. */
static double samples_at(struct samples *s, double share)
{
	qsort(s->ticks, s->n, sizeof(*s->ticks), compare);
	return s->ticks[(size_t)((double)(s->n - 1) * share)] * bench_ns_per_tick();
}

static double least(double a, double b)
{
	return a == 0 || b < a ? b : a;
}

static uint32_t ticks_since(uint64_t before)
{
	uint64_t ticks = bench_ticks() - before;

	return ticks < UINT32_MAX ? (uint32_t)ticks : UINT32_MAX;
}

static int sample_lines(int core, struct samples *s)
{
	_cleanup_(bench_peer_stop) struct bench_peer peer = BENCH_PEER_NULL;
	int r = bench_peer_start_spin(&peer, core);

	if (r < 0)
		return r;
	bench_peer_spin(&peer, s->ticks, s->n / 4);
	bench_peer_spin(&peer, s->ticks, s->n);
	return 0;
}

/* As bench_peer_spin(): the end of one round trip is the start of the next. */
static int sample_pings(struct tr_client *client, struct samples *s, size_t n)
{
	uint64_t before = bench_ticks();

	for (size_t i = 0; i < n; i++) {
		int r = tr_ping(client, PING_MS, NULL);

		if (r < 0)
			return r;
		s->ticks[i] = ticks_since(before);
		before = bench_ticks();
	}
	return 0;
}

struct awake {
	double lines_p50;
	double ping_p50;
	double ping_p99;
};

static int measure_awake(struct bench_ring *ring, struct tr_client *client, struct awake *ret_awake)
{
	_cleanup_(samples_deinit) struct samples s = {0};
	int n_turns = ring->options->quick ? 1 : 7;
	struct awake best = {0};
	int r = samples_init(&s, ring->options->quick ? 2000 : 50000);

	for (int i = 0; i < n_turns && r == 0; i++) {
		r = sample_lines(ring->cores.theirs, &s);
		if (r < 0)
			break;
		best.lines_p50 = least(best.lines_p50, samples_at(&s, 0.5));
		r = sample_pings(client, &s, s.n / 4);
		if (r == 0)
			r = sample_pings(client, &s, s.n);
		if (r == 0) {
			best.ping_p50 = least(best.ping_p50, samples_at(&s, 0.5));
			best.ping_p99 = least(best.ping_p99, samples_at(&s, 0.99));
		}
	}
	if (r == 0)
		*ret_awake = best;
	return r;
}

int bench_ring_awake(struct bench_ring *ring)
{
	_cleanup_(bench_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	struct awake awake = {0};
	int r = bench_ring_daemon(ring, NULL, &daemon);

	if (r == 0)
		r = bench_open(&daemon, &client);
	if (r == 0)
		r = measure_awake(ring, client, &awake);
	if (r < 0)
		return r;
	bench_ring_add(ring, &(struct bench_row){.name = "ping_awake_p50",
						 .value = awake.ping_p50,
						 .unit = BENCH_NS,
						 .baseline = "cache-line ping-pong p50",
						 .baseline_value = awake.lines_p50,
						 .target = BENCH_AT_MOST,
						 .limit = 4});
	bench_ring_add(ring, &(struct bench_row){.name = "ping_awake_p99",
						 .value = awake.ping_p99,
						 .unit = BENCH_NS,
						 .baseline = "cache-line ping-pong p50",
						 .baseline_value = awake.lines_p50,
						 .target = BENCH_AT_MOST,
						 .limit = 8});
	return 0;
}

struct asleep {
	struct samples ping;
	struct samples futex;
	struct samples socket;
};

static void asleep_deinit(struct asleep *a)
{
	samples_deinit(&a->ping);
	samples_deinit(&a->futex);
	samples_deinit(&a->socket);
}

/*
 * The three in turns, each after a pause in which everybody has gone to sleep: the executor, the
 * peers, and we ourselves in nanosleep.
 */
static int measure_asleep(struct bench_ring *ring, struct tr_client *client, struct asleep *a)
{
	_cleanup_(bench_peer_stop) struct bench_peer futex = BENCH_PEER_NULL;
	_cleanup_(bench_peer_stop) struct bench_peer socket = BENCH_PEER_NULL;
	int r = bench_peer_start_futex(&futex, ring->cores.theirs);

	if (r == 0)
		r = bench_peer_start_socket(&socket, ring->cores.theirs);
	for (size_t i = 0; i < a->ping.n && r == 0; i++) {
		uint64_t before;

		bench_sleep_ns(PAUSE_NS);
		before = bench_ticks();
		r = tr_ping(client, PING_MS, NULL);
		a->ping.ticks[i] = ticks_since(before);
		bench_sleep_ns(PAUSE_NS);
		before = bench_ticks();
		bench_peer_futex(&futex);
		a->futex.ticks[i] = ticks_since(before);
		bench_sleep_ns(PAUSE_NS);
		before = bench_ticks();
		r = r < 0 ? r : bench_peer_socket(&socket);
		a->socket.ticks[i] = ticks_since(before);
	}
	return r;
}

int bench_ring_asleep(struct bench_ring *ring)
{
	_cleanup_(bench_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(asleep_deinit) struct asleep a = {0};
	size_t n = ring->options->quick ? 20 : 700;
	int r;

	if (samples_init(&a.ping, n) < 0 || samples_init(&a.futex, n) < 0 ||
	    samples_init(&a.socket, n) < 0)
		return -ENOMEM;
	r = bench_ring_daemon(ring, NULL, &daemon);
	if (r == 0)
		r = bench_open(&daemon, &client);
	if (r == 0)
		r = measure_asleep(ring, client, &a);
	if (r < 0)
		return r;
	bench_ring_add(ring, &(struct bench_row){.name = "ping_asleep_p50",
						 .value = samples_at(&a.ping, 0.5),
						 .unit = BENCH_NS,
						 .baseline = "futex ping-pong p50",
						 .baseline_value = samples_at(&a.futex, 0.5),
						 .target = BENCH_AT_MOST,
						 .limit = 1.25});
	bench_ring_add(ring, &(struct bench_row){.name = "socket_asleep_p50",
						 .value = samples_at(&a.socket, 0.5),
						 .unit = BENCH_NS,
						 .baseline = "futex ping-pong p50",
						 .baseline_value = samples_at(&a.futex, 0.5)});
	return 0;
}
