/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOL_SLOT_TERMINAL_PARTS_H
#define TOOL_SLOT_TERMINAL_PARTS_H

/*
 * What terminal*.c share. Bytes go down: terminal.c records them (terminal_stream.c) and has them
 * parsed (terminal_parse.c); what they ask for is looked up (terminal_control.c) and done to cells and
 * lines (terminal_screen.c, terminal_lines.c); lines that leave the screen become text on a tape
 * (terminal_tape.c).
 */

#include "tool/slot/terminal.h"

/*
 * A cell: a code point with flags. CELL_COMBINED: more than one code point; the value then is the
 * index of its text. A wide character is followed by CELL_PADDING, as long as nothing tears the two
 * apart. Colours are not kept: nobody asks for them.
 */
#define CELL_COMBINED (UINT32_C(1) << 31)
#define CELL_WIDE     (UINT32_C(1) << 30)
#define CELL_PADDING  (UINT32_C(1) << 29)
#define CELL_VALUE    UINT32_C(0x1fffff)
#define CELL_BLANK    ((uint32_t)' ')
#define CELL_TEXT_MAX 21 /* bytes, as in tmux; what would make it more is left out */

struct cell_text {
	uint8_t n;
	uint8_t bytes[CELL_TEXT_MAX];
};

struct line {
	uint32_t *cells; /* as many as the screen has columns */
	int n_used;      /* those from here on are blank, and not filled in */
	bool wrapped;    /* the next line is its continuation */
};

/* Cells of one screen: lines point to rows of the block, in any order. */
struct grid {
	struct line *lines;
	uint32_t *block;
};

/* Lines of text, each with its newline, of which the oldest go. */
struct tape {
	uint8_t *data;
	size_t start, end, size;
	size_t n_max; /* bytes */
	uint32_t n_lines, n_lines_max;
	uint64_t n_gone; /* bytes that were dropped so far */
};

enum terminal_mode {
	MODE_WRAP = 1 << 0,
	MODE_INSERT = 1 << 1,
	MODE_ORIGIN = 1 << 2,
	MODE_CURSOR_KEYS = 1 << 3,
	MODE_KEYPAD = 1 << 4,
	MODE_EXTENDED_KEYS = 1 << 5,
};

/* States of the parser: DEC's, as in tmux. */
enum parse_state {
	PARSE_GROUND,
	PARSE_ESC,
	PARSE_ESC_INTERMEDIATE,
	PARSE_CSI,
	PARSE_CSI_PARAMETER,
	PARSE_CSI_INTERMEDIATE,
	PARSE_CSI_IGNORE,
	PARSE_DCS,
	PARSE_DCS_PARAMETER,
	PARSE_DCS_INTERMEDIATE,
	PARSE_DCS_DATA,
	PARSE_DCS_ESC,
	PARSE_DCS_IGNORE,
	PARSE_OSC,
	PARSE_STRING, /* APC, PM, SOS and ESC k: up to ST, and thrown away */
};

#define INTERMEDIATES_MAX 3
#define PARAMETERS_MAX    63 /* characters of them; a longer sequence does nothing */
#define PARAMETER_MAX     23

struct parser {
	enum parse_state state;
	bool discard; /* too long: does nothing at its end */
	char intermediates[INTERMEDIATES_MAX + 1];
	char parameters[PARAMETERS_MAX + 1];
	int n_intermediates, n_parameters;
	uint64_t since_ns; /* when a string began */
	/* A character of more than one byte, which nothing but text and controls break off. */
	uint8_t utf8[4];
	int n_utf8, n_utf8_whole;
	bool utf8_broken;
	int last; /* what REP repeats, or -1 */
	size_t n_string;
	uint8_t string[TERMINAL_TITLE_MAX + 16]; /* of an OSC: its number and a title's bytes */
};

#define TITLES_MAX 8 /* that CSI 22 t keeps */

struct terminal {
	int n_columns, n_rows;
	int x, y;        /* x may be n_columns: the next character goes to the next line */
	int top, bottom; /* of the scroll region */
	unsigned modes;  /* enum terminal_mode */
	bool shifted;    /* G1, not G0 */
	bool drawing[2]; /* line drawing is in G0, G1 */
	bool join;       /* a zero width joiner came: the next character is part of the last */
	int failed;      /* -ENOMEM: something is missing on the screen */
	struct {
		int x, y;
		bool shifted, drawing[2], origin;
	} saved;                 /* DECSC */
	struct grid grid;        /* what is shown */
	struct grid main;        /* while the alternate screen is shown; else without lines */
	int main_x, main_y;      /* the cursor then; -1: never kept */
	uint8_t *tabs;           /* one for each column */
	struct cell_text *texts; /* of combined cells; those nobody uses are swept now and then */
	uint32_t n_texts, size_texts;
	struct buf scratch; /* a line as text */
	struct tape history;
	struct parser parser;
	struct buf *replies; /* while being fed */
	char title[TERMINAL_TITLE_MAX + 1];
	char *titles[TITLES_MAX];
	int n_titles;
	/* the recording */
	struct tape tape;
	struct buf header; /* its first line */
	uint64_t started_ns;
	uint64_t read_at; /* what terminal_stream() gives next */
	uint8_t split[4]; /* the beginning of a character whose rest is still to come */
	size_t n_split;
};

/* terminal_tape.c */
void tape_init(struct tape *tape, size_t n_max, uint32_t n_lines_max);
void tape_deinit(struct tape *tape);
/* A line without its newline; -ENOMEM. */
int tape_append(struct tape *tape, struct span line);
static inline struct span tape_text(const struct tape *tape)
{
	return span_of(tape->data ? tape->data + tape->start : NULL, tape->end - tape->start);
}

/* terminal_width.c: columns of a character, 0 to 2; -1: none that is shown. */
int character_width(uint32_t c);
/* At most 4 bytes; returns how many. */
size_t character_encode(uint32_t c, uint8_t *ret_bytes);
/* Of one whole character, as utf8_character() finds it. */
uint32_t character_decode(const uint8_t *s, size_t n);

/* terminal_lines.c: cells and lines, without a cursor. */
int grid_init(struct grid *g, int n_columns, int n_rows);
void grid_deinit(struct grid *g);
uint32_t line_get(const struct line *l, int x);
void line_set(struct line *l, int x, uint32_t cell);
/* The cell with one more code point, -ENOMEM. */
int cell_append(struct terminal *t, struct line *l, int x, uint32_t c);
/* Without the blanks at its end; valid until the next call. -ENOMEM. */
int line_text(struct terminal *t, const struct line *l, struct span *ret_text);
void area_clear(struct terminal *t, int x, int y, int n_columns, int n_rows);
void cells_move(struct terminal *t, int y, int to, int from, int n);
void lines_move(struct terminal *t, int to, int from, int n);
void lines_insert(struct terminal *t, int y, int n);
void lines_delete(struct terminal *t, int y, int n);
void cells_insert(struct terminal *t, int n);
void cells_delete(struct terminal *t, int n);
void region_scroll_up(struct terminal *t);
void region_scroll_down(struct terminal *t);
/* Empties the screen; what was on it goes to the history, unless the screen is the alternate one. */
void screen_clear(struct terminal *t);
static inline bool is_alternate(const struct terminal *t)
{
	return t->main.lines;
}

/* terminal_screen.c: what writes at the cursor, and moves it. */
void screen_print(struct terminal *t, const uint8_t *bytes, size_t n); /* printable ASCII */
void screen_put(struct terminal *t, uint32_t c, int width);
void screen_linefeed(struct terminal *t, bool wrapped);
void screen_reverse_linefeed(struct terminal *t);
void screen_backspace(struct terminal *t);
void screen_tab(struct terminal *t);
void screen_tab_back(struct terminal *t, int n);
void screen_tabs_reset(struct terminal *t);
void screen_up(struct terminal *t, int n);
void screen_down(struct terminal *t, int n);
void screen_right(struct terminal *t, int n);
void screen_left(struct terminal *t, int n);
/* -1: as it is. origin: relative to the scroll region, if that mode is on. */
void screen_move(struct terminal *t, int x, int y, bool origin);
void screen_region(struct terminal *t, int top, int bottom);
void screen_save(struct terminal *t);
void screen_restore(struct terminal *t);
void screen_alignment(struct terminal *t);
void screen_alternate(struct terminal *t, bool on, bool with_cursor);
void screen_reset(struct terminal *t);

/* terminal_parse.c */
void parser_init(struct parser *p);
void parser_feed(struct terminal *t, struct span bytes, uint64_t now_ns);

/* terminal_control.c: a control character, and sequences at their end. */
void control_c0(struct terminal *t, uint8_t c);
void control_esc(struct terminal *t, uint8_t c);
void control_csi(struct terminal *t, uint8_t c);
void control_osc(struct terminal *t);

/* terminal_stream.c: all -ENOMEM. */
int stream_init(struct terminal *t, uint64_t now_ns);
void stream_deinit(struct terminal *t);
int stream_output(struct terminal *t, struct span bytes, uint64_t now_ns);
int stream_resize(struct terminal *t, uint64_t now_ns);

#endif
