/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOL_SLOT_TERMINAL_H
#define TOOL_SLOT_TERMINAL_H

/*
 * A terminal: what a program wrote becomes a screen with its history, a title, and a recording; keys
 * by their tmux names become the bytes that this terminal, in its mode of the moment, sends. A pure
 * object: no descriptor, no clock. What is fed to it is hostile: memory is bounded, whatever comes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "wire/slot.h"

#define TERMINAL_COLUMNS         160
#define TERMINAL_ROWS            40
#define TERMINAL_COLUMNS_MIN     SLOT_COLUMNS_MIN
#define TERMINAL_COLUMNS_MAX     SLOT_COLUMNS_MAX
#define TERMINAL_ROWS_MIN        SLOT_ROWS_MIN
#define TERMINAL_ROWS_MAX        SLOT_ROWS_MAX
#define TERMINAL_HISTORY_MAX     20000       /* lines */
#define TERMINAL_HISTORY_BYTES   (16u << 20) /* of those lines; then the oldest go */
#define TERMINAL_RECORDING_BYTES (8u << 20)  /* the same */
#define TERMINAL_TITLE_MAX       1024

struct terminal;

/* NULL: there is no memory. */
struct terminal *terminal_new(uint16_t n_columns, uint16_t n_rows, uint64_t now_ns);
struct terminal *terminal_free(struct terminal *t);

/* What a program wrote. What the terminal has to answer it (cursor position reports, ...) is appended
 * to replies. -ENOMEM. */
int terminal_feed(struct terminal *t, struct span bytes, uint64_t now_ns, struct buf *replies);
int terminal_resize(struct terminal *t, uint16_t n_columns, uint16_t n_rows, uint64_t now_ns);

/* Appends what one of send_keys' strings comes to: a key by its tmux name (Enter, C-c, M-x, F5, Up,
 * ...), or else literal text. */
int terminal_keys(struct terminal *t, struct span key, struct buf *out);

/*
 * Appends the screen as text, as `tmux capture-pane -p` shows it: lines without the blanks at their
 * end, each followed by a newline; all: with the history before it.
 */
int terminal_capture(struct terminal *t, bool all, struct buf *out);

struct terminal_state {
	uint16_t n_columns, n_rows;
	uint16_t cursor_column, cursor_row; /* from 0 */
	struct span title;                  /* valid UTF-8; lives until the next feed */
};
void terminal_state(const struct terminal *t, struct terminal_state *ret);

/*
 * The recording, as asciicast version 2: a header line, then [seconds, "o", text] and, for a new size,
 * [seconds, "r", "COLUMNSxROWS"]. Whole lines from *offset on, of together n_max bytes at most (but
 * one line at least), are appended. *offset moves behind them; *ret_n_dropped: bytes that had to go
 * before they were read; *ret_more: there is more to be had now. restart: from the beginning.
 */
int terminal_stream(struct terminal *t, bool restart, uint64_t n_max, struct buf *out,
		    uint64_t *ret_offset, uint64_t *ret_n_dropped, bool *ret_more);

/* Is this on the screen? text: as it stands in terminal_capture()'s lines. */
struct terminal_pattern;
/* NULL with *ret_error, a literal, if it is no extended regular expression (terminal_regex.h). */
struct terminal_pattern *terminal_pattern_new(struct span text, bool is_regex,
					      const char **ret_error);
struct terminal_pattern *terminal_pattern_free(struct terminal_pattern *p);
/* 1, 0, or -ENOMEM. */
int terminal_shows(struct terminal *t, const struct terminal_pattern *p);

#endif
