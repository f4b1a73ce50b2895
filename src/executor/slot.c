/* SPDX-License-Identifier: Apache-2.0 */
#include "executor/slot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "executor/executor.h"

#define SPEC_BYTES_MAX 256 /* four short keys, a word and three numbers */

_Static_assert(sizeof(struct slot_note) == 192, "the keeper's store has notes of this size");

int slots_init(struct slots *s, uint32_t n_slots, struct slot_note *notes)
{
	*s = (struct slots){.n_slots = n_slots, .notes = notes, .first_free = SLOT_NONE};
	list_init(&s->waiting);
	list_init(&s->pool);
	s->slots = calloc(n_slots, sizeof(*s->slots));
	return s->slots ? 0 : -ENOMEM;
}

void slots_deinit(struct slots *s)
{
	struct list *l;

	while ((l = list_pop_front(&s->pool))) {
		struct slot_op *op = container_of(l, struct slot_op, op.link);

		buf_deinit(&op->spec);
		free(op);
	}
	free(s->slots);
	s->slots = NULL;
}

/* ---- notes ---------------------------------------------------------------------------------------- */

static void note_set(struct executor *e, uint32_t slot, enum slot_note_state state)
{
	__atomic_store_n(&e->slots.notes[slot].state, state, __ATOMIC_RELEASE);
}

void slot_note_write(struct executor *e, const struct trajectory *t)
{
	struct slot_note *note = &e->slots.notes[t->slot];

	note_set(e, t->slot, SLOT_NOTE_DIRTY);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	note->uid = t->uid;
	note->idle_ttl_ns = t->idle_ttl_ns;
	note->spec = t->made;
	note->pid = 0;
	if (!list_empty(&t->holds))
		note->pid = container_of(t->holds.next, struct hold, trajectory_link)->session->pid;
	note->kept = t->kept;
	note->n_id = t->n_id;
	memcpy(note->id, t->id, t->n_id);
	note_set(e, t->slot, SLOT_NOTE_HELD);
}

/* ---- free slots ----------------------------------------------------------------------------------- */

static uint32_t take_free(struct slots *s)
{
	uint32_t i = s->first_free;

	if (i != SLOT_NONE)
		s->first_free = s->slots[i].next_free;
	else if (s->n_made < s->n_slots)
		i = s->n_made++;
	if (i != SLOT_NONE)
		s->n_used++;
	return i;
}

static void put_free(struct slots *s, uint32_t i)
{
	s->slots[i] = (struct slot){.next_free = s->first_free};
	s->first_free = i;
	s->n_used--;
}

static struct slot_op *op_new(struct executor *e, enum backend_op_kind kind, uint32_t slot,
			      struct trajectory *t)
{
	struct list *l = list_pop_front(&e->slots.pool);
	struct slot_op *op = l ? container_of(l, struct slot_op, op.link) : calloc(1, sizeof(*op));
	struct buf spec;

	if (!op)
		return NULL;
	if (!l)
		buf_init(&op->spec, SPEC_BYTES_MAX);
	spec = op->spec;
	*op = (struct slot_op){.trajectory = t, .spec = spec, .op = {.kind = kind, .slot = slot}};
	list_init(&op->op.link);
	if (t)
		op->op.trajectory_id = span_of(t->id, t->n_id);
	return op;
}

/* ---- wanting and getting -------------------------------------------------------------------------- */

/* What slots of t are made to stays: the next is to be no other one. */
static void no_slot(struct executor *e, struct trajectory *t)
{
	timer_cancel(&e->loop.timers, &t->timer);
	t->slot = SLOT_NONE;
	t->slot_state = TRAJECTORY_NO_SLOT;
	t->kept = false;
}

/*
 * What the slot is to be: what t's slots have been so far, or, if that is nothing in particular, what
 * the first call says. It is packed anew, as no call outlives its slot, and an executor before us
 * left numbers alone.
 */
static int choose_spec(const struct trajectory *t, struct slot_op *op)
{
	const struct call *call = container_of(t->queue.next, struct call, link);
	int r = 0;

	op->made = t->made;
	if (slot_spec_is_plain(&t->made) && !list_empty(&t->queue) &&
	    call->wire.kind == TR_KIND_ACQUIRE)
		r = slot_spec_read(call->wire.spec, &op->made, NULL, 0);
	buf_clear(&op->spec);
	if (r == 0 && !slot_spec_is_plain(&op->made))
		r = slot_spec_write(&op->made, &op->spec);
	op->op.arguments = span_of(op->spec.data, op->spec.n);
	return r;
}

static void acquire(struct executor *e, struct trajectory *t, uint32_t slot)
{
	struct slot_op *op = op_new(e, BACKEND_ACQUIRE, slot, t);

	if (!op || choose_spec(t, op) < 0) {
		if (op)
			list_push_front(&e->slots.pool, &op->op.link);
		put_free(&e->slots, slot);
		no_slot(e, t);
		trajectory_fail_queue(e, t, TR_UNAVAILABLE, "out of memory");
		return;
	}
	note_set(e, slot, SLOT_NOTE_DIRTY);
	e->slots.slots[slot].trajectory = t;
	t->slot = slot;
	t->slot_state = TRAJECTORY_ACQUIRES;
	/* The backend's part counts like the waiting before. */
	if (!timer_is_set(&t->timer))
		timer_set(&e->loop.timers, &t->timer,
			  e->loop.now_ns + (e->config->acquire_timeout_ns
						    ? e->config->acquire_timeout_ns
						    : e->limits->slot_ready_ms * NS_PER_MS));
	e->did_work = true;
	e->backend->ops->acquire(e->backend, &op->op);
}

void slot_want(struct executor *e, struct trajectory *t)
{
	struct call *call = container_of(t->queue.next, struct call, link);
	struct session *s = call->session;
	uint32_t slot = SLOT_NONE;

	/* Who came later does not overtake those who wait. */
	if (list_empty(&e->slots.waiting))
		slot = take_free(&e->slots);
	if (slot != SLOT_NONE) {
		acquire(e, t, slot);
		return;
	}
	t->slot_state = TRAJECTORY_WAITS;
	t->waits_for = s;
	list_push_back(&s->waiters, &t->wait_link);
	if (list_empty(&s->waiting_link))
		list_push_back(&e->slots.waiting, &s->waiting_link);
	if (!timer_is_set(&t->timer))
		timer_set(&e->loop.timers, &t->timer,
			  e->loop.now_ns + e->config->acquire_timeout_ns);
}

static void leave_waiting(struct trajectory *t)
{
	struct session *s = t->waits_for;

	list_remove(&t->wait_link);
	if (list_empty(&s->waiters))
		list_remove(&s->waiting_link);
	t->waits_for = NULL;
	t->slot_state = TRAJECTORY_NO_SLOT;
}

void slot_unwant(struct executor *e, struct trajectory *t)
{
	leave_waiting(t);
	timer_cancel(&e->loop.timers, &t->timer);
}

void slot_session_ends(struct executor *e, struct session *s)
{
	/* Its own calls are gone by now: who still waits here waits for calls of other sessions. */
	list_for_each_safe (l, &s->waiters) {
		struct trajectory *t = container_of(l, struct trajectory, wait_link);

		leave_waiting(t);
		trajectory_advance(e, t);
	}
}

/* A slot is free: the session whose turn it is gets it for the first that waits there. */
static void serve_waiting(struct executor *e)
{
	while (!list_empty(&e->slots.waiting)) {
		struct list *l = e->slots.waiting.next;
		struct session *s = container_of(l, struct session, waiting_link);
		struct trajectory *t = container_of(s->waiters.next, struct trajectory, wait_link);
		uint32_t slot = take_free(&e->slots);

		if (slot == SLOT_NONE)
			return;
		list_remove(l);
		list_push_back(&e->slots.waiting, l);
		leave_waiting(t);
		acquire(e, t, slot);
		if (t->slot_state == TRAJECTORY_NO_SLOT)
			trajectory_advance(e, t);
	}
}

/* ---- giving back ---------------------------------------------------------------------------------- */

void slots_stop_waiting(struct executor *e)
{
	while (!list_empty(&e->slots.waiting)) {
		struct session *s =
			container_of(e->slots.waiting.next, struct session, waiting_link);
		struct trajectory *t = container_of(s->waiters.next, struct trajectory, wait_link);

		trajectory_fail_queue(e, t, TR_UNAVAILABLE, "toolringd is stopping");
		trajectory_advance(e, t);
	}
}

static bool release(struct executor *e, uint32_t slot, struct trajectory *t, bool reset)
{
	struct slot_op *op = op_new(e, BACKEND_RELEASE, slot, t);

	if (!op)
		return false;
	op->op.reset = reset;
	e->did_work = true;
	e->backend->ops->release(e->backend, &op->op);
	return true;
}

void slot_give_back(struct executor *e, struct trajectory *t, bool reset)
{
	timer_cancel(&e->loop.timers, &t->timer);
	t->slot_state = TRAJECTORY_RELEASES;
	if (release(e, t->slot, t, reset))
		return;
	/* Without memory to even ask: it stays with its trajectory, and is asked for again later. */
	t->slot_state = TRAJECTORY_HAS_SLOT;
	t->used_ns = e->loop.now_ns;
	timer_set(&e->loop.timers, &t->timer, e->loop.now_ns + NS_PER_S);
	if (t->running) {
		t->running->trajectory = NULL;
		reply_error(e, t->running, TR_UNAVAILABLE, "out of memory");
		t->running = NULL;
		e->calls.n_running--;
	}
}

/* t's slot is clean, or gone, and may be anybody's. */
static void part_free(struct executor *e, struct trajectory *t)
{
	note_set(e, t->slot, SLOT_NOTE_FREE);
	put_free(&e->slots, t->slot);
	no_slot(e, t);
}

void slot_lost(struct executor *e, struct trajectory *t)
{
	part_free(e, t);
	serve_waiting(e);
}

/* It counts as used until it is proven clean, if ever; an executor after us resets it first. */
static void set_out_of_use(struct executor *e, uint32_t slot, const char *why)
{
	char name[64];

	e->backend->ops->slot_name(e->backend, slot, name, sizeof(name));
	log_warning("slot %s %s: taken out of use", name, why);
	note_set(e, slot, SLOT_NOTE_DIRTY);
	e->slots.slots[slot] = (struct slot){.out_of_use = true};
	e->slots.n_out_of_use++;
}

void slot_take_out_of_use(struct executor *e, struct trajectory *t)
{
	set_out_of_use(e, t->slot, "does not answer");
	no_slot(e, t);
}

static void free_clean(struct executor *e, uint32_t slot)
{
	note_set(e, slot, SLOT_NOTE_FREE);
	put_free(&e->slots, slot);
	serve_waiting(e);
}

void slot_back_in_use(struct executor *e, uint32_t slot, bool lost)
{
	e->slots.slots[slot].out_of_use = false;
	e->slots.n_out_of_use--;
	if (lost)
		free_clean(e, slot);
	else if (!release(e, slot, NULL, true))
		set_out_of_use(e, slot, "cannot be reset for want of memory");
}

/* ---- answers -------------------------------------------------------------------------------------- */

/* Of its spec, whose wrong it is: the calls behind may do with another slot. */
static bool deny_acquire(struct executor *e, struct trajectory *t, const struct backend_answer *a)
{
	struct call *call = container_of(t->queue.next, struct call, link);
	char text[256];

	if (a->verdict != TR_DENIED || list_empty(&t->queue) || call->wire.kind != TR_KIND_ACQUIRE)
		return false;
	snprintf(text, sizeof(text), "%.*s", (int)a->error.n, (const char *)a->error.data);
	trajectory_dequeue(e, call);
	reply_error(e, call, TR_DENIED, text);
	return true;
}

static void acquired(struct executor *e, struct slot_op *op)
{
	const struct backend_answer *a = &op->op.answer;
	struct trajectory *t = op->trajectory;
	char text[256];

	timer_cancel(&e->loop.timers, &t->timer);
	if (a->verdict == TR_OK) {
		t->made = op->made;
		t->slot_state = TRAJECTORY_HAS_SLOT;
		t->used_ns = e->loop.now_ns;
		slot_note_write(e, t);
	} else if (deny_acquire(e, t, a)) {
		part_free(e, t);
	} else {
		snprintf(text, sizeof(text), "no slot: %.*s", (int)a->error.n,
			 (const char *)a->error.data);
		part_free(e, t);
		trajectory_fail_queue(e, t, TR_UNAVAILABLE, text);
	}
	trajectory_advance(e, t);
}

/* What a release leaves of the slot: nothing of this trajectory's, unless it was parked for it. */
static void settle_released(struct executor *e, struct trajectory *t, bool reset,
			    const struct backend_answer *a)
{
	if (!a->slot_lost && a->verdict != TR_OK) {
		set_out_of_use(e, t->slot, "was not reset");
		no_slot(e, t);
	} else if (reset || a->slot_lost) {
		part_free(e, t);
	} else {
		t->slot_state = TRAJECTORY_HAS_SLOT;
		/* Unless somebody uses it already: then its end is that of its holders again. */
		t->kept = list_empty(&t->queue);
		t->used_ns = e->loop.now_ns;
		slot_note_write(e, t);
	}
}

static void released(struct executor *e, struct trajectory *t, bool reset,
		     const struct backend_answer *a)
{
	struct call *call = t->running;
	char text[256];

	if (call && reset)
		t->made = (struct slot_spec){0};
	/* One that was lost, or went for its idle time, is made as it was for those who hold it. */
	if (slot_spec_is_plain(&t->made) || (call && a->verdict == TR_OK))
		trajectory_let_go(e, t);
	settle_released(e, t, reset, a);
	if (call) {
		t->running = NULL;
		e->calls.n_running--;
		call->trajectory = NULL;
		snprintf(text, sizeof(text), "%.*s", (int)a->error.n, (const char *)a->error.data);
		if (a->verdict == TR_OK)
			reply_ok(e, call, "", span_of(NULL, 0));
		else
			reply_error(e, call, a->verdict, text);
	}
	trajectory_advance(e, t);
}

void slot_op_done(struct executor *e, struct backend_op *op)
{
	struct slot_op *slot_op = container_of(op, struct slot_op, op);
	struct trajectory *t = slot_op->trajectory;
	struct backend_answer a = op->answer;

	if (op->kind == BACKEND_ACQUIRE)
		acquired(e, slot_op);
	else if (t)
		released(e, t, op->reset, &a);
	else if (a.verdict == TR_OK || a.slot_lost)
		free_clean(e, op->slot);
	else
		set_out_of_use(e, op->slot, "was not reset");
	serve_waiting(e);
	e->backend->ops->answer_taken(e->backend, op);
	list_push_front(&e->slots.pool, &op->link);
}

/* ---- after a restart ------------------------------------------------------------------------------ */

/* 1: its trajectory has it; 0: it is free; -1: it is to be reset. */
static int recover(struct executor *e, uint32_t slot)
{
	const struct slot_note *note = &e->slots.notes[slot];
	uint32_t state = __atomic_load_n(&note->state, __ATOMIC_ACQUIRE);

	if (!e->backend->ops->adopt(e->backend, slot))
		return 0;
	if (state != SLOT_NOTE_HELD || !note->n_id || note->n_id > sizeof(note->id))
		return -1;
	e->slots.slots[slot].trajectory = trajectory_recover(e, note, slot);
	return e->slots.slots[slot].trajectory ? 1 : -1;
}

void slots_recover(struct executor *e)
{
	struct slots *s = &e->slots;
	uint32_t n_recovered = 0;

	for (uint32_t i = 0; i < s->n_slots; i++) {
		int r;

		if (!__atomic_load_n(&s->notes[i].state, __ATOMIC_ACQUIRE))
			continue;
		/* All below were free: they are put on the list of those. */
		while (s->n_made < i) {
			s->n_used++;
			put_free(s, s->n_made++);
		}
		s->n_made = i + 1;
		s->n_used++;
		r = recover(e, i);
		n_recovered += r > 0;
		if (r == 0)
			free_clean(e, i);
		else if (r < 0 && !release(e, i, NULL, true))
			set_out_of_use(e, i, "cannot be reset for want of memory");
	}
	if (n_recovered)
		log_info("took over %u slots from the executor before", n_recovered);
}
