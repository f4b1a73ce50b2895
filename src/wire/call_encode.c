/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/call.h"

#include <errno.h>

#include "wire/writer.h"

/* Packed bytes of everything in a call but what the caller gives. */
#define CALL_OVERHEAD 128

/* The members as packed pairs without the map's header. */
static int members_of(struct span map, struct span *ret_pairs, uint32_t *ret_n_pairs)
{
	struct wire_reader reader;
	struct wire_token t;

	if (map.n == 0) {
		*ret_pairs = (struct span){.data = NULL};
		*ret_n_pairs = 0;
		return 0;
	}
	wire_reader_init(&reader, map.data, map.n, UINT32_MAX);
	if (wire_skip(&reader, NULL) < 0 || reader.at != reader.end)
		return -EBADMSG;
	wire_reader_init(&reader, map.data, map.n, 1);
	if (wire_read(&reader, &t) < 0 || t.type != WIRE_MAP)
		return -EBADMSG;
	*ret_pairs = span_of(reader.at, (size_t)(reader.end - reader.at));
	*ret_n_pairs = t.n;
	return 0;
}

int wire_call_encode(struct buf *b, const struct wire_call_fields *call)
{
	bool execute = call->kind == TR_KIND_EXECUTE;
	bool timeout = execute && call->timeout_s != 0;
	uint32_t n_members;
	struct span members;
	msgpack_packer p;
	int r;

	r = members_of(call->members, &members, &n_members);
	if (r < 0)
		return r;
	r = wire_reserve(b, CALL_OVERHEAD + call->trajectory_id.n + call->tool.n + call->uniq_id.n +
				    call->members.n);
	if (r < 0)
		return r;
	wire_writer_init_reserved(&p, b);
	msgpack_pack_map(&p, (call->trajectory_id.data ? 1u : 0) + (timeout ? 1u : 0) +
				     (execute ? 1u : n_members));
	if (call->trajectory_id.data) {
		wire_write_key(b, "trajectory_id");
		wire_write_span(&p, call->trajectory_id);
	}
	if (execute) {
		wire_write_key(b, "tool");
		msgpack_pack_map(&p,
				 (call->tool.data ? 1u : 0) + 1u + (call->uniq_id.data ? 1u : 0));
		if (call->tool.data) {
			wire_write_key(b, "name");
			wire_write_span(&p, call->tool);
		}
		if (call->uniq_id.data) {
			wire_write_key(b, "uniq_id");
			wire_write_span(&p, call->uniq_id);
		}
		wire_write_key(b, "arguments");
		msgpack_pack_map(&p, n_members);
	}
	wire_write_packed(b, members);
	if (timeout) {
		wire_write_key(b, "timeout_s");
		msgpack_pack_double(&p, call->timeout_s);
	}
	return 0;
}
