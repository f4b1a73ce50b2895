/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_suite.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "bench_guard.h"
#include "cli.h"

/* What goes to the worker (bench_guard.h). */
struct order {
	const struct bench_suite_spec *spec;
	struct bench_suite_options options;
};

bool bench_suite_wants(const struct bench_suite *suite, const char *row)
{
	return !suite->options.only || bench_row_listed(suite->options.only, row);
}

static bool part_is_wanted(const struct bench_suite *suite, const struct bench_part *part)
{
	for (size_t i = 0; i < BENCH_N_PART_ROWS && part->rows[i]; i++)
		if (bench_suite_wants(suite, part->rows[i]))
			return true;
	return false;
}

void bench_suite_add(struct bench_suite *suite, const struct bench_row *row)
{
	if (bench_suite_wants(suite, row->name))
		bench_report_add(&suite->report, row);
}

void bench_suite_add_bare(struct bench_suite *suite, const struct bench_row *row, const char *why)
{
	struct bench_row bare = *row;

	if (!bench_suite_wants(suite, row->name))
		return;
	bare.baseline = why;
	bare.baseline_value = NAN;
	bare.target = BENCH_NO_TARGET;
	bench_report_add(&suite->report, &bare);
	if (row->target == BENCH_NO_TARGET)
		return;
	fprintf(stderr, "%s: not judged, as %s\n", row->name, why);
	suite->left_out = true;
}

int bench_suite_start_on(struct bench_suite *suite, int core, const char *const *flags,
			 struct bench_daemon *ret_daemon, struct tr_client **ret_client)
{
	const struct bench_daemon_options options = {
		.program = suite->options.program,
		.backend = suite->options.backend,
		.core = core,
		.flags = flags,
	};
	int r = bench_daemon_start(ret_daemon, suite->dir, &options);

	return r < 0 ? r : bench_open(ret_daemon, ret_client);
}

int bench_suite_start(struct bench_suite *suite, const char *const *flags,
		      struct bench_daemon *ret_daemon, struct tr_client **ret_client)
{
	return bench_suite_start_on(suite, -1, flags, ret_daemon, ret_client);
}

/* What cannot be measured does not keep the rest from it. */
static int measure_parts(const struct bench_suite_spec *spec, struct bench_suite *suite)
{
	int status = CLI_OK;

	for (size_t i = 0; i < spec->n_parts; i++) {
		const struct bench_part *part = &spec->parts[i];
		int r;

		if (!part_is_wanted(suite, part))
			continue;
		fprintf(stderr, "measuring %s ...\n", part->rows[0]);
		r = part->measure(suite);
		if (r < 0)
			status = cli_error("%s: %s", part->rows[0], strerror(-r));
	}
	return status;
}

/* Each slot takes descriptors, of toolringd too, which inherits this. */
static void raise_files_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int work(const char *dir, void *data)
{
	const struct order *order = data;
	static struct bench_suite suite;
	int r;

	suite = (struct bench_suite){
		.options = order->options, .dir = dir, .report.bench = order->spec->name};
	raise_files_limit();
	suite.cores = bench_cores();
	r = measure_parts(order->spec, &suite);
	if (!suite.options.json)
		bench_report_print_table(&suite.report);
	else if (bench_report_print_json(&suite.report) < 0)
		return cli_error("cannot print the report");
	if (r != CLI_OK || !suite.options.check)
		return r;
	if (suite.left_out)
		cli_error("a target could not be judged: its baseline is missing");
	return suite.left_out || !bench_report_met(&suite.report) ? CLI_FAILED : CLI_OK;
}

static bool is_row(const struct bench_suite_spec *spec, const char *name)
{
	for (size_t i = 0; i < spec->n_parts; i++)
		for (size_t k = 0; k < BENCH_N_PART_ROWS && spec->parts[i].rows[k]; k++)
			if (strcmp(spec->parts[i].rows[k], name) == 0)
				return true;
	return false;
}

static int refuse_row(const struct bench_suite_spec *spec, const char *name)
{
	cli_usage(spec->command, "--only: no row %s; there are:", name);
	for (size_t i = 0; i < spec->n_parts; i++)
		for (size_t k = 0; k < BENCH_N_PART_ROWS && spec->parts[i].rows[k]; k++)
			fprintf(stderr, "  %s\n", spec->parts[i].rows[k]);
	return CLI_USAGE;
}

/* CLI_USAGE, after saying so, if a name in the list is no row. */
static int check_rows(const struct bench_suite_spec *spec, const char *list)
{
	while (list && *list) {
		size_t n = strcspn(list, ",");
		char name[64];

		snprintf(name, sizeof(name), "%.*s", (int)n, list);
		if (!is_row(spec, name))
			return refuse_row(spec, name);
		list += n + (list[n] == ',');
	}
	return CLI_OK;
}

int bench_suite_run(const struct bench_suite_spec *spec, int argc, char **argv)
{
	struct order order = {.spec = spec, .options.backend = "local"};
	struct bench_suite_options *o = &order.options;
	const struct cli_option options[] = {
		CLI_OPTION_FLAG(0, "json", &o->json, "print one JSON object"),
		CLI_OPTION_FLAG(0, "check", &o->check,
				"exit with 1 if a target is missed or not judged"),
		CLI_OPTION_FLAG(0, "quick", &o->quick, "a few samples only, to see that it works"),
		CLI_OPTION_STRING(0, "only", "ROW,...", &o->only, "measure these rows"),
		CLI_OPTION_STRING(0, "toolringd", "PATH", &o->program,
				  "the program to start; else $TOOLRINGD, beside us, in PATH"),
		CLI_OPTION_STRING(0, "backend", "NAME", &o->backend,
				  "what provides the slots; local unless given"),
	};
	const struct cli_spec cli = {
		.command = spec->command, .options = options, .n_options = N_ELEMENTS(options)};

	cli_parse(&cli, argc, argv);
	if (check_rows(spec, o->only) != CLI_OK)
		return CLI_USAGE;
	return bench_guarded(work, &order);
}
