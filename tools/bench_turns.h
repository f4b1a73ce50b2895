/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_TURNS_H
#define TOOLS_BENCH_TURNS_H

/*
 * Two or more things measured in turns, so that noise on the machine hits all of them. Of several
 * turns the best counts on every side, because what disturbs a measurement only ever makes it slower.
 */

#include <stddef.h>
#include <stdint.h>

/* One thing done again and again, each time timed. */
struct bench_side {
	int (*prepare)(void *data); /* before each, not timed; or NULL */
	int (*step)(void *data);
	int (*check)(void *data); /* after each, not timed; or NULL */
	void *data;
	size_t n_steps; /* in a turn; a twentieth of them, not timed, comes before */
	double p50_ns;  /* of the best turn, as is p99_ns */
	double p99_ns;
};

/* 0, or the first error of a prepare, step or check. */
int bench_turns(struct bench_side *sides, size_t n_sides, int n_turns);

/* As many of one thing as go through in a given time. */
struct bench_racer {
	/* ret_n: how many until end_ns (bench_now_ns()). */
	int (*run)(void *data, uint64_t end_ns, uint64_t *ret_n);
	void *data;
	double rate;      /* a second, in the best turn */
	double mean_rate; /* over all turns */
};

/* Each for duration_ns a turn; rest_ns after each, in which what it left in the kernel is done. */
int bench_races(struct bench_racer *racers, size_t n_racers, int n_turns, uint64_t duration_ns,
		uint64_t rest_ns);

/* n_processes that each call once(data) until end_ns; how many times all together. */
int bench_loops(int (*once)(void *data), void *data, int n_processes, uint64_t end_ns,
		uint64_t *ret_n);

/* Sorts. What share (0..1) of the samples do not exceed. */
double bench_percentile(uint64_t *samples, size_t n, double share);

#endif
