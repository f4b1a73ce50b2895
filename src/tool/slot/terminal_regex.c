/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An expression becomes steps: a character to be met, a condition, or a fork. Where they lead to is
 * relative, which lets what is to be repeated be copied and moved.
 */
#include "tool/slot/terminal_regex.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "tool/slot/terminal_parts.h"

#define DEPTH_MAX  100
#define REPEAT_MAX 255
#define ENDLESS    (-1)

struct compiler {
	struct regex *r;
	struct span rest;
	int depth;
	const char *error;
};

static bool fail(struct compiler *c, const char *error)
{
	if (!c->error)
		c->error = error;
	return false;
}

static int peek(const struct compiler *c)
{
	return c->rest.n ? c->rest.data[0] : -1;
}

static void skip(struct compiler *c, size_t n)
{
	c->rest = span_of(c->rest.data + n, c->rest.n - n);
}

static bool accept(struct compiler *c, const char *text)
{
	size_t n = strlen(text);

	if (c->rest.n < n || memcmp(c->rest.data, text, n) != 0)
		return false;
	skip(c, n);
	return true;
}

static bool take_character(struct compiler *c, uint32_t *ret_code)
{
	size_t n = utf8_character(c->rest.data, c->rest.n);

	if (n == 0)
		return fail(c, "Not UTF-8");
	*ret_code = character_decode(c->rest.data, n);
	skip(c, n);
	return true;
}

/* Makes a gap of one step at that place. */
static struct regex_step *insert(struct compiler *c, int at, enum step_kind kind)
{
	struct regex *r = c->r;

	if (r->n_steps == REGEX_STEPS_MAX) {
		fail(c, "Regular expression too big");
		return NULL;
	}
	memmove(r->steps + at + 1, r->steps + at, (size_t)(r->n_steps - at) * sizeof(*r->steps));
	r->n_steps++;
	r->steps[at] = (struct regex_step){.kind = kind, .to = {1, 1}};
	return &r->steps[at];
}

static struct regex_step *append(struct compiler *c, enum step_kind kind)
{
	return insert(c, c->r->n_steps, kind);
}

static bool add_range(struct compiler *c, uint32_t first, uint32_t last)
{
	if (c->r->n_ranges == REGEX_RANGES_MAX)
		return fail(c, "Regular expression too big");
	c->r->ranges[c->r->n_ranges].first = first;
	c->r->ranges[c->r->n_ranges++].last = last;
	return true;
}

static bool add_ranges(struct compiler *c, const char *pairs)
{
	for (; *pairs; pairs += 2)
		if (!add_range(c, (uint8_t)pairs[0], (uint8_t)pairs[1]))
			return false;
	return true;
}

/* As in the C locale; but what is not ASCII is a letter too. */
static const struct {
	const char *name, *pairs;
	bool letters;
} classes[] = {
	{"[:alpha:]", "azAZ", true},
	{"[:digit:]", "09", false},
	{"[:alnum:]", "azAZ09", true},
	{"[:upper:]", "AZ", false},
	{"[:lower:]", "az", false},
	{"[:space:]", "  \t\r", false},
	{"[:blank:]", "  \t\t", false},
	{"[:punct:]", "!/:@[`{~", false},
	{"[:print:]", " ~", true},
	{"[:graph:]", "!~", true},
	{"[:cntrl:]", "\x01\x1f\x7f\x7f", false},
	{"[:xdigit:]", "09afAF", false},
	{"d", "09", false},
	{"w", "azAZ09__", true},
	{"s", "  \t\r", false},
};

static bool add_class(struct compiler *c, const char *name)
{
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (strcmp(classes[i].name, name) == 0)
			return add_ranges(c, classes[i].pairs) &&
			       (!classes[i].letters || add_range(c, 0xa1, 0x10ffff));
	return fail(c, "Invalid character class name");
}

static bool take_class(struct compiler *c)
{
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (classes[i].name[0] == '[' && accept(c, classes[i].name))
			return add_class(c, classes[i].name);
	return fail(c, "Invalid character class name");
}

static bool control_escape(uint8_t letter, uint32_t *ret_code)
{
	static const char from[] = "ntrfve", to[] = "\n\t\r\f\v\033";
	const char *at = letter ? strchr(from, letter) : NULL;

	if (at)
		*ret_code = (uint8_t)to[at - from];
	return at;
}

/* One end of a range. */
static bool take_member(struct compiler *c, uint32_t *ret_code)
{
	if (c->rest.n >= 2 && peek(c) == '\\') {
		uint8_t next = c->rest.data[1];

		if (control_escape(next, ret_code)) {
			skip(c, 2);
			return true;
		}
		if (strchr("\\]^-[", next))
			skip(c, 1);
	}
	return take_character(c, ret_code);
}

static bool take_set_item(struct compiler *c)
{
	static const char *const escapes[] = {"\\d", "\\w", "\\s"};
	uint32_t first, last;

	if (c->rest.n >= 2 && memcmp(c->rest.data, "[:", 2) == 0)
		return take_class(c);
	for (int i = 0; i < 3; i++)
		if (accept(c, escapes[i]))
			return add_class(c, escapes[i] + 1);
	if (!take_member(c, &first))
		return false;
	last = first;
	if (c->rest.n >= 2 && peek(c) == '-' && c->rest.data[1] != ']') {
		skip(c, 1);
		if (!take_member(c, &last))
			return false;
		if (last < first)
			return fail(c, "Invalid range end");
	}
	return add_range(c, first, last);
}

static bool append_set(struct compiler *c, int first_range, bool inverted)
{
	struct regex_step *s = append(c, STEP_SET);

	if (!s)
		return false;
	s->code = (uint32_t)first_range;
	s->n_ranges = (uint16_t)(c->r->n_ranges - first_range);
	s->inverted = inverted;
	return true;
}

static bool take_set(struct compiler *c)
{
	int first = c->r->n_ranges;
	bool inverted = accept(c, "^"), is_first = true;

	while (is_first || peek(c) != ']') {
		if (peek(c) < 0)
			return fail(c, "Unmatched [, [^, [:, [., or [=");
		if (!take_set_item(c))
			return false;
		is_first = false;
	}
	skip(c, 1);
	return append_set(c, first, inverted);
}

static bool append_character(struct compiler *c, uint32_t code)
{
	struct regex_step *s = append(c, STEP_CHARACTER);

	if (s)
		s->code = code;
	return s;
}

static bool take_escape(struct compiler *c)
{
	static const char lower[] = "dws";
	int first = c->r->n_ranges, letter = peek(c);
	uint32_t code;

	if (letter < 0)
		return fail(c, "Trailing backslash");
	if (letter == 'b' || letter == 'B' || letter == '<' || letter == '>') {
		skip(c, 1);
		return append(c, letter == 'B' ? STEP_NO_WORD_EDGE : STEP_WORD_EDGE);
	}
	if (letter && strchr("dwsDWS", letter)) {
		char name[2] = {(char)(letter | 0x20), '\0'};

		skip(c, 1);
		return add_class(c, name) && append_set(c, first, !strchr(lower, letter));
	}
	if (control_escape((uint8_t)letter, &code)) {
		skip(c, 1);
		return append_character(c, code);
	}
	if ((letter >= '0' && letter <= '9') || (letter >= 'a' && letter <= 'z') ||
	    (letter >= 'A' && letter <= 'Z'))
		return fail(c,
			    letter <= '9' ? "Back references are not supported" : "Unknown escape");
	return take_character(c, &code) && append_character(c, code);
}

static bool take_alternatives(struct compiler *c);

static bool take_group(struct compiler *c)
{
	if (c->depth == DEPTH_MAX)
		return fail(c, "Regular expression too big");
	accept(c, "?:");
	c->depth++;
	if (!take_alternatives(c))
		return false;
	c->depth--;
	return accept(c, ")") || fail(c, "Unmatched ( or \\(");
}

static bool take_interval(struct compiler *c, int *ret_min, int *ret_max);

static bool take_atom(struct compiler *c)
{
	uint32_t code;
	int min, max;

	switch (peek(c)) {
	case '(':
		skip(c, 1);
		return take_group(c);
	case '[':
		skip(c, 1);
		return take_set(c);
	case '\\':
		skip(c, 1);
		return take_escape(c);
	case '.':
		skip(c, 1);
		return append(c, STEP_ANY);
	case '^':
		skip(c, 1);
		return append(c, STEP_LINE_START);
	case '$':
		skip(c, 1);
		return append(c, STEP_LINE_END);
	case '*':
	case '+':
	case '?':
		return fail(c, "Invalid preceding regular expression");
	case '{':
		if (take_interval(c, &min, &max))
			return fail(c, "Invalid preceding regular expression");
		return !c->error && take_character(c, &code) && append_character(c, code);
	default:
		return take_character(c, &code) && append_character(c, code);
	}
}

static bool take_number(struct compiler *c, int *ret_number)
{
	int n = 0, digits = 0;

	for (; peek(c) >= '0' && peek(c) <= '9'; digits++) {
		n = n > REPEAT_MAX ? n : 10 * n + (peek(c) - '0');
		skip(c, 1);
	}
	if (digits)
		*ret_number = n;
	return digits;
}

/* {2}, {2,} or {2,5}. Anything else is no repetition, but text. */
static bool take_interval(struct compiler *c, int *ret_min, int *ret_max)
{
	struct span before = c->rest;
	int min = 0, max;

	if (!accept(c, "{") || !take_number(c, &min)) {
		c->rest = before;
		return false;
	}
	max = min;
	if (accept(c, ","))
		if (!take_number(c, &max))
			max = ENDLESS;
	if (!accept(c, "}")) {
		c->rest = before;
		return false;
	}
	if (min > REPEAT_MAX || max > REPEAT_MAX || (max != ENDLESS && max < min))
		return fail(c, "Invalid content of \\{\\}");
	*ret_min = min;
	*ret_max = max;
	return true;
}

static bool take_repetition(struct compiler *c, int *ret_min, int *ret_max)
{
	bool star = accept(c, "*"), plus = !star && accept(c, "+");

	if (star || plus) {
		*ret_min = plus;
		*ret_max = ENDLESS;
		return true;
	}
	if (accept(c, "?")) {
		*ret_min = 0;
		*ret_max = 1;
		return true;
	}
	return take_interval(c, ret_min, ret_max);
}

/* The n steps at start may be left out. */
static bool make_optional(struct compiler *c, int start, int n, bool endless)
{
	struct regex_step *s;

	if (endless) {
		s = append(c, STEP_JUMP);
		if (!s)
			return false;
		s->to[0] = (int16_t) - (n + 1);
		n++;
	}
	s = insert(c, start, STEP_FORK);
	if (s)
		s->to[1] = (int16_t)(n + 1);
	return s;
}

/* The steps from start on, which are the last, that often. */
static bool repeat(struct compiler *c, int start, int min, int max)
{
	struct regex *r = c->r;
	int n = r->n_steps - start, n_times = max == ENDLESS ? min + 1 : max;
	struct regex_step *copy;
	bool ok = true;

	if (n == 0)
		return true;
	if (n_times * (n + 2) > REGEX_STEPS_MAX)
		return fail(c, "Regular expression too big");
	copy = malloc((size_t)n * sizeof(*copy));
	if (!copy)
		return fail(c, "Memory exhausted");
	memcpy(copy, r->steps + start, (size_t)n * sizeof(*copy));
	r->n_steps = start;
	for (int i = 0; i < n_times && ok; i++) {
		int at = r->n_steps;

		if (at + n > REGEX_STEPS_MAX) {
			ok = fail(c, "Regular expression too big");
			break;
		}
		memcpy(r->steps + at, copy, (size_t)n * sizeof(*copy));
		r->n_steps += n;
		if (i >= min)
			ok = make_optional(c, at, n, max == ENDLESS);
	}
	free(copy);
	return ok;
}

static bool take_branch(struct compiler *c)
{
	while (peek(c) >= 0 && peek(c) != '|' && !(peek(c) == ')' && c->depth)) {
		int start = c->r->n_steps, min, max;

		if (peek(c) == ')')
			return fail(c, "Unmatched ) or \\)");
		if (!take_atom(c))
			return false;
		while (take_repetition(c, &min, &max))
			if (!repeat(c, start, min, max))
				return false;
		if (c->error)
			return false;
	}
	return true;
}

/* Each branch but the last: fork to it or behind it; at its end jump to where all end. */
static bool take_alternatives(struct compiler *c)
{
	int pending = -1; /* the last of the jumps to the end; each knows the one before */

	for (;;) {
		int start = c->r->n_steps, before;
		struct regex_step *jump, *fork;

		if (!take_branch(c))
			return false;
		if (!accept(c, "|"))
			break;
		jump = append(c, STEP_JUMP);
		if (!jump)
			return false;
		jump->to[0] = (int16_t)pending;
		fork = insert(c, start, STEP_FORK);
		if (!fork)
			return false;
		pending = c->r->n_steps - 1;
		before = pending - start + 1;
		fork->to[1] = (int16_t)before;
	}
	while (pending >= 0) {
		struct regex_step *jump = &c->r->steps[pending];
		int next = jump->to[0];

		jump->to[0] = (int16_t)(c->r->n_steps - pending);
		pending = next;
	}
	return true;
}

bool regex_compile(struct regex *r, struct span pattern, const char **ret_error)
{
	struct compiler c = {.r = r, .rest = pattern};

	r->n_steps = r->n_ranges = 0;
	if (take_alternatives(&c) && append(&c, STEP_FOUND))
		return true;
	*ret_error = c.error;
	return false;
}
