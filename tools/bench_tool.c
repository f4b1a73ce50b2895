/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_tool.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "bench_system.h"
#include "cli.h"

#define ANSWER_MS 120000
#define N_REAPED  64
#define N_LANES   32 /* of bench_tool_each() */

struct bench_name bench_name(const char *use, uint64_t number)
{
	struct bench_name name;

	snprintf(name.s, sizeof(name.s), "%s-%llu", use, (unsigned long long)number);
	return name;
}

void bench_tool_init(struct bench_tool *t, struct tr_client *client, const char *use,
		     const char *tool)
{
	*t = (struct bench_tool){.client = client, .trajectory = bench_name(use, 0), .tool = tool};
}

void bench_tool_argument(struct bench_tool *t, const char *key, struct tr_value value)
{
	assert(t->n_arguments < BENCH_N_ARGUMENTS);
	t->arguments[t->n_arguments++] = (struct tr_member){.key = key, .value = value};
}

void bench_tool_bash(struct bench_tool *t, struct tr_client *client, const char *use,
		     const char *command)
{
	bench_tool_init(t, client, use, "bash");
	bench_tool_argument(t, "command", tr_string(command));
}

void bench_tool_read(struct bench_tool *t, struct tr_client *client, const char *use,
		     const char *path)
{
	bench_tool_init(t, client, use, "read_file");
	bench_tool_argument(t, "path", tr_string(path));
}

void bench_tool_write(struct bench_tool *t, struct tr_client *client, const char *use,
		      const char *path, const char *content, size_t n)
{
	bench_tool_init(t, client, use, "write_file");
	bench_tool_argument(t, "path", tr_string(path));
	bench_tool_argument(t, "content", tr_string_n(content, n));
}

void bench_tool_deinit(struct bench_tool *t)
{
	tr_result_deinit(&t->result);
}

void bench_tool_fill(const struct bench_tool *t, struct tr_call *ret_call)
{
	*ret_call = (struct tr_call){
		.kind = t->kind,
		.trajectory_id = t->trajectory.s,
		.tool = t->tool,
		.arguments = tr_map(t->arguments, t->n_arguments),
		.timeout_s = t->timeout_s,
	};
}

void bench_tool_fill_other(const struct bench_tool *t, enum tr_kind kind, struct tr_call *ret_call)
{
	static const struct tr_member reset[] = {
		{.key = "reset_workspace", .value = {.type = TR_BOOL, .u.boolean = true}}};

	*ret_call = (struct tr_call){.kind = kind, .trajectory_id = t->trajectory.s};
	if (kind == TR_KIND_RELEASE)
		ret_call->arguments = tr_map(reset, N_ELEMENTS(reset));
}

int bench_answer(const struct tr_result *result)
{
	const char *kind = tr_kind_name(result->kind);
	const char *verdict = tr_verdict_name(result->verdict);

	if (result->verdict == TR_OK)
		return 0;
	fprintf(stderr, "toolring: %s got the verdict %s: %.*s\n", kind ? kind : "a call",
		verdict ? verdict : "?", (int)result->error.n,
		result->error.n ? result->error.data : "");
	return -EBADMSG;
}

int bench_tool_call(void *data)
{
	struct bench_tool *t = data;
	struct tr_call call;
	int r;

	bench_tool_fill(t, &call);
	r = tr_call_wait(t->client, &call, &t->result, ANSWER_MS);
	return r < 0 ? r : bench_answer(&t->result);
}

int bench_tool_other(struct bench_tool *t, enum tr_kind kind)
{
	struct tr_call call;
	int r;

	bench_tool_fill_other(t, kind, &call);
	r = tr_call_wait(t->client, &call, &t->result, ANSWER_MS);
	return r < 0 ? r : bench_answer(&t->result);
}

/* 1: the lane has no more. */
static int submit_next(const struct bench_flight *flight, size_t lane)
{
	struct tr_call call;
	int r = flight->next(flight->data, lane, &call);

	if (r != 0)
		return r;
	call.user_data = (void *)(uintptr_t)lane;
	return tr_submit_wait(flight->client, &call, ANSWER_MS, NULL);
}

static int take_answer(const struct tr_result *result, bool counts, uint64_t *n)
{
	int r = bench_answer(result);

	if (r == 0 && counts && result->kind == TR_KIND_EXECUTE)
		(*n)++;
	return r;
}

static int run_lanes(const struct bench_flight *flight, struct tr_result *results, uint64_t end_ns,
		     uint64_t *ret_n)
{
	size_t n_open = 0;
	uint64_t n = 0;
	bool over = false;
	int error = 0;

	for (size_t lane = 0; lane < flight->n_lanes; lane++) {
		int r = submit_next(flight, lane);

		if (r < 0)
			return r;
		n_open += r == 0;
	}
	while (n_open > 0) {
		int r = tr_reap_many(flight->client, results, N_REAPED, ANSWER_MS);
		int n_reaped = r;

		if (r < 0)
			return r;
		over = over || error < 0 || (end_ns > 0 && bench_now_ns() >= end_ns);
		for (int i = 0; i < n_reaped; i++) {
			r = take_answer(&results[i], !over, &n);
			error = error < 0 ? error : r;
			r = 1;
			if (!over && error == 0)
				r = submit_next(flight, (size_t)(uintptr_t)results[i].user_data);
			if (r < 0)
				return r;
			n_open -= r == 1;
		}
	}
	if (error == 0)
		*ret_n = n;
	return error;
}

int bench_flight_run(const struct bench_flight *flight, uint64_t end_ns, uint64_t *ret_n)
{
	struct tr_result results[N_REAPED] = {0};
	int r = run_lanes(flight, results, end_ns, ret_n);

	for (size_t i = 0; i < N_REAPED; i++)
		tr_result_deinit(&results[i]);
	return r;
}

struct each {
	struct bench_tool *tool;
	const char *use;
	enum tr_kind kind;
	uint64_t next;
	uint64_t end;
};

static int each_next(void *data, size_t lane, struct tr_call *ret_call)
{
	struct each *e = data;

	(void)lane;
	if (e->next >= e->end)
		return 1;
	e->tool->trajectory = bench_name(e->use, e->next++);
	if (e->kind == TR_KIND_EXECUTE)
		bench_tool_fill(e->tool, ret_call);
	else
		bench_tool_fill_other(e->tool, e->kind, ret_call);
	return 0;
}

int bench_tool_each(struct bench_tool *t, const char *use, enum tr_kind kind, uint64_t first,
		    uint64_t end)
{
	struct each each = {.tool = t, .use = use, .kind = kind, .next = first, .end = end};
	const struct bench_flight flight = {
		.client = t->client, .next = each_next, .data = &each, .n_lanes = N_LANES};
	uint64_t n;

	return bench_flight_run(&flight, 0, &n);
}
