/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_PAIRS_H
#define BACKEND_LOCAL_PAIRS_H

/* Packed pairs that are counted as they are written. The buffer has room for them: see wire_reserve(). */

#include "wire/writer.h"

struct local_pairs {
	msgpack_packer p;
	struct buf *b;
	uint32_t n;
};

static inline void local_pairs_init(struct local_pairs *pairs, struct buf *b)
{
	pairs->b = b;
	pairs->n = 0;
	wire_writer_init_reserved(&pairs->p, b);
}

/* A key that is a literal; its value is to follow. */
#define local_pair_key(pairs, key)                                                                 \
	do {                                                                                       \
		wire_write_key((pairs)->b, key);                                                   \
		(pairs)->n++;                                                                      \
	} while (0)

static inline void local_pack_bool(struct local_pairs *pairs, bool value)
{
	if (value)
		msgpack_pack_true(&pairs->p);
	else
		msgpack_pack_false(&pairs->p);
}

static inline void local_pack_text_or_nil(struct local_pairs *pairs, const char *text)
{
	if (text)
		wire_write_string(&pairs->p, text);
	else
		msgpack_pack_nil(&pairs->p);
}

#define local_pair_bool(pairs, key, value)                                                         \
	do {                                                                                       \
		local_pair_key(pairs, key);                                                        \
		local_pack_bool(pairs, value);                                                     \
	} while (0)
#define local_pair_int(pairs, key, value)                                                          \
	do {                                                                                       \
		local_pair_key(pairs, key);                                                        \
		msgpack_pack_int64(&(pairs)->p, value);                                            \
	} while (0)
#define local_pair_uint(pairs, key, value)                                                         \
	do {                                                                                       \
		local_pair_key(pairs, key);                                                        \
		msgpack_pack_uint64(&(pairs)->p, value);                                           \
	} while (0)
#define local_pair_span(pairs, key, value)                                                         \
	do {                                                                                       \
		local_pair_key(pairs, key);                                                        \
		wire_write_span(&(pairs)->p, value);                                               \
	} while (0)
/* NULL: nil. */
#define local_pair_text(pairs, key, value)                                                         \
	do {                                                                                       \
		local_pair_key(pairs, key);                                                        \
		local_pack_text_or_nil(pairs, value);                                              \
	} while (0)

#endif
