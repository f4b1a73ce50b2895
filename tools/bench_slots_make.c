/* SPDX-License-Identifier: Apache-2.0 */
/* What making slots takes, how many can be made and thrown away, and what a reset takes. */
#include <stdio.h>

#include "bench_slots.h"
#include "bench_system.h"
#include "bench_tool.h"
#include "bench_turns.h"
#include "cli.h"

#define N_LANES 16 /* slots in use at a time, for slot_rate */
#define N_LARGE "2000"

/* Makes a slot for a trajectory that was not there, and writes one byte to it. */
struct maker {
	struct bench_tool write;
	uint64_t n;
};

static int maker_step(void *data)
{
	struct maker *maker = data;
	int r;

	maker->write.trajectory = bench_name("make", maker->n++);
	r = bench_tool_other(&maker->write, TR_KIND_ACQUIRE);
	return r < 0 ? r : bench_tool_call(&maker->write);
}

int bench_slots_make(struct bench_suite *suite)
{
	/* Without any made ahead, or each acquire would only take one. Those made here are kept, so
	 * that none is taken that was used before. */
	static const char *const flags[] = {"--slots-warm", "0", "--slots-min", "0", NULL};
	_cleanup_(bench_suite_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	bool quick = suite->options.quick;
	struct maker maker = {0};
	const struct bench_words *bwrap = bench_slots_bwrap();
	struct bench_words wrapped = bwrap ? *bwrap : (struct bench_words){0};
	struct bench_side sides[] = {
		{.step = maker_step, .data = &maker, .n_steps = quick ? 4 : 40},
		{.step = bench_spawn, .data = &wrapped, .n_steps = quick ? 4 : 40},
	};
	int r = bench_suite_start(suite, flags, &daemon, &client);

	bench_words_add(&wrapped, (const char *[]){"/bin/true", NULL});
	bench_tool_write(&maker.write, client, "make", "a", "a", 1);
	if (r == 0)
		r = bench_turns(sides, bwrap ? 2 : 1, quick ? 1 : 5);
	bench_tool_deinit(&maker.write);
	if (r == 0)
		bench_slots_add_bwrap(suite, &(struct bench_row){.name = "slot_make",
								 .value = sides[0].p50_ns,
								 .unit = BENCH_NS,
								 .baseline = "bwrap ... /bin/true",
								 .baseline_value = sides[1].p50_ns,
								 .target = BENCH_AT_MOST,
								 .limit = 0.45});
	return r;
}

/* In each lane: a call on a new trajectory, then its release, and so on. */
struct turnover {
	struct tr_client *client;
	struct bench_tool write[N_LANES];
	bool used[N_LANES];
	uint64_t n;
};

static int turnover_next(void *data, size_t lane, struct tr_call *ret_call)
{
	struct turnover *t = data;

	if (t->used[lane]) {
		bench_tool_fill_other(&t->write[lane], TR_KIND_RELEASE, ret_call);
	} else {
		t->write[lane].trajectory = bench_name("rate", t->n++);
		bench_tool_fill(&t->write[lane], ret_call);
	}
	t->used[lane] = !t->used[lane];
	return 0;
}

static int turnover_run(void *data, uint64_t end_ns, uint64_t *ret_n)
{
	struct turnover *t = data;
	const struct bench_flight flight = {
		.client = t->client, .next = turnover_next, .data = t, .n_lanes = N_LANES};

	return bench_flight_run(&flight, end_ns, ret_n);
}

static int bare_run(void *data, uint64_t end_ns, uint64_t *ret_n)
{
	return bench_loops(bench_bare_namespaces, data, bench_n_cores(), end_ns, ret_n);
}

int bench_slots_rate(struct bench_suite *suite)
{
	_cleanup_(bench_suite_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	static struct turnover turnover;
	bool quick = suite->options.quick;
	struct bench_racer racers[] = {
		{.run = turnover_run, .data = &turnover},
		{.run = bare_run},
	};
	int r = bench_suite_start(suite, NULL, &daemon, &client);

	turnover = (struct turnover){.client = client};
	for (size_t i = 0; i < N_LANES; i++)
		bench_tool_write(&turnover.write[i], client, "rate", "a", "a", 1);
	/* A minute of each, in turns. What a turn leaves to do in the kernel (namespaces are taken
	 * down later) is not to fall into the next one's. */
	if (r == 0)
		r = bench_races(racers, N_ELEMENTS(racers), quick ? 1 : 6,
				(quick ? 1 : 10) * (uint64_t)BENCH_NS_PER_S,
				(quick ? 200 : 1000) * (uint64_t)BENCH_NS_PER_MS);
	if (r == 0)
		bench_suite_add(suite,
				&(struct bench_row){.name = "slot_rate",
						    .value = racers[0].mean_rate,
						    .unit = BENCH_PER_SECOND,
						    .baseline = "bare namespaces, a loop a core",
						    .baseline_value = racers[1].mean_rate,
						    .target = BENCH_AT_LEAST,
						    .limit = 0.4});
	return r;
}

/* Changes something in a slot, then resets it. */
struct resetter {
	struct bench_tool change;
	struct bench_tool reset;
};

/* The slot that takes its place is made ahead, and between two resets of a rollout there is time. */
#define RESET_PAUSE_NS (5 * (uint64_t)BENCH_NS_PER_MS)

static int resetter_prepare(void *data)
{
	struct resetter *resetter = data;

	bench_sleep_ns(RESET_PAUSE_NS);
	return bench_tool_call(&resetter->change);
}

static int resetter_step(void *data)
{
	struct resetter *resetter = data;

	return bench_tool_other(&resetter->reset, TR_KIND_RESET);
}

static void resetter_deinit(struct resetter *resetter)
{
	bench_tool_deinit(&resetter->change);
	bench_tool_deinit(&resetter->reset);
}

int bench_slots_reset(struct bench_suite *suite)
{
	_cleanup_(bench_suite_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(resetter_deinit) struct resetter small = {0};
	_cleanup_(resetter_deinit) struct resetter large = {0};
	bool quick = suite->options.quick;
	struct bench_side sides[] = {
		{.prepare = resetter_prepare,
		 .step = resetter_step,
		 .data = &small,
		 .n_steps = quick ? 5 : 200},
		{.prepare = resetter_prepare,
		 .step = resetter_step,
		 .data = &large,
		 .n_steps = quick ? 1 : 10},
	};
	int r = bench_suite_start(suite, NULL, &daemon, &client);

	bench_tool_write(&small.change, client, "reset", "a", "small edit\n", 11);
	bench_tool_bash(&large.change, client, "reset",
			"for ((i = 0; i < " N_LARGE "; i++)); do echo $i >f$i; done");
	small.reset = small.change;
	large.reset = large.change;
	if (r == 0)
		r = bench_turns(sides, N_ELEMENTS(sides), quick ? 1 : 5);
	if (r < 0)
		return r;
	bench_suite_add(suite, &(struct bench_row){.name = "reset_small",
						   .value = sides[0].p50_ns,
						   .unit = BENCH_NS,
						   .target = BENCH_AT_MOST,
						   .limit = 1e6});
	bench_suite_add(suite, &(struct bench_row){.name = "reset_large",
						   .value = sides[1].p50_ns,
						   .unit = BENCH_NS});
	return 0;
}
