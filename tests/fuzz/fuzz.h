/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

/*
 * What a fuzz target is: one function that libFuzzer or replay.c calls with an input, and seeds to
 * start from. A fault is an abort, or what a sanitizer or a guard page catches.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/span.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Writes the seed of that number, at most size bytes, and returns how many; 0: there are no more. */
size_t fuzz_seed(unsigned number, uint8_t *data, size_t size);

/* As assert(), but also where NDEBUG is set. */
#define FUZZ_CHECK(e)                                                                              \
	do {                                                                                       \
		if (!(e)) {                                                                        \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #e);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static inline bool fuzz_inside(struct span part, const void *data, size_t n)
{
	const uint8_t *start = (const uint8_t *)data;

	if (!part.data)
		return part.n == 0;
	return part.data >= start && part.data <= start + n &&
	       part.n <= (size_t)(start + n - part.data);
}

/* A copy of exactly its size, so that a read past it is seen. For free(). */
static inline uint8_t *fuzz_copy(const uint8_t *data, size_t n)
{
	uint8_t *copy = (uint8_t *)malloc(n ? n : 1);

	FUZZ_CHECK(copy);
	if (n)
		memcpy(copy, data, n);
	return copy;
}

#endif
