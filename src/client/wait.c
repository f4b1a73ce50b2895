/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting. The leader remembers where the rings stand, gives up the lock and watches: it spins, then
 * announces its sleep, looks once more (the order of shm/ring.h) and sleeps. Any move of a position
 * since then, also one that another thread has already seen to, makes it come back and look.
 *
 *   what is wanted                    the leader sleeps
 *   results                           on the futex of the completion ring's consumer_wait
 *   results and room                  on the socket, both words being TR_WAIT_SOCKET: the executor
 *                                     may wait for us in one ring as we for it in the other, and one
 *                                     thread cannot sleep on two futexes
 *   either, an event loop is armed    on the socket too, but the byte is the event loop's: it is
 *                                     left there, and armed becomes owed
 *   room, an event loop is owed       on the futex of producer_wait, briefly
 *
 * Every sleep is bounded; at its end we look whether the executor is still there.
 */
#include "client/client.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/clock.h"

#define SPIN_ROUND     64 /* looks between two looks at the clock */
#define ROOM_SLEEP_NS  NS_PER_MS
#define DROP_READS_MAX 8

void waiter_init(struct waiter *w, unsigned wants)
{
	*w = (struct waiter){.wants = wants};
	list_init(&w->link);
}

static uint64_t deadline_left(struct deadline *d)
{
	uint64_t now;

	if (d->timeout_ms < 0)
		return UINT64_MAX;
	if (d->timeout_ms == 0)
		return 0;
	now = now_ns();
	if (!d->at_ns)
		d->at_ns = now + (uint64_t)d->timeout_ms * NS_PER_MS;
	return now < d->at_ns ? d->at_ns - now : 0;
}

/* ---- waking each other ------------------------------------------------------------------------------ */

void follower_wake(struct waiter *w)
{
	/* Not asleep: it holds the lock, or it leads and sees the ring move. */
	if (list_empty(&w->link) || w->word)
		return;
	__atomic_store_n(&w->word, 1, __ATOMIC_RELAXED);
	wake_send(TR_WAIT_FUTEX, &w->word, -1);
}

void followers_wake(struct tr_client *c, unsigned wants)
{
	list_for_each (at, &c->followers) {
		struct waiter *w = container_of(at, struct waiter, link);

		if (w->wants & wants)
			follower_wake(w);
	}
}

/* One of them must lead, unless one is on its way already. */
void client_baton(struct tr_client *c)
{
	if (c->leader)
		return;
	list_for_each (at, &c->followers)
		if (container_of(at, struct waiter, link)->word)
			return;
	if (!list_empty(&c->followers))
		follower_wake(container_of(c->followers.next, struct waiter, link));
}

void leader_kick(struct tr_client *c)
{
	if (c->asleep == ASLEEP_FUTEX) {
		ring_rx_awake(&c->rx);
		wake_send(TR_WAIT_FUTEX, c->rx.words.consumer_wait, -1);
	} else if (c->asleep == ASLEEP_POLL && c->kick_fd >= 0) {
		eventfd_write(c->kick_fd, 1);
	}
	/* A leader that waits for a connection sleeps on its own word. */
	if (c->leader && c->asleep == ASLEEP_NOT && !c->leader->word) {
		__atomic_store_n(&c->leader->word, 1, __ATOMIC_RELAXED);
		wake_send(TR_WAIT_FUTEX, &c->leader->word, -1);
	}
}

void reapers_check(struct tr_client *c)
{
	if (c->n_used != c->n_waited + c->n_abandoned)
		return;
	if (!list_empty(&c->followers))
		followers_wake(c, WANT_ANY);
	if (c->leader && (c->leader->wants & WANT_ANY))
		leader_kick(c);
}

/* ---- is the executor there? -------------------------------------------------------------------------- */

bool client_executor_gone(struct tr_client *c)
{
	struct pollfd p[2] = {
		{.fd = c->fd, .events = POLLRDHUP},
		{.fd = c->executor_fd, .events = POLLIN},
	};

	c->checked_ns = now_ns();
	return poll(p, 2, 0) > 0;
}

bool client_check(struct tr_client *c)
{
	if (c->state != SESSION_OPEN || now_ns() - c->checked_ns < CLIENT_SLEEP_MS * NS_PER_MS ||
	    !client_executor_gone(c))
		return false;
	session_lost(c, true);
	return true;
}

void client_drop_bytes(struct tr_client *c)
{
	char bytes[256];
	ssize_t n = 1;

	for (int i = 0; i < DROP_READS_MAX && n > 0; i++) {
		n = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n > 0 && (size_t)n < sizeof(bytes))
			return;
	}
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		session_lost(c, true);
}

/* ---- leading ------------------------------------------------------------------------------------------ */

/* Where the rings stood when the leader last looked with the lock held. */
struct stand {
	const struct tr_client *c;
	uint64_t tail;
	uint64_t head;
	bool room; /* room in the submission ring is wanted too */
};

static bool moved(const struct stand *s)
{
	return shm_load(s->c->rx.words.tail, SHM_RELAXED) != s->tail ||
	       (s->room && shm_load(s->c->tx.words.head, SHM_RELAXED) != s->head);
}

/* Without the lock. */
static bool spin_for(const struct stand *s, uint32_t ns, uint32_t *ret_spun)
{
	uint64_t start = 0, now = 0;

	*ret_spun = 0;
	do {
		for (int i = 0; i < SPIN_ROUND; i++) {
			if (moved(s)) {
				*ret_spun = (uint32_t)(now - start) + 1;
				return true;
			}
			spin_pause();
		}
		now = now_ns();
		if (!start)
			start = now;
	} while (now - start < ns);
	*ret_spun = ns;
	return false;
}

static bool want_room(const struct tr_client *c)
{
	return c->n_want_room || c->unsent;
}

static void unlock_to_watch(struct tr_client *c)
{
	c->ring_watched = true;
	pthread_mutex_unlock(&c->lock);
}

static void lock_again(struct tr_client *c)
{
	pthread_mutex_lock(&c->lock);
	c->ring_watched = false;
}

/* The socket shows bytes, the hang-up, or nothing. true: something happened. */
static bool sleep_poll(struct tr_client *c, uint64_t ns)
{
	struct pollfd p[3] = {
		{.fd = c->fd, .events = POLLIN | POLLRDHUP},
		{.fd = c->executor_fd, .events = POLLIN},
		{.events = POLLIN},
	};
	struct timespec t = ns_to_timespec(ns);
	eventfd_t count;
	int n;

	if (c->kick_fd < 0)
		c->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p[2].fd = c->kick_fd;
	c->asleep = ASLEEP_POLL;
	unlock_to_watch(c);
	n = ppoll(p, 3, &t, NULL);
	lock_again(c);
	c->asleep = ASLEEP_NOT;
	if (n <= 0 || c->state != SESSION_OPEN)
		return n > 0;
	if (p[2].revents)
		eventfd_read(c->kick_fd, &count);
	if ((p[0].revents & ~POLLIN) || p[1].revents) {
		session_lost(c, true);
	} else if (p[0].revents && c->armed) {
		/* The event loop has been told, and reads the byte. */
		c->armed = false;
		c->owed = true;
	} else if (p[0].revents && !c->owed) {
		client_drop_bytes(c);
	}
	return true;
}

static bool sleep_futex(struct tr_client *c, uint32_t *word, uint64_t ns)
{
	int r;

	c->asleep = word == c->rx.words.consumer_wait ? ASLEEP_FUTEX : ASLEEP_BRIEFLY;
	unlock_to_watch(c);
	r = wake_wait(word, TR_WAIT_FUTEX, ns);
	lock_again(c);
	c->asleep = ASLEEP_NOT;
	return r != -ETIMEDOUT;
}

/* Announces, looks again, sleeps. The table on top of this file. */
static void lead_sleep(struct tr_client *c, const struct stand *s, uint64_t ns)
{
	bool on_socket = c->armed || (s->room && !c->owed);
	bool woken;

	ring_rx_sleep(&c->rx, on_socket ? TR_WAIT_SOCKET : TR_WAIT_FUTEX);
	if (s->room)
		ring_tx_sleep(&c->tx, on_socket ? TR_WAIT_SOCKET : TR_WAIT_FUTEX);
	if (ring_rx_poll(&c->rx) != 0 || c->rx.head != s->tail ||
	    (s->room && (ring_tx_refresh(&c->tx) < 0 || c->tx.head != s->head))) {
		woken = true;
	} else if (on_socket) {
		woken = sleep_poll(c, ns);
	} else if (s->room) {
		woken = sleep_futex(c, c->tx.words.producer_wait,
				    ns < ROOM_SLEEP_NS ? ns : ROOM_SLEEP_NS);
	} else {
		woken = sleep_futex(c, c->rx.words.consumer_wait, ns);
	}
	if (c->state != SESSION_OPEN)
		return;
	if (!c->armed) {
		ring_rx_awake(&c->rx);
		ring_tx_awake(&c->tx);
	}
	if (!woken && !moved(s) && client_executor_gone(c))
		session_lost(c, true);
}

static void lead_ring(struct tr_client *c, uint64_t ns)
{
	struct stand s = {.c = c, .tail = c->rx.head, .head = c->tx.head, .room = want_room(c)};
	uint32_t spin = spin_begin(&c->spin);
	uint32_t spun = 0;
	bool rewarded = false;

	if (ring_rx_poll(&c->rx) != 0)
		return;
	if (spin) {
		unlock_to_watch(c);
		rewarded = spin_for(&s, spin, &spun);
		lock_again(c);
		spin_end(&c->spin, spun, rewarded);
	}
	if (c->state != SESSION_OPEN || rewarded)
		goto out;
	s.room = want_room(c);
	lead_sleep(c, &s, ns);
out:
	if (c->state == SESSION_OPEN && s.room && !list_empty(&c->followers) && moved(&s))
		followers_wake(c, WANT_ROOM);
}

/* Waits for the welcome, or until the next attempt is due. */
static void lead_connect(struct tr_client *c, struct waiter *w, uint64_t ns)
{
	struct pollfd p = {.fd = c->handshake.fd, .events = POLLIN};
	uint64_t most = CLIENT_RETRY_MS * NS_PER_MS;
	struct timespec t;

	if (ns > most)
		ns = most;
	w->word = 0;
	pthread_mutex_unlock(&c->lock);
	if (p.fd >= 0) {
		t = ns_to_timespec(ns);
		ppoll(&p, 1, &t, NULL);
	} else {
		wake_wait(&w->word, 0, ns);
	}
	pthread_mutex_lock(&c->lock);
}

/* ---- following --------------------------------------------------------------------------------------- */

static void follow(struct tr_client *c, struct waiter *w, uint64_t ns)
{
	w->word = 0;
	list_push_back(&c->followers, &w->link);
	/* It must watch for room too from now on. */
	if ((w->wants & WANT_ROOM) && c->n_want_room == 1)
		leader_kick(c);
	pthread_mutex_unlock(&c->lock);
	wake_wait(&w->word, 0, ns);
	pthread_mutex_lock(&c->lock);
	list_remove(&w->link);
}

int client_wait(struct tr_client *c, struct waiter *w, struct deadline *deadline)
{
	uint64_t left = deadline_left(deadline);

	if (!left) {
		/* Who never waits may ask often: then not each time. */
		if (deadline->timeout_ms == 0) {
			if (client_check(c))
				return 0;
		} else if (c->state == SESSION_OPEN && client_executor_gone(c)) {
			session_lost(c, true);
			return 0;
		}
		return c->state == SESSION_OPEN ? -ETIMEDOUT : -ENOTCONN;
	}
	if (left > CLIENT_SLEEP_MS * NS_PER_MS)
		left = CLIENT_SLEEP_MS * NS_PER_MS;
	c->n_want_room += !!(w->wants & WANT_ROOM);
	c->n_want_row += !!(w->wants & WANT_ROW);
	if (c->leader) {
		follow(c, w, left);
	} else {
		c->leader = w;
		if (c->state == SESSION_OPEN)
			lead_ring(c, left);
		else
			lead_connect(c, w, left);
		c->leader = NULL;
	}
	c->n_want_room -= !!(w->wants & WANT_ROOM);
	c->n_want_row -= !!(w->wants & WANT_ROW);
	return 0;
}
