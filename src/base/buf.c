/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b, size_t n_max)
{
	*b = (struct buf){.n_max = n_max};
}

void buf_deinit(struct buf *b)
{
	free(b->data);
	*b = (struct buf){.n_max = b->n_max};
}

int buf_reserve(struct buf *b, size_t n)
{
	size_t size = b->size ? b->size : 256;
	uint8_t *data;

	if (n <= b->size - b->n)
		return 0;
	if (n > b->n_max || b->n > b->n_max - n)
		return -E2BIG;
	while (size - b->n < n && size <= b->n_max / 2)
		size *= 2;
	if (size - b->n < n || size > b->n_max)
		size = b->n_max;
	data = realloc(b->data, size);
	if (!data)
		return -ENOMEM;
	b->data = data;
	b->size = size;
	return 0;
}

int buf_append(struct buf *b, const void *data, size_t n)
{
	int r;

	if (n > b->size - b->n) {
		r = buf_reserve(b, n);
		if (r < 0)
			return r;
	}
	if (n)
		memcpy(b->data + b->n, data, n);
	b->n += n;
	return 0;
}

void buf_trim(struct buf *b, size_t keep)
{
	if (b->size > keep)
		buf_deinit(b);
	b->n = 0;
}
