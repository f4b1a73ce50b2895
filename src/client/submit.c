/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls into the submission ring. What cannot go at once is passed on by whoever enters the library
 * next, in this order: the rest of a message that was begun, calls kept from a lost session,
 * cancellations. New calls are taken only when nothing of that is left.
 */
#include "client/client.h"

#include <errno.h>
#include <string.h>

/* ---- rows ----------------------------------------------------------------------------------------- */

/* The id is given before it is known whether the call fits, and taken back if not. */
static struct row *row_take(struct tr_client *c)
{
	struct row *row;

	if (c->free_row == CLIENT_ROW_NONE)
		return NULL;
	row = &c->rows[c->free_row];
	c->free_row = row->next;
	row->id += c->n_rows;
	c->n_used++;
	return row;
}

static void row_untake(struct tr_client *c, struct row *row)
{
	row->id -= c->n_rows;
	row->next = c->free_row;
	c->free_row = (uint32_t)(row - c->rows);
	c->n_used--;
}

static void cancel_forget(struct tr_client *c, struct row *row)
{
	uint32_t *at = &c->cancel_first;

	while (*at != CLIENT_ROW_NONE && &c->rows[*at] != row)
		at = &c->rows[*at].cancel_next;
	if (*at != CLIENT_ROW_NONE)
		*at = row->cancel_next;
	row->cancel = false;
}

void row_free(struct tr_client *c, struct row *row)
{
	if (row->cancel)
		cancel_forget(c, row);
	if (row->waiter)
		c->n_waited--;
	if (row->abandoned)
		c->n_abandoned--;
	row->waiter = NULL;
	row->abandoned = false;
	row->state = ROW_FREE;
	row->next = c->free_row;
	c->free_row = (uint32_t)(row - c->rows);
	c->n_used--;
	if (c->n_want_row) {
		followers_wake(c, WANT_ROW);
		leader_kick(c);
	}
	reapers_check(c);
}

struct row *row_find(struct tr_client *c, uint64_t call_id)
{
	struct row *row;

	if (!c->n_rows)
		return NULL;
	row = &c->rows[call_id & (c->n_rows - 1)];
	return row->id == call_id && row->state != ROW_FREE ? row : NULL;
}

/* ---- what waits for room --------------------------------------------------------------------------- */

static void publish(struct tr_client *c)
{
	uint32_t how;

	ring_tx_publish(&c->tx);
	how = ring_tx_wake(&c->tx);
	if (how != TR_AWAKE)
		wake_send(how, c->tx.words.consumer_wait, c->fd);
}

static int flush_pending(struct tr_client *c)
{
	struct pending *p = &c->pending;
	struct row *row = &c->rows[p->row];
	int r;

	if (!p->active)
		return 1;
	r = message_put(&c->tx, row->kind, row->id, p->data, p->n, &p->n_done);
	if (r > 0) {
		row->state = ROW_SENT;
		p->active = false;
	}
	return r;
}

static int flush_resend(struct tr_client *c)
{
	while (c->resend_first != CLIENT_ROW_NONE) {
		struct row *row = &c->rows[c->resend_first];
		const struct buf *copy = &c->copies[c->resend_first];
		struct pending next = {
			.active = true,
			.row = c->resend_first,
			.data = copy->data,
			.n = copy->n,
		};
		int r;

		c->resend_first = row->next;
		if (row->abandoned || row->cancel) {
			client_settle(c, row, TR_CANCELLED,
				      "cancelled before the call was sent again");
			continue;
		}
		if (copy->n > c->segment.call_bytes_max) {
			client_settle(c, row, TR_NOT_STARTED,
				      "the executor came back and takes no call as large as this");
			continue;
		}
		c->pending = next;
		r = flush_pending(c);
		if (r <= 0)
			return r;
	}
	return 1;
}

static int flush_cancels(struct tr_client *c)
{
	while (c->cancel_first != CLIENT_ROW_NONE) {
		struct row *row = &c->rows[c->cancel_first];
		int r = ring_tx_put(&c->tx, TR_KIND_CANCEL, 0, row->id, NULL, 0, NULL, 0);

		if (r <= 0)
			return r;
		row->cancel = false;
		c->cancel_first = row->cancel_next;
	}
	return 1;
}

void client_flush(struct tr_client *c)
{
	int r;

	if (!c->unsent || c->state != SESSION_OPEN)
		return;
	r = flush_pending(c);
	if (r > 0)
		r = flush_resend(c);
	if (r > 0)
		r = flush_cancels(c);
	if (r < 0) {
		session_lost(c, false);
		return;
	}
	if (c->tx.tail != c->tx.published)
		publish(c);
	c->unsent = r == 0;
}

void client_cancel(struct tr_client *c, struct row *row)
{
	uint32_t *at = &c->cancel_first;

	if (row->cancel)
		return;
	while (*at != CLIENT_ROW_NONE)
		at = &c->rows[*at].cancel_next;
	*at = (uint32_t)(row - c->rows);
	row->cancel_next = CLIENT_ROW_NONE;
	row->cancel = true;
	c->unsent = true;
	client_flush(c);
	if (c->unsent)
		leader_kick(c);
}

/* ---- one call --------------------------------------------------------------------------------------- */

static int copy_set(struct buf *copy, const void *payload, size_t n)
{
	buf_clear(copy);
	return buf_append(copy, payload, n);
}

/* Keeps the rest of a message that has begun. */
static int pending_set(struct tr_client *c, struct row *row, const void *payload, size_t n)
{
	uint32_t i = (uint32_t)(row - c->rows);
	struct buf *keep = c->copies ? &c->copies[i] : &c->pending_buf;
	int r;

	if (!c->copies) {
		r = copy_set(keep, payload, n);
		if (r < 0)
			return r;
	}
	c->pending = (struct pending){.row = i, .data = keep->data, .n = n};
	return 0;
}

/* Puts the call into its row and the ring. 0; -EAGAIN: no room; or another error. */
static int row_put(struct tr_client *c, struct row *row, const void *payload, size_t n)
{
	struct pending *p = &c->pending;
	size_t n_done = 0;
	int r;

	if (c->copies) {
		r = copy_set(&c->copies[row - c->rows], payload, n);
		if (r < 0)
			return r;
	}
	if (n > ring_payload_max(c->tx.bytes)) {
		/* Before the first byte is in the ring: afterwards there is no way back. */
		r = ring_tx_fits(&c->tx, ring_payload_max(c->tx.bytes));
		if (r > 0)
			r = pending_set(c, row, payload, n);
		else if (r == 0)
			r = -EAGAIN;
		if (r < 0)
			return r;
		p->active = true;
		row->state = ROW_QUEUED;
		r = flush_pending(c);
	} else {
		r = message_put(&c->tx, row->kind, row->id, payload, n, &n_done);
		if (r == 0)
			return -EAGAIN;
		row->state = ROW_SENT;
	}
	if (r < 0)
		return r;
	publish(c);
	if (r == 0) {
		c->unsent = true;
		leader_kick(c);
	}
	return 0;
}

/* One attempt. -EAGAIN with ret_wants saying what is missing. */
static int submit_try(struct tr_client *c, enum tr_kind kind, const void *payload, size_t n,
		      void *user_data, struct row **ret_row, unsigned *ret_wants)
{
	struct row *row;
	int r = session_reopen(c);

	*ret_wants = WANT_OPEN;
	if (r < 0)
		return r;
	client_flush(c);
	if (c->state != SESSION_OPEN)
		return -ENOTCONN;
	if (n > c->segment.call_bytes_max)
		return -E2BIG;
	*ret_wants = WANT_ROOM;
	if (c->unsent)
		return -EAGAIN;
	*ret_wants = WANT_ROW;
	row = row_take(c);
	if (!row)
		return -EAGAIN;
	row->kind = (uint16_t)kind;
	row->user_data = user_data;
	row->order = c->n_submitted;
	*ret_wants = WANT_ROOM;
	r = row_put(c, row, payload, n);
	if (r < 0) {
		row->state = ROW_FREE;
		row_untake(c, row);
	}
	if (r == -EBADMSG) {
		c->pending.active = false;
		session_lost(c, false);
		*ret_wants = WANT_OPEN;
		return -ENOTCONN;
	}
	if (r < 0)
		return r;
	c->n_submitted++;
	*ret_row = row;
	return 0;
}

int client_submit(struct tr_client *c, enum tr_kind kind, const void *payload, size_t n,
		  void *user_data, struct deadline *deadline, struct row **ret_row)
{
	struct waiter w;
	unsigned wants;
	int r;

	for (;;) {
		r = submit_try(c, kind, payload, n, user_data, ret_row, &wants);
		c->room_asked = (r == -EAGAIN && wants == WANT_ROOM) || r == -ENOTCONN;
		c->room_bytes = n;
		if (r != -EAGAIN && r != -ENOTCONN)
			return r;
		if (r == -ENOTCONN && (c->flags & TR_OPEN_NO_RECONNECT))
			return r;
		if (deadline->timeout_ms == 0)
			return r == -EAGAIN && client_check(c) ? -ENOTCONN : r;
		/* The executor may wait for us before it makes room: nobody else need be reaping. */
		r = client_drain(c, NULL, NULL);
		if (r < 0)
			return r;
		if (c->state == SESSION_OPEN && c->free_row == CLIENT_ROW_NONE &&
		    c->n_done == c->n_used)
			return -ENOBUFS;
		waiter_init(&w, wants);
		r = client_wait(c, &w, deadline);
		if (r < 0)
			return r;
	}
}
