/* SPDX-License-Identifier: Apache-2.0 */

/* Calls that are no msgpack, or claim too much: refused, named, and never read past. */

#include "decode.h"

/* A message cut off at any byte is refused; a sanitizer sees that nothing behind it is read. */
static void test_truncated(void **state)
{
	size_t n_whole;
	uint8_t *whole = pack(&n_whole, "m3 ss sm3 ss sm3 sd ss sa2 m1 st n ss sd", "trajectory_id",
			      "t-1", "tool", "name", "bash", "arguments", "timeout", 1.0, "command",
			      "ls", "list", "a", "uniq_id", "u", "timeout_s", 3.0);

	(void)state;
	for (size_t n = 1; n < n_whole; n++) {
		free(message);
		message = malloc(n);
		memcpy(message, whole, n);
		n_message = n;
		assert_int_equal(decode_message(TR_KIND_EXECUTE), -EBADMSG);
		assert_non_null(strstr(error.text, "it ends inside an object"));
	}
	free(whole);
}

/* Faults inside a field name the field. */
static void test_faults_named(void **state)
{
	struct span reserved = span_of("\xc1", 1), huge_map = span_of("\xdf\xff\xff\xff\xff", 5);
	struct span huge_string = span_of("\xdb\xff\xff\xff\xff", 5);
	struct span huge_array = span_of("\xdd\xff\xff\xff\xff", 5);
	struct span huge_binary = span_of("\xc6\xff\xff\xff\xff", 5);

	(void)state;
	refused(TR_KIND_RESET, "payload cannot be read: it holds the byte 0xc1", "r", reserved);
	refused(TR_KIND_RESET, "payload cannot be read: it ends inside", "r", huge_map);
	refused(TR_KIND_RESET, "payload cannot be read: it ends inside", "m1 r", huge_string);
	refused(TR_KIND_RESET, "trajectory_id cannot be read: it ends inside", "m1 sr",
		"trajectory_id", huge_string);
	refused(TR_KIND_RESET, "trajectory_id cannot be read: it holds the byte 0xc1", "m1 sr",
		"trajectory_id", reserved);
	refused(TR_KIND_EXECUTE, "timeout_s cannot be read", "m1 sr", "timeout_s", reserved);
	refused(TR_KIND_EXECUTE, "tool cannot be read: it ends inside", "m1 sr", "tool", huge_map);
	refused(TR_KIND_EXECUTE, "tool.name cannot be read", "m1 sm1 sr", "tool", "name",
		huge_binary);
	refused(TR_KIND_EXECUTE, "tool.uniq_id cannot be read", "m1 sm1 sr", "tool", "uniq_id",
		reserved);
	refused(TR_KIND_EXECUTE, "tool.arguments cannot be read: it ends inside", "m1 sm1 sr",
		"tool", "arguments", huge_map);
	refused(TR_KIND_EXECUTE, "tool.arguments cannot be read: it ends inside",
		"m1 sm1 sm1 sa2 ir", "tool", "arguments", "x", 1, huge_array);
	refused(TR_KIND_EXECUTE, "tool.arguments cannot be read: it holds the byte 0xc1",
		"m1 sm1 sm1 sr", "tool", "arguments", "command", reserved);
	refused(TR_KIND_ACQUIRE, "spec cannot be read", "m1 sr", "spec", huge_map);
	refused(TR_KIND_ACQUIRE, "spec cannot be read", "m1 s", "spec");
	refused(TR_KIND_RELEASE, "reset_workspace cannot be read", "m1 sr", "reset_workspace",
		reserved);
	refused(TR_KIND_ARTIFACT_READ, "path cannot be read", "m1 sr", "path", huge_string);
	refused(TR_KIND_ARTIFACT_READ, "payload cannot be read", "m1 sr", "other", huge_array);
}

/* Bytes behind the map are refused, for every kind. */
static void test_trailing(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(callable); i++) {
		enum tr_kind kind = callable[i];

		if (kind == TR_KIND_STATUS)
			make("m0 n");
		else if (kind == TR_KIND_EXECUTE)
			make("m2 ss sm1 ss n", "trajectory_id", "t", "tool", "name", "x");
		else if (kind >= TR_KIND_ARTIFACT_READ)
			make("m2 ss ss n", "trajectory_id", "t", "path", "p");
		else
			make("m1 ss n", "trajectory_id", "t");
		assert_int_equal(decode_message(kind), -EBADMSG);
		assert_string_equal(error.text,
				    "payload cannot be read: bytes follow where it should end");
		n_message--;
		assert_int_equal(decode_message(kind), 0);
	}
}

/* The whole message may be 64 containers deep, and not one more, wherever they stand. */
static void test_deep(void **state)
{
	uint8_t deep[WIRE_DEPTH_MAX];

	(void)state;
	memset(deep, 0x91, sizeof(deep));
	for (unsigned over = 0; over < 2; over++) {
		/* payload, tool and arguments are three already */
		make("m2 ss sm2 ss sm1 sr n", "trajectory_id", "t", "tool", "name", "x",
		     "arguments", "k", span_of(deep, WIRE_DEPTH_MAX - 3 + over));
		assert_int_equal(decode_message(TR_KIND_EXECUTE), over ? -EBADMSG : 0);
	}
	assert_non_null(
		strstr(error.text, "tool.arguments cannot be read: it nests deeper than 64"));
	for (unsigned over = 0; over < 2; over++) {
		make("m2 ss sm1 sr n", "trajectory_id", "t", "spec", "k",
		     span_of(deep, WIRE_DEPTH_MAX - 2 + over));
		assert_int_equal(decode_message(TR_KIND_ACQUIRE), over ? -EBADMSG : 0);
	}
	assert_non_null(strstr(error.text, "spec cannot be read: it nests deeper than 64"));
	for (unsigned over = 0; over < 2; over++) {
		make("m3 ss ss sr n", "trajectory_id", "t", "path", "p", "k",
		     span_of(deep, WIRE_DEPTH_MAX - 1 + over));
		assert_int_equal(decode_message(TR_KIND_ARTIFACT_LIST), over ? -EBADMSG : 0);
	}
	/* Deeper than any stack would bear, if it were walked by calling itself. */
	free(message);
	n_message = 4 << 20;
	message = malloc(n_message);
	memset(message, 0x91, n_message);
	memcpy(message, "\x81\xa4spec", 6);
	assert_int_equal(decode_message(TR_KIND_ACQUIRE), -EBADMSG);
	assert_non_null(strstr(error.text, "nests deeper than 64"));
}

/* 100,000 objects are enough for any call; a message of more is given up there. */
static void test_too_many(void **state)
{
	size_t n = 200000;

	(void)state;
	free(message);
	n_message = 6 + 5 + n;
	message = malloc(n_message);
	memcpy(message, "\x81\xa4spec\xdd\x00\x03\x0d\x40", 11);
	memset(message + 11, 0xc0, n);
	assert_int_equal(decode_message(TR_KIND_ACQUIRE), -EBADMSG);
	assert_non_null(strstr(error.text, "spec cannot be read: it holds too many objects"));
}

/* The answer to a call that is refused can carry its uniq_id, if that had been read. */
static void test_uniq_id_of_refused(void **state)
{
	(void)state;
	refused(TR_KIND_EXECUTE, "timeout_s must not be negative", "m3 ss sm2 ss ss si",
		"trajectory_id", "t", "tool", "name", "x", "uniq_id", "u-1", "timeout_s", -1);
	assert_true(span_is(call.uniq_id, "u-1"));
	refused(TR_KIND_EXECUTE, "unknown key", "m1 sm2 ss sn", "tool", "uniq_id", "u-2", "extra");
	assert_true(span_is(call.uniq_id, "u-2"));
	refused(TR_KIND_EXECUTE, "UTF-8", "m1 sm1 ss", "tool", "uniq_id", "\xff");
	assert_null(call.uniq_id.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_truncated), cmocka_unit_test(test_faults_named),
		cmocka_unit_test(test_trailing),  cmocka_unit_test(test_deep),
		cmocka_unit_test(test_too_many),  cmocka_unit_test(test_uniq_id_of_refused),
	};

	return cmocka_run_group_tests(tests, NULL, teardown);
}
