/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys by their names, the few of each kind (system/terminal_tmux.py holds all of them against tmux),
 * and patterns that are waited for.
 */
#include "terminal_case.h"

static void check_key(struct scene *s, const char *name, const char *bytes, size_t n)
{
	buf_clear(&s->out);
	assert_int_equal(terminal_keys(s->t, span_string(name), &s->out), 0);
	assert_int_equal(s->out.n, n);
	if (n)
		assert_memory_equal(s->out.data, bytes, n);
}

#define KEY(name, literal) check_key(s, name, literal, sizeof(literal) - 1)

static void test_keys(void **state)
{
	struct scene *s = *state;

	KEY("Enter", "\r");
	KEY("C-m", "\r");
	KEY("enter", "\r");
	KEY("Escape", "\033");
	KEY("Tab", "\t");
	KEY("BTab", "\033[Z");
	KEY("Space", " ");
	KEY("BSpace", "\177");
	KEY("C-c", "\003");
	KEY("^c", "\003");
	KEY("c-C", "\003");
	KEY("C-Space", "\0");
	KEY("M-x", "\033x");
	KEY("C-M-x", "\033\030");
	KEY("Up", "\033[A");
	KEY("S-Up", "\033[1;2A");
	KEY("F1", "\033OP");
	KEY("C-F5", "\033[15;5~");
	KEY("PgDn", "\033[6~");
	KEY("Home", "\033[1~");
	KEY("0x41", "A");
}

/* What is no key is text, byte for byte. */
static void test_text(void **state)
{
	struct scene *s = *state;

	KEY("", "");
	KEY("hello world", "hello world");
	KEY("Entrer", "Entrer");
	KEY("C-", "C-");
	KEY("C-x C-c", "C-x C-c");
	KEY("S-a", "S-a");
	KEY("\u4e16", "\u4e16");
	KEY("\xff\xfe", "\xff\xfe");
	KEY("a text that is longer than any key's name is",
	    "a text that is longer than any key's name is");
	KEY("C-Enter", "");
}

static void test_modes(void **state)
{
	struct scene *s = *state;

	feed(s, "\033[?1h\033=");
	KEY("Up", "\033OA");
	KEY("M-Up", "\033[1;3A");
	KEY("KP0", "\033Op");
	feed(s, "\033[?1l\033>");
	KEY("Up", "\033[A");
	KEY("KP0", "0");
	feed(s, "\033[>4;1m");
	KEY("C-Enter", "\033[13;5u");
	feed(s, "\033c");
	KEY("C-Enter", "");
}

static void check_shows(struct scene *s, const char *text, bool is_regex, int expected)
{
	const char *error = NULL;
	struct terminal_pattern *p = terminal_pattern_new(span_string(text), is_regex, &error);

	if (!p || terminal_shows(s->t, p) != expected)
		fail_msg("%s: not %d (%s)", text, expected, error ? error : "");
	terminal_pattern_free(p);
}

static void test_shows(void **state)
{
	struct scene *s = *state;

	feed(s, "$ make\r\nok: 17 files, caf\u00e9\r\n(done) ");
	check_shows(s, "17 files", false, 1);
	check_shows(s, "make\nok", false, 1);
	check_shows(s, "1. files", false, 0);
	check_shows(s, "", false, 1);
	check_shows(s, "^ok: [0-9]+ files", true, 1);
	check_shows(s, "^17", true, 0);
	check_shows(s, "caf.$", true, 1);
	check_shows(s, "make.ok", true, 0);
	check_shows(s, "\\(done\\)$", true, 1);
	check_shows(s, "(failed|do(ne|g))", true, 1);
	check_shows(s, "x{2}|k{2}|f{2}", true, 0);
	check_shows(s, "[[:digit:]]{2,}", true, 1);
	check_shows(s, "\\b\\d\\d\\b.*\\bfiles\\b", true, 1);
	check_shows(s, "[^a-z:$ ()0-9,]", true, 1);
	check_shows(s, "^\\$ \\w+$", true, 1);
	check_shows(s, "^[]()]done[])]", true, 1);
	check_shows(s, "", true, 1);
}

static void check_refused(const char *text)
{
	const char *error = NULL;

	assert_null(terminal_pattern_new(span_string(text), true, &error));
	assert_non_null(error);
	assert_true(*error);
}

static void test_refused(void **state)
{
	static const char *const wrong[] = {
		"(",      ")",     "[a",  "*",       "a\\",           "+a",  "a{3,1}", "[[:no:]]",
		"(a)\\1", "[z-a]", "{2}", "a{1000}", "(a{200}){200}", "\\q", "\xff"};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		check_refused(wrong[i]);
}

/* What makes others slow: the work stays the text's length times the pattern's. */
static void test_patient(void **state)
{
	struct scene *s = *state;

	assert_int_equal(terminal_resize(s->t, TERMINAL_COLUMNS_MAX, TERMINAL_ROWS_MAX, 0), 0);
	for (int i = 0; i < TERMINAL_COLUMNS_MAX * TERMINAL_ROWS_MAX; i++)
		feed(s, "a");
	check_shows(s, "(a*)*b", true, 0);
	check_shows(s, "(a|a)*b", true, 0);
	check_shows(s, "(a?){100}a{100}b", true, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_keys),  TEST(test_text),    TEST(test_modes),
		TEST(test_shows), TEST(test_refused), TEST(test_patient),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
