/* SPDX-License-Identifier: Apache-2.0 */

/* UTF-8: every code point, and every sequence of up to three bytes, against the standard's table. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/utf8.h"

/* Encodes a code point by the definition. */
static size_t encode(uint32_t c, uint8_t *to)
{
	if (c < 0x80) {
		to[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		to[0] = (uint8_t)(0xc0 | c >> 6);
		to[1] = (uint8_t)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		to[0] = (uint8_t)(0xe0 | c >> 12);
		to[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
		to[2] = (uint8_t)(0x80 | (c & 0x3f));
		return 3;
	}
	to[0] = (uint8_t)(0xf0 | c >> 18);
	to[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
	to[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
	to[3] = (uint8_t)(0x80 | (c & 0x3f));
	return 4;
}

/* Every code point but the surrogates is valid whole, and none is when cut off. */
static void test_every_code_point(void **state)
{
	(void)state;
	for (uint32_t c = 0; c < 0x110400; c++) {
		bool valid = c < 0xd800 || (c > 0xdfff && c < 0x110000);
		uint8_t bytes[4];
		size_t n = encode(c, bytes);

		if (utf8_character(bytes, n) != (valid ? n : 0))
			fail_msg("U+%04X", (unsigned)c);
		for (size_t less = 0; less < n; less++)
			if (utf8_character(bytes, less) != 0)
				fail_msg("U+%04X cut to %zu bytes", (unsigned)c, less);
	}
}

/* The standard's table of well-formed sequences (Unicode 15, table 3-7), by ranges. */
static size_t by_table(const uint8_t *s)
{
	static const struct {
		uint8_t first[2];
		uint8_t second[2];
		size_t n;
	} rows[] = {
		{{0xc2, 0xdf}, {0x80, 0xbf}, 2}, {{0xe0, 0xe0}, {0xa0, 0xbf}, 3},
		{{0xe1, 0xec}, {0x80, 0xbf}, 3}, {{0xed, 0xed}, {0x80, 0x9f}, 3},
		{{0xee, 0xef}, {0x80, 0xbf}, 3}, {{0xf0, 0xf0}, {0x90, 0xbf}, 4},
		{{0xf1, 0xf3}, {0x80, 0xbf}, 4}, {{0xf4, 0xf4}, {0x80, 0x8f}, 4},
	};

	if (s[0] < 0x80)
		return 1;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (s[0] < rows[i].first[0] || s[0] > rows[i].first[1])
			continue;
		if (s[1] < rows[i].second[0] || s[1] > rows[i].second[1])
			return 0;
		for (size_t k = 2; k < rows[i].n; k++)
			if (s[k] < 0x80 || s[k] > 0xbf)
				return 0;
		return rows[i].n;
	}
	return 0;
}

/* Every first two bytes, with third and fourth ones around each limit. */
static void test_every_sequence(void **state)
{
	static const uint8_t tails[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};

	(void)state;
	for (unsigned head = 0; head < 0x10000; head++) {
		for (unsigned t = 0; t < sizeof(tails) * sizeof(tails); t++) {
			uint8_t s[4] = {(uint8_t)(head >> 8), (uint8_t)head,
					tails[t / sizeof(tails)], tails[t % sizeof(tails)]};

			if (utf8_character(s, 4) != by_table(s))
				fail_msg("%02x %02x %02x %02x", s[0], s[1], s[2], s[3]);
		}
	}
}

/* Texts: a bad byte is found at every place of every length, one good character nowhere is bad. */
static void test_valid(void **state)
{
	(void)state;
	assert_true(utf8_valid((struct span){.data = NULL}));
	for (size_t n = 1; n < 40; n++) {
		uint8_t *s = malloc(n);

		assert_non_null(s);
		for (size_t at = 0; at < n; at++) {
			memset(s, 'a', n);
			assert_true(utf8_valid(span_of(s, n)));
			s[at] = 0xff;
			assert_false(utf8_valid(span_of(s, n)));
			s[at] = 0x80;
			assert_false(utf8_valid(span_of(s, n)));
			s[at] = 0xe2;
			assert_false(utf8_valid(span_of(s, n)));
			if (n - at < 3)
				continue;
			memcpy(s + at, "\xe2\x82\xac", 3);
			assert_true(utf8_valid(span_of(s, n)));
		}
		free(s);
	}
}

static void shows(const char *from, size_t n, size_t n_room, const char *expected)
{
	char text[64];

	assert_string_equal(utf8_show(span_of(from, n), text, n_room), expected);
}

/* Shown: control characters and wrong bytes as '?', cut at a character's border, marked. */
static void test_show(void **state)
{
	(void)state;
	shows("", 0, 4, "");
	shows("abc", 3, 4, "abc");
	shows("abcd", 4, 4, "...");
	shows("abcdefgh", 8, 9, "abcdefgh");
	shows("abcdefghi", 9, 9, "abcde...");
	shows("a\n\x1b\x7f\0b", 6, 64, "a????b");
	shows("\xc2\x85\xc2\xa0", 4, 64, "?\xc2\xa0");
	shows("\xff\xe2\x82", 3, 64, "???");
	shows("\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", 9, 9, "\xe2\x82\xac...");
	shows("ab\xf0\x9f\x98\x80\xf0\x9f\x98\x80", 10, 9, "ab...");
}

/* Character by character: what utf8_valid() must say, however it goes about it. */
static bool valid_by_characters(const uint8_t *s, size_t n)
{
	while (n) {
		size_t step = utf8_character(s, n);

		if (!step)
			return false;
		s += step;
		n -= step;
	}
	return true;
}

/* Every sequence of three bytes, and of four with all the bounds there are, one after another. */
static void test_valid_is_by_characters(void **state)
{
	static const uint8_t bounds[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
					 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
					 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
	const uint32_t n_bounds = sizeof(bounds);
	uint8_t s[4];

	(void)state;
	for (uint32_t i = 0; i < 1 << 24; i++) {
		s[0] = (uint8_t)(i >> 16);
		s[1] = (uint8_t)(i >> 8);
		s[2] = (uint8_t)i;
		if (utf8_valid(span_of(s, 3)) != valid_by_characters(s, 3))
			fail_msg("%02x %02x %02x", s[0], s[1], s[2]);
	}
	for (uint32_t i = 0; i < n_bounds * n_bounds * n_bounds * n_bounds; i++) {
		for (uint32_t k = 0, rest = i; k < 4; k++, rest /= n_bounds)
			s[k] = bounds[rest % n_bounds];
		if (utf8_valid(span_of(s, 4)) != valid_by_characters(s, 4))
			fail_msg("%02x %02x %02x %02x", s[0], s[1], s[2], s[3]);
	}
}

/* Large texts of all lengths of characters are read in parts: one wrong byte anywhere is found, and a
 * character that lies across two parts is none. */
static void test_valid_large(void **state)
{
	static const uint32_t characters[] = {'a', 0xe9, 0x20ac, 0x1f600};
	static uint8_t s[5000 + 4];
	uint32_t random = 1;

	(void)state;
	for (size_t turn = 0; turn < 64; turn++) {
		size_t n = 0;

		while (n < 4096 + 13 * turn) {
			random = random * 1664525 + 1013904223;
			n += encode(characters[turn < 4 ? turn : random >> 30], s + n);
		}
		assert_true(utf8_valid(span_of(s, n)));
		for (size_t less = 1; less < 4; less++)
			assert_int_equal(utf8_valid(span_of(s, n - less)),
					 valid_by_characters(s, n - less));
		for (size_t at = turn; at < n; at += 61) {
			uint8_t kept = s[at];

			s[at] = (uint8_t)(turn & 1 ? 0xff : 0x80);
			assert_int_equal(utf8_valid(span_of(s, n)), valid_by_characters(s, n));
			s[at] = kept;
		}
	}
	for (size_t i = 0; i < sizeof(s); i++)
		s[i] = 0x80;
	assert_false(utf8_valid(span_of(s, sizeof(s))));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_code_point),
		cmocka_unit_test(test_every_sequence),
		cmocka_unit_test(test_valid),
		cmocka_unit_test(test_valid_is_by_characters),
		cmocka_unit_test(test_valid_large),
		cmocka_unit_test(test_show),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
