/* SPDX-License-Identifier: Apache-2.0 */
/* The stateful shell and its terminal: what a slot is asked, and what its reply becomes. */
#include "local_world.h"

#include <stdlib.h>
#include <string.h>

#include "../wire/pack.h"
#include "base/clock.h"

/* Takes an answer that refused the call: the model's doing, and no bad call. */
static void refuse(struct world *w, const char *error, uint8_t *arguments, struct backend_op *op)
{
	assert_int_equal(op->state, BACKEND_OP_DONE);
	assert_int_equal(op->answer.verdict, TR_FAILED);
	assert_text(op->answer.error, error);
	world_take(w, op);
	free(arguments);
}

static bool is_nil(struct span map, const char *name)
{
	struct span value = meta_member(map, name);

	return value.n == 1 && value.data[0] == 0xc0;
}

/* A command that is not there or says nothing is not run. */
static void test_missing_command(void **state)
{
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct slot_request q;
	struct backend_op op;
	uint32_t seat = world_begin(w);
	uint8_t *a;

	a = world_call(w, &op, "bash_stateful", "m1 ss", "command", "   ");
	refuse(w, "Missing command", a, &op);
	a = world_call(w, &op, "bash_stateful", "m1 ss", "command", "\n\t\r\v\f");
	refuse(w, "Missing command", a, &op);
	a = world_call(w, &op, "bash_stateful", "m0");
	refuse(w, "Missing command", a, &op);
	a = world_call(w, &op, "bash_stateful", "m1 sn", "command");
	refuse(w, "Missing command", a, &op);
	a = world_call(w, &op, "bash_stateful", "m1 si", "command", 5);
	assert_int_equal(op.answer.verdict, TR_INVALID);
	assert_text(op.answer.error, "arguments.command must be a string without NUL");
	world_take(w, &op);
	free(a);
	assert_false(slot_next(w, seat, &q, parts));
	world_check(w, seat);
}

static const struct {
	uint32_t flags, shell_end, shell_lost;
	const char *ended, *lost; /* packed; NULL: nil */
} ends[] = {
	{0, SLOT_SHELL_LIVES, SLOT_SHELL_LIVES, NULL, NULL},
	{SLOT_SHELL_STARTED, SLOT_SHELL_LIVES, SLOT_SHELL_LIVES, NULL, NULL},
	{SLOT_SHELL_STARTED, SLOT_SHELL_EXITED, SLOT_SHELL_TIMEOUT,
	 "\xa6"
	 "exited",
	 "\xa7"
	 "timeout"},
	{0, SLOT_SHELL_KILLED, SLOT_SHELL_TIMEOUT,
	 "\xa6"
	 "killed",
	 NULL},
	{0, SLOT_SHELL_REPLACED, 0,
	 "\xa8"
	 "replaced",
	 NULL},
	{0, SLOT_SHELL_LIED, 0,
	 "\xa9"
	 "untrusted",
	 NULL},
	{SLOT_SHELL_STARTED, 0, SLOT_SHELL_CANCELLED, NULL,
	 "\xa9"
	 "cancelled"},
	{SLOT_SHELL_STARTED, 0, SLOT_SHELL_STOPPED, NULL,
	 "\xa7"
	 "stopped"},
	{SLOT_SHELL_STARTED, 0, SLOT_SHELL_ROOM_LOST, NULL,
	 "\xa9"
	 "room_lost"},
};

/* How the shell stands is told, in words, whichever way it went. */
static void test_shell(void **state)
{
	struct world *w = *state;
	uint32_t seat = world_begin(w);

	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		struct span parts[SLOT_N_REQUEST_PARTS], meta;
		struct slot_request q;
		struct slot_reply reply;
		struct backend_op op;
		uint8_t *a = world_call(w, &op, "bash_stateful", "m1 ss", "command", "cd /; :");

		slot_expect(w, seat, SLOT_SHELL, &q, parts);
		assert_text(parts[SLOT_COMMAND], "cd /; :");
		assert_int_equal(q.stdout_max, 50000);
		assert_int_equal(q.flags, 0);
		reply = slot_reply_to(&q);
		reply.flags = ends[i].flags;
		reply.shell_end = ends[i].shell_end;
		reply.shell_lost = ends[i].shell_lost;
		slot_answer(w, seat, reply, "said", "");
		world_wait(w, &op);
		assert_text(op.answer.output, "said");
		meta = op.answer.metadata;
		assert_int_equal(meta_int(meta, "exit_code"), 0);
		assert_true(meta_is_true(meta, "sandboxed") && meta_is_true(meta, "stateful"));
		assert_int_equal(meta_is_true(meta, "shell_started"), ends[i].flags != 0);
		if (ends[i].ended)
			assert_text(meta_member(meta, "shell_ended"), ends[i].ended);
		else
			assert_true(is_nil(meta, "shell_ended"));
		if (ends[i].lost)
			assert_text(meta_member(meta, "shell_lost"), ends[i].lost);
		else
			assert_true(is_nil(meta, "shell_lost"));
		world_take(w, &op);
		free(a);
	}
}

/* ---- tmux ----------------------------------------------------------------------------------------- */

/* Errors of the contract, and of what is beside it; the action's own arguments alone are looked at. */
static void test_tmux_refused(void **state)
{
	static const char keys[] = "tmux send_keys requires 'keys' as string or list[string]";
	static const char wide[] = "arguments.pane_width must be a number from 20 to 500";
	static const char high[] = "arguments.pane_height must be a number from 10 to 200";
	static const char actions[] = "tmux requires 'action': start, send_keys, wait_for, "
				      "capture, stream, resize or stop";
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct slot_request q;
	struct backend_op op;
	uint32_t seat = world_begin(w);

#define REFUSED(error, ...) refuse(w, error, world_call(w, &op, "tmux", __VA_ARGS__), &op)
	REFUSED("Unknown tmux action: dance", "m1 ss", "action", "dance");
	REFUSED("Unknown tmux action: a?b", "m1 sS", "action",
		"a\x1b"
		"b",
		(size_t)3);
	REFUSED(actions, "m0");
	REFUSED(actions, "m1 si", "action", 5);
	REFUSED(actions, "m1 sn", "action");
	REFUSED(keys, "m2 ss si", "action", "send_keys", "keys", 5);
	REFUSED(keys, "m1 ss", "action", "send_keys");
	REFUSED(keys, "m2 sn ss", "keys", "action", "send_keys");
	REFUSED(keys, "m2 sa2si ss", "keys", "a", 5, "action", "send_keys");
	REFUSED(keys, "m2 sa1a1s ss", "keys", "a", "action", "send_keys");
	REFUSED(keys, "m2 ss sS", "action", "send_keys", "keys", "a\0b", (size_t)3);
	REFUSED(wide, "m2 ss si", "action", "start", "pane_width", 19);
	REFUSED(wide, "m2 ss si", "action", "start", "pane_width", 501);
	REFUSED(wide, "m2 ss sd", "action", "start", "pane_width", 80.5);
	REFUSED(wide, "m2 ss sd", "action", "start", "pane_width", -1e300);
	REFUSED(high, "m2 ss si", "action", "start", "pane_height", 9);
	REFUSED(high, "m2 ss si", "action", "resize", "pane_width", 80);
	REFUSED(high, "m3 ss si si", "action", "resize", "pane_width", 80, "pane_height", 201);
	REFUSED("arguments.max_wait_s must be a number of seconds, not negative", "m3 ss ss si",
		"action", "send_keys", "keys", "x", "max_wait_s", -1);
	REFUSED("arguments.block must be true or false", "m3 ss ss si", "action", "send_keys",
		"keys", "x", "block", 1);
	REFUSED("tmux wait_for requires 'wait_for' as string, not empty", "m1 ss", "action",
		"wait_for");
	REFUSED("tmux wait_for requires 'wait_for' as string, not empty", "m2 ss ss", "action",
		"wait_for", "wait_for", "");
	REFUSED("arguments.max_bytes must be a number above 0", "m2 ss si", "action", "stream",
		"max_bytes", 0);
#undef REFUSED
	assert_false(slot_next(w, seat, &q, parts));
	world_check(w, seat);
}

/* Calls tmux, takes the request, and answers it well. */
struct asked {
	struct slot_request q;
	char command[64];
	char argv[64];
	size_t n_argv;
};

#define TMUX(w, seat, asked, ...)                                                                  \
	do {                                                                                       \
		struct backend_op op_;                                                             \
		uint8_t *a_ = world_call(w, &op_, "tmux", __VA_ARGS__);                            \
		take_request(w, seat, asked);                                                      \
		slot_answer(w, seat, slot_reply_to(&(asked)->q), "", "");                          \
		world_wait(w, &op_);                                                               \
		assert_int_equal(op_.answer.verdict, TR_OK);                                       \
		world_take(w, &op_);                                                               \
		free(a_);                                                                          \
	} while (0)

static void take_request(struct world *w, uint32_t seat, struct asked *ret)
{
	struct span parts[SLOT_N_REQUEST_PARTS];

	*ret = (struct asked){.n_argv = 0};
	slot_expect(w, seat, SLOT_TERMINAL, &ret->q, parts);
	assert_true(parts[SLOT_COMMAND].n < 64 && parts[SLOT_ARGV].n <= 64);
	memcpy(ret->command, parts[SLOT_COMMAND].data, parts[SLOT_COMMAND].n);
	memcpy(ret->argv, parts[SLOT_ARGV].data, parts[SLOT_ARGV].n);
	ret->n_argv = parts[SLOT_ARGV].n;
}

/* Each action with all it takes, and what belongs to another passed over. */
static void test_tmux_requests(void **state)
{
	struct world *w = *state;
	uint32_t seat = world_begin(w);
	struct asked a;

	TMUX(w, seat, &a, "m4 ss si sd si", "action", "start", "pane_width", 90, "pane_height",
	     25.0, "keys", 5);
	assert_int_equal(a.q.action, SLOT_TERMINAL_START);
	assert_true(a.q.n_columns == 90 && a.q.n_rows == 25);
	TMUX(w, seat, &a, "m2 ss sn", "action", "start", "pane_width");
	assert_true(a.q.n_columns == 0 && a.q.n_rows == 0);
	TMUX(w, seat, &a, "m3 si ss si", "pane_height", 200, "action", "resize", "pane_width", 500);
	assert_int_equal(a.q.action, SLOT_TERMINAL_RESIZE);
	assert_true(a.q.n_columns == 500 && a.q.n_rows == 200);
	TMUX(w, seat, &a, "m3 ss ss si", "action", "send_keys", "keys", "ls -l", "pane_width", 1);
	assert_int_equal(a.q.action, SLOT_TERMINAL_KEYS);
	assert_int_equal(a.q.flags, 0);
	assert_true(a.n_argv == 6 && !memcmp(a.argv, "ls -l", 6));
	TMUX(w, seat, &a, "m7 ss sa2ss st sd si ss st", "action", "send_keys", "keys", "ls",
	     "Enter", "block", "min_wait_s", 0.5, "max_wait_s", 3, "wait_for", "[$] ", "regex");
	assert_int_equal(a.q.flags, SLOT_BLOCK | SLOT_REGEX);
	assert_true(a.q.min_wait_ns == NS_PER_S / 2 && a.q.max_wait_ns == 3 * NS_PER_S);
	assert_string_equal(a.command, "[$] ");
	assert_true(a.n_argv == 9 && !memcmp(a.argv, "ls\0Enter", 9));
	TMUX(w, seat, &a, "m3 ss sa0 si", "action", "send_keys", "keys", "max_wait_s", 0);
	assert_int_equal(a.n_argv, 0);
	assert_int_equal(a.q.max_wait_ns, 1);
	TMUX(w, seat, &a, "m3 ss ss sf", "action", "wait_for", "wait_for", "done", "regex");
	assert_int_equal(a.q.action, SLOT_TERMINAL_WAIT);
	assert_int_equal(a.q.flags, 0);
	assert_string_equal(a.command, "done");
	TMUX(w, seat, &a, "m2 ss st", "action", "capture", "capture_entire");
	assert_int_equal(a.q.action, SLOT_TERMINAL_CAPTURE);
	assert_int_equal(a.q.flags, SLOT_ALL);
	assert_int_equal(a.q.stdout_max, 64 << 20);
	TMUX(w, seat, &a, "m3 ss st si", "action", "stream", "reset", "max_bytes", 7);
	assert_int_equal(a.q.action, SLOT_TERMINAL_STREAM);
	assert_int_equal(a.q.flags, SLOT_RESET);
	assert_int_equal(a.q.stdout_max, 7);
	TMUX(w, seat, &a, "m2 ss sd", "action", "stream", "max_bytes", 1e15);
	assert_int_equal(a.q.stdout_max, 64 << 20);
	TMUX(w, seat, &a, "m1 ss", "action", "stream");
	assert_int_equal(a.q.stdout_max, 50000);
	TMUX(w, seat, &a, "m1 ss", "action", "stop");
	assert_int_equal(a.q.action, SLOT_TERMINAL_STOP);
}

/* Answers the call that is open, with a screen of 90 by 25. */
static void show(struct world *w, uint32_t seat, struct backend_op *op, struct slot_reply with,
		 const char *output, const char *error)
{
	struct span parts[SLOT_N_REQUEST_PARTS], answer[SLOT_N_REPLY_PARTS] = {{0}};
	struct slot_request q;
	struct slot_reply reply;

	slot_expect(w, seat, SLOT_TERMINAL, &q, parts);
	reply = slot_reply_to(&q);
	reply.verdict = with.verdict;
	reply.flags = with.flags;
	reply.size = with.size;
	reply.file_size = with.file_size;
	reply.n_columns = 90;
	reply.n_rows = 25;
	reply.cursor_column = 3;
	reply.cursor_row = 4;
	answer[SLOT_OUTPUT] = span_string(output);
	answer[SLOT_ERROR] = span_string(error);
	answer[SLOT_FILE] = span_string("vim");
	assert_int_equal(slot_reply_send(w->slots[seat], &reply, answer, 0), 0);
	world_wait(w, op);
}

/* What the contract wants said is said, and the state of the screen beside it. */
static void test_tmux_answers(void **state)
{
	struct world *w = *state;
	struct backend_op op;
	uint32_t seat = world_begin(w);
	uint8_t *a = world_call(w, &op, "tmux", "m1 ss", "action", "start");
	struct span meta;

	show(w, seat, &op, (struct slot_reply){.flags = SLOT_SHELL_STARTED}, "started", "");
	meta = op.answer.metadata;
	assert_text(op.answer.output, "started");
	assert_true(meta_is_true(meta, "stateful") && meta_is_true(meta, "shell_started"));
	assert_int_equal(meta_int(meta, "pane_width"), 90);
	assert_int_equal(meta_int(meta, "pane_height"), 25);
	assert_int_equal(meta_int(meta, "cursor_x"), 3);
	assert_int_equal(meta_int(meta, "cursor_y"), 4);
	assert_text(meta_member(meta, "title"), "\xa3vim");
	assert_int_equal(meta_member(meta, "offset").n, 0);
	world_take(w, &op);
	free(a);
	a = world_call(w, &op, "tmux", "m1 ss", "action", "stream");
	show(w, seat, &op, (struct slot_reply){.flags = SLOT_TRUNCATED, .size = 70, .file_size = 9},
	     "{}\n", "");
	meta = op.answer.metadata;
	assert_text(op.answer.output, "{}\n");
	assert_int_equal(meta_int(meta, "offset"), 70);
	assert_int_equal(meta_int(meta, "dropped_bytes"), 9);
	assert_true(meta_is_true(meta, "truncated") && meta_is_true(meta, "stream"));
	world_take(w, &op);
	free(a);
	a = world_call(w, &op, "tmux", "m2 ss ss", "action", "wait_for", "wait_for", "x");
	show(w, seat, &op, (struct slot_reply){.flags = SLOT_NOT_SEEN, .verdict = TR_TIMEOUT}, "",
	     "not shown within 1s");
	meta = op.answer.metadata;
	assert_text(op.answer.error, "not shown within 1s");
	assert_false(meta_is_true(meta, "seen"));
	assert_true(meta_is_true(meta, "timeout"));
	world_take(w, &op);
	free(a);
}

/* Without a screen there is nothing to tell of one. */
static void test_tmux_stop(void **state)
{
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct slot_request q;
	struct backend_op op;
	uint32_t seat = world_begin(w);
	uint8_t *a = world_call(w, &op, "tmux", "m1 ss", "action", "stop");

	slot_expect(w, seat, SLOT_TERMINAL, &q, parts);
	slot_answer(w, seat, slot_reply_to(&q), "stopped", "");
	world_wait(w, &op);
	assert_text(op.answer.output, "stopped");
	assert_true(meta_is_true(op.answer.metadata, "stateful"));
	assert_int_equal(meta_member(op.answer.metadata, "pane_width").n, 0);
	world_take(w, &op);
	free(a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_missing_command), TEST(test_shell),        TEST(test_tmux_refused),
		TEST(test_tmux_requests),   TEST(test_tmux_answers), TEST(test_tmux_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
