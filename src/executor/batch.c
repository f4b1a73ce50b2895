/* SPDX-License-Identifier: Apache-2.0 */
#include "executor/batch.h"

#include <errno.h>
#include <stdlib.h>

#include "executor/executor.h"

int batches_init(struct batches *b, uint32_t n_targets, uint64_t window_ns, size_t n_calls_max)
{
	*b = (struct batches){
		.n_batches = n_targets,
		.window_ns = window_ns,
		.n_calls_max = n_calls_max,
		.due_ns = UINT64_MAX,
	};
	list_init(&b->filled);
	b->batches = calloc(n_targets, sizeof(*b->batches));
	b->ops = calloc(n_calls_max, sizeof(struct backend_op *));
	if (!b->batches || !b->ops)
		return -ENOMEM;
	for (uint32_t i = 0; i < n_targets; i++) {
		list_init(&b->batches[i].calls);
		list_init(&b->batches[i].link);
	}
	return 0;
}

void batches_deinit(struct batches *b)
{
	free(b->batches);
	free(b->ops);
	b->batches = NULL;
	b->ops = NULL;
}

static struct batch *batch_of(struct executor *e, uint32_t slot)
{
	return &e->batches.batches[e->backend->ops->target(e->backend, slot)];
}

void batch_add(struct executor *e, struct call *call)
{
	struct batch *batch = batch_of(e, call->trajectory->slot);

	call->state = CALL_BATCHED;
	if (!batch->n_calls++) {
		batch->since_ns = e->loop.now_ns;
		list_push_back(&e->batches.filled, &batch->link);
	}
	list_push_back(&batch->calls, &call->link);
}

void batch_remove(struct executor *e, struct call *call)
{
	struct batch *batch = batch_of(e, call->trajectory->slot);

	list_remove(&call->link);
	if (!--batch->n_calls)
		list_remove(&batch->link);
}

bool batch_is_due(const struct batches *b, const struct batch *batch, uint64_t now_ns)
{
	return !b->window_ns || !batch->n_running || batch->n_calls >= b->n_calls_max ||
	       now_ns >= batch->since_ns + b->window_ns;
}

void batch_answered(struct executor *e, uint32_t slot)
{
	batch_of(e, slot)->n_running--;
}
