/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cells of a screen and its lines. Which cells an operation leaves blank, and which as they were,
 * is as tmux has it, odd as that is where what is inserted is longer than what is moved.
 */
#include "tool/slot/terminal_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TEXTS_MIN 256

int grid_init(struct grid *g, int n_columns, int n_rows)
{
	g->lines = calloc((size_t)n_rows, sizeof(*g->lines));
	g->block = malloc((size_t)n_rows * (size_t)n_columns * sizeof(*g->block));
	if (!g->lines || !g->block) {
		grid_deinit(g);
		return -ENOMEM;
	}
	for (int y = 0; y < n_rows; y++)
		g->lines[y].cells = g->block + (size_t)y * (size_t)n_columns;
	return 0;
}

void grid_deinit(struct grid *g)
{
	free(g->lines);
	free(g->block);
	*g = (struct grid){0};
}

uint32_t line_get(const struct line *l, int x)
{
	return x < l->n_used ? l->cells[x] : CELL_BLANK;
}

void line_set(struct line *l, int x, uint32_t cell)
{
	while (l->n_used <= x)
		l->cells[l->n_used++] = CELL_BLANK;
	l->cells[x] = cell;
}

static void line_reset(struct line *l)
{
	l->n_used = 0;
	l->wrapped = false;
}

/* Moves the texts that are still used to a table of their own. */
static int sweep_texts(struct terminal *t)
{
	struct grid *grids[] = {&t->grid, &t->main};
	uint32_t n = 0, size;
	struct cell_text *texts;

	for (int pass = 0;; pass++) {
		for (unsigned i = 0; i < 2 * (unsigned)t->n_rows; i++) {
			struct grid *g = grids[i % 2];
			struct line *l = g->lines ? &g->lines[i / 2] : NULL;

			for (int x = 0; l && x < l->n_used; x++) {
				if (!(l->cells[x] & CELL_COMBINED))
					continue;
				if (pass) {
					texts[n] = t->texts[l->cells[x] & CELL_VALUE];
					l->cells[x] = (l->cells[x] & ~CELL_VALUE) | n;
				}
				n++;
			}
		}
		if (pass)
			break;
		size = 2 * n < TEXTS_MIN ? TEXTS_MIN : 2 * n;
		texts = malloc(size * sizeof(*texts));
		if (!texts)
			return -ENOMEM;
		n = 0;
	}
	free(t->texts);
	t->texts = texts;
	t->n_texts = n;
	t->size_texts = size;
	return 0;
}

int cell_append(struct terminal *t, struct line *l, int x, uint32_t c)
{
	uint32_t cell = line_get(l, x);
	struct cell_text *text;
	uint8_t bytes[4];
	size_t n = character_encode(c, bytes);

	if (!(cell & CELL_COMBINED)) {
		if (t->n_texts == t->size_texts) {
			int r = sweep_texts(t);

			if (r < 0)
				return r;
		}
		text = &t->texts[t->n_texts];
		text->n = (uint8_t)character_encode(cell & CELL_VALUE, text->bytes);
		line_set(l, x, (cell & CELL_WIDE) | CELL_COMBINED | t->n_texts++);
	}
	text = &t->texts[l->cells[x] & CELL_VALUE];
	if (text->n + n > CELL_TEXT_MAX)
		return 0;
	memcpy(text->bytes + text->n, bytes, n);
	text->n = (uint8_t)(text->n + n);
	return 0;
}

int line_text(struct terminal *t, const struct line *l, struct span *ret_text)
{
	uint8_t *to;
	size_t n;
	int r;

	buf_clear(&t->scratch);
	r = buf_reserve(&t->scratch, (size_t)l->n_used * CELL_TEXT_MAX);
	if (r < 0)
		return r;
	to = t->scratch.data;
	for (int x = 0; x < l->n_used; x++) {
		uint32_t cell = l->cells[x];

		if (cell < 0x80) {
			*to++ = (uint8_t)cell;
		} else if (cell & CELL_PADDING) {
			continue;
		} else if (cell & CELL_COMBINED) {
			const struct cell_text *text = &t->texts[cell & CELL_VALUE];

			memcpy(to, text->bytes, text->n);
			to += text->n;
		} else {
			to += character_encode(cell & CELL_VALUE, to);
		}
	}
	n = t->scratch.data ? (size_t)(to - t->scratch.data) : 0;
	while (n && t->scratch.data[n - 1] == ' ')
		n--;
	*ret_text = span_of(t->scratch.data, n);
	return 0;
}

static void unwrap_before(struct terminal *t, int y)
{
	if (y > 0)
		t->grid.lines[y - 1].wrapped = false;
}

/* n may be below 0: then none. */
void area_clear(struct terminal *t, int x, int y, int n_columns, int n_rows)
{
	if (n_columns == 0 || n_rows == 0)
		return;
	for (int i = y; i < y + n_rows; i++) {
		struct line *l = &t->grid.lines[i];

		if (x == 0 && n_columns == t->n_columns)
			line_reset(l);
		else
			for (int j = x; j < x + n_columns && j < l->n_used; j++)
				l->cells[j] = CELL_BLANK;
	}
	if (x == 0 && n_columns == t->n_columns)
		unwrap_before(t, y);
}

/* What is moved is blank where it was. */
void cells_move(struct terminal *t, int y, int to, int from, int n)
{
	struct line *l = &t->grid.lines[y];

	if (n <= 0 || to == from)
		return;
	line_set(l, to + n - 1, line_get(l, to + n - 1));
	line_set(l, from + n - 1, line_get(l, from + n - 1));
	memmove(l->cells + to, l->cells + from, (size_t)n * sizeof(*l->cells));
	for (int x = from; x < from + n; x++)
		if (x < to || x >= to + n)
			l->cells[x] = CELL_BLANK;
}

static void rotate_up(struct line *lines, int top, int bottom)
{
	struct line first = lines[top];

	memmove(lines + top, lines + top + 1, (size_t)(bottom - top) * sizeof(*lines));
	lines[bottom] = first;
}

static void rotate_down(struct line *lines, int top, int bottom)
{
	struct line last = lines[bottom];

	memmove(lines + top + 1, lines + top, (size_t)(bottom - top) * sizeof(*lines));
	lines[top] = last;
}

/* Afterwards n lines from `from` on are at `to`; what was there is somewhere else, so that no row of the
 * block is lost or used twice. */
static void swap_lines(struct line *lines, int to, int from, int n)
{
	if (from == to + 1) {
		rotate_up(lines, to, to + n);
		return;
	}
	if (to == from + 1) {
		rotate_down(lines, from, from + n);
		return;
	}
	for (int i = 0; i < n; i++) {
		int k = to < from ? i : n - 1 - i;
		struct line swapped = lines[to + k];

		lines[to + k] = lines[from + k];
		lines[from + k] = swapped;
	}
}

/* The same of lines. */
void lines_move(struct terminal *t, int to, int from, int n)
{
	struct line *lines = t->grid.lines;

	if (n <= 0 || to == from)
		return;
	unwrap_before(t, to);
	swap_lines(lines, to, from, n);
	for (int y = from; y < from + n; y++)
		if (y < to || y >= to + n)
			line_reset(&lines[y]);
	if (from < to || from >= to + n)
		unwrap_before(t, from);
}

/* Above and below the scroll region, lines to the screen's end are moved. */
static bool is_in_region(const struct terminal *t, int y)
{
	return y >= t->top && y <= t->bottom;
}

void lines_insert(struct terminal *t, int y, int n)
{
	int n_moved;

	if (!is_in_region(t, y)) {
		n = n < t->n_rows - y ? n : t->n_rows - y;
		lines_move(t, y + n, y, t->n_rows - y - n);
		return;
	}
	n = n < t->bottom + 1 - y ? n : t->bottom + 1 - y;
	n_moved = t->bottom + 1 - y - n;
	lines_move(t, y + n, y, n_moved);
	area_clear(t, 0, y + n_moved, t->n_columns, n - n_moved);
}

void lines_delete(struct terminal *t, int y, int n)
{
	int n_moved;

	if (!is_in_region(t, y)) {
		n = n < t->n_rows - y ? n : t->n_rows - y;
		lines_move(t, y, y + n, t->n_rows - y - n);
		area_clear(t, 0, t->n_rows - n, t->n_columns, y + n - (t->n_rows - n));
		return;
	}
	n = n < t->bottom + 1 - y ? n : t->bottom + 1 - y;
	n_moved = t->bottom + 1 - y - n;
	lines_move(t, y, y + n, n_moved);
	area_clear(t, 0, y + n_moved, t->n_columns, n - n_moved);
}

/* n: at most to the line's end. */
void cells_insert(struct terminal *t, int n)
{
	if (t->x == t->n_columns - 1)
		area_clear(t, t->x, t->y, 1, 1);
	else
		cells_move(t, t->y, t->x + n, t->x, t->n_columns - t->x - n);
}

void cells_delete(struct terminal *t, int n)
{
	cells_move(t, t->y, t->x, t->x + n, t->n_columns - t->x - n);
	area_clear(t, t->n_columns - n, t->y, t->x + n - (t->n_columns - n), 1);
}

static void push_history(struct terminal *t, const struct line *l)
{
	struct span text;
	int r = line_text(t, l, &text);

	if (r == 0)
		r = tape_append(&t->history, text);
	if (r < 0)
		t->failed = r;
}

/* The first line becomes an empty last one. */
static void scroll_up(struct terminal *t, int top, int bottom)
{
	push_history(t, &t->grid.lines[top]);
	rotate_up(t->grid.lines, top, bottom);
	line_reset(&t->grid.lines[bottom]);
}

/* A region's first line goes to the history as well, wherever the region begins. */
void region_scroll_up(struct terminal *t)
{
	if (is_alternate(t)) {
		lines_move(t, t->top, t->top + 1, t->bottom - t->top);
		return;
	}
	scroll_up(t, t->top, t->bottom);
}

void region_scroll_down(struct terminal *t)
{
	lines_move(t, t->top + 1, t->top, t->bottom - t->top);
}

void screen_clear(struct terminal *t)
{
	int n = t->n_rows;

	if (is_alternate(t)) {
		area_clear(t, 0, 0, t->n_columns, t->n_rows);
		return;
	}
	while (n && t->grid.lines[n - 1].n_used == 0)
		n--;
	for (int i = 0; i < n; i++)
		scroll_up(t, 0, t->n_rows - 1);
	area_clear(t, 0, 0, t->n_columns, t->n_rows - n);
}
