/* SPDX-License-Identifier: Apache-2.0 */
/* What a command costs that writes without end: the memory of toolringd and its slots, and time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench_slots.h"
#include "bench_tool.h"
#include "bench_turns.h"
#include "cli.h"

#define N_BYTES       "1000000000"
#define N_BYTES_QUICK "10000000"
#define OUTPUT_CAP    50000.0 /* toolringd's default */
#define SAMPLE_MS     2
#define TIMEOUT_S     120

/* The processes of toolringd and its slots from before the command: none of them is the guest's. */
struct own {
	pid_t *pids;
	size_t n;
};

static void own_deinit(struct own *own)
{
	free(own->pids);
}

static uint64_t own_bytes(const struct own *own)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < own->n; i++)
		sum += bench_anonymous_bytes(own->pids[i]);
	return sum;
}

/* The most that our processes grew by while the call ran, and after it. */
static int watch_call(struct bench_tool *tool, const struct own *own, double *ret_growth)
{
	uint64_t before = own_bytes(own);
	uint64_t most = before;
	struct tr_call call;
	uint64_t id;
	int r;

	bench_tool_fill(tool, &call);
	r = tr_submit_wait(tool->client, &call, -1, &id);
	if (r < 0)
		return r;
	do {
		uint64_t now;

		r = tr_wait(tool->client, id, &tool->result, SAMPLE_MS);
		now = own_bytes(own);
		most = now > most ? now : most;
	} while (r == -ETIMEDOUT);
	if (r == 0)
		r = bench_answer(&tool->result);
	*ret_growth = (double)(most - before);
	return r;
}

static int measure_memory(struct bench_suite *suite, struct bench_daemon *daemon,
			  struct tr_client *client, const char *command)
{
	_cleanup_(bench_tool_deinit) struct bench_tool warm = {0};
	_cleanup_(bench_tool_deinit) struct bench_tool tool = {0};
	_cleanup_(own_deinit) struct own own = {0};
	double growth = 0;
	pid_t pid;
	int r;

	bench_tool_bash(&warm, client, "yes", "true");
	bench_tool_bash(&tool, client, "yes", command);
	tool.timeout_s = TIMEOUT_S;
	r = bench_tool_call(&warm);
	if (r == 0)
		r = bench_tool_call(&warm);
	/* Whatever is made ahead for the next call is there by then. */
	bench_sleep_ns(300 * BENCH_NS_PER_MS);
	if (r == 0)
		r = bench_daemon_pid(daemon, client, &pid);
	if (r == 0)
		r = bench_tree(pid, &own.pids, &own.n);
	if (r == 0)
		r = watch_call(&tool, &own, &growth);
	if (r == 0)
		bench_suite_add(suite, &(struct bench_row){.name = "yes_memory",
							   .value = growth,
							   .unit = BENCH_BYTES,
							   .target = BENCH_AT_MOST,
							   .limit = 2 * OUTPUT_CAP});
	return r;
}

static int measure_time(struct bench_suite *suite, struct tr_client *client, const char *command,
			const char *plain_command)
{
	_cleanup_(bench_tool_deinit) struct bench_tool tool = {0};
	struct bench_words plain = {0};
	struct bench_side sides[] = {
		{.step = bench_tool_call, .data = &tool, .n_steps = 1},
		{.step = bench_spawn, .data = &plain, .n_steps = 1},
	};
	int r;

	bench_tool_bash(&tool, client, "yes", command);
	tool.timeout_s = TIMEOUT_S;
	bench_words_add(&plain, (const char *[]){"/bin/bash", "-c", plain_command, NULL});
	r = bench_turns(sides, N_ELEMENTS(sides), suite->options.quick ? 1 : 4);
	if (r == 0)
		bench_suite_add(suite, &(struct bench_row){.name = "yes_time",
							   .value = sides[0].p50_ns,
							   .unit = BENCH_NS,
							   .baseline = "yes | head >/dev/null",
							   .baseline_value = sides[1].p50_ns,
							   .target = BENCH_AT_MOST,
							   .limit = 2});
	return r;
}

int bench_slots_output(struct bench_suite *suite)
{
	_cleanup_(bench_suite_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	bool quick = suite->options.quick;
	const char *command = quick ? "yes | head -c " N_BYTES_QUICK : "yes | head -c " N_BYTES;
	const char *plain = quick ? "yes | head -c " N_BYTES_QUICK " >/dev/null"
				  : "yes | head -c " N_BYTES " >/dev/null";
	int r = bench_suite_start(suite, NULL, &daemon, &client);

	if (r == 0 && bench_suite_wants(suite, "yes_memory"))
		r = measure_memory(suite, &daemon, client, command);
	if (r == 0 && bench_suite_wants(suite, "yes_time"))
		r = measure_time(suite, client, command, plain);
	return r;
}
