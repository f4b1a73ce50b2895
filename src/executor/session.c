/* SPDX-License-Identifier: Apache-2.0 */
#include "executor/session.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "executor/executor.h"
#include "executor/handshake.h"
#include "shm/guard.h"

#define ACCEPTS_PER_TURN 16
#define WAKE_READ_BYTES  256
/* A session without a record for so many turns is parked, so that turns cost what the busy cost. */
#define QUIET_TURNS 256

/* ---- completions: they mark and queue ------------------------------------------------------------- */

static void session_event(struct session *s)
{
	if (list_empty(&s->event_link))
		list_push_back(&s->executor->sessions.events, &s->event_link);
}

static void on_accept(struct loop_op *op, int result)
{
	struct sessions *all = container_of(op, struct sessions, accept_op);

	(void)result;
	all->accept_ready = true;
}

static void on_socket(struct loop_op *op, int result)
{
	struct session *s = container_of(op, struct session, socket_op);

	(void)result;
	s->socket_ready = true;
	session_event(s);
}

static void on_death(struct loop_op *op, int result)
{
	struct session *s = container_of(op, struct session, death_op);

	if (result != -ECANCELED)
		s->is_dead = true;
	session_event(s);
}

static void on_futex(struct loop_op *op, int result)
{
	struct session *s = container_of(op, struct session, futex_op);

	if (result == -EFAULT)
		session_lose(s, "its segment cannot be read");
	else if (result != -ECANCELED)
		s->woken = true;
	session_event(s);
}

static void on_handshake_timeout(struct timer *timer, void *context)
{
	(void)context;
	session_lose(container_of(timer, struct session, handshake), "it sent no hello in time");
}

void session_lose(struct session *s, const char *why)
{
	if (!s->lost)
		s->lost = why;
	s->is_dead = true;
	session_event(s);
}

void session_dirty(struct session *s)
{
	if (list_empty(&s->dirty_link))
		list_push_back(&s->executor->sessions.dirty, &s->dirty_link);
}

/* ---- beginning ------------------------------------------------------------------------------------ */

/* Connections that have not said hello: all, or those of users who are not admitted. */
static size_t n_hellos(const struct executor *e, bool strangers)
{
	size_t n = 0;

	list_for_each (l, &e->sessions.all) {
		const struct session *s = container_of(l, struct session, link);

		n += s->state == SESSION_HELLO && !(strangers && handshake_admits(e, s->uid));
	}
	return n;
}

static int session_new(struct executor *e, int fd)
{
	_cleanup_(cleanup_close) int socket = fd;
	struct session *s;
	int r;

	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->executor = e;
	s->state = SESSION_HELLO;
	s->pidfd = -1;
	s->guard = -1;
	s->segment = SEGMENT_NULL;
	list_init(&s->link);
	list_init(&s->hot_link);
	list_init(&s->dirty_link);
	list_init(&s->event_link);
	list_init(&s->backlog);
	list_init(&s->holds);
	list_init(&s->waiters);
	list_init(&s->waiting_link);
	s->socket_op.complete = on_socket;
	s->death_op.complete = on_death;
	s->futex_op.complete = on_futex;
	s->handshake.fire = on_handshake_timeout;
	message_assembly_init(&s->assembly, e->limits->call_bytes_max);
	r = handshake_peer(s, socket);
	if (r == 0 && !handshake_admits(e, s->uid) &&
	    n_hellos(e, true) >= e->limits->hellos_stranger_max)
		r = -EBUSY;
	if (r == 0)
		r = timer_set(&e->loop.timers, &s->handshake,
			      e->loop.now_ns + e->limits->handshake_ms * NS_PER_MS);
	if (r < 0) {
		fd_close(&s->pidfd);
		free(s);
		return r;
	}
	s->socket = fd_steal(&socket);
	s->id = ++e->sessions.n_total;
	e->sessions.n_sessions++;
	list_push_back(&e->sessions.all, &s->link);
	loop_poll_in(&e->loop, &s->socket_op, s->socket);
	loop_poll_in(&e->loop, &s->death_op, s->pidfd);
	return 0;
}

static void accept_all(struct executor *e)
{
	struct sessions *all = &e->sessions;

	if (n_hellos(e, false) >= e->limits->hellos_max) {
		all->accept_paused = true;
		return;
	}
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd = accept4(e->start.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
			log_warning("out of file descriptors: no new session until one ends "
				    "(raise ulimit -n)");
			all->accept_paused = true;
			return;
		}
		if (fd < 0)
			break;
		if (session_new(e, fd) < 0)
			log_debug("a client went away before its session began, or is one "
				  "stranger too many");
	}
	loop_poll_in(&e->loop, &all->accept_op, e->start.listener);
}

/* There may be room again for what was not accepted. */
static void accept_again(struct executor *e)
{
	if (!e->sessions.accept_paused)
		return;
	e->sessions.accept_paused = false;
	loop_poll_in(&e->loop, &e->sessions.accept_op, e->start.listener);
}

/* ---- ending --------------------------------------------------------------------------------------- */

static void session_end(struct session *s)
{
	struct executor *e = s->executor;

	if (s->lost) {
		log_info("session %llu (pid %d, uid %u) ended: %s", (unsigned long long)s->id,
			 (int)s->pid, (unsigned)s->uid, s->lost);
		stats_add(&e->stats.shared->sessions_lost_total, 1);
	}
	if (s->state == SESSION_OPEN)
		e->sessions.n_open--;
	s->state = SESSION_ENDING;
	s->hot = false;
	list_remove(&s->hot_link);
	list_remove(&s->dirty_link);
	timer_cancel(&e->loop.timers, &s->handshake);
	loop_cancel(&e->loop, &s->socket_op);
	loop_cancel(&e->loop, &s->death_op);
	loop_cancel(&e->loop, &s->futex_op);
	for (uint32_t i = 0; s->calls && i < s->segment.sizes.n_calls; i++)
		if (s->calls[i])
			reply_abandon(e, s->calls[i]);
	for (struct list *l; (l = list_pop_front(&s->backlog));)
		call_free(&e->calls, container_of(l, struct call, link));
	slot_session_ends(e, s);
	trajectory_session_ends(e, s);
	/* Nothing of ours touches the segment any more. */
	if (s->guard >= 0)
		guard_remove(s->guard);
	s->guard = -1;
	/* The client sees the hang-up now; the descriptor lives on in a poll until that is cancelled. */
	shutdown(s->socket, SHUT_RDWR);
	list_remove(&s->link);
	list_push_back(&e->sessions.ending, &s->link);
}

static void session_free(struct session *s)
{
	struct executor *e = s->executor;

	list_remove(&s->link);
	list_remove(&s->event_link);
	segment_deinit(&s->segment);
	message_assembly_deinit(&s->assembly);
	fd_close(&s->socket);
	fd_close(&s->pidfd);
	free(s->calls);
	free(s);
	e->sessions.n_sessions--;
	accept_again(e);
}

static void free_ended(struct sessions *all)
{
	list_for_each_safe (l, &all->ending) {
		struct session *s = container_of(l, struct session, link);

		if (!s->socket_op.armed && !s->death_op.armed && !s->futex_op.armed)
			session_free(s);
	}
}

/* ---- what happens in between ---------------------------------------------------------------------- */

/* Reads wake-ups, which mean nothing but "look again". */
static void read_wakes(struct session *s)
{
	uint64_t n_max = s->n_asked + s->executor->limits->wake_bytes_max;
	char bytes[WAKE_READ_BYTES];
	ssize_t n = recv(s->socket, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		s->is_dead = true;
		return;
	}
	if (n > 0) {
		s->woken = true;
		s->n_wake_bytes += (uint64_t)n;
		if (s->n_wake_bytes > n_max)
			session_lose(s, "it floods its socket");
	}
	loop_poll_in(&s->executor->loop, &s->socket_op, s->socket);
}

static void session_opened(struct session *s)
{
	struct executor *e = s->executor;

	timer_cancel(&e->loop.timers, &s->handshake);
	s->state = SESSION_OPEN;
	e->sessions.n_open++;
	e->sessions.opened_turn = e->turn;
	trajectory_session_opens(e, s);
	accept_again(e);
	stats_add(&e->stats.shared->sessions_total, 1);
	session_heat(s);
	log_debug("session %llu: pid %d, uid %u, label '%s'", (unsigned long long)s->id,
		  (int)s->pid, (unsigned)s->uid, s->label);
}

static void handle_socket(struct session *s)
{
	int r;

	s->socket_ready = false;
	if (s->state == SESSION_OPEN) {
		read_wakes(s);
		return;
	}
	/* Making a segment takes time that grows with its size: one of them a turn. */
	if (s->executor->sessions.opened_turn == s->executor->turn) {
		s->socket_ready = true;
		session_event(s);
		return;
	}
	r = handshake_read(s);
	if (r > 0)
		session_opened(s);
	if (r >= 0)
		loop_poll_in(&s->executor->loop, &s->socket_op, s->socket);
	else
		s->is_dead = true;
}

static void handle_event(struct session *s)
{
	if (s->state == SESSION_ENDING)
		return;
	if (s->socket_ready && !s->is_dead)
		handle_socket(s);
	if (s->is_dead) {
		session_end(s);
		return;
	}
	if (s->woken && s->state == SESSION_OPEN) {
		s->woken = false;
		session_heat(s);
		session_dirty(s);
	}
}

static void find_truncated(struct executor *e)
{
	if (e->sessions.n_guard_hits == guard_n_hits())
		return;
	e->sessions.n_guard_hits = guard_n_hits();
	list_for_each (l, &e->sessions.all) {
		struct session *s = container_of(l, struct session, link);

		if (s->guard >= 0 && guard_is_hit(s->guard))
			session_lose(s, "it truncated its segment");
	}
}

void sessions_step(struct executor *e)
{
	struct sessions *all = &e->sessions;
	struct list events;

	if (all->accept_ready) {
		all->accept_ready = false;
		accept_all(e);
	}
	find_truncated(e);
	if (!list_empty(&all->events)) {
		/* What happens while these are handled is for the next turn. */
		list_init(&events);
		list_splice_back(&events, &all->events);
		for (struct list *l; (l = list_pop_front(&events));)
			handle_event(container_of(l, struct session, event_link));
		e->did_work = true;
	}
	if (!list_empty(&all->ending))
		free_ended(all);
}

/* ---- hot and parked ------------------------------------------------------------------------------- */

void session_heat(struct session *s)
{
	if (s->hot || s->state != SESSION_OPEN)
		return;
	s->hot = true;
	s->busy_turn = s->executor->turn;
	ring_rx_awake(&s->rx);
	list_push_back(&s->executor->sessions.hot, &s->hot_link);
}

/* false: there is something to take. */
static bool session_park(struct session *s)
{
	struct executor *e = s->executor;
	bool futex = e->loop.features & LOOP_FUTEX;

	/* Whatever way we ask for, a client may wake us in both; and however soon we look away. */
	s->n_asked++;
	ring_rx_sleep(&s->rx, futex ? TR_WAIT_FUTEX : TR_WAIT_SOCKET);
	if (session_may_take(s) && ring_rx_poll(&s->rx) != 0) {
		ring_rx_awake(&s->rx);
		return false;
	}
	if (futex)
		loop_futex_wait(&e->loop, &s->futex_op, s->rx.words.consumer_wait, TR_WAIT_FUTEX);
	s->hot = false;
	list_remove(&s->hot_link);
	return true;
}

bool sessions_park_all(struct executor *e)
{
	list_for_each_safe (l, &e->sessions.hot) {
		if (!session_park(container_of(l, struct session, hot_link)))
			return false;
	}
	return true;
}

void sessions_park_quiet(struct executor *e)
{
	list_for_each_safe (l, &e->sessions.hot) {
		struct session *s = container_of(l, struct session, hot_link);

		if (e->turn - s->busy_turn > QUIET_TURNS && list_empty(&s->backlog))
			session_park(s);
	}
}

bool session_may_take(const struct session *s)
{
	const struct limits *l = s->executor->limits;

	/* Not whether its table is full: a cancel needs no row of it. Behind too many bytes it waits. */
	return !s->is_dead && s->n_backlog_bytes <= l->session_backlog_bytes_max &&
	       s->n_call_bytes <= l->session_call_bytes_max;
}

bool sessions_have_work(const struct executor *e)
{
	list_for_each (l, &e->sessions.hot) {
		const struct session *s = container_of(l, struct session, hot_link);

		if (ring_rx_pending(&s->rx) && session_may_take(s))
			return true;
		if (!list_empty(&s->backlog) && ring_tx_moved(&s->tx))
			return true;
	}
	return false;
}

/* ---- the end of a turn ---------------------------------------------------------------------------- */

static void publish(struct session *s)
{
	if (s->tx.tail != s->tx.published) {
		ring_tx_publish(&s->tx);
		if (wake_send(ring_tx_wake(&s->tx), s->tx.words.consumer_wait, s->socket))
			stats_add(&s->executor->stats.shared->wakes_total, 1);
	}
	if (s->rx.head != s->rx.released) {
		ring_rx_release(&s->rx);
		wake_send(ring_rx_wake(&s->rx), s->rx.words.producer_wait, s->socket);
	}
}

static void session_flush(struct session *s)
{
	reply_backlog(s->executor, s);
	publish(s);
	/* What waited in its ring because its backlog was too long need not wait any more. */
	if (!s->hot && session_may_take(s))
		session_heat(s);
	if (list_empty(&s->backlog)) {
		if (s->wants_room)
			ring_tx_awake(&s->tx);
		s->wants_room = false;
		return;
	}
	/* No room: ask for a byte on the socket, and look once more in case there is some by now. */
	s->n_asked++;
	s->wants_room = true;
	ring_tx_sleep(&s->tx, TR_WAIT_SOCKET);
	if (ring_tx_moved(&s->tx)) {
		s->woken = true;
		session_event(s);
	}
}

void sessions_flush(struct executor *e)
{
	struct list *l;

	while ((l = list_pop_front(&e->sessions.dirty))) {
		struct session *s = container_of(l, struct session, dirty_link);

		if (s->state == SESSION_OPEN && !s->is_dead)
			session_flush(s);
	}
}

void sessions_init(struct sessions *all)
{
	list_init(&all->all);
	list_init(&all->hot);
	list_init(&all->dirty);
	list_init(&all->events);
	list_init(&all->ending);
	all->accept_op.complete = on_accept;
}

int sessions_start(struct executor *e)
{
	int r = guard_init(e->limits->sessions_max);

	if (r == 0)
		loop_poll_in(&e->loop, &e->sessions.accept_op, e->start.listener);
	return r;
}

void sessions_end_all(struct executor *e)
{
	list_for_each_safe (l, &e->sessions.all)
		session_end(container_of(l, struct session, link));
}

void sessions_deinit(struct executor *e)
{
	/* The loop is closed by now: whatever was armed is gone with it. */
	e->sessions.accept_paused = false;
	list_for_each_safe (l, &e->sessions.ending)
		session_free(container_of(l, struct session, link));
	guard_deinit();
}
