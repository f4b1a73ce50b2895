/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of the local backend: what a slot is asked, and what its reply becomes. */
#include "local_world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../wire/pack.h"
#include "base/cleanup.h"
#include "base/clock.h"

/* bash: the command as it is, the caps of the operator, and in the answer all that was measured. */
static void test_bash(void **state)
{
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct backend_op op;
	struct slot_request q;
	struct slot_reply reply;
	uint32_t seat = world_begin(w);
	/* What a model adds is passed over. */
	uint8_t *arguments =
		world_call(w, &op, "bash", "m2 s s s i", "command", "echo hi", "reason", 1);

	slot_expect(w, seat, SLOT_BASH, &q, parts);
	assert_text(parts[SLOT_COMMAND], "echo hi");
	assert_int_equal(q.timeout_ns, 5 * NS_PER_S);
	assert_int_equal(q.stdout_max, 50000);
	assert_int_equal(q.stderr_max, 50000);
	reply = slot_reply_to(&q);
	reply.cpu_user_ns = 11;
	reply.cpu_system_ns = 12;
	reply.memory_peak_bytes = 13;
	reply.n_killed = 2;
	reply.stdout_bytes = 3;
	reply.had_zygote = 2;
	reply.flags = SLOT_STDERR_TRUNCATED;
	slot_answer(w, seat, reply, "hi", "");
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_OK);
	assert_text(op.answer.output, "hi");
	assert_text(op.answer.error, "");
	assert_int_equal(op.answer.n_more, 0);
	assert_int_equal(meta_int(op.answer.metadata, "exit_code"), 0);
	assert_true(meta_is_true(op.answer.metadata, "sandboxed"));
	assert_true(meta_is_true(op.answer.metadata, "network_isolated"));
	assert_int_equal(meta_int(op.answer.metadata, "cpu_user_ns"), 11);
	assert_int_equal(meta_int(op.answer.metadata, "cpu_system_ns"), 12);
	assert_int_equal(meta_int(op.answer.metadata, "memory_peak_bytes"), 13);
	assert_int_equal(meta_int(op.answer.metadata, "processes_killed"), 2);
	assert_int_equal(meta_int(op.answer.metadata, "processes_left"), 0);
	assert_int_equal(meta_int(op.answer.metadata, "stdout_bytes"), 3);
	assert_int_equal(meta_int(op.answer.metadata, "zygote"), 2);
	assert_false(meta_is_true(op.answer.metadata, "stdout_truncated"));
	assert_true(meta_is_true(op.answer.metadata, "stderr_truncated"));
	assert_int_equal(meta_member(op.answer.metadata, "missing_layers").n, 0);
	assert_int_equal(meta_member(op.answer.metadata, "timeout").n, 0);
	assert_true(op.started_ns && op.ended_ns >= op.started_ns);
	world_take(w, &op);
	free(arguments);
}

/* The errors of what ran are those of the tool contract. */
static void test_bash_errors(void **state)
{
	static const struct {
		enum tr_verdict verdict;
		int exit_code;
		uint64_t timeout_ns;
		const char *said; /* by the slot */
		const char *error;
		int shown_exit_code;
	} rows[] = {
		{TR_FAILED, 3, NS_PER_S, "", "Exit code: 3", 3},
		{TR_FAILED, 143, NS_PER_S, "", "Exit code: 143", 143},
		{TR_FAILED, 1, NS_PER_S, "as said", "as said", 1},
		{TR_TIMEOUT, 137, NS_PER_S, "", "Command timed out after 1.0s", -1},
		{TR_TIMEOUT, 137, 2500 * NS_PER_MS, "", "Command timed out after 2.5s", -1},
		{TR_TIMEOUT, 137, 2299999999, "", "Command timed out after 2.3s", -1},
		{TR_TIMEOUT, 137, 600 * NS_PER_S, "", "Command timed out after 600.0s", -1},
		{TR_CANCELLED, 137, NS_PER_S, "", "the call was cancelled", 137},
	};
	struct world *w = *state;
	uint32_t seat = world_begin(w);

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct span parts[SLOT_N_REQUEST_PARTS];
		struct backend_op op;
		struct slot_request q;
		struct slot_reply reply;
		uint8_t *arguments = world_call(w, &op, "bash", "m1 s s", "command", "x");

		op.timeout_ns = rows[i].timeout_ns;
		slot_expect(w, seat, SLOT_BASH, &q, parts);
		reply = slot_reply_to(&q);
		reply.verdict = rows[i].verdict;
		reply.exit_code = rows[i].exit_code;
		slot_answer(w, seat, reply, "early", rows[i].said);
		world_wait(w, &op);
		assert_int_equal(op.answer.verdict, rows[i].verdict);
		assert_text(op.answer.output, "early");
		assert_text(op.answer.error, rows[i].error);
		assert_int_equal(meta_int(op.answer.metadata, "exit_code"),
				 rows[i].shown_exit_code);
		assert_int_equal(meta_member(op.answer.metadata, "timeout").n > 0,
				 rows[i].verdict == TR_TIMEOUT);
		world_take(w, &op);
		free(arguments);
	}
}

/* Layers that are missing stand in every answer, also in those of calls that were refused. */
static void test_missing_layers(void **state)
{
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS], missing;
	struct backend_op op;
	struct slot_request q;
	uint32_t seat;
	uint8_t *arguments;

	w->plan.layers &= ~(1u << PLAN_NETWORK);
	w->plan.accepted = 1u << PLAN_NETWORK | 1u << PLAN_CPU;
	seat = world_begin(w);
	arguments = world_call(w, &op, "bash", "m1 s s", "command", "x");
	slot_expect(w, seat, SLOT_BASH, &q, parts);
	slot_answer(w, seat, slot_reply_to(&q), "", "");
	world_wait(w, &op);
	missing = meta_member(op.answer.metadata, "missing_layers");
	assert_int_equal(missing.n, 1 + 8 + 4);
	assert_false(meta_is_true(op.answer.metadata, "network_isolated"));
	world_take(w, &op);
	free(arguments);
	arguments = world_call(w, &op, "read_file", "m0");
	assert_int_equal(op.answer.verdict, TR_INVALID);
	assert_int_equal(meta_member(op.answer.metadata, "missing_layers").n, missing.n);
	world_take(w, &op);
	free(arguments);
	world_op(&op, BACKEND_RESET, 0);
	w->backend->ops->reset(w->backend, &op);
	world_wait(w, &op);
	assert_int_equal(meta_member(op.answer.metadata, "missing_layers").n, 13);
	world_take(w, &op);
}

/* Files: path and size in the metadata of what went well, nothing in that of what did not. */
static void test_files(void **state)
{
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS], answer[SLOT_N_REPLY_PARTS] = {{0}};
	struct backend_op op;
	struct slot_request q;
	struct slot_reply reply;
	uint32_t seat = world_begin(w);
	uint8_t *arguments =
		world_call(w, &op, "write_file", "m2 s s s s", "path", "a", "content", "h\xc3\xa9");

	slot_expect(w, seat, SLOT_WRITE_FILE, &q, parts);
	assert_text(parts[SLOT_PATH], "a");
	assert_text(parts[SLOT_STDIN], "h\xc3\xa9");
	assert_int_equal(q.stdout_max, 100000);
	reply = slot_reply_to(&q);
	reply.size = 2;
	answer[SLOT_FILE] = span_string("/workspace/a");
	answer[SLOT_OUTPUT] = span_string("Successfully wrote 2 bytes to a");
	assert_int_equal(slot_reply_send(w->slots[seat], &reply, answer, 0), 0);
	world_wait(w, &op);
	assert_text(op.answer.output, "Successfully wrote 2 bytes to a");
	assert_text(meta_member(op.answer.metadata, "path"), "\xac/workspace/a");
	assert_int_equal(meta_int(op.answer.metadata, "size"), 2);
	world_take(w, &op);
	free(arguments);
	arguments = world_call(w, &op, "read_file", "m1 s s", "path", "b");
	slot_expect(w, seat, SLOT_READ_FILE, &q, parts);
	reply = slot_reply_to(&q);
	reply.verdict = TR_FAILED;
	slot_answer(w, seat, reply, "", "File not found: b");
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_FAILED);
	assert_text(op.answer.error, "File not found: b");
	assert_text(op.answer.metadata, "\x80");
	world_take(w, &op);
	free(arguments);
}

/* exec: every part of the request, and both streams as bytes in the answer. */
static void test_exec(void **state)
{
	static const char argv[] = "cat\0-\0", env[] = "A=1\0B=x=y\0";
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS], answer[SLOT_N_REPLY_PARTS] = {{0}};
	struct backend_op op;
	struct slot_request q;
	struct slot_reply reply;
	uint32_t seat = world_begin(w);
	uint8_t *arguments =
		world_call(w, &op, "exec", "m8 s a2ss s b s s s m2ssss s i s i s t s n", "argv",
			   "cat", "-", "stdin", "\0\xff", (size_t)2, "cwd", "/tmp", "env", "A", "1",
			   "B", "x=y", "stdout_max", 10, "stderr_max", 0, "keep", "command");

	slot_expect(w, seat, SLOT_EXEC, &q, parts);
	assert_int_equal(parts[SLOT_ARGV].n, sizeof(argv) - 1);
	assert_memory_equal(parts[SLOT_ARGV].data, argv, sizeof(argv) - 1);
	assert_int_equal(parts[SLOT_ENV].n, sizeof(env) - 1);
	assert_memory_equal(parts[SLOT_ENV].data, env, sizeof(env) - 1);
	assert_memory_equal(parts[SLOT_STDIN].data, "\0\xff", 2);
	assert_text(parts[SLOT_CWD], "/tmp");
	assert_int_equal(parts[SLOT_COMMAND].n, 0);
	assert_int_equal(q.stdout_max, 10);
	assert_int_equal(q.stderr_max, 0);
	assert_int_equal(q.flags, SLOT_KEEP);
	reply = slot_reply_to(&q);
	reply.verdict = TR_FAILED;
	reply.exit_code = 9;
	reply.stdout_bytes = 2;
	reply.stderr_bytes = 7;
	answer[SLOT_OUTPUT] = span_of("\0\xff", 2);
	answer[SLOT_STDERR] = span_of("e", 1);
	assert_int_equal(slot_reply_send(w->slots[seat], &reply, answer, 0), 0);
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_FAILED);
	assert_text(op.answer.output, "");
	assert_text(op.answer.error, "Exit code: 9");
	assert_int_equal(op.answer.n_more, 2);
	assert_int_equal(op.answer.more.n, 7 + 2 + 2 + 7 + 2 + 1);
	assert_memory_equal(op.answer.more.data,
			    "\xa6stdout\xc4\x02\0\xff\xa6stderr\xc4\x01"
			    "e",
			    op.answer.more.n);
	assert_false(meta_is_true(op.answer.metadata, "stdout_truncated"));
	assert_true(meta_is_true(op.answer.metadata, "stderr_truncated"));
	assert_false(meta_is_true(op.answer.metadata, "not_started"));
	world_take(w, &op);
	free(arguments);
}

/* What is wrong is refused by name, and nothing of it reaches the slot. */
static void test_invalid(void **state)
{
	static const struct {
		const char *tool, *form, *error;
	} rows[] = {
		{"bash", "m0", "arguments.command"},     {"bash", "m1 s i", "arguments.command"},
		{"bash", "m1 s n", "arguments.command"}, {"exec", "m0", "either argv"},
		{"exec", "m1 s a0", "arguments.argv"},   {"exec", "m1 s s", "unknown key"},
		{"exec", "m1 i i", "must be strings"},   {"exec", "m1 s a1 i", "arguments.argv"},
		{"nano", "m0", "Unknown tool: nano"},    {"read_file", "m1 s i", "arguments.path"},
		{"exec", "a0", "must be a map"},
	};
	static const char *const keys[] = {
		NULL, "command", "command", NULL, "argv", "frob", NULL, "argv", NULL, "path", NULL,
	};
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct slot_request q;
	uint32_t seat = world_begin(w);

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct backend_op op;
		uint8_t *arguments;

		if (keys[i] && strstr(rows[i].form, "s s"))
			arguments = world_call(w, &op, rows[i].tool, rows[i].form, keys[i], "x");
		else if (keys[i])
			arguments = world_call(w, &op, rows[i].tool, rows[i].form, keys[i], 1);
		else
			arguments = world_call(w, &op, rows[i].tool, rows[i].form, 1, 1);
		assert_int_equal(op.state, BACKEND_OP_DONE);
		assert_int_equal(op.answer.verdict, TR_INVALID);
		assert_false(op.answer.slot_lost);
		if (!memmem(op.answer.error.data, op.answer.error.n, rows[i].error,
			    strlen(rows[i].error)))
			fail_msg("row %zu: %.*s", i, (int)op.answer.error.n,
				 (const char *)op.answer.error.data);
		world_take(w, &op);
		free(arguments);
	}
	assert_false(slot_next(w, seat, &q, parts));
	world_check(w, seat);
}

static void refuse(struct world *w, const char *error, uint8_t *arguments, struct backend_op *op)
{
	assert_int_equal(op->state, BACKEND_OP_DONE);
	assert_int_equal(op->answer.verdict, TR_INVALID);
	if (!memmem(op->answer.error.data, op->answer.error.n, error, strlen(error)))
		fail_msg("%.*s", (int)op->answer.error.n, (const char *)op->answer.error.data);
	world_take(w, op);
	free(arguments);
}

/* Strings that a kernel would cut, or that are no text where text is due; and caps above the operator's. */
static void test_invalid_strings(void **state)
{
	struct world *w = *state;
	struct backend_op op;
	uint8_t *a;

	world_begin(w);
	a = world_call(w, &op, "bash", "m1 s S", "command", "a\0b", (size_t)3);
	refuse(w, "arguments.command", a, &op);
	a = world_call(w, &op, "read_file", "m1 s S", "path", "a\0b", (size_t)3);
	refuse(w, "arguments.path", a, &op);
	a = world_call(w, &op, "read_file", "m1 s S", "path", "\xff", (size_t)1);
	refuse(w, "arguments.path", a, &op);
	a = world_call(w, &op, "write_file", "m2 s s s S", "path", "x", "content", "\xff",
		       (size_t)1);
	refuse(w, "arguments.content", a, &op);
	a = world_call(w, &op, "exec", "m2 s s s m1 s s", "command", "x", "env", "A=B", "1");
	refuse(w, "arguments.env", a, &op);
	a = world_call(w, &op, "exec", "m2 s s s m1 s i", "command", "x", "env", "A", 1);
	refuse(w, "arguments.env", a, &op);
	a = world_call(w, &op, "exec", "m2 s s s i", "command", "x", "stdout_max", (1 << 20) + 1);
	refuse(w, "from 0 to 1048576", a, &op);
	a = world_call(w, &op, "exec", "m2 s s s i", "command", "x", "keep", 1);
	refuse(w, "arguments.keep", a, &op);
	a = world_call(w, &op, "exec", "m2 s s s a1 s", "command", "x", "argv", "x");
	refuse(w, "either argv", a, &op);
}

/* No output for so long: a number of seconds above 0, for what runs commands. */
static void test_idle_timeout(void **state)
{
	static const struct {
		const char *tool;
		enum slot_op op;
	} rows[] = {{"bash", SLOT_BASH}, {"exec", SLOT_EXEC}, {"bash_stateful", SLOT_SHELL}};
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct backend_op op;
	struct slot_request q;
	struct slot_reply reply;
	uint32_t seat = world_begin(w);
	uint8_t *a;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		a = world_call(w, &op, rows[i].tool, "m2 ss si", "command", "x", "idle_timeout_s",
			       0);
		refuse(w, "arguments.idle_timeout_s must be a number of seconds above 0", a, &op);
		a = world_call(w, &op, rows[i].tool, "m2 ss sd", "command", "x", "idle_timeout_s",
			       __builtin_nan(""));
		refuse(w, "idle_timeout_s", a, &op);
		a = world_call(w, &op, rows[i].tool, "m2 ss ss", "command", "x", "idle_timeout_s",
			       "2");
		refuse(w, "idle_timeout_s", a, &op);
		a = world_call(w, &op, rows[i].tool, "m2 ss sn", "command", "x", "idle_timeout_s");
		slot_expect(w, seat, rows[i].op, &q, parts);
		assert_int_equal(q.idle_ns, 0);
		slot_answer(w, seat, slot_reply_to(&q), "", "");
		world_wait(w, &op);
		world_take(w, &op);
		free(a);
		a = world_call(w, &op, rows[i].tool, "m2 sd ss", "idle_timeout_s", 1.5, "command",
			       "x");
		slot_expect(w, seat, rows[i].op, &q, parts);
		assert_int_equal(q.idle_ns, 1500 * NS_PER_MS);
		reply = slot_reply_to(&q);
		reply.verdict = TR_TIMEOUT;
		reply.flags = SLOT_TIMED_OUT | SLOT_IDLE;
		slot_answer(w, seat, reply, "", "");
		world_wait(w, &op);
		assert_int_equal(op.answer.verdict, TR_TIMEOUT);
		assert_text(op.answer.error, "Command timed out: no output for 1.5s");
		assert_true(meta_is_true(op.answer.metadata, "timeout"));
		assert_true(meta_is_true(op.answer.metadata, "idle_timeout"));
		assert_int_equal(meta_int(op.answer.metadata, "exit_code"), -1);
		world_take(w, &op);
		free(a);
	}
}

/* What is too large for a message goes by a file, both ways. */
static void test_large(void **state)
{
	struct world *w = *state;
	size_t n = 300000;
	char *text = calloc(1, n + 1);
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct backend_op op;
	struct slot_request q;
	uint32_t seat = world_begin(w);
	uint8_t *arguments;

	assert_non_null(text);
	memset(text, 'y', n);
	arguments = world_call(w, &op, "write_file", "m2 s s s s", "path", "x", "content", text);
	slot_expect(w, seat, SLOT_WRITE_FILE, &q, parts);
	assert_int_equal(parts[SLOT_STDIN].n, n);
	slot_answer(w, seat, slot_reply_to(&q), text, "");
	world_wait(w, &op);
	assert_int_equal(op.answer.output.n, n);
	assert_memory_equal(op.answer.output.data, text, n);
	world_take(w, &op);
	free(arguments);
	free(text);
}

/* Answers of many slots at a time stand side by side until each is taken. */
static void test_side_by_side(void **state)
{
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct backend_op ops[WORLD_SLOTS];
	struct slot_request q;
	size_t n;
	uint8_t *arguments = pack(&n, "m1 s s", "command", "x");
	char text[16];

	world_start(w);
	for (uint32_t i = 0; i < WORLD_SLOTS; i++) {
		uint32_t seat = world_acquire(w, i);

		world_execute(w, &ops[i], i, "bash", span_of(arguments, n));
		slot_expect(w, seat, SLOT_BASH, &q, parts);
		snprintf(text, sizeof(text), "of slot %u", i);
		slot_answer(w, seat, slot_reply_to(&q), text, "");
	}
	for (uint32_t i = 0; i < WORLD_SLOTS; i++)
		world_wait(w, &ops[i]);
	for (uint32_t i = 0; i < WORLD_SLOTS; i++) {
		snprintf(text, sizeof(text), "of slot %u", i);
		assert_text(ops[i].answer.output, text);
		world_take(w, &ops[i]);
	}
	free(arguments);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_bash),
		TEST(test_bash_errors),
		TEST(test_missing_layers),
		TEST(test_files),
		TEST(test_exec),
		TEST(test_invalid),
		TEST(test_invalid_strings),
		TEST(test_idle_timeout),
		TEST(test_large),
		TEST(test_side_by_side),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
