/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stddef.h>

#include "histogram.h"

/* Bucket of v with 2^bits buckets for each power of two; v itself below 2^bits. */
static size_t bucket_of(uint64_t v, unsigned bits)
{
	unsigned e;

	if (v < UINT64_C(1) << bits)
		return (size_t)v;
	e = 63 - (unsigned)__builtin_clzll(v);
	return ((size_t)(e - bits + 1) << bits) +
	       (size_t)((v >> (e - bits)) & ((UINT64_C(1) << bits) - 1));
}

/* Largest value of a bucket. */
static uint64_t bucket_end(size_t bucket, unsigned bits)
{
	uint64_t part = bucket & ((UINT64_C(1) << bits) - 1);
	size_t row = bucket >> bits;

	if (row == 0)
		return bucket;
	return ((((UINT64_C(1) << bits) + part + 1) << (row - 1))) - 1;
}

static uint64_t value_at(const uint64_t *buckets, size_t n_buckets, unsigned bits, uint64_t count,
			 uint64_t max, double share)
{
	uint64_t rank = (uint64_t)ceil(share * (double)count);
	uint64_t seen = 0;

	if (count == 0)
		return 0;
	for (size_t i = 0; i < n_buckets; i++) {
		seen += buckets[i];
		if (seen >= rank && seen > 0) {
			uint64_t end = bucket_end(i, bits);

			return i + 1 == n_buckets || end > max ? max : end;
		}
	}
	return max;
}

void histogram_add(struct histogram *h, uint64_t v)
{
	h->count++;
	if (v > h->max)
		h->max = v;
	h->buckets[bucket_of(v, HISTOGRAM_BITS)]++;
}

uint64_t histogram_at(const struct histogram *h, double share)
{
	return value_at(h->buckets, HISTOGRAM_BUCKETS, HISTOGRAM_BITS, h->count, h->max, share);
}

void histogram_copy_shared(const struct tr_histogram *from, struct tr_histogram *ret_copy)
{
	ret_copy->count = 0;
	ret_copy->sum_ns = __atomic_load_n(&from->sum_ns, __ATOMIC_RELAXED);
	ret_copy->max_ns = __atomic_load_n(&from->max_ns, __ATOMIC_RELAXED);
	for (size_t i = 0; i < TR_HISTOGRAM_BUCKETS; i++) {
		ret_copy->buckets[i] = __atomic_load_n(&from->buckets[i], __ATOMIC_RELAXED);
		ret_copy->count += ret_copy->buckets[i];
	}
}

uint64_t histogram_shared_at(const struct tr_histogram *copy, double share)
{
	return value_at(copy->buckets, TR_HISTOGRAM_BUCKETS, 3, copy->count, copy->max_ns, share);
}
