/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_CALLS_H
#define TOOLS_BENCH_CALLS_H

/* Many calls of one client with a window of them in flight, every answer looked at. */

#include <stdbool.h>
#include <stdint.h>

#include <toolring/toolring.h>

#define BENCH_WINDOW   512
#define BENCH_N_REAPED 64

struct bench_calls {
	struct tr_client *client;
	enum tr_kind kind; /* PING or EXECUTE */
	uint32_t n_trajectories;
	bool in_turn;   /* trajectories one after another; else at random, uniformly */
	uint32_t owner; /* in the trajectory ids, so that clients do not share them */
	double wait_s;  /* that the fake backend takes for each; 0: none */
	uint64_t random;
	uint64_t n_submitted;
	uint64_t n_answered;
	struct tr_result results[BENCH_N_REAPED];
};

void bench_calls_init(struct bench_calls *c, struct tr_client *client, enum tr_kind kind,
		      uint32_t n_trajectories, uint32_t owner);
void bench_calls_deinit(struct bench_calls *c);

/*
 * Brings every pool, on both sides, to the size that a full window can ever need: a window of calls
 * that the fake backend keeps for a while, then one answer into each result of ours.
 */
int bench_calls_warm(struct bench_calls *c);

/*
 * Makes n calls and waits for all answers; stops submitting at end_ns (bench_now_ns(); 0: never).
 * ret_n: how many were answered before end_ns. 0; -errno; -EBADMSG: an answer was not "ok" (said on
 * standard error).
 */
int bench_calls_run(struct bench_calls *c, uint64_t n, uint64_t end_ns, uint64_t *ret_n);

#endif
