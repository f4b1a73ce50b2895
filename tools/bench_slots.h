/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_SLOTS_H
#define TOOLS_BENCH_SLOTS_H

/*
 * toolring bench slots: what its parts share. toolringd and its slots run on whatever cores the
 * kernel gives them, and so do the baselines, but where so little is measured that the placement
 * would decide: there, as in bench ring, we run on one core and whatever answers on another.
 */

#include <stdbool.h>
#include <stdint.h>

#include "bench_daemon.h"
#include "bench_report.h"
#include "bench_spawn.h"
#include "bench_system.h"

struct bench_slots_options {
	const char *program; /* toolringd, or NULL */
	const char *backend;
	const char *only; /* rows, with commas between; NULL: all */
	bool quick;
	bool json;
	bool check;
};

struct bench_slots {
	const struct bench_slots_options *options;
	const char *dir;
	char empty[128]; /* a directory with nothing in it */
	struct bench_cores cores;
	struct bench_words bwrap;
	bool has_bwrap;
	struct bench_report report;
	bool left_out; /* a wanted row with a target was not measured or has no baseline */
};

bool bench_slots_wants(const struct bench_slots *slots, const char *row);
/* Adds a row, if it is wanted. */
void bench_slots_add(struct bench_slots *slots, const struct bench_row *row);
/* The same; where bubblewrap is missing it says so instead of being judged. */
void bench_slots_add_bwrap(struct bench_slots *slots, const struct bench_row *row);
/* Starts a toolringd with further flags (or NULL) and opens a session. */
int bench_slots_start(struct bench_slots *slots, const char *const *flags,
		      struct bench_daemon *ret_daemon, struct tr_client **ret_client);

/* The same on one core, of toolringd and all slots; -1: any. */
int bench_slots_start_on(struct bench_slots *slots, int core, const char *const *flags,
			 struct bench_daemon *ret_daemon, struct tr_client **ret_client);

/* The parts; each adds its rows. 0, or -errno after saying what failed. */
int bench_slots_bash(struct bench_slots *slots);
int bench_slots_ls(struct bench_slots *slots);
int bench_slots_bash_rate(struct bench_slots *slots);
int bench_slots_read(struct bench_slots *slots);
int bench_slots_read_rate(struct bench_slots *slots);
int bench_slots_make(struct bench_slots *slots);
int bench_slots_rate(struct bench_slots *slots);
int bench_slots_reset(struct bench_slots *slots);
int bench_slots_many(struct bench_slots *slots);
int bench_slots_output(struct bench_slots *slots);
int bench_slots_abuse(struct bench_slots *slots);

static inline void bench_slots_cleanup_daemon(struct bench_daemon *daemon)
{
	bench_daemon_stop(daemon);
}

#endif
