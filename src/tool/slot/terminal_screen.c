/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done at the cursor. All is as in tmux 3.3a, which tests/system/terminal_tmux.py shows: also
 * that a character in the last column leaves the cursor behind the line's end (x is n_columns) until
 * the next comes, and how what stands there is moved out of by each command.
 */
#include "tool/slot/terminal_parts.h"

#include <stdlib.h>
#include <string.h>

#define ZERO_WIDTH_JOINER 0x200d

static struct line *current(struct terminal *t)
{
	return &t->grid.lines[t->y];
}

static int smaller(int a, int b)
{
	return a < b ? a : b;
}

static void set_cursor(struct terminal *t, int x, int y)
{
	t->x = x > t->n_columns ? t->n_columns - 1 : x;
	t->y = smaller(y, t->n_rows - 1);
}

/* The rest of a wide character whose beginning is gone. */
static void clear_padding(struct terminal *t, struct line *l, int x)
{
	for (; x < t->n_columns && line_get(l, x) & CELL_PADDING; x++)
		line_set(l, x, CELL_BLANK);
}

static void put_run(struct terminal *t, const uint8_t *bytes, int n)
{
	struct line *l = current(t);
	uint32_t cell = 0;
	int x;

	if (t->x) {
		for (x = t->x; x > 0; x--) {
			cell = line_get(l, x);
			if (!(cell & CELL_PADDING))
				break;
			line_set(l, x, CELL_BLANK);
		}
		if (cell & CELL_WIDE)
			line_set(l, x, CELL_BLANK);
	}
	line_set(l, t->x + n - 1, CELL_BLANK);
	for (x = 0; x < n; x++)
		l->cells[t->x + x] = bytes[x];
	t->x += n;
	clear_padding(t, l, t->x);
}

void screen_print(struct terminal *t, const uint8_t *bytes, size_t n)
{
	if (t->drawing[t->shifted] || (t->modes & (MODE_WRAP | MODE_INSERT)) != MODE_WRAP) {
		for (size_t i = 0; i < n; i++)
			screen_put(t, bytes[i], 1);
		return;
	}
	while (n) {
		size_t n_here;

		if (t->x > t->n_columns - 1) {
			screen_linefeed(t, true);
			t->x = 0;
		}
		n_here = (size_t)(t->n_columns - t->x);
		if (n_here > n)
			n_here = n;
		put_run(t, bytes, (int)n_here);
		bytes += n_here;
		n -= n_here;
	}
}

/* Joins it to the character before the cursor. */
static void combine(struct terminal *t, uint32_t c)
{
	struct line *l = current(t);
	int x = t->x, r;

	do {
		if (--x < 0)
			return;
	} while (line_get(l, x) & CELL_PADDING);
	r = cell_append(t, l, x, c);
	if (r < 0)
		t->failed = r;
}

/* Makes place for a character of that width among wide ones. */
static void overwrite(struct terminal *t, int width)
{
	struct line *l = current(t);
	uint32_t cell = line_get(l, t->x);
	int x;

	if (cell & CELL_PADDING) {
		for (x = t->x; x > 0 && line_get(l, x) & CELL_PADDING; x--)
			line_set(l, x, CELL_BLANK);
		line_set(l, x, CELL_BLANK);
	}
	if (width != 1 || cell & (CELL_WIDE | CELL_PADDING))
		clear_padding(t, l, t->x + width);
}

void screen_put(struct terminal *t, uint32_t c, int width)
{
	int last = t->modes & MODE_WRAP ? 0 : 1;
	struct line *l;

	if (c == ZERO_WIDTH_JOINER) {
		t->join = true;
		return;
	}
	if (t->join)
		combine(t, ZERO_WIDTH_JOINER);
	if (t->join || width == 0) {
		t->join = false;
		combine(t, c);
		return;
	}
	if (last && width > 1 && t->x != t->n_columns && t->x > t->n_columns - width)
		return;
	if (t->modes & MODE_INSERT)
		cells_insert(t, width);
	if (!last && t->x > t->n_columns - width) {
		screen_linefeed(t, true);
		t->x = 0;
	}
	if (t->x > t->n_columns - width)
		return;
	overwrite(t, width);
	l = current(t);
	for (int x = t->x + 1; x < t->x + width; x++)
		line_set(l, x, CELL_PADDING);
	line_set(l, t->x, width > 1 ? c | CELL_WIDE : c);
	t->x = t->x <= t->n_columns - last - width ? t->x + width : t->n_columns - last;
}

void screen_linefeed(struct terminal *t, bool wrapped)
{
	if (wrapped)
		current(t)->wrapped = true;
	if (t->y == t->bottom)
		region_scroll_up(t);
	else if (t->y < t->n_rows - 1)
		t->y++;
}

void screen_reverse_linefeed(struct terminal *t)
{
	if (t->y == t->top)
		region_scroll_down(t);
	else if (t->y > 0)
		t->y--;
}

void screen_backspace(struct terminal *t)
{
	if (t->x > 0) {
		t->x--;
	} else if (t->y > 0 && t->grid.lines[t->y - 1].wrapped) {
		t->y--;
		t->x = t->n_columns - 1;
	}
}

void screen_tab(struct terminal *t)
{
	if (t->x >= t->n_columns - 1)
		return;
	do
		t->x++;
	while (t->x < t->n_columns - 1 && !t->tabs[t->x]);
}

void screen_tab_back(struct terminal *t, int n)
{
	t->x = smaller(t->x, t->n_columns - 1);
	while (t->x > 0 && n-- > 0) {
		do
			t->x--;
		while (t->x > 0 && !t->tabs[t->x]);
	}
}

void screen_tabs_reset(struct terminal *t)
{
	for (int x = 0; x < t->n_columns; x++)
		t->tabs[x] = x && x % 8 == 0;
}

void screen_up(struct terminal *t, int n)
{
	n = smaller(n, t->y < t->top ? t->y : t->y - t->top);
	set_cursor(t, smaller(t->x, t->n_columns - 1), t->y - n);
}

void screen_down(struct terminal *t, int n)
{
	n = smaller(n, (t->y > t->bottom ? t->n_rows - 1 : t->bottom) - t->y);
	set_cursor(t, smaller(t->x, t->n_columns - 1), t->y + n);
}

void screen_right(struct terminal *t, int n)
{
	t->x = n < t->n_columns - 1 - t->x ? t->x + n : t->n_columns - 1;
}

void screen_left(struct terminal *t, int n)
{
	t->x -= smaller(n, t->x);
}

void screen_move(struct terminal *t, int x, int y, bool origin)
{
	if (origin && y != -1 && t->modes & MODE_ORIGIN)
		y = y > t->bottom - t->top ? t->bottom : y + t->top;
	set_cursor(t, x == -1 ? t->x : smaller(x, t->n_columns - 1), y == -1 ? t->y : y);
}

void screen_region(struct terminal *t, int top, int bottom)
{
	top = smaller(top, t->n_rows - 1);
	bottom = smaller(bottom, t->n_rows - 1);
	if (top >= bottom)
		return;
	set_cursor(t, 0, 0);
	t->top = top;
	t->bottom = bottom;
}

void screen_save(struct terminal *t)
{
	t->saved.x = t->x;
	t->saved.y = t->y;
	t->saved.shifted = t->shifted;
	memcpy(t->saved.drawing, t->drawing, sizeof(t->drawing));
	t->saved.origin = t->modes & MODE_ORIGIN;
}

void screen_restore(struct terminal *t)
{
	t->shifted = t->saved.shifted;
	memcpy(t->drawing, t->saved.drawing, sizeof(t->drawing));
	t->modes = t->saved.origin ? t->modes | MODE_ORIGIN : t->modes & ~(unsigned)MODE_ORIGIN;
	screen_move(t, t->saved.x, t->saved.y, false);
}

void screen_alignment(struct terminal *t)
{
	for (int y = 0; y < t->n_rows; y++) {
		struct line *l = &t->grid.lines[y];

		for (int x = 0; x < t->n_columns; x++)
			l->cells[x] = 'E';
		l->n_used = t->n_columns;
	}
	set_cursor(t, 0, 0);
	t->top = 0;
	t->bottom = t->n_rows - 1;
}

static void alternate_on(struct terminal *t, bool with_cursor)
{
	struct grid grid;
	int r;

	if (is_alternate(t))
		return;
	r = grid_init(&grid, t->n_columns, t->n_rows);
	if (r < 0) {
		t->failed = r;
		return;
	}
	t->main = t->grid;
	t->grid = grid;
	if (with_cursor) {
		t->main_x = t->x;
		t->main_y = t->y;
	}
}

static void alternate_off(struct terminal *t, bool with_cursor)
{
	if (with_cursor && t->main_x >= 0) {
		t->x = t->main_x;
		t->y = t->main_y;
	}
	if (is_alternate(t)) {
		grid_deinit(&t->grid);
		t->grid = t->main;
		t->main = (struct grid){0};
	}
	t->x = smaller(t->x, t->n_columns - 1);
	t->y = smaller(t->y, t->n_rows - 1);
}

void screen_alternate(struct terminal *t, bool on, bool with_cursor)
{
	if (on)
		alternate_on(t, with_cursor);
	else
		alternate_off(t, with_cursor);
}

void screen_reset(struct terminal *t)
{
	t->saved.x = t->saved.y = 0;
	t->saved.shifted = t->saved.drawing[0] = t->saved.drawing[1] = false;
	t->shifted = t->drawing[0] = t->drawing[1] = false;
	screen_tabs_reset(t);
	screen_region(t, 0, t->n_rows - 1);
	t->modes = MODE_WRAP;
	screen_clear(t);
	set_cursor(t, 0, 0);
}
