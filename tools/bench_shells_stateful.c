/* SPDX-License-Identifier: Apache-2.0 */
/* What a command in the stateful shell takes, the shell's start, and its output. */
#include "bench_bash.h"
#include "bench_shells.h"
#include "bench_tool.h"
#include "bench_turns.h"
#include "cli.h"

#define N_TURNS   7
#define N_OUTPUT  10000000
#define TIMEOUT_S 120

static void stateful_init(struct bench_tool *t, struct tr_client *client, const char *command)
{
	bench_tool_init(t, client, "shell", "bash_stateful");
	bench_tool_argument(t, "command", tr_string(command));
	t->timeout_s = TIMEOUT_S;
}

enum side {
	OURS,
	BARE,
	AWAKE,
	SPINNING,
	N_SIDES
};

/*
 * core: of toolringd and of the bare bash; -1: any. awake: also with a client that polls for its answer
 * instead of sleeping, and with a bare bash whose pipe is polled.
 */
static int time_true(struct bench_suite *suite, int core, bool awake,
		     struct bench_side ret_sides[N_SIDES])
{
	_cleanup_(bench_suite_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(cli_cleanup_client) struct tr_client *awake_client = NULL;
	_cleanup_(bench_tool_deinit) struct bench_tool tool = {0};
	_cleanup_(bench_tool_deinit) struct bench_tool awake_tool = {0};
	_cleanup_(bench_bash_stop) struct bench_bash bare = {.command = "true"};
	_cleanup_(bench_bash_stop) struct bench_bash spinning = {.command = "true"};
	size_t n = suite->options.quick ? 50 : 5000;
	int r = bench_suite_start_on(suite, core, NULL, &daemon, &client);

	ret_sides[OURS] = (struct bench_side){.step = bench_tool_call, .data = &tool, .n_steps = n};
	ret_sides[BARE] = (struct bench_side){.step = bench_bash_step, .data = &bare, .n_steps = n};
	ret_sides[AWAKE] =
		(struct bench_side){.step = bench_tool_call, .data = &awake_tool, .n_steps = n};
	ret_sides[SPINNING] =
		(struct bench_side){.step = bench_bash_step, .data = &spinning, .n_steps = n};
	if (r == 0 && awake)
		r = bench_open_awake(&daemon, &awake_client);
	stateful_init(&tool, client, "true");
	stateful_init(&awake_tool, awake_client, "true");
	if (r == 0)
		r = bench_tool_call(&tool);
	if (r == 0)
		r = bench_bash_start(&bare, core, false);
	if (r == 0 && awake)
		r = bench_bash_start(&spinning, core, true);
	if (r == 0)
		r = bench_turns(ret_sides, awake ? N_SIDES : AWAKE,
				suite->options.quick ? 1 : N_TURNS);
	return r;
}

/*
 * What is judged: we on one core, toolringd with its slots (or the bare bash) on another, as in bench
 * slots. Where the kernel is free to choose it may put both on one core, or not, and the bare bash's
 * times lie by a factor of four apart.
 */
int bench_shells_true(struct bench_suite *suite)
{
	struct bench_side sides[N_SIDES];
	int r;

	bench_pin(suite->cores.ours);
	r = time_true(suite, suite->cores.theirs, true, sides);
	bench_unpin();
	if (r < 0)
		return r;
	bench_suite_add(suite, &(struct bench_row){.name = "stateful_true_p50",
						   .value = sides[AWAKE].p50_ns,
						   .unit = BENCH_NS,
						   .baseline = "bare bash over pipes",
						   .baseline_value = sides[BARE].p50_ns,
						   .target = BENCH_AT_MOST,
						   .limit = 1.5});
	bench_suite_add(suite, &(struct bench_row){.name = "stateful_true_p99",
						   .value = sides[AWAKE].p99_ns,
						   .unit = BENCH_NS,
						   .baseline = "bare bash over pipes",
						   .baseline_value = sides[BARE].p99_ns});
	bench_suite_add(suite, &(struct bench_row){.name = "stateful_true_vs_spin",
						   .value = sides[AWAKE].p50_ns,
						   .unit = BENCH_NS,
						   .baseline = "bare bash, its pipe polled",
						   .baseline_value = sides[SPINNING].p50_ns});
	bench_suite_add(suite, &(struct bench_row){.name = "stateful_true_default",
						   .value = sides[OURS].p50_ns,
						   .unit = BENCH_NS,
						   .baseline = "bare bash over pipes",
						   .baseline_value = sides[BARE].p50_ns});
	return 0;
}

static int add_placed(struct bench_suite *suite, int core, const char *name, const char *baseline)
{
	struct bench_side sides[N_SIDES];
	int r;

	if (!bench_suite_wants(suite, name))
		return 0;
	if (core >= 0)
		bench_pin(core);
	r = time_true(suite, core, false, sides);
	bench_unpin();
	if (r == 0)
		bench_suite_add(suite, &(struct bench_row){.name = name,
							   .value = sides[OURS].p50_ns,
							   .unit = BENCH_NS,
							   .baseline = baseline,
							   .baseline_value = sides[BARE].p50_ns});
	return r;
}

int bench_shells_true_placed(struct bench_suite *suite)
{
	int r = add_placed(suite, suite->cores.ours, "stateful_true_one_core",
			   "bare bash, all on one core");

	if (r == 0)
		r = add_placed(suite, -1, "stateful_true_any_core", "bare bash, on whatever cores");
	return r;
}

/* The first command of a shell; each time in another slot, which is there. */
struct starter {
	struct bench_tool tool;
	uint64_t n;
};

static int starter_prepare(void *data)
{
	struct starter *starter = data;

	starter->tool.trajectory = bench_name("start", starter->n++);
	return bench_tool_other(&starter->tool, TR_KIND_ACQUIRE);
}

static int starter_step(void *data)
{
	struct starter *starter = data;

	return bench_tool_call(&starter->tool);
}

/* So that there are never more than one. */
static int starter_check(void *data)
{
	struct starter *starter = data;

	return bench_tool_other(&starter->tool, TR_KIND_RELEASE);
}

static int bare_start(void *data)
{
	struct bench_bash *bare = data;
	int r = bench_bash_start(bare, -1, false);

	return r < 0 ? r : bench_bash_step(bare);
}

static int bare_stop(void *data)
{
	bench_bash_stop(data);
	return 0;
}

int bench_shells_start(struct bench_suite *suite)
{
	_cleanup_(bench_suite_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(bench_bash_stop) struct bench_bash bare = {.command = "true"};
	bool quick = suite->options.quick;
	struct starter starter = {0};
	struct bench_side sides[] = {
		{.prepare = starter_prepare,
		 .step = starter_step,
		 .check = starter_check,
		 .data = &starter,
		 .n_steps = quick ? 4 : 100},
		{.step = bare_start, .check = bare_stop, .data = &bare, .n_steps = quick ? 4 : 100},
	};
	int r = bench_suite_start(suite, NULL, &daemon, &client);

	stateful_init(&starter.tool, client, "true");
	if (r == 0)
		r = bench_turns(sides, N_ELEMENTS(sides), quick ? 1 : 5);
	bench_tool_deinit(&starter.tool);
	if (r == 0)
		bench_suite_add(suite, &(struct bench_row){.name = "shell_start",
							   .value = sides[0].p50_ns,
							   .unit = BENCH_NS,
							   .baseline = "start of a bare bash",
							   .baseline_value = sides[1].p50_ns});
	return r;
}

/* Most of it is over the limit, and read and dropped; by the one that reads from the pipe as well. */
int bench_shells_output(struct bench_suite *suite)
{
	static const char command[] = "head -c 10000000 /dev/zero | tr '\\0' x";
	_cleanup_(bench_suite_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(bench_tool_deinit) struct bench_tool tool = {0};
	_cleanup_(bench_bash_stop) struct bench_bash bare = {.command = command,
							     .n_output = N_OUTPUT};
	size_t n = suite->options.quick ? 1 : 10;
	struct bench_side sides[] = {
		{.step = bench_tool_call, .data = &tool, .n_steps = n},
		{.step = bench_bash_step, .data = &bare, .n_steps = n},
	};
	int r = bench_suite_start(suite, NULL, &daemon, &client);

	stateful_init(&tool, client, command);
	if (r == 0)
		r = bench_bash_start(&bare, -1, false);
	if (r == 0)
		r = bench_turns(sides, N_ELEMENTS(sides), suite->options.quick ? 1 : 5);
	if (r == 0)
		bench_suite_add(suite, &(struct bench_row){.name = "stateful_output_10mb",
							   .value = sides[0].p50_ns,
							   .unit = BENCH_NS,
							   .baseline = "bare bash over pipes",
							   .baseline_value = sides[1].p50_ns});
	return r;
}
