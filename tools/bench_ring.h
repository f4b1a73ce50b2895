/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_RING_H
#define TOOLS_BENCH_RING_H

/*
 * toolring bench ring: what its parts share. Every baseline is measured in the same run, on the same
 * cores, in turns with what it is compared with; of several turns the best counts on either side,
 * because what disturbs a measurement only ever makes it slower.
 */

#include <stdbool.h>
#include <stdint.h>

#include "bench_daemon.h"
#include "bench_report.h"
#include "bench_system.h"

struct bench_ring_options {
	const char *name;    /* an instance that is there, or NULL */
	const char *program; /* toolringd, or NULL */
	const char *only;    /* rows, with commas between; NULL: all */
	bool quick;
	bool json;
	bool check;
};

struct bench_ring {
	const struct bench_ring_options *options;
	const char *dir;
	struct bench_cores cores; /* -1: no pinning, as we did not start that toolringd */
	struct bench_report report;
	bool left_out; /* a wanted row with a target was not measured */
};

/* Adds a row, if it is wanted. */
void bench_ring_add(struct bench_ring *ring, const struct bench_row *row);
/* Starts a toolringd with further flags (or NULL), or takes the one that was named. */
int bench_ring_daemon(struct bench_ring *ring, const char *const *flags,
		      struct bench_daemon *ret_daemon);

/* The parts; each adds its rows. 0, or -errno after saying what failed. */
int bench_ring_awake(struct bench_ring *ring);
int bench_ring_asleep(struct bench_ring *ring);
int bench_ring_ping_rate(struct bench_ring *ring);
int bench_ring_execute_rate(struct bench_ring *ring);
int bench_ring_trajectories(struct bench_ring *ring);
int bench_ring_allocs(struct bench_ring *ring);
int bench_ring_idle(struct bench_ring *ring);

static inline void bench_cleanup_daemon(struct bench_daemon *daemon)
{
	bench_daemon_stop(daemon);
}

#endif
