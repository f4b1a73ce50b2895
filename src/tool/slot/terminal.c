/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal as an object. It is our own, not libvterm: what is asked of it is that text looks as in
 * tmux, whose wrapping, widths, history and erasing differ from libvterm's; and libvterm 0.1.4, that of
 * Debian 12, writes past its array at the 17th parameter of a sequence.
 *
 * Memory: cells for the screen (4 bytes each, and once more while the alternate screen is shown), of
 * which only those that were written to are ever touched; history and recording as text, as long as
 * they are, up to their limits.
 */
#include "tool/slot/terminal_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SCRATCH_MAX  ((size_t)TERMINAL_COLUMNS_MAX * CELL_TEXT_MAX * 4)
#define SCRATCH_KEEP 2048

struct terminal *terminal_new(uint16_t n_columns, uint16_t n_rows, uint64_t now_ns)
{
	struct terminal *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->n_columns = n_columns;
	t->n_rows = n_rows;
	t->bottom = n_rows - 1;
	t->modes = MODE_WRAP;
	t->main_x = t->main_y = -1;
	parser_init(&t->parser);
	buf_init(&t->scratch, SCRATCH_MAX);
	tape_init(&t->history, TERMINAL_HISTORY_BYTES, TERMINAL_HISTORY_MAX);
	t->tabs = malloc(n_columns);
	if (!t->tabs || grid_init(&t->grid, n_columns, n_rows) < 0 || stream_init(t, now_ns) < 0)
		return terminal_free(t);
	screen_tabs_reset(t);
	return t;
}

struct terminal *terminal_free(struct terminal *t)
{
	if (!t)
		return NULL;
	grid_deinit(&t->grid);
	grid_deinit(&t->main);
	tape_deinit(&t->history);
	stream_deinit(t);
	buf_deinit(&t->scratch);
	for (int i = 0; i < t->n_titles; i++)
		free(t->titles[i]);
	free(t->texts);
	free(t->tabs);
	free(t);
	return NULL;
}

int terminal_feed(struct terminal *t, struct span bytes, uint64_t now_ns, struct buf *replies)
{
	int r = stream_output(t, bytes, now_ns);

	t->failed = 0;
	t->replies = replies;
	parser_feed(t, bytes, now_ns);
	t->replies = NULL;
	buf_trim(&t->scratch, SCRATCH_KEEP);
	return r < 0 ? r : t->failed;
}

/* Of the lines of one screen, those to keep as the new ones; what is pushed out at the top goes to the
 * history, unless it is the alternate screen's. */
static int fit_rows(struct terminal *t, const struct grid *g, int n_rows, int y, bool alternate)
{
	int n_over = t->n_rows - n_rows, n_below = t->n_rows - 1 - y, r = 0;

	n_over -= n_over < n_below ? n_over : n_below;
	for (int i = 0; i < n_over && !alternate; i++) {
		struct span text;

		r = line_text(t, &g->lines[i], &text);
		if (r == 0)
			r = tape_append(&t->history, text);
		if (r < 0)
			t->failed = r;
	}
	return n_over > 0 ? n_over : 0;
}

static void copy_rows(const struct terminal *t, const struct grid *from, int first, struct grid *to,
		      int n_columns, int n_rows)
{
	for (int y = 0; y < n_rows && first + y < t->n_rows; y++) {
		const struct line *l = &from->lines[first + y];
		struct line *copy = &to->lines[y];
		int n = l->n_used < n_columns ? l->n_used : n_columns;

		memcpy(copy->cells, l->cells, (size_t)n * sizeof(*l->cells));
		copy->n_used = n;
		copy->wrapped = l->wrapped;
		if (n && n < l->n_used && l->cells[n] & CELL_PADDING)
			copy->cells[n - 1] = CELL_BLANK;
	}
}

/* All memory first, so that there is the old screen or the new one. */
int terminal_resize(struct terminal *t, uint16_t n_columns, uint16_t n_rows, uint64_t now_ns)
{
	struct grid grid = {0}, below = {0};
	uint8_t *tabs = malloc(n_columns);
	int n;

	if (!tabs || grid_init(&grid, n_columns, n_rows) < 0 ||
	    (is_alternate(t) && grid_init(&below, n_columns, n_rows) < 0)) {
		free(tabs);
		grid_deinit(&grid);
		return -ENOMEM;
	}
	if (is_alternate(t)) {
		n = fit_rows(t, &t->main, n_rows, t->main_y < 0 ? 0 : t->main_y, false);
		copy_rows(t, &t->main, n, &below, n_columns, n_rows);
		t->main_y = t->main_y < n ? t->main_y : t->main_y - n;
	}
	n = fit_rows(t, &t->grid, n_rows, t->y, is_alternate(t));
	copy_rows(t, &t->grid, n, &grid, n_columns, n_rows);
	t->y -= n;
	grid_deinit(&t->grid);
	grid_deinit(&t->main);
	free(t->tabs);
	t->grid = grid;
	t->main = below;
	t->tabs = tabs;
	t->n_columns = n_columns;
	t->n_rows = n_rows;
	t->top = 0;
	t->bottom = n_rows - 1;
	if (t->x >= n_columns)
		t->x = n_columns - 1;
	screen_tabs_reset(t);
	return stream_resize(t, now_ns);
}

int terminal_capture(struct terminal *t, bool all, struct buf *out)
{
	size_t n_before = out->n;
	int r = 0;

	if (all) {
		struct span text = tape_text(&t->history);

		r = buf_append(out, text.data, text.n);
	}
	for (int y = 0; y < t->n_rows && r == 0; y++) {
		struct span text;

		r = line_text(t, &t->grid.lines[y], &text);
		if (r == 0)
			r = buf_append(out, text.data, text.n);
		if (r == 0)
			r = buf_append(out, "\n", 1);
	}
	if (r < 0)
		out->n = n_before;
	buf_trim(&t->scratch, SCRATCH_KEEP);
	return r;
}

void terminal_state(const struct terminal *t, struct terminal_state *ret)
{
	ret->n_columns = (uint16_t)t->n_columns;
	ret->n_rows = (uint16_t)t->n_rows;
	ret->cursor_column = (uint16_t)(t->x < t->n_columns ? t->x : t->n_columns - 1);
	ret->cursor_row = (uint16_t)t->y;
	ret->title = span_string(t->title);
}
