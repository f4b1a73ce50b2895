/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/local_pool.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "backend/local/store.h"
#include "backend/local_seat.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "base/utf8.h"
#include "wire/slot.h"

/* Of those made ahead, so many are asked for at a time: the maker's queue stays short. */
#define MAKING_MAX 8
/* Messages of the keeper taken at a time. */
#define MESSAGES_MAX 256
/* Making ahead is not tried again sooner after a failure. */
#define MAKE_AGAIN_NS NS_PER_S
/* One eighth of what is too many goes, so often. */
#define SHRINK_NS NS_PER_S
/* How long the keeper may take to say what there is. */
#define FOUND_NS (30 * NS_PER_S)

bool local_params_equal(const struct plan_params *a, const struct plan_params *b)
{
	return a->memory_bytes == b->memory_bytes && a->disk_bytes == b->disk_bytes &&
	       a->n_pids == b->n_pids && a->network == b->network;
}

static bool is_default(const struct local_pool *p, const struct plan_params *params)
{
	return local_params_equal(params, &p->plan->params);
}

static void make(struct local_pool *p, const struct plan_params *params, bool ordered)
{
	struct local_seat *seat = local_seat_first(p, LOCAL_SEAT_EMPTY);

	local_seat_set(p, seat, LOCAL_SEAT_MAKING);
	seat->params = *params;
	seat->ordered = ordered;
	local_seat_say(p, seat, STORE_MAKE);
}

/* ---- wishes --------------------------------------------------------------------------------------- */

static void wish_remove(struct local_pool *p, struct local_wish *w)
{
	list_remove(&w->link);
	p->n_wishes--;
	p->n_unordered -= !w->ordered;
}

static void bind_seat(struct local_pool *p, struct local_seat *seat)
{
	/* Before anything of its next owner reaches it. */
	__atomic_store_n(&p->fresh[local_seat_index(p, seat)], 0, __ATOMIC_SEQ_CST);
	local_seat_set(p, seat, LOCAL_SEAT_BOUND);
	local_pool_watch(p, seat);
}

/* A spare says nothing, and nobody has looked at its socket since it was made. */
static bool is_well(const struct local_seat *seat)
{
	char byte;

	return recv(seat->control, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
	       (errno == EAGAIN || errno == EINTR);
}

static struct local_seat *take_spare(struct local_pool *p)
{
	struct local_seat *seat;

	for (;;) {
		seat = local_seat_first(p, LOCAL_SEAT_WARM);
		if (!seat)
			seat = local_seat_first(p, LOCAL_SEAT_SPARE);
		if (!seat || is_well(seat))
			return seat;
		local_pool_drop(p, seat, NULL);
	}
}

static struct local_seat *least_spare(struct local_pool *p)
{
	struct local_seat *seat = local_seat_first(p, LOCAL_SEAT_SPARE);

	return seat ? seat : local_seat_first(p, LOCAL_SEAT_WARM);
}

/* Orders for who came when no seat was empty. */
static void order(struct local_pool *p)
{
	list_for_each (l, &p->wishes) {
		struct local_wish *w = container_of(l, struct local_wish, link);
		struct local_seat *spare = least_spare(p);

		if (!p->n_unordered || p->stopped)
			return;
		if (w->ordered)
			continue;
		if (!local_seat_first(p, LOCAL_SEAT_EMPTY)) {
			/* Another sort is wanted than those made ahead: one of these makes room. */
			if (spare && !p->n_by_state[LOCAL_SEAT_GOING])
				local_pool_drop(p, spare, NULL);
			return;
		}
		w->ordered = true;
		p->n_unordered--;
		make(p, &w->params, true);
	}
}

void local_pool_want(struct local_pool *p, struct local_wish *w)
{
	struct local_seat *seat = is_default(p, &w->params) ? take_spare(p) : NULL;

	if (seat) {
		bind_seat(p, seat);
		p->events->made(p, w, seat);
	} else {
		w->ordered = false;
		p->n_wishes++;
		p->n_unordered++;
		list_push_back(&p->wishes, &w->link);
		order(p);
	}
	local_pool_balance(p);
}

void local_pool_unwant(struct local_pool *p, struct local_wish *w)
{
	wish_remove(p, w);
}

static struct local_wish *find_wish(struct local_pool *p, const struct plan_params *params,
				    bool ordered_only)
{
	list_for_each (l, &p->wishes) {
		struct local_wish *w = container_of(l, struct local_wish, link);

		if ((w->ordered || !ordered_only) && local_params_equal(&w->params, params))
			return w;
	}
	return NULL;
}

/* ---- making ahead --------------------------------------------------------------------------------- */

/* Spares to be ready. */
static uint32_t spares_wanted(const struct local_pool *p)
{
	uint32_t n_bound = p->n_by_state[LOCAL_SEAT_BOUND] + p->n_by_state[LOCAL_SEAT_FOUND];

	if (p->n_min > n_bound && p->n_min - n_bound > p->n_warm)
		return p->n_min - n_bound;
	return p->n_warm;
}

static void warm_spares(struct local_pool *p)
{
	const struct span none[SLOT_N_REQUEST_PARTS] = {{0}};

	while (p->n_by_state[LOCAL_SEAT_WARM] < p->n_warm) {
		struct slot_request q = {.generation = p->generation, .op = SLOT_WARM};
		struct local_seat *seat = local_seat_first(p, LOCAL_SEAT_SPARE);

		if (!seat || slot_request_send(seat->control, &q, none, MSG_DONTWAIT) < 0)
			return;
		local_seat_set(p, seat, LOCAL_SEAT_WARM);
	}
}

static uint32_t n_spares(const struct local_pool *p)
{
	return p->n_by_state[LOCAL_SEAT_SPARE] + p->n_by_state[LOCAL_SEAT_WARM];
}

/*
 * As many spares as are wanted, but for those who wait already. The maker does one thing at a time:
 * what a call waits for goes first.
 */
void local_pool_balance(struct local_pool *p)
{
	uint32_t n_wanted = spares_wanted(p);
	uint32_t n_ahead = n_spares(p) + p->n_by_state[LOCAL_SEAT_MAKING];

	if (p->stopped || !p->found_all)
		return;
	n_ahead -= n_ahead < p->n_wishes ? n_ahead : p->n_wishes;
	while (n_ahead < n_wanted && p->n_by_state[LOCAL_SEAT_MAKING] < MAKING_MAX &&
	       !p->n_unordered && !p->n_urgent && local_seat_first(p, LOCAL_SEAT_EMPTY) &&
	       !timer_is_set(&p->make_timer)) {
		make(p, &p->plan->params, false);
		n_ahead++;
	}
	warm_spares(p);
	if (n_spares(p) > n_wanted && !timer_is_set(&p->shrink_timer))
		timer_set(&p->loop->timers, &p->shrink_timer, now_ns() + SHRINK_NS);
}

static void on_make_timer(struct timer *timer, void *context)
{
	(void)context;
	local_pool_balance(container_of(timer, struct local_pool, make_timer));
}

static void on_shrink_timer(struct timer *timer, void *context)
{
	struct local_pool *p = container_of(timer, struct local_pool, shrink_timer);
	uint32_t n_wanted = spares_wanted(p);
	uint32_t n_more = n_spares(p) > n_wanted ? n_spares(p) - n_wanted : 0;

	(void)context;
	for (uint32_t n = (n_more + 7) / 8; n; n--)
		local_pool_drop(p, least_spare(p), NULL);
	local_pool_balance(p);
}

/* ---- what the keeper says ------------------------------------------------------------------------- */

static void made(struct local_pool *p, struct local_seat *seat, int *control)
{
	struct local_wish *w;

	if (seat->state != LOCAL_SEAT_MAKING || *control < 0)
		return;
	p->n_made_total++;
	p->failing = false;
	seat->control = fd_steal(control);
	w = p->stopped ? NULL : find_wish(p, &seat->params, false);
	if (w) {
		wish_remove(p, w);
		bind_seat(p, seat);
		p->events->made(p, w, seat);
	} else if (is_default(p, &seat->params) && !p->stopped) {
		__atomic_store_n(&p->fresh[local_seat_index(p, seat)], 1, __ATOMIC_SEQ_CST);
		local_seat_set(p, seat, LOCAL_SEAT_SPARE);
	} else {
		local_pool_drop(p, seat, NULL);
	}
}

static void failed(struct local_pool *p, struct local_seat *seat, const char *why)
{
	struct local_wish *w = NULL;

	if (seat->state != LOCAL_SEAT_MAKING)
		return;
	utf8_show(span_string(why), p->failure, sizeof(p->failure));
	log_warning("seat %u: no slot was made: %s", local_seat_index(p, seat), p->failure);
	p->n_failed_total++;
	p->failing = true;
	if (seat->ordered)
		w = find_wish(p, &seat->params, true);
	local_seat_empty(p, seat);
	if (w) {
		wish_remove(p, w);
		p->events->refused(p, w, p->failure);
	}
	timer_set(&p->loop->timers, &p->make_timer, now_ns() + MAKE_AGAIN_NS);
}

static void gone(struct local_pool *p, struct local_seat *seat)
{
	enum local_seat_state was = seat->state;

	if (was == LOCAL_SEAT_EMPTY)
		return;
	if (was == LOCAL_SEAT_MAKING) {
		failed(p, seat, "it died at once");
		return;
	}
	/* With its waiter still there, which local_seat_empty() forgets. */
	if (was == LOCAL_SEAT_GOING && seat->waiter)
		p->events->ended(p, seat);
	if (was == LOCAL_SEAT_BOUND)
		p->events->died(p, seat);
	/* Something may still wait to be said of it: that is past. */
	list_remove(&seat->send_link);
	local_seat_empty(p, seat);
	local_seat_arm_gone_timer(p);
}

static void found(struct local_pool *p, struct local_seat *seat, const struct store_message *m,
		  int *control)
{
	if (seat->state != LOCAL_SEAT_EMPTY || *control < 0)
		return;
	seat->params = m->params;
	seat->control = fd_steal(control);
	if (!__atomic_load_n(&p->fresh[local_seat_index(p, seat)], __ATOMIC_SEQ_CST))
		local_seat_set(p, seat, LOCAL_SEAT_FOUND);
	else if (is_default(p, &seat->params))
		local_seat_set(p, seat, LOCAL_SEAT_SPARE);
	else
		local_pool_drop(p, seat, NULL);
}

static void take_message(struct local_pool *p, struct store_message *m, int *control)
{
	struct local_seat *seat;

	m->text[sizeof(m->text) - 1] = '\0';
	if (m->kind == STORE_ALL) {
		p->found_all = true;
		return;
	}
	if (m->seat >= p->plan->n_seats)
		return;
	seat = &p->seats[m->seat];
	switch (m->kind) {
	case STORE_MADE:
		made(p, seat, control);
		break;
	case STORE_FAILED:
		failed(p, seat, m->text);
		break;
	case STORE_GONE:
		gone(p, seat);
		break;
	case STORE_HAVE:
		found(p, seat, m, control);
		break;
	case STORE_GOING:
		if (seat->state == LOCAL_SEAT_EMPTY)
			local_seat_going(p, seat);
		break;
	default:
		break;
	}
}

/* 0: there may be more; -EAGAIN: not now; -EPIPE: the keeper is gone. */
static int read_store(struct local_pool *p)
{
	struct store_message m;
	int fds[FDPASS_MAX];

	for (int i = 0; i < MESSAGES_MAX; i++) {
		ssize_t n = fdpass_receive(p->store, &m, sizeof(m), fds, MSG_DONTWAIT);

		if (n == -EAGAIN)
			return -EAGAIN;
		if (n == 0 || n == -ECONNRESET)
			return -EPIPE;
		if (n == sizeof(m))
			take_message(p, &m, &fds[0]);
		for (size_t j = 0; n > 0 && j < FDPASS_MAX; j++)
			fd_close(&fds[j]);
	}
	return 0;
}

static void on_store(struct loop_op *op, int result)
{
	struct local_pool *p = container_of(op, struct local_pool, store_op);

	(void)result;
	/* Without the keeper the end is near, and it comes from elsewhere. */
	if (read_store(p) == -EPIPE)
		return;
	order(p);
	local_pool_balance(p);
	loop_poll_in(p->loop, &p->store_op, p->store);
}

/* ---- beginning and end ---------------------------------------------------------------------------- */

int local_pool_init(struct local_pool *p)
{
	uint32_t n = p->plan->n_seats;

	list_init(&p->wishes);
	list_init(&p->unsent);
	for (int i = 0; i < LOCAL_N_SEAT_STATES; i++)
		list_init(&p->by_state[i]);
	p->store_op.complete = on_store;
	p->send_timer.fire = local_seat_on_send_timer;
	p->gone_timer.fire = local_seat_on_gone_timer;
	p->shrink_timer.fire = on_shrink_timer;
	p->make_timer.fire = on_make_timer;
	p->seats = calloc(n, sizeof(*p->seats));
	if (!p->seats)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		struct local_seat *seat = &p->seats[i];

		seat->control = -1;
		seat->pool = p;
		seat->poll.complete = local_seat_on_poll;
		list_init(&seat->send_link);
		list_init(&seat->link);
		list_push_back(&p->by_state[LOCAL_SEAT_EMPTY], &seat->link);
	}
	p->n_by_state[LOCAL_SEAT_EMPTY] = n;
	return 0;
}

void local_pool_deinit(struct local_pool *p)
{
	for (uint32_t i = 0; p->seats && i < p->plan->n_seats; i++)
		fd_close(&p->seats[i].control);
	free(p->seats);
	p->seats = NULL;
}

int local_pool_start(struct local_pool *p)
{
	uint64_t until = now_ns() + FOUND_NS;

	while (!p->found_all) {
		struct pollfd fd = {.fd = p->store, .events = POLLIN};
		uint64_t now = now_ns();
		int r = read_store(p);

		if (r == -EPIPE)
			return -EPIPE;
		if (r == 0 || p->found_all)
			continue;
		if (now >= until)
			return -ETIMEDOUT;
		poll(&fd, 1, (int)((until - now) / NS_PER_MS) + 1);
	}
	loop_poll_in(p->loop, &p->store_op, p->store);
	local_pool_balance(p);
	return 0;
}

void local_pool_stop(struct local_pool *p, bool all)
{
	p->stopped = true;
	for (uint32_t i = 0; all && i < p->plan->n_seats; i++) {
		struct local_seat *seat = &p->seats[i];

		if (seat->control >= 0)
			local_pool_drop(p, seat, NULL);
	}
}

struct local_seat *local_pool_claim(struct local_pool *p, uint32_t i)
{
	struct local_seat *seat = i < p->plan->n_seats ? &p->seats[i] : NULL;

	if (!seat || seat->state != LOCAL_SEAT_FOUND)
		return NULL;
	bind_seat(p, seat);
	return seat;
}

void local_pool_drop_unclaimed(struct local_pool *p)
{
	struct local_seat *seat;

	while ((seat = local_seat_first(p, LOCAL_SEAT_FOUND)))
		local_pool_drop(p, seat, NULL);
	local_pool_balance(p);
}
