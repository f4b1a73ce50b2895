/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_WIRE_PACK_H
#define TESTS_UNIT_WIRE_PACK_H

/* Messages for the tests of src/wire, made and taken apart by msgpack-c: an independent witness. */

#include <assert.h>
#include <msgpack.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/span.h"

/*
 * Appends objects as form says, one letter each, spaces aside: m map and a array, of the number that
 * follows there (* takes an int argument), s string, S string and b binary of bytes and (size_t)
 * length, i int, d double, t true, f false, n nil, e an extension of one byte, r packed bytes
 * (struct span) as they are.
 */
static inline void pack_va(msgpack_sbuffer *out, const char *form, va_list args)
{
	msgpack_packer p;

	msgpack_packer_init(&p, out, msgpack_sbuffer_write);
	for (; *form; form++) {
		const char *s;
		struct span raw;
		char *end;
		size_t n;

		switch (*form) {
		case 'm':
		case 'a':
			n = form[1] == '*' ? (size_t)va_arg(args, int)
					   : strtoul(form + 1, &end, 10);
			if (*form == 'm')
				msgpack_pack_map(&p, n);
			else
				msgpack_pack_array(&p, n);
			form = form[1] == '*' ? form + 1 : end - 1;
			break;
		case 's':
			s = va_arg(args, const char *);
			msgpack_pack_str_with_body(&p, s, strlen(s));
			break;
		case 'S':
			s = va_arg(args, const char *);
			n = va_arg(args, size_t);
			msgpack_pack_str_with_body(&p, s, n);
			break;
		case 'b':
			s = va_arg(args, const char *);
			n = va_arg(args, size_t);
			msgpack_pack_bin_with_body(&p, s, n);
			break;
		case 'i':
			msgpack_pack_int(&p, va_arg(args, int));
			break;
		case 'd':
			msgpack_pack_double(&p, va_arg(args, double));
			break;
		case 't':
			msgpack_pack_true(&p);
			break;
		case 'f':
			msgpack_pack_false(&p);
			break;
		case 'n':
			msgpack_pack_nil(&p);
			break;
		case 'e':
			msgpack_pack_ext_with_body(&p, "x", 1, 7);
			break;
		case 'r':
			raw = va_arg(args, struct span);
			if (raw.n)
				msgpack_sbuffer_write(out, (const char *)raw.data, raw.n);
			break;
		default:
			assert(*form == ' ');
		}
	}
}

/*
 * The objects as one block of exactly their size, so that a sanitizer sees a read past it. For
 * free().
 */
static inline uint8_t *pack(size_t *ret_n, const char *form, ...)
{
	msgpack_sbuffer out;
	uint8_t *data;
	va_list args;

	msgpack_sbuffer_init(&out);
	va_start(args, form);
	pack_va(&out, form, args);
	va_end(args);
	data = malloc(out.size ? out.size : 1);
	assert(data);
	if (out.size)
		memcpy(data, out.data, out.size);
	*ret_n = out.size;
	msgpack_sbuffer_destroy(&out);
	return data;
}

/* What msgpack-c makes of n bytes, which must be one object and no more. Ends the test if not. */
static inline msgpack_object witness(msgpack_unpacked *u, const void *data, size_t n)
{
	size_t at = 0;

	msgpack_unpacked_init(u);
	if (msgpack_unpack_next(u, data, n, &at) != MSGPACK_UNPACK_SUCCESS || at != n) {
		fprintf(stderr, "msgpack-c does not take this as one object\n");
		abort();
	}
	return u->data;
}

static inline bool object_is(const msgpack_object *o, const char *text)
{
	return o && o->type == MSGPACK_OBJECT_STR && o->via.str.size == strlen(text) &&
	       memcmp(o->via.str.ptr, text, strlen(text)) == 0;
}

/* Member of a map, or NULL. */
static inline const msgpack_object *member(const msgpack_object *map, const char *key)
{
	if (!map || map->type != MSGPACK_OBJECT_MAP)
		return NULL;
	for (uint32_t i = 0; i < map->via.map.size; i++)
		if (object_is(&map->via.map.ptr[i].key, key))
			return &map->via.map.ptr[i].val;
	return NULL;
}

#endif
