/* SPDX-License-Identifier: Apache-2.0 */
/* What a bash call takes, one at a time, and how many go through. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "bench_slots.h"
#include "bench_tool.h"
#include "bench_turns.h"
#include "cli.h"

#define BASH           "/bin/bash"
#define N_TRAJECTORIES 64
/* Two calls for each, so that a slot that is done has its next one at hand. */
#define N_LANES 128
#define N_LOOPS 2

static void fill_words(struct bench_words *words, const char *command)
{
	bench_words_add(words, (const char *[]){BASH, "-c", command, NULL});
}

int bench_slots_bash(struct bench_suite *suite)
{
	_cleanup_(bench_suite_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(bench_tool_deinit) struct bench_tool tool = {0};
	bool quick = suite->options.quick;
	const struct bench_words *bwrap =
		bench_suite_wants(suite, "bash_true_vs_bwrap") ? bench_slots_bwrap() : NULL;
	struct bench_words plain = {0};
	struct bench_words wrapped = bwrap ? *bwrap : (struct bench_words){0};
	struct bench_side sides[] = {
		{.step = bench_tool_call, .data = &tool, .n_steps = quick ? 20 : 1000},
		{.step = bench_spawn, .data = &plain, .n_steps = quick ? 20 : 400},
		{.step = bench_spawn, .data = &wrapped, .n_steps = quick ? 5 : 100},
	};
	int r = bench_suite_start(suite, NULL, &daemon, &client);

	fill_words(&plain, "true");
	fill_words(&wrapped, "true");
	bench_tool_bash(&tool, client, "bash", "true");
	if (r == 0)
		r = bench_turns(sides, bwrap ? 3 : 2, quick ? 1 : 7);
	if (r < 0)
		return r;
	bench_suite_add(suite, &(struct bench_row){.name = "bash_true_p50",
						   .value = sides[0].p50_ns,
						   .unit = BENCH_NS,
						   .baseline = "posix_spawn of bash -c true",
						   .baseline_value = sides[1].p50_ns,
						   .target = BENCH_AT_MOST,
						   .limit = 0.3});
	bench_suite_add(suite, &(struct bench_row){.name = "bash_true_p99",
						   .value = sides[0].p99_ns,
						   .unit = BENCH_NS,
						   .baseline = "posix_spawn of bash -c true",
						   .baseline_value = sides[1].p99_ns,
						   .target = BENCH_AT_MOST,
						   .limit = 0.5});
	bench_slots_add_bwrap(suite, &(struct bench_row){.name = "bash_true_vs_bwrap",
							 .value = sides[0].p50_ns,
							 .unit = BENCH_NS,
							 .baseline = "bwrap ... bash -c true",
							 .baseline_value = sides[2].p50_ns,
							 .target = BENCH_AT_MOST,
							 .limit = 0.08});
	return 0;
}

int bench_slots_ls(struct bench_suite *suite)
{
	_cleanup_(bench_suite_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(bench_tool_deinit) struct bench_tool tool = {0};
	bool quick = suite->options.quick;
	char empty[128];
	struct bench_spawn_read plain = {.cwd = empty};
	struct bench_side sides[] = {
		{.step = bench_tool_call, .data = &tool, .n_steps = quick ? 10 : 400},
		{.step = bench_spawn_read, .data = &plain, .n_steps = quick ? 10 : 200},
	};
	int r = bench_suite_start(suite, NULL, &daemon, &client);

	snprintf(empty, sizeof(empty), "%s/empty", suite->dir);
	if (r == 0 && mkdir(empty, 0700) < 0)
		return -errno;
	fill_words(&plain.words, "ls -la");
	bench_tool_bash(&tool, client, "ls", "ls -la");
	if (r == 0)
		r = bench_turns(sides, 2, quick ? 1 : 7);
	if (r < 0)
		return r;
	bench_suite_add(suite, &(struct bench_row){.name = "bash_ls_p50",
						   .value = sides[0].p50_ns,
						   .unit = BENCH_NS,
						   .baseline = "posix_spawn of bash -c 'ls -la'",
						   .baseline_value = sides[1].p50_ns,
						   .target = BENCH_AT_MOST,
						   .limit = 0.75});
	return 0;
}

/* bash true on all trajectories. */
struct crowd {
	struct tr_client *client;
	struct bench_tool tool;
};

static int crowd_next(void *data, size_t lane, struct tr_call *ret_call)
{
	struct crowd *crowd = data;

	crowd->tool.trajectory = bench_name("crowd", lane % N_TRAJECTORIES);
	bench_tool_fill(&crowd->tool, ret_call);
	return 0;
}

static int crowd_run(void *data, uint64_t end_ns, uint64_t *ret_n)
{
	struct crowd *crowd = data;
	const struct bench_flight flight = {
		.client = crowd->client, .next = crowd_next, .data = crowd, .n_lanes = N_LANES};

	return bench_flight_run(&flight, end_ns, ret_n);
}

static int loops_run(void *data, uint64_t end_ns, uint64_t *ret_n)
{
	return bench_loops(bench_spawn, data, N_LOOPS, end_ns, ret_n);
}

int bench_slots_bash_rate(struct bench_suite *suite)
{
	_cleanup_(bench_suite_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	struct crowd crowd = {0};
	uint64_t duration_ns = (suite->options.quick ? 200 : 2000) * (uint64_t)BENCH_NS_PER_MS;
	const struct bench_words *bwrap =
		bench_suite_wants(suite, "bash_true_rate_64_vs_bwrap") ? bench_slots_bwrap() : NULL;
	struct bench_words plain = {0};
	struct bench_words wrapped = bwrap ? *bwrap : (struct bench_words){0};
	struct bench_racer racers[] = {
		{.run = crowd_run, .data = &crowd},
		{.run = loops_run, .data = &plain},
		{.run = loops_run, .data = &wrapped},
	};
	uint64_t n;
	int r = bench_suite_start(suite, NULL, &daemon, &client);

	fill_words(&plain, "true");
	fill_words(&wrapped, "true");
	crowd.client = client;
	bench_tool_bash(&crowd.tool, client, "crowd", "true");
	/* Once without counting: all slots and their zygotes are made then. */
	if (r == 0)
		r = crowd_run(&crowd, bench_now_ns() + duration_ns, &n);
	if (r == 0)
		r = bench_races(racers, bwrap ? 3 : 2, suite->options.quick ? 1 : 5, duration_ns,
				100 * (uint64_t)BENCH_NS_PER_MS);
	if (r < 0)
		return r;
	bench_suite_add(suite, &(struct bench_row){.name = "bash_true_rate_64",
						   .value = racers[0].rate,
						   .unit = BENCH_PER_SECOND,
						   .baseline = "two loops of posix_spawn",
						   .baseline_value = racers[1].rate,
						   .target = BENCH_AT_LEAST,
						   .limit = 3});
	bench_slots_add_bwrap(suite, &(struct bench_row){.name = "bash_true_rate_64_vs_bwrap",
							 .value = racers[0].rate,
							 .unit = BENCH_PER_SECOND,
							 .baseline = "two loops of bwrap",
							 .baseline_value = racers[2].rate,
							 .target = BENCH_AT_LEAST,
							 .limit = 12});
	return 0;
}
