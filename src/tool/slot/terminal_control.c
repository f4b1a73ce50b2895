/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What control characters and sequences mean: what tmux 3.3a knows, but for colours, the mouse and the
 * like, which do not show in text. Numbers are clamped to the screen by what they are given to, so none
 * of them makes more work than the screen has cells.
 */
#include "tool/slot/terminal_parts.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"
#include "base/utf8.h"

#define MISSING (-1) /* of a parameter: it is not there */
#define STRANGE (-2) /* it has parts ("4:3") */

struct parameters {
	int n;
	int values[PARAMETER_MAX];
};

/* Anything that is too large or too much makes the sequence do nothing. */
static bool parameters_read(const char *text, struct parameters *ret)
{
	struct parameters p = {0};
	bool digits = false, parts = false;
	int64_t value = 0;

	if (!*text) {
		*ret = p;
		return true;
	}
	for (;; text++) {
		if (*text >= '0' && *text <= '9') {
			digits = true;
			value = 10 * value + (*text - '0');
			if (value > INT_MAX)
				value = (int64_t)INT_MAX + 1;
			continue;
		}
		if (*text == ':') {
			parts = true;
			continue;
		}
		if (!parts && value > INT_MAX)
			return false;
		if (p.n == PARAMETER_MAX)
			return false;
		p.values[p.n++] = parts ? STRANGE : digits ? (int)value : MISSING;
		digits = parts = false;
		value = 0;
		if (!*text)
			break;
	}
	*ret = p;
	return true;
}

/* At least min; or -1: nothing is to be done. */
static int get(const struct parameters *p, int i, int min, int otherwise)
{
	if (i >= p->n || p->values[i] == MISSING)
		return otherwise;
	if (p->values[i] == STRANGE)
		return -1;
	return p->values[i] < min ? min : p->values[i];
}

/* Where there is no room for it, a reply is lost. */
static void reply(struct terminal *t, const char *text)
{
	buf_append(t->replies, text, strlen(text));
}

static void reply_pair(struct terminal *t, const char *before, int a, int b, const char *after)
{
	char text[64] = "";

	strcpy(text, before);
	decimal_append(text, sizeof(text), (uint64_t)a);
	strcat(text, ";");
	decimal_append(text, sizeof(text), (uint64_t)b);
	strcat(text, after);
	reply(t, text);
}

static void report_status(struct terminal *t, int what)
{
	int x = t->x < t->n_columns ? t->x : t->n_columns - 1;

	if (what == 5)
		reply(t, "\033[0n");
	else if (what == 6)
		reply_pair(t, "\033[", t->y + 1, x + 1, "R");
}

void control_c0(struct terminal *t, uint8_t c)
{
	switch (c) {
	case '\b':
		screen_backspace(t);
		break;
	case '\t':
		screen_tab(t);
		break;
	case '\n':
	case '\v':
	case '\f':
		screen_linefeed(t, false);
		break;
	case '\r':
		t->x = 0;
		break;
	case 0x0e:
	case 0x0f:
		t->shifted = c == 0x0e;
		break;
	default:
		break;
	}
	t->parser.last = -1;
}

static void set_mode(struct terminal *t, unsigned mode, bool on)
{
	t->modes = on ? t->modes | mode : t->modes & ~mode;
}

/* false: not known. */
static bool esc_plain(struct terminal *t, uint8_t c)
{
	switch (c) {
	case '7':
		screen_save(t);
		return true;
	case '8':
		screen_restore(t);
		return true;
	case '=':
	case '>':
		set_mode(t, MODE_KEYPAD, c == '=');
		return true;
	case 'E':
		t->x = 0;
		screen_linefeed(t, false);
		return true;
	case 'D':
		screen_linefeed(t, false);
		return true;
	case 'H':
		if (t->x < t->n_columns)
			t->tabs[t->x] = true;
		return true;
	case 'M':
		screen_reverse_linefeed(t);
		return true;
	case 'c':
		screen_reset(t);
		return true;
	default:
		return c == '\\';
	}
}

void control_esc(struct terminal *t, uint8_t c)
{
	const char *kind = t->parser.intermediates;

	if (!*kind) {
		if (!esc_plain(t, c))
			return;
	} else if (strcmp(kind, "#") == 0 && c == '8') {
		screen_alignment(t);
	} else if ((strcmp(kind, "(") == 0 || strcmp(kind, ")") == 0) && (c == '0' || c == 'B')) {
		t->drawing[*kind == ')'] = c == '0';
	} else {
		return;
	}
	t->parser.last = -1;
}

static void erase_screen(struct terminal *t, const struct parameters *p)
{
	switch (get(p, 0, 0, 0)) {
	case 0:
		if (t->x == 0 && t->y == 0) {
			screen_clear(t);
			break;
		}
		area_clear(t, t->x, t->y, t->n_columns - t->x, 1);
		area_clear(t, 0, t->y + 1, t->n_columns, t->n_rows - t->y - 1);
		break;
	case 1:
		area_clear(t, 0, 0, t->n_columns, t->y);
		area_clear(t, 0, t->y, t->x < t->n_columns ? t->x + 1 : t->n_columns, 1);
		break;
	case 2:
		screen_clear(t);
		break;
	case 3:
		if (get(p, 1, 0, 0) == 0)
			tape_deinit(&t->history);
		break;
	default:
		break;
	}
}

static void erase_line(struct terminal *t, int what)
{
	int n = t->x < t->n_columns ? t->x + 1 : t->n_columns;

	if (what < 0 || what > 2)
		return;
	if (what == 0 && t->x)
		area_clear(t, t->x, t->y, t->n_columns - t->x, 1);
	else if (what == 1 && n < t->n_columns)
		area_clear(t, 0, t->y, n, 1);
	else if (t->grid.lines[t->y].n_used)
		area_clear(t, 0, t->y, t->n_columns, 1);
}

static void repeat(struct terminal *t, int n)
{
	uint8_t c = (uint8_t)t->parser.last;

	if (t->parser.last < 0)
		return;
	if (n > t->n_columns - t->x)
		n = t->n_columns - t->x;
	for (int i = 0; i < n; i++)
		screen_print(t, &c, 1);
}

static void private_mode(struct terminal *t, int mode, bool on)
{
	switch (mode) {
	case 1:
		set_mode(t, MODE_CURSOR_KEYS, on);
		break;
	case 3:
		screen_move(t, 0, 0, true);
		screen_clear(t);
		break;
	case 6:
		set_mode(t, MODE_ORIGIN, on);
		screen_move(t, 0, 0, true);
		break;
	case 7:
		set_mode(t, MODE_WRAP, on);
		break;
	case 47:
	case 1047:
		screen_alternate(t, on, false);
		break;
	case 1049:
		screen_alternate(t, on, true);
		break;
	default:
		break;
	}
}

static void keep_title(struct terminal *t)
{
	char *title;

	if (t->n_titles == TITLES_MAX)
		return;
	title = strdup(t->title);
	if (title)
		t->titles[t->n_titles++] = title;
}

static void restore_title(struct terminal *t)
{
	if (t->n_titles == 0)
		return;
	strcpy(t->title, t->titles[--t->n_titles]);
	free(t->titles[t->n_titles]);
	t->titles[t->n_titles] = NULL;
}

static void window_operations(struct terminal *t, const struct parameters *p)
{
	for (int i = 0, what; (what = get(p, i, 0, -1)) != -1; i++) {
		int n_arguments = what == 3 || what == 4 || what == 8 ? 2
				  : what == 9 || what == 10           ? 1
				  : what == 22 || what == 23          ? 1
								      : 0;

		for (int k = 0; k < n_arguments; k++)
			if (get(p, ++i, 0, -1) == -1)
				return;
		if (what == 18)
			reply_pair(t, "\033[8;", t->n_rows, t->n_columns, "t");
		if (what == 22 && (p->values[i] == 0 || p->values[i] == 2))
			keep_title(t);
		if (what == 23 && (p->values[i] == 0 || p->values[i] == 2))
			restore_title(t);
	}
}

/* One number, 1 if it is not given: how often, or which column or line. */
static bool csi_moves(struct terminal *t, uint8_t c, int n)
{
	switch (c) {
	case 'A':
		screen_up(t, n);
		return true;
	case 'B':
		screen_down(t, n);
		return true;
	case 'C':
		screen_right(t, n);
		return true;
	case 'D':
		screen_left(t, n);
		return true;
	case 'E':
		t->x = 0;
		screen_down(t, n);
		return true;
	case 'F':
		t->x = 0;
		screen_up(t, n);
		return true;
	case 'G':
	case '`':
		screen_move(t, n - 1, -1, true);
		return true;
	case 'd':
		screen_move(t, -1, n - 1, true);
		return true;
	case 'Z':
		screen_tab_back(t, n);
		return true;
	default:
		return false;
	}
}

static bool csi_changes(struct terminal *t, uint8_t c, int n)
{
	int n_left = t->n_columns - t->x, n_region = t->bottom - t->top + 1;
	int n_cells = n < n_left ? n : n_left;

	switch (c) {
	case '@':
		if (n_cells > 0)
			cells_insert(t, n_cells);
		return true;
	case 'P':
		if (n_cells > 0)
			cells_delete(t, n_cells);
		return true;
	case 'X':
		area_clear(t, t->x, t->y, n_cells, 1);
		return true;
	case 'L':
		lines_insert(t, t->y, n);
		return true;
	case 'M':
		lines_delete(t, t->y, n);
		return true;
	case 'S':
		for (int i = 0; i < n && i < n_region; i++)
			region_scroll_up(t);
		return true;
	case 'T':
		for (int i = 0; i < n && i < n_region; i++)
			region_scroll_down(t);
		return true;
	case 'b':
		repeat(t, n);
		return true;
	default:
		return false;
	}
}

static void clear_tabs(struct terminal *t, int which)
{
	if (which == 0 && t->x < t->n_columns)
		t->tabs[t->x] = false;
	else if (which == 3)
		memset(t->tabs, 0, (size_t)t->n_columns);
}

/* false: not known. */
static bool csi_plain(struct terminal *t, uint8_t c, const struct parameters *p)
{
	int n = get(p, 0, 1, 1), m;

	switch (c) {
	case 'H':
	case 'f':
		m = get(p, 1, 1, 1);
		if (n != -1 && m != -1)
			screen_move(t, m - 1, n - 1, true);
		return true;
	case 'J':
		erase_screen(t, p);
		return true;
	case 'K':
		erase_line(t, get(p, 0, 0, 0));
		return true;
	case 'c':
		if (get(p, 0, 0, 0) == 0)
			reply(t, "\033[?1;2c");
		return true;
	case 'g':
		clear_tabs(t, get(p, 0, 0, 0));
		return true;
	case 'h':
	case 'l':
		for (int i = 0; i < p->n; i++)
			if (get(p, i, 0, -1) == 4)
				set_mode(t, MODE_INSERT, c == 'h');
		return true;
	case 'n':
		report_status(t, get(p, 0, 0, 0));
		return true;
	case 'r':
		m = get(p, 1, 1, t->n_rows);
		if (n != -1 && m != -1)
			screen_region(t, n - 1, m - 1);
		return true;
	case 's':
		screen_save(t);
		return true;
	case 'u':
		screen_restore(t);
		return true;
	case 't':
		window_operations(t, p);
		return true;
	case 'm':
		return true;
	default:
		break;
	}
	if (n != -1)
		return csi_moves(t, c, n) || csi_changes(t, c, n);
	return c && strchr("ABCDEFG`dZ@PXLMSTb", c);
}

/* CSI > ... : what terminal this is, and how keys with modifiers are sent. */
static bool csi_greater(struct terminal *t, uint8_t c, const struct parameters *p)
{
	int n = get(p, 0, 0, 0), m = get(p, 1, 0, 0);

	switch (c) {
	case 'c':
		if (n == 0)
			reply(t, "\033[>84;0;0c");
		return true;
	case 'q':
		if (n == 0)
			reply(t, "\033P>|toolring\033\\");
		return true;
	case 'm':
		if (n == 0 || (n == 4 && m == 0))
			set_mode(t, MODE_EXTENDED_KEYS, false);
		else if (n == 4 && (m == 1 || m == 2))
			set_mode(t, MODE_EXTENDED_KEYS, true);
		return true;
	case 'n':
		if (n == 4)
			set_mode(t, MODE_EXTENDED_KEYS, false);
		return true;
	default:
		return false;
	}
}

void control_csi(struct terminal *t, uint8_t c)
{
	const char *kind = t->parser.intermediates;
	struct parameters p;
	bool known = false;

	if (!parameters_read(t->parser.parameters, &p))
		return;
	if (!*kind) {
		known = csi_plain(t, c, &p);
	} else if (strcmp(kind, "?") == 0 && (c == 'h' || c == 'l')) {
		for (int i = 0; i < p.n; i++)
			private_mode(t, get(&p, i, 0, -1), c == 'h');
		known = true;
	} else if (strcmp(kind, ">") == 0) {
		known = csi_greater(t, c, &p);
	}
	if (known || (strcmp(kind, " ") == 0 && c == 'q'))
		t->parser.last = -1;
}

/* A title is shown as it is, or not at all; one that is too long is cut. */
void control_osc(struct terminal *t)
{
	struct parser *p = &t->parser;
	unsigned number = 0;
	size_t at = 0, n;

	if (p->n_string == 0 || p->string[0] < '0' || p->string[0] > '9')
		return;
	while (at < p->n_string && p->string[at] >= '0' && p->string[at] <= '9')
		number = 10 * number + (unsigned)(p->string[at++] - '0');
	if (number != 0 && number != 2)
		return;
	if (at < p->n_string && p->string[at] == ';')
		at++;
	n = p->n_string - at;
	if (n > TERMINAL_TITLE_MAX) {
		n = TERMINAL_TITLE_MAX;
		while (n && (p->string[at + n] & 0xc0) == 0x80)
			n--;
	}
	for (size_t i = 0, step; i < n; i += step) {
		step = utf8_character(p->string + at + i, n - i);
		if (step == 0 || p->string[at + i] == 0x7f ||
		    (p->string[at + i] == 0xc2 && p->string[at + i + 1] < 0xa0))
			return;
	}
	memcpy(t->title, p->string + at, n);
	t->title[n] = '\0';
}
