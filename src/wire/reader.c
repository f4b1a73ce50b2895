/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/reader.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* What follows a first byte from 0xc0 to 0xdf. */
struct form {
	uint8_t type;    /* enum wire_type */
	uint8_t n_extra; /* bytes of the number behind it: a value or a length */
};

static const struct form forms[32] = {
	[0xc0 - 0xc0] = {WIRE_NIL, 0},    [0xc2 - 0xc0] = {WIRE_BOOL, 0},
	[0xc3 - 0xc0] = {WIRE_BOOL, 0},   [0xc4 - 0xc0] = {WIRE_BINARY, 1},
	[0xc5 - 0xc0] = {WIRE_BINARY, 2}, [0xc6 - 0xc0] = {WIRE_BINARY, 4},
	[0xc7 - 0xc0] = {WIRE_EXT, 1},    [0xc8 - 0xc0] = {WIRE_EXT, 2},
	[0xc9 - 0xc0] = {WIRE_EXT, 4},    [0xca - 0xc0] = {WIRE_FLOAT, 4},
	[0xcb - 0xc0] = {WIRE_FLOAT, 8},  [0xcc - 0xc0] = {WIRE_INT, 1},
	[0xcd - 0xc0] = {WIRE_INT, 2},    [0xce - 0xc0] = {WIRE_INT, 4},
	[0xcf - 0xc0] = {WIRE_INT, 8},    [0xd0 - 0xc0] = {WIRE_INT, 1},
	[0xd1 - 0xc0] = {WIRE_INT, 2},    [0xd2 - 0xc0] = {WIRE_INT, 4},
	[0xd3 - 0xc0] = {WIRE_INT, 8},    [0xd4 - 0xc0] = {WIRE_EXT, 0},
	[0xd5 - 0xc0] = {WIRE_EXT, 0},    [0xd6 - 0xc0] = {WIRE_EXT, 0},
	[0xd7 - 0xc0] = {WIRE_EXT, 0},    [0xd8 - 0xc0] = {WIRE_EXT, 0},
	[0xd9 - 0xc0] = {WIRE_STRING, 1}, [0xda - 0xc0] = {WIRE_STRING, 2},
	[0xdb - 0xc0] = {WIRE_STRING, 4}, [0xdc - 0xc0] = {WIRE_ARRAY, 2},
	[0xdd - 0xc0] = {WIRE_ARRAY, 4},  [0xde - 0xc0] = {WIRE_MAP, 2},
	[0xdf - 0xc0] = {WIRE_MAP, 4},
};

#define RESERVED_BYTE 0xc1

void wire_reader_init(struct wire_reader *r, const void *data, size_t n, uint32_t n_steps_max)
{
	const uint8_t *bytes = data;

	/* C does not let even 0 be added to NULL. */
	*r = (struct wire_reader){
		.at = bytes, .end = n ? bytes + n : bytes, .n_steps = n_steps_max};
}

static int fault(struct wire_reader *r, enum wire_fault f)
{
	r->fault = f;
	return -EBADMSG;
}

/* A big-endian number of 0, 1, 2, 4 or 8 bytes. */
static uint64_t read_number(const uint8_t *at, unsigned n)
{
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;

	switch (n) {
	case 1:
		return *at;
	case 2:
		memcpy(&u16, at, 2);
		return be16toh(u16);
	case 4:
		memcpy(&u32, at, 4);
		return be32toh(u32);
	case 8:
		memcpy(&u64, at, 8);
		return be64toh(u64);
	default:
		return 0;
	}
}

static void take_integer(struct wire_token *t, uint8_t first, uint64_t number)
{
	t->type = WIRE_INT;
	switch (first) {
	case 0xd0:
		t->u.integer = (int8_t)number;
		break;
	case 0xd1:
		t->u.integer = (int16_t)number;
		break;
	case 0xd2:
		t->u.integer = (int32_t)number;
		break;
	default:
		t->u.integer = (int64_t)number;
		break;
	case 0xcf:
		if (number > INT64_MAX)
			t->type = WIRE_UINT;
		/* The same bits either way. */
		t->u.natural = number;
	}
}

static void take_float(struct wire_token *t, uint8_t first, uint64_t number)
{
	uint32_t bits = (uint32_t)number;
	float single;

	if (first == 0xca) {
		memcpy(&single, &bits, sizeof(single));
		t->u.real = (double)single;
	} else {
		memcpy(&t->u.real, &number, sizeof(t->u.real));
	}
}

/* A string, binary or ext of n bytes, of which n_head (an ext's type) come before its data. */
static int take_bytes(struct wire_reader *r, struct wire_token *t, enum wire_type type,
		      const uint8_t *at, uint64_t n, unsigned n_head)
{
	if ((uint64_t)(r->end - at) < n + n_head)
		return fault(r, WIRE_TRUNCATED);
	t->type = type;
	t->n = (uint32_t)n;
	t->u.bytes = at + n_head;
	r->at = at + n_head + n;
	return 0;
}

/* An array or map: n is believed only if as many bytes are there, so a lie is found at once. */
static int take_items(struct wire_reader *r, struct wire_token *t, enum wire_type type,
		      const uint8_t *at, uint64_t n)
{
	if ((uint64_t)(r->end - at) < (type == WIRE_MAP ? 2 * n : n))
		return fault(r, WIRE_TRUNCATED);
	t->type = type;
	t->n = (uint32_t)n;
	r->at = at;
	return 0;
}

/* The forms with a first byte from 0xc0 to 0xdf; at is behind it. */
static int read_form(struct wire_reader *r, struct wire_token *t, uint8_t first, const uint8_t *at)
{
	const struct form *form = &forms[first - 0xc0];
	enum wire_type type = (enum wire_type)form->type;
	uint64_t number;

	if (first == RESERVED_BYTE)
		return fault(r, WIRE_RESERVED);
	if (r->end - at < form->n_extra)
		return fault(r, WIRE_TRUNCATED);
	number = read_number(at, form->n_extra);
	at += form->n_extra;
	switch (type) {
	case WIRE_STRING:
	case WIRE_BINARY:
		return take_bytes(r, t, type, at, number, 0);
	case WIRE_EXT:
		if (first >= 0xd4)
			number = UINT64_C(1) << (first - 0xd4);
		return take_bytes(r, t, type, at, number, 1);
	case WIRE_ARRAY:
	case WIRE_MAP:
		return take_items(r, t, type, at, number);
	default:
		break;
	}
	t->type = type;
	t->n = 0;
	switch (type) {
	case WIRE_BOOL:
		t->u.boolean = first == 0xc3;
		break;
	case WIRE_FLOAT:
		take_float(t, first, number);
		break;
	case WIRE_NIL:
		break;
	default:
		take_integer(t, first, number);
	}
	r->at = at;
	return 0;
}

static inline int read_token(struct wire_reader *r, struct wire_token *t)
{
	const uint8_t *at = r->at;
	uint8_t first;

	if (at == r->end)
		return fault(r, WIRE_TRUNCATED);
	if (r->n_steps == 0)
		return fault(r, WIRE_TOO_MANY);
	r->n_steps--;
	first = *at++;
	if (first >= 0xa0 && first <= 0xbf)
		return take_bytes(r, t, WIRE_STRING, at, first & 0x1f, 0);
	if (first <= 0x7f || first >= 0xe0) {
		t->type = WIRE_INT;
		t->n = 0;
		t->u.integer = (int8_t)first;
		r->at = at;
		return 0;
	}
	if (first <= 0x8f)
		return take_items(r, t, WIRE_MAP, at, first & 0x0f);
	if (first <= 0x9f)
		return take_items(r, t, WIRE_ARRAY, at, first & 0x0f);
	return read_form(r, t, first, at);
}

int wire_read(struct wire_reader *r, struct wire_token *ret_token)
{
	return read_token(r, ret_token);
}

static bool is_container(const struct wire_token *t)
{
	return t->type == WIRE_ARRAY || t->type == WIRE_MAP;
}

/* The n_first objects of a container that has just been entered, and all inside them. */
static int skip_inside(struct wire_reader *r, uint64_t n_first)
{
	uint64_t left[WIRE_DEPTH_MAX + 1]; /* objects still to come, by depth */
	uint32_t depth_max = r->depth < WIRE_DEPTH_MAX ? WIRE_DEPTH_MAX - r->depth : 0;
	uint32_t depth = 1;
	struct wire_token t;
	int rc;

	if (depth > depth_max)
		return fault(r, WIRE_TOO_DEEP);
	left[1] = n_first;
	for (;;) {
		while (left[depth] == 0)
			if (--depth == 0)
				return 0;
		left[depth]--;
		rc = read_token(r, &t);
		if (rc < 0)
			return rc;
		if (!is_container(&t))
			continue;
		if (depth == depth_max)
			return fault(r, WIRE_TOO_DEEP);
		left[++depth] = t.type == WIRE_MAP ? 2 * (uint64_t)t.n : t.n;
	}
}

int wire_skip(struct wire_reader *r, struct span *ret_object)
{
	const uint8_t *start = r->at;
	struct wire_token t;
	int rc;

	rc = read_token(r, &t);
	if (rc == 0 && is_container(&t))
		rc = skip_inside(r, t.type == WIRE_MAP ? 2 * (uint64_t)t.n : t.n);
	if (rc < 0)
		return rc;
	if (ret_object)
		*ret_object = span_of(start, (size_t)(r->at - start));
	return 0;
}

int wire_peek_type(const struct wire_reader *r, enum wire_type *ret_type)
{
	uint8_t first;

	if (r->at == r->end || *r->at == RESERVED_BYTE)
		return -EBADMSG;
	first = *r->at;
	if (first <= 0x7f || first >= 0xe0)
		*ret_type = WIRE_INT;
	else if (first <= 0x8f)
		*ret_type = WIRE_MAP;
	else if (first <= 0x9f)
		*ret_type = WIRE_ARRAY;
	else if (first <= 0xbf)
		*ret_type = WIRE_STRING;
	else if (first == 0xcf && r->end - r->at > 1 && r->at[1] > 0x7f)
		*ret_type = WIRE_UINT;
	else
		*ret_type = (enum wire_type)forms[first - 0xc0].type;
	return 0;
}

const char *wire_fault_text(enum wire_fault fault)
{
	static const char *const texts[] = {
		[WIRE_TRUNCATED] = "it ends inside an object",
		[WIRE_RESERVED] = "it holds the byte 0xc1, which msgpack never uses",
		[WIRE_TOO_DEEP] = "it nests deeper than 64 levels",
		[WIRE_TOO_MANY] = "it holds too many objects",
		[WIRE_TRAILING] = "bytes follow where it should end",
	};
	_Static_assert(WIRE_DEPTH_MAX == 64, "the text names it");

	if (fault < WIRE_TRUNCATED || fault > WIRE_TRAILING)
		return "nothing is wrong";
	return texts[fault];
}

const char *wire_type_text(enum wire_type type)
{
	static const char *const texts[] = {
		[WIRE_NIL] = "nil",          [WIRE_BOOL] = "a boolean", [WIRE_INT] = "an integer",
		[WIRE_UINT] = "an integer",  [WIRE_FLOAT] = "a float",  [WIRE_STRING] = "a string",
		[WIRE_BINARY] = "binary",    [WIRE_ARRAY] = "an array", [WIRE_MAP] = "a map",
		[WIRE_EXT] = "an extension",
	};

	return texts[type];
}
