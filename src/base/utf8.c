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

/*
 * Whether bytes are UTF-8, one step of an automaton for each of them and no branch, since in text of
 * many languages, or in bytes shown as text, none of the branches could be foretold. A state is a
 * number of bits; the row of a byte holds, shifted by each state, the state that follows.
 */
enum {
	STATE_BITS = 6, /* of each of them in a row */
	START = 0 * STATE_BITS,
	TAILS_1 = 1 * STATE_BITS,
	TAILS_2 = 2 * STATE_BITS,
	TAILS_3 = 3 * STATE_BITS,
	AFTER_E0 = 4 * STATE_BITS, /* no overlong ones */
	AFTER_ED = 5 * STATE_BITS, /* no surrogates */
	AFTER_F0 = 6 * STATE_BITS, /* no overlong ones */
	AFTER_F4 = 7 * STATE_BITS, /* none beyond U+10FFFF */
	WRONG = 8 * STATE_BITS,
	STATE_MASK = (1 << STATE_BITS) - 1,
};

#define NEXT(state, next) ((uint64_t)(next) << (state))
#define ROW(start, t1, t2, t3, e0, ed, f0, f4)                                                     \
	(NEXT(START, start) | NEXT(TAILS_1, t1) | NEXT(TAILS_2, t2) | NEXT(TAILS_3, t3) |          \
	 NEXT(AFTER_E0, e0) | NEXT(AFTER_ED, ed) | NEXT(AFTER_F0, f0) | NEXT(AFTER_F4, f4) |       \
	 NEXT(WRONG, WRONG))
#define LEAD(next)           ROW(next, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG)
#define TAIL(e0, ed, f0, f4) ROW(WRONG, START, TAILS_1, TAILS_2, e0, ed, f0, f4)

static const uint64_t rows[256] = {
	[0x00 ... 0x7f] = LEAD(START),
	[0x80 ... 0x8f] = TAIL(WRONG, TAILS_1, WRONG, TAILS_2),
	[0x90 ... 0x9f] = TAIL(WRONG, TAILS_1, TAILS_2, WRONG),
	[0xa0 ... 0xbf] = TAIL(TAILS_1, WRONG, TAILS_2, WRONG),
	[0xc0 ... 0xc1] = LEAD(WRONG),
	[0xc2 ... 0xdf] = LEAD(TAILS_1),
	[0xe0] = LEAD(AFTER_E0),
	[0xe1 ... 0xec] = LEAD(TAILS_2),
	[0xed] = LEAD(AFTER_ED),
	[0xee ... 0xef] = LEAD(TAILS_2),
	[0xf0] = LEAD(AFTER_F0),
	[0xf1 ... 0xf3] = LEAD(TAILS_3),
	[0xf4] = LEAD(AFTER_F4),
	[0xf5 ... 0xff] = LEAD(WRONG),
};

static uint64_t step(uint64_t state, uint8_t byte)
{
	return rows[byte] >> (state & STATE_MASK);
}

static bool is_at(uint64_t state, uint64_t where)
{
	return (state & STATE_MASK) == where;
}

/* One after another, from a state on. */
static bool rest_valid(struct span s, uint64_t state)
{
	const uint8_t *at = s.data;
	size_t n = s.n;

	while (n) {
		size_t n_here = n < 8 ? n : 8;

		if (is_at(state, START)) {
			if (n >= 8 && is_ascii_word(at)) {
				at += 8;
				n -= 8;
				continue;
			}
			/* The end of it in one look that overlaps what has been seen. */
			if (n < 8 && s.n >= 8 && is_ascii_word(at + n - 8))
				return true;
		}
		for (size_t i = 0; i < n_here; i++)
			state = step(state, at[i]);
		if (is_at(state, WRONG))
			return false;
		at += n_here;
		n -= n_here;
	}
	return is_at(state, START);
}

#define N_LANES   4
#define LARGE_MIN 4096 /* from where on that is worth it */

/* All lanes, as far as the shortest goes; returns how far that was. */
static size_t side_by_side(const struct span lanes[N_LANES], size_t n, uint64_t states[N_LANES])
{
	const uint8_t *p0 = lanes[0].data, *p1 = lanes[1].data, *p2 = lanes[2].data,
		      *p3 = lanes[3].data;
	uint64_t s0 = START, s1 = START, s2 = START, s3 = START;
	size_t at = 0;

	for (; at + 8 <= n; at += 8) {
		if (is_at(s0 | s1 | s2 | s3, START) && is_ascii_word(p0 + at) &&
		    is_ascii_word(p1 + at) && is_ascii_word(p2 + at) && is_ascii_word(p3 + at))
			continue;
		for (size_t i = at; i < at + 8; i++) {
			s0 = step(s0, p0[i]);
			s1 = step(s1, p1[i]);
			s2 = step(s2, p2[i]);
			s3 = step(s3, p3[i]);
		}
	}
	states[0] = s0;
	states[1] = s1;
	states[2] = s2;
	states[3] = s3;
	return at;
}

/* A step waits for the one before it, so parts that begin with a character each go side by side. */
static bool large_valid(struct span s)
{
	struct span lanes[N_LANES];
	uint64_t states[N_LANES] = {START};
	size_t begin = 0, n_common = s.n, at;

	for (size_t i = 0; i < N_LANES; i++) {
		size_t end = s.n / N_LANES * (i + 1);

		while (i + 1 < N_LANES && end < s.n && is_tail(s.data[end]))
			end++;
		if (i + 1 == N_LANES)
			end = s.n;
		if (end < begin)
			return false; /* nothing but tails */
		lanes[i] = span_of(s.data + begin, end - begin);
		n_common = lanes[i].n < n_common ? lanes[i].n : n_common;
		begin = end;
	}
	at = side_by_side(lanes, n_common, states);
	for (size_t i = 0; i < N_LANES; i++)
		if (!rest_valid(span_of(lanes[i].data + at, lanes[i].n - at), states[i]))
			return false;
	return true;
}

bool utf8_valid(struct span s)
{
	return s.n < LARGE_MIN ? rest_valid(s, START) : large_valid(s);
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
