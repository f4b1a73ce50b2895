/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOL_SLOT_TERMINAL_REGEX_H
#define TOOL_SLOT_TERMINAL_REGEX_H

/*
 * Does a text hold something like this? POSIX extended regular expressions on UTF-8, line by line ("^",
 * "$", and neither "." nor "[^a]" is a newline), with \d \w \s \b and their opposites besides, and
 * without back-references. Its own, since the pattern is a stranger's: the work is at most the text's
 * length times REGEX_STEPS_MAX, and the memory is what the struct has.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

#define REGEX_STEPS_MAX  1000
#define REGEX_RANGES_MAX 1000

enum step_kind {
	/* meet a character */
	STEP_CHARACTER,
	STEP_ANY,
	STEP_SET,
	/* meet none */
	STEP_FORK,
	STEP_JUMP, /* to[0] */
	STEP_LINE_START,
	STEP_LINE_END,
	STEP_WORD_EDGE,
	STEP_NO_WORD_EDGE,
	STEP_FOUND,
};

struct regex_step {
	enum step_kind kind;
	uint32_t code; /* a character, or the first range of a set */
	uint16_t n_ranges;
	bool inverted;
	int16_t to[2]; /* from here: where it goes on */
};

struct regex {
	int n_steps, n_ranges;
	struct regex_step steps[REGEX_STEPS_MAX];
	struct {
		uint32_t first, last;
	} ranges[REGEX_RANGES_MAX];
};

/* false with *ret_error, a literal: it is none. */
bool regex_compile(struct regex *r, struct span pattern, const char **ret_error);
/* 1, 0, or -ENOMEM. */
int regex_found(const struct regex *r, struct span text);

#endif
