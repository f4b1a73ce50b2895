/* SPDX-License-Identifier: Apache-2.0 */

/* Results: what the executor writes, seen by msgpack-c, and what a client takes or refuses. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "pack.h"
#include "wire/reader.h"
#include "wire/result.h"

#define COUNT(array) (sizeof(array) / sizeof(array[0]))

static struct buf out;

static int setup(void **state)
{
	(void)state;
	buf_init(&out, 1 << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	buf_deinit(&out);
	return 0;
}

/* Decodes a message made as pack() does, from a block of exactly its size. */
static int decode(struct wire_result *ret_result, const char *form, ...)
{
	msgpack_sbuffer made;
	uint8_t *data;
	va_list args;
	int r;

	msgpack_sbuffer_init(&made);
	va_start(args, form);
	pack_va(&made, form, args);
	va_end(args);
	data = malloc(made.size ? made.size : 1);
	assert_non_null(data);
	if (made.size)
		memcpy(data, made.data, made.size);
	r = wire_result_decode(data, made.size, ret_result);
	msgpack_sbuffer_destroy(&made);
	free(data);
	return r;
}

/* Every member stands in the packed map as it was given. */
static void test_encode(void **state)
{
	struct wire_result result = {
		.verdict = TR_FAILED,
		.output = span_string("out"),
		.error = span_string("err"),
		.uniq_id = span_string("u-1"),
		.metadata = span_of("\x81\xa1k\x05", 4),
		.slot_id = span_string("fake-7"),
		.timing_ns = {0, 1, 300, 70000, UINT64_MAX},
		.more = span_of("\xa1x\x92\x01\x02\xa1y\xc0", 8),
		.n_more = 2,
	};
	const msgpack_object *timing;
	msgpack_unpacked u;
	msgpack_object o;

	(void)state;
	buf_clear(&out);
	assert_int_equal(wire_result_encode(&out, &result), 0);
	o = witness(&u, out.data, out.n);
	assert_int_equal(o.via.map.size, 10);
	assert_int_equal(member(&o, "success")->type, MSGPACK_OBJECT_BOOLEAN);
	assert_false(member(&o, "success")->via.boolean);
	assert_true(object_is(member(&o, "output"), "out"));
	assert_true(object_is(member(&o, "error"), "err"));
	assert_true(object_is(member(&o, "uniq_id"), "u-1"));
	assert_true(object_is(member(&o, "verdict"), "failed"));
	assert_true(object_is(member(&o, "slot_id"), "fake-7"));
	assert_int_equal(member(member(&o, "metadata"), "k")->via.u64, 5);
	assert_int_equal(member(&o, "x")->via.array.size, 2);
	assert_int_equal(member(&o, "y")->type, MSGPACK_OBJECT_NIL);
	timing = member(&o, "timing");
	assert_int_equal(timing->via.map.size, TR_N_PHASES);
	assert_int_equal(member(timing, "queue_ns")->via.u64, 0);
	assert_int_equal(member(timing, "slot_wait_ns")->via.u64, 1);
	assert_int_equal(member(timing, "start_ns")->via.u64, 300);
	assert_int_equal(member(timing, "run_ns")->via.u64, 70000);
	assert_true(member(timing, "reply_ns")->via.u64 == UINT64_MAX);
	msgpack_unpacked_destroy(&u);
}

/* Content that lies elsewhere ends the last of the further pairs. */
static void test_encode_body(void **state)
{
	struct wire_result result = {
		.verdict = TR_OK,
		.more = span_of("\xa1x\x05\xa1y\xc4\x03", 7),
		.n_more = 2,
		.body = span_string("abc"),
	};
	msgpack_unpacked u;
	msgpack_object o;

	(void)state;
	buf_clear(&out);
	assert_int_equal(wire_result_encode(&out, &result), 0);
	o = witness(&u, out.data, out.n);
	assert_int_equal(member(&o, "x")->via.u64, 5);
	assert_int_equal(member(&o, "y")->via.bin.size, 3);
	assert_memory_equal(member(&o, "y")->via.bin.ptr, "abc", 3);
	msgpack_unpacked_destroy(&u);
}

/* What is empty is sent as "" and {}, and slot_id not at all. */
static void test_encode_empty(void **state)
{
	struct wire_result result = {.verdict = TR_OK, .success = true};
	msgpack_unpacked u;
	msgpack_object o;

	(void)state;
	buf_clear(&out);
	assert_int_equal(wire_result_encode(&out, &result), 0);
	o = witness(&u, out.data, out.n);
	assert_int_equal(o.via.map.size, 7);
	assert_true(member(&o, "success")->via.boolean);
	assert_true(object_is(member(&o, "output"), ""));
	assert_true(object_is(member(&o, "error"), ""));
	assert_true(object_is(member(&o, "uniq_id"), ""));
	assert_int_equal(member(&o, "metadata")->type, MSGPACK_OBJECT_MAP);
	assert_int_equal(member(&o, "metadata")->via.map.size, 0);
	assert_null(member(&o, "slot_id"));
	msgpack_unpacked_destroy(&u);
}

/* Every verdict goes there and back under its own name. */
static void test_verdicts(void **state)
{
	static const char *const names[] = {
		"ok",      "failed",      "timeout",   "oom",         "limit",   "denied",
		"invalid", "unavailable", "cancelled", "not_started", "unknown",
	};

	(void)state;
	assert_int_equal(COUNT(names), TR_N_VERDICTS);
	for (int v = 0; v < TR_N_VERDICTS; v++) {
		struct wire_result result = {.verdict = (enum tr_verdict)v, .success = v == TR_OK};
		struct wire_result back;

		assert_string_equal(wire_verdict_name((enum tr_verdict)v), names[v]);
		buf_clear(&out);
		assert_int_equal(wire_result_encode(&out, &result), 0);
		assert_int_equal(wire_result_decode(out.data, out.n, &back), 0);
		assert_int_equal(back.verdict, v);
		assert_int_equal(back.success, v == TR_OK);
	}
	assert_null(wire_verdict_name((enum tr_verdict)TR_N_VERDICTS));
}

/* What was encoded is decoded, at lengths around every change of header. */
static void test_there_and_back(void **state)
{
	static const size_t lengths[] = {0, 1, 31, 32, 255, 256, 65535, 65536, 500000};
	static char text[500000];

	(void)state;
	memset(text, 'o', sizeof(text));
	for (size_t i = 0; i < COUNT(lengths); i++) {
		struct wire_result result = {
			.verdict = TR_LIMIT,
			.output = span_of(text, lengths[i]),
			.error = span_of(text, lengths[i] / 3),
			.uniq_id = span_string("u"),
			.slot_id = span_string("s"),
			.metadata = span_of("\x81\xa1k\x05", 4),
			.timing_ns = {1, 2, 3, 4, UINT64_MAX},
		};
		struct wire_result back;

		buf_clear(&out);
		assert_int_equal(wire_result_encode(&out, &result), 0);
		assert_int_equal(wire_result_decode(out.data, out.n, &back), 0);
		assert_true(span_equal(back.output, result.output));
		assert_true(span_equal(back.error, result.error));
		assert_true(span_equal(back.uniq_id, result.uniq_id));
		assert_true(span_equal(back.slot_id, result.slot_id));
		assert_true(span_equal(back.metadata, result.metadata));
		assert_memory_equal(back.timing_ns, result.timing_ns, sizeof(back.timing_ns));
	}
}

/* Results are appended; a buffer that cannot take one keeps what it had; a warm one allocates nothing. */
static void test_buffer(void **state)
{
	static char text[5000];
	struct wire_result result = {.verdict = TR_OK, .output = span_of(text, sizeof(text))};
	struct buf small;
	uint8_t *data;

	(void)state;
	buf_init(&small, 4096);
	assert_int_equal(buf_append(&small, "abc", 3), 0);
	assert_int_equal(wire_result_encode(&small, &result), -E2BIG);
	assert_int_equal(small.n, 3);
	result.output.n = 100;
	assert_int_equal(wire_result_encode(&small, &result), 0);
	assert_memory_equal(small.data, "abc\x87", 4);
	data = small.data;
	for (int i = 0; i < 1000; i++) {
		buf_clear(&small);
		assert_int_equal(wire_result_encode(&small, &result), 0);
		assert_ptr_equal(small.data, data);
	}
	buf_deinit(&small);
}

/* However full the buffer is, what is reserved holds the longest result: no write is unchecked luck. */
static void test_reserve(void **state)
{
	static char text[40];
	struct wire_result result = {
		.verdict = TR_NOT_STARTED,
		.output = span_of(text, sizeof(text)),
		.error = span_of(text, sizeof(text)),
		.uniq_id = span_of(text, sizeof(text)),
		.slot_id = span_of(text, sizeof(text)),
		.timing_ns = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX},
	};

	(void)state;
	for (size_t used = 0; used < 1024; used++) {
		struct buf b;

		buf_init(&b, 1 << 16);
		assert_int_equal(buf_reserve(&b, 1024), 0);
		b.n = used;
		assert_int_equal(wire_result_encode(&b, &result), 0);
		assert_true(b.n <= b.size);
		buf_deinit(&b);
	}
}

/* What this library does not know is skipped, whatever it is; what is missing is zero, but no verdict. */
static void test_tolerant(void **state)
{
	struct wire_result result;

	(void)state;
	assert_int_equal(decode(&result, "m0"), 0);
	assert_int_equal(result.verdict, TR_UNKNOWN);
	assert_false(result.success);
	assert_int_equal(result.output.n + result.error.n + result.metadata.n + result.slot_id.n,
			 0);
	assert_int_equal(decode(&result, "m7 sn sm1 a1 n n se sa3 iii ss sm2 si sn sd", "new",
				"newer", "ext", "list", 1, 2, 3, "verdict", "oom", "timing",
				"run_ns", 5, "warp_ns", "f", 0.5),
			 0);
	assert_int_equal(result.verdict, TR_OOM);
	assert_int_equal(result.timing_ns[TR_PHASE_RUN], 5);
}

/* Output and the other texts may be binary; nil stands for empty. */
static void test_binary_and_nil(void **state)
{
	uint8_t message[] = "\x82\xa6output\xc4\x02\xff\x00\xa5"
			    "error\xc0";
	struct wire_result result;

	(void)state;
	assert_int_equal(wire_result_decode(message, sizeof(message) - 1, &result), 0);
	assert_int_equal(result.output.n, 2);
	assert_ptr_equal(result.output.data, message + 10);
	assert_int_equal(result.error.n, 0);
	assert_int_equal(decode(&result, "m5 sn sn sn sn sn", "uniq_id", "metadata", "slot_id",
				"timing", "output"),
			 0);
	assert_int_equal(result.metadata.n, 0);
}

/* Every member with every type that it is not. */
static void test_wrong_types(void **state)
{
	static const struct {
		const char *key;
		const char *taken;
	} members[] = {
		{"success", "tf"},  {"output", "sbn"}, {"error", "sbn"}, {"metadata", "mn"},
		{"uniq_id", "sbn"}, {"verdict", ""},   {"timing", "mn"}, {"slot_id", "sbn"},
	};
	static const struct {
		char letter;
		const char *bytes;
	} objects[] = {
		{'n', "\xc0"},
		{'t', "\xc3"},
		{'f', "\xc2"},
		{'i', "\x05"},
		{'d', "\xca\x3f\x80\x01\x01"},
		{'s', "\xa1x"},
		{'b', "\xc4\x01x"},
		{'a', "\x91\x01"},
		{'m', "\x81\xa1k\x01"},
		{'e', "\xd4\x01x"},
	};
	struct wire_result result;

	(void)state;
	for (size_t i = 0; i < COUNT(members); i++) {
		for (size_t j = 0; j < COUNT(objects); j++) {
			int r = decode(&result, "m1 sr", members[i].key,
				       span_string(objects[j].bytes));

			assert_int_equal(r, strchr(members[i].taken, objects[j].letter) ? 0
											: -EBADMSG);
		}
	}
	assert_int_equal(decode(&result, "m1 ss", "verdict", "okay"), -EBADMSG);
	assert_int_equal(decode(&result, "m1 ss", "verdict", ""), -EBADMSG);
	assert_int_equal(decode(&result, "m1 ss", "verdict", "OK"), -EBADMSG);
	assert_int_equal(decode(&result, "m1 sm1 si", "timing", "run_ns", -1), -EBADMSG);
	assert_int_equal(decode(&result, "m1 sm1 sd", "timing", "run_ns", 1.0), -EBADMSG);
	assert_int_equal(decode(&result, "m1 sm1 ii", "timing", 1, 1), -EBADMSG);
	assert_int_equal(decode(&result, "m1 ii", 1, 1), -EBADMSG);
}

/* Not one map: refused, and nothing is written to where the result should go. */
static void test_malformed(void **state)
{
	static const char *const forms[] = {"", "n", "a0", "m0 n", "m1", "m1 s"};
	struct wire_result result, before;
	struct wire_result sample = {
		.verdict = TR_OK,
		.output = span_string("output"),
		.metadata = span_of("\x81\xa1k\x05", 4),
	};

	(void)state;
	memset(&before, 0x5a, sizeof(before));
	for (size_t i = 0; i < COUNT(forms); i++) {
		memcpy(&result, &before, sizeof(result));
		assert_int_equal(decode(&result, forms[i], "key"), -EBADMSG);
		assert_memory_equal(&result, &before, sizeof(result));
	}
	buf_clear(&out);
	assert_int_equal(wire_result_encode(&out, &sample), 0);
	for (size_t n = 0; n < out.n; n++)
		assert_int_equal(decode(&result, "r", span_of(out.data, n)), -EBADMSG);
	for (size_t i = 0; i < out.n; i++) {
		uint8_t kept = out.data[i];

		out.data[i] = 0xc1;
		decode(&result, "r", span_of(out.data, out.n));
		out.data[i] = kept;
	}
	assert_int_equal(decode(&result, "r", span_of("\xdf\xff\xff\xff\xff", 5)), -EBADMSG);
	assert_int_equal(decode(&result, "m1 sr", "x", span_of("\xdd\xff\xff\xff\xff", 5)),
			 -EBADMSG);
	assert_int_equal(decode(&result, "m1 sr", "output", span_of("\xdb\xff\xff\xff\xff", 5)),
			 -EBADMSG);
}

/* Nesting is bounded, and so is the number of objects, generously: a list of a million passes. */
static void test_bounds(void **state)
{
	static const struct {
		uint32_t n;
		int r;
	} lists[] = {{1000000, 0}, {5000000, -EBADMSG}};
	struct wire_result result;
	uint8_t deep[100];

	(void)state;
	memset(deep, 0x91, sizeof(deep));
	assert_int_equal(decode(&result, "m1 sr n", "x", span_of(deep, WIRE_DEPTH_MAX)), 0);
	assert_int_equal(decode(&result, "m1 sr n", "x", span_of(deep, WIRE_DEPTH_MAX + 1)),
			 -EBADMSG);
	for (size_t i = 0; i < COUNT(lists); i++) {
		uint32_t n = lists[i].n;
		uint8_t header[] = {0xdd, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8),
				    (uint8_t)n};
		uint8_t *items = calloc(1, n);

		assert_non_null(items);
		assert_int_equal(decode(&result, "m1 sr r", "entries", span_of(header, 5),
					span_of(items, n)),
				 lists[i].r);
		free(items);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_encode),         cmocka_unit_test(test_encode_body),
		cmocka_unit_test(test_encode_empty),   cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_buffer),
		cmocka_unit_test(test_reserve),        cmocka_unit_test(test_tolerant),
		cmocka_unit_test(test_binary_and_nil), cmocka_unit_test(test_wrong_types),
		cmocka_unit_test(test_malformed),      cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
