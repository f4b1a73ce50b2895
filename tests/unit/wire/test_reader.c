/* SPDX-License-Identifier: Apache-2.0 */

/* The pull reader against bytes written by hand and against msgpack-c's packer and unpacker. */

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "pack.h"
#include "wire/reader.h"

#define STEPS 100000

/* Bytes in a block of exactly their size. For free(). */
static uint8_t *block(const void *data, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);

	assert_non_null(copy);
	if (n)
		memcpy(copy, data, n);
	return copy;
}

struct scalar {
	const char *bytes;
	size_t n;
	enum wire_type type;
	int64_t integer;
	double real;
};

#define BYTES(text) text, sizeof(text) - 1

static const struct scalar scalars[] = {
	{BYTES("\xc0"), WIRE_NIL, 0, 0},
	{BYTES("\xc2"), WIRE_BOOL, 0, 0},
	{BYTES("\xc3"), WIRE_BOOL, 1, 0},
	{BYTES("\x00"), WIRE_INT, 0, 0},
	{BYTES("\x7f"), WIRE_INT, 127, 0},
	{BYTES("\xff"), WIRE_INT, -1, 0},
	{BYTES("\xe0"), WIRE_INT, -32, 0},
	{BYTES("\xcc\xff"), WIRE_INT, 255, 0},
	{BYTES("\xcd\x80\x01"), WIRE_INT, 0x8001, 0},
	{BYTES("\xce\x80\x00\x00\x01"), WIRE_INT, 0x80000001, 0},
	{BYTES("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"), WIRE_INT, INT64_MAX, 0},
	{BYTES("\xd0\x80"), WIRE_INT, -128, 0},
	{BYTES("\xd1\x80\x00"), WIRE_INT, -32768, 0},
	{BYTES("\xd2\x80\x00\x00\x00"), WIRE_INT, INT32_MIN, 0},
	{BYTES("\xd3\x80\x00\x00\x00\x00\x00\x00\x00"), WIRE_INT, INT64_MIN, 0},
	{BYTES("\xca\x3f\xc0\x00\x00"), WIRE_FLOAT, 0, 1.5},
	{BYTES("\xcb\xc0\x09\x21\xfb\x54\x44\x2d\x18"), WIRE_FLOAT, 0, -3.141592653589793},
};

/* Every form of a number, boolean and nil has the value the msgpack specification gives it. */
static void test_scalars(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(scalars) / sizeof(scalars[0]); i++) {
		const struct scalar *s = &scalars[i];
		uint8_t *data = block(s->bytes, s->n);
		struct wire_reader r;
		struct wire_token t;

		wire_reader_init(&r, data, s->n, 1);
		assert_int_equal(wire_read(&r, &t), 0);
		assert_int_equal(t.type, s->type);
		if (s->type == WIRE_BOOL)
			assert_int_equal(t.u.boolean, s->integer);
		if (s->type == WIRE_INT)
			assert_true(t.u.integer == s->integer);
		if (s->type == WIRE_FLOAT)
			assert_true(t.u.real == s->real);
		assert_ptr_equal(r.at, r.end);
		free(data);
	}
}

/* An unsigned number that fits no int64_t comes as WIRE_UINT, whole; peeking says so too. */
static void test_uint(void **state)
{
	uint8_t *data = block("\xcf\xff\xff\xff\xff\xff\xff\xff\xfe", 9);
	struct wire_reader r;
	struct wire_token t;
	enum wire_type type;

	(void)state;
	wire_reader_init(&r, data, 9, 1);
	assert_int_equal(wire_peek_type(&r, &type), 0);
	assert_int_equal(type, WIRE_UINT);
	assert_int_equal(wire_read(&r, &t), 0);
	assert_int_equal(t.type, WIRE_UINT);
	assert_true(t.u.natural == UINT64_MAX - 1);
	free(data);
}

struct sized {
	const char *header;
	size_t n_header;
	enum wire_type type;
	uint32_t n;     /* what the header claims */
	size_t n_bytes; /* that must follow it */
};

static const struct sized sized[] = {
	{BYTES("\xa0"), WIRE_STRING, 0, 0},
	{BYTES("\xbf"), WIRE_STRING, 31, 31},
	{BYTES("\xd9\xff"), WIRE_STRING, 255, 255},
	{BYTES("\xda\x01\x00"), WIRE_STRING, 256, 256},
	{BYTES("\xdb\x00\x01\x00\x00"), WIRE_STRING, 65536, 65536},
	{BYTES("\xc4\x01"), WIRE_BINARY, 1, 1},
	{BYTES("\xc5\x00\x02"), WIRE_BINARY, 2, 2},
	{BYTES("\xc6\x00\x00\x00\x03"), WIRE_BINARY, 3, 3},
	{BYTES("\xc7\x02\x09"), WIRE_EXT, 2, 2},
	{BYTES("\xc8\x00\x02\x09"), WIRE_EXT, 2, 2},
	{BYTES("\xc9\x00\x00\x00\x02\x09"), WIRE_EXT, 2, 2},
	{BYTES("\xd4\x09"), WIRE_EXT, 1, 1},
	{BYTES("\xd5\x09"), WIRE_EXT, 2, 2},
	{BYTES("\xd6\x09"), WIRE_EXT, 4, 4},
	{BYTES("\xd7\x09"), WIRE_EXT, 8, 8},
	{BYTES("\xd8\x09"), WIRE_EXT, 16, 16},
	{BYTES("\x80"), WIRE_MAP, 0, 0},
	{BYTES("\x8f"), WIRE_MAP, 15, 30},
	{BYTES("\xde\x01\x00"), WIRE_MAP, 256, 512},
	{BYTES("\xdf\x00\x01\x00\x00"), WIRE_MAP, 65536, 131072},
	{BYTES("\x90"), WIRE_ARRAY, 0, 0},
	{BYTES("\x9f"), WIRE_ARRAY, 15, 15},
	{BYTES("\xdc\x01\x00"), WIRE_ARRAY, 256, 256},
	{BYTES("\xdd\x00\x01\x00\x00"), WIRE_ARRAY, 65536, 65536},
};

/*
 * Strings, binaries, extensions, arrays and maps of every form: read with all that follows them;
 * cut
 * off anywhere up to their header's end, or one byte short of what must follow, it is a truncation,
 * found at the header, and moves nothing.
 */
static void test_sized(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(sized) / sizeof(sized[0]); i++) {
		const struct sized *s = &sized[i];
		size_t n = s->n_header + s->n_bytes;
		bool holds = s->type == WIRE_ARRAY || s->type == WIRE_MAP;
		uint8_t *data = calloc(1, n);
		struct wire_reader r;
		struct wire_token t;

		memcpy(data, s->header, s->n_header);
		wire_reader_init(&r, data, n, STEPS);
		assert_int_equal(wire_read(&r, &t), 0);
		assert_int_equal(t.type, s->type);
		assert_int_equal(t.n, s->n);
		assert_ptr_equal(r.at, holds ? data + s->n_header : data + n);
		if (!holds)
			assert_ptr_equal(t.u.bytes, data + s->n_header);
		wire_reader_init(&r, data, n, 2 * STEPS);
		assert_int_equal(wire_skip(&r, NULL), 0);
		assert_ptr_equal(r.at, data + n);
		free(data);
		data = block(s->header, s->n_header);
		for (size_t less = 0; less < n && less <= s->n_header; less++) {
			wire_reader_init(&r, data, less, STEPS);
			assert_int_equal(wire_read(&r, &t), -EBADMSG);
			assert_int_equal(r.fault, WIRE_TRUNCATED);
			assert_ptr_equal(r.at, data);
		}
		free(data);
		if (s->n_bytes == 0)
			continue;
		data = calloc(1, n - 1);
		memcpy(data, s->header, s->n_header);
		wire_reader_init(&r, data, n - 1, STEPS);
		assert_int_equal(wire_read(&r, &t), -EBADMSG);
		assert_int_equal(r.fault, WIRE_TRUNCATED);
		free(data);
	}
}

/* A first byte alone, each of the 256: whole, cut off, or refused, and never read beyond. */
static void test_every_first_byte(void **state)
{
	(void)state;
	for (unsigned first = 0; first < 256; first++) {
		uint8_t byte = (uint8_t)first;
		uint8_t *data = block(&byte, 1);
		bool whole = first <= 0x80 || first == 0x90 || first == 0xa0 || first == 0xc0 ||
			     first == 0xc2 || first == 0xc3 || first >= 0xe0;
		struct wire_reader r;
		struct wire_token t;

		wire_reader_init(&r, data, 1, 1);
		if (whole) {
			assert_int_equal(wire_read(&r, &t), 0);
		} else {
			assert_int_equal(wire_read(&r, &t), -EBADMSG);
			assert_int_equal(r.fault, first == 0xc1 ? WIRE_RESERVED : WIRE_TRUNCATED);
		}
		free(data);
	}
}

/* Peeking names the type that reading then finds, for every first byte, and refuses 0xc1. */
static void test_peek(void **state)
{
	(void)state;
	for (unsigned first = 0; first < 256; first++) {
		uint8_t data[64] = {(uint8_t)first};
		struct wire_reader r;
		struct wire_token t;
		enum wire_type type;

		wire_reader_init(&r, data, sizeof(data), 1);
		if (first == 0xc1) {
			assert_int_equal(wire_peek_type(&r, &type), -EBADMSG);
			continue;
		}
		assert_int_equal(wire_peek_type(&r, &type), 0);
		assert_ptr_equal(r.at, data);
		assert_int_equal(wire_read(&r, &t), 0);
		assert_int_equal(t.type, type);
	}
}

/* Claims of four thousand million items, pairs or bytes are refused at once, by nothing but them. */
static void test_huge_claims(void **state)
{
	static const uint8_t firsts[] = {0xdd, 0xdf, 0xdb, 0xc6, 0xc9};

	(void)state;
	for (size_t i = 0; i < sizeof(firsts); i++) {
		uint8_t head[5] = {firsts[i], 0xff, 0xff, 0xff, 0xff};
		uint8_t *data = block(head, sizeof(head));
		struct wire_reader r;
		struct wire_token t;

		wire_reader_init(&r, data, sizeof(head), UINT32_MAX);
		assert_int_equal(wire_read(&r, &t), -EBADMSG);
		assert_int_equal(r.fault, WIRE_TRUNCATED);
		assert_int_equal(r.n_steps, UINT32_MAX - 1);
		wire_reader_init(&r, data, sizeof(head), UINT32_MAX);
		assert_int_equal(wire_skip(&r, NULL), -EBADMSG);
		free(data);
	}
}

/* 64 containers inside each other pass, 65 do not; those the caller counted are counted on. */
static void test_depth(void **state)
{
	uint8_t data[WIRE_DEPTH_MAX + 2];
	struct wire_reader r;
	struct span object;

	(void)state;
	memset(data, 0x91, sizeof(data));
	data[WIRE_DEPTH_MAX] = 0xc0;
	wire_reader_init(&r, data, WIRE_DEPTH_MAX + 1, STEPS);
	assert_int_equal(wire_skip(&r, &object), 0);
	assert_int_equal(object.n, WIRE_DEPTH_MAX + 1);

	wire_reader_init(&r, data, WIRE_DEPTH_MAX + 1, STEPS);
	r.depth = 1;
	assert_int_equal(wire_skip(&r, NULL), -EBADMSG);
	assert_int_equal(r.fault, WIRE_TOO_DEEP);

	data[WIRE_DEPTH_MAX] = 0x90;
	wire_reader_init(&r, data, WIRE_DEPTH_MAX + 1, STEPS);
	assert_int_equal(wire_skip(&r, NULL), -EBADMSG);
	assert_int_equal(r.fault, WIRE_TOO_DEEP);

	wire_reader_init(&r, data + WIRE_DEPTH_MAX, 1, STEPS);
	r.depth = UINT32_MAX;
	assert_int_equal(wire_skip(&r, NULL), -EBADMSG);
	assert_int_equal(r.fault, WIRE_TOO_DEEP);
}

/* Siblings do not count as depth: a wide tree passes that has more containers than 64. */
static void test_wide(void **state)
{
	uint8_t data[3 + 2 * 300];
	struct wire_reader r;

	(void)state;
	memcpy(data, "\xdc\x01\x2c", 3);
	for (size_t i = 0; i < 300; i++)
		memcpy(data + 3 + 2 * i, "\x91\x90", 2);
	wire_reader_init(&r, data, sizeof(data), STEPS);
	assert_int_equal(wire_skip(&r, NULL), 0);
	assert_ptr_equal(r.at, r.end);
}

/* Every object is a step: with one less than there are, the reader stops. */
static void test_steps(void **state)
{
	static const uint8_t data[] = {0x82, 0xa1, 'a', 0x92, 1, 2, 0xa1, 'b', 0xc0}; /* 7 */
	struct wire_reader r;

	(void)state;
	wire_reader_init(&r, data, sizeof(data), 7);
	assert_int_equal(wire_skip(&r, NULL), 0);
	assert_int_equal(r.n_steps, 0);
	wire_reader_init(&r, data, sizeof(data), 6);
	assert_int_equal(wire_skip(&r, NULL), -EBADMSG);
	assert_int_equal(r.fault, WIRE_TOO_MANY);
}

/* Keys: short and long strings are taken, anything else is handed back, faults as by wire_read(). */
static void test_read_key(void **state)
{
	static const uint8_t data[] = {0xa2, 'a', 'b', 0xd9, 1, 'c', 0x05, 0xa4, 'x'};
	struct wire_reader r;
	struct wire_token t;
	struct span key = {.data = NULL};

	(void)state;
	wire_reader_init(&r, data, sizeof(data), 3);
	assert_int_equal(wire_read_key(&r, &key, &t), 0);
	assert_true(span_is(key, "ab"));
	assert_int_equal(wire_read_key(&r, &key, &t), 0);
	assert_true(span_is(key, "c"));
	assert_int_equal(wire_read_key(&r, &key, &t), 1);
	assert_int_equal(t.type, WIRE_INT);
	assert_int_equal(wire_read_key(&r, &key, &t), -EBADMSG);
	assert_int_equal(r.fault, WIRE_TOO_MANY);
	r.n_steps = 1;
	assert_int_equal(wire_read_key(&r, &key, &t), -EBADMSG);
	assert_int_equal(r.fault, WIRE_TRUNCATED);
	wire_reader_init(&r, data, sizeof(data), 0);
	assert_int_equal(wire_read_key(&r, &key, &t), -EBADMSG);
	assert_int_equal(r.fault, WIRE_TOO_MANY);
}

static uint64_t seed = 1;

static uint32_t random_below(uint32_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(seed >> 33) % n;
}

static void pack_random(msgpack_packer *p, int depth)
{
	static const char text[70000];
	static const size_t sizes[] = {0, 1, 31, 32, 255, 256, 65535, 65536};
	size_t n = sizes[random_below(8)];
	uint32_t what = random_below(depth < 5 ? 9 : 7);

	switch (what) {
	case 0:
		msgpack_pack_nil(p);
		break;
	case 1:
		random_below(2) ? msgpack_pack_true(p) : msgpack_pack_false(p);
		break;
	case 2:
		msgpack_pack_uint64(p, UINT64_MAX >> random_below(64));
		break;
	case 3:
		msgpack_pack_int64(p, INT64_MIN >> random_below(64));
		break;
	case 4:
		if (random_below(2))
			msgpack_pack_double(p, 1.0 / (1 + random_below(1000)));
		else
			msgpack_pack_float(p, 0.5f * (float)random_below(1000));
		break;
	case 5:
		if (random_below(2))
			msgpack_pack_str_with_body(p, text, n);
		else
			msgpack_pack_bin_with_body(p, text, n);
		break;
	case 6:
		msgpack_pack_ext_with_body(p, text, 1 + random_below(40), 3);
		break;
	case 7:
		n = random_below(20);
		msgpack_pack_array(p, n);
		while (n--)
			pack_random(p, depth + 1);
		break;
	default:
		n = random_below(20);
		msgpack_pack_map(p, n);
		while (n--) {
			pack_random(p, 9);
			pack_random(p, depth + 1);
		}
	}
}

static void same_bytes(const struct wire_token *t, enum wire_type type, const char *ptr, uint32_t n)
{
	assert_int_equal(t->type, type);
	assert_int_equal(t->n, n);
	if (n)
		assert_memory_equal(t->u.bytes, ptr, n);
}

/* Reads what msgpack-c says stands there. */
static void same(struct wire_reader *r, const msgpack_object *o)
{
	struct wire_token t;

	assert_int_equal(wire_read(r, &t), 0);
	switch (o->type) {
	case MSGPACK_OBJECT_NIL:
		assert_int_equal(t.type, WIRE_NIL);
		break;
	case MSGPACK_OBJECT_BOOLEAN:
		assert_int_equal(t.type, WIRE_BOOL);
		assert_int_equal(t.u.boolean, o->via.boolean);
		break;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		assert_int_equal(t.type, o->via.u64 > INT64_MAX ? WIRE_UINT : WIRE_INT);
		assert_true(t.u.natural == o->via.u64);
		break;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		assert_int_equal(t.type, WIRE_INT);
		assert_true(t.u.integer == o->via.i64);
		break;
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		assert_int_equal(t.type, WIRE_FLOAT);
		assert_true(t.u.real == o->via.f64);
		break;
	case MSGPACK_OBJECT_STR:
		same_bytes(&t, WIRE_STRING, o->via.str.ptr, o->via.str.size);
		break;
	case MSGPACK_OBJECT_BIN:
		same_bytes(&t, WIRE_BINARY, o->via.bin.ptr, o->via.bin.size);
		break;
	case MSGPACK_OBJECT_EXT:
		same_bytes(&t, WIRE_EXT, o->via.ext.ptr, o->via.ext.size);
		break;
	case MSGPACK_OBJECT_ARRAY:
		assert_int_equal(t.type, WIRE_ARRAY);
		assert_int_equal(t.n, o->via.array.size);
		for (uint32_t i = 0; i < t.n; i++)
			same(r, &o->via.array.ptr[i]);
		break;
	default:
		assert_int_equal(o->type, MSGPACK_OBJECT_MAP);
		assert_int_equal(t.type, WIRE_MAP);
		assert_int_equal(t.n, o->via.map.size);
		for (uint32_t i = 0; i < t.n; i++) {
			same(r, &o->via.map.ptr[i].key);
			same(r, &o->via.map.ptr[i].val);
		}
	}
}

/* Random trees that msgpack-c packed are read as msgpack-c unpacks them, and skipped whole. */
static void test_random_trees(void **state)
{
	(void)state;
	for (int round = 0; round < 300; round++) {
		msgpack_sbuffer out;
		msgpack_unpacked u;
		msgpack_packer p;
		msgpack_object o;
		struct wire_reader r;
		struct span object;
		uint8_t *data;

		msgpack_sbuffer_init(&out);
		msgpack_packer_init(&p, &out, msgpack_sbuffer_write);
		pack_random(&p, 0);
		data = block(out.data, out.size);
		o = witness(&u, data, out.size);
		wire_reader_init(&r, data, out.size, 1u << 30);
		same(&r, &o);
		assert_ptr_equal(r.at, r.end);
		wire_reader_init(&r, data, out.size, 1u << 30);
		assert_int_equal(wire_skip(&r, &object), 0);
		assert_ptr_equal(object.data, data);
		assert_int_equal(object.n, out.size);
		msgpack_unpacked_destroy(&u);
		msgpack_sbuffer_destroy(&out);
		free(data);
	}
}

/* Random bytes: what the reader takes as an object, msgpack-c takes as the same one. */
static void test_random_bytes(void **state)
{
	unsigned n_taken = 0;

	(void)state;
	for (int round = 0; round < 100000; round++) {
		size_t n = random_below(24), at = 0;
		uint8_t bytes[24], *data;
		struct wire_reader r;
		struct span object;
		msgpack_unpacked u;
		int rc;

		for (size_t i = 0; i < n; i++)
			bytes[i] = (uint8_t)random_below(256);
		data = block(bytes, n);
		wire_reader_init(&r, data, n, STEPS);
		if (wire_skip(&r, &object) == 0) {
			n_taken++;
			msgpack_unpacked_init(&u);
			rc = (int)msgpack_unpack_next(&u, (const char *)data, n, &at);
			assert_true(rc == MSGPACK_UNPACK_SUCCESS ||
				    rc == MSGPACK_UNPACK_EXTRA_BYTES);
			assert_int_equal(at, object.n);
			msgpack_unpacked_destroy(&u);
		}
		free(data);
	}
	assert_true(n_taken > 1000);
}

/* Nothing at no address, as an absent span is, ends before its first object (and is no UB). */
static void test_nothing(void **state)
{
	struct wire_reader r;
	struct wire_token t;

	(void)state;
	wire_reader_init(&r, NULL, 0, 1);
	assert_int_equal(wire_read(&r, &t), -EBADMSG);
	assert_int_equal(r.fault, WIRE_TRUNCATED);
}

/* Texts for people exist for every fault and type. */
static void test_texts(void **state)
{
	(void)state;
	for (int f = WIRE_TRUNCATED; f <= WIRE_TRAILING; f++)
		assert_true(strlen(wire_fault_text((enum wire_fault)f)) > 0);
	for (int t = WIRE_NIL; t <= WIRE_EXT; t++)
		assert_true(strlen(wire_type_text((enum wire_type)t)) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scalars),      cmocka_unit_test(test_uint),
		cmocka_unit_test(test_sized),        cmocka_unit_test(test_every_first_byte),
		cmocka_unit_test(test_peek),         cmocka_unit_test(test_huge_claims),
		cmocka_unit_test(test_depth),        cmocka_unit_test(test_wide),
		cmocka_unit_test(test_steps),        cmocka_unit_test(test_read_key),
		cmocka_unit_test(test_random_trees), cmocka_unit_test(test_random_bytes),
		cmocka_unit_test(test_texts),        cmocka_unit_test(test_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
