/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/local.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/local_state.h"
#include "backend/local_stats.h"
#include "base/clock.h"
#include "base/log.h"
#include "wire/slot.h"

/* ---- getting and giving back slots ---------------------------------------------------------------- */

/* Both halves of a RESET, or the one of an ACQUIRE or RELEASE, are there. */
static void settle(struct local *l, struct run *run)
{
	if (run->wishes || run->old)
		return;
	if (run->op->kind == BACKEND_RESET) {
		run->op->ended_ns = now_ns();
		local_answer_facts(&run->answer, &l->facts, run->op);
	}
	if (run->op->kind == BACKEND_RESET && run->cancelled && !l->places[run->op->slot].seat)
		local_run_fail_lost(l, run, TR_CANCELLED,
				    "the reset was cancelled; the slot is gone");
	else
		local_run_done(l, run);
}

static void on_made(struct local_pool *p, struct local_wish *w, struct local_seat *seat)
{
	struct run *run = container_of(w, struct run, wish);

	local_place_bind(of_pool(p), run->op->slot, seat);
	run->wishes = false;
	settle(of_pool(p), run);
}

static void on_refused(struct local_pool *p, struct local_wish *w, const char *why)
{
	struct run *run = container_of(w, struct run, wish);
	struct local *l = of_pool(p);

	run->wishes = false;
	if (run->op->kind == BACKEND_ACQUIRE) {
		local_run_fail(l, run, TR_UNAVAILABLE, why);
		return;
	}
	/* That the old seat is not gone is the pool's business alone then. */
	if (run->old)
		run->old->waiter = NULL;
	local_run_fail_lost(l, run, TR_UNAVAILABLE, why);
}

static void on_died(struct local_pool *p, struct local_seat *seat)
{
	log_warning("slot local-%u died", seat->slot);
	local_place_died(of_pool(p), seat->slot, TR_UNKNOWN, TEXT_DIED);
}

static void on_ended(struct local_pool *p, struct local_seat *seat)
{
	struct run *run = seat->waiter;

	run->old = NULL;
	settle(of_pool(p), run);
}

static const struct local_pool_events pool_events = {
	.made = on_made,
	.refused = on_refused,
	.readable = local_call_readable,
	.died = on_died,
	.ended = on_ended,
};

static void local_acquire(struct backend *b, struct backend_op *op)
{
	struct local *l = to_local(b);
	struct run *run = local_run_new(l, op);
	char error[160];

	if (!run)
		return;
	l->places[op->slot] = (struct place){0};
	if (l->stopped) {
		local_run_fail(l, run, TR_UNAVAILABLE, TEXT_STOPPING);
	} else if (local_spec_read(op->arguments, l->options.plan, &run->wish.params, error,
				   sizeof(error)) < 0) {
		local_run_fail(l, run, TR_DENIED, error);
	} else {
		run->wishes = true;
		local_pool_want(&l->pool, &run->wish);
	}
}

/* Drops what is there; the run waits for its end. */
static void leave(struct local *l, struct run *run)
{
	struct local_seat *seat = local_place_unbind(l, run->op->slot);

	if (!seat)
		return;
	run->old = seat;
	if (run->op->kind == BACKEND_RESET)
		local_pool_drop_urgently(&l->pool, seat, run);
	else
		local_pool_drop(&l->pool, seat, run);
}

static void local_release(struct backend *b, struct backend_op *op)
{
	struct local *l = to_local(b);
	struct run *run = local_run_new(l, op);
	struct place *place = &l->places[op->slot];

	if (!run)
		return;
	if (op->reset && !l->stopped) {
		leave(l, run);
		place->has_died = false;
		settle(l, run);
	} else if (place->has_died) {
		local_run_fail_lost(l, run, TR_NOT_STARTED, TEXT_HAD_DIED);
	} else {
		local_run_done(l, run);
	}
}

static void local_reset(struct backend *b, struct backend_op *op)
{
	struct local *l = to_local(b);
	struct run *run = local_run_new(l, op);
	struct place *place = &l->places[op->slot];

	if (!run)
		return;
	op->started_ns = now_ns();
	if (l->stopped) {
		local_run_fail(l, run, TR_UNAVAILABLE, TEXT_STOPPING);
		return;
	}
	/* An executor before us knew what it was made to. */
	if (!place->params.n_pids) {
		local_run_fail_lost(l, run, TR_NOT_STARTED, TEXT_HAD_DIED);
		return;
	}
	/* Who asks for a slot as new need not hear that the old one had died. */
	run->wish.params = place->params;
	place->has_died = false;
	leave(l, run);
	run->wishes = true;
	local_pool_want(&l->pool, &run->wish);
}

static void cancel_reset(struct local *l, struct run *run)
{
	if (run->op->kind != BACKEND_RESET || !run->wishes)
		return;
	run->cancelled = true;
	run->wishes = false;
	local_pool_unwant(&l->pool, &run->wish);
	/* The old one is on its way out, or gone, and has no successor. */
	settle(l, run);
}

static void local_answer_taken(struct backend *b, struct backend_op *op)
{
	struct run *run = op->private;

	if (!run)
		return;
	op->private = NULL;
	local_answer_clear(&run->answer);
	buf_trim(&run->request_text, 4096);
	list_push_front(&to_local(b)->runs, &run->link);
}

/* ---- calls ---------------------------------------------------------------------------------------- */

static void local_execute_batch(struct backend *b, struct backend_op **ops, size_t n)
{
	for (size_t i = 0; i < n; i++)
		local_call_execute(to_local(b), ops[i]);
}

static void local_cancel(struct backend *b, struct backend_op *op)
{
	struct local *l = to_local(b);
	struct run *run = op->private;

	if (op->state != BACKEND_OP_TAKEN || !run)
		return;
	if (l->places[op->slot].run == run)
		local_call_cancel(l, run);
	else
		cancel_reset(l, run);
}

/* ---- the rest of the seam ------------------------------------------------------------------------- */

/*
 * Requests wait in the socket behind the ABORT until nothing of the earlier executor's runs. A slot
 * that is gone is adopted as well, as one that died: whoever had it is to hear of that.
 */
static bool local_adopt(struct backend *b, uint32_t slot)
{
	struct local *l = to_local(b);
	uint32_t bound = __atomic_load_n(&l->bound[slot], __ATOMIC_ACQUIRE);
	struct local_seat *seat = bound ? local_pool_claim(&l->pool, bound - 1) : NULL;

	if (seat && local_call_note(l, seat, SLOT_ABORT, ++l->last_id) < 0) {
		local_pool_drop(&l->pool, seat, NULL);
		seat = NULL;
	}
	if (seat) {
		local_place_bind(l, slot, seat);
	} else {
		local_place_unbind(l, slot);
		l->places[slot].has_died = true;
	}
	return true;
}

/* The executor has claimed what it wants of what an earlier one left. */
static void on_unclaimed_timer(struct timer *timer, void *context)
{
	struct local *l = container_of(timer, struct local, unclaimed_timer);

	(void)context;
	for (uint32_t i = 0; i < l->backend.n_slots_max; i++)
		if (!l->places[i].seat)
			__atomic_store_n(&l->bound[i], 0, __ATOMIC_RELEASE);
	local_pool_drop_unclaimed(&l->pool);
}

static int local_start(struct backend *b)
{
	struct local *l = to_local(b);
	int r = local_pool_start(&l->pool);

	return r < 0 ? r : timer_set(&b->loop->timers, &l->unclaimed_timer, now_ns());
}

static void stop_run(struct local *l, struct run *run)
{
	if (run->old)
		run->old->waiter = NULL;
	if (run->wishes)
		local_pool_unwant(&l->pool, &run->wish);
	/* Of a slot that is given back nothing is left either way. */
	if (run->op->kind == BACKEND_RELEASE)
		local_run_done(l, run);
	else if (run->op->kind == BACKEND_ACQUIRE)
		local_run_fail(l, run, TR_UNAVAILABLE, TEXT_STOPPING);
	else
		local_run_fail_lost(l, run, TR_CANCELLED, TEXT_STOPPING);
}

static void local_stop(struct backend *b, bool purge)
{
	struct local *l = to_local(b);

	l->stopped = true;
	list_for_each_safe (node, &l->running)
		stop_run(l, container_of(node, struct run, link));
	for (uint32_t i = 0; purge && i < b->n_slots_max; i++)
		local_place_unbind(l, i);
	local_pool_stop(&l->pool, purge);
}

static uint32_t local_target(struct backend *b, uint32_t slot)
{
	(void)b;
	(void)slot;
	return 0;
}

static void local_slot_name(struct backend *b, uint32_t slot, char *ret_name, size_t n)
{
	(void)b;
	snprintf(ret_name, n, "local-%u", slot);
}

static int local_health(struct backend *b, char *text, size_t n_text)
{
	return local_stats_health(&to_local(b)->pool, text, n_text);
}

static int local_stats(struct backend *b, struct buf *out)
{
	const struct local *l = to_local(b);

	return local_stats_write(&l->pool, &l->facts, l->n_died_total, out);
}

static uint64_t local_default_timeout_ns(struct backend *b)
{
	(void)b;
	return 30 * NS_PER_S;
}

static const struct backend_ops local_ops = {
	.name = "local",
	.start = local_start,
	.stop = local_stop,
	.acquire = local_acquire,
	.release = local_release,
	.reset = local_reset,
	.execute_batch = local_execute_batch,
	.cancel = local_cancel,
	.answer_taken = local_answer_taken,
	.target = local_target,
	.adopt = local_adopt,
	.slot_name = local_slot_name,
	.health = local_health,
	.stats = local_stats,
	.default_timeout_ns = local_default_timeout_ns,
};

size_t local_notes_bytes(uint32_t n_slots_max, const struct plan *plan)
{
	return sizeof(uint32_t) * ((size_t)n_slots_max + plan->n_seats);
}

static int local_init(struct local *l)
{
	const struct local_options *o = &l->options;
	int r;

	l->send_timer.fire = local_call_on_send_timer;
	l->unclaimed_timer.fire = on_unclaimed_timer;
	l->caps = (struct local_caps){
		.output_chars = o->output_chars,
		.file_chars = o->file_chars,
		.exec_output_bytes_max = o->exec_output_bytes_max,
		.artifact_bytes_max = o->artifact_bytes_max,
		.artifact_entries_max = o->artifact_entries_max,
		.anywhere_bytes_max = o->anywhere_bytes_max,
		.anywhere_entries_max = o->anywhere_entries_max,
	};
	l->bound = o->notes;
	l->pool = (struct local_pool){
		.events = &pool_events,
		.loop = l->backend.loop,
		.plan = o->plan,
		.store = o->store,
		.generation = o->generation,
		.n_min = o->n_slots_min,
		.n_warm = o->n_slots_warm,
		.gone_ns = o->gone_ns,
		.fresh = o->notes + l->backend.n_slots_max,
	};
	l->places = calloc(l->backend.n_slots_max, sizeof(*l->places));
	l->buffer = aligned_alloc(64, (SLOT_MESSAGE_MAX + 63) / 64 * 64);
	r = local_pool_init(&l->pool);
	if (r == 0 && (!l->places || !l->buffer))
		r = -ENOMEM;
	return r < 0 ? r : local_facts_init(&l->facts, o->plan);
}

int local_new(struct backend **ret_backend, struct loop *loop, uint32_t n_slots_max,
	      const struct local_options *options, char *error, size_t n_error)
{
	struct local *l = calloc(1, sizeof(*l));
	int r;

	if (!l) {
		snprintf(error, n_error, "out of memory");
		return -ENOMEM;
	}
	l->backend = (struct backend){
		.ops = &local_ops, .loop = loop, .n_slots_max = n_slots_max, .n_targets = 1};
	l->options = *options;
	list_init(&l->backend.done);
	list_init(&l->running);
	list_init(&l->runs);
	list_init(&l->unsent);
	r = local_init(l);
	if (r < 0) {
		snprintf(error, n_error, "the local backend cannot start: %s", strerror(-r));
		local_free(&l->backend);
		return r;
	}
	*ret_backend = &l->backend;
	return 0;
}

struct backend *local_free(struct backend *backend)
{
	struct local *l;
	struct list *node;

	if (!backend)
		return NULL;
	l = to_local(backend);
	while ((node = list_pop_front(&l->running)))
		local_run_free(container_of(node, struct run, link));
	while ((node = list_pop_front(&l->runs)))
		local_run_free(container_of(node, struct run, link));
	local_pool_deinit(&l->pool);
	local_facts_deinit(&l->facts);
	free(l->places);
	free(l->buffer);
	free(l);
	return NULL;
}
