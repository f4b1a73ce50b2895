/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event loops poll the session's socket. Arming stores TR_WAIT_SOCKET in the sleep words, so that
 * the executor sends a byte; reaping without waiting takes that back. A socket that is hung up is
 * readable as well, and stays in its place until a new session replaces it.
 */
#include "client/client.h"

#include <errno.h>

int tr_fd(struct tr_client *c)
{
	if (!c)
		return -EINVAL;
	return *c->alive ? c->fd : -ECHILD;
}

/* Could what was refused for want of room be submitted now? Asked once. */
static bool room_there(struct tr_client *c)
{
	uint64_t n = ring_payload_max(c->tx.bytes);

	if (c->room_bytes < n)
		n = c->room_bytes;
	if (!c->room_asked || c->unsent || ring_tx_fits(&c->tx, n) == 0)
		return false;
	c->room_asked = false;
	return true;
}

/* 1: something to do; 0: armed. */
static int arm(struct tr_client *c)
{
	bool room = c->room_asked || c->unsent;

	ring_rx_sleep(&c->rx, TR_WAIT_SOCKET);
	if (room)
		ring_tx_sleep(&c->tx, TR_WAIT_SOCKET);
	client_flush(c);
	if (c->state != SESSION_OPEN)
		return list_empty(&c->done) ? -ENOTCONN : 1;
	/* A position that is out of bounds is something to do too: reaping will find out. */
	if (ring_rx_poll(&c->rx) != 0 || (room && room_there(c))) {
		if (c->asleep == ASLEEP_NOT) {
			ring_rx_awake(&c->rx);
			ring_tx_awake(&c->tx);
		}
		return 1;
	}
	c->armed = true;
	/* A leader on the futex must move to the socket. */
	if (c->asleep == ASLEEP_FUTEX)
		wake_send(TR_WAIT_FUTEX, c->rx.words.consumer_wait, -1);
	return 0;
}

int tr_fd_arm(struct tr_client *c)
{
	int r = client_enter(c);
	uint64_t n_sessions;

	if (r < 0)
		return r;
	n_sessions = c->n_sessions;
	session_reopen(c);
	if (c->state == SESSION_OPEN) {
		c->owed = false;
		/* A leader that sleeps on the socket drops them itself. */
		if (c->asleep != ASLEEP_POLL)
			client_drop_bytes(c);
	}
	/* A new session: epoll needs the descriptor anew, and who could not submit now can. */
	if (!list_empty(&c->done) || c->n_sessions != n_sessions)
		r = 1;
	else if (c->state == SESSION_OPEN)
		r = arm(c);
	else
		r = -ENOTCONN;
	client_leave(c);
	return r;
}
