/* SPDX-License-Identifier: Apache-2.0 */

/* What the executor itself looks at in a call: timeouts, background, and the policy keys it cuts out. */

#include "decode.h"

static void timeout_is(double expected)
{
	assert_true(call.timeout_given);
	assert_true(call.timeout_s == expected);
}

/* timeout_s of every numeric type, clamped to 1..600; infinity is only a large number. */
static void test_timeout_given(void **state)
{
	static const struct {
		double given;
		double taken;
	} cases[] = {
		{0.0, 1},       {-0.0, 1},  {1e-300, 1},  {1, 1},       {1.25, 1.25},
		{599.5, 599.5}, {600, 600}, {600.5, 600}, {1e300, 600}, {(double)INFINITY, 600},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		passes(TR_KIND_EXECUTE, "m3 ss sm1 ss sd", "trajectory_id", "t", "tool", "name",
		       "x", "timeout_s", cases[i].given);
		timeout_is(cases[i].taken);
	}
	passes(TR_KIND_EXECUTE, "m3 ss sm1 ss si", "trajectory_id", "t", "tool", "name", "x",
	       "timeout_s", 45);
	timeout_is(45);
	passes(TR_KIND_EXECUTE, "m3 ss sm1 ss sr", "trajectory_id", "t", "tool", "name", "x",
	       "timeout_s", span_of("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9));
	timeout_is(600);
	passes(TR_KIND_EXECUTE, "m3 ss sm1 ss sr", "trajectory_id", "t", "tool", "name", "x",
	       "timeout_s", span_of("\xca\x40\x20\x00\x00", 5));
	timeout_is(2.5);
}

/* NaN and what is negative are refused, the field named, from both sources. */
static void test_timeout_bad(void **state)
{
	static const double negative[] = {-1, -1e-300, -(double)INFINITY};

	(void)state;
	refused(TR_KIND_EXECUTE, "timeout_s must be a number of seconds, not NaN",
		"m3 ss sm1 ss sd", "trajectory_id", "t", "tool", "name", "x", "timeout_s",
		(double)NAN);
	refused(TR_KIND_EXECUTE, "tool.arguments.timeout must be a number of seconds, not NaN",
		"m2 ss sm2 ss sm1 sd", "trajectory_id", "t", "tool", "name", "x", "arguments",
		"timeout", -(double)NAN);
	for (size_t i = 0; i < COUNT(negative); i++) {
		refused(TR_KIND_EXECUTE, "timeout_s must not be negative", "m3 ss sm1 ss sd",
			"trajectory_id", "t", "tool", "name", "x", "timeout_s", negative[i]);
		refused(TR_KIND_EXECUTE, "tool.arguments.timeout must not be negative",
			"m2 ss sm2 ss sm1 sd", "trajectory_id", "t", "tool", "name", "x",
			"arguments", "timeout", negative[i]);
	}
	refused(TR_KIND_EXECUTE, "timeout_s must not be negative", "m3 ss sm1 ss si",
		"trajectory_id", "t", "tool", "name", "x", "timeout_s", -5);
}

/* Without timeout_s (or with nil) a numeric arguments.timeout is taken; one that is no number is not. */
static void test_timeout_of_arguments(void **state)
{
	(void)state;
	passes(TR_KIND_EXECUTE, "m2 ss sm2 ss sm1 si", "trajectory_id", "t", "tool", "name", "x",
	       "arguments", "timeout", 90);
	timeout_is(90);
	passes(TR_KIND_EXECUTE, "m3 sn ss sm2 ss sm1 sd", "timeout_s", "trajectory_id", "t", "tool",
	       "name", "x", "arguments", "timeout", 0.5);
	timeout_is(1);
	for (size_t i = 0; i < COUNT(types); i++) {
		struct span value;
		uint8_t *data;

		if (strchr("id", types[i].letter))
			continue;
		data = object_of(types[i].letter, &value.n);
		value.data = data;
		passes(TR_KIND_EXECUTE, "m2 ss sm2 ss sm1 sr", "trajectory_id", "t", "tool", "name",
		       "x", "arguments", "timeout", value);
		assert_false(call.timeout_given);
		assert_int_equal(call.arguments.n, 1);
		free(data);
	}
}

/* timeout_s goes before arguments.timeout, in whichever order they stand, and whatever that one is. */
static void test_timeout_both(void **state)
{
	(void)state;
	passes(TR_KIND_EXECUTE, "m3 si ss sm2 ss sm1 si", "timeout_s", 7, "trajectory_id", "t",
	       "tool", "name", "x", "arguments", "timeout", 90);
	timeout_is(7);
	passes(TR_KIND_EXECUTE, "m3 ss sm2 ss sm1 sd si", "trajectory_id", "t", "tool", "name", "x",
	       "arguments", "timeout", -3.0, "timeout_s", 8);
	timeout_is(8);
}

/* ---- tool.arguments ------------------------------------------------------------------------------ */

/* Only true itself is background; 1 and "true" are the tool's to judge. */
static void test_background(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(types); i++) {
		struct span value;
		uint8_t *data = object_of(types[i].letter, &value.n);

		value.data = data;
		passes(TR_KIND_EXECUTE, "m2 ss sm2 ss sm1 sr", "trajectory_id", "t", "tool", "name",
		       "x", "arguments", "background", value);
		assert_int_equal(call.background, types[i].letter == 't');
		assert_int_equal(call.arguments.n,
				 n_message - (size_t)(call.arguments.data - message));
		free(data);
	}
	passes(TR_KIND_EXECUTE, "m2 ss sm2 ss sm1 sf", "trajectory_id", "t", "tool", "name", "x",
	       "arguments", "background");
	assert_false(call.background);
}

/* A command is taken if it is a string; else it is the tool's to judge. */
static void test_command_of_every_type(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(types); i++) {
		struct span value;
		uint8_t *data = object_of(types[i].letter, &value.n);

		value.data = data;
		passes(TR_KIND_EXECUTE, "m2 ss sm2 ss sm1 sr", "trajectory_id", "t", "tool", "name",
		       "x", "arguments", "command", value);
		assert_int_equal(call.command.data != NULL, types[i].letter == 's');
		assert_int_equal(call.command.n, 0);
		free(data);
	}
}

/* A command that is no string is left to the tool, whole. */
static void test_command_of_other_type(void **state)
{
	msgpack_unpacked u;
	msgpack_object o;

	(void)state;
	passes(TR_KIND_EXECUTE, "m2 ss sm2 ss sm2 sa2ii si", "trajectory_id", "t", "tool", "name",
	       "x", "arguments", "command", 1, 2, "timeout", 4);
	assert_null(call.command.data);
	o = witness(&u, call.arguments.data, call.arguments.n);
	assert_int_equal(o.via.map.size, 1);
	assert_int_equal(member(&o, "command")->via.array.size, 2);
	msgpack_unpacked_destroy(&u);
}

static const char *const policy[] = {"timeout", "allow_network", "require_sandbox",
				     "require_stateful_sandbox"};

/* One argument of n_fill plain ones, a command and the policy keys, placed by the bits of where. */
static void arguments_with(msgpack_sbuffer *out, int n_fill, unsigned where, unsigned which)
{
	int n_pairs = n_fill + 1 + __builtin_popcount(which);
	msgpack_packer p;
	char key[16];

	msgpack_packer_init(&p, out, msgpack_sbuffer_write);
	msgpack_pack_map(&p, (size_t)n_pairs);
	for (int i = 0; i <= n_fill; i++) {
		for (unsigned k = 0; k < 4; k++) {
			/* Bit k: the key stands before the filler i that its two bits of where name. */
			if (!(which & 1u << k) || (int)(where >> 2 * k & 3) != i % 4 || i >= 4)
				continue;
			msgpack_pack_str_with_body(&p, policy[k], strlen(policy[k]));
			msgpack_pack_array(&p, 1);
			msgpack_pack_true(&p);
		}
		if (i == 3 || (n_fill < 3 && i == n_fill)) {
			msgpack_pack_str_with_body(&p, "command", 7);
			msgpack_pack_str_with_body(&p, "ls", 2);
		}
		if (i == n_fill)
			break;
		snprintf(key, sizeof(key), "k%d", i);
		msgpack_pack_str_with_body(&p, key, strlen(key));
		msgpack_pack_int(&p, i);
	}
}

/* What is left has every other pair, in order, and is one map of exactly the span. */
static void check_cut(int n_fill)
{
	msgpack_unpacked u;
	msgpack_object o = witness(&u, call.arguments.data, call.arguments.n);
	int n = 0;

	assert_int_equal(o.type, MSGPACK_OBJECT_MAP);
	assert_int_equal(o.via.map.size, n_fill + 1);
	assert_true(object_is(member(&o, "command"), "ls"));
	assert_true(span_is(call.command, "ls"));
	assert_ptr_equal(call.command.data, member(&o, "command")->via.str.ptr);
	for (uint32_t i = 0; i < o.via.map.size; i++) {
		char key[16];

		if (object_is(&o.via.map.ptr[i].key, "command"))
			continue;
		snprintf(key, sizeof(key), "k%d", n);
		assert_true(object_is(&o.via.map.ptr[i].key, key));
		assert_int_equal(o.via.map.ptr[i].val.via.u64, n);
		n++;
	}
	assert_int_equal(n, n_fill);
	msgpack_unpacked_destroy(&u);
}

/*
 * What a model may not decide is cut out wherever it stands, alone or with others, and all else
 * stays: maps whose header has one byte and three, and what follows the arguments is read.
 */
static void test_cut(void **state)
{
	static const int fills[] = {3, 12, 14, 253, 40000};

	(void)state;
	for (size_t i = 0; i < COUNT(fills); i++) {
		unsigned step = fills[i] < 100 ? 1 : fills[i] < 1000 ? 37 : 971;

		for (unsigned n = 0; n < 256 * 16; n += step) {
			msgpack_sbuffer out;

			if (fills[i] > 1000 && n > 8 * step)
				break;
			msgpack_sbuffer_init(&out);
			arguments_with(&out, fills[i], n % 256, n / 256);
			passes(TR_KIND_EXECUTE, "m2 sm3 sr ss ss ss", "tool", "arguments",
			       span_of(out.data, out.size), "name", "x", "uniq_id", "u",
			       "trajectory_id", "t");
			check_cut(fills[i]);
			assert_true(span_is(call.trajectory_id, "t"));
			msgpack_sbuffer_destroy(&out);
		}
	}
}

/* The same with headers that are wider than they need be, which a shrinking map must keep. */
static void test_cut_wide_headers(void **state)
{
	static const struct {
		const char *header;
		size_t n;
	} headers[] = {{"\x82", 1}, {"\xde\x00\x02", 3}, {"\xdf\x00\x00\x00\x02", 5}};

	(void)state;
	for (size_t i = 0; i < COUNT(headers); i++) {
		msgpack_unpacked u;
		msgpack_object o;

		passes(TR_KIND_EXECUTE, "m2 ss sm2 ss sr st si", "trajectory_id", "t", "tool",
		       "name", "x", "arguments", span_of(headers[i].header, headers[i].n),
		       "allow_network", "keep", 5);
		o = witness(&u, call.arguments.data, call.arguments.n);
		assert_int_equal(o.via.map.size, 1);
		assert_int_equal(member(&o, "keep")->via.u64, 5);
		assert_int_equal(call.arguments.data[0], (uint8_t)headers[i].header[0] == 0x82
								 ? 0x81
								 : (uint8_t)headers[i].header[0]);
		msgpack_unpacked_destroy(&u);
	}
}

/* A policy key written in a longer form of string is the same key. */
static void test_cut_long_key(void **state)
{
	(void)state;
	passes(TR_KIND_EXECUTE, "m2 ss sm2 ss sm1 ri", "trajectory_id", "t", "tool", "name", "x",
	       "arguments", span_of("\xdb\x00\x00\x00\x07timeout", 12), 33);
	assert_int_equal(call.arguments.n, 1);
	timeout_is(33);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timeout_given),
		cmocka_unit_test(test_timeout_bad),
		cmocka_unit_test(test_timeout_of_arguments),
		cmocka_unit_test(test_timeout_both),
		cmocka_unit_test(test_background),
		cmocka_unit_test(test_command_of_every_type),
		cmocka_unit_test(test_command_of_other_type),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_cut_wide_headers),
		cmocka_unit_test(test_cut_long_key),
	};

	return cmocka_run_group_tests(tests, NULL, teardown);
}
