/* SPDX-License-Identifier: Apache-2.0 */
/* What it takes until a key is seen on the screen. On both sides a cat runs, so the kernel echoes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench_shells.h"
#include "bench_tmux.h"
#include "bench_tool.h"
#include "bench_turns.h"
#include "cli.h"

#define KEY         "Z" /* nowhere else on the screen */
#define SEEN_WITHIN (UINT64_C(10) * BENCH_NS_PER_S)

/* The tmux tool of one trajectory. */
struct terminal {
	struct bench_tool start;
	struct bench_tool run_cat;
	struct bench_tool send;
	struct bench_tool send_and_wait;
	struct bench_tool clear;
	struct bench_tool capture;
};

static void action_init(struct bench_tool *t, struct tr_client *client, const char *action,
			const char *keys)
{
	bench_tool_init(t, client, "keys", "tmux");
	bench_tool_argument(t, "action", tr_string(action));
	if (keys)
		bench_tool_argument(t, "keys", tr_string(keys));
}

static void terminal_init(struct terminal *t, struct tr_client *client)
{
	/* The screen is empty once cat runs, but for what the command line does not say. */
	static const char command[] = "clear; echo re''ady; cat";
	static struct tr_value keys[2];

	keys[0] = tr_string(command);
	keys[1] = tr_string("Enter");
	action_init(&t->start, client, "start", NULL);
	bench_tool_argument(&t->start, "pane_width", tr_int(80));
	bench_tool_argument(&t->start, "pane_height", tr_int(24));
	action_init(&t->run_cat, client, "send_keys", NULL);
	bench_tool_argument(&t->run_cat, "keys", tr_array(keys, N_ELEMENTS(keys)));
	bench_tool_argument(&t->run_cat, "wait_for", tr_string("ready"));
	bench_tool_argument(&t->run_cat, "max_wait_s", tr_int(10));
	action_init(&t->send, client, "send_keys", KEY);
	action_init(&t->send_and_wait, client, "send_keys", KEY);
	bench_tool_argument(&t->send_and_wait, "wait_for", tr_string(KEY));
	bench_tool_argument(&t->send_and_wait, "max_wait_s", tr_int(10));
	action_init(&t->clear, client, "send_keys", "C-u");
	action_init(&t->capture, client, "capture", NULL);
}

static void terminal_deinit(struct terminal *t)
{
	bench_tool_deinit(&t->start);
	bench_tool_deinit(&t->run_cat);
	bench_tool_deinit(&t->send);
	bench_tool_deinit(&t->send_and_wait);
	bench_tool_deinit(&t->clear);
	bench_tool_deinit(&t->capture);
}

static int terminal_start(struct terminal *t)
{
	int r = bench_tool_call(&t->start);

	return r < 0 ? r : bench_tool_call(&t->run_cat);
}

/* Captures until the key is on the screen, or is not. */
static int terminal_capture_until(struct terminal *t, bool shown)
{
	uint64_t end = bench_now_ns() + SEEN_WITHIN;

	while (bench_now_ns() < end) {
		const struct tr_slice *screen = &t->capture.result.output;
		int r = bench_tool_call(&t->capture);

		if (r < 0)
			return r;
		if ((screen->n > 0 && memchr(screen->data, KEY[0], screen->n)) == shown)
			return 0;
	}
	return -ETIMEDOUT;
}

static int terminal_clear(void *data)
{
	struct terminal *t = data;
	int r = bench_tool_call(&t->clear);

	return r < 0 ? r : terminal_capture_until(t, false);
}

static int terminal_key(void *data)
{
	struct terminal *t = data;
	int r = bench_tool_call(&t->send);

	return r < 0 ? r : terminal_capture_until(t, true);
}

static int terminal_key_and_wait(void *data)
{
	struct terminal *t = data;

	return bench_tool_call(&t->send_and_wait);
}

static int terminal_check(void *data)
{
	return terminal_capture_until(data, true);
}

static int tmux_capture_until(struct bench_tmux *t, bool shown)
{
	uint64_t end = bench_now_ns() + SEEN_WITHIN;

	while (bench_now_ns() < end) {
		int r = bench_tmux_capture(t);

		if (r < 0)
			return r;
		if ((memchr(t->screen, KEY[0], t->capture.n_output) != NULL) == shown)
			return 0;
	}
	return -ETIMEDOUT;
}

static int tmux_clear(void *data)
{
	struct bench_tmux *t = data;
	int r = bench_spawn(&t->clear);

	return r < 0 ? r : tmux_capture_until(t, false);
}

static int tmux_key(void *data)
{
	struct bench_tmux *t = data;
	int r = bench_spawn(&t->send);

	return r < 0 ? r : tmux_capture_until(t, true);
}

static void add_rows(struct bench_suite *suite, const struct bench_side *sides, bool has_tmux)
{
	const struct bench_row rows[] = {
		{.name = "key_echo_p50",
		 .value = sides[0].p50_ns,
		 .unit = BENCH_NS,
		 .baseline = "tmux send-keys, capture-pane",
		 .baseline_value = sides[2].p50_ns,
		 .target = BENCH_AT_MOST,
		 .limit = 0.1},
		{.name = "key_wait_for_p50",
		 .value = sides[1].p50_ns,
		 .unit = BENCH_NS,
		 .baseline = "tmux send-keys, capture-pane",
		 .baseline_value = sides[2].p50_ns},
	};

	for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
		if (has_tmux)
			bench_suite_add(suite, &rows[i]);
		else
			bench_suite_add_bare(suite, &rows[i], "tmux is missing");
	}
}

int bench_shells_keys(struct bench_suite *suite)
{
	_cleanup_(bench_suite_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(terminal_deinit) struct terminal terminal = {0};
	_cleanup_(bench_tmux_stop) struct bench_tmux tmux = {0};
	bool quick = suite->options.quick;
	struct bench_side sides[] = {
		{.prepare = terminal_clear,
		 .step = terminal_key,
		 .data = &terminal,
		 .n_steps = quick ? 10 : 1000},
		{.prepare = terminal_clear,
		 .step = terminal_key_and_wait,
		 .check = terminal_check,
		 .data = &terminal,
		 .n_steps = quick ? 10 : 1000},
		{.prepare = tmux_clear,
		 .step = tmux_key,
		 .data = &tmux,
		 .n_steps = quick ? 5 : 200},
	};
	int has_tmux = bench_tmux_start(&tmux, suite->dir, KEY);
	int r = bench_suite_start(suite, NULL, &daemon, &client);

	if (has_tmux < 0 && has_tmux != -ENOENT)
		return cli_error("tmux does not start: %s", strerror(-has_tmux)), has_tmux;
	terminal_init(&terminal, client);
	if (r == 0)
		r = terminal_start(&terminal);
	if (r == 0)
		r = bench_turns(sides, has_tmux == 0 ? 3 : 2, quick ? 1 : 5);
	if (r == 0)
		add_rows(suite, sides, has_tmux == 0);
	return r;
}
