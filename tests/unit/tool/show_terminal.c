/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A terminal for tests to ask: reads cases from standard input, each of uint32_t columns, rows, the
 * length of what is fed, of that what comes in the first piece, the length of a key's name, then
 * both. Answers, for each, the cursor's column and row and then, each with its length before it, the
 * screen, the screen with its history, the key's bytes, the replies, the title, and the recording.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#include "tool/slot/terminal.h"

#define N_MAX (256u << 20)

struct asked {
	uint32_t n_columns, n_rows, n_fed, n_first, n_key;
};

static void say(const void *data, size_t n)
{
	uint32_t n32 = (uint32_t)n;

	if (fwrite(&n32, sizeof(n32), 1, stdout) != 1 || (n && fwrite(data, 1, n, stdout) != n))
		err(1, "cannot answer");
}

static uint8_t *take(size_t n)
{
	uint8_t *data = malloc(n ? n : 1);

	if (!data || (n && fread(data, 1, n, stdin) != n))
		errx(1, "a case is cut off");
	return data;
}

static void check(int r)
{
	if (r < 0)
		errx(1, "failed: %d", r);
}

static void show_recording(struct terminal *t)
{
	uint64_t offset, n_dropped;
	bool more;
	struct buf out;

	buf_init(&out, N_MAX);
	check(terminal_stream(t, true, N_MAX, &out, &offset, &n_dropped, &more));
	say(out.data, out.n);
	buf_deinit(&out);
}

static void show(const struct asked *a, const uint8_t *fed, const uint8_t *key)
{
	struct terminal *t = terminal_new((uint16_t)a->n_columns, (uint16_t)a->n_rows, 0);
	struct buf out[4];
	struct terminal_state state;
	uint16_t cursor[2];

	if (!t)
		errx(1, "no memory");
	for (int i = 0; i < 4; i++)
		buf_init(&out[i], N_MAX);
	check(terminal_feed(t, span_of(fed, a->n_first), 1000, &out[3]));
	check(terminal_feed(t, span_of(fed + a->n_first, a->n_fed - a->n_first), 2000, &out[3]));
	check(terminal_capture(t, false, &out[0]));
	check(terminal_capture(t, true, &out[1]));
	check(terminal_keys(t, span_of(key, a->n_key), &out[2]));
	terminal_state(t, &state);
	cursor[0] = state.cursor_column;
	cursor[1] = state.cursor_row;
	say(cursor, sizeof(cursor));
	for (int i = 0; i < 4; i++) {
		say(out[i].data, out[i].n);
		buf_deinit(&out[i]);
	}
	say(state.title.data, state.title.n);
	show_recording(t);
	fflush(stdout);
	terminal_free(t);
}

int main(void)
{
	struct asked a;

	while (fread(&a, sizeof(a), 1, stdin) == 1) {
		uint8_t *fed = take(a.n_fed), *key = take(a.n_key);

		show(&a, fed, key);
		free(fed);
		free(key);
	}
	return 0;
}
