/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_WIRE_DECODE_H
#define TESTS_UNIT_WIRE_DECODE_H

/* Decoding calls that are made on the spot, for the tests of wire_call_decode(). */

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/utf8.h"
#include "pack.h"
#include "wire/call.h"

#define COUNT(array) (sizeof(array) / sizeof(array[0]))

static const enum tr_kind callable[] = {
	TR_KIND_ACQUIRE,         TR_KIND_EXECUTE,          TR_KIND_RESET,
	TR_KIND_RELEASE,         TR_KIND_STATUS,           TR_KIND_ARTIFACT_READ,
	TR_KIND_ARTIFACT_LIST,   TR_KIND_ARTIFACT_ARCHIVE, TR_KIND_ARTIFACT_WRITE,
	TR_KIND_ARTIFACT_UNPACK,
};

/* The last message decoded; what call points to. */
static uint8_t *message;
static size_t n_message;
static struct wire_call call;
static struct wire_error error;

static inline int decode_message(enum tr_kind kind)
{
	int r;

	memset(&error, 'x', sizeof(error));
	r = wire_call_decode(kind, message, n_message, &call, &error);
	if (r < 0) {
		assert_int_equal(r, -EBADMSG);
		assert_non_null(memchr(error.text, 0, sizeof(error.text)));
		assert_true(strlen(error.text) > 0);
		assert_true(utf8_valid(span_string(error.text)));
	}
	return r;
}

static inline void make_va(const char *form, va_list args)
{
	msgpack_sbuffer out;

	free(message);
	msgpack_sbuffer_init(&out);
	pack_va(&out, form, args);
	n_message = out.size;
	message = malloc(n_message ? n_message : 1);
	assert_non_null(message);
	if (n_message)
		memcpy(message, out.data, n_message);
	msgpack_sbuffer_destroy(&out);
}

static inline void make(const char *form, ...)
{
	va_list args;

	va_start(args, form);
	make_va(form, args);
	va_end(args);
}

/* Decodes a message that must pass. */
static inline void passes(enum tr_kind kind, const char *form, ...)
{
	va_list args;

	va_start(args, form);
	make_va(form, args);
	va_end(args);
	if (decode_message(kind) < 0)
		fail_msg("refused: %s", error.text);
}

/* Decodes a message that must be refused with a text that holds what is given. */
static inline void refused(enum tr_kind kind, const char *text, const char *form, ...)
{
	va_list args;

	va_start(args, form);
	make_va(form, args);
	va_end(args);
	assert_int_equal(decode_message(kind), -EBADMSG);
	if (!strstr(error.text, text))
		fail_msg("\"%s\" does not say \"%s\"", error.text, text);
}

static inline int teardown(void **state)
{
	(void)state;
	free(message);
	message = NULL;
	return 0;
}

/* Every type there is: its letter for pack(), and how an error names it. */
static const struct {
	char letter;
	const char *name;
} types[] = {
	{'n', "nil"},      {'t', "a boolean"}, {'i', "an integer"},
	{'d', "a float"},  {'s', "a string"},  {'b', "binary"},
	{'a', "an array"}, {'m', "a map"},     {'e', "an extension"},
};

/* One object of a type; strings and containers are empty. For free(). */
static inline uint8_t *object_of(char type, size_t *ret_n)
{
	switch (type) {
	case 'i':
		return pack(ret_n, "i", 1);
	case 'a':
		return pack(ret_n, "a0");
	case 'm':
		return pack(ret_n, "m0");
	case 'd':
		return pack(ret_n, "d", 1.5);
	case 's':
		return pack(ret_n, "s", "");
	case 'b':
		return pack(ret_n, "b", "", (size_t)0);
	default:
		return pack(ret_n, (char[]){type, 0});
	}
}

#endif
