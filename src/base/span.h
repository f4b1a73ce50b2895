/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

/* Bytes somebody else owns. data may be NULL when n is 0. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const uint8_t *data;
	size_t n;
};

static inline struct span span_of(const void *data, size_t n)
{
	return (struct span){.data = (const uint8_t *)data, .n = n};
}

static inline struct span span_string(const char *s)
{
	return span_of(s, s ? strlen(s) : 0);
}

static inline bool span_is(struct span s, const char *text)
{
	size_t n = strlen(text);

	return s.n == n && memcmp(s.data, text, n) == 0;
}

static inline bool span_equal(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.data, b.data, a.n) == 0);
}

#endif
