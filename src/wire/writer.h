/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_WRITER_H
#define WIRE_WRITER_H

/*
 * msgpack-c's packer over a struct buf, in two ways: checked, where each call may find the buffer
 * full; and reserved, for what runs once per call, where one buf_reserve() made room for everything
 * and nothing below it can fail.
 */

#include <assert.h>
#include <errno.h>
#include <msgpack/pack.h>
#include <string.h>

#include "base/buf.h"
#include "base/span.h"

static inline int wire_writer_write(void *data, const char *bytes, size_t n)
{
	return buf_append((struct buf *)data, bytes, n);
}

/* Every pack call returns 0 or buf_append()'s error. */
static inline void wire_writer_init(msgpack_packer *p, struct buf *b)
{
	msgpack_packer_init(p, b, wire_writer_write);
}

static inline int wire_write_span(msgpack_packer *p, struct span s)
{
	int r = msgpack_pack_str(p, s.n);

	return r ? r : msgpack_pack_str_body(p, s.data, s.n);
}

static inline int wire_write_string(msgpack_packer *p, const char *s)
{
	return wire_write_span(p, span_string(s));
}

/* ---- reserved ---------------------------------------------------------------------------------- */

/* As buf_reserve(), for one message: what msgpack cannot count is too big as well. */
static inline int wire_reserve(struct buf *b, size_t n)
{
	return n > UINT32_MAX ? -E2BIG : buf_reserve(b, n);
}

static inline void wire_write_packed(struct buf *b, struct span s)
{
	assert(s.n <= b->size - b->n);
	if (s.n)
		memcpy(b->data + b->n, s.data, s.n);
	b->n += s.n;
}

static inline int wire_writer_write_reserved(void *data, const char *bytes, size_t n)
{
	wire_write_packed((struct buf *)data, span_of(bytes, n));
	return 0;
}

/* Every pack call returns 0. */
static inline void wire_writer_init_reserved(msgpack_packer *p, struct buf *b)
{
	msgpack_packer_init(p, b, wire_writer_write_reserved);
}

/* A map's key that is a literal of at most 31 bytes, packed at compile time. */
#define wire_write_key(b, literal)                                                                 \
	do {                                                                                       \
		_Static_assert(sizeof(literal) - 1 <= 31, "a key of one-byte header");             \
		static const struct {                                                              \
			uint8_t header;                                                            \
			char text[sizeof(literal)];                                                \
		} key_ = {0xa0 | (sizeof(literal) - 1), literal};                                  \
		wire_write_packed(b, span_of(&key_, sizeof(literal)));                             \
	} while (0)

#endif
