/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXECUTOR_BATCH_H
#define EXECUTOR_BATCH_H

/*
 * Calls that are ready, gathered by target (a node; locally there is one). A target that is idle gets
 * them at once; while it is busy they gather, up to so many and never longer than the batch window,
 * so that a lone call never waits for a timer. A window of 0 gathers nothing beyond one turn.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "io/timer.h"

struct backend_op;
struct call;
struct executor;

struct batch {
	struct list calls;
	struct list link; /* among those with calls */
	size_t n_calls;
	size_t n_running;  /* calls the target has and has not answered */
	uint64_t since_ns; /* of the oldest call here */
};

struct batches {
	struct batch *batches;   /* by target */
	struct backend_op **ops; /* room to hand over n_calls_max of them */
	size_t n_calls_max;
	uint32_t n_batches;
	struct list filled;
	uint64_t window_ns;
	uint64_t due_ns; /* when a gathering batch has to go; UINT64_MAX */
};

int batches_init(struct batches *b, uint32_t n_targets, uint64_t window_ns, size_t n_calls_max);
void batches_deinit(struct batches *b);

void batch_add(struct executor *e, struct call *call);
/* Takes a call out again before it was dispatched. */
void batch_remove(struct executor *e, struct call *call);
/* Must the batch go now? */
bool batch_is_due(const struct batches *b, const struct batch *batch, uint64_t now_ns);
/* A call of this slot has been answered. */
void batch_answered(struct executor *e, uint32_t slot);

#endif
