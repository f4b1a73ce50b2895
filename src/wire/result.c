/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/result.h"

#include <errno.h>

#include "wire/reader.h"
#include "wire/writer.h"

/*
 * Objects in one result: lists of files can be long, and a client that decodes for a tenth of a
 * second holds up nobody but itself.
 */
#define RESULT_STEPS_MAX 4000000

/* Packed bytes of everything in a result but what the caller gives. */
#define RESULT_OVERHEAD 256

static const struct {
	const char *name;
	uint8_t n;
} verdicts[TR_N_VERDICTS] = {
#define VERDICT(number, text) [number] = {text, sizeof(text) - 1}
	VERDICT(TR_OK, "ok"),
	VERDICT(TR_FAILED, "failed"),
	VERDICT(TR_TIMEOUT, "timeout"),
	VERDICT(TR_OOM, "oom"),
	VERDICT(TR_LIMIT, "limit"),
	VERDICT(TR_DENIED, "denied"),
	VERDICT(TR_INVALID, "invalid"),
	VERDICT(TR_UNAVAILABLE, "unavailable"),
	VERDICT(TR_CANCELLED, "cancelled"),
	VERDICT(TR_NOT_STARTED, "not_started"),
	VERDICT(TR_UNKNOWN, "unknown"),
#undef VERDICT
};

const char *wire_verdict_name(enum tr_verdict verdict)
{
	return (unsigned)verdict < TR_N_VERDICTS ? verdicts[verdict].name : NULL;
}

/* ---- encoding ------------------------------------------------------------------------------------ */

static void write_timing(msgpack_packer *p, struct buf *b, const uint64_t ns[TR_N_PHASES])
{
	_Static_assert(TR_N_PHASES == 5, "each phase has its key");

	wire_write_key(b, "timing");
	msgpack_pack_map(p, TR_N_PHASES);
	wire_write_key(b, "queue_ns");
	msgpack_pack_uint64(p, ns[TR_PHASE_QUEUE]);
	wire_write_key(b, "slot_wait_ns");
	msgpack_pack_uint64(p, ns[TR_PHASE_SLOT_WAIT]);
	wire_write_key(b, "start_ns");
	msgpack_pack_uint64(p, ns[TR_PHASE_START]);
	wire_write_key(b, "run_ns");
	msgpack_pack_uint64(p, ns[TR_PHASE_RUN]);
	wire_write_key(b, "reply_ns");
	msgpack_pack_uint64(p, ns[TR_PHASE_REPLY]);
}

int wire_result_encode(struct buf *b, const struct wire_result *result)
{
	bool has_slot = result->slot_id.n != 0;
	msgpack_packer p;
	int r;

	assert((unsigned)result->verdict < TR_N_VERDICTS);
	r = wire_reserve(b, RESULT_OVERHEAD + result->output.n + result->error.n +
				    result->uniq_id.n + result->metadata.n + result->slot_id.n +
				    result->more.n + result->body.n);
	if (r < 0)
		return r;
	wire_writer_init_reserved(&p, b);
	msgpack_pack_map(&p, 7 + (has_slot ? 1u : 0) + (size_t)result->n_more);
	wire_write_key(b, "success");
	if (result->success)
		msgpack_pack_true(&p);
	else
		msgpack_pack_false(&p);
	wire_write_key(b, "output");
	wire_write_span(&p, result->output);
	wire_write_key(b, "error");
	wire_write_span(&p, result->error);
	wire_write_key(b, "metadata");
	if (result->metadata.n)
		wire_write_packed(b, result->metadata);
	else
		msgpack_pack_map(&p, 0);
	wire_write_key(b, "uniq_id");
	wire_write_span(&p, result->uniq_id);
	wire_write_key(b, "verdict");
	wire_write_span(&p, span_of(verdicts[result->verdict].name, verdicts[result->verdict].n));
	write_timing(&p, b, result->timing_ns);
	if (has_slot) {
		wire_write_key(b, "slot_id");
		wire_write_span(&p, result->slot_id);
	}
	wire_write_packed(b, result->more);
	wire_write_packed(b, result->body);
	return 0;
}

/* ---- decoding ------------------------------------------------------------------------------------ */

static int read_key(struct wire_reader *reader, struct span *ret_key)
{
	struct wire_token t;

	return wire_read_key(reader, ret_key, &t) == 0 ? 0 : -EBADMSG;
}

/* A string, binary or nil, which stands for empty. */
static int take_bytes(struct wire_reader *reader, struct span *ret_bytes)
{
	struct wire_token t;

	if (wire_read(reader, &t) < 0)
		return -EBADMSG;
	if (t.type == WIRE_NIL)
		return 0;
	if (t.type != WIRE_STRING && t.type != WIRE_BINARY)
		return -EBADMSG;
	*ret_bytes = span_of(t.u.bytes, t.n);
	return 0;
}

static int take_success(struct wire_reader *reader, bool *ret_success)
{
	struct wire_token t;

	if (wire_read(reader, &t) < 0 || t.type != WIRE_BOOL)
		return -EBADMSG;
	*ret_success = t.u.boolean;
	return 0;
}

static int take_verdict(struct wire_reader *reader, enum tr_verdict *ret_verdict)
{
	struct wire_token t;

	if (wire_read(reader, &t) < 0 || t.type != WIRE_STRING)
		return -EBADMSG;
	for (unsigned i = 0; i < TR_N_VERDICTS; i++) {
		if (verdicts[i].n == t.n && memcmp(verdicts[i].name, t.u.bytes, t.n) == 0) {
			*ret_verdict = (enum tr_verdict)i;
			return 0;
		}
	}
	return -EBADMSG;
}

static int take_metadata(struct wire_reader *reader, struct span *ret_metadata)
{
	enum wire_type type;
	struct span object;

	if (wire_peek_type(reader, &type) < 0 || wire_skip(reader, &object) < 0)
		return -EBADMSG;
	if (type == WIRE_NIL)
		return 0;
	if (type != WIRE_MAP)
		return -EBADMSG;
	*ret_metadata = object;
	return 0;
}

static int phase_of(struct span key)
{
	if (span_is(key, "queue_ns"))
		return TR_PHASE_QUEUE;
	if (span_is(key, "slot_wait_ns"))
		return TR_PHASE_SLOT_WAIT;
	if (span_is(key, "start_ns"))
		return TR_PHASE_START;
	if (span_is(key, "run_ns"))
		return TR_PHASE_RUN;
	return span_is(key, "reply_ns") ? TR_PHASE_REPLY : -1;
}

static int take_timing(struct wire_reader *reader, uint64_t ret_ns[TR_N_PHASES])
{
	struct wire_token t;
	uint32_t n;

	if (wire_read(reader, &t) < 0 || (t.type != WIRE_MAP && t.type != WIRE_NIL))
		return -EBADMSG;
	n = t.type == WIRE_MAP ? t.n : 0;
	for (uint32_t i = 0; i < n; i++) {
		struct span key;
		int phase;

		if (read_key(reader, &key) < 0)
			return -EBADMSG;
		phase = phase_of(key);
		if (phase < 0) {
			if (wire_skip(reader, NULL) < 0)
				return -EBADMSG;
			continue;
		}
		if (wire_read(reader, &t) < 0)
			return -EBADMSG;
		if (t.type == WIRE_UINT)
			ret_ns[phase] = t.u.natural;
		else if (t.type == WIRE_INT && t.u.integer >= 0)
			ret_ns[phase] = (uint64_t)t.u.integer;
		else
			return -EBADMSG;
	}
	return 0;
}

static int take_member(struct wire_reader *reader, struct span key, struct wire_result *result)
{
	if (span_is(key, "success"))
		return take_success(reader, &result->success);
	if (span_is(key, "output"))
		return take_bytes(reader, &result->output);
	if (span_is(key, "error"))
		return take_bytes(reader, &result->error);
	if (span_is(key, "metadata"))
		return take_metadata(reader, &result->metadata);
	if (span_is(key, "uniq_id"))
		return take_bytes(reader, &result->uniq_id);
	if (span_is(key, "verdict"))
		return take_verdict(reader, &result->verdict);
	if (span_is(key, "timing"))
		return take_timing(reader, result->timing_ns);
	if (span_is(key, "slot_id"))
		return take_bytes(reader, &result->slot_id);
	return wire_skip(reader, NULL);
}

int wire_result_decode(const void *data, size_t n, struct wire_result *ret_result)
{
	struct wire_result result = {.verdict = TR_UNKNOWN};
	struct wire_reader reader;
	struct wire_token t;

	if (n == 0)
		return -EBADMSG;
	wire_reader_init(&reader, data, n, RESULT_STEPS_MAX);
	if (wire_read(&reader, &t) < 0 || t.type != WIRE_MAP)
		return -EBADMSG;
	for (uint32_t i = 0; i < t.n; i++) {
		struct span key;

		if (read_key(&reader, &key) < 0 || take_member(&reader, key, &result) < 0)
			return -EBADMSG;
	}
	if (reader.at != reader.end)
		return -EBADMSG;
	*ret_result = result;
	return 0;
}
