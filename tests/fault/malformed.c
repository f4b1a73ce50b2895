/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a malformed message of any kind is answered "invalid" with an error that names the
 * field, through the ring and all, and costs its sender nothing else: the session goes on, the next
 * call is answered, and the executor is the same at the end. Also that what looks odd but is
 * allowed (a timeout of 0 or of a year) is taken.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <toolring/toolring.h>

#include "../unit/wire/pack.h"
#include "attach.h"
#include "daemon.h"

#define WAIT_MS 60000

struct test {
	struct daemon daemon;
	struct tr_client *client;
	struct tr_result result;
	unsigned n_refused;
};

/* ---- one message and its answer -------------------------------------------------------------------- */

static void answer(struct test *t, enum tr_kind kind, const void *data, size_t n)
{
	uint64_t id;
	int r = tr_submit_raw(t->client, kind, data, n, NULL, WAIT_MS, &id);

	check(r == 0, "%s: submit: %s", tr_kind_name(kind), strerror(-r));
	r = tr_wait(t->client, id, &t->result, WAIT_MS);
	check(r == 0, "%s: wait: %s", tr_kind_name(kind), strerror(-r));
	check(tr_session_count(t->client) == 1, "%s: the session was lost", tr_kind_name(kind));
}

static void is_refused(struct test *t, enum tr_kind kind, const char *field, const void *data,
		       size_t n)
{
	answer(t, kind, data, n);
	check(t->result.verdict == TR_INVALID && !t->result.success,
	      "%s for '%s': verdict %s, error '%s'", tr_kind_name(kind), field,
	      tr_verdict_name(t->result.verdict), t->result.error.data);
	check(strstr(t->result.error.data, field), "%s: error '%s' does not name '%s'",
	      tr_kind_name(kind), t->result.error.data, field);
	t->n_refused++;
}

static void refused(struct test *t, enum tr_kind kind, const char *field, const char *form, ...)
{
	msgpack_sbuffer out;
	va_list args;

	msgpack_sbuffer_init(&out);
	va_start(args, form);
	pack_va(&out, form, args);
	va_end(args);
	is_refused(t, kind, field, out.data, out.size);
	msgpack_sbuffer_destroy(&out);
}

static void taken(struct test *t, const char *form, ...)
{
	msgpack_sbuffer out;
	va_list args;

	msgpack_sbuffer_init(&out);
	va_start(args, form);
	pack_va(&out, form, args);
	va_end(args);
	answer(t, TR_KIND_EXECUTE, out.data, out.size);
	check(t->result.verdict == TR_OK, "%s: verdict %s, error '%s'", form,
	      tr_verdict_name(t->result.verdict), t->result.error.data);
	msgpack_sbuffer_destroy(&out);
}

/* ---- what is wrong --------------------------------------------------------------------------------- */

/* Every field of EXECUTE, with every type that it is not, and missing. */
static void wrong_types(struct test *t)
{
	static const char *const not_string[] = {"i", "d", "t", "n", "e", "a0", "m0"};
	static const char *const not_map[] = {"i", "d", "t", "s", "e", "a0"};
	char form[64];

	for (size_t i = 0; i < sizeof(not_string) / sizeof(*not_string); i++) {
		snprintf(form, sizeof(form), "m2 s%s sm1ss", not_string[i]);
		if (*not_string[i] == 'd')
			refused(t, TR_KIND_EXECUTE, "trajectory_id", form, "trajectory_id", 1.0,
				"tool", "name", "bash");
		else if (*not_string[i] == 'i')
			refused(t, TR_KIND_EXECUTE, "trajectory_id", form, "trajectory_id", 7,
				"tool", "name", "bash");
		else
			refused(t, TR_KIND_EXECUTE, "trajectory_id", form, "trajectory_id", "tool",
				"name", "bash");
	}
	for (size_t i = 0; i < sizeof(not_map) / sizeof(*not_map); i++) {
		snprintf(form, sizeof(form), "m2 ss s%s", not_map[i]);
		if (*not_map[i] == 'd')
			refused(t, TR_KIND_EXECUTE, "tool", form, "trajectory_id", "x", "tool",
				1.0);
		else if (*not_map[i] == 'i')
			refused(t, TR_KIND_EXECUTE, "tool", form, "trajectory_id", "x", "tool", 7);
		else
			refused(t, TR_KIND_EXECUTE, "tool", form, "trajectory_id", "x", "tool",
				"y");
	}
	refused(t, TR_KIND_EXECUTE, "tool.name", "m2 ss sm1si", "trajectory_id", "x", "tool",
		"name", 1);
	refused(t, TR_KIND_EXECUTE, "tool.name", "m2 ss sm1sn", "trajectory_id", "x", "tool",
		"name");
	refused(t, TR_KIND_EXECUTE, "tool.arguments", "m2 ss sm2ssss", "trajectory_id", "x", "tool",
		"name", "bash", "arguments", "no map");
	refused(t, TR_KIND_EXECUTE, "tool.arguments", "m2 ss sm2sssm1ii", "trajectory_id", "x",
		"tool", "name", "bash", "arguments", 1, 2);
	refused(t, TR_KIND_EXECUTE, "tool.uniq_id", "m2 ss sm2sssi", "trajectory_id", "x", "tool",
		"name", "bash", "uniq_id", 5);
	refused(t, TR_KIND_RELEASE, "reset_workspace", "m2 ss si", "trajectory_id", "x",
		"reset_workspace", 1);
	refused(t, TR_KIND_ACQUIRE, "spec", "m2 ss ss", "trajectory_id", "x", "spec", "y");
	refused(t, TR_KIND_ACQUIRE, "memory", "m2 ss sm1ss", "trajectory_id", "x", "spec", "memory",
		"much");
	refused(t, TR_KIND_ARTIFACT_READ, "path", "m2 ss sn", "trajectory_id", "x", "path");
	refused(t, TR_KIND_ARTIFACT_WRITE, "path", "m2 ss si", "trajectory_id", "x", "path", 3);
}

static void missing_and_unknown(struct test *t)
{
	for (unsigned number = TR_KIND_ACQUIRE; number <= TR_KIND_ARTIFACT_UNPACK; number++) {
		enum tr_kind kind = (enum tr_kind)number;

		if (kind == TR_KIND_CANCEL)
			continue;
		refused(t, kind, "payload", "a0");
		refused(t, kind, "payload", "n");
		refused(t, kind, "payload", "m1ii", 1, 2);
		if (kind == TR_KIND_STATUS) {
			refused(t, kind, "trajectory_id", "m1ss", "trajectory_id", "x");
			continue;
		}
		is_refused(t, kind, "payload", "", 0);
		refused(t, kind, "trajectory_id is missing", "m0");
		refused(t, kind, "trajectory_id", "m2ssss", "trajectory_id", "x", "trajectory_id",
			"y");
		refused(t, kind, "trajectory_id", "m1ss", "trajectory_id", "");
		if (kind >= TR_KIND_ARTIFACT_READ)
			refused(t, kind, "path is missing", "m1ss", "trajectory_id", "x");
		else
			refused(t, kind, "surplus", "m2ssss", "trajectory_id", "x", "surplus", "y");
	}
	refused(t, TR_KIND_EXECUTE, "tool is missing", "m1ss", "trajectory_id", "x");
	refused(t, TR_KIND_EXECUTE, "tool.name is missing", "m2 ss sm0", "trajectory_id", "x",
		"tool");
	refused(t, TR_KIND_EXECUTE, "surplus", "m2 ss sm2ssss", "trajectory_id", "x", "tool",
		"name", "bash", "surplus", "y");
	refused(t, TR_KIND_EXECUTE, "name", "m2 ss sm2ssss", "trajectory_id", "x", "tool", "name",
		"bash", "name", "bash");
	refused(t, TR_KIND_EXECUTE, "no-such-tool", "m2 ss sm1ss", "trajectory_id", "x", "tool",
		"name", "no-such-tool");
	refused(t, TR_KIND_ACQUIRE, "colour", "m2 ss sm1ss", "trajectory_id", "x", "spec", "colour",
		"red");
}

static void bad_text(struct test *t)
{
	char *longest = malloc(70000);

	check(longest, "memory");
	memset(longest, 'a', 70000);
	refused(t, TR_KIND_EXECUTE, "trajectory_id", "m2 sS sm1ss", "trajectory_id", "\xff\xfe",
		(size_t)2, "tool", "name", "bash");
	refused(t, TR_KIND_EXECUTE, "trajectory_id", "m2 sS sm1ss", "trajectory_id", "\xc0\x80",
		(size_t)2, "tool", "name", "bash");
	refused(t, TR_KIND_EXECUTE, "trajectory_id", "m2 sS sm1ss", "trajectory_id", "a\0b",
		(size_t)3, "tool", "name", "bash");
	refused(t, TR_KIND_EXECUTE, "trajectory_id", "m2 sS sm1ss", "trajectory_id", longest,
		(size_t)129, "tool", "name", "bash");
	refused(t, TR_KIND_EXECUTE, "tool.name", "m2 ss sm1sS", "trajectory_id", "x", "tool",
		"name", "\xed\xa0\x80", (size_t)3);
	refused(t, TR_KIND_EXECUTE, "tool.name", "m2 ss sm1sS", "trajectory_id", "x", "tool",
		"name", longest, (size_t)70000);
	refused(t, TR_KIND_EXECUTE, "tool.uniq_id", "m2 ss sm2sssS", "trajectory_id", "x", "tool",
		"name", "bash", "uniq_id", longest, (size_t)257);
	refused(t, TR_KIND_ARTIFACT_READ, "path", "m2 ss sS", "trajectory_id", "x", "path", longest,
		(size_t)4097);
	refused(t, TR_KIND_ARTIFACT_LIST, "path", "m2 ss sS", "trajectory_id", "x", "path", "a\xf8",
		(size_t)2);
	/* A key that cannot be shown is no way to write into the log or the answer. */
	refused(t, TR_KIND_EXECUTE, "unknown key", "m1sn", "\xff\n\x1b[31m");
	free(longest);
}

static void bad_timeouts(struct test *t)
{
	static const char form[] = "m3 ss sm1ss sd", in_arguments[] = "m2 ss sm2sssm1sd";
	static const double bad[] = {NAN, -NAN, -1, -0.001, -INFINITY, -1e308};
	static const double odd[] = {0, -0.0, 0.001, 31536000, 1e308, INFINITY};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		refused(t, TR_KIND_EXECUTE, "timeout_s", form, "trajectory_id", "x", "tool", "name",
			"bash", "timeout_s", bad[i]);
		refused(t, TR_KIND_EXECUTE, "tool.arguments.timeout", in_arguments, "trajectory_id",
			"x", "tool", "name", "bash", "arguments", "timeout", bad[i]);
	}
	for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
		taken(t, form, "trajectory_id", "x", "tool", "name", "bash", "timeout_s", odd[i]);
		taken(t, in_arguments, "trajectory_id", "x", "tool", "name", "bash", "arguments",
		      "timeout", odd[i]);
	}
	refused(t, TR_KIND_EXECUTE, "timeout_s", "m3 ss sm1ss ss", "trajectory_id", "x", "tool",
		"name", "bash", "timeout_s", "30");
	refused(t, TR_KIND_EXECUTE, "timeout_s", "m3 ss sm1ss st", "trajectory_id", "x", "tool",
		"name", "bash", "timeout_s");
	refused(t, TR_KIND_EXECUTE, "timeout_s", "m3 ss sm1ss sa1i", "trajectory_id", "x", "tool",
		"name", "bash", "timeout_s", 30);
	refused(t, TR_KIND_EXECUTE, "timeout_s", "m3 ss sm1ss si", "trajectory_id", "x", "tool",
		"name", "bash", "timeout_s", -5);
}

/* {trajectory_id: "x", tool: {name: "bash", arguments: {k: ...}}} up to the three dots. */
static size_t put_start(uint8_t *to)
{
	size_t n;
	uint8_t *data = pack(&n, "m2 ss sm2sssm1s", "trajectory_id", "x", "tool", "name", "bash",
			     "arguments", "k");

	memcpy(to, data, n);
	free(data);
	return n;
}

static void deep_and_huge(struct test *t)
{
	static const struct {
		uint8_t bytes[6];
		size_t n;
	} huge[] = {
		{{0xdd, 0xff, 0xff, 0xff, 0xff}, 5},    /* array of 4 Gi */
		{{0xdf, 0xff, 0xff, 0xff, 0xff}, 5},    /* map */
		{{0xdb, 0xff, 0xff, 0xff, 0xff}, 5},    /* string */
		{{0xc6, 0xff, 0xff, 0xff, 0xff}, 5},    /* binary */
		{{0xc9, 0xff, 0xff, 0xff, 0xff, 7}, 6}, /* extension */
		{{0xdb, 0x7f, 0xff, 0xff, 0xff}, 5},
		{{0xdc, 0xff, 0xff}, 3},
		{{0xc1}, 1},       /* reserved */
		{{0xcb, 0, 0}, 3}, /* cut off */
	};
	size_t n_max = 1 << 20, n;
	uint8_t *message = malloc(n_max);

	check(message, "memory");
	n = put_start(message);
	for (size_t i = 0; i < sizeof(huge) / sizeof(*huge); i++) {
		memcpy(message + n, huge[i].bytes, huge[i].n);
		is_refused(t, TR_KIND_EXECUTE, "tool.arguments", message, n + huge[i].n);
		is_refused(t, TR_KIND_EXECUTE, "payload", huge[i].bytes, huge[i].n);
		is_refused(t, TR_KIND_STATUS, "payload", huge[i].bytes, huge[i].n);
	}
	/* Arrays of one array of one array ..., as deep as the message is long. */
	memset(message + n, 0x91, n_max - n);
	is_refused(t, TR_KIND_EXECUTE, "tool.arguments", message, n_max);
	memset(message + n, 0x91, 70);
	message[n + 70] = 0xc0;
	is_refused(t, TR_KIND_EXECUTE, "tool.arguments", message, n + 71);
	/* Maps, and as the whole payload. */
	for (size_t i = 0; i + 3 <= n_max; i += 3)
		memcpy(message + i, "\x81\xa1k", 3);
	is_refused(t, TR_KIND_EXECUTE, "k", message, n_max - n_max % 3);
	/* More objects than any call has, each of them fine. */
	n = put_start(message);
	memcpy(message + n, "\xdd\x00\x0f\x00\x00", 5);
	memset(message + n + 5, 0xc0, 0xf0000);
	is_refused(t, TR_KIND_EXECUTE, "tool.arguments", message, n + 5 + 0xf0000);
	free(message);
}

/* A good message cut off at every byte, with a byte too many, and with random bytes changed. */
static void cut_and_bent(struct test *t, struct dice *dice)
{
	unsigned n_rounds = (unsigned)test_number("TOOLRING_ROUNDS", 3000);
	size_t n;
	uint8_t *good = pack(&n, "m3 ss sm3sssssm3ssst sa3idn sd", "trajectory_id", "x", "tool",
			     "name", "bash", "uniq_id", "u", "arguments", "command", "true", "flag",
			     "list", 1, 2.0, "timeout_s", 3.0);
	uint8_t *bent = malloc(n + 1);

	check(bent, "memory");
	answer(t, TR_KIND_EXECUTE, good, n);
	check(t->result.verdict == TR_OK, "the good one: %s", t->result.error.data);
	for (size_t i = 0; i < n; i++)
		is_refused(t, TR_KIND_EXECUTE, "", good, i);
	memcpy(bent, good, n);
	bent[n] = 0xc0;
	is_refused(t, TR_KIND_EXECUTE, "payload", bent, n + 1);
	for (unsigned i = 0; i < n_rounds; i++) {
		enum tr_kind kind = TR_KIND_ACQUIRE + (enum tr_kind)dice_below(dice, 11);

		if (kind == TR_KIND_CANCEL || dice_below(dice, 2))
			kind = TR_KIND_EXECUTE;
		memcpy(bent, good, n);
		for (uint64_t j = dice_below(dice, 4) + 1; j; j--)
			bent[dice_below(dice, n)] = (uint8_t)dice_roll(dice);
		answer(t, kind, bent, n);
		check(t->result.verdict == TR_OK || t->result.verdict == TR_INVALID ||
			      t->result.verdict == TR_UNAVAILABLE,
		      "round %u: verdict %s, '%s'", i, tr_verdict_name(t->result.verdict),
		      t->result.error.data);
	}
	free(good);
	free(bent);
}

/* The id that was there before what is wrong comes back, so that the answer finds its way. */
static void uniq_id_comes_back(struct test *t)
{
	refused(t, TR_KIND_EXECUTE, "tool.name", "m2 ss sm2sssi", "trajectory_id", "x", "tool",
		"uniq_id", "mine", "name", 5);
	check(strcmp(t->result.uniq_id.data, "mine") == 0, "uniq_id is '%s'",
	      t->result.uniq_id.data);
}

/* Kinds whose numbers are kept free: the library sends none, and the executor refuses them by name. */
static void reserved_kinds(struct test *t)
{
	static const uint8_t payload[] = {0x80};
	struct attach a;
	struct tr_value *value;
	const struct tr_value *error;
	uint16_t kind;
	uint64_t id;

	attach_open(&a, t->daemon.socket, 0, 0);
	for (unsigned i = TR_KIND_FORK; i < TR_N_KINDS; i++) {
		check(tr_submit_raw(t->client, (enum tr_kind)i, payload, 1, NULL, 0, &id) ==
			      -EINVAL,
		      "the library sends kind %u", i);
		check(attach_send(&a, (uint16_t)i, i, payload, 1), "send");
		check(attach_receive(&a, &kind, &id), "kind %u is not answered", i);
		check(kind == i && id == i, "kind %u, id %u", kind, (unsigned)id);
		check(tr_value_parse(a.assembly.data.data, a.assembly.data.n, &value) == 0,
		      "result");
		error = tr_value_get(value, "verdict");
		check(error && error->type == TR_STRING && strcmp(error->u.string, "invalid") == 0,
		      "verdict");
		error = tr_value_get(value, "error");
		check(error && error->type == TR_STRING && strstr(error->u.string, "kind"),
		      "error");
		tr_value_free(value);
	}
	check(tr_submit_raw(t->client, TR_KIND_CANCEL, NULL, 0, NULL, 0, &id) == -EINVAL, "CANCEL");
	check(tr_submit_raw(t->client, TR_KIND_PAD, NULL, 0, NULL, 0, &id) == -EINVAL, "PAD");
	check(tr_submit_raw(t->client, TR_N_KINDS, NULL, 0, NULL, 0, &id) == -EINVAL, "no kind");
	attach_close(&a);
}

int main(int argc, char **argv)
{
	const char *program = daemon_program(argc, argv);
	struct dice dice = dice_new();
	static struct test t;
	pid_t executor;

	daemon_start(&t.daemon, program, "--log-level", "warning", NULL);
	executor = daemon_executor(&t.daemon, 0);
	check(tr_open(&t.client, t.daemon.socket) == 0, "open");
	wrong_types(&t);
	missing_and_unknown(&t);
	bad_text(&t);
	bad_timeouts(&t);
	deep_and_huge(&t);
	uniq_id_comes_back(&t);
	reserved_kinds(&t);
	cut_and_bent(&t, &dice);
	taken(&t, "m2 ss sm1ss", "trajectory_id", "x", "tool", "name", "bash");
	check(tr_stats(t.client)->sessions_lost_total == 0, "a session was lost");
	check(daemon_executor(&t.daemon, 0) == executor, "the executor is another");
	tr_result_deinit(&t.result);
	tr_close(t.client);
	daemon_stop(&t.daemon);
	printf("%u malformed messages, each refused\n", t.n_refused);
	return 0;
}
