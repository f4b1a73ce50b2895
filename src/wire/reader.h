/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_READER_H
#define WIRE_READER_H

/*
 * A msgpack pull reader over memory that nobody else can change.
 *
 * By hand, because msgpack-c's unpacker allocates an array of as many elements as a five-byte header
 * claims; this one allocates nothing, never believes a length before the bytes are there, does not
 * recurse, and stops after a given number of steps (objects). Writing uses msgpack-c (writer.h).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

enum wire_type {
	WIRE_NIL,
	WIRE_BOOL,
	WIRE_INT,  /* fits int64_t */
	WIRE_UINT, /* only what is above INT64_MAX */
	WIRE_FLOAT,
	WIRE_STRING,
	WIRE_BINARY,
	WIRE_ARRAY, /* n items follow */
	WIRE_MAP,   /* n pairs follow */
	WIRE_EXT,
};

struct wire_token {
	enum wire_type type;
	uint32_t n; /* bytes of string, binary, ext; items of array; pairs of map */
	union {
		bool boolean;
		int64_t integer;
		uint64_t natural;
		double real;
		const uint8_t *bytes;
	} u;
};

/* What is wrong with a message, beside -EBADMSG. */
enum wire_fault {
	WIRE_TRUNCATED = 1, /* ends inside an object */
	WIRE_RESERVED,      /* the byte 0xc1 */
	WIRE_TOO_DEEP,
	WIRE_TOO_MANY, /* the step budget is used up */
	WIRE_TRAILING, /* bytes after the object */
};

#define WIRE_DEPTH_MAX 64

struct wire_reader {
	const uint8_t *at;
	const uint8_t *end;
	uint32_t n_steps; /* left */
	uint32_t depth; /* containers the caller is inside of, if it counts: wire_skip() goes on */
	enum wire_fault fault;
};

void wire_reader_init(struct wire_reader *r, const void *data, size_t n, uint32_t n_steps_max);

/* Next token, entering arrays and maps. -EBADMSG with r->fault. */
int wire_read(struct wire_reader *r, struct wire_token *ret_token);

/*
 * The next token if it is a string; as good as every key is a short one, so this is inline. 1: it is
 * not a string, and what it is stands in ret_token; 0; -EBADMSG with r->fault.
 */
static inline int wire_read_key(struct wire_reader *r, struct span *ret_key,
				struct wire_token *ret_token)
{
	int rc;

	if (r->end - r->at > 0 && (*r->at & 0xe0) == 0xa0 && r->n_steps) {
		size_t n = *r->at & 0x1f;

		if ((size_t)(r->end - r->at) > n) {
			*ret_key = span_of(r->at + 1, n);
			r->at += 1 + n;
			r->n_steps--;
			return 0;
		}
	}
	rc = wire_read(r, ret_token);
	if (rc < 0)
		return rc;
	if (ret_token->type != WIRE_STRING)
		return 1;
	*ret_key = span_of(ret_token->u.bytes, ret_token->n);
	return 0;
}

/*
 * Skips one whole object and says where it lies (may be NULL). At most WIRE_DEPTH_MAX containers
 * inside each other, r->depth included.
 */
int wire_skip(struct wire_reader *r, struct span *ret_object);

/* What the object at the present position is, without moving. -EBADMSG at the end. */
int wire_peek_type(const struct wire_reader *r, enum wire_type *ret_type);

const char *wire_fault_text(enum wire_fault fault);
const char *wire_type_text(enum wire_type type); /* "a string", "a map", ... */

#endif
