/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Results out of the completion ring. Whoever drains hands each one on: to the thread that waits
 * for just this call, to the drainer's own sink, or into the row's stash, from where reapers take
 * them in the order of completion. Nothing here trusts a byte: headers are copied and checked
 * (shm/ring.h), the payload is copied before it is decoded, and an answer must be that of a call
 * that was sent, of its kind, and the first.
 */
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Consumed space is given back when the ring is empty, or in shares of this much of it. */
#define RELEASE_SHARE 8

/* ---- handing on ------------------------------------------------------------------------------------ */

static void stash_use(struct tr_client *c, const struct stash *s)
{
	c->stash_idle -= s->result.buffer.size;
}

/* Keeps the stash's buffer for its next use, unless a lot lies idle already. */
static void stash_rest(struct tr_client *c, struct stash *s)
{
	if (s->result.buffer.size > CLIENT_STASH_IDLE - c->stash_idle)
		tr_result_deinit(&s->result);
	c->stash_idle += s->result.buffer.size;
}

static void stash_push(struct tr_client *c, struct row *row, struct stash *s)
{
	row->state = ROW_DONE;
	c->n_done++;
	list_push_back(&c->done, &s->link);
	if (!list_empty(&c->followers))
		followers_wake(c, WANT_ANY);
}

/* Hands a stashed result over and frees its row. */
static void stash_take(struct tr_client *c, struct stash *s, struct tr_result *to)
{
	list_remove(&s->link);
	c->n_done--;
	if (to)
		result_swap(to, &s->result);
	stash_rest(c, s);
	row_free(c, &c->rows[s - c->stashes]);
}

static void waiter_finish(struct tr_client *c, struct row *row)
{
	struct waiter *w = row->waiter;

	w->done = true;
	follower_wake(w);
	row_free(c, row);
}

void client_settle(struct tr_client *c, struct row *row, enum tr_verdict verdict, const char *error)
{
	struct stash *s = &c->stashes[row - c->rows];

	if (row->abandoned) {
		row_free(c, row);
	} else if (row->waiter) {
		if (row->waiter->result)
			result_settle(row->waiter->result, row, verdict, error);
		else
			row->waiter->lost = true;
		waiter_finish(c, row);
	} else {
		stash_use(c, s);
		result_settle(&s->result, row, verdict, error);
		stash_push(c, row, s);
	}
}

/* ---- one completion -------------------------------------------------------------------------------- */

/* The payload of a completion: in the ring, or assembled from fragments. */
struct payload {
	const struct ring_record *record; /* NULL: it is in the assembly */
	size_t n;
};

static void buffers_swap(struct tr_result *result, struct buf *b)
{
	void *data = result->buffer.data;
	size_t size = result->buffer.size;

	result->buffer.data = b->data;
	result->buffer.size = b->size;
	b->data = data;
	b->size = size;
}

/*
 * An assembled message is large: it is not copied, but buffers are exchanged. Not where there is no
 * room for the NUL behind it, nor where it would leave the assembly, or the result, more memory than needed.
 */
static bool is_exchanged(const struct tr_client *c, const struct tr_result *to, size_t n)
{
	const struct buf *b = &c->assembly.data;

	return n < b->size && n >= b->size / 2 && to->buffer.size <= b->size;
}

static int result_receive(struct tr_client *c, struct tr_result *to, const struct row *row,
			  const struct payload *payload)
{
	bool in_place = c->flags & TR_OPEN_IN_PLACE;
	int r;

	if (!payload->record && is_exchanged(c, to, payload->n)) {
		buffers_swap(to, &c->assembly.data);
		r = result_decode(to, row, payload->n, in_place);
		/* It will be tried again. */
		if (r == -ENOMEM)
			buffers_swap(to, &c->assembly.data);
		return r;
	}
	r = result_reserve(to, payload->n, in_place);
	if (r < 0)
		return r;
	if (payload->record)
		ring_rx_copy(&c->rx, payload->record, 0, to->buffer.data, payload->n);
	else
		memcpy(to->buffer.data, c->assembly.data.data, payload->n);
	return result_decode(to, row, payload->n, in_place);
}

static int answer_deliver(struct tr_client *c, struct row *row, const struct payload *payload,
			  struct sink *sink)
{
	struct stash *s = &c->stashes[row - c->rows];
	int r = 0;

	if (row->abandoned) {
		row_free(c, row);
		return 0;
	}
	if (row->waiter) {
		if (row->waiter->result)
			r = result_receive(c, row->waiter->result, row, payload);
		if (r == 0)
			waiter_finish(c, row);
		return r;
	}
	if (sink && sink->n_done < sink->n && list_empty(&c->done)) {
		r = result_receive(c, &sink->results[sink->n_done], row, payload);
		if (r == 0) {
			sink->n_done++;
			row_free(c, row);
		}
		return r;
	}
	stash_use(c, s);
	r = result_receive(c, &s->result, row, payload);
	if (r < 0)
		stash_rest(c, s);
	else
		stash_push(c, row, s);
	return r;
}

static int answer_take(struct tr_client *c, uint16_t kind, uint64_t call_id,
		       const struct payload *payload, struct sink *sink)
{
	struct row *row = row_find(c, call_id);

	if (!row || row->state != ROW_SENT || row->kind != kind || payload->n > c->result_bytes_max)
		return -EBADMSG;
	return answer_deliver(c, row, payload, sink);
}

static int record_take(struct tr_client *c, const struct ring_record *record, struct sink *sink)
{
	struct payload payload = {.record = record, .n = record->length};
	int r;

	if (!record->flags && !c->assembly.active)
		return answer_take(c, record->kind, record->call_id, &payload, sink);
	r = message_assembly_feed(&c->assembly, &c->rx, record);
	if (r < 0)
		return r;
	c->assembled = r > 0;
	return 0;
}

static int assembled_take(struct tr_client *c, struct sink *sink)
{
	struct message_assembly *a = &c->assembly;
	struct payload payload = {.record = NULL, .n = a->data.n};
	int r = answer_take(c, a->kind, a->call_id, &payload, sink);

	/* Short of memory, it can be tried again. */
	if (r != -ENOMEM)
		c->assembled = false;
	return r;
}

/* ---- draining -------------------------------------------------------------------------------------- */

static void release(struct tr_client *c)
{
	uint32_t how;

	ring_rx_release(&c->rx);
	how = ring_rx_wake(&c->rx);
	if (how != TR_AWAKE)
		wake_send(how, c->rx.words.producer_wait, c->fd);
}

int client_consume(struct tr_client *c, struct sink *sink, const struct waiter *w)
{
	struct ring_rx *rx = &c->rx;
	/* What the ring can hold, so that a producer as fast as we are cannot keep us in here. */
	uint64_t n_max = rx->bytes / RING_HEADER;
	int r = 0;

	for (uint64_t i = 0; i < n_max || c->assembled; i++) {
		struct ring_record record;

		if ((sink && sink->n_done == sink->n) || (w && w->done))
			break;
		if (c->assembled) {
			r = assembled_take(c, sink);
			if (r < 0)
				break;
			continue;
		}
		r = ring_rx_next(rx, &record);
		if (r <= 0)
			break;
		r = record_take(c, &record, sink);
		if (r < 0)
			break;
		ring_rx_consume(rx, &record);
	}
	if (rx->head != rx->released &&
	    (rx->head == rx->tail || rx->head - rx->released >= rx->bytes / RELEASE_SHARE))
		release(c);
	return r < 0 ? r : 0;
}

int client_drain(struct tr_client *c, struct sink *sink, const struct waiter *w)
{
	int r;

	if (c->state != SESSION_OPEN)
		return 0;
	r = client_consume(c, sink, w);
	if (r < 0 && r != -ENOMEM) {
		session_lost(c, false);
		return 0;
	}
	return r;
}

/* ---- any result ------------------------------------------------------------------------------------- */

/* An event loop asks: it is awake now, and its bytes have done their work. */
static void disarm(struct tr_client *c)
{
	if (!c->armed && !c->owed)
		return;
	c->armed = false;
	c->owed = false;
	/* A leader that sleeps on the socket as well needs both, and drops the bytes itself. */
	if (c->state != SESSION_OPEN || c->asleep == ASLEEP_POLL)
		return;
	ring_rx_awake(&c->rx);
	ring_tx_awake(&c->tx);
	client_drop_bytes(c);
}

/* Fills the sink with what is there. */
static int reap_ready(struct tr_client *c, struct sink *sink)
{
	int r;

	while (!list_empty(&c->done) && sink->n_done < sink->n)
		stash_take(c, container_of(c->done.next, struct stash, link),
			   &sink->results[sink->n_done++]);
	if (sink->n_done == sink->n)
		return 0;
	r = client_drain(c, sink, NULL);
	/* The session may have ended in there, which settles calls. */
	while (!list_empty(&c->done) && sink->n_done < sink->n)
		stash_take(c, container_of(c->done.next, struct stash, link),
			   &sink->results[sink->n_done++]);
	return r;
}

static int reap(struct tr_client *c, struct sink *sink, struct deadline *deadline)
{
	struct waiter w;
	int r, session;

	if (deadline->timeout_ms == 0)
		disarm(c);
	for (;;) {
		session = session_reopen(c);
		client_flush(c);
		r = reap_ready(c, sink);
		if (sink->n_done)
			return 0;
		if (r < 0)
			return r;
		if (c->n_used == c->n_waited + c->n_abandoned)
			return -ENOENT;
		if (session < 0 && (session != -ENOTCONN || deadline->timeout_ms == 0))
			return session;
		if (deadline->timeout_ms == 0) {
			if (client_check(c))
				continue;
			return -EAGAIN;
		}
		waiter_init(&w, WANT_ANY);
		r = client_wait(c, &w, deadline);
		if (r < 0)
			return r;
	}
}

int tr_reap_many(struct tr_client *c, struct tr_result *results, size_t n, int timeout_ms)
{
	struct sink sink = {.results = results, .n = n < INT32_MAX ? n : INT32_MAX};
	struct deadline deadline = {.timeout_ms = timeout_ms};
	int r;

	if (!results || !n)
		return -EINVAL;
	r = client_enter(c);
	if (r < 0)
		return r;
	r = reap(c, &sink, &deadline);
	client_leave(c);
	return r < 0 ? r : (int)sink.n_done;
}

int tr_reap(struct tr_client *c, struct tr_result *result, int timeout_ms)
{
	int r = tr_reap_many(c, result, 1, timeout_ms);

	return r < 0 ? r : 0;
}

/* ---- the result of one call -------------------------------------------------------------------------- */

static void waiter_detach(struct tr_client *c, struct row *row)
{
	row->waiter = NULL;
	c->n_waited--;
}

int client_await(struct tr_client *c, struct row *row, struct tr_result *result,
		 struct deadline *deadline)
{
	uint64_t call_id = row->id;
	struct waiter w;
	int r;

	waiter_init(&w, WANT_CALL);
	w.result = result;
	row->waiter = &w;
	c->n_waited++;
	reapers_check(c);
	for (;;) {
		int session = session_reopen(c);

		client_flush(c);
		r = client_drain(c, NULL, &w);
		if (w.done)
			return w.lost ? -ENOTCONN : 0;
		if (r == 0 && session < 0 && (session != -ENOTCONN || deadline->timeout_ms == 0))
			r = session;
		if (r == 0)
			r = client_wait(c, &w, deadline);
		if (w.done)
			return w.lost ? -ENOTCONN : 0;
		if (r < 0) {
			waiter_detach(c, row_find(c, call_id));
			return r;
		}
	}
}

void client_abandon(struct tr_client *c, struct row *row)
{
	row->abandoned = true;
	c->n_abandoned++;
	reapers_check(c);
	client_cancel(c, row);
}

/* The row of a call whose result is still anybody's. -ENOENT; -EINVAL: a thread waits for it. */
static int row_unclaimed(struct tr_client *c, uint64_t call_id, struct row **ret_row)
{
	struct row *row = row_find(c, call_id);

	if (!row || row->abandoned)
		return -ENOENT;
	if (row->waiter)
		return -EINVAL;
	*ret_row = row;
	return 0;
}

int tr_wait(struct tr_client *c, uint64_t call_id, struct tr_result *result, int timeout_ms)
{
	struct deadline deadline = {.timeout_ms = timeout_ms};
	struct row *row;
	int r;

	if (!result)
		return -EINVAL;
	r = client_enter(c);
	if (r < 0)
		return r;
	r = row_unclaimed(c, call_id, &row);
	if (r == 0 && row->state == ROW_DONE)
		stash_take(c, &c->stashes[row - c->rows], result);
	else if (r == 0)
		r = client_await(c, row, result, &deadline);
	client_leave(c);
	return r;
}

int tr_abandon(struct tr_client *c, uint64_t call_id)
{
	struct row *row;
	int r = client_enter(c);

	if (r < 0)
		return r;
	r = row_unclaimed(c, call_id, &row);
	if (r == 0 && row->state == ROW_DONE)
		stash_take(c, &c->stashes[row - c->rows], NULL);
	else if (r == 0)
		client_abandon(c, row);
	client_leave(c);
	return r;
}
