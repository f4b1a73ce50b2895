/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes to characters, controls and sequences: the state machine of DEC's terminals (vt100.net/emu/
 * dec_ansi_parser), as tmux has it. What is not UTF-8 is left out. Sequences longer than any that means
 * something are read to their end and do nothing; strings are given up after some seconds, so that
 * one without an end does not swallow all that comes later.
 */
#include "tool/slot/terminal_parts.h"

#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"

#define STRING_NS_MAX (5 * NS_PER_S)

void parser_init(struct parser *p)
{
	p->state = PARSE_GROUND;
	p->last = -1;
}

static bool is_string(enum parse_state state)
{
	return state >= PARSE_DCS;
}

static void clear(struct parser *p)
{
	p->discard = false;
	p->n_intermediates = p->n_parameters = 0;
	p->intermediates[0] = p->parameters[0] = '\0';
	p->n_string = 0;
}

static void enter(struct terminal *t, enum parse_state state, uint64_t now_ns)
{
	struct parser *p = &t->parser;

	if (p->state == PARSE_OSC)
		control_osc(t);
	if (state == PARSE_ESC || state == PARSE_CSI)
		clear(p);
	if (state == PARSE_DCS || state == PARSE_OSC || state == PARSE_STRING) {
		clear(p);
		p->since_ns = now_ns;
		p->last = -1;
	}
	p->state = state;
}

static void collect_intermediate(struct parser *p, uint8_t c)
{
	if (p->n_intermediates == INTERMEDIATES_MAX) {
		p->discard = true;
		return;
	}
	p->intermediates[p->n_intermediates++] = (char)c;
	p->intermediates[p->n_intermediates] = '\0';
}

static void collect_parameter(struct parser *p, uint8_t c)
{
	if (p->n_parameters == PARAMETERS_MAX) {
		p->discard = true;
		return;
	}
	p->parameters[p->n_parameters++] = (char)c;
	p->parameters[p->n_parameters] = '\0';
}

/* As many bytes as the first one says make a character, whatever they are. */
static void feed_utf8(struct terminal *t, uint8_t c)
{
	struct parser *p = &t->parser;

	p->last = -1;
	if (p->n_utf8 == 0) {
		if (c < 0xc2 || c > 0xf4)
			return;
		p->n_utf8_whole = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
		p->utf8_broken = false;
	} else if ((c & 0xc0) != 0x80) {
		p->utf8_broken = true;
	}
	p->utf8[p->n_utf8++] = c;
	if (p->n_utf8 < p->n_utf8_whole)
		return;
	p->n_utf8 = 0;
	if (!p->utf8_broken && utf8_character(p->utf8, (size_t)p->n_utf8_whole)) {
		uint32_t code = character_decode(p->utf8, (size_t)p->n_utf8_whole);
		int width = character_width(code);

		if (width >= 0)
			screen_put(t, code, width);
	}
}

static void feed_control(struct terminal *t, uint8_t c)
{
	t->parser.n_utf8 = 0;
	control_c0(t, c);
}

static void feed_esc(struct terminal *t, uint8_t c, uint64_t now_ns)
{
	struct parser *p = &t->parser;

	if (c < 0x20) {
		feed_control(t, c);
	} else if (c < 0x30) {
		collect_intermediate(p, c);
		enter(t, PARSE_ESC_INTERMEDIATE, now_ns);
	} else if (c >= 0x7f) {
		return;
	} else if (p->state == PARSE_ESC && c == 'P') {
		enter(t, PARSE_DCS, now_ns);
	} else if (p->state == PARSE_ESC && c == '[') {
		enter(t, PARSE_CSI, now_ns);
	} else if (p->state == PARSE_ESC && c == ']') {
		enter(t, PARSE_OSC, now_ns);
	} else if (p->state == PARSE_ESC && (c == 'X' || c == '^' || c == '_' || c == 'k')) {
		enter(t, PARSE_STRING, now_ns);
	} else {
		if (!p->discard)
			control_esc(t, c);
		enter(t, PARSE_GROUND, now_ns);
	}
}

static void feed_csi(struct terminal *t, uint8_t c, uint64_t now_ns)
{
	struct parser *p = &t->parser;

	if (c < 0x20) {
		feed_control(t, c);
	} else if (c >= 0x7f) {
		return;
	} else if (c >= 0x40) {
		if (p->state != PARSE_CSI_IGNORE && !p->discard)
			control_csi(t, c);
		enter(t, PARSE_GROUND, now_ns);
	} else if (p->state == PARSE_CSI_IGNORE) {
		return;
	} else if (c < 0x30) {
		collect_intermediate(p, c);
		p->state = PARSE_CSI_INTERMEDIATE;
	} else if (p->state == PARSE_CSI_INTERMEDIATE ||
		   (c >= 0x3c && p->state == PARSE_CSI_PARAMETER)) {
		p->state = PARSE_CSI_IGNORE;
	} else {
		if (c >= 0x3c)
			collect_intermediate(p, c);
		else
			collect_parameter(p, c);
		p->state = PARSE_CSI_PARAMETER;
	}
}

/* Nothing that comes so means anything to us: only the end of it matters. */
static void feed_dcs(struct terminal *t, uint8_t c)
{
	struct parser *p = &t->parser;

	switch (p->state) {
	case PARSE_DCS_DATA:
		if (c == 0x1b)
			p->state = PARSE_DCS_ESC;
		return;
	case PARSE_DCS_ESC:
		p->state = c == '\\' ? PARSE_GROUND : PARSE_DCS_DATA;
		return;
	case PARSE_DCS_IGNORE:
		return;
	default:
		break;
	}
	if (c < 0x20 || c >= 0x7f)
		return;
	if (c >= 0x40)
		p->state = PARSE_DCS_DATA;
	else if (c < 0x30)
		p->state = PARSE_DCS_INTERMEDIATE;
	else if (c == ':' || p->state == PARSE_DCS_INTERMEDIATE ||
		 (c >= 0x3c && p->state == PARSE_DCS_PARAMETER))
		p->state = PARSE_DCS_IGNORE;
	else
		p->state = PARSE_DCS_PARAMETER;
}

static void feed_osc(struct terminal *t, uint8_t c, uint64_t now_ns)
{
	struct parser *p = &t->parser;

	if (c == 0x07)
		enter(t, PARSE_GROUND, now_ns);
	else if (c >= 0x20 && p->n_string < sizeof(p->string))
		p->string[p->n_string++] = c;
}

static void feed(struct terminal *t, uint8_t c, uint64_t now_ns)
{
	struct parser *p = &t->parser;

	if ((c == 0x18 || c == 0x1a) && p->state != PARSE_DCS_DATA && p->state != PARSE_DCS_ESC) {
		feed_control(t, c);
		enter(t, PARSE_GROUND, now_ns);
		return;
	}
	if (c == 0x1b && p->state != PARSE_DCS_DATA && p->state != PARSE_DCS_ESC) {
		enter(t, PARSE_ESC, now_ns);
		return;
	}
	switch (p->state) {
	case PARSE_GROUND:
		if (c < 0x20)
			feed_control(t, c);
		else if (c >= 0x80)
			feed_utf8(t, c);
		break;
	case PARSE_ESC:
	case PARSE_ESC_INTERMEDIATE:
		feed_esc(t, c, now_ns);
		break;
	case PARSE_CSI:
	case PARSE_CSI_PARAMETER:
	case PARSE_CSI_INTERMEDIATE:
	case PARSE_CSI_IGNORE:
		feed_csi(t, c, now_ns);
		break;
	case PARSE_OSC:
		feed_osc(t, c, now_ns);
		break;
	case PARSE_STRING:
		break;
	default:
		feed_dcs(t, c);
		break;
	}
}

static size_t printable_run(const uint8_t *s, size_t n)
{
	size_t i = 0;

	while (i < n && s[i] >= 0x20 && s[i] < 0x7f)
		i++;
	return i;
}

void parser_feed(struct terminal *t, struct span bytes, uint64_t now_ns)
{
	struct parser *p = &t->parser;
	size_t at = 0;

	if (is_string(p->state) && now_ns - p->since_ns > STRING_NS_MAX) {
		p->state = PARSE_GROUND;
		p->last = -1;
	}
	while (at < bytes.n) {
		size_t n = 0;

		if (p->state == PARSE_GROUND)
			n = printable_run(bytes.data + at, bytes.n - at);
		if (n) {
			p->n_utf8 = 0;
			screen_print(t, bytes.data + at, n);
			p->last = bytes.data[at + n - 1];
			at += n;
		} else {
			feed(t, bytes.data[at++], now_ns);
		}
	}
}
