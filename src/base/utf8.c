/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

#include <assert.h>
#include <string.h>

#define HIGH_BITS UINT64_C(0x8080808080808080)

static bool is_tail(uint8_t c)
{
	return (c & 0xc0) == 0x80;
}

size_t utf8_character(const uint8_t *s, size_t n)
{
	if (n >= 1 && s[0] < 0x80)
		return 1;
	if (n < 2 || !is_tail(s[1]))
		return 0;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		return 2;
	if (n < 3 || !is_tail(s[2]))
		return 0;
	if ((s[0] & 0xf0) == 0xe0) {
		bool overlong = s[0] == 0xe0 && s[1] < 0xa0;
		bool surrogate = s[0] == 0xed && s[1] >= 0xa0;

		return overlong || surrogate ? 0 : 3;
	}
	if (n < 4 || !is_tail(s[3]) || s[0] < 0xf0 || s[0] > 0xf4)
		return 0;
	if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
		return 0;
	return 4;
}

static bool is_ascii_word(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return !(word & HIGH_BITS);
}

bool utf8_valid(struct span s)
{
	const uint8_t *at = s.data;
	size_t n = s.n;

	while (n) {
		size_t step;

		if (n >= 8 && is_ascii_word(at)) {
			at += 8;
			n -= 8;
			continue;
		}
		/* The end of it in one look that overlaps what has been seen. */
		if (n < 8 && s.n >= 8 && is_ascii_word(at + n - 8))
			return true;
		step = utf8_character(at, n);
		if (step == 0)
			return false;
		at += step;
		n -= step;
	}
	return true;
}

static bool is_control(const uint8_t *s, size_t n)
{
	return n == 1 ? s[0] < 0x20 || s[0] == 0x7f : n == 2 && s[0] == 0xc2 && s[1] < 0xa0;
}

char *utf8_show(struct span s, char *ret_text, size_t n)
{
	size_t at = 0, used = 0;
	size_t used_dots = 0; /* where "..." still fits */

	assert(n >= 4);
	while (at < s.n) {
		size_t step = utf8_character(s.data + at, s.n - at);
		bool shown = step && !is_control(s.data + at, step);
		size_t n_here = shown ? step : 1;

		if (used + n_here > n - 1) {
			memcpy(ret_text + used_dots, "...", 3);
			used = used_dots + 3;
			break;
		}
		if (shown)
			memcpy(ret_text + used, s.data + at, n_here);
		else
			ret_text[used] = '?';
		used += n_here;
		if (used + 3 <= n - 1)
			used_dots = used;
		at += step ? step : 1;
	}
	ret_text[used] = 0;
	return ret_text;
}
