/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "bench_report.h"
#include "bench_system.h"
#include "text.h"

static const char *const unit_names[] = {
	[BENCH_NS] = "ns",
	[BENCH_BYTES] = "bytes",
	[BENCH_PER_SECOND] = "per_second",
	[BENCH_COUNT] = "count",
};

static const char *const target_signs[] = {
	[BENCH_NO_TARGET] = "",
	[BENCH_AT_MOST] = "<=",
	[BENCH_BELOW] = "<",
	[BENCH_AT_LEAST] = ">=",
};

void bench_report_add(struct bench_report *report, const struct bench_row *row)
{
	assert(report->n_rows < BENCH_N_ROWS_MAX);
	report->rows[report->n_rows++] = *row;
}

bool bench_row_listed(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *at = list; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (strncmp(at, name, n) == 0 && (at[n] == 0 || at[n] == ','))
			return true;
	}
	return false;
}

static double ratio_of(const struct bench_row *row)
{
	return row->value / row->baseline_value;
}

static bool is_met(const struct bench_row *row)
{
	double v = row->baseline ? ratio_of(row) : row->value;

	switch (row->target) {
	case BENCH_AT_MOST:
		return v <= row->limit;
	case BENCH_BELOW:
		return v < row->limit;
	case BENCH_AT_LEAST:
		return v >= row->limit;
	case BENCH_NO_TARGET:
	default:
		return true;
	}
}

bool bench_report_met(const struct bench_report *report)
{
	for (size_t i = 0; i < report->n_rows; i++)
		if (!is_met(&report->rows[i]))
			return false;
	return true;
}

static json_t *number(double v)
{
	if (!isfinite(v))
		return json_null();
	return v == floor(v) && fabs(v) < 9e15 ? json_integer((json_int_t)v) : json_real(v);
}

static json_t *row_json(const struct bench_row *row)
{
	char target[64];

	snprintf(target, sizeof(target), "%s %s", target_signs[row->target],
		 text_plain(row->limit).s);
	return json_pack("{s:s s:o s:s s:s? s:o s:o s:s? s:o}", "name", row->name, "value",
			 number(row->value), "unit", unit_names[row->unit], "baseline",
			 row->baseline, "baseline_value",
			 row->baseline ? number(row->baseline_value) : json_null(), "ratio",
			 row->baseline ? number(ratio_of(row)) : json_null(), "target",
			 row->target ? target : NULL, "met",
			 row->target ? json_boolean(is_met(row)) : json_null());
}

int bench_report_print_json(const struct bench_report *report)
{
	struct utsname uts;
	struct bench_text cpu = bench_cpu_model();
	json_t *rows = json_array();
	json_t *json;
	int r;

	uname(&uts);
	for (size_t i = 0; i < report->n_rows; i++)
		json_array_append_new(rows, row_json(&report->rows[i]));
	json = json_pack("{s:s s:{s:s s:i s:s s:s} s:o}", "bench", report->bench, "machine", "cpu",
			 cpu.s, "cores", bench_n_cores(), "kernel", uts.release, "arch",
			 uts.machine, "rows", rows);
	if (!json)
		return -ENOMEM;
	r = json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	json_decref(json);
	fputc('\n', stdout);
	fflush(stdout);
	return r < 0 || ferror(stdout) ? -EIO : 0;
}

static struct text value_text(double v, enum bench_unit unit)
{
	struct text t;

	switch (unit) {
	case BENCH_NS:
		return text_ns(v);
	case BENCH_BYTES:
		return text_bytes(v);
	case BENCH_PER_SECOND:
		t = text_count(v);
		snprintf(t.s + strlen(t.s), sizeof(t.s) - strlen(t.s), "/s");
		return t;
	case BENCH_COUNT:
	default:
		return text_plain(v);
	}
}

static void print_row(const struct bench_row *row)
{
	struct text limit =
		row->baseline ? text_plain(row->limit) : value_text(row->limit, row->unit);
	char ratio[32] = "";
	char target[64] = "";

	char baseline[32] = "";

	if (row->baseline && isfinite(row->baseline_value)) {
		snprintf(ratio, sizeof(ratio), "%.2f", ratio_of(row));
		snprintf(baseline, sizeof(baseline), "%s",
			 value_text(row->baseline_value, row->unit).s);
	}
	if (row->target)
		snprintf(target, sizeof(target), "%s %s", target_signs[row->target], limit.s);
	printf("%-26s %12s  %-30s %12s %7s  %-12s %s\n", row->name,
	       value_text(row->value, row->unit).s, row->baseline ? row->baseline : "", baseline,
	       ratio, target,
	       !row->target  ? ""
	       : is_met(row) ? "met"
			     : "MISSED");
}

void bench_report_print_table(const struct bench_report *report)
{
	struct utsname uts;

	uname(&uts);
	printf("bench %s on %s, %d cores, Linux %s\n\n%-26s %12s  %-30s %12s %7s  %s\n",
	       report->bench, bench_cpu_model().s, bench_n_cores(), uts.release, "row", "value",
	       "baseline", "its value", "ratio", "target");
	for (size_t i = 0; i < report->n_rows; i++)
		print_row(&report->rows[i]);
	fflush(stdout);
}
