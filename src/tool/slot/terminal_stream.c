/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recording: asciicast version 2 (docs.asciinema.org/manual/asciicast/v2), a header and then a line
 * for each piece of output, at most OUTPUT_MAX bytes of it. The header is always kept; of the rest the
 * oldest lines go. Offsets count all that was ever recorded.
 */
#include "tool/slot/terminal_parts.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/decimal.h"
#include "base/utf8.h"
#include "tool/slot/text.h"

#define OUTPUT_MAX 4096
#define LINE_MAX   (64 + 6 * OUTPUT_MAX)

static int append(struct buf *out, const char *text)
{
	return buf_append(out, text, strlen(text));
}

int stream_init(struct terminal *t, uint64_t now_ns)
{
	char header[96] = "{\"version\": 2, \"width\": ";

	decimal_append(header, sizeof(header), (uint64_t)t->n_columns);
	strcat(header, ", \"height\": ");
	decimal_append(header, sizeof(header), (uint64_t)t->n_rows);
	strcat(header, "}\n");
	t->started_ns = now_ns;
	tape_init(&t->tape, TERMINAL_RECORDING_BYTES, UINT32_MAX);
	buf_init(&t->header, sizeof(header));
	return append(&t->header, header);
}

void stream_deinit(struct terminal *t)
{
	tape_deinit(&t->tape);
	buf_deinit(&t->header);
}

/* [seconds, "kind", " */
static int begin(struct terminal *t, uint64_t now_ns, const char *kind)
{
	uint64_t us = now_ns > t->started_ns ? (now_ns - t->started_ns) / NS_PER_US : 0;
	char text[64] = "[", fraction[8] = "";
	size_t n;

	buf_clear(&t->scratch);
	decimal_append(text, sizeof(text), us / 1000000);
	strcat(text, ".");
	decimal_append(fraction, sizeof(fraction), us % 1000000);
	for (n = strlen(fraction); n < 6; n++)
		strcat(text, "0");
	strcat(text, fraction);
	strcat(text, ", \"");
	strcat(text, kind);
	strcat(text, "\", \"");
	return append(&t->scratch, text);
}

static int end(struct terminal *t)
{
	int r = append(&t->scratch, "\"]");

	if (r == 0)
		r = tape_append(&t->tape, span_of(t->scratch.data, t->scratch.n));
	return r;
}

static int append_escaped(struct buf *out, uint8_t c)
{
	static const char digits[] = "0123456789abcdef";
	char text[7] = "\\u00";

	switch (c) {
	case '"':
		return append(out, "\\\"");
	case '\\':
		return append(out, "\\\\");
	case '\n':
		return append(out, "\\n");
	case '\r':
		return append(out, "\\r");
	case '\t':
		return append(out, "\\t");
	case '\b':
		return append(out, "\\b");
	default:
		text[4] = digits[c >> 4];
		text[5] = digits[c & 15];
		return append(out, text);
	}
}

static bool is_plain(uint8_t c)
{
	return c >= 0x20 && c != '"' && c != '\\';
}

static int append_json(struct buf *out, struct span bytes)
{
	size_t at = 0;
	int r;

	while (at < bytes.n) {
		size_t n = at;

		while (n < bytes.n && is_plain(bytes.data[n]))
			n++;
		r = text_decode(out, span_of(bytes.data + at, n - at));
		if (r == 0 && n < bytes.n)
			r = append_escaped(out, bytes.data[n++]);
		if (r < 0)
			return r;
		at = n;
	}
	return 0;
}

/* How many bytes at the end are the beginning of a character that may still become whole. */
static size_t split_end(const uint8_t *s, size_t n)
{
	for (size_t k = 1; k <= 3 && k <= n; k++) {
		uint8_t c = s[n - k];

		if ((c & 0xc0) == 0x80)
			continue;
		if (c < 0xc2 || c > 0xf4)
			return 0;
		return k < (c < 0xe0 ? 2u : c < 0xf0 ? 3u : 4u) ? k : 0;
	}
	return 0;
}

int stream_output(struct terminal *t, struct span bytes, uint64_t now_ns)
{
	uint8_t piece[OUTPUT_MAX];
	int r;

	while (bytes.n) {
		size_t n = OUTPUT_MAX - t->n_split, n_out;

		if (n > bytes.n)
			n = bytes.n;
		memcpy(piece, t->split, t->n_split);
		memcpy(piece + t->n_split, bytes.data, n);
		bytes = span_of(bytes.data + n, bytes.n - n);
		n += t->n_split;
		t->n_split = split_end(piece, n);
		n_out = n - t->n_split;
		memcpy(t->split, piece + n_out, t->n_split);
		if (n_out == 0)
			continue;
		r = begin(t, now_ns, "o");
		if (r == 0)
			r = append_json(&t->scratch, span_of(piece, n_out));
		if (r == 0)
			r = end(t);
		if (r < 0)
			return r;
	}
	return 0;
}

int stream_resize(struct terminal *t, uint64_t now_ns)
{
	char size[32] = "";
	int r = begin(t, now_ns, "r");

	decimal_append(size, sizeof(size), (uint64_t)t->n_columns);
	strcat(size, "x");
	decimal_append(size, sizeof(size), (uint64_t)t->n_rows);
	if (r == 0)
		r = append(&t->scratch, size);
	return r < 0 ? r : end(t);
}

/* Whole lines of *text, at most n_max bytes, but one line if none was given yet. */
static int take_lines(struct span text, uint64_t n_max, bool is_first, struct buf *out,
		      size_t *ret_n)
{
	size_t n = 0;
	int r;

	while (n < text.n) {
		const uint8_t *newline = memchr(text.data + n, '\n', text.n - n);
		size_t n_line = (size_t)(newline - (text.data + n)) + 1;

		if (n + n_line > n_max && !(is_first && n == 0))
			break;
		n += n_line;
	}
	r = buf_append(out, text.data, n);
	if (r == 0)
		*ret_n = n;
	return r;
}

int terminal_stream(struct terminal *t, bool restart, uint64_t n_max, struct buf *out,
		    uint64_t *ret_offset, uint64_t *ret_n_dropped, bool *ret_more)
{
	struct span text = tape_text(&t->tape);
	uint64_t at = restart ? 0 : t->read_at, first, n_dropped = 0;
	size_t n_header = 0, n = 0, n_before = out->n;
	int r;

	if (at < t->header.n) {
		r = take_lines(span_of(t->header.data, t->header.n), n_max, true, out, &n_header);
		if (r < 0)
			return r;
		at += n_header;
	}
	first = t->header.n + t->tape.n_gone;
	if (at < first) {
		n_dropped = first - at;
		at = first;
	}
	if (at > first)
		text = span_of(text.data + (at - first), text.n - (size_t)(at - first));
	r = take_lines(text, n_max > n_header ? n_max - n_header : 0, n_header == 0, out, &n);
	if (r < 0) {
		out->n = n_before;
		return r;
	}
	t->read_at = at + n;
	*ret_offset = t->read_at;
	*ret_n_dropped = n_dropped;
	*ret_more = n < text.n;
	return 0;
}
