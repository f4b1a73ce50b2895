/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

/* A byte buffer that grows up to its limit and keeps what it has for the next use. */

#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data;
	size_t n;    /* used */
	size_t size; /* allocated */
	size_t n_max;
};

void buf_init(struct buf *b, size_t n_max);
void buf_deinit(struct buf *b);
/* Room for n more bytes. -ENOMEM; -E2BIG: past n_max. */
int buf_reserve(struct buf *b, size_t n);
int buf_append(struct buf *b, const void *data, size_t n);
/* Gives memory back if more than keep bytes are held. The content is lost. */
void buf_trim(struct buf *b, size_t keep);

static inline void buf_clear(struct buf *b)
{
	b->n = 0;
}

#endif
