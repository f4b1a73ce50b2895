/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of text in one piece of memory, new ones at its end, old ones dropped from its beginning. The
 * piece grows with what it holds, up to a quarter more than may be held: that much is written before
 * all is moved to the beginning again.
 */
#include "tool/slot/terminal_parts.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MIN 512

void tape_init(struct tape *tape, size_t n_max, uint32_t n_lines_max)
{
	*tape = (struct tape){.n_max = n_max, .n_lines_max = n_lines_max};
}

void tape_deinit(struct tape *tape)
{
	free(tape->data);
	tape->data = NULL;
	tape->n_gone += tape->end - tape->start;
	tape->start = tape->end = tape->size = 0;
	tape->n_lines = 0;
}

static void drop_line(struct tape *tape)
{
	const uint8_t *at = tape->data + tape->start;
	size_t n = (size_t)((const uint8_t *)memchr(at, '\n', tape->end - tape->start) - at) + 1;

	tape->start += n;
	tape->n_gone += n;
	tape->n_lines--;
}

/* Room for n more bytes at the end. */
static int make_room(struct tape *tape, size_t n)
{
	size_t used = tape->end - tape->start, size = tape->size ? tape->size : SIZE_MIN;
	uint8_t *data;

	if (n <= tape->size - tape->end)
		return 0;
	if (used)
		memmove(tape->data, tape->data + tape->start, used);
	tape->start = 0;
	tape->end = used;
	if (used + n <= tape->size - tape->size / 5 || tape->size == tape->n_max + tape->n_max / 4)
		return 0;
	while (size < used + n)
		size *= 2;
	if (size < 2 * tape->size)
		size = 2 * tape->size;
	if (size > tape->n_max + tape->n_max / 4)
		size = tape->n_max + tape->n_max / 4;
	data = realloc(tape->data, size);
	if (!data)
		return used + n <= tape->size ? 0 : -ENOMEM;
	tape->data = data;
	tape->size = size;
	return 0;
}

int tape_append(struct tape *tape, struct span line)
{
	int r;

	assert(line.n < tape->n_max);
	while (tape->n_lines && (tape->n_lines >= tape->n_lines_max ||
				 tape->end - tape->start + line.n + 1 > tape->n_max))
		drop_line(tape);
	r = make_room(tape, line.n + 1);
	if (r < 0)
		return r;
	if (line.n)
		memcpy(tape->data + tape->end, line.data, line.n);
	tape->end += line.n;
	tape->data[tape->end++] = '\n';
	tape->n_lines++;
	return 0;
}
