/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXECUTOR_STATS_H
#define EXECUTOR_STATS_H

/*
 * Counters and histograms in memory that the keeper made and every client may read (abi.h). One
 * writer, relaxed stores: reading them stops nobody, and they outlive an executor.
 */

#include <stdint.h>

#include <toolring/abi.h>

#include "base/span.h"

struct tool;

/* Rows of tr_stats.tools. A tool that is not in the list, and a call that is no call, count too. */
enum stats_row {
	STATS_INVALID,
	STATS_ACQUIRE,
	STATS_RESET,
	STATS_RELEASE,
	STATS_ARTIFACT_READ,
	STATS_ARTIFACT_LIST,
	STATS_ARTIFACT_ARCHIVE,
	STATS_ARTIFACT_WRITE,
	STATS_ARTIFACT_UNPACK,
	STATS_EXTERNAL,
	STATS_TOOLS, /* from here on the built-in tools, in their order */
};

struct stats {
	struct tr_stats *shared;
};

static inline void stats_set(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static inline void stats_add(uint64_t *word, uint64_t n)
{
	stats_set(word, __atomic_load_n(word, __ATOMIC_RELAXED) + n);
}

/* shared: zeroed at the start of toolringd, kept over restarts of the executor. */
void stats_init(struct stats *s, struct tr_stats *shared, uint64_t generation);

enum stats_row stats_row_of_tool(const struct tool *tool);
enum stats_row stats_row_of_kind(enum tr_kind kind);

/* One call that was answered. */
void stats_call(struct stats *s, enum stats_row row, enum tr_verdict verdict,
		const uint64_t timing_ns[TR_N_PHASES]);

#endif
