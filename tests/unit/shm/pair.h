/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_PAIR_H
#define TEST_PAIR_H

/*
 * Both ends of one ring in plain memory: the shared words, an area of exactly the ring's size (so
 * that the address sanitizer sees a byte too far), a producer and a consumer.
 */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "shm/ring.h"

struct pair {
	struct tr_ring shared;
	uint8_t *area;
	struct ring_tx tx;
	struct ring_rx rx;
};

static inline void pair_init(struct pair *p, uint64_t bytes, uint64_t start)
{
	struct ring_words words = {
		.tail = &p->shared.tail,
		.head = &p->shared.head,
		.consumer_wait = &p->shared.consumer_wait,
		.producer_wait = &p->shared.producer_wait,
	};

	memset(p, 0, sizeof(*p));
	p->area = aligned_alloc(TR_LINE, bytes);
	assert_non_null(p->area);
	memset(p->area, 0xa5, bytes);
	p->shared.tail = start;
	p->shared.head = start;
	p->tx = (struct ring_tx){
		.words = words,
		.area = p->area,
		.bytes = bytes,
		.tail = start,
		.published = start,
		.head = start,
	};
	p->rx = (struct ring_rx){
		.words = words,
		.area = p->area,
		.bytes = bytes,
		.head = start,
		.released = start,
		.tail = start,
	};
}

static inline void pair_deinit(struct pair *p)
{
	free(p->area);
	p->area = NULL;
}

/* The byte at offset i of the message with that id. */
static inline uint8_t pattern(uint64_t id, size_t i)
{
	uint64_t x = (id * 0x9e3779b97f4a7c15u) ^ (i * 0xff51afd7ed558ccdu);

	return (uint8_t)(x >> 40);
}

static inline void pattern_fill(uint8_t *to, size_t n, uint64_t id)
{
	for (size_t i = 0; i < n; i++)
		to[i] = pattern(id, i);
}

/* Offset of the first byte that is not the pattern's, or n. */
static inline size_t pattern_match(const uint8_t *data, size_t n, uint64_t id)
{
	size_t i = 0;

	while (i < n && data[i] == pattern(id, i))
		i++;
	return i;
}

/* A small generator, so that every run tries the same. */
static inline uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*state = x;
	return x;
}

#endif
