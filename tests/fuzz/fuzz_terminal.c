/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what a program writes to a terminal, in pieces, with resizes between them. Shows: what
 * is captured is valid UTF-8 of as many lines as there are rows and no line wider than the screen, the
 * cursor is on it, titles and recordings are valid, memory stays within its bounds, and the pieces it
 * comes in change nothing.
 *
 * An input is two bytes of the size, one of what happens between the pieces, and the bytes; a 0xff
 * among them ends a piece.
 */

#include <errno.h>

#include "base/utf8.h"
#include "fuzz.h"
#include "tool/slot/terminal.h"
#include "tool/slot/terminal_parts.h"

#define N_HEAD       3
#define BETWEEN_SIZE 1 /* another size */
#define REPLIES_MAX  4096

static uint16_t columns_of(uint8_t byte)
{
	return (uint16_t)(TERMINAL_COLUMNS_MIN + byte % 100);
}

static uint16_t rows_of(uint8_t byte)
{
	return (uint16_t)(TERMINAL_ROWS_MIN + byte % 40);
}

static int line_width(const uint8_t *line, size_t n)
{
	int width = 0;
	bool joined = false;

	for (size_t i = 0, step; i < n; i += step) {
		uint32_t c;

		step = utf8_character(line + i, n - i);
		c = character_decode(line + i, step);
		/* what a joiner joined took no columns of its own */
		width += joined ? 0 : character_width(c);
		joined = c == 0x200d;
	}
	return width;
}

static void check_lines(struct terminal *t, const struct buf *out, bool all, bool narrow)
{
	struct terminal_state s;
	size_t n_lines = 0, start = 0;

	terminal_state(t, &s);
	FUZZ_CHECK(utf8_valid(span_of(out->data, out->n)));
	for (size_t i = 0; i < out->n; i++) {
		FUZZ_CHECK(out->data[i] >= 0x20 || out->data[i] == '\n');
		if (out->data[i] != '\n')
			continue;
		/* Torn wide characters stand alone, so that a line of these is wider. */
		FUZZ_CHECK(!narrow || line_width(out->data + start, i - start) <= 2 * s.n_columns);
		FUZZ_CHECK(i == start || out->data[i - 1] != ' ');
		start = i + 1;
		n_lines++;
	}
	FUZZ_CHECK(all ? n_lines >= s.n_rows && n_lines <= s.n_rows + (size_t)TERMINAL_HISTORY_MAX
		       : n_lines == s.n_rows);
	FUZZ_CHECK(s.cursor_column < s.n_columns && s.cursor_row < s.n_rows);
	FUZZ_CHECK(s.title.n <= TERMINAL_TITLE_MAX && utf8_valid(s.title));
}

static void check(struct terminal *t, bool narrow)
{
	struct buf out;

	buf_init(&out, TERMINAL_HISTORY_BYTES * 2);
	FUZZ_CHECK(terminal_capture(t, false, &out) == 0);
	check_lines(t, &out, false, narrow);
	buf_clear(&out);
	FUZZ_CHECK(terminal_capture(t, true, &out) == 0);
	check_lines(t, &out, true, false);
	buf_deinit(&out);
	FUZZ_CHECK(t->history.size <= TERMINAL_HISTORY_BYTES + TERMINAL_HISTORY_BYTES / 4);
	FUZZ_CHECK(t->tape.size <= TERMINAL_RECORDING_BYTES + TERMINAL_RECORDING_BYTES / 4);
	FUZZ_CHECK(t->n_texts <= t->size_texts);
}

static void check_recording(struct terminal *t)
{
	uint64_t offset = 0, n_dropped, n = 0;
	bool more = true;
	struct buf out;

	buf_init(&out, 1 << 20);
	for (bool restart = true; more; restart = false) {
		buf_clear(&out);
		FUZZ_CHECK(terminal_stream(t, restart, 1000, &out, &offset, &n_dropped, &more) ==
			   0);
		FUZZ_CHECK(out.n && out.data[out.n - 1] == '\n');
		FUZZ_CHECK(utf8_valid(span_of(out.data, out.n)));
		n += out.n + n_dropped;
		FUZZ_CHECK(offset == n);
	}
	buf_deinit(&out);
}

static struct terminal *feed(const uint8_t *data, size_t n, bool in_pieces)
{
	struct terminal *t = terminal_new(columns_of(data[0]), rows_of(data[1]), 0);
	struct buf replies;
	size_t start = N_HEAD;
	uint8_t change = data[2];

	FUZZ_CHECK(t);
	buf_init(&replies, REPLIES_MAX);
	for (size_t i = N_HEAD; i <= n; i++) {
		bool last = i == n;

		if (!last && data[i] != 0xff)
			continue;
		if (in_pieces)
			for (size_t k = start; k < i; k++)
				FUZZ_CHECK(terminal_feed(t, span_of(data + k, 1), 0, &replies) ==
					   0);
		else
			FUZZ_CHECK(terminal_feed(t, span_of(data + start, i - start), 0,
						 &replies) == 0);
		if (!last && change & BETWEEN_SIZE)
			FUZZ_CHECK(terminal_resize(t, columns_of((uint8_t)(change * i)),
						   rows_of((uint8_t)(change + i)), 0) == 0);
		start = i + 1;
	}
	FUZZ_CHECK(replies.n <= REPLIES_MAX);
	buf_deinit(&replies);
	return t;
}

static void check_same(struct terminal *a, struct terminal *b)
{
	struct buf texts[2];

	buf_init(&texts[0], TERMINAL_HISTORY_BYTES * 2);
	buf_init(&texts[1], TERMINAL_HISTORY_BYTES * 2);
	FUZZ_CHECK(terminal_capture(a, true, &texts[0]) == 0);
	FUZZ_CHECK(terminal_capture(b, true, &texts[1]) == 0);
	FUZZ_CHECK(
		span_equal(span_of(texts[0].data, texts[0].n), span_of(texts[1].data, texts[1].n)));
	FUZZ_CHECK(a->x == b->x && a->y == b->y && a->modes == b->modes);
	buf_deinit(&texts[0]);
	buf_deinit(&texts[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct terminal *whole, *pieces;
	uint8_t *copy;

	if (n < N_HEAD)
		return 0;
	copy = fuzz_copy(data, n);
	whole = feed(copy, n, false);
	pieces = feed(copy, n, true);
	check(whole, !(data[2] & BETWEEN_SIZE));
	check_recording(whole);
	check_recording(pieces);
	check_same(whole, pieces);
	terminal_free(whole);
	terminal_free(pieces);
	free(copy);
	return 0;
}

#define SEED(literal)                                                                              \
	{                                                                                          \
		literal, sizeof(literal) - 1                                                       \
	}

static const struct {
	const char *data;
	size_t n;
} seeds[] = {
	SEED("\x3c\x0e\x01hello\r\n\tworld\b\b\x1b[2J\xff\x1b[5;5Hx\x1b[K\xffmore"),
	SEED("\x00\x00\x00\x1b[999999999b\x1b[999999999@\x1b[999999999S\x1b[999999999Tx\x1b[9999L"),
	SEED("\x10\x05\x00\xe4\xb8\x96\xe7\x95\x8c\b\b\bx\x1b[3P\x1b[2@\xcc\x81\xe2\x80\x8d\xf0\x9f\x91\x8d"),
	SEED("\x05\x01\x01\x1b[?1049h\x1b[3;7r\x1b[?6h\n\n\n\n\x1bM\x1bM\xff\x1b[?1049l\x1b[?7l\x1b[4h"),
	SEED("\x30\x04\x00\x1b]0;a title\x07\x1b]2;\xc3\xa9\x1b\\\x1b[22;0t\x1b[23;0t\x1b[6n\x1b[c\x1b[>c"),
	SEED("\x30\x04\x00\x1bPq#0;2\x1b\\\x1b_x\x1b\\\x1bktitle\x1b\\\x1b#8\x1b(0lqk\x1b(B\x0e\x0f\x1b"
	     "c"),
	SEED("\x30\x04\x00\xc3\x28\xe2\x82\xf0\x9f\x9b\x31m\x80\xc0\xed\xa0\x80\xf4\x90\x80\x80"),
	SEED("\x09\x02\x01\x1b[1;2;3;4;5;6;7;8;9;10;11;12;13;14;15;16;17;18;19;20mx\xff\x1b[1:2:3H\x1b[3J"),
	SEED("\x02\x03\x00\x1b[3g\x1b[5G\x1bH\r\t\x1b[2Z\x1b[I\x1b[5X\x1b[3M\x1b[2d\x1b[3e\x1b[4`\x1b[s\x1b[u"),
};

size_t fuzz_seed(unsigned number, uint8_t *data, size_t size)
{
	if (number >= sizeof(seeds) / sizeof(seeds[0]) || seeds[number].n > size)
		return 0;
	memcpy(data, seeds[number].data, seeds[number].n);
	return seeds[number].n;
}
