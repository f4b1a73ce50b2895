/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reply: what a backend answered, or we ourselves, becomes a completion. Where the ring has no room
 * the encoded result stays with its call in the session's backlog, behind which later ones queue up.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "executor/executor.h"
#include "wire/result.h"
#include "wire/writer.h"

/* A result larger than this does not leave its buffer behind. */
#define SCRATCH_BYTES_KEPT (1 << 20)

/* Takes a call out of its session's table of those in flight. */
static void detach(struct call *call)
{
	struct session *s = call->session;
	uint32_t row;

	if (!s)
		return;
	row = (uint32_t)call->id & (s->segment.sizes.n_calls - 1);
	if (s->calls[row] != call)
		return;
	s->calls[row] = NULL;
	s->n_call_bytes -= call->n_bytes;
	s->n_calls--;
	/* It may have waited for just this. */
	if (!s->hot && session_may_take(s))
		session_heat(s);
}

/* ---- into the ring -------------------------------------------------------------------------------- */

/* Of an answer that waits. One without a payload costs memory too. */
static size_t backlog_cost(const struct call *call)
{
	return sizeof(*call) + call->reply.n;
}

/*
 * Sends a message; what does not fit goes to the backlog with carrier, a call that is given up to
 * it. true: the carrier was taken.
 */
static bool send_message(struct executor *e, struct session *s, struct call *carrier,
			 enum tr_kind kind, uint64_t id, struct buf *message)
{
	size_t n_done = 0;
	struct buf own;
	int r = 0;

	stats_add(&e->stats.shared->results_total, 1);
	stats_add(&e->stats.shared->result_bytes_total, message->n);
	session_dirty(s);
	if (list_empty(&s->backlog))
		r = message_put(&s->tx, (uint16_t)kind, id, message->data, message->n, &n_done);
	if (r < 0)
		session_lose(s, "it moved a position to where it cannot be");
	if (r != 0)
		return false;
	if (!carrier)
		carrier =
			call_new(&e->calls, e->limits->call_bytes_max, e->limits->result_bytes_max);
	if (!carrier || s->n_backlog_bytes > 4 * e->limits->session_backlog_bytes_max) {
		session_lose(s, carrier ? "it does not take its results (limit "
					  "session_backlog_bytes_max)"
					: "there is no memory for its result");
		if (carrier)
			call_free(&e->calls, carrier);
		return true;
	}
	own = carrier->reply;
	carrier->reply = *message;
	*message = own;
	carrier->state = CALL_BACKLOG;
	carrier->wire.kind = kind;
	carrier->id = id;
	carrier->n_reply_done = n_done;
	s->n_backlog_bytes += backlog_cost(carrier);
	list_push_back(&s->backlog, &carrier->link);
	return true;
}

void reply_backlog(struct executor *e, struct session *s)
{
	while (!list_empty(&s->backlog)) {
		struct call *call = container_of(s->backlog.next, struct call, link);
		int r = message_put(&s->tx, (uint16_t)call->wire.kind, call->id, call->reply.data,
				    call->reply.n, &call->n_reply_done);

		if (r < 0)
			session_lose(s, "it moved a position to where it cannot be");
		if (r <= 0)
			return;
		s->n_backlog_bytes -= backlog_cost(call);
		list_remove(&call->link);
		call_free(&e->calls, call);
		e->did_work = true;
	}
}

void reply_bytes(struct executor *e, struct session *s, enum tr_kind kind, uint64_t id,
		 const void *data, size_t n)
{
	size_t n_done = 0;

	/* The way of every ping: straight from the copy into the ring. */
	if (n <= ring_payload_max(s->tx.bytes) && list_empty(&s->backlog) &&
	    message_put(&s->tx, (uint16_t)kind, id, data, n, &n_done) > 0) {
		stats_add(&e->stats.shared->results_total, 1);
		session_dirty(s);
		return;
	}
	buf_clear(&e->scratch);
	if (buf_append(&e->scratch, data, n) < 0)
		session_lose(s, "there is no memory for its result");
	else
		send_message(e, s, NULL, kind, id, &e->scratch);
	buf_trim(&e->scratch, SCRATCH_BYTES_KEPT);
}

/* ---- results -------------------------------------------------------------------------------------- */

static void fill_timing(struct call *call, struct wire_result *result, uint64_t now)
{
	uint64_t last = call->at_ns[TR_PHASE_QUEUE];
	int current = TR_PHASE_QUEUE;

	/* A phase that was never reached took no time; the one before it lasted until the end. */
	for (int phase = TR_PHASE_SLOT_WAIT; phase <= TR_N_PHASES; phase++) {
		uint64_t at = phase < TR_N_PHASES ? call->at_ns[phase] : now;

		if (!at || at < last)
			continue;
		result->timing_ns[current] = at - last;
		current = phase;
		last = at;
	}
}

/* Encodes and sends the result of a call, and frees the call or leaves it in the backlog. */
static void send_result(struct executor *e, struct call *call, struct wire_result *result)
{
	struct session *s = call->session;
	bool taken = false;
	int r;

	timer_cancel(&e->loop.timers, &call->deadline);
	result->success = result->verdict == TR_OK;
	result->uniq_id = call->wire.uniq_id;
	fill_timing(call, result, e->loop.now_ns);
	stats_call(&e->stats, call->row, result->verdict, result->timing_ns);
	if (s && !s->is_dead) {
		buf_clear(&e->scratch);
		r = wire_result_encode(&e->scratch, result);
		if (r < 0) {
			struct wire_result instead = {
				.verdict = TR_LIMIT,
				.uniq_id = result->uniq_id,
				.error = span_string("the result is too large (limit "
						     "result_bytes_max)"),
			};
			buf_clear(&e->scratch);
			r = wire_result_encode(&e->scratch, &instead);
		}
		detach(call);
		if (r == 0)
			taken = send_message(e, s, call, call->wire.kind, call->id, &e->scratch);
		else
			session_lose(s, "there is no memory for its result");
		buf_trim(&e->scratch, SCRATCH_BYTES_KEPT);
	} else {
		detach(call);
	}
	e->did_work = true;
	if (!taken)
		call_free(&e->calls, call);
}

void reply_error(struct executor *e, struct call *call, enum tr_verdict verdict, const char *error)
{
	struct wire_result result = {.verdict = verdict, .error = span_string(error)};

	send_result(e, call, &result);
}

void reply_ok(struct executor *e, struct call *call, const char *output, struct span slot_id)
{
	struct wire_result result = {
		.verdict = TR_OK,
		.output = span_string(output),
		.slot_id = slot_id,
	};

	send_result(e, call, &result);
}

void reply_status(struct executor *e, struct session *s, uint64_t id, const char *error)
{
	struct wire_result result = {.verdict = error ? TR_INVALID : TR_OK, .success = !error};
	int r = 0;

	buf_clear(&e->metadata);
	if (error)
		result.error = span_string(error);
	else
		r = status_write(e, &e->metadata);
	result.metadata = span_of(e->metadata.data, e->metadata.n);
	if (r == 0) {
		buf_clear(&e->scratch);
		r = wire_result_encode(&e->scratch, &result);
	}
	if (r < 0)
		session_lose(s, "there is no memory for its result");
	else
		send_message(e, s, NULL, TR_KIND_STATUS, id, &e->scratch);
}

/* ---- what backends answered ----------------------------------------------------------------------- */

/* The trajectory of a call is through with it. */
static struct trajectory *leave_trajectory(struct executor *e, struct call *call)
{
	struct trajectory *t = call->trajectory;

	t->running = NULL;
	t->used_ns = e->loop.now_ns;
	call->trajectory = NULL;
	e->calls.n_running--;
	return t;
}

static void answer_call(struct executor *e, struct call *call)
{
	const struct backend_answer *a = &call->op.answer;
	struct wire_result result = {
		.verdict = a->verdict,
		.output = a->output,
		.error = a->error,
		.metadata = a->metadata,
		.more = a->more,
		.n_more = a->n_more,
		.body = a->body,
	};
	struct backend_op op = call->op; /* the call is gone when its answer has been taken */
	struct trajectory *t;
	char text[96];
	int n;

	/* It may wait among the overdue. */
	list_remove(&call->link);
	if (call->state == CALL_STRAY) {
		e->backend->ops->answer_taken(e->backend, &op);
		slot_back_in_use(e, op.slot, op.answer.slot_lost);
		call_free(&e->calls, call);
		return;
	}
	if (op.kind != BACKEND_RESET)
		batch_answered(e, op.slot);
	if (a->verdict == TR_CANCELLED && call->n_deadlines && !call->cancelled &&
	    !call->trajectory->doomed) {
		/* Nobody asked for that: it was late, and we hurried it. */
		result.verdict = TR_TIMEOUT;
		result.error = span_string("the call ran into its timeout");
	}
	if (op.kind == BACKEND_RESET && a->verdict == TR_OK) {
		n = snprintf(text, sizeof(text), "Reset workspace for ");
		e->backend->ops->slot_name(e->backend, op.slot, text + n, sizeof(text) - (size_t)n);
		result.output = span_string(text);
	}
	call->at_ns[TR_PHASE_RUN] = op.started_ns;
	call->at_ns[TR_PHASE_REPLY] = op.ended_ns;
	t = leave_trajectory(e, call);
	send_result(e, call, &result);
	e->backend->ops->answer_taken(e->backend, &op);
	if (op.answer.slot_lost)
		slot_lost(e, t);
	trajectory_advance(e, t);
}

/* The backend did not keep the timeout, or did not heed the cancel. */
static void handle_overdue(struct executor *e, struct call *call)
{
	struct wire_result result = {0};
	struct trajectory *t;
	struct call *stray;

	/* Hurried since, in this very turn: it has a new deadline. */
	if (timer_is_set(&call->deadline))
		return;
	if (!call->n_deadlines) {
		dispatch_hurry(e, call);
		return;
	}
	/* The op stays where the backend knows it; the answer goes out on a call of its own. */
	stray = call;
	call = call_new(&e->calls, e->limits->call_bytes_max, e->limits->result_bytes_max);
	if (!call) {
		stray->n_deadlines = 0;
		dispatch_hurry(e, stray);
		return;
	}
	t = leave_trajectory(e, stray);
	/* Its target is not kept busy by what may never end. */
	if (stray->op.kind != BACKEND_RESET)
		batch_answered(e, stray->op.slot);
	detach(stray);
	call->session = stray->session;
	call->id = stray->id;
	call->row = stray->row;
	call->wire = stray->wire;
	memcpy(call->at_ns, stray->at_ns, sizeof(call->at_ns));
	call->at_ns[TR_PHASE_RUN] = stray->op.started_ns;
	stray->session = NULL;
	stray->state = CALL_STRAY;
	result.verdict = stray->cancelled ? TR_CANCELLED : TR_TIMEOUT;
	result.error =
		span_string("the slot did not end the call in time and was taken out of use");
	send_result(e, call, &result);
	slot_take_out_of_use(e, t);
	trajectory_advance(e, t);
}

void reply_abandon(struct executor *e, struct call *call)
{
	detach(call);
	call->session = NULL;
	dispatch_cancel(e, call);
}

void reply_step(struct executor *e)
{
	struct list *l;

	if (!list_empty(&e->backend->done))
		e->loop.now_ns = now_ns();
	while ((l = list_pop_front(&e->backend->done))) {
		struct backend_op *op = container_of(l, struct backend_op, link);

		e->did_work = true;
		if (op->kind == BACKEND_ACQUIRE || op->kind == BACKEND_RELEASE)
			slot_op_done(e, op);
		else
			answer_call(e, container_of(op, struct call, op));
	}
	while ((l = list_pop_front(&e->overdue)))
		handle_overdue(e, container_of(l, struct call, link));
}
