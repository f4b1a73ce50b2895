/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench_calls.h"
#include "bench_system.h"
#include "cli.h"

#define ANSWER_MS 30000

void bench_calls_init(struct bench_calls *c, struct tr_client *client, enum tr_kind kind,
		      uint32_t n_trajectories, uint32_t owner)
{
	memset(c, 0, sizeof(*c));
	c->client = client;
	c->kind = kind;
	c->n_trajectories = n_trajectories;
	c->owner = owner;
	c->random = UINT64_C(0x9e3779b97f4a7c15) + owner;
}

void bench_calls_deinit(struct bench_calls *c)
{
	for (size_t i = 0; i < BENCH_N_REAPED; i++)
		tr_result_deinit(&c->results[i]);
}

/* By hand, as snprintf would be the larger part of what is measured. */
static void write_hex(char *text, uint64_t v, size_t n_digits)
{
	for (size_t i = n_digits; i-- > 0; v >>= 4)
		text[i] = "0123456789abcdef"[v & 15];
}

static uint64_t pick(struct bench_calls *c)
{
	if (c->in_turn)
		return c->n_submitted % c->n_trajectories;
	c->random ^= c->random << 13;
	c->random ^= c->random >> 7;
	c->random ^= c->random << 17;
	return (uint64_t)(((unsigned __int128)c->random * c->n_trajectories) >> 64);
}

/* One call with the parts that a real one has: two ids, a tool, arguments of three kinds. */
static int submit_execute(struct bench_calls *c)
{
	static const char command[] = "cd src && make -k check 2>&1 | tail";
	char trajectory[] = "rollout-00000-00000000";
	char uniq[] = "call-000000000000";
	const struct tr_member script[] = {{.key = "wait_s", .value = tr_float(c->wait_s)}};
	const struct tr_member members[] = {
		{.key = "command", .value = tr_string_n(command, sizeof(command) - 1)},
		{.key = "timeout", .value = tr_int(60)},
		{.key = "background", .value = tr_bool(false)},
		{.key = "fake", .value = tr_map(script, 1)},
	};
	const struct tr_call call = {
		.trajectory_id = trajectory,
		.tool = "bash",
		.uniq_id = uniq,
		.arguments = tr_map(members, N_ELEMENTS(members) - (c->wait_s > 0 ? 0 : 1)),
		.user_data = (void *)(uintptr_t)c->n_submitted,
	};

	write_hex(trajectory + 8, c->owner, 5);
	write_hex(trajectory + 14, pick(c), 8);
	write_hex(uniq + 5, c->n_submitted, 12);
	return tr_submit(c->client, &call, NULL);
}

static int submit(struct bench_calls *c)
{
	if (c->kind == TR_KIND_PING)
		return tr_submit_raw(c->client, TR_KIND_PING, NULL, 0, NULL, 0, NULL);
	return submit_execute(c);
}

static int check(const struct bench_calls *c, const struct tr_result *result)
{
	char uniq[] = "call-000000000000";
	const char *verdict = tr_verdict_name(result->verdict);

	if (c->kind == TR_KIND_PING)
		return result->kind == TR_KIND_PING ? 0 : -EBADMSG;
	write_hex(uniq + 5, (uintptr_t)result->user_data, 12);
	if (result->verdict == TR_OK && result->uniq_id.n == sizeof(uniq) - 1 &&
	    memcmp(result->uniq_id.data, uniq, sizeof(uniq) - 1) == 0)
		return 0;
	fprintf(stderr, "toolring: a call got the verdict %s: %.*s\n", verdict ? verdict : "?",
		(int)result->error.n, result->error.n ? result->error.data : "");
	return -EBADMSG;
}

static int fill_window(struct bench_calls *c, uint64_t n_target)
{
	while (c->n_submitted < n_target && c->n_submitted - c->n_answered < BENCH_WINDOW) {
		int r = submit(c);

		if (r == -EAGAIN)
			return 0;
		if (r < 0)
			return r;
		c->n_submitted++;
	}
	return 0;
}

int bench_calls_run(struct bench_calls *c, uint64_t n, uint64_t end_ns, uint64_t *ret_n)
{
	uint64_t n_before = c->n_answered;
	uint64_t n_target = c->n_submitted + n;
	uint64_t n_in_time = 0;
	bool over = false;

	while (c->n_answered < n_target) {
		int r = fill_window(c, n_target);

		if (r < 0)
			return r;
		if (c->n_submitted > c->n_answered) {
			r = tr_reap_many(c->client, c->results, BENCH_N_REAPED, ANSWER_MS);
			if (r < 0)
				return r;
			c->n_answered += (uint64_t)r;
		}
		for (int i = 0; i < r; i++)
			if (check(c, &c->results[i]) < 0)
				return -EBADMSG;
		if (!over && end_ns > 0 && bench_now_ns() >= end_ns) {
			over = true;
			n_target = c->n_submitted;
		}
		if (!over)
			n_in_time = c->n_answered - n_before;
	}
	*ret_n = n_in_time;
	return 0;
}

int bench_calls_warm(struct bench_calls *c)
{
	uint64_t n;
	int r;

	c->wait_s = 0.05;
	r = bench_calls_run(c, BENCH_WINDOW, 0, &n);
	c->wait_s = 0;
	for (size_t i = 0; i < BENCH_N_REAPED && r == 0; i++) {
		r = submit(c);
		if (r == 0)
			r = tr_reap(c->client, &c->results[i], ANSWER_MS);
		if (r == 0)
			r = check(c, &c->results[i]);
		c->n_submitted++;
		c->n_answered++;
	}
	return r;
}
