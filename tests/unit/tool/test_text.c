/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What bash's output is shown as, by hand; text_oracle.py holds the same functions against Python's
 * own with bytes made at random.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/utf8.h"
#include "tool/slot/text.h"

#define TRUNCATED "\n... (output truncated)"
#define N_MAX     8

static struct text_stream nothing;

static struct text_stream stream(const char *bytes, size_t n, bool more)
{
	return (struct text_stream){.bytes = span_of(bytes, n), .more = more};
}

#define STREAM(literal)      stream(literal, sizeof(literal) - 1, false)
#define STREAM_MORE(literal) stream(literal, sizeof(literal) - 1, true)

static void check(struct text_stream standard, struct text_stream errors, const char *expected,
		  size_t n)
{
	struct buf out;

	buf_init(&out, 2 * (4 * N_MAX) + 64);
	assert_int_equal(buf_append(&out, " x", 2), 0); /* what stood there before is left alone */
	assert_int_equal(text_show(&out, &standard, &errors, N_MAX), 0);
	assert_int_equal(out.n, n + 2);
	assert_memory_equal(out.data, " x", 2);
	assert_memory_equal(out.data + 2, expected, n);
	assert_true(utf8_valid(span_of(out.data, out.n)));
	buf_deinit(&out);
}

#define CHECK(standard, errors, literal) check(standard, errors, literal, sizeof(literal) - 1)

/* Both streams, one of them, none. */
static void test_streams(void **state)
{
	(void)state;
	CHECK(nothing, nothing, "");
	CHECK(STREAM("out\n"), nothing, "out");
	CHECK(nothing, STREAM("err\n"), "err");
	CHECK(STREAM("out\n"), STREAM("err\n"), "out\n\n[stderr]\nerr");
	CHECK(STREAM("\n"), STREAM("err\n"), "[stderr]\nerr");
	CHECK(STREAM("out\n"), STREAM("\n"), "out\n\n[stderr]");
}

/* The limit counts characters, of each stream alone; the note stands where there was more. */
static void test_limit(void **state)
{
	(void)state;
	CHECK(STREAM("12345678"), nothing, "12345678");
	CHECK(STREAM("123456789"), nothing, "12345678" TRUNCATED);
	CHECK(STREAM("1234567\n"), STREAM("123456789"), "1234567\n\n[stderr]\n12345678" TRUNCATED);
	CHECK(STREAM("\xe2\x9c\x93\xe2\x9c\x93\xe2\x9c\x93\xe2\x9c\x93 678"), nothing,
	      "\xe2\x9c\x93\xe2\x9c\x93\xe2\x9c\x93\xe2\x9c\x93 678");
	CHECK(STREAM_MORE("1234"), nothing, "1234" TRUNCATED);
	CHECK(STREAM_MORE("1234\xe2\x9c"), nothing, "1234" TRUNCATED);
	CHECK(STREAM("1234\xe2\x9c"), nothing, "1234\xef\xbf\xbd");
	CHECK(STREAM("        9"), nothing, "... (output truncated)");
}

/* Each stream is told to be cut if its note stands, and not else, whatever it was told before. */
static void test_cut(void **state)
{
	static const struct {
		const char *standard, *errors;
		bool more, standard_is_cut, errors_is_cut;
	} cases[] = {
		{"", "", false, false, false},
		{"12345678", "12345678", false, false, false},
		{"123456789", "12345678", false, true, false},
		{"1", "123456789", false, false, true},
		{"1", "2", true, false, true},
		{"123456789", "", true, true, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct text_stream standard = {
			.bytes = span_string(cases[i].standard),
			.is_cut = true,
		};
		struct text_stream errors = {
			.bytes = span_string(cases[i].errors),
			.more = cases[i].more,
			.is_cut = true,
		};
		struct buf out;

		buf_init(&out, 2 * (4 * N_MAX) + 64);
		assert_int_equal(text_show(&out, &standard, &errors, N_MAX), 0);
		assert_int_equal(standard.is_cut, cases[i].standard_is_cut);
		assert_int_equal(errors.is_cut, cases[i].errors_is_cut);
		buf_deinit(&out);
	}
}

/* Each white space there is, at both ends; nothing that is not one. */
static void test_strip(void **state)
{
	(void)state;
	CHECK(STREAM("\t\n\va b\f\r"), nothing, "a b");
	CHECK(STREAM("\x1c\x1dz\x1e"), nothing, "z");
	CHECK(STREAM("\x1f \xc2\x85\xc2\xa0z"), nothing, "z");
	CHECK(STREAM("\xe1\x9a\x80\xe2\x80\x80\xe2\x80\x8az\xe2\x80\xa8\xe2\x80\xa9"), nothing,
	      "z");
	CHECK(STREAM("\xe2\x80\xafz\xe2\x81\x9f\xe3\x80\x80"), nothing, "z");
	CHECK(STREAM("\0\xe2\x80\x8b z\x08"), nothing, "\0\xe2\x80\x8b z\x08");
	CHECK(STREAM(" \n \xe3\x80\x80"), nothing, "");
}

/* A full buffer is told, and leaves no text that is broken. */
static void test_full(void **state)
{
	struct text_stream s = STREAM("a\xff");

	(void)state;
	for (size_t n_max = 0; n_max < 4; n_max++) {
		struct buf out;

		buf_init(&out, n_max);
		assert_int_equal(text_show(&out, &s, &nothing, N_MAX), -E2BIG);
		assert_true(utf8_valid(span_of(out.data, out.n)));
		buf_deinit(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_streams), cmocka_unit_test(test_limit),
		cmocka_unit_test(test_cut),     cmocka_unit_test(test_strip),
		cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
