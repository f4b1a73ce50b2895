/* SPDX-License-Identifier: Apache-2.0 */
/* Calls: their requests to slots, and what comes back. */
#include "backend/local_state.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "wire/slot.h"

/* A socket that is full is tried again so soon: it is rare. */
#define SEND_AGAIN_NS NS_PER_MS
/* Replies to nothing: a few may be left from an executor before, more are no accident. */
#define STRAY_MAX 16

static void drop_bad(struct local *l, struct local_seat *seat, enum tr_verdict verdict,
		     const char *error, const char *why)
{
	log_warning("slot local-%u is dropped: %s", seat->slot, why);
	local_place_died(l, seat->slot, verdict, error);
	local_pool_drop(&l->pool, seat, NULL);
}

/* ---- requests ------------------------------------------------------------------------------------- */

static void watch_run(struct local *l, struct run *run, uint64_t ns)
{
	/* Without memory for the timer the executor's own deadline has to do. */
	timer_set(&l->backend.loop->timers, &run->timer, now_ns() + ns + l->options.grace_ns);
}

/* Past its timeout, or a cancel, and the grace. */
void local_call_on_watch(struct timer *timer, void *context)
{
	struct run *run = container_of(timer, struct run, timer);
	struct local *l = to_local(run->op->holder);
	struct local_seat *seat = l->places[run->op->slot].seat;

	(void)context;
	if (seat)
		drop_bad(l, seat, run->cancelled ? TR_CANCELLED : TR_TIMEOUT,
			 "the slot did not end the call in time; it was dropped with its files",
			 "it did not end a call in time");
}

static void send_request(struct local *l, struct run *run)
{
	struct place *place = &l->places[run->op->slot];
	int r = slot_request_send(place->seat->control, &run->request.header, run->request.parts,
				  MSG_DONTWAIT);

	switch (r) {
	case 0:
		list_remove(&run->send_link);
		break;
	case -EAGAIN:
		if (list_empty(&run->send_link))
			list_push_back(&l->unsent, &run->send_link);
		if (!timer_is_set(&l->send_timer))
			timer_set(&l->backend.loop->timers, &l->send_timer,
				  now_ns() + SEND_AGAIN_NS);
		break;
	case -EPIPE:
	case -ECONNRESET:
	case -ENOTCONN:
		/* Nothing of it has got there. */
		if (list_empty(&run->send_link))
			list_push_back(&l->unsent, &run->send_link);
		drop_bad(l, place->seat, TR_NOT_STARTED, TEXT_HAD_DIED, "it hung up");
		break;
	case -EMSGSIZE:
		local_run_fail(l, run, TR_LIMIT, "the arguments are too large for a slot");
		break;
	default:
		local_run_fail(l, run, TR_UNAVAILABLE,
			       "the slot cannot be asked: no memory or descriptors");
		break;
	}
}

void local_call_on_send_timer(struct timer *timer, void *context)
{
	struct local *l = container_of(timer, struct local, send_timer);

	(void)context;
	list_for_each_safe (node, &l->unsent)
		send_request(l, container_of(node, struct run, send_link));
}

int local_call_note(struct local *l, const struct local_seat *seat, enum slot_op op, uint64_t id)
{
	struct slot_request q = {.generation = l->options.generation, .id = id, .op = op};
	const struct span none[SLOT_N_REQUEST_PARTS] = {{0}};

	return slot_request_send(seat->control, &q, none, MSG_DONTWAIT);
}

void local_call_execute(struct local *l, struct backend_op *op)
{
	struct place *place = &l->places[op->slot];
	struct run *run = local_run_new(l, op);
	char error[384];
	int r;

	if (!run)
		return;
	if (!place->seat || l->stopped) {
		if (l->stopped)
			local_run_fail(l, run, TR_UNAVAILABLE, TEXT_STOPPING);
		else
			local_run_fail_lost(l, run, TR_NOT_STARTED, TEXT_HAD_DIED);
		return;
	}
	r = local_request_read(&run->request, op, &l->caps, &run->request_text, error,
			       sizeof(error));
	if (r != 0) {
		local_run_fail(l, run, r > 0 ? (enum tr_verdict)r : TR_UNAVAILABLE,
			       r > 0 ? error : "out of memory");
		return;
	}
	run->request.header.generation = l->options.generation;
	run->request.header.id = ++l->last_id;
	place->run = run;
	op->started_ns = now_ns();
	watch_run(l, run, op->timeout_ns);
	send_request(l, run);
}

/* ---- replies -------------------------------------------------------------------------------------- */

static void take_answer(struct local *l, struct run *run, const struct slot_reply *reply,
			const struct span parts[SLOT_N_REPLY_PARTS], struct slot_message *m)
{
	struct place *place = &l->places[run->op->slot];
	struct local_seat *seat = place->seat;
	bool isolated = seat->params.network == PLAN_NETWORK_NONE &&
			plan_has(l->options.plan, PLAN_NETWORK);

	place->run = NULL;
	if (local_answer_make(&run->answer, &l->facts, run->op, &run->request.header, reply, parts,
			      m, isolated) < 0)
		local_answer_fail(&run->answer, &l->facts, run->op, TR_UNKNOWN,
				  "the call ran; there is no memory for its answer");
	local_run_done(l, run);
	/* Its answer says so already: nobody is to be told again. */
	if (reply->flags & SLOT_STUCK) {
		drop_bad(l, seat, TR_OK, "", "not all of a call's processes could be proven dead");
		place->has_died = false;
	}
}

/* 1: the answer to what runs; 0: to nothing any more; -EBADMSG: what no sound slot says. */
static int take_reply(struct local *l, struct local_seat *seat, const struct slot_reply *reply,
		      const struct span parts[SLOT_N_REPLY_PARTS], struct slot_message *m)
{
	struct run *run = l->places[seat->slot].run;
	bool is_ours = reply->generation == l->options.generation;

	if (is_ours && run && list_empty(&run->send_link) && reply->id == run->request.header.id) {
		if (!slot_reply_answers(reply, parts, &run->request.header))
			return -EBADMSG;
		take_answer(l, run, reply, parts, m);
		return 1;
	}
	/* What an executor before us had begun could not be ended. */
	if (reply->flags & SLOT_STUCK)
		return -EBADMSG;
	return ++seat->n_stray > STRAY_MAX ? -EBADMSG : 0;
}

void local_call_readable(struct local_pool *p, struct local_seat *seat)
{
	struct local *l = of_pool(p);
	int r = 0;

	while (r == 0) {
		struct span parts[SLOT_N_REPLY_PARTS];
		struct slot_message m = {0};
		struct slot_reply reply;

		r = slot_reply_receive(seat->control, l->buffer, &reply, parts, &m, MSG_DONTWAIT);
		if (r == -EAGAIN)
			break;
		if (r == 0) {
			drop_bad(l, seat, TR_UNKNOWN, TEXT_DIED, "it hung up");
			return;
		}
		if (r > 0)
			r = take_reply(l, seat, &reply, parts, &m);
		slot_message_done(&m);
		if (r < 0) {
			drop_bad(l, seat, TR_UNKNOWN, TEXT_DIED, "it broke the protocol");
			return;
		}
	}
	if (seat->state == LOCAL_SEAT_BOUND)
		local_pool_watch(p, seat);
}

void local_call_cancel(struct local *l, struct run *run)
{
	run->cancelled = true;
	if (!list_empty(&run->send_link)) {
		local_run_fail(l, run, TR_CANCELLED, "the call was cancelled before it began");
		return;
	}
	/* A slot that does not even take that is given up soon. */
	local_call_note(l, l->places[run->op->slot].seat, SLOT_CANCEL, run->request.header.id);
	watch_run(l, run, 0);
}
