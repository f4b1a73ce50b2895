/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys by their names, as `tmux send-keys` has them (tmux 3.3a): modifiers C-, M-, S- and ^ in front,
 * then one character or a name of the table, in any case. What is no key is text, and so is a key that
 * this terminal has no bytes for; a key with Control that no byte is given to is nothing at all.
 */
#include "tool/slot/terminal_parts.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/decimal.h"
#include "base/utf8.h"

enum modifier {
	SHIFT = 1 << 0,
	META = 1 << 1,
	CONTROL = 1 << 2,
};

enum key_kind {
	KEY_CODE,   /* one byte: code */
	KEY_CURSOR, /* ESC [ final, in application mode ESC O final */
	KEY_SS3,    /* ESC O final */
	KEY_TILDE,  /* ESC [ code ~ */
	KEY_NUMBER, /* the same, but with modifiers as KEY_CURSOR */
	KEY_KEYPAD, /* code, in application mode ESC O final */
	KEY_BACKTAB,
};

struct key {
	const char *name;
	enum key_kind kind;
	uint8_t code;
	char final;
};

static const struct key keys[] = {
	{"F1", KEY_SS3, 0, 'P'},       {"F2", KEY_SS3, 0, 'Q'},
	{"F3", KEY_SS3, 0, 'R'},       {"F4", KEY_SS3, 0, 'S'},
	{"F5", KEY_TILDE, 15, 0},      {"F6", KEY_TILDE, 17, 0},
	{"F7", KEY_TILDE, 18, 0},      {"F8", KEY_TILDE, 19, 0},
	{"F9", KEY_TILDE, 20, 0},      {"F10", KEY_TILDE, 21, 0},
	{"F11", KEY_TILDE, 23, 0},     {"F12", KEY_TILDE, 24, 0},
	{"IC", KEY_TILDE, 2, 0},       {"Insert", KEY_TILDE, 2, 0},
	{"DC", KEY_TILDE, 3, 0},       {"Delete", KEY_TILDE, 3, 0},
	{"Home", KEY_NUMBER, 1, 'H'},  {"End", KEY_NUMBER, 4, 'F'},
	{"NPage", KEY_TILDE, 6, 0},    {"PageDown", KEY_TILDE, 6, 0},
	{"PgDn", KEY_TILDE, 6, 0},     {"PPage", KEY_TILDE, 5, 0},
	{"PageUp", KEY_TILDE, 5, 0},   {"PgUp", KEY_TILDE, 5, 0},
	{"Tab", KEY_CODE, '\t', 0},    {"BTab", KEY_BACKTAB, 0, 'Z'},
	{"Space", KEY_CODE, ' ', 0},   {"BSpace", KEY_CODE, 0x7f, 0},
	{"Enter", KEY_CODE, '\r', 0},  {"Escape", KEY_CODE, 0x1b, 0},
	{"Up", KEY_CURSOR, 0, 'A'},    {"Down", KEY_CURSOR, 0, 'B'},
	{"Left", KEY_CURSOR, 0, 'D'},  {"Right", KEY_CURSOR, 0, 'C'},
	{"KP/", KEY_KEYPAD, '/', 'o'}, {"KP*", KEY_KEYPAD, '*', 'j'},
	{"KP-", KEY_KEYPAD, '-', 'm'}, {"KP7", KEY_KEYPAD, '7', 'w'},
	{"KP8", KEY_KEYPAD, '8', 'x'}, {"KP9", KEY_KEYPAD, '9', 'y'},
	{"KP+", KEY_KEYPAD, '+', 'k'}, {"KP4", KEY_KEYPAD, '4', 't'},
	{"KP5", KEY_KEYPAD, '5', 'u'}, {"KP6", KEY_KEYPAD, '6', 'v'},
	{"KP1", KEY_KEYPAD, '1', 'q'}, {"KP2", KEY_KEYPAD, '2', 'r'},
	{"KP3", KEY_KEYPAD, '3', 's'}, {"KPEnter", KEY_KEYPAD, '\n', 'M'},
	{"KP0", KEY_KEYPAD, '0', 'p'}, {"KP.", KEY_KEYPAD, '.', 'n'},
};

/* One character, or a name's key, with modifiers. */
struct chord {
	unsigned modifiers;
	const struct key *key; /* NULL: code */
	uint32_t code;
};

static const struct key *find_key(const char *name)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strcasecmp(name, keys[i].name) == 0)
			return &keys[i];
	return NULL;
}

/* Takes "C-" and the like off the front; false: another letter stands there. */
static bool take_modifiers(const char **name, unsigned *modifiers)
{
	if ((*name)[0] == '^' && (*name)[1]) {
		*modifiers |= CONTROL;
		(*name)++;
	}
	while ((*name)[0] && (*name)[1] == '-') {
		switch ((*name)[0]) {
		case 'C':
		case 'c':
			*modifiers |= CONTROL;
			break;
		case 'M':
		case 'm':
			*modifiers |= META;
			break;
		case 'S':
		case 's':
			*modifiers |= SHIFT;
			break;
		default:
			return false;
		}
		*name += 2;
	}
	return (*name)[0];
}

/* Control makes another byte of a plain one; of some it does so only when it is sent. */
static bool apply_control(struct chord *c)
{
	static const char kept[] = "!#()+,-.0123456789:;<=>'\r\t\177`/\033";
	uint32_t code = c->code;

	if (!(c->modifiers & CONTROL) || code > 0x7f || (code && strchr(kept, (int)code)))
		return true;
	if (code >= 'a' && code <= 'z')
		c->code = code - 96;
	else if (code >= '@' && code <= '_')
		c->code = code - 64;
	else if (code == ' ')
		c->code = 0;
	else if (code == '?')
		c->code = 0x7f;
	else
		return false;
	c->modifiers &= ~(unsigned)CONTROL;
	return true;
}

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef", *at;

	if (c >= 'A' && c <= 'F')
		c = (char)(c - 'A' + 'a');
	at = c ? strchr(digits, c) : NULL;
	return at ? (int)(at - digits) : -1;
}

/* "0x41": that code point; modifiers do not go with it. */
static bool parse_hex(const char *name, struct chord *ret)
{
	uint32_t code = 0;
	uint8_t bytes[4];
	size_t i = 2;

	for (; hex_digit(name[i]) >= 0; i++) {
		if (code > 0x10ffff)
			return false;
		code = code << 4 | (uint32_t)hex_digit(name[i]);
	}
	if (i == 2 || name[i] || code > 0x10ffff)
		return false;
	if (code >= 0x80 &&
	    (character_width(code) < 0 || !utf8_character(bytes, character_encode(code, bytes))))
		return false;
	*ret = (struct chord){.code = code};
	return true;
}

static bool parse_key(const char *name, struct chord *ret)
{
	struct chord c = {0};
	size_t n;

	if (name[0] == '0' && name[1] == 'x')
		return parse_hex(name, ret);
	if (!take_modifiers(&name, &c.modifiers))
		return false;
	n = utf8_character((const uint8_t *)name, strlen(name));
	if (n > 1 && !name[n]) {
		c.code = character_decode((const uint8_t *)name, n);
		if (character_width(c.code) < 0)
			return false;
		c.modifiers &= META;
	} else if (!name[1]) {
		if ((uint8_t)name[0] < 0x20 || (uint8_t)name[0] > 0x7f)
			return false;
		c.code = (uint8_t)name[0];
	} else {
		c.key = find_key(name);
		if (!c.key)
			return false;
		if (c.key->kind == KEY_CODE) {
			c.code = c.key->code;
			c.key = NULL;
		}
	}
	if (!c.key && !apply_control(&c))
		return false;
	*ret = c;
	return true;
}

/* What Control makes of those that apply_control() left alone; -1: nothing. */
static int late_control(uint32_t code)
{
	switch (code) {
	case '2':
		return 0;
	case '6':
		return 30;
	case '-':
	case '/':
		return 31;
	default:
		return -1;
	}
}

/* CSI code ; modifiers u: for a program that asked for it. */
static void build_extended(char *text, size_t n, uint32_t code, unsigned modifiers)
{
	if (code < 32 && code != '\t' && code != '\r' && code != '\033') {
		code += 64;
		modifiers |= CONTROL;
	}
	strcpy(text, "\033[");
	decimal_append(text, n, code);
	strcat(text, ";");
	decimal_append(text, n, 1 + modifiers);
	strcat(text, "u");
}

/* false: it is to be sent as text. */
static bool build_code(const struct terminal *t, const struct chord *c, char *text, size_t n,
		       size_t *ret_n)
{
	size_t at = 0;
	int code = (int)c->code;

	if (c->modifiers & ~(unsigned)META) {
		if (t->modes & MODE_EXTENDED_KEYS) {
			build_extended(text, n, c->code, c->modifiers);
			*ret_n = strlen(text);
			return true;
		}
		if (c->modifiers != CONTROL)
			return false;
		code = late_control(c->code);
		if (code < 0) {
			*ret_n = 0;
			return true;
		}
	}
	if (c->modifiers & META)
		text[at++] = '\033';
	*ret_n = at + character_encode((uint32_t)code, (uint8_t *)text + at);
	return true;
}

static void build_modified(const struct key *key, unsigned modifiers, char *text, size_t n)
{
	bool by_final = key->final;
	char final[2] = {by_final ? key->final : '~', '\0'};

	strcpy(text, "\033[");
	decimal_append(text, n, by_final ? 1 : key->code);
	strcat(text, ";");
	decimal_append(text, n, 1 + modifiers);
	strcat(text, final);
}

static void build_plain(const struct terminal *t, const struct key *key, char *text, size_t n)
{
	bool application = t->modes & (key->kind == KEY_CURSOR ? MODE_CURSOR_KEYS : MODE_KEYPAD);
	char final[2] = {key->final, '\0'}, code[2] = {(char)key->code, '\0'};

	switch (key->kind) {
	case KEY_TILDE:
	case KEY_NUMBER:
		strcpy(text, "\033[");
		decimal_append(text, n, key->code);
		strcat(text, "~");
		return;
	case KEY_BACKTAB:
		strcpy(text, "\033[Z");
		return;
	case KEY_KEYPAD:
		if (!application) {
			strcpy(text, code);
			return;
		}
		break;
	case KEY_CURSOR:
		if (!application) {
			strcpy(text, "\033[");
			strcat(text, final);
			return;
		}
		break;
	default:
		break;
	}
	strcpy(text, "\033O");
	strcat(text, final);
}

/* false: it is to be sent as text. */
static bool build_named(const struct terminal *t, const struct chord *c, char *text, size_t n)
{
	bool has_modified = c->key->kind != KEY_KEYPAD && c->key->kind != KEY_BACKTAB;

	if (c->modifiers && has_modified) {
		build_modified(c->key, c->modifiers, text, n);
		return true;
	}
	if (c->modifiers & ~(unsigned)META) {
		text[0] = '\0';
		return c->modifiers == CONTROL;
	}
	if (c->modifiers) {
		text[0] = '\033';
		build_plain(t, c->key, text + 1, n - 1);
	} else {
		build_plain(t, c->key, text, n);
	}
	return true;
}

#define KEY_MAX 32

int terminal_keys(struct terminal *t, struct span key, struct buf *out)
{
	char name[KEY_MAX], text[KEY_MAX];
	struct chord c;
	size_t n;

	if (key.n == 0 || key.n >= sizeof(name) || memchr(key.data, 0, key.n))
		return buf_append(out, key.data, key.n);
	memcpy(name, key.data, key.n);
	name[key.n] = '\0';
	if (!parse_key(name, &c))
		return buf_append(out, key.data, key.n);
	if (c.key) {
		if (!build_named(t, &c, text, sizeof(text)))
			return buf_append(out, key.data, key.n);
		n = strlen(text);
	} else if (!build_code(t, &c, text, sizeof(text), &n)) {
		return buf_append(out, key.data, key.n);
	}
	return buf_append(out, text, n);
}
