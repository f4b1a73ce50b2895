/* SPDX-License-Identifier: Apache-2.0 */
/* Values to msgpack and back. */
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "wire/reader.h"
#include "wire/writer.h"

#define DEPTH_MAX 64

/* ---- constructors ---------------------------------------------------------------------------------- */

struct tr_value tr_string(const char *s)
{
	return s ? tr_string_n(s, strlen(s)) : (struct tr_value){.type = TR_NIL};
}

struct tr_value tr_string_n(const char *s, size_t n)
{
	return (struct tr_value){.type = TR_STRING, .n = n, .u.string = s};
}

struct tr_value tr_binary(const void *data, size_t n)
{
	return (struct tr_value){.type = TR_BINARY, .n = n, .u.binary = data};
}

struct tr_value tr_int(int64_t i)
{
	return (struct tr_value){.type = TR_INT, .u.integer = i};
}

struct tr_value tr_float(double d)
{
	return (struct tr_value){.type = TR_FLOAT, .u.real = d};
}

struct tr_value tr_bool(bool b)
{
	return (struct tr_value){.type = TR_BOOL, .u.boolean = b};
}

struct tr_value tr_array(const struct tr_value *items, size_t n)
{
	return (struct tr_value){.type = TR_ARRAY, .n = n, .u.items = items};
}

struct tr_value tr_map(const struct tr_member *members, size_t n)
{
	return (struct tr_value){.type = TR_MAP, .n = n, .u.members = members};
}

/* ---- packing ---------------------------------------------------------------------------------------- */

static int pack_value(msgpack_packer *p, const struct tr_value *v, unsigned depth);

static int pack_members(msgpack_packer *p, const struct tr_member *members, size_t n,
			unsigned depth)
{
	for (size_t i = 0; i < n; i++) {
		int r;

		if (!members[i].key)
			return -EINVAL;
		r = wire_write_string(p, members[i].key);
		if (r == 0)
			r = pack_value(p, &members[i].value, depth);
		if (r < 0)
			return r;
	}
	return 0;
}

static int pack_items(msgpack_packer *p, const struct tr_value *v, unsigned depth)
{
	int r = msgpack_pack_array(p, v->n);

	for (size_t i = 0; r == 0 && i < v->n; i++)
		r = pack_value(p, &v->u.items[i], depth);
	return r;
}

/* Recursion ends at DEPTH_MAX. */
static int pack_value(msgpack_packer *p, const struct tr_value *v, unsigned depth)
{
	int r;

	if (v->n > UINT32_MAX && v->type >= TR_STRING)
		return -E2BIG;
	if ((v->type == TR_ARRAY || v->type == TR_MAP) && depth == DEPTH_MAX)
		return -EINVAL;
	switch (v->type) {
	case TR_NIL:
		return msgpack_pack_nil(p);
	case TR_BOOL:
		return v->u.boolean ? msgpack_pack_true(p) : msgpack_pack_false(p);
	case TR_INT:
		return msgpack_pack_int64(p, v->u.integer);
	case TR_UINT:
		return msgpack_pack_uint64(p, v->u.natural);
	case TR_FLOAT:
		return msgpack_pack_double(p, v->u.real);
	case TR_STRING:
		return wire_write_span(p, span_of(v->u.string, v->n));
	case TR_BINARY:
		r = msgpack_pack_bin(p, v->n);
		return r ? r : msgpack_pack_bin_body(p, v->u.binary, v->n);
	case TR_ARRAY:
		return pack_items(p, v, depth + 1);
	case TR_MAP:
		r = msgpack_pack_map(p, v->n);
		return r ? r : pack_members(p, v->u.members, v->n, depth + 1);
	default:
		return -EINVAL;
	}
}

int value_pack(struct buf *b, const struct tr_value *value)
{
	msgpack_packer p;

	wire_writer_init(&p, b);
	return pack_value(&p, value, 0);
}

int value_pack_members(struct buf *b, const struct tr_member *first, size_t n_first,
		       const struct tr_value *more)
{
	size_t n_more = more && more->type == TR_MAP ? more->n : 0;
	msgpack_packer p;
	int r;

	if (n_more > UINT32_MAX - n_first)
		return -E2BIG;
	wire_writer_init(&p, b);
	r = msgpack_pack_map(&p, n_first + n_more);
	if (r == 0)
		r = pack_members(&p, first, n_first, 1);
	if (r == 0 && n_more)
		r = pack_members(&p, more->u.members, n_more, 1);
	return r;
}

int tr_value_pack(const struct tr_value *value, void **ret_data, size_t *ret_n)
{
	struct buf b;
	int r;

	if (!value || !ret_data || !ret_n)
		return -EINVAL;
	buf_init(&b, CLIENT_BUF_MAX);
	r = value_pack(&b, value);
	if (r < 0) {
		buf_deinit(&b);
		return r;
	}
	*ret_data = b.data;
	*ret_n = b.n;
	return 0;
}

/* ---- parsing ----------------------------------------------------------------------------------------- */

/*
 * The same walk twice: first it counts, so that a length is believed only when the bytes for it are
 * there; then it fills one block of values, members and bytes, the root at its start.
 */
struct block {
	bool fill;
	struct tr_value *values;
	struct tr_member *members;
	char *bytes;
	size_t n_values; /* used so far; after the first walk, how many it takes */
	size_t n_members;
	size_t n_bytes;
};

/* An array or map whose items are being read. */
struct frame {
	bool map;
	uint32_t left;
	size_t next; /* index of its next value or member */
};

static const char *block_bytes(struct block *b, const uint8_t *bytes, size_t n)
{
	size_t at = b->n_bytes;
	char *to;

	b->n_bytes += n + 1;
	if (!b->fill)
		return NULL;
	to = b->bytes + at;
	if (n)
		memcpy(to, bytes, n);
	to[n] = 0;
	return to;
}

/* One value, whose items, if it has any, follow; their place is set aside. */
static int block_value(struct block *b, const struct wire_token *t, struct tr_value *ret_value,
		       struct frame *ret_frame)
{
	struct tr_value v = {.n = t->n};

	*ret_frame = (struct frame){.map = t->type == WIRE_MAP};
	switch (t->type) {
	case WIRE_NIL:
		v = (struct tr_value){.type = TR_NIL};
		break;
	case WIRE_BOOL:
		v = tr_bool(t->u.boolean);
		break;
	case WIRE_INT:
		v = tr_int(t->u.integer);
		break;
	case WIRE_UINT:
		v = (struct tr_value){.type = TR_UINT, .u.natural = t->u.natural};
		break;
	case WIRE_FLOAT:
		v = tr_float(t->u.real);
		break;
	case WIRE_STRING:
		v.type = TR_STRING;
		v.u.string = block_bytes(b, t->u.bytes, t->n);
		break;
	case WIRE_BINARY:
		v.type = TR_BINARY;
		v.u.binary = block_bytes(b, t->u.bytes, t->n);
		break;
	case WIRE_ARRAY:
		v.type = TR_ARRAY;
		v.u.items = b->fill ? b->values + b->n_values : NULL;
		*ret_frame = (struct frame){.left = t->n, .next = b->n_values};
		b->n_values += t->n;
		break;
	case WIRE_MAP:
		v.type = TR_MAP;
		v.u.members = b->fill ? b->members + b->n_members : NULL;
		*ret_frame = (struct frame){.map = true, .left = t->n, .next = b->n_members};
		b->n_members += t->n;
		break;
	default:
		return -EBADMSG; /* extension types have no value here */
	}
	*ret_value = v;
	return 0;
}

/* Where the next value of a frame goes; reads the key before it. */
static int frame_next(struct block *b, struct frame *f, struct wire_reader *reader,
		      struct tr_value **ret_to)
{
	size_t at = f->next++;
	struct wire_token key;
	const char *text;

	f->left--;
	if (!f->map) {
		*ret_to = b->fill ? &b->values[at] : NULL;
		return 0;
	}
	if (wire_read(reader, &key) < 0 || key.type != WIRE_STRING ||
	    (key.n && memchr(key.u.bytes, 0, key.n)))
		return -EBADMSG;
	text = block_bytes(b, key.u.bytes, key.n);
	if (b->fill)
		b->members[at].key = text;
	*ret_to = b->fill ? &b->members[at].value : NULL;
	return 0;
}

static int block_walk(struct block *b, const void *data, size_t n)
{
	struct frame frames[DEPTH_MAX];
	struct wire_reader reader;
	struct tr_value *to = b->fill ? b->values : NULL;
	unsigned depth = 0;

	wire_reader_init(&reader, data, n, UINT32_MAX);
	b->n_values = 1;
	b->n_members = 0;
	b->n_bytes = 0;
	for (;;) {
		struct wire_token t;
		struct tr_value v;
		struct frame f;

		if (wire_read(&reader, &t) < 0 || block_value(b, &t, &v, &f) < 0)
			return -EBADMSG;
		if (to)
			*to = v;
		if (v.type == TR_ARRAY || v.type == TR_MAP) {
			if (depth == DEPTH_MAX)
				return -EBADMSG;
			frames[depth++] = f;
		}
		while (depth && !frames[depth - 1].left)
			depth--;
		if (!depth)
			return reader.at == reader.end ? 0 : -EBADMSG;
		if (frame_next(b, &frames[depth - 1], &reader, &to) < 0)
			return -EBADMSG;
	}
}

int tr_value_parse(const void *data, size_t n, struct tr_value **ret_value)
{
	struct block b = {.fill = false};
	size_t n_values, n_members;
	uint8_t *block;

	if ((n && !data) || !ret_value)
		return -EINVAL;
	if (block_walk(&b, data, n) < 0)
		return -EBADMSG;
	n_values = b.n_values * sizeof(struct tr_value);
	n_members = b.n_members * sizeof(struct tr_member);
	block = malloc(n_values + n_members + b.n_bytes);
	if (!block)
		return -ENOMEM;
	b.fill = true;
	b.values = (struct tr_value *)(void *)block;
	b.members = (struct tr_member *)(void *)(block + n_values);
	b.bytes = (char *)(block + n_values + n_members);
	block_walk(&b, data, n);
	*ret_value = b.values;
	return 0;
}

void tr_value_free(struct tr_value *value)
{
	free(value);
}

const struct tr_value *tr_value_get(const struct tr_value *value, const char *key)
{
	if (!value || !key || value->type != TR_MAP)
		return NULL;
	for (size_t i = 0; i < value->n; i++)
		if (strcmp(value->u.members[i].key, key) == 0)
			return &value->u.members[i].value;
	return NULL;
}
