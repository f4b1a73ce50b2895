/* SPDX-License-Identifier: Apache-2.0 */

/* Calls: what each kind takes, and what is refused, field by field (design section 4). */

#include "decode.h"

/* A call with everything in it comes out as it went in, spans lying inside the message. */
static void test_execute(void **state)
{
	(void)state;
	passes(TR_KIND_EXECUTE, "m3 ss sm3 ss sm2 ss si ss sd", "trajectory_id", "t-1", "tool",
	       "name", "bash", "arguments", "command", "ls -l", "depth", 3, "uniq_id", "u-7",
	       "timeout_s", 12.5);
	assert_int_equal(call.kind, TR_KIND_EXECUTE);
	assert_true(span_is(call.trajectory_id, "t-1"));
	assert_true(span_is(call.tool, "bash"));
	assert_true(span_is(call.uniq_id, "u-7"));
	assert_true(span_is(call.command, "ls -l"));
	assert_false(call.background);
	assert_true(call.timeout_given);
	assert_true(call.timeout_s == 12.5);
	assert_true(call.command.data > call.arguments.data);
	assert_true(call.command.data + call.command.n < call.arguments.data + call.arguments.n);
	assert_true(call.arguments.data > message);
}

/* Members may come in any order; nil and absent are the same for all that may be absent. */
static void test_execute_least(void **state)
{
	(void)state;
	passes(TR_KIND_EXECUTE, "m2 sm1 ss ss", "tool", "name", "x", "trajectory_id", "t");
	assert_int_equal(call.arguments.n, 0);
	assert_null(call.uniq_id.data);
	assert_null(call.command.data);
	assert_false(call.timeout_given);

	passes(TR_KIND_EXECUTE, "m3 sn sm3 sn ss sn ss", "timeout_s", "tool", "uniq_id", "name",
	       "x", "arguments", "trajectory_id", "t");
	assert_int_equal(call.arguments.n, 0);
	assert_null(call.uniq_id.data);
	assert_false(call.timeout_given);

	passes(TR_KIND_EXECUTE, "m2 ss sm3 ss ss sm0", "trajectory_id", "t", "tool", "name", "x",
	       "uniq_id", "", "arguments");
	assert_int_equal(call.arguments.n, 1);
	assert_non_null(call.uniq_id.data);
	assert_int_equal(call.uniq_id.n, 0);
}

/* The other kinds, with the least and with all they take. */
static void test_other_kinds(void **state)
{
	msgpack_unpacked u;
	msgpack_object o;

	(void)state;
	passes(TR_KIND_ACQUIRE, "m1 ss", "trajectory_id", "t");
	assert_int_equal(call.spec.n, 0);
	passes(TR_KIND_ACQUIRE, "m2 ss sn", "trajectory_id", "t", "spec");
	assert_int_equal(call.spec.n, 0);
	passes(TR_KIND_ACQUIRE, "m2 sm2 st si ss", "spec", "network", "pids", 64, "trajectory_id",
	       "t");
	o = witness(&u, call.spec.data, call.spec.n);
	assert_int_equal(member(&o, "pids")->via.u64, 64);
	msgpack_unpacked_destroy(&u);

	passes(TR_KIND_RESET, "m1 ss", "trajectory_id", "t");
	passes(TR_KIND_RELEASE, "m1 ss", "trajectory_id", "t");
	assert_true(call.reset_workspace);
	passes(TR_KIND_RELEASE, "m2 ss sn", "trajectory_id", "t", "reset_workspace");
	assert_true(call.reset_workspace);
	passes(TR_KIND_RELEASE, "m2 ss sf", "trajectory_id", "t", "reset_workspace");
	assert_false(call.reset_workspace);
	passes(TR_KIND_STATUS, "");
	passes(TR_KIND_STATUS, "m0");
}

/*
 * ARTIFACT_*: the path is checked as ids are; members of which nothing is known here are kept, with
 * the whole map, for the backend.
 */
static void artifact(enum tr_kind kind)
{
	msgpack_unpacked u;
	msgpack_object o;

	passes(kind, "m5 ss si ss sb st", "trajectory_id", "t", "max", 5, "path", "a/b", "content",
	       "\0\1", (size_t)2, "tool");
	assert_true(span_is(call.trajectory_id, "t"));
	assert_true(span_is(call.path, "a/b"));
	assert_ptr_equal(call.options.data, message);
	assert_int_equal(call.options.n, n_message);
	o = witness(&u, call.options.data, call.options.n);
	assert_int_equal(member(&o, "content")->via.bin.size, 2);
	msgpack_unpacked_destroy(&u);
	assert_false(call.timeout_given);
	passes(kind, "m3 ss ss sd", "trajectory_id", "t", "path", "p", "timeout_s", 2.5);
	assert_true(call.timeout_given && call.timeout_s == 2.5);
	refused(kind, "timeout_s must be a number of seconds", "m3 ss ss ss", "trajectory_id", "t",
		"path", "p", "timeout_s", "soon");

	refused(kind, "path is missing", "m1 ss", "trajectory_id", "t");
	refused(kind, "trajectory_id is missing", "m1 ss", "path", "p");
	refused(kind, "\"offset\" stands twice", "m4 ss ss si si", "trajectory_id", "t", "path",
		"p", "offset", 1, "offset", 2);
}

static void test_artifact(void **state)
{
	(void)state;
	for (int kind = TR_KIND_ARTIFACT_READ; kind <= TR_KIND_ARTIFACT_UNPACK; kind++)
		artifact((enum tr_kind)kind);
}

/* More members than a payload may have are refused before the search for duplicates gets long. */
static void test_too_many_members(void **state)
{
	msgpack_sbuffer out;
	msgpack_packer p;
	char key[16];

	(void)state;
	for (int n = 32; n <= 33; n++) {
		msgpack_sbuffer_init(&out);
		msgpack_packer_init(&p, &out, msgpack_sbuffer_write);
		for (int i = 2; i < n; i++) {
			snprintf(key, sizeof(key), "k%d", i);
			msgpack_pack_str_with_body(&p, key, strlen(key));
			msgpack_pack_nil(&p);
		}
		make("m* ss ss r", n, "trajectory_id", "t", "path", "p",
		     span_of(out.data, out.size));
		assert_int_equal(decode_message(TR_KIND_ARTIFACT_LIST), n == 32 ? 0 : -EBADMSG);
		msgpack_sbuffer_destroy(&out);
	}
	assert_non_null(strstr(error.text, "more than 32 members"));
}

/* Missing members are named. */
static void test_missing(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(callable); i++)
		if (callable[i] != TR_KIND_STATUS)
			refused(callable[i], "trajectory_id is missing", "m0");
	refused(TR_KIND_EXECUTE, "tool is missing", "m1 ss", "trajectory_id", "t");
	refused(TR_KIND_EXECUTE, "tool.name is missing", "m2 ss sm0", "trajectory_id", "t", "tool");
}

/* Keys that are not known are refused by name, with those that are allowed. */
static void test_unknown(void **state)
{
	(void)state;
	refused(TR_KIND_EXECUTE,
		"unknown key \"timeout\" in EXECUTE; allowed: trajectory_id, tool, timeout_s",
		"m2 ss si", "trajectory_id", "t", "timeout", 3);
	refused(TR_KIND_EXECUTE, "unknown key \"args\" in tool; allowed: name, arguments, uniq_id",
		"m1 sm2 ss sm0", "tool", "name", "bash", "args");
	refused(TR_KIND_ACQUIRE, "allowed: trajectory_id, spec", "m1 ss", "path", "p");
	refused(TR_KIND_RESET, "unknown key \"spec\" in RESET; allowed: trajectory_id", "m1 sm0",
		"spec");
	refused(TR_KIND_RELEASE, "allowed: trajectory_id, reset_workspace", "m1 si", "x", 1);
	refused(TR_KIND_STATUS, "unknown key \"trajectory_id\" in STATUS; allowed: none", "m1 ss",
		"trajectory_id", "t");
	refused(TR_KIND_EXECUTE, "unknown key \"\"", "m1 ss", "", "t");
}

/* A key twice is refused: two readers might each believe another one. */
static void test_duplicates(void **state)
{
	static const char *const arguments[] = {
		"command",       "background",      "timeout",
		"allow_network", "require_sandbox", "require_stateful_sandbox",
	};

	(void)state;
	refused(TR_KIND_RESET, "\"trajectory_id\" stands twice in payload", "m2 ss ss",
		"trajectory_id", "t", "trajectory_id", "t");
	refused(TR_KIND_EXECUTE, "\"timeout_s\" stands twice", "m2 sn si", "timeout_s", "timeout_s",
		1);
	refused(TR_KIND_EXECUTE, "\"name\" stands twice in tool", "m1 sm2 ss ss", "tool", "name",
		"a", "name", "b");
	for (size_t i = 0; i < COUNT(arguments); i++)
		refused(TR_KIND_EXECUTE, "stands twice in tool.arguments", "m1 sm1 sm3 si si si",
			"tool", "arguments", arguments[i], 1, "other", 1, arguments[i], 1);
}

/*
 * Puts each type that is not among those taken in the field's place, behind what stands before it
 * (form_before, with keys that are its arguments), and expects it named with what is allowed.
 */
static void wrong_types(enum tr_kind kind, const char *field, const char *allowed,
			const char *taken, const char *parent, const char *key)
{
	for (size_t i = 0; i < COUNT(types); i++) {
		char expected[128];
		struct span value;
		uint8_t *data;

		if (strchr(taken, types[i].letter))
			continue;
		data = object_of(types[i].letter, &value.n);
		value.data = data;
		snprintf(expected, sizeof(expected), "%s must be %s, not %s", field, allowed,
			 types[i].name);
		if (parent)
			refused(kind, expected, "m1 sm1 sr", parent, key, value);
		else
			refused(kind, expected, "m1 sr", key, value);
		free(data);
	}
}

/* Every field with every type it does not take: the error names field, what came, what is allowed. */
static void test_wrong_types(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(callable); i++)
		if (callable[i] != TR_KIND_STATUS)
			wrong_types(callable[i], "trajectory_id", "a string", "s", NULL,
				    "trajectory_id");
	wrong_types(TR_KIND_EXECUTE, "tool", "a map", "m", NULL, "tool");
	wrong_types(TR_KIND_EXECUTE, "tool.name", "a string", "s", "tool", "name");
	wrong_types(TR_KIND_EXECUTE, "tool.uniq_id", "a string", "sn", "tool", "uniq_id");
	wrong_types(TR_KIND_EXECUTE, "tool.arguments", "a map", "mn", "tool", "arguments");
	wrong_types(TR_KIND_EXECUTE, "timeout_s", "a number of seconds", "idn", NULL, "timeout_s");
	wrong_types(TR_KIND_ACQUIRE, "spec", "a map", "mn", NULL, "spec");
	wrong_types(TR_KIND_RELEASE, "reset_workspace", "a boolean", "tfn", NULL,
		    "reset_workspace");
	wrong_types(TR_KIND_ARTIFACT_WRITE, "path", "a string", "s", NULL, "path");
}

/* The payload itself must be a map, and keys must be strings, at every level of ours. */
static void test_not_maps(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(callable); i++) {
		for (size_t j = 0; j < COUNT(types); j++) {
			char expected[64];
			size_t n;
			uint8_t *data;

			if (types[j].letter == 'm')
				continue;
			data = object_of(types[j].letter, &n);
			snprintf(expected, sizeof(expected), "payload must be a map, not %s",
				 types[j].name);
			refused(callable[i], expected, "r", span_of(data, n));
			free(data);
		}
		if (callable[i] != TR_KIND_STATUS)
			refused(callable[i], "payload must be a map", "");
	}
	refused(TR_KIND_RESET, "payload has a key that is an integer; keys must be strings",
		"m1 ii", 1, 2);
	refused(TR_KIND_EXECUTE, "payload has a key that is binary", "m1 bs", "tool", (size_t)4,
		"");
	refused(TR_KIND_EXECUTE, "tool has a key that is nil", "m1 sm1 ni", "tool", 1);
	refused(TR_KIND_EXECUTE, "tool.arguments has a key that is an array", "m1 sm1 sm1 a0i",
		"tool", "arguments", 1);
}

/* Kinds that carry no call, and numbers that are no kind. */
static void test_no_kind(void **state)
{
	static const int kinds[] = {TR_KIND_PAD,      TR_KIND_PING,  TR_KIND_CANCEL, TR_KIND_FORK,
				    TR_KIND_PROGRESS, TR_KIND_INPUT, TR_N_KINDS,     65535};

	(void)state;
	for (size_t i = 0; i < COUNT(kinds); i++)
		refused((enum tr_kind)kinds[i], "is none that can be called", "m0");
	assert_string_equal(wire_kind_name(TR_KIND_EXECUTE), "EXECUTE");
	assert_string_equal(wire_kind_name(TR_KIND_ARTIFACT_UNPACK), "ARTIFACT_UNPACK");
	assert_null(wire_kind_name((enum tr_kind)TR_N_KINDS));
}

/* A text of ours, at place s of form: length, UTF-8 and NUL. */
static void text_rules(enum tr_kind kind, const char *field, size_t n_max, const char *parent,
		       const char *key)
{
	static const char *const bad[] = {
		"\x80",
		"a\xff",
		"\xc0\xaf",
		"\xed\xa0\x80",
		"\xf4\x90\x80\x80",
		"12345678\xe2\x82",
		"\xf8\x88\x80\x80\x80",
	};
	char *longest = malloc(n_max + 1);
	char expected[128];

	memset(longest, 'a', n_max + 1);
	for (size_t i = 0; i < COUNT(bad) + 2; i++) {
		const char *text = i < COUNT(bad) ? bad[i] : longest;
		size_t n = i < COUNT(bad) ? strlen(text) : n_max + 1;

		snprintf(expected, sizeof(expected), "%s must be valid UTF-8", field);
		if (i == COUNT(bad))
			snprintf(expected, sizeof(expected), "%s must be at most %zu bytes long",
				 field, n_max);
		if (i == COUNT(bad) + 1) {
			text = "a\0b";
			n = 3;
			snprintf(expected, sizeof(expected), "%s must not contain NUL", field);
		}
		if (parent)
			refused(kind, expected, "m1 sm1 sS", parent, key, text, n);
		else
			refused(kind, expected, "m1 sS", key, text, n);
	}
	/* What is as long as may be passes the check: the error, if any, is about something else. */
	if (parent)
		make("m1 sm1 sS", parent, key, longest, n_max);
	else
		make("m1 sS", key, longest, n_max);
	if (decode_message(kind) < 0)
		assert_non_null(strstr(error.text, "is missing"));
	free(longest);
}

/* Ids, names and paths: not empty, not too long, valid UTF-8, no NUL; beyond ASCII is fine. */
static void test_texts(void **state)
{
	(void)state;
	text_rules(TR_KIND_EXECUTE, "trajectory_id", WIRE_TRAJECTORY_ID_MAX, NULL, "trajectory_id");
	text_rules(TR_KIND_RESET, "trajectory_id", WIRE_TRAJECTORY_ID_MAX, NULL, "trajectory_id");
	text_rules(TR_KIND_EXECUTE, "tool.name", WIRE_TOOL_NAME_MAX, "tool", "name");
	text_rules(TR_KIND_EXECUTE, "tool.uniq_id", WIRE_UNIQ_ID_MAX, "tool", "uniq_id");
	text_rules(TR_KIND_ARTIFACT_READ, "path", WIRE_PATH_MAX, NULL, "path");
	refused(TR_KIND_RESET, "trajectory_id must not be empty", "m1 ss", "trajectory_id", "");
	refused(TR_KIND_EXECUTE, "tool.name must not be empty", "m1 sm1 ss", "tool", "name", "");
	refused(TR_KIND_ARTIFACT_LIST, "path must not be empty", "m1 ss", "path", "");
	passes(TR_KIND_RESET, "m1 ss", "trajectory_id", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
}

/* What a hostile client wrote is shown short and harmless. */
static void test_shown(void **state)
{
	char key[5000];

	(void)state;
	refused(TR_KIND_EXECUTE, "unknown key \"a???b?\"", "m1 sn",
		"a\x1b\n\x7f"
		"b\xff");
	memset(key, 'k', sizeof(key));
	make("m1 Sn", key, sizeof(key));
	assert_int_equal(decode_message(TR_KIND_EXECUTE), -EBADMSG);
	assert_non_null(strstr(error.text, "kkk...\" in EXECUTE; allowed"));
	assert_true(strlen(error.text) < 128);
	memset(key, 0xf0, sizeof(key));
	make("m1 Sn", key, sizeof(key));
	assert_int_equal(decode_message(TR_KIND_EXECUTE), -EBADMSG);
	assert_non_null(strstr(error.text, "???...\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_execute),
		cmocka_unit_test(test_execute_least),
		cmocka_unit_test(test_other_kinds),
		cmocka_unit_test(test_artifact),
		cmocka_unit_test(test_too_many_members),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_duplicates),
		cmocka_unit_test(test_wrong_types),
		cmocka_unit_test(test_not_maps),
		cmocka_unit_test(test_no_kind),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_shown),
	};

	return cmocka_run_group_tests(tests, NULL, teardown);
}
