/* SPDX-License-Identifier: Apache-2.0 */
#include "executor/stats.h"

#include <stdio.h>

#include "base/clock.h"
#include "tool/tool.h"
#include "wire/call.h"

static unsigned histogram_bucket(uint64_t ns)
{
	unsigned e, bucket;

	if (ns < 8)
		return (unsigned)ns;
	e = 63 - (unsigned)__builtin_clzll(ns);
	bucket = (e - 2) * 8 + (unsigned)((ns >> (e - 3)) & 7);
	return bucket < TR_HISTOGRAM_BUCKETS ? bucket : TR_HISTOGRAM_BUCKETS - 1;
}

static void histogram_add(struct tr_histogram *h, uint64_t ns)
{
	stats_add(&h->count, 1);
	stats_add(&h->sum_ns, ns);
	if (ns > h->max_ns)
		stats_set(&h->max_ns, ns);
	stats_add(&h->buckets[histogram_bucket(ns)], 1);
}

static void name_row(struct tr_stats *shared, unsigned row, const char *name)
{
	snprintf(shared->tools[row].name, sizeof(shared->tools[row].name), "%s", name);
}

void stats_init(struct stats *s, struct tr_stats *shared, uint64_t generation)
{
	const struct tool *tool;

	s->shared = shared;
	shared->version = TR_STATS_VERSION;
	shared->bytes = sizeof(*shared);
	shared->generation = generation;
	shared->executor_started_ns = clock_ns(CLOCK_REALTIME);
	if (generation == 1)
		shared->started_ns = shared->executor_started_ns;
	name_row(shared, STATS_INVALID, "(invalid)");
	name_row(shared, STATS_EXTERNAL, "(external)");
	for (int kind = 0; kind < TR_N_KINDS; kind++) {
		enum stats_row row = stats_row_of_kind((enum tr_kind)kind);

		if (row != STATS_INVALID)
			name_row(shared, row, wire_kind_name((enum tr_kind)kind));
	}
	for (unsigned i = 0; (tool = tool_at(i)) && STATS_TOOLS + i < TR_STATS_TOOLS; i++)
		name_row(shared, STATS_TOOLS + i, tool->name);
	/* Gauges are this executor's. */
	stats_set(&shared->sessions, 0);
	stats_set(&shared->trajectories, 0);
	stats_set(&shared->slots_used, 0);
	stats_set(&shared->calls_queued, 0);
	stats_set(&shared->calls_running, 0);
	__atomic_store_n(&shared->magic, TR_MAGIC, __ATOMIC_RELEASE);
}

enum stats_row stats_row_of_tool(const struct tool *tool)
{
	size_t index = (size_t)(tool - tool_at(0));

	return (enum stats_row)(STATS_TOOLS + index);
}

enum stats_row stats_row_of_kind(enum tr_kind kind)
{
	switch (kind) {
	case TR_KIND_ACQUIRE:
		return STATS_ACQUIRE;
	case TR_KIND_RESET:
		return STATS_RESET;
	case TR_KIND_RELEASE:
		return STATS_RELEASE;
	case TR_KIND_ARTIFACT_READ:
		return STATS_ARTIFACT_READ;
	case TR_KIND_ARTIFACT_LIST:
		return STATS_ARTIFACT_LIST;
	case TR_KIND_ARTIFACT_ARCHIVE:
		return STATS_ARTIFACT_ARCHIVE;
	case TR_KIND_ARTIFACT_WRITE:
		return STATS_ARTIFACT_WRITE;
	case TR_KIND_ARTIFACT_UNPACK:
		return STATS_ARTIFACT_UNPACK;
	default:
		return STATS_INVALID;
	}
}

void stats_call(struct stats *s, enum stats_row row, enum tr_verdict verdict,
		const uint64_t timing_ns[TR_N_PHASES])
{
	struct tr_stats_tool *tool = &s->shared->tools[row];
	uint64_t total = 0;

	stats_add(&tool->verdicts[verdict], 1);
	for (int phase = 0; phase < TR_N_PHASES; phase++) {
		histogram_add(&tool->phases[phase], timing_ns[phase]);
		total += timing_ns[phase];
	}
	histogram_add(&s->shared->verdict_total[verdict], total);
}
