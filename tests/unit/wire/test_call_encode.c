/* SPDX-License-Identifier: Apache-2.0 */

/* Calls as the library writes them, read back by msgpack-c and by our own decoder. */

#include "decode.h"

static struct buf out;

static int setup(void **state)
{
	(void)state;
	buf_init(&out, 1 << 20);
	return 0;
}

static int clean(void **state)
{
	buf_deinit(&out);
	return teardown(state);
}

/* Encodes and hands the bytes to the decoder. */
static int there(const struct wire_call_fields *fields)
{
	buf_clear(&out);
	assert_int_equal(wire_call_encode(&out, fields), 0);
	make("r", span_of(out.data, out.n));
	return decode_message(fields->kind);
}

/* EXECUTE with everything: msgpack-c finds each field where the design says, and we decode it. */
static void test_execute(void **state)
{
	struct span members;
	uint8_t *data = pack(&members.n, "m2 ss sa1 n", "command", "ls", "list");
	struct wire_call_fields fields = {
		.kind = TR_KIND_EXECUTE,
		.trajectory_id = span_string("t-1"),
		.tool = span_string("bash"),
		.uniq_id = span_string("u-1"),
		.timeout_s = 2.5,
	};
	const msgpack_object *tool;
	msgpack_unpacked u;
	msgpack_object o;

	(void)state;
	members.data = data;
	fields.members = members;
	assert_int_equal(there(&fields), 0);
	o = witness(&u, out.data, out.n);
	assert_int_equal(o.via.map.size, 3);
	assert_true(object_is(member(&o, "trajectory_id"), "t-1"));
	assert_true(member(&o, "timeout_s")->via.f64 == 2.5);
	tool = member(&o, "tool");
	assert_int_equal(tool->via.map.size, 3);
	assert_true(object_is(member(tool, "name"), "bash"));
	assert_true(object_is(member(tool, "uniq_id"), "u-1"));
	assert_int_equal(member(tool, "arguments")->via.map.size, 2);
	assert_true(object_is(member(member(tool, "arguments"), "command"), "ls"));
	msgpack_unpacked_destroy(&u);

	assert_true(span_is(call.trajectory_id, "t-1"));
	assert_true(span_is(call.tool, "bash"));
	assert_true(span_is(call.uniq_id, "u-1"));
	assert_true(span_is(call.command, "ls"));
	assert_true(call.timeout_s == 2.5);
	assert_true(span_equal(call.arguments, members));
	free(data);
}

/* No arguments are {}; what is absent is not sent, and the executor's refusal then names it. */
static void test_execute_least(void **state)
{
	struct wire_call_fields fields = {
		.kind = TR_KIND_EXECUTE,
		.trajectory_id = span_string("t"),
		.tool = span_string("x"),
	};
	msgpack_unpacked u;
	msgpack_object o;

	(void)state;
	assert_int_equal(there(&fields), 0);
	o = witness(&u, out.data, out.n);
	assert_int_equal(o.via.map.size, 2);
	assert_int_equal(member(&o, "tool")->via.map.size, 2);
	assert_int_equal(member(member(&o, "tool"), "arguments")->via.map.size, 0);
	msgpack_unpacked_destroy(&u);

	fields.tool = (struct span){.data = NULL};
	assert_int_equal(there(&fields), -EBADMSG);
	assert_string_equal(error.text, "tool.name is missing");
	fields.trajectory_id = (struct span){.data = NULL};
	fields.tool = span_string("x");
	assert_int_equal(there(&fields), -EBADMSG);
	assert_string_equal(error.text, "trajectory_id is missing");
	fields.trajectory_id = span_string("");
	assert_int_equal(there(&fields), -EBADMSG);
	assert_string_equal(error.text, "trajectory_id must not be empty");
}

/* A timeout that makes no sense is sent as it is: to judge it is the executor's. */
static void test_bad_timeout(void **state)
{
	struct wire_call_fields fields = {
		.kind = TR_KIND_EXECUTE,
		.trajectory_id = span_string("t"),
		.tool = span_string("x"),
		.timeout_s = (double)NAN,
	};

	(void)state;
	assert_int_equal(there(&fields), -EBADMSG);
	assert_non_null(strstr(error.text, "timeout_s"));
	fields.timeout_s = -1;
	assert_int_equal(there(&fields), -EBADMSG);
	assert_string_equal(error.text, "timeout_s must not be negative");
}

/* Other kinds carry the members beside trajectory_id; what is EXECUTE's alone is left out. */
static void test_other_kinds(void **state)
{
	struct span members;
	uint8_t *data = pack(&members.n, "m3 ss si sa0", "path", "a", "max", 3, "x");
	struct wire_call_fields fields = {
		.kind = TR_KIND_ARTIFACT_LIST,
		.trajectory_id = span_string("t"),
		.tool = span_string("bash"),
		.uniq_id = span_string("u"),
		.timeout_s = 3,
	};
	msgpack_unpacked u;
	msgpack_object o;

	(void)state;
	members.data = data;
	fields.members = members;
	assert_int_equal(there(&fields), 0);
	assert_true(span_is(call.path, "a"));
	o = witness(&u, out.data, out.n);
	assert_int_equal(o.via.map.size, 4);
	assert_int_equal(member(&o, "max")->via.u64, 3);
	msgpack_unpacked_destroy(&u);
	free(data);

	fields = (struct wire_call_fields){.kind = TR_KIND_STATUS};
	assert_int_equal(there(&fields), 0);
	assert_int_equal(out.n, 1);
	fields = (struct wire_call_fields){.kind = TR_KIND_RELEASE,
					   .trajectory_id = span_string("t")};
	fields.members = span_of("\x81\xafreset_workspace\xc2", 18);
	assert_int_equal(there(&fields), 0);
	assert_false(call.reset_workspace);
	fields.members = span_of("\x81\xadtrajectory_id\xa1u", 17);
	assert_int_equal(there(&fields), -EBADMSG);
	assert_string_equal(error.text, "key \"trajectory_id\" stands twice in payload");
}

/* Members that are not exactly one map are refused, and nothing is appended. */
static void test_bad_members(void **state)
{
	static const struct {
		const char *data;
		size_t n;
	} bad[] = {
		{"\xc0", 1},     {"\x90", 1},          {"\x81\xa1k", 3},
		{"\x80\x80", 2}, {"\x81\xa1k\xc1", 4}, {"\xdf\xff\xff\xff\xff", 5},
		{"\xa1k", 2},
	};
	struct wire_call_fields fields = {.kind = TR_KIND_EXECUTE};

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		buf_clear(&out);
		fields.kind = i % 2 ? TR_KIND_ACQUIRE : TR_KIND_EXECUTE;
		fields.members = span_of(bad[i].data, bad[i].n);
		assert_int_equal(wire_call_encode(&out, &fields), -EBADMSG);
		assert_int_equal(out.n, 0);
	}
}

/* A buffer that is too small is -E2BIG and stays as it was; one that has grown is used again. */
static void test_buffer(void **state)
{
	struct wire_call_fields fields = {
		.kind = TR_KIND_EXECUTE,
		.trajectory_id = span_string("t"),
		.tool = span_string("x"),
	};
	static char large[2 << 20];
	struct buf small;
	uint8_t *data;

	(void)state;
	buf_init(&small, 64);
	assert_int_equal(wire_call_encode(&small, &fields), -E2BIG);
	assert_int_equal(small.n, 0);
	buf_deinit(&small);

	fields.uniq_id = span_of(large, sizeof(large));
	assert_int_equal(wire_call_encode(&out, &fields), -E2BIG);
	fields.uniq_id = span_of(large, 300);
	assert_int_equal(wire_call_encode(&out, &fields), 0);
	data = out.data;
	for (int i = 0; i < 1000; i++) {
		buf_clear(&out);
		assert_int_equal(wire_call_encode(&out, &fields), 0);
		assert_ptr_equal(out.data, data);
	}
}

/* However full the buffer is, what is reserved holds the longest call. */
static void test_reserve(void **state)
{
	static char text[40];
	struct wire_call_fields fields = {
		.kind = TR_KIND_EXECUTE,
		.trajectory_id = span_of(text, sizeof(text)),
		.tool = span_of(text, sizeof(text)),
		.uniq_id = span_of(text, sizeof(text)),
		.timeout_s = 1,
	};

	(void)state;
	for (size_t used = 0; used < 1024; used++) {
		struct buf b;

		buf_init(&b, 1 << 16);
		assert_int_equal(buf_reserve(&b, 1024), 0);
		b.n = used;
		assert_int_equal(wire_call_encode(&b, &fields), 0);
		assert_true(b.n <= b.size);
		buf_deinit(&b);
	}
}

/* Strings of every length of header come back whole. */
static void test_lengths(void **state)
{
	static const size_t lengths[] = {0, 1, 31, 32, 127, 128, 255, 256, 65535, 65536, 100000};
	static char text[100000];

	(void)state;
	memset(text, 'a', sizeof(text));
	for (size_t i = 0; i < COUNT(lengths); i++) {
		struct span members;
		uint8_t *data = pack(&members.n, "m1 sS", "command", text, lengths[i]);
		struct wire_call_fields fields = {
			.kind = TR_KIND_EXECUTE,
			.trajectory_id = span_string("t"),
			.tool = span_string("x"),
			.uniq_id = span_of(text, lengths[i] > 256 ? 256 : lengths[i]),
		};

		members.data = data;
		fields.members = members;
		assert_int_equal(there(&fields), 0);
		assert_int_equal(call.command.n, lengths[i]);
		assert_int_equal(call.uniq_id.n, fields.uniq_id.n);
		free(data);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_execute),     cmocka_unit_test(test_execute_least),
		cmocka_unit_test(test_bad_timeout), cmocka_unit_test(test_other_kinds),
		cmocka_unit_test(test_bad_members), cmocka_unit_test(test_buffer),
		cmocka_unit_test(test_reserve),     cmocka_unit_test(test_lengths),
	};

	return cmocka_run_group_tests(tests, setup, clean);
}
