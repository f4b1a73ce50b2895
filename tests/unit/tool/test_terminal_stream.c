/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal's recording: its lines, what is read of it and when, and its bounds. */
#include "terminal_case.h"

#define HEADER "{\"version\": 2, \"width\": 20, \"height\": 10}\n"

struct read {
	uint64_t offset, n_dropped;
	bool more;
};

static struct read read_stream(struct scene *s, bool restart, uint64_t n_max)
{
	struct read r;

	buf_clear(&s->out);
	assert_int_equal(
		terminal_stream(s->t, restart, n_max, &s->out, &r.offset, &r.n_dropped, &r.more),
		0);
	return r;
}

static void check(struct scene *s, const char *text)
{
	assert_int_equal(s->out.n, strlen(text));
	assert_memory_equal(s->out.data, text, s->out.n);
}

static void test_lines(void **state)
{
	struct scene *s = *state;
	struct read r;

	r = read_stream(s, false, 100000);
	check(s, HEADER);
	assert_int_equal(r.offset, strlen(HEADER));
	s->now_ns = 1500 * NS_PER_MS;
	feed(s, "hi\r\n");
	s->now_ns = 12 * NS_PER_S + 7 * NS_PER_US;
	feed(s, "\"q\" \\ \033[1m\t\b\f");
	assert_int_equal(terminal_resize(s->t, 30, 12, 13 * NS_PER_S), 0);
	r = read_stream(s, false, 100000);
	check(s, "[1.500000, \"o\", \"hi\\r\\n\"]\n"
		 "[12.000007, \"o\", \"\\\"q\\\" \\\\ \\u001b[1m\\t\\b\\u000c\"]\n"
		 "[13.000000, \"r\", \"30x12\"]\n");
	assert_int_equal(r.offset, strlen(HEADER) + s->out.n);
	assert_false(r.more);
	assert_int_equal(r.n_dropped, 0);
	r = read_stream(s, false, 100000);
	check(s, "");
	/* and all over again */
	r = read_stream(s, true, 100000);
	assert_memory_equal(s->out.data, HEADER, strlen(HEADER));
	assert_int_equal(r.offset, s->out.n);
}

/* One that comes in pieces is one; what is none is U+FFFD; an end that may become one waits. */
static void test_split(void **state)
{
	struct scene *s = *state;

	read_stream(s, false, 1000);
	feed(s, "a\xe2");
	feed(s, "\x82");
	feed(s, "\xac"
		"b");
	feed(s, "\xf0\x9f"
		"c\xff");
	read_stream(s, false, 1000);
	check(s, "[0.000000, \"o\", \"a\"]\n[0.000000, \"o\", \"\u20ac"
		 "b\"]\n"
		 "[0.000000, \"o\", \"\ufffd"
		 "c\ufffd\"]\n");
}

/* Whole lines, at most so many bytes, but one line at least. */
static void test_pieces(void **state)
{
	struct scene *s = *state;
	static char large[3 * 4096];
	struct read r;

	for (int i = 0; i < 5; i++)
		feed(s, "12345");
	r = read_stream(s, false, 1);
	check(s, HEADER);
	assert_true(r.more);
	r = read_stream(s, false, 1);
	check(s, "[0.000000, \"o\", \"12345\"]\n");
	r = read_stream(s, false, 2 * s->out.n + 1);
	check(s, "[0.000000, \"o\", \"12345\"]\n[0.000000, \"o\", \"12345\"]\n");
	assert_true(r.more);
	r = read_stream(s, false, 1000);
	assert_false(r.more);
	/* what comes at once is more than one line, so that these are never long */
	memset(large, 1, sizeof(large));
	feed_bytes(s, large, sizeof(large));
	r = read_stream(s, false, 1);
	assert_int_equal(s->out.n, strlen("[0.000000, \"o\", \"\"]\n") + 6 * 4096);
	assert_true(r.more);
}

/* The oldest go, whole lines of them; who comes late is told how much, and the header is always there. */
static void test_bounds(void **state)
{
	struct scene *s = *state;
	static char large[4096];
	struct read r;

	read_stream(s, false, 1000);
	memset(large, 'x', sizeof(large));
	for (int i = 0; i < 3000; i++)
		feed_bytes(s, large, sizeof(large));
	r = read_stream(s, false, 64u << 20);
	assert_true(s->out.n <= TERMINAL_RECORDING_BYTES);
	assert_true(s->out.n > TERMINAL_RECORDING_BYTES - 8192);
	assert_memory_equal(s->out.data, "[0.000000, ", 11);
	assert_int_equal(r.offset, strlen(HEADER) + r.n_dropped + s->out.n);
	assert_int_equal(r.offset,
			 strlen(HEADER) + 3000 * (strlen("[0.000000, \"o\", \"\"]\n") + 4096));
	r = read_stream(s, true, 64u << 20);
	assert_memory_equal(s->out.data, HEADER "[0.000000, ", strlen(HEADER) + 11);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_lines),
		TEST(test_split),
		TEST(test_pieces),
		TEST(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
