/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_slots.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "bench_guard.h"
#include "cli.h"

#define N_PART_ROWS 12

struct part {
	int (*measure)(struct bench_slots *slots);
	const char *rows[N_PART_ROWS];
};

static const struct part parts[] = {
	{bench_slots_bash, {"bash_true_p50", "bash_true_p99", "bash_true_vs_bwrap"}},
	{bench_slots_ls, {"bash_ls_p50"}},
	{bench_slots_bash_rate, {"bash_true_rate_64", "bash_true_rate_64_vs_bwrap"}},
	{bench_slots_read, {"read_file_p50", "read_file_any_core"}},
	{bench_slots_read_rate, {"read_file_rate_64"}},
	{bench_slots_make, {"slot_make"}},
	{bench_slots_rate, {"slot_rate"}},
	{bench_slots_reset, {"reset_small", "reset_large"}},
	{bench_slots_many,
	 {"slot_memory", "slot_memory_available", "slot_memory_processes", "slot_memory_tmpfs",
	  "slot_memory_slab", "slot_memory_percpu", "slot_memory_stacks", "slot_memory_zygote",
	  "slot_idle_cpu", "many_slots_call", "many_slots_read"}},
	{bench_slots_output, {"yes_memory", "yes_time"}},
	{bench_slots_abuse, {"abuse_p99"}},
};

bool bench_slots_wants(const struct bench_slots *slots, const char *row)
{
	return !slots->options->only || bench_row_listed(slots->options->only, row);
}

static bool part_is_wanted(const struct bench_slots *slots, const struct part *part)
{
	for (size_t i = 0; i < N_PART_ROWS && part->rows[i]; i++)
		if (bench_slots_wants(slots, part->rows[i]))
			return true;
	return false;
}

void bench_slots_add(struct bench_slots *slots, const struct bench_row *row)
{
	if (bench_slots_wants(slots, row->name))
		bench_report_add(&slots->report, row);
}

void bench_slots_add_bwrap(struct bench_slots *slots, const struct bench_row *row)
{
	struct bench_row bare = *row;

	if (slots->has_bwrap) {
		bench_slots_add(slots, row);
		return;
	}
	if (!bench_slots_wants(slots, row->name))
		return;
	bare.baseline = "bwrap is missing";
	bare.baseline_value = NAN;
	bare.target = BENCH_NO_TARGET;
	bench_report_add(&slots->report, &bare);
	fprintf(stderr, "%s: not judged, as there is no bubblewrap\n", row->name);
	slots->left_out = true;
}

int bench_slots_start_on(struct bench_slots *slots, int core, const char *const *flags,
			 struct bench_daemon *ret_daemon, struct tr_client **ret_client)
{
	const struct bench_daemon_options options = {
		.program = slots->options->program,
		.backend = slots->options->backend,
		.core = core,
		.flags = flags,
	};
	int r = bench_daemon_start(ret_daemon, slots->dir, &options);

	return r < 0 ? r : bench_open(ret_daemon, ret_client);
}

int bench_slots_start(struct bench_slots *slots, const char *const *flags,
		      struct bench_daemon *ret_daemon, struct tr_client **ret_client)
{
	return bench_slots_start_on(slots, -1, flags, ret_daemon, ret_client);
}

/* What cannot be measured does not keep the rest from it. */
static int measure_parts(struct bench_slots *slots)
{
	int status = CLI_OK;

	for (size_t i = 0; i < N_ELEMENTS(parts); i++) {
		int r;

		if (!part_is_wanted(slots, &parts[i]))
			continue;
		fprintf(stderr, "measuring %s ...\n", parts[i].rows[0]);
		r = parts[i].measure(slots);
		if (r < 0)
			status = cli_error("%s: %s", parts[i].rows[0], strerror(-r));
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

static bool wants_bwrap(const struct bench_slots *slots)
{
	return bench_slots_wants(slots, "bash_true_vs_bwrap") ||
	       bench_slots_wants(slots, "bash_true_rate_64_vs_bwrap") ||
	       bench_slots_wants(slots, "slot_make");
}

static int work(const char *dir, void *data)
{
	const struct bench_slots_options *o = data;
	static struct bench_slots slots;
	int r;

	slots = (struct bench_slots){.options = o, .dir = dir, .report.bench = "slots"};
	snprintf(slots.empty, sizeof(slots.empty), "%s/empty", dir);
	if (mkdir(slots.empty, 0700) < 0)
		return cli_error("%s: %s", slots.empty, strerror(errno));
	raise_files_limit();
	slots.cores = bench_cores();
	slots.has_bwrap = wants_bwrap(&slots) && bench_bwrap_words(&slots.bwrap);
	r = measure_parts(&slots);
	if (!o->json)
		bench_report_print_table(&slots.report);
	else if (bench_report_print_json(&slots.report) < 0)
		return cli_error("cannot print the report");
	if (r != CLI_OK)
		return r;
	if (!o->check)
		return CLI_OK;
	if (slots.left_out)
		cli_error("a target could not be judged: install bubblewrap");
	return slots.left_out || !bench_report_met(&slots.report) ? CLI_FAILED : CLI_OK;
}

static bool is_row(const char *name)
{
	for (size_t i = 0; i < N_ELEMENTS(parts); i++)
		for (size_t k = 0; k < N_PART_ROWS && parts[i].rows[k]; k++)
			if (strcmp(parts[i].rows[k], name) == 0)
				return true;
	return false;
}

/* CLI_USAGE, after saying so, if a name in the list is no row. */
static int check_rows(const char *list)
{
	while (list && *list) {
		size_t n = strcspn(list, ",");
		char name[64];

		snprintf(name, sizeof(name), "%.*s", (int)n, list);
		if (!is_row(name)) {
			cli_usage(&command_bench_slots, "--only: no row %s; there are:", name);
			for (size_t i = 0; i < N_ELEMENTS(parts); i++)
				for (size_t k = 0; k < N_PART_ROWS && parts[i].rows[k]; k++)
					fprintf(stderr, "  %s\n", parts[i].rows[k]);
			return CLI_USAGE;
		}
		list += n + (list[n] == ',');
	}
	return CLI_OK;
}

static int run(int argc, char **argv)
{
	struct bench_slots_options o = {.backend = "local"};
	const struct cli_option options[] = {
		CLI_OPTION_FLAG(0, "json", &o.json, "print one JSON object"),
		CLI_OPTION_FLAG(0, "check", &o.check,
				"exit with 1 if a target is missed or not judged"),
		CLI_OPTION_FLAG(0, "quick", &o.quick, "a few samples only, to see that it works"),
		CLI_OPTION_STRING(0, "only", "ROW,...", &o.only, "measure these rows"),
		CLI_OPTION_STRING(0, "toolringd", "PATH", &o.program,
				  "the program to start; else $TOOLRINGD, beside us, in PATH"),
		CLI_OPTION_STRING(0, "backend", "NAME", &o.backend,
				  "what provides the slots; local unless given"),
	};
	const struct cli_spec spec = {.command = &command_bench_slots,
				      .options = options,
				      .n_options = N_ELEMENTS(options)};

	cli_parse(&spec, argc, argv);
	if (check_rows(o.only) != CLI_OK)
		return CLI_USAGE;
	return bench_guarded(work, &o);
}

const struct command command_bench_slots = {
	.name = "bench slots",
	.synopsis = "[--json] [--check] [--quick] [--only ROW,...] [--toolringd PATH]",
	.summary =
		"speed and memory of slots, against programs without a sandbox and in bubblewrap",
	.text = "Starts toolringd (in a directory that is removed again) and measures it in turns\n"
		"with each baseline, on all cores; about ten minutes, on a machine that does nothing\n"
		"else. A value is the best of several turns, and so is its baseline, as what disturbs\n"
		"only slows; slot_rate is the mean over a minute of each, abuse_p99 that of all calls.\n"
		"slot_memory counts what 2,000 slots take from the whole machine, but for the page\n"
		"cache. With --quick there is one turn, and fewer of everything. Rows that compare\n"
		"with bubblewrap are not judged where bwrap is not installed.\n"
		"Exit codes: 0 done; 1 with --check, a target was missed or not judged; 2 wrong\n"
		"usage; 3 something could not be measured.\n",
	.run = run,
};
