/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/slot/text.h"

#include <string.h>

#include "base/utf8.h"

#define HIGH_BITS UINT64_C(0x8080808080808080)

static const char replacement[] = "\xef\xbf\xbd";

/*
 * What s begins with is no character: how many bytes of it could have been the beginning of one, and
 * at least 1. Only the second byte is bound by the first in more than being a tail.
 */
static size_t broken_character(const uint8_t *s, size_t n)
{
	uint8_t low = 0x80, high = 0xbf;
	size_t n_whole, i;

	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 1;
	n_whole = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (s[0] == 0xe0)
		low = 0xa0;
	if (s[0] == 0xed)
		high = 0x9f;
	if (s[0] == 0xf0)
		low = 0x90;
	if (s[0] == 0xf4)
		high = 0x8f;
	for (i = 1; i < n && i < n_whole; i++) {
		if (s[i] < low || s[i] > high)
			break;
		low = 0x80;
		high = 0xbf;
	}
	return i;
}

static bool is_ascii_word(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return !(word & HIGH_BITS);
}

/* The good characters s begins with, at most n_max. */
static size_t good_run(struct span s, uint64_t n_max, uint64_t *ret_n_characters)
{
	size_t at = 0, step;
	uint64_t n = 0;

	while (at < s.n && n < n_max) {
		if (s.n - at >= 8 && n_max - n >= 8 && is_ascii_word(s.data + at)) {
			at += 8;
			n += 8;
			continue;
		}
		step = utf8_character(s.data + at, s.n - at);
		if (step == 0)
			break;
		at += step;
		n++;
	}
	*ret_n_characters = n;
	return at;
}

/* Takes n bytes off the front. */
static void skip(struct span *s, size_t n)
{
	s->data += n;
	s->n -= n;
}

/*
 * Appends at most n_max characters of *s, which is then what is left of it. more: its end is not the
 * end of the stream, so a character that is not whole there is left.
 */
static int decode(struct buf *out, struct span *s, uint64_t n_max, bool more)
{
	while (s->n && n_max) {
		uint64_t n_characters;
		size_t n = good_run(*s, n_max, &n_characters);
		int r = buf_append(out, s->data, n);

		if (r < 0)
			return r;
		skip(s, n);
		n_max -= n_characters;
		if (s->n == 0 || n_max == 0)
			break;
		n = broken_character(s->data, s->n);
		if (more && n == s->n)
			break;
		r = buf_append(out, replacement, sizeof(replacement) - 1);
		if (r < 0)
			return r;
		skip(s, n);
		n_max--;
	}
	return 0;
}

int text_decode(struct buf *out, struct span bytes)
{
	return decode(out, &bytes, UINT64_MAX, false);
}

uint64_t text_count(struct span bytes)
{
	uint64_t n = 0, n_here;

	while (bytes.n) {
		skip(&bytes, good_run(bytes, UINT64_MAX, &n_here));
		n += n_here;
		if (bytes.n) {
			skip(&bytes, broken_character(bytes.data, bytes.n));
			n++;
		}
	}
	return n;
}

/* As Python's str.isspace(). c: one whole character. */
static bool is_space(const uint8_t *c, size_t n)
{
	unsigned code;

	if (n == 1)
		return (c[0] >= 0x09 && c[0] <= 0x0d) || (c[0] >= 0x1c && c[0] <= 0x20);
	if (n == 2)
		return c[0] == 0xc2 && (c[1] == 0x85 || c[1] == 0xa0);
	if (n != 3)
		return false;
	code = (c[0] & 0x0fU) << 12 | (c[1] & 0x3fU) << 6 | (c[2] & 0x3fU);
	return code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
	       code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

/* Takes the white space off both ends of the valid UTF-8 that stands in out from start on. */
static void strip(struct buf *out, size_t start)
{
	size_t first = start, n;

	while (out->n > start) {
		size_t at = out->n - 1;

		while (at > start && (out->data[at] & 0xc0) == 0x80)
			at--;
		if (!is_space(out->data + at, out->n - at))
			break;
		out->n = at;
	}
	while (first < out->n) {
		n = utf8_character(out->data + first, out->n - first);
		if (!is_space(out->data + first, n))
			break;
		first += n;
	}
	if (first > start) {
		memmove(out->data + start, out->data + first, out->n - first);
		out->n -= first - start;
	}
}

static int show_stream(struct buf *out, struct text_stream *stream, uint64_t n_max)
{
	static const char truncated[] = "\n... (output truncated)";
	struct span left = stream->bytes;
	int r = decode(out, &left, n_max, stream->more);

	stream->is_cut = left.n || stream->more;
	if (r == 0 && stream->is_cut)
		r = buf_append(out, truncated, sizeof(truncated) - 1);
	return r;
}

int text_show(struct buf *out, struct text_stream *standard, struct text_stream *errors,
	      uint64_t n_max)
{
	static const char between[] = "\n[stderr]\n";
	size_t start = out->n;
	int r = show_stream(out, standard, n_max);

	if (r == 0 && out->n > start && (errors->bytes.n || errors->more))
		r = buf_append(out, between, sizeof(between) - 1);
	if (r == 0)
		r = show_stream(out, errors, n_max);
	if (r == 0)
		strip(out, start);
	return r;
}
