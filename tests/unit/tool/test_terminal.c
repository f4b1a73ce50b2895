/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal's screen, history, sizes, title, replies, and its bounds. What it shows in detail is held
 * against tmux by system/terminal_tmux.py.
 */
#include "terminal_case.h"

static void test_lines(void **state)
{
	struct scene *s = *state;
	struct terminal_state at;

	feed(s, "hello\r\nworld  ");
	assert_string_equal(shown(s, false), "hello\nworld\n");
	assert_int_equal(n_lines(s, false), N_ROWS);
	assert_int_equal(n_lines(s, true), N_ROWS);
	terminal_state(s->t, &at);
	assert_int_equal(at.n_columns, N_COLUMNS);
	assert_int_equal(at.n_rows, N_ROWS);
	assert_int_equal(at.cursor_column, 7);
	assert_int_equal(at.cursor_row, 1);
	assert_int_equal(at.title.n, 0);
	/* behind the last column, the cursor is still on the screen */
	feed(s, "\r12345678901234567890");
	terminal_state(s->t, &at);
	assert_int_equal(at.cursor_column, N_COLUMNS - 1);
	feed(s, "!");
	assert_string_equal(shown(s, false), "hello\n12345678901234567890\n!\n");
}

static void test_history(void **state)
{
	struct scene *s = *state;
	char line[32];

	for (int i = 0; i < N_ROWS + 5; i++) {
		snprintf(line, sizeof(line), "%d\r\n", i);
		feed(s, line);
	}
	assert_int_equal(n_lines(s, true), N_ROWS + 6);
	assert_memory_equal(shown(s, true), "0\n1\n2\n", 6);
	assert_memory_equal(shown(s, false), "6\n7\n8\n", 6);
	/* the alternate screen has none, and leaves none */
	feed(s, "\033[?1049h");
	for (int i = 0; i < 50; i++)
		feed(s, "other\r\n");
	assert_int_equal(n_lines(s, true), N_ROWS + 6);
	assert_non_null(strstr(shown(s, false), "other"));
	feed(s, "\033[?1049l");
	assert_null(strstr(shown(s, true), "other"));
	assert_memory_equal(shown(s, false), "6\n7\n8\n", 6);
	feed(s, "\033[3J");
	assert_int_equal(n_lines(s, true), N_ROWS);
}

/* At most so many lines, and then so many bytes; the newest are kept. */
static void test_history_limits(void **state)
{
	struct scene *s = *state;
	static char wide[TERMINAL_COLUMNS_MAX * 25 + 1];
	char line[32];

	for (int i = 0; i < TERMINAL_HISTORY_MAX + 1000; i++) {
		snprintf(line, sizeof(line), "%d\r\n", i);
		feed(s, line);
	}
	assert_int_equal(n_lines(s, true), TERMINAL_HISTORY_MAX + N_ROWS);
	snprintf(line, sizeof(line), "%d\n", TERMINAL_HISTORY_MAX + 999);
	assert_non_null(strstr(shown(s, true), line));
	snprintf(line, sizeof(line), "%d\n", 1000 - N_ROWS + 1);
	assert_memory_equal(shown(s, true), line, strlen(line));
	/* each cell as long as can be: 500 times 21 bytes a line */
	assert_int_equal(terminal_resize(s->t, TERMINAL_COLUMNS_MAX, N_ROWS, 0), 0);
	for (int i = 0; i < TERMINAL_COLUMNS_MAX; i++)
		strcat(wide, "a\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301");
	for (int i = 0; i < 3000; i++)
		feed(s, wide);
	assert_in_range(n_lines(s, true), 1000, 2000);
	assert_true(s->out.n <= TERMINAL_HISTORY_BYTES + N_ROWS * (TERMINAL_COLUMNS_MAX * 21 + 1));
	assert_true(s->out.n >= TERMINAL_HISTORY_BYTES - 2 * TERMINAL_COLUMNS_MAX * 21);
}

static void test_resize(void **state)
{
	struct scene *s = *state;
	struct terminal_state at;

	for (int i = 0; i < 30; i++)
		feed(s, "0123456789abcdefghij\r\n");
	feed(s, "\u4e16");
	assert_int_equal(terminal_resize(s->t, 40, 15, 0), 0);
	assert_int_equal(n_lines(s, false), 15);
	/* what does not fit goes to the history; what is below the cursor just goes */
	feed(s, "\033[15;1Hend\033[12;20Hx\033[5;3Hhere");
	assert_int_equal(terminal_resize(s->t, TERMINAL_COLUMNS_MIN, TERMINAL_ROWS_MIN, 0), 0);
	assert_null(strstr(shown(s, true), "end"));
	assert_non_null(strstr(shown(s, false), "here"));
	terminal_state(s->t, &at);
	assert_int_equal(at.cursor_row, 4);
	feed(s, "\033[99;99H#\033[?1049h\033[99;99H#");
	assert_int_equal(terminal_resize(s->t, TERMINAL_COLUMNS_MAX, TERMINAL_ROWS_MAX, 0), 0);
	feed(s, "\033[99;99H#\033[?1049l\033[99;99H#");
	assert_int_equal(terminal_resize(s->t, 25, 12, 0), 0);
	/* a wide character that is cut is gone, not half there */
	feed(s, "\033[2J\033[H\u4e16\u4e16\u4e16\u4e16\u4e16\u4e16\u4e16\u4e16\u4e16\u4e16 \u4e16");
	assert_int_equal(terminal_resize(s->t, 22, 12, 0), 0);
	assert_string_equal(shown(s, false),
			    "\u4e16\u4e16\u4e16\u4e16\u4e16\u4e16\u4e16\u4e16\u4e16"
			    "\u4e16\n");
}

static void check_title(struct scene *s, const char *title)
{
	struct terminal_state at;

	terminal_state(s->t, &at);
	assert_true(span_is(at.title, title));
}

static void test_title(void **state)
{
	struct scene *s = *state;
	struct terminal_state at;

	feed(s, "\033]0;one\007");
	check_title(s, "one");
	feed(s, "\033]2;tw\u00f6\033\\");
	check_title(s, "tw\u00f6");
	feed(s,
	     "\033]1;icon\007\033]4;1;red\007\033]2;not \xff UTF-8\007\033]0;\xc2\x85\007\033_apc\033\\");
	check_title(s, "tw\u00f6");
	feed(s, "\033[22;0t\033]0;three\007\033[23;0t");
	check_title(s, "tw\u00f6");
	for (int i = 0; i < 1000; i++)
		feed(s, "\033[22;0t");
	/* too long: cut between two characters */
	feed(s, "\033]0;a");
	for (int i = 0; i < 100000; i++)
		feed(s, "\u00e9");
	feed(s, "\007");
	terminal_state(s->t, &at);
	assert_int_equal(at.title.n, TERMINAL_TITLE_MAX - 1);
	assert_true(utf8_valid(at.title));
	assert_string_equal(shown(s, true), "\n");
}

static void test_replies(void **state)
{
	struct scene *s = *state;
	static const char expected[] =
		"\033[0n\033[3;5R\033[1;20R\033[?1;2c\033[>84;0;0c\033[8;10;20t";

	feed(s, "\033[5n\033[3;5H\033[6n\033[H12345678901234567890\033[6n\033[c\033[>c\033[18t");
	assert_int_equal(s->replies.n, sizeof(expected) - 1);
	assert_memory_equal(s->replies.data, expected, sizeof(expected) - 1);
	/* who does not read them loses them */
	for (int i = 0; i < 10000; i++)
		feed(s, "\033[6n");
	assert_true(s->replies.n <= 4096);
}

/* A string that never ends is given up after a while, not before. */
static void test_endless_string(void **state)
{
	struct scene *s = *state;
	static const char *const begins[] = {"\033]0;", "\033P1", "\033_",
					     "\033^",   "\033X",  "\033k"};

	for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
		feed(s, "\033[2J\033[3J\033[H");
		feed(s, begins[i]);
		s->now_ns += 4 * NS_PER_S;
		feed(s, "lost");
		assert_string_equal(shown(s, true), "\n");
		s->now_ns += 2 * NS_PER_S;
		feed(s, "shown");
		assert_string_equal(shown(s, true), "shown\n");
	}
}

/* Work is bound by the screen, not by the numbers: each of these would take hours else. */
static void test_huge_numbers(void **state)
{
	struct scene *s = *state;
	static const char finals[] = "@ABCDEFGHIJKLMPSTXZ`abcdefghlmnrstu";
	char text[64];

	assert_int_equal(terminal_resize(s->t, TERMINAL_COLUMNS_MAX, TERMINAL_ROWS_MAX, 0), 0);
	for (int i = 0; i < 20; i++)
		for (const char *f = finals; *f; f++) {
			snprintf(text, sizeof(text), "x\033[2147483647;2147483647%c", *f);
			feed(s, text);
			snprintf(text, sizeof(text), "x\033[99999999999999999999999%c", *f);
			feed(s, text);
		}
	assert_true(n_lines(s, true) <= TERMINAL_HISTORY_MAX + TERMINAL_ROWS_MAX);
}

/* Texts of combined characters that are overwritten do not stay. */
static void test_combined(void **state)
{
	struct scene *s = *state;

	for (int i = 0; i < 300000; i++)
		feed(s, "e\u0301\b");
	assert_string_equal(shown(s, true), "e\u0301\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_lines),          TEST(test_history),      TEST(test_history_limits),
		TEST(test_resize),         TEST(test_title),        TEST(test_replies),
		TEST(test_endless_string), TEST(test_huge_numbers), TEST(test_combined),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
