/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/local_state.h"

#include <stdlib.h>

/* ---- taking and answering ops --------------------------------------------------------------------- */

struct run *local_run_new(struct local *l, struct backend_op *op)
{
	struct list *node = list_pop_front(&l->runs);
	struct run *run = node ? container_of(node, struct run, link) : calloc(1, sizeof(*run));

	op->holder = &l->backend;
	op->state = BACKEND_OP_TAKEN;
	op->answer = (struct backend_answer){.verdict = TR_OK};
	op->private = run;
	if (!run) {
		op->answer.verdict = TR_UNAVAILABLE;
		op->answer.error = span_string("out of memory");
		backend_done(&l->backend, op);
		return NULL;
	}
	if (!node) {
		list_init(&run->link);
		list_init(&run->send_link);
		list_init(&run->wish.link);
		buf_init(&run->request_text, SLOT_FILE_MAX);
		local_answer_init(&run->answer);
		run->timer.fire = local_call_on_watch;
	}
	run->op = op;
	run->wishes = run->cancelled = false;
	run->old = NULL;
	list_push_back(&l->running, &run->link);
	return run;
}

void local_run_free(struct run *run)
{
	buf_deinit(&run->request_text);
	local_answer_deinit(&run->answer);
	free(run);
}

void local_run_done(struct local *l, struct run *run)
{
	struct backend_op *op = run->op;

	timer_cancel(&l->backend.loop->timers, &run->timer);
	list_remove(&run->link);
	list_remove(&run->send_link);
	if (l->places[op->slot].run == run)
		l->places[op->slot].run = NULL;
	/* The executor forgets the slot: the number is as good as new. */
	if (op->answer.slot_lost)
		l->places[op->slot].has_died = false;
	backend_done(&l->backend, op);
}

void local_run_fail(struct local *l, struct run *run, enum tr_verdict verdict, const char *error)
{
	local_answer_fail(&run->answer, &l->facts, run->op, verdict, error);
	local_run_done(l, run);
}

void local_run_fail_lost(struct local *l, struct run *run, enum tr_verdict verdict,
			 const char *error)
{
	run->op->answer.slot_lost = true;
	local_run_fail(l, run, verdict, error);
}

/* ---- binding -------------------------------------------------------------------------------------- */

void local_place_bind(struct local *l, uint32_t slot, struct local_seat *seat)
{
	l->places[slot].seat = seat;
	l->places[slot].params = seat->params;
	seat->slot = slot;
	__atomic_store_n(&l->bound[slot], (uint32_t)(seat - l->pool.seats) + 1, __ATOMIC_RELEASE);
}

struct local_seat *local_place_unbind(struct local *l, uint32_t slot)
{
	struct local_seat *seat = l->places[slot].seat;

	l->places[slot].seat = NULL;
	__atomic_store_n(&l->bound[slot], 0, __ATOMIC_RELEASE);
	return seat;
}

void local_place_died(struct local *l, uint32_t slot, enum tr_verdict verdict, const char *error)
{
	struct place *place = &l->places[slot];
	struct run *run = place->run;

	local_place_unbind(l, slot);
	l->n_died_total++;
	if (!run)
		place->has_died = true;
	else if (!list_empty(&run->send_link))
		local_run_fail_lost(l, run, TR_NOT_STARTED, TEXT_HAD_DIED);
	else
		local_run_fail_lost(l, run, verdict, error);
}
