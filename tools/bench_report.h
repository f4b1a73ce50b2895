/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_REPORT_H
#define TOOLS_BENCH_REPORT_H

/*
 * What a bench prints, the same for all of them: rows of a name, a value and its unit, what it is
 * compared with, and a target. Where there is a baseline the target is on the ratio, else on the
 * value itself.
 */

#include <stdbool.h>
#include <stddef.h>

#define BENCH_N_ROWS_MAX 40

enum bench_unit {
	BENCH_NS,
	BENCH_BYTES,
	BENCH_PER_SECOND,
	BENCH_COUNT,
};

enum bench_target {
	BENCH_NO_TARGET,
	BENCH_AT_MOST,
	BENCH_BELOW,
	BENCH_AT_LEAST,
};

struct bench_row {
	const char *name;
	double value;
	enum bench_unit unit;
	const char *baseline;  /* NULL: none */
	double baseline_value; /* NAN: it is not to be had, as baseline says */
	enum bench_target target;
	double limit;
};

struct bench_report {
	const char *bench;
	struct bench_row rows[BENCH_N_ROWS_MAX];
	size_t n_rows;
};

void bench_report_add(struct bench_report *report, const struct bench_row *row);
/* 0, or -ENOMEM or -EIO. */
int bench_report_print_json(const struct bench_report *report);
void bench_report_print_table(const struct bench_report *report);
/* Is the name in a list with commas between? */
bool bench_row_listed(const char *list, const char *name);
/* All targets met. */
bool bench_report_met(const struct bench_report *report);

#endif
