/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/local_seat.h"

#include <errno.h>
#include <sys/socket.h>

#include "backend/local/store.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "base/log.h"

/* The keeper was busy: a moment later it is not. */
#define SEND_AGAIN_NS NS_PER_MS

struct local_seat *local_seat_first(struct local_pool *p, enum local_seat_state state)
{
	struct list *l = p->by_state[state].next;

	return l == &p->by_state[state] ? NULL : container_of(l, struct local_seat, link);
}

uint32_t local_seat_index(const struct local_pool *p, const struct local_seat *seat)
{
	return (uint32_t)(seat - p->seats);
}

/* ---- to the keeper -------------------------------------------------------------------------------- */

static void send_later(struct local_pool *p, struct local_seat *seat)
{
	if (list_empty(&seat->send_link))
		list_push_back(&p->unsent, &seat->send_link);
	if (!timer_is_set(&p->send_timer))
		timer_set(&p->loop->timers, &p->send_timer, now_ns() + SEND_AGAIN_NS);
}

static int send_now(struct local_pool *p, const struct local_seat *seat)
{
	struct store_message m = {
		.kind = seat->to_send,
		.seat = local_seat_index(p, seat),
		.params = seat->params,
	};
	ssize_t n = fdpass_send(p->store, &m, sizeof(m), NULL, 0, MSG_DONTWAIT);

	/* If the keeper is gone, so are we in a moment, and all slots. */
	return n == -EAGAIN || n == -ENOBUFS || n == -ENOMEM ? -EAGAIN : 0;
}

/* What is said of one seat waits for what was said before of others, never for itself. */
void local_seat_say(struct local_pool *p, struct local_seat *seat, enum store_kind kind)
{
	seat->to_send = (uint8_t)kind;
	if (!list_empty(&p->unsent) || send_now(p, seat) < 0)
		send_later(p, seat);
}

void local_seat_on_send_timer(struct timer *timer, void *context)
{
	struct local_pool *p = container_of(timer, struct local_pool, send_timer);

	(void)context;
	list_for_each_safe (l, &p->unsent) {
		struct local_seat *seat = container_of(l, struct local_seat, send_link);

		if (send_now(p, seat) < 0) {
			send_later(p, seat);
			return;
		}
		list_remove(l);
	}
}

/* ---- seats ---------------------------------------------------------------------------------------- */

void local_seat_set(struct local_pool *p, struct local_seat *seat, enum local_seat_state state)
{
	p->n_by_state[seat->state]--;
	seat->state = (uint8_t)state;
	p->n_by_state[state]++;
	list_remove(&seat->link);
	list_push_back(&p->by_state[state], &seat->link);
}

static void seat_close(struct local_pool *p, struct local_seat *seat)
{
	/* The poll holds the socket open: its slot would not see our hang-up. */
	if (seat->poll.armed) {
		seat->poll_is_old = true;
		loop_cancel(p->loop, &seat->poll);
	}
	fd_close(&seat->control);
	seat->n_stray = 0;
}

static void set_urgent(struct local_pool *p, struct local_seat *seat, bool urgent)
{
	p->n_urgent -= seat->is_urgent;
	seat->is_urgent = urgent;
	p->n_urgent += urgent;
}

void local_seat_empty(struct local_pool *p, struct local_seat *seat)
{
	seat_close(p, seat);
	set_urgent(p, seat, false);
	local_seat_set(p, seat, LOCAL_SEAT_EMPTY);
	seat->ordered = false;
	seat->waiter = NULL;
}

void local_seat_on_poll(struct loop_op *op, int result)
{
	struct local_seat *seat = container_of(op, struct local_seat, poll);
	struct local_pool *p = seat->pool;

	(void)result;
	if (seat->poll_is_old) {
		seat->poll_is_old = false;
		if (seat->state == LOCAL_SEAT_BOUND)
			local_pool_watch(p, seat);
		return;
	}
	if (seat->state == LOCAL_SEAT_BOUND)
		p->events->readable(p, seat);
}

void local_pool_watch(struct local_pool *p, struct local_seat *seat)
{
	/* While the poll of an earlier socket is not over, its end comes back here. */
	loop_poll_in(p->loop, &seat->poll, seat->control);
}

void local_seat_arm_gone_timer(struct local_pool *p)
{
	const struct local_seat *first = local_seat_first(p, LOCAL_SEAT_GOING);

	if (!first)
		timer_cancel(&p->loop->timers, &p->gone_timer);
	else
		timer_set(&p->loop->timers, &p->gone_timer, first->going_ns + p->gone_ns);
}

void local_seat_going(struct local_pool *p, struct local_seat *seat)
{
	local_seat_set(p, seat, LOCAL_SEAT_GOING);
	seat->going_ns = now_ns();
	if (!timer_is_set(&p->gone_timer))
		local_seat_arm_gone_timer(p);
}

void local_pool_drop(struct local_pool *p, struct local_seat *seat, void *waiter)
{
	seat_close(p, seat);
	local_seat_going(p, seat);
	seat->waiter = waiter;
	local_seat_say(p, seat, STORE_DROP);
}

void local_pool_drop_urgently(struct local_pool *p, struct local_seat *seat, void *waiter)
{
	set_urgent(p, seat, true);
	local_pool_drop(p, seat, waiter);
}

void local_seat_on_gone_timer(struct timer *timer, void *context)
{
	struct local_pool *p = container_of(timer, struct local_pool, gone_timer);
	uint64_t now = now_ns();

	(void)context;
	list_for_each_safe (l, &p->by_state[LOCAL_SEAT_GOING]) {
		struct local_seat *seat = container_of(l, struct local_seat, link);

		if (seat->going_ns + p->gone_ns > now)
			break;
		log_warning("seat %u was killed and is not gone: it stays out of use until it is",
			    local_seat_index(p, seat));
		p->n_stuck_total++;
		local_seat_set(p, seat, LOCAL_SEAT_STUCK);
		set_urgent(p, seat, false);
		if (seat->waiter)
			p->events->ended(p, seat);
		seat->waiter = NULL;
	}
	local_seat_arm_gone_timer(p);
	local_pool_balance(p);
}
