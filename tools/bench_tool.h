/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_TOOL_H
#define TOOLS_BENCH_TOOL_H

/* Tool calls, one at a time or many in flight, every answer looked at. */

#include <stddef.h>
#include <stdint.h>

#include <toolring/toolring.h>

struct bench_name {
	char s[32];
};

#define BENCH_N_ARGUMENTS 6

/* A trajectory's id: what it is for, and a number. */
struct bench_name bench_name(const char *use, uint64_t number);

/* One call that is made again and again. */
struct bench_tool {
	struct tr_client *client;
	struct bench_name trajectory;
	const char *tool;  /* NULL: a call of ... */
	enum tr_kind kind; /* ... this kind; 0: EXECUTE */
	struct tr_member arguments[BENCH_N_ARGUMENTS];
	size_t n_arguments;
	double timeout_s;
	struct tr_result result;
};

/* Any tool, or (tool NULL, and its kind set) another call; then its arguments, which are borrowed. */
void bench_tool_init(struct bench_tool *t, struct tr_client *client, const char *use,
		     const char *tool);
void bench_tool_argument(struct bench_tool *t, const char *key, struct tr_value value);
void bench_tool_bash(struct bench_tool *t, struct tr_client *client, const char *use,
		     const char *command);
void bench_tool_read(struct bench_tool *t, struct tr_client *client, const char *use,
		     const char *path);
void bench_tool_write(struct bench_tool *t, struct tr_client *client, const char *use,
		      const char *path, const char *content, size_t n);
void bench_tool_deinit(struct bench_tool *t);
/* A step (bench_turns.h). -EBADMSG: the answer was not "ok" (said on standard error). */
int bench_tool_call(void *data);
/* The call as it is submitted; borrows from t. */
void bench_tool_fill(const struct bench_tool *t, struct tr_call *ret_call);

/* The same for the other kinds: ACQUIRE, RESET, RELEASE (with a reset) of the tool's trajectory. */
int bench_tool_other(struct bench_tool *t, enum tr_kind kind);
void bench_tool_fill_other(const struct bench_tool *t, enum tr_kind kind, struct tr_call *ret_call);

/* One call of that kind on each trajectory USE-N from first up to but not including end. */
int bench_tool_each(struct bench_tool *t, const char *use, enum tr_kind kind, uint64_t first,
		    uint64_t end);

/* 0 if the answer was "ok", else -EBADMSG, said on standard error. */
int bench_answer(const struct tr_result *result);

/* Many calls at a time: in each lane one after another. */
struct bench_flight {
	struct tr_client *client;
	/* Fills in the lane's next call. 0; 1: it has none. What the call borrows lives on in data. */
	int (*next)(void *data, size_t lane, struct tr_call *ret_call);
	void *data;
	size_t n_lanes;
};

/* Until end_ns (0: until no lane has more), then waits for what is in flight. ret_n: tool calls
 * that were answered by then. */
int bench_flight_run(const struct bench_flight *flight, uint64_t end_ns, uint64_t *ret_n);

#endif
