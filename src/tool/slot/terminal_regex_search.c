/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All ways through a regular expression's steps are gone at once, one character of the text at a time
 * (Thompson 1968), so that no text makes it slow.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "tool/slot/terminal_parts.h"
#include "tool/slot/terminal_regex.h"

/* Steps that wait for the next character. */
struct front {
	int n;
	int16_t *steps;
};

struct search {
	const struct regex *r;
	uint32_t *seen; /* the last round in which a step was reached */
	int16_t *stack;
	uint32_t round;
	bool found;
};

struct around {
	bool line_start, line_end, word_edge;
};

static bool passes(const struct regex_step *s, const struct around *a)
{
	switch (s->kind) {
	case STEP_LINE_START:
		return a->line_start;
	case STEP_LINE_END:
		return a->line_end;
	case STEP_WORD_EDGE:
		return a->word_edge;
	case STEP_NO_WORD_EDGE:
		return !a->word_edge;
	default:
		return true;
	}
}

/* Follows a step to all those that wait for a character. */
static void reach(struct search *f, struct front *front, int first, const struct around *a)
{
	int n = 0;

	if (f->seen[first] == f->round)
		return;
	f->seen[first] = f->round;
	f->stack[n++] = (int16_t)first;
	while (n) {
		int at = f->stack[--n];
		const struct regex_step *s = &f->r->steps[at];

		if (s->kind == STEP_FOUND)
			f->found = true;
		if (s->kind <= STEP_SET) {
			front->steps[front->n++] = (int16_t)at;
			continue;
		}
		for (int i = 0; i < 2 && s->kind != STEP_FOUND && passes(s, a); i++) {
			int to = at + (s->kind == STEP_JUMP ? s->to[0] : s->to[i]);

			if (f->seen[to] == f->round)
				continue;
			f->seen[to] = f->round;
			f->stack[n++] = (int16_t)to;
		}
	}
}

static bool meets(const struct regex *r, const struct regex_step *s, uint32_t c)
{
	if (s->kind == STEP_CHARACTER)
		return s->code == c;
	if (c == '\n')
		return false;
	if (s->kind == STEP_ANY)
		return true;
	for (uint32_t i = s->code; i < s->code + s->n_ranges; i++)
		if (c >= r->ranges[i].first && c <= r->ranges[i].last)
			return !s->inverted;
	return s->inverted;
}

static bool is_word(uint32_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '_' || c >= 0xa1;
}

static void search(struct search *f, struct span text, struct front *now, struct front *next)
{
	uint32_t before = '\n';

	for (;;) {
		size_t n = text.n ? utf8_character(text.data, text.n) : 0;
		uint32_t c = n ? character_decode(text.data, n) : '\n';
		struct around a = {.line_start = before == '\n',
				   .line_end = c == '\n',
				   .word_edge = is_word(before) != is_word(c)};
		struct front *swap = now;

		f->round++;
		next->n = 0;
		for (int i = 0; i < now->n; i++)
			reach(f, next, now->steps[i], &a);
		reach(f, next, 0, &a);
		if (f->found || text.n == 0)
			return;
		/* What waits goes on behind the character it met. */
		now = next;
		next = swap;
		next->n = 0;
		for (int i = 0; i < now->n; i++)
			if (meets(f->r, &f->r->steps[now->steps[i]], c))
				next->steps[next->n++] = (int16_t)(now->steps[i] + 1);
		swap = now;
		now = next;
		next = swap;
		before = c;
		text = span_of(text.data + (n ? n : 1), text.n - (n ? n : 1));
	}
}

int regex_found(const struct regex *r, struct span text)
{
	size_t n = (size_t)r->n_steps;
	struct front now = {0}, next = {0};
	struct search f = {.r = r};
	int result = -ENOMEM;

	f.seen = calloc(n, sizeof(*f.seen));
	f.stack = calloc(n, sizeof(*f.stack));
	now.steps = calloc(n, sizeof(*now.steps));
	next.steps = calloc(n, sizeof(*next.steps));
	if (f.seen && f.stack && now.steps && next.steps) {
		search(&f, text, &now, &next);
		result = f.found;
	}
	free(f.seen);
	free(f.stack);
	free(now.steps);
	free(next.steps);
	return result;
}
