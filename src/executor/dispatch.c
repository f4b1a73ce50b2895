/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dispatch: batches that are due go to the backend. Before a backend sees a call, its row of the
 * session's table says so: from then on it may have run.
 */
#include <string.h>

#include "base/clock.h"
#include "executor/executor.h"

void dispatch_mark(struct executor *e, struct call *call)
{
	struct backend_op *op = &call->op;
	struct session *s = call->session;

	call->state = CALL_RUNNING;
	op->slot = call->trajectory->slot;
	op->trajectory_id = call->wire.trajectory_id;
	op->timeout_ns = e->default_timeout_ns;
	if (call->wire.timeout_given)
		op->timeout_ns = (uint64_t)(call->wire.timeout_s * (double)NS_PER_S);
	if (call->wire.kind == TR_KIND_EXECUTE) {
		op->kind = BACKEND_EXECUTE;
		op->arguments = call->wire.arguments;
		op->command = call->wire.command;
	} else if (call->wire.kind == TR_KIND_RESET) {
		op->kind = BACKEND_RESET;
	} else {
		op->kind = BACKEND_ARTIFACT;
		op->artifact = call->wire.kind;
		op->arguments = call->wire.options;
		op->path = call->wire.path;
	}
	if (s)
		segment_call_mark(&s->segment, call->id);
}

static void on_deadline(struct timer *timer, void *context)
{
	struct call *call = container_of(timer, struct call, deadline);
	struct executor *e = context;

	list_push_back(&e->overdue, &call->link);
}

static void set_deadline(struct executor *e, struct call *call, uint64_t at_ns)
{
	call->deadline.fire = on_deadline;
	/* Without memory for the timer the backend's own timeout has to do. */
	timer_set(&e->loop.timers, &call->deadline, at_ns);
}

/* Sets the deadline of a call that its backend has and has not answered yet. */
static void watch(struct executor *e, struct call *call)
{
	if (call->op.state == BACKEND_OP_DONE || call->n_deadlines)
		return;
	set_deadline(e, call,
		     e->loop.now_ns + call->op.timeout_ns + e->limits->cancel_grace_ms * NS_PER_MS);
}

void dispatch_reset(struct executor *e, struct call *call)
{
	dispatch_mark(e, call);
	e->did_work = true;
	e->backend->ops->reset(e->backend, &call->op);
	watch(e, call);
}

void dispatch_hurry(struct executor *e, struct call *call)
{
	if (call->state == CALL_BATCHED) {
		struct trajectory *t = call->trajectory;

		batch_remove(e, call);
		t->running = NULL;
		e->calls.n_running--;
		call->trajectory = NULL;
		reply_error(e, call, TR_CANCELLED, "the call was cancelled before it began");
		trajectory_advance(e, t);
		return;
	}
	if (call->state != CALL_RUNNING || call->wire.kind == TR_KIND_RELEASE ||
	    call->op.state == BACKEND_OP_DONE || call->n_deadlines)
		return;
	call->n_deadlines = 1;
	set_deadline(e, call, e->loop.now_ns + e->limits->cancel_grace_ms * NS_PER_MS);
	e->backend->ops->cancel(e->backend, &call->op);
}

void dispatch_cancel(struct executor *e, struct call *call)
{
	struct trajectory *t = call->trajectory;

	call->cancelled = true;
	if (call->state == CALL_ARRIVED || call->state == CALL_QUEUED) {
		trajectory_dequeue(e, call);
		reply_error(e, call, TR_CANCELLED, "the call was cancelled before it began");
		if (t)
			trajectory_advance(e, t);
		return;
	}
	dispatch_hurry(e, call);
}

static void dispatch(struct executor *e, struct batch *batch)
{
	struct backend_op **ops = e->batches.ops;
	size_t n = 0;

	while (n < e->batches.n_calls_max && !list_empty(&batch->calls)) {
		struct call *call = container_of(list_pop_front(&batch->calls), struct call, link);

		batch->n_calls--;
		dispatch_mark(e, call);
		ops[n++] = &call->op;
	}
	batch->n_running += n;
	stats_add(&e->stats.shared->batches_total, 1);
	e->backend->ops->execute_batch(e->backend, ops, n);
	for (size_t i = 0; i < n; i++)
		watch(e, container_of(ops[i], struct call, op));
}

void dispatch_step(struct executor *e)
{
	struct batches *b = &e->batches;

	b->due_ns = UINT64_MAX;
	list_for_each_safe (l, &b->filled) {
		struct batch *batch = container_of(l, struct batch, link);

		while (batch->n_calls && batch_is_due(b, batch, e->loop.now_ns)) {
			dispatch(e, batch);
			e->did_work = true;
		}
		if (!batch->n_calls)
			list_remove(l);
		else if (batch->since_ns + b->window_ns < b->due_ns)
			b->due_ns = batch->since_ns + b->window_ns;
	}
}
