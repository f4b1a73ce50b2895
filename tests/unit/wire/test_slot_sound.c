/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What messages between the executor and a slot may say, op by op: each flag where it belongs and
 * nowhere else, each number at its edges, and rows of entries that are cut, doubled or made up.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "wire/slot_sound.h"

static struct slot_reply reply_of(enum slot_op op)
{
	return (struct slot_reply){.magic = SLOT_MAGIC, .op = op};
}

/* A request of this op that says what it has to. */
static struct slot_request request_of(enum slot_op op)
{
	struct slot_request q = {.magic = SLOT_MAGIC, .op = op};

	if (op == SLOT_TERMINAL)
		q.action = SLOT_TERMINAL_CAPTURE;
	if (op == SLOT_ARTIFACT_READ || op == SLOT_ARTIFACT_ARCHIVE)
		q.encoding = SLOT_BYTES;
	if (op == SLOT_ARTIFACT_ARCHIVE)
		q.format = SLOT_TAR;
	return q;
}

#define RUN     (SLOT_TIMED_OUT | SLOT_ROOM_LOST)
#define CUT     (SLOT_TRUNCATED | SLOT_STDERR_TRUNCATED)
#define MISSING (SLOT_NOT_FOUND | SLOT_MISUSED)

static const struct {
	uint32_t request, reply;
} flags[SLOT_N_OPS] = {
	[SLOT_BASH] = {0, RUN | CUT | SLOT_IDLE},
	[SLOT_EXEC] = {SLOT_KEEP, RUN | SLOT_IDLE | SLOT_NOT_STARTED},
	[SLOT_SHELL] = {0, RUN | CUT | SLOT_IDLE | SLOT_SHELL_STARTED},
	[SLOT_TERMINAL] = {SLOT_BLOCK | SLOT_REGEX | SLOT_ALL | SLOT_RESET,
			   RUN | SLOT_SHELL_STARTED | SLOT_TRUNCATED | SLOT_NOT_SEEN},
	[SLOT_ARTIFACT_READ] = {SLOT_SHA256 | SLOT_ANYWHERE, RUN | MISSING | SLOT_TRUNCATED},
	[SLOT_ARTIFACT_LIST] = {SLOT_ALL | SLOT_ANYWHERE, RUN | MISSING | SLOT_TRUNCATED},
	[SLOT_ARTIFACT_ARCHIVE] = {SLOT_ANYWHERE, RUN | MISSING | SLOT_TRUNCATED},
	[SLOT_ARTIFACT_WRITE] = {SLOT_ANYWHERE, RUN | MISSING},
	[SLOT_ARTIFACT_UNPACK] = {SLOT_ANYWHERE, RUN | MISSING | SLOT_TRUNCATED},
};

static void test_flags(void **state)
{
	(void)state;
	for (unsigned op = SLOT_BASH; op < SLOT_N_OPS; op++) {
		struct slot_request q = request_of((enum slot_op)op);
		struct slot_reply p = reply_of((enum slot_op)op);

		assert_true(slot_request_is_sound(&q));
		assert_true(slot_reply_is_sound(&p));
		for (unsigned bit = 0; bit < 32; bit++) {
			uint32_t flag = UINT32_C(1) << bit;
			bool of_all = flag & (SLOT_IN_FILE | SLOT_STUCK);

			q.flags = flag;
			assert_int_equal(slot_request_is_sound(&q),
					 flag == SLOT_IN_FILE || (flags[op].request & flag));
			/* idle is a way of timing out */
			p.flags = flag == SLOT_IDLE ? SLOT_IDLE | SLOT_TIMED_OUT : flag;
			assert_int_equal(slot_reply_is_sound(&p),
					 of_all || (flags[op].reply & flag));
		}
		p.flags = SLOT_IDLE;
		assert_false(slot_reply_is_sound(&p));
	}
}

#define CHECK_REQUEST(of, field, value, expected)                                                  \
	do {                                                                                       \
		struct slot_request q_ = request_of(of);                                           \
		q_.field = (value);                                                                \
		assert_int_equal(slot_request_is_sound(&q_), expected);                            \
	} while (0)

static void test_requests(void **state)
{
	struct slot_request q = request_of(SLOT_TERMINAL);

	(void)state;
	CHECK_REQUEST(SLOT_BASH, magic, SLOT_MAGIC + 1, false);
	CHECK_REQUEST(SLOT_BASH, action, SLOT_TERMINAL_START, false);
	CHECK_REQUEST(SLOT_TERMINAL, action, 0, false);
	CHECK_REQUEST(SLOT_TERMINAL, action, SLOT_TERMINAL_STOP, true);
	CHECK_REQUEST(SLOT_TERMINAL, action, SLOT_TERMINAL_N, false);
	CHECK_REQUEST(SLOT_TERMINAL, n_columns, SLOT_COLUMNS_MIN - 1, false);
	CHECK_REQUEST(SLOT_TERMINAL, n_columns, SLOT_COLUMNS_MIN, true);
	CHECK_REQUEST(SLOT_TERMINAL, n_columns, SLOT_COLUMNS_MAX, true);
	CHECK_REQUEST(SLOT_TERMINAL, n_columns, SLOT_COLUMNS_MAX + 1, false);
	CHECK_REQUEST(SLOT_TERMINAL, n_rows, SLOT_ROWS_MIN - 1, false);
	CHECK_REQUEST(SLOT_TERMINAL, n_rows, SLOT_ROWS_MIN, true);
	CHECK_REQUEST(SLOT_TERMINAL, n_rows, SLOT_ROWS_MAX, true);
	CHECK_REQUEST(SLOT_TERMINAL, n_rows, SLOT_ROWS_MAX + 1, false);
	q.action = SLOT_TERMINAL_RESIZE;
	q.n_columns = 80;
	assert_false(slot_request_is_sound(&q));
	q.n_rows = 24;
	assert_true(slot_request_is_sound(&q));
	CHECK_REQUEST(SLOT_ARTIFACT_READ, encoding, 0, false);
	CHECK_REQUEST(SLOT_ARTIFACT_READ, encoding, SLOT_TEXT, true);
	CHECK_REQUEST(SLOT_ARTIFACT_READ, encoding, SLOT_N_ENCODINGS, false);
	CHECK_REQUEST(SLOT_ARTIFACT_ARCHIVE, encoding, SLOT_TEXT, false);
	CHECK_REQUEST(SLOT_ARTIFACT_ARCHIVE, encoding, SLOT_BASE64, true);
	CHECK_REQUEST(SLOT_ARTIFACT_ARCHIVE, format, 0, false);
	CHECK_REQUEST(SLOT_ARTIFACT_ARCHIVE, format, SLOT_N_FORMATS, false);
	CHECK_REQUEST(SLOT_ARTIFACT_UNPACK, format, 0, true);
	CHECK_REQUEST(SLOT_ARTIFACT_UNPACK, format, SLOT_N_FORMATS, false);
}

#define CHECK_REPLY(of, field, value, expected)                                                    \
	do {                                                                                       \
		struct slot_reply p_ = reply_of(of);                                               \
		p_.field = (value);                                                                \
		assert_int_equal(slot_reply_is_sound(&p_), expected);                              \
	} while (0)

static void test_replies(void **state)
{
	struct slot_reply p = reply_of(SLOT_TERMINAL);

	(void)state;
	CHECK_REPLY(SLOT_SHELL, shell_end, SLOT_SHELL_ROOM_LOST, true);
	CHECK_REPLY(SLOT_SHELL, shell_end, SLOT_SHELL_N_ENDS, false);
	CHECK_REPLY(SLOT_SHELL, shell_lost, SLOT_SHELL_N_ENDS, false);
	CHECK_REPLY(SLOT_TERMINAL, shell_lost, UINT32_MAX, false);
	/* A size has two sides, and the cursor is inside. */
	CHECK_REPLY(SLOT_TERMINAL, n_columns, 80, false);
	CHECK_REPLY(SLOT_TERMINAL, n_rows, 24, false);
	CHECK_REPLY(SLOT_TERMINAL, cursor_column, 1, false);
	CHECK_REPLY(SLOT_TERMINAL, cursor_row, 1, false);
	p.n_columns = 80;
	p.n_rows = 24;
	p.cursor_column = 80;
	p.cursor_row = 23;
	assert_true(slot_reply_is_sound(&p));
	p.cursor_column = 81;
	assert_false(slot_reply_is_sound(&p));
	p.cursor_column = 0;
	p.n_columns = SLOT_COLUMNS_MAX + 1;
	assert_false(slot_reply_is_sound(&p));
	CHECK_REPLY(SLOT_ARTIFACT_LIST, n_entries, SLOT_ENTRIES_MAX, true);
	CHECK_REPLY(SLOT_ARTIFACT_LIST, n_entries, SLOT_ENTRIES_MAX + 1, false);
	CHECK_REPLY(SLOT_TERMINAL, n[SLOT_FILE], SLOT_TEXT_MAX, true);
	CHECK_REPLY(SLOT_TERMINAL, n[SLOT_FILE], SLOT_TEXT_MAX + 1, false);
	CHECK_REPLY(SLOT_TERMINAL, n[SLOT_ERROR], SLOT_TEXT_MAX + 1, false);
	CHECK_REPLY(SLOT_SHELL, n[SLOT_STDERR], 1, false);
}

/* Only what is bytes by its nature, or may be, is let through as such. */
static void test_texts(void **state)
{
	static const enum slot_op raw[] = {SLOT_EXEC, SLOT_ARTIFACT_READ, SLOT_ARTIFACT_ARCHIVE};

	(void)state;
	for (unsigned op = SLOT_BASH; op < SLOT_N_OPS; op++) {
		struct slot_reply p = reply_of((enum slot_op)op);
		struct span parts[SLOT_N_REPLY_PARTS] = {[SLOT_OUTPUT] = span_of("\xff", 1)};
		bool is_raw = false;

		for (size_t i = 0; i < sizeof(raw) / sizeof(*raw); i++)
			is_raw |= raw[i] == op;
		assert_int_equal(slot_reply_parts_are_sound(&p, parts), is_raw);
		parts[SLOT_OUTPUT].n = 0;
		assert_true(slot_reply_parts_are_sound(&p, parts));
		parts[SLOT_FILE] = span_of("\xff", 1);
		assert_false(slot_reply_parts_are_sound(&p, parts));
	}
}

/* ---- entries -------------------------------------------------------------------------------------- */

struct row {
	uint8_t bytes[256];
	size_t n;
};

static void add(struct row *row, struct slot_entry e, const char *path, size_t n_path)
{
	e.n_path = (uint16_t)n_path;
	memcpy(row->bytes + row->n, &e, sizeof(e));
	memcpy(row->bytes + row->n + sizeof(e), path, n_path);
	row->n += sizeof(e) + n_path;
}

static bool is_sound(const struct row *row, size_t n)
{
	struct slot_reply p = reply_of(SLOT_ARTIFACT_LIST);
	struct span parts[SLOT_N_REPLY_PARTS] = {[SLOT_OUTPUT] = span_of(row->bytes, n)};

	return slot_reply_parts_are_sound(&p, parts);
}

/* A row is taken apart as it was put together, at whatever address its entries come to lie. */
static void test_entries(void **state)
{
	struct row row = {.n = 0};
	struct slot_entry e;
	struct span rest, path;

	(void)state;
	add(&row, (struct slot_entry){.size = UINT64_MAX, .mtime_ns = -5}, "abc", 3);
	add(&row, (struct slot_entry){.is_dir = 1}, "h\xc3\xa9", 3);
	assert_true(is_sound(&row, row.n));
	rest = span_of(row.bytes, row.n);
	assert_int_equal(slot_entry_next(&rest, &e, &path), 1);
	assert_true(span_is(path, "abc"));
	assert_true(e.size == UINT64_MAX && e.mtime_ns == -5 && !e.is_dir);
	assert_int_equal(slot_entry_next(&rest, &e, &path), 1);
	assert_true(span_is(path, "h\xc3\xa9"));
	assert_int_equal(e.is_dir, 1);
	assert_int_equal(slot_entry_next(&rest, &e, &path), 0);
	/* Cut off anywhere but between two, it is no row. */
	for (size_t n = 0; n < row.n; n++)
		assert_int_equal(is_sound(&row, n), n == 0 || n == sizeof(e) + 3);
}

static void test_hostile_entries(void **state)
{
	static const struct {
		struct slot_entry entry;
		const char *path;
		size_t n;
	} rows[] = {
		{{.size = 1}, "", 0},
		{{.is_dir = 2}, "a", 1},
		{{.reserved = {0, 0, 0, 0, 1}}, "a", 1},
		{{.size = 1}, "\xc3", 1},
		{{.size = 1}, "a\0b", 3},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct row row = {.n = 0};

		add(&row, rows[i].entry, rows[i].path, rows[i].n);
		assert_false(is_sound(&row, row.n));
	}
}

/* ---- what was asked ------------------------------------------------------------------------------- */

static bool answers(const struct slot_request *q, const char *output, size_t n)
{
	struct slot_reply p = reply_of((enum slot_op)q->op);
	struct span parts[SLOT_N_REPLY_PARTS] = {[SLOT_OUTPUT] = span_of(output, n)};

	return slot_reply_answers(&p, parts, q);
}

/* Content is in the encoding that was asked for, and no more than that can come to. */
static void test_answers(void **state)
{
	struct slot_request q = request_of(SLOT_ARTIFACT_READ);
	struct slot_reply other = reply_of(SLOT_ARTIFACT_ARCHIVE);
	struct span none[SLOT_N_REPLY_PARTS] = {{0}};
	struct row row = {.n = 0};

	(void)state;
	assert_false(slot_reply_answers(&other, none, &q));
	q.stdout_max = 2;
	assert_true(answers(&q, "\xff\xff", 2));
	assert_false(answers(&q, "\xff\xff\xff", 3));
	q.encoding = SLOT_TEXT;
	assert_false(answers(&q, "\xff", 1));
	assert_true(answers(&q, "\xef\xbf\xbd\xef\xbf\xbd", 6));
	assert_false(answers(&q, "1234567", 7));
	q.encoding = SLOT_BASE64;
	assert_true(answers(&q, "//8=", 4));
	assert_false(answers(&q, "//8//8==", 8));
	assert_false(answers(&q, "\xff\xff\xff=", 4));
	q.stdout_max = UINT64_MAX;
	assert_true(answers(&q, "//8=", 4));
	q = request_of(SLOT_ARTIFACT_LIST);
	q.n_entries_max = 1;
	add(&row, (struct slot_entry){.size = 1}, "a", 1);
	assert_true(answers(&q, (const char *)row.bytes, row.n));
	add(&row, (struct slot_entry){.size = 1}, "b", 1);
	assert_false(answers(&q, (const char *)row.bytes, row.n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flags),   cmocka_unit_test(test_requests),
		cmocka_unit_test(test_replies), cmocka_unit_test(test_texts),
		cmocka_unit_test(test_entries), cmocka_unit_test(test_hostile_entries),
		cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
