/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_HISTOGRAM_H
#define TOOLS_HISTOGRAM_H

/*
 * Two log-linear histograms of nanoseconds: one of our own for benches, 1/128 fine (below 1 % off),
 * and percentiles of the coarser one that toolringd shares (struct tr_histogram, 1/8 fine).
 */

#include <stdint.h>

#include <toolring/abi.h>

#define HISTOGRAM_BITS    7
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS)

struct histogram {
	uint64_t count;
	uint64_t max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t v);
/* The value that share (0..1) of all do not exceed; the upper edge of its bucket. 0 if empty. */
uint64_t histogram_at(const struct histogram *h, double share);

/* A consistent copy is not to be had and not needed: each word is read once. */
void histogram_copy_shared(const struct tr_histogram *from, struct tr_histogram *ret_copy);
uint64_t histogram_shared_at(const struct tr_histogram *copy, double share);

#endif
