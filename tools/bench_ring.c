/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench_guard.h"
#include "bench_ring.h"
#include "cli.h"

#define N_PART_ROWS 3

struct part {
	int (*measure)(struct bench_ring *ring);
	bool own; /* needs a toolringd of its own; every such row has a target */
	const char *rows[N_PART_ROWS];
};

static const struct part parts[] = {
	{bench_ring_awake, false, {"ping_awake_p50", "ping_awake_p99"}},
	{bench_ring_asleep, false, {"ping_asleep_p50", "socket_asleep_p50"}},
	{bench_ring_ping_rate, false, {"ping_rate_1", "ping_rate_8"}},
	{bench_ring_execute_rate, false, {"execute_rate_1", "execute_rate_8"}},
	{bench_ring_trajectories, true, {"trajectories_100k"}},
	{bench_ring_allocs, true, {"allocs_per_call"}},
	{bench_ring_idle, false, {"idle_cpu", "idle_memory", "idle_private"}},
};

static bool is_wanted(const struct bench_ring_options *o, const char *row)
{
	return !o->only || bench_row_listed(o->only, row);
}

static bool part_is_wanted(const struct bench_ring_options *o, const struct part *part)
{
	for (size_t i = 0; i < N_PART_ROWS && part->rows[i]; i++)
		if (is_wanted(o, part->rows[i]))
			return true;
	return false;
}

void bench_ring_add(struct bench_ring *ring, const struct bench_row *row)
{
	if (is_wanted(ring->options, row->name))
		bench_report_add(&ring->report, row);
}

int bench_ring_daemon(struct bench_ring *ring, const char *const *flags,
		      struct bench_daemon *ret_daemon)
{
	const struct bench_daemon_options options = {
		.program = ring->options->program,
		.core = ring->cores.theirs,
		.flags = flags,
	};

	if (ring->options->name) {
		bench_daemon_use(ret_daemon, ring->options->name);
		return 0;
	}
	return bench_daemon_start(ret_daemon, ring->dir, &options);
}

static int measure_parts(struct bench_ring *ring)
{
	for (size_t i = 0; i < N_ELEMENTS(parts); i++) {
		int r;

		if (!part_is_wanted(ring->options, &parts[i]))
			continue;
		if (parts[i].own && ring->options->name) {
			fprintf(stderr, "%s: left out, it needs a toolringd of its own\n",
				parts[i].rows[0]);
			ring->left_out = true;
			continue;
		}
		fprintf(stderr, "measuring %s ...\n", parts[i].rows[0]);
		r = parts[i].measure(ring);
		if (r < 0)
			return cli_error("%s: %s", parts[i].rows[0], strerror(-r));
	}
	return CLI_OK;
}

static int work(const char *dir, void *data)
{
	const struct bench_ring_options *o = data;
	static struct bench_ring ring;
	int r;

	ring = (struct bench_ring){
		.options = o, .dir = dir, .cores = {-1, -1}, .report.bench = "ring"};
	if (!o->name) {
		ring.cores = bench_cores();
		bench_pin(ring.cores.ours);
	}
	r = measure_parts(&ring);
	if (r != CLI_OK)
		return r;
	if (!o->json)
		bench_report_print_table(&ring.report);
	else if (bench_report_print_json(&ring.report) < 0)
		return cli_error("cannot print the report");
	return o->check && (ring.left_out || !bench_report_met(&ring.report)) ? CLI_FAILED : CLI_OK;
}

/* NULL, or the first name in a list of rows that is none. */
static const char *unknown_row(const char *list)
{
	for (const char *at = list; at && *at; at = strchr(at, ',')) {
		bool known = false;

		at += *at == ',';
		for (size_t i = 0; i < N_ELEMENTS(parts) && !known; i++)
			for (size_t k = 0; k < N_PART_ROWS && parts[i].rows[k]; k++) {
				size_t n = strlen(parts[i].rows[k]);

				known |= strncmp(at, parts[i].rows[k], n) == 0 &&
					 (at[n] == 0 || at[n] == ',');
			}
		if (!known)
			return at;
	}
	return NULL;
}

static int run(int argc, char **argv)
{
	struct bench_ring_options o = {0};
	const struct cli_option options[] = {
		CLI_OPTION_FLAG(0, "json", &o.json, "print one JSON object"),
		CLI_OPTION_FLAG(0, "check", &o.check,
				"exit with 1 if a target is missed or not measured"),
		CLI_OPTION_FLAG(0, "quick", &o.quick, "a few samples only, to see that it works"),
		CLI_OPTION_STRING(0, "only", "ROW,...", &o.only, "measure these rows"),
		CLI_OPTION_STRING(0, "toolringd", "PATH", &o.program,
				  "the program to start; else $TOOLRINGD, beside us, in PATH"),
		CLI_OPTION_STRING('n', "name", "NAME", &o.name,
				  "measure this running instance, start none"),
	};
	const struct cli_spec spec = {.command = &command_bench_ring,
				      .options = options,
				      .n_options = N_ELEMENTS(options)};
	const char *wrong;

	cli_parse(&spec, argc, argv);
	wrong = unknown_row(o.only);
	if (wrong) {
		cli_usage(&command_bench_ring,
			  "--only: no row %.*s; there are:", (int)strcspn(wrong, ","), wrong);
		for (size_t i = 0; i < N_ELEMENTS(parts); i++)
			for (size_t k = 0; k < N_PART_ROWS && parts[i].rows[k]; k++)
				fprintf(stderr, "  %s\n", parts[i].rows[k]);
		return CLI_USAGE;
	}
	return bench_guarded(work, &o);
}

const struct command command_bench_ring = {
	.name = "bench ring",
	.synopsis =
		"[--json] [--check] [--quick] [--only ROW,...] [--toolringd PATH | --name NAME]",
	.summary = "speed and memory of the ring, each against a bare baseline of the same run",
	.text = "Starts a toolringd of its own (over the fake backend, in a directory that is\n"
		"removed again) pinned to one core, measures from another; about a minute.\n"
		"A value is the best of several turns, and so is its baseline, as what disturbs only\n"
		"slows; the asleep rows are medians of samples taken in turns, the idle rows one\n"
		"window. With --quick there is one turn, and fewer of everything.\n"
		"With --name the rows that need a toolringd of their own are left out.\n"
		"Exit codes: 0 done; 1 with --check, a target was missed or its row left out; 2 wrong\n"
		"usage; 3 it could not be measured.\n",
	.run = run,
};
