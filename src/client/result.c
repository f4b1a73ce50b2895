/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A result's buffer: the payload as it came, a NUL, then a copy of every typed string with a NUL
 * behind it. The copies cost little where results are small, and raw stays whole. For those who
 * need no NULs there are no copies (TR_OPEN_IN_PLACE).
 */
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/result.h"

#define N_SLICES      5
#define RESERVE_SMALL 65536 /* up to here, room for the copies is made at once */

void tr_result_deinit(struct tr_result *result)
{
	if (!result)
		return;
	free(result->buffer.data);
	*result = (struct tr_result){0};
}

static int result_grow(struct tr_result *result, size_t n)
{
	size_t size = 256;
	void *data;

	if (n <= result->buffer.size)
		return 0;
	while (size < n)
		size *= 2;
	data = realloc(result->buffer.data, size);
	if (!data)
		return -ENOMEM;
	result->buffer.data = data;
	result->buffer.size = size;
	return 0;
}

int result_reserve(struct tr_result *result, size_t n, bool in_place)
{
	bool copies = !in_place && n <= RESERVE_SMALL;

	return result_grow(result, copies ? 2 * n + 1 + N_SLICES : n + 1);
}

void result_swap(struct tr_result *to, struct tr_result *from)
{
	void *data = to->buffer.data;
	size_t size = to->buffer.size;

	*to = *from;
	from->buffer.data = data;
	from->buffer.size = size;
}

/* All but the buffer. */
static void result_begin(struct tr_result *result, const struct row *row)
{
	static const struct tr_slice empty = {.data = "", .n = 0};

	result->call_id = row->id;
	result->user_data = row->user_data;
	result->kind = (enum tr_kind)row->kind;
	result->verdict = TR_OK;
	result->success = true;
	result->output = empty;
	result->error = empty;
	result->uniq_id = empty;
	result->slot_id = empty;
	result->metadata = empty;
	result->raw = empty;
	memset(&result->timing, 0, sizeof(result->timing));
}

void result_settle(struct tr_result *result, const struct row *row, enum tr_verdict verdict,
		   const char *error)
{
	result_begin(result, row);
	result->verdict = verdict;
	result->success = false;
	result->error = (struct tr_slice){.data = error, .n = strlen(error)};
}

/* The typed strings of a payload, and where they go. */
struct typed {
	struct tr_slice *to;
	const struct span *from;
};

static struct tr_slice slice_of(const uint8_t *data, size_t n)
{
	return (struct tr_slice){.data = (const char *)data, .n = n};
}

/* Behind the payload, at the start of the buffer, each is copied; n: bytes of the payload. */
static int copy_typed(struct tr_result *result, size_t n, const struct typed typed[N_SLICES])
{
	const uint8_t *old = result->buffer.data;
	size_t total = n + 1;
	uint8_t *to;
	int r;

	for (size_t i = 0; i < N_SLICES; i++)
		total += typed[i].from->n + 1;
	r = result_grow(result, total);
	if (r < 0)
		return r;
	to = result->buffer.data;
	total = n + 1;
	for (size_t i = 0; i < N_SLICES; i++) {
		const struct span *from = typed[i].from;

		if (!from->n)
			continue;
		/* The buffer may have moved since the spans were taken. */
		memcpy(to + total, to + (from->data - old), from->n);
		to[total + from->n] = 0;
		*typed[i].to = slice_of(to + total, from->n);
		total += from->n + 1;
	}
	return 0;
}

int result_decode(struct tr_result *result, const struct row *row, size_t n, bool in_place)
{
	struct wire_result w;
	const struct typed typed[N_SLICES] = {
		{&result->output, &w.output},     {&result->error, &w.error},
		{&result->uniq_id, &w.uniq_id},   {&result->slot_id, &w.slot_id},
		{&result->metadata, &w.metadata},
	};
	int r;

	result_begin(result, row);
	if (row->kind != TR_KIND_PING) {
		r = wire_result_decode(result->buffer.data, n, &w);
		if (r < 0)
			return r;
		result->verdict = w.verdict;
		result->success = w.success;
		memcpy(result->timing.ns, w.timing_ns, sizeof(result->timing.ns));
		for (size_t i = 0; in_place && i < N_SLICES; i++)
			if (typed[i].from->n)
				*typed[i].to = slice_of(typed[i].from->data, typed[i].from->n);
		r = in_place ? 0 : copy_typed(result, n, typed);
		if (r < 0)
			return r;
	}
	((uint8_t *)result->buffer.data)[n] = 0;
	result->raw = slice_of(result->buffer.data, n);
	return 0;
}
