/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any bytes as the payload of any kind of call. Shows: nothing is read outside the payload; a
 * refusal has a text that may be shown; what passes keeps every promise of wire/call.h, and says
 * the same again when it is encoded and decoded once more.
 */

#include <errno.h>

#include "base/utf8.h"
#include "fuzz.h"
#include "wire/call.h"
#include "wire/writer.h"

/* ---- seeds: the first byte is the kind ------------------------------------------------------------- */

/* Enough of them for a longer header, and policy keys before, between and behind what stays. */
static void write_arguments(msgpack_packer *p)
{
	msgpack_pack_map(p, 17);
	wire_write_string(p, "timeout");
	msgpack_pack_double(p, 2.5);
	wire_write_string(p, "command");
	wire_write_string(p, "ls -l");
	wire_write_string(p, "require_stateful_sandbox");
	msgpack_pack_false(p);
	wire_write_string(p, "background");
	msgpack_pack_true(p);
	wire_write_string(p, "list");
	msgpack_pack_array(p, 2);
	msgpack_pack_nil(p);
	msgpack_pack_int(p, -70000);
	for (char key = 'a'; key < 'a' + 11; key++) {
		wire_write_span(p, span_of(&key, 1));
		msgpack_pack_int(p, key);
	}
	wire_write_string(p, "allow_network");
	msgpack_pack_true(p);
}

static void write_members(msgpack_packer *p, enum tr_kind kind)
{
	switch (kind) {
	case TR_KIND_EXECUTE:
		write_arguments(p);
		break;
	case TR_KIND_ACQUIRE:
		msgpack_pack_map(p, 1);
		wire_write_string(p, "spec");
		msgpack_pack_map(p, 1);
		wire_write_string(p, "network");
		msgpack_pack_true(p);
		break;
	case TR_KIND_RELEASE:
		msgpack_pack_map(p, 1);
		wire_write_string(p, "reset_workspace");
		msgpack_pack_false(p);
		break;
	default:
		msgpack_pack_map(p, kind >= TR_KIND_ARTIFACT_READ ? 2 : 0);
		if (kind < TR_KIND_ARTIFACT_READ)
			break;
		wire_write_string(p, "path");
		wire_write_string(p, "a/b");
		wire_write_string(p, "content");
		msgpack_pack_bin_with_body(p, "xyz", 3);
	}
}

size_t fuzz_seed(unsigned number, uint8_t *data, size_t size)
{
	enum tr_kind kind = (enum tr_kind)(TR_KIND_ACQUIRE + number);
	struct wire_call_fields fields = {
		.kind = kind,
		.trajectory_id = span_string("trajectory-1"),
		.tool = span_string("bash"),
		.uniq_id = span_string("u-1"),
		.timeout_s = 12.5,
	};
	struct buf members, out;
	msgpack_packer p;
	size_t n = 0;

	if (kind > TR_KIND_ARTIFACT_UNPACK)
		return 0;
	if (kind == TR_KIND_STATUS)
		fields.trajectory_id = (struct span){.data = NULL};
	buf_init(&members, size);
	buf_init(&out, size);
	wire_writer_init(&p, &members);
	write_members(&p, kind);
	fields.members = span_of(members.data, members.n);
	FUZZ_CHECK(wire_call_encode(&out, &fields) == 0 && out.n < size);
	data[n++] = (uint8_t)kind;
	memcpy(data + n, out.data, out.n);
	n += out.n;
	buf_deinit(&members);
	buf_deinit(&out);
	return n;
}

/* ---- what holds of every call ------------------------------------------------------------------------ */

static void check_text(struct span s, size_t n_min, size_t n_max)
{
	FUZZ_CHECK(s.n >= n_min && s.n <= n_max);
	FUZZ_CHECK(utf8_valid(s));
	FUZZ_CHECK(!s.n || !memchr(s.data, 0, s.n));
}

static void check_packed_map(struct span map)
{
	struct wire_reader r;
	struct span object;

	if (map.n == 0)
		return;
	wire_reader_init(&r, map.data, map.n, UINT32_MAX);
	FUZZ_CHECK((map.data[0] & 0xf0) == 0x80 || map.data[0] == 0xde || map.data[0] == 0xdf);
	FUZZ_CHECK(wire_skip(&r, &object) == 0);
	FUZZ_CHECK(object.n == map.n);
}

static void check_arguments(const struct wire_call *call)
{
	struct wire_reader r;
	struct wire_token map, t;

	check_packed_map(call->arguments);
	if (call->arguments.n == 0) {
		FUZZ_CHECK(!call->command.data && !call->background);
		return;
	}
	FUZZ_CHECK(fuzz_inside(call->command, call->arguments.data, call->arguments.n));
	wire_reader_init(&r, call->arguments.data, call->arguments.n, UINT32_MAX);
	FUZZ_CHECK(wire_read(&r, &map) == 0);
	for (uint32_t i = 0; i < map.n; i++) {
		struct span key;

		FUZZ_CHECK(wire_read_key(&r, &key, &t) == 0);
		FUZZ_CHECK(!span_is(key, "timeout") && !span_is(key, "allow_network") &&
			   !span_is(key, "require_sandbox") &&
			   !span_is(key, "require_stateful_sandbox"));
		if (span_is(key, "command") && call->command.data) {
			struct wire_reader look = r;

			FUZZ_CHECK(wire_read(&look, &t) == 0 && t.type == WIRE_STRING);
			FUZZ_CHECK(t.u.bytes == call->command.data && t.n == call->command.n);
		}
		FUZZ_CHECK(wire_skip(&r, NULL) == 0);
	}
}

static void check_call(const struct wire_call *call, const uint8_t *payload, size_t n)
{
	const struct span spans[] = {
		call->trajectory_id, call->tool, call->uniq_id, call->arguments,
		call->command,       call->spec, call->path,    call->options,
	};

	for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++)
		FUZZ_CHECK(fuzz_inside(spans[i], payload, n));
	if (call->kind != TR_KIND_STATUS)
		check_text(call->trajectory_id, 1, WIRE_TRAJECTORY_ID_MAX);
	if (call->kind == TR_KIND_EXECUTE)
		check_text(call->tool, 1, WIRE_TOOL_NAME_MAX);
	if (call->kind >= TR_KIND_ARTIFACT_READ)
		check_text(call->path, 1, WIRE_PATH_MAX);
	check_text(call->uniq_id, 0, WIRE_UNIQ_ID_MAX);
	if (call->timeout_given)
		FUZZ_CHECK(call->timeout_s >= WIRE_TIMEOUT_MIN_S &&
			   call->timeout_s <= WIRE_TIMEOUT_MAX_S);
	check_packed_map(call->spec);
	check_packed_map(call->options);
	check_arguments(call);
}

/* Encoded again and decoded again it is the same call. */
static void check_again(const struct wire_call *call)
{
	struct wire_call_fields fields = {
		.kind = call->kind,
		.trajectory_id = call->trajectory_id,
		.tool = call->tool,
		.uniq_id = call->uniq_id,
		.members = call->arguments,
		.timeout_s = call->timeout_given ? call->timeout_s : 0,
	};
	struct wire_error error;
	struct wire_call again;
	struct buf out;

	if (call->kind != TR_KIND_EXECUTE)
		return;
	buf_init(&out, 1 << 24);
	FUZZ_CHECK(wire_call_encode(&out, &fields) == 0);
	FUZZ_CHECK(wire_call_decode(call->kind, out.data, out.n, &again, &error) == 0);
	FUZZ_CHECK(span_equal(again.trajectory_id, call->trajectory_id));
	FUZZ_CHECK(span_equal(again.tool, call->tool));
	FUZZ_CHECK(span_equal(again.uniq_id, call->uniq_id));
	FUZZ_CHECK(span_equal(again.command, call->command));
	FUZZ_CHECK(again.background == call->background);
	FUZZ_CHECK(again.timeout_given == call->timeout_given);
	/* Both are copies of one number, or both were never set. */
	FUZZ_CHECK(memcmp(&again.timeout_s, &call->timeout_s, sizeof(again.timeout_s)) == 0);
	buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct wire_error error;
	struct wire_call call;
	enum tr_kind kind;
	uint8_t *payload;
	int r;

	if (n == 0)
		return 0;
	kind = (enum tr_kind)(data[0] % (TR_N_KINDS + 1));
	payload = fuzz_copy(data + 1, --n);
	memset(&error, 0xff, sizeof(error));
	r = wire_call_decode(kind, payload, n, &call, &error);
	FUZZ_CHECK(r == 0 || r == -EBADMSG);
	if (r < 0) {
		FUZZ_CHECK(memchr(error.text, 0, sizeof(error.text)));
		FUZZ_CHECK(error.text[0] && utf8_valid(span_string(error.text)));
		FUZZ_CHECK(fuzz_inside(call.uniq_id, payload, n));
		check_text(call.uniq_id, 0, WIRE_UNIQ_ID_MAX);
	} else {
		check_call(&call, payload, n);
		check_again(&call);
	}
	free(payload);
	return 0;
}
