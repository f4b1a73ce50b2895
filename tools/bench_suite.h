/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_SUITE_H
#define TOOLS_BENCH_SUITE_H

/*
 * A bench made of parts: each starts a toolringd of its own, measures, and adds its rows. The command
 * line, the choice of parts and the report are the same for all such benches.
 */

#include <stdbool.h>
#include <stddef.h>

#include "bench_daemon.h"
#include "bench_report.h"
#include "bench_system.h"

#define BENCH_N_PART_ROWS 12

struct bench_suite_options {
	const char *program; /* toolringd, or NULL */
	const char *backend;
	const char *only; /* rows, with commas between; NULL: all */
	bool quick;
	bool json;
	bool check;
};

struct bench_suite {
	struct bench_suite_options options;
	const char *dir; /* removed in the end with what is in it */
	struct bench_cores cores;
	struct bench_report report;
	bool left_out; /* a wanted row with a target was not measured or has no baseline */
};

struct bench_part {
	/* Adds the rows. 0, or -errno after saying what failed. */
	int (*measure)(struct bench_suite *suite);
	const char *rows[BENCH_N_PART_ROWS];
};

struct command;

struct bench_suite_spec {
	const struct command *command;
	const char *name; /* in the report */
	const struct bench_part *parts;
	size_t n_parts;
};

/* The whole command: reads its options, measures, prints. The exit code. */
int bench_suite_run(const struct bench_suite_spec *spec, int argc, char **argv);

bool bench_suite_wants(const struct bench_suite *suite, const char *row);
/* Adds a row, if it is wanted. */
void bench_suite_add(struct bench_suite *suite, const struct bench_row *row);
/* The same without the baseline, which cannot be had: the row says why instead of being judged. */
void bench_suite_add_bare(struct bench_suite *suite, const struct bench_row *row, const char *why);

/* Starts a toolringd with further flags (or NULL) and opens a session. */
int bench_suite_start(struct bench_suite *suite, const char *const *flags,
		      struct bench_daemon *ret_daemon, struct tr_client **ret_client);
/* The same on one core, of toolringd and all slots; -1: any. */
int bench_suite_start_on(struct bench_suite *suite, int core, const char *const *flags,
			 struct bench_daemon *ret_daemon, struct tr_client **ret_client);

static inline void bench_suite_cleanup_daemon(struct bench_daemon *daemon)
{
	bench_daemon_stop(daemon);
}

#endif
