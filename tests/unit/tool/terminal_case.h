/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TOOL_TERMINAL_CASE_H
#define TESTS_UNIT_TOOL_TERMINAL_CASE_H

/* A terminal of 20 columns and 10 rows, and what the tests ask of it. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "tool/slot/terminal.h"

#define N_COLUMNS 20
#define N_ROWS    10

struct scene {
	struct terminal *t;
	struct buf out, replies;
	uint64_t now_ns;
};

static inline int scene_open(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->t = terminal_new(N_COLUMNS, N_ROWS, 0);
	assert_non_null(s->t);
	buf_init(&s->out, 64u << 20);
	buf_init(&s->replies, 4096);
	*state = s;
	return 0;
}

static inline int scene_close(void **state)
{
	struct scene *s = *state;

	assert_null(terminal_free(s->t));
	buf_deinit(&s->out);
	buf_deinit(&s->replies);
	free(s);
	return 0;
}

static inline void feed_bytes(struct scene *s, const void *bytes, size_t n)
{
	assert_int_equal(terminal_feed(s->t, span_of(bytes, n), s->now_ns, &s->replies), 0);
}

static inline void feed(struct scene *s, const char *text)
{
	feed_bytes(s, text, strlen(text));
}

/* The screen, or all, without the empty lines at its end; valid until the next call. */
static inline const char *shown(struct scene *s, bool all)
{
	buf_clear(&s->out);
	assert_int_equal(terminal_capture(s->t, all, &s->out), 0);
	while (s->out.n >= 2 && s->out.data[s->out.n - 2] == '\n')
		s->out.n--;
	assert_int_equal(buf_append(&s->out, "", 1), 0);
	return (const char *)s->out.data;
}

static inline size_t n_lines(struct scene *s, bool all)
{
	size_t n = 0;

	buf_clear(&s->out);
	assert_int_equal(terminal_capture(s->t, all, &s->out), 0);
	for (size_t i = 0; i < s->out.n; i++)
		n += s->out.data[i] == '\n';
	return n;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, scene_open, scene_close)

#endif
