/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/fake_script.h"

#include <errno.h>

#include "wire/reader.h"
#include "wire/result.h"
#include "wire/writer.h"

#define STEPS_MAX     100000
#define EXIT_CODE_MAX 255
#define SIGNAL_MAX    127
#define MEMBER_BYTES  16 /* key, header and number of one member */

static int parse_verdict(struct span name, enum tr_verdict *ret_verdict)
{
	for (int v = 0; v < TR_N_VERDICTS; v++) {
		if (!span_is(name, wire_verdict_name((enum tr_verdict)v)))
			continue;
		*ret_verdict = (enum tr_verdict)v;
		return 0;
	}
	return -EINVAL;
}

static int parse_fate(struct span name, enum fake_fate *ret_fate)
{
	if (span_is(name, "slot"))
		*ret_fate = FAKE_SLOT_DIES;
	else if (span_is(name, "executor"))
		*ret_fate = FAKE_EXECUTOR_DIES;
	else if (span_is(name, "hang"))
		*ret_fate = FAKE_HANGS;
	else
		return -EINVAL;
	return 0;
}

static int parse_number(const struct wire_token *t, double max, double *ret_number)
{
	double number;

	if (t->type == WIRE_INT)
		number = (double)t->u.integer;
	else if (t->type == WIRE_FLOAT)
		number = t->u.real;
	else
		return -EINVAL;
	/* The negation also catches what is not a number. */
	if (!(number >= 0 && number <= max))
		return -EINVAL;
	*ret_number = number;
	return 0;
}

static int parse_byte(const struct wire_token *t, int64_t min, int64_t max, uint8_t *ret_byte)
{
	if (t->type != WIRE_INT || t->u.integer < min || t->u.integer > max)
		return -EINVAL;
	*ret_byte = (uint8_t)t->u.integer;
	return 0;
}

static int parse_text_member(struct span text, struct span key, struct fake_script *script)
{
	if (span_is(key, "verdict"))
		return parse_verdict(text, &script->verdict);
	if (span_is(key, "die"))
		return parse_fate(text, &script->fate);
	if (span_is(key, "error")) {
		script->error = text;
	} else if (span_is(key, "stdout")) {
		script->stdout_text = text;
		script->has_stdout = true;
	} else if (span_is(key, "stderr")) {
		script->stderr_text = text;
		script->has_stderr = true;
	} else {
		return -EINVAL;
	}
	return 0;
}

/* One member of the script whose key was just read. */
static int parse_member(struct wire_reader *r, struct span key, struct fake_script *script)
{
	struct wire_token t;
	double number;

	if (wire_read(r, &t) < 0)
		return -EINVAL;
	if (t.type == WIRE_STRING)
		return parse_text_member(span_of(t.u.bytes, t.n), key, script);
	if (span_is(key, "wait_s"))
		return parse_number(&t, FAKE_WAIT_S_MAX, &script->wait_s);
	if (span_is(key, "signal"))
		return parse_byte(&t, 1, SIGNAL_MAX, &script->signal);
	if (span_is(key, "exit_code")) {
		script->has_exit_code = true;
		return parse_byte(&t, 0, EXIT_CODE_MAX, &script->exit_code);
	}
	if (!span_is(key, "output_bytes") || parse_number(&t, FAKE_OUTPUT_BYTES_MAX, &number) < 0)
		return -EINVAL;
	script->n_output = (uint32_t)number;
	script->has_output = true;
	return 0;
}

static int parse_map(struct wire_reader *r, struct fake_script *script)
{
	struct wire_token map, key;

	if (wire_read(r, &map) < 0 || map.type != WIRE_MAP)
		return -EINVAL;
	for (uint32_t n = map.n; n; n--) {
		if (wire_read(r, &key) < 0 || key.type != WIRE_STRING ||
		    parse_member(r, span_of(key.u.bytes, key.n), script) < 0)
			return -EINVAL;
	}
	return 0;
}

int fake_script_parse(struct span arguments, struct fake_script *ret_script)
{
	struct fake_script script = {.verdict = TR_OK};
	struct wire_reader r;
	struct wire_token map, key;
	struct span name;
	int rc = 0;

	wire_reader_init(&r, arguments.data, arguments.n, STEPS_MAX);
	map.n = 0;
	if (arguments.n && (wire_read(&r, &map) < 0 || map.type != WIRE_MAP))
		return -EINVAL;
	for (uint32_t n = map.n; n && rc == 0; n--) {
		if (wire_read(&r, &key) < 0)
			return -EINVAL;
		name = key.type == WIRE_STRING ? span_of(key.u.bytes, key.n) : span_of("", 0);
		if (span_is(name, "fake"))
			rc = parse_map(&r, &script);
		else
			rc = wire_skip(&r, span_is(name, "argv") ? &script.argv : NULL);
	}
	if (rc < 0)
		return -EINVAL;
	*ret_script = script;
	return 0;
}

int fake_script_join_argv(const struct fake_script *script, struct buf *out)
{
	struct wire_reader r;
	struct wire_token array, word;

	wire_reader_init(&r, script->argv.data, script->argv.n, STEPS_MAX);
	if (wire_read(&r, &array) < 0 || array.type != WIRE_ARRAY)
		return -EINVAL;
	for (uint32_t i = 0; i < array.n; i++) {
		int rc = 0;

		if (wire_read(&r, &word) < 0 || word.type != WIRE_STRING)
			return -EINVAL;
		if (i)
			rc = buf_append(out, " ", 1);
		if (rc == 0)
			rc = buf_append(out, word.u.bytes, word.n);
		if (rc < 0)
			return -ENOMEM;
	}
	return 0;
}

uint32_t fake_script_n_members(const struct fake_script *script)
{
	return (uint32_t)script->has_exit_code + (script->signal != 0) + script->has_stdout +
	       script->has_stderr;
}

size_t fake_script_n_bytes(const struct fake_script *script)
{
	return fake_script_n_members(script) * (size_t)MEMBER_BYTES + script->stdout_text.n +
	       script->stderr_text.n;
}

int fake_script_write(const struct fake_script *script, struct buf *out)
{
	msgpack_packer p;
	int r = 0;

	wire_writer_init(&p, out);
	if (script->has_exit_code) {
		r = wire_write_string(&p, "exit_code");
		r = r ? r : msgpack_pack_uint8(&p, script->exit_code);
	}
	if (r == 0 && script->signal) {
		r = wire_write_string(&p, "signal");
		r = r ? r : msgpack_pack_uint8(&p, script->signal);
	}
	if (r == 0 && script->has_stdout) {
		r = wire_write_string(&p, "stdout");
		r = r ? r : wire_write_span(&p, script->stdout_text);
	}
	if (r == 0 && script->has_stderr) {
		r = wire_write_string(&p, "stderr");
		r = r ? r : wire_write_span(&p, script->stderr_text);
	}
	return r;
}
