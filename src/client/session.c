/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From nothing to an open session and back:
 *
 *        .----------------- refused, timed out, malformed -----------------.
 *        v                                                                 |
 *   SESSION_NONE --connected, hello sent--> SESSION_HANDSHAKE --welcome--> SESSION_OPEN
 *        ^                                                                 |
 *        '------------ executor gone, protocol violation ------------------'
 *
 * The socket of a session that ended stays in its place, hung up and so readable, until the next one
 * replaces it: an event loop keeps calling us, which is what moves this machine on. The old segment
 * stays mapped as long as a leader looks at it.
 */
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define WELCOME_START     16 /* bytes that are the same in every version */
#define WELCOME_BYTES_MAX 4096

static int fail(struct tr_client *c, int error, const char *text)
{
	snprintf(c->message, sizeof(c->message), "%s: %s", c->path, text);
	return error;
}

static void handshake_reset(struct handshake *h)
{
	fd_close(&h->fd);
	for (size_t i = 0; i < FDPASS_MAX; i++)
		fd_close(&h->fds[i]);
	h->n = 0;
}

/* ---- connecting ----------------------------------------------------------------------------------- */

static int connect_error(struct tr_client *c, int error)
{
	switch (error) {
	case -ENOENT:
	case -ECONNREFUSED:
		snprintf(c->message, sizeof(c->message), "no toolringd at %s: is it running?",
			 c->path);
		return error;
	case -EACCES:
	case -EPERM:
		fail(c, error, "permission denied: is this toolringd another user's?");
		return -EACCES;
	case -EAGAIN:
		return fail(c, error, "too many clients are connecting at once");
	case -EPROTOTYPE:
	case -ENOTSOCK:
		fail(c, error, "not the control socket of a toolringd");
		return -EPROTO;
	default:
		return fail(c, error, strerrordesc_np(-error));
	}
}

static int session_connect(struct tr_client *c, uint64_t now)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct handshake *h = &c->handshake;
	ssize_t n;

	memcpy(address.sun_path, c->path, sizeof(c->path));
	h->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (h->fd < 0)
		return fail(c, -errno, "no socket");
	if (connect(h->fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return connect_error(c, -errno);
	n = send(h->fd, &c->hello, sizeof(c->hello), MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n != sizeof(c->hello)) {
		/* A fresh socket takes 80 bytes at once, unless the other side hung up. */
		return fail(c, -ECONNREFUSED, "hung up before the handshake");
	}
	h->n = 0;
	h->deadline_ns = now + c->open_timeout_ns;
	c->state = SESSION_HANDSHAKE;
	return 0;
}

/* ---- the welcome ---------------------------------------------------------------------------------- */

static int welcome_start_check(struct tr_client *c)
{
	const struct tr_welcome *w = &c->handshake.welcome;

	if (w->magic != TR_MAGIC || w->bytes < WELCOME_START || w->bytes > WELCOME_BYTES_MAX)
		return fail(c, -EPROTO, "what answered is no toolringd");
	if (w->layout_version != TR_LAYOUT_VERSION) {
		snprintf(
			c->message, sizeof(c->message),
			"%s: toolringd speaks layout version %u, this library %d: use those of one release",
			c->path, w->layout_version, TR_LAYOUT_VERSION);
		return -EPROTONOSUPPORT;
	}
	if (w->bytes < sizeof(*w))
		return fail(c, -EPROTO, "the welcome is too short");
	return 0;
}

/* The next piece of the welcome. Bytes, -EAGAIN, or the error. */
static ssize_t welcome_read(struct tr_client *c)
{
	struct handshake *h = &c->handshake;
	uint8_t tail[256];
	int fds[FDPASS_MAX];
	uint8_t *to = (uint8_t *)&h->welcome + h->n;
	size_t n;
	ssize_t r;

	if (h->n < WELCOME_START) {
		n = WELCOME_START - h->n;
	} else if (h->n < sizeof(h->welcome)) {
		n = sizeof(h->welcome) - h->n;
	} else {
		to = tail;
		n = h->welcome.bytes - h->n;
		if (n > sizeof(tail))
			n = sizeof(tail);
	}
	r = fdpass_receive(h->fd, to, n, fds, MSG_DONTWAIT);
	for (size_t i = 0; i < FDPASS_MAX; i++) {
		/* Only those with the first byte count. */
		if (h->n == 0 && r > 0)
			h->fds[i] = fds[i];
		else
			fd_close(&fds[i]);
	}
	if (r == -EAGAIN)
		return r;
	if (r == 0 || r == -ECONNRESET)
		return h->n ? fail(c, -EPROTO, "hung up in the middle of the welcome")
			    : fail(c, -ECONNREFUSED, "hung up without an answer");
	if (r < 0)
		return fail(c, -EPROTO, "the welcome could not be received");
	h->n += (size_t)r;
	return r;
}

/* 1: all of the welcome is there; 0: not yet. */
static int session_receive(struct tr_client *c)
{
	struct handshake *h = &c->handshake;

	while (h->n < WELCOME_START || h->n < h->welcome.bytes) {
		ssize_t n = welcome_read(c);
		int r;

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		if (h->n == WELCOME_START) {
			r = welcome_start_check(c);
			if (r < 0)
				return r;
		}
	}
	return 1;
}

static int welcome_refused(struct tr_client *c)
{
	static const int errors[] = {
		[TR_WELCOME_VERSION] = -EPROTONOSUPPORT,
		[TR_WELCOME_FEATURE] = -EPROTONOSUPPORT,
		[TR_WELCOME_FORBIDDEN] = -EACCES,
		[TR_WELCOME_FULL] = -EUSERS,
		[TR_WELCOME_SIZE] = -E2BIG,
		[TR_WELCOME_MALFORMED] = -EPROTO,
		[TR_WELCOME_STOPPING] = -ESHUTDOWN,
		[TR_WELCOME_NO_MEMORY] = -ENOMEM,
	};
	const struct tr_welcome *w = &c->handshake.welcome;
	char text[sizeof(w->message) + 1] = {0};

	for (size_t i = 0; i < sizeof(w->message) && w->message[i]; i++) {
		char byte = w->message[i];

		text[i] = byte >= ' ' && byte <= '~' ? byte : '?';
	}
	snprintf(c->message, sizeof(c->message), "%s: refused: %s", c->path,
		 *text ? text : "no reason given");
	if (w->status < sizeof(errors) / sizeof(*errors))
		return errors[w->status];
	return -EPROTO;
}

/* ---- an open session ------------------------------------------------------------------------------ */

static int rows_new(struct tr_client *c, uint32_t n)
{
	c->rows = calloc(n, sizeof(*c->rows));
	/* Never touched but where a result had to be put aside: address space, not memory. */
	c->stashes = calloc(n, sizeof(*c->stashes));
	if (c->flags & TR_OPEN_RESUBMIT)
		c->copies = calloc(n, sizeof(*c->copies));
	if (!c->rows || !c->stashes || ((c->flags & TR_OPEN_RESUBMIT) && !c->copies)) {
		free(c->rows);
		free(c->stashes);
		free(c->copies);
		c->rows = NULL;
		c->stashes = NULL;
		c->copies = NULL;
		return -ENOMEM;
	}
	c->n_rows = n;
	c->free_row = 0;
	for (uint32_t i = 0; i < n; i++) {
		c->rows[i].id = i;
		c->rows[i].next = i + 1 < n ? i + 1 : CLIENT_ROW_NONE;
		if (c->copies)
			buf_init(&c->copies[i], CLIENT_BUF_MAX);
	}
	return 0;
}

/*
 * The rows are made once: a later session must offer as many, which its hello asks for, so that ids
 * of calls that are sent again still fall into rows of their own.
 */
static int rows_fit(struct tr_client *c, const struct segment *s)
{
	uint32_t n = s->sizes.n_calls;
	uint32_t n_max = segment_round_up(c->hello.n_calls);
	int r;

	if (c->rows)
		return n >= c->n_rows ? 0 : fail(c, -EPROTO, "fewer calls in flight than before");
	if (n_max < CLIENT_ROWS_MAX)
		n_max = CLIENT_ROWS_MAX;
	r = rows_new(c, n < n_max ? n : n_max);
	if (r < 0)
		return fail(c, r, "no memory for the table of calls");
	c->hello.n_calls = c->n_rows;
	return 0;
}

/* The session's socket takes the number of the one before. */
static int socket_install(struct tr_client *c)
{
	struct handshake *h = &c->handshake;

	if (c->fd < 0) {
		c->fd = fd_steal(&h->fd);
		return 0;
	}
	if (dup3(h->fd, c->fd, O_CLOEXEC) < 0)
		return fail(c, -errno, "the socket could not be put into its place");
	fd_close(&h->fd);
	return 0;
}

static int session_install(struct tr_client *c)
{
	struct handshake *h = &c->handshake;
	struct segment segment;
	int r;

	if (h->welcome.status != TR_WELCOME_OK)
		return welcome_refused(c);
	if (h->fds[TR_FD_SEGMENT] < 0 || h->fds[TR_FD_EXECUTOR] < 0)
		return fail(c, -EPROTO, "the welcome came without its descriptors");
	r = segment_map(&segment, fd_steal(&h->fds[TR_FD_SEGMENT]), h->welcome.segment_bytes);
	if (r < 0)
		return fail(c, r, "the segment is malformed or cannot be mapped");
	/* A forked child must not write into our rings, not even by mistake. */
	madvise(segment.base, segment.bytes, MADV_DONTFORK);
	r = rows_fit(c, &segment);
	if (r == 0)
		r = socket_install(c);
	if (r < 0) {
		segment_deinit(&segment);
		return r;
	}
	segment_deinit(&c->segment);
	c->segment = segment;
	segment_client_rings(&c->segment, &c->tx, &c->rx);
	fd_close(&c->executor_fd);
	c->executor_fd = fd_steal(&h->fds[TR_FD_EXECUTOR]);
	fd_close(&c->stats_fd);
	c->stats_fd = fd_steal(&h->fds[TR_FD_STATS]);
	c->stats_fresh = false;
	c->armed = false;
	c->owed = false;
	c->checked_ns = now_ns();
	c->state = SESSION_OPEN;
	c->n_sessions++;
	handshake_reset(h);
	return 0;
}

int session_step(struct tr_client *c)
{
	uint64_t now;
	int r = 0;

	if (c->state == SESSION_OPEN)
		return 0;
	if (c->ring_watched)
		return -EINPROGRESS;
	now = now_ns();
	if (c->state == SESSION_NONE) {
		if (now < c->next_try_ns)
			return c->error;
		r = session_connect(c, now);
	}
	if (r == 0)
		r = session_receive(c);
	if (r == 0 && now >= c->handshake.deadline_ns)
		r = fail(c, -ETIMEDOUT, "no answer in time");
	if (r == 0)
		return -EINPROGRESS;
	if (r > 0)
		r = session_install(c);
	if (r < 0) {
		handshake_reset(&c->handshake);
		c->state = SESSION_NONE;
		c->error = r;
		c->next_try_ns = now + CLIENT_RETRY_MS * NS_PER_MS;
		return r;
	}
	c->error = -ENOTCONN;
	followers_wake(c, ~0u);
	leader_kick(c);
	client_flush(c);
	return c->state == SESSION_OPEN ? 0 : c->error;
}

int session_reopen(struct tr_client *c)
{
	int r;

	if (c->state == SESSION_OPEN)
		return 0;
	if (c->flags & TR_OPEN_NO_RECONNECT)
		return -ENOTCONN;
	r = session_step(c);
	switch (r) {
	case -EINPROGRESS:
	case -ENOENT:
	case -ECONNREFUSED:
	case -EAGAIN:
	case -ESHUTDOWN:
	case -EUSERS:
	case -ENOMEM: /* there as here */
	case -ETIMEDOUT:
		return -ENOTCONN;
	default:
		return r;
	}
}

/* ---- the end of a session ------------------------------------------------------------------------- */

/* Did the call reach a slot, for all that the executor noted? */
static bool call_began(struct tr_client *c, const struct row *row)
{
	if (row->state != ROW_SENT || row->kind == TR_KIND_PING || row->kind == TR_KIND_STATUS)
		return false;
	return segment_call_began(&c->segment, row->id);
}

static int by_order(const void *a, const void *b, void *rows)
{
	uint64_t x = ((const struct row *)rows)[*(const uint32_t *)a].order;
	uint64_t y = ((const struct row *)rows)[*(const uint32_t *)b].order;

	return x < y ? -1 : x > y;
}

/* Ends every call in flight, in the order of submission, or keeps it for the next session. */
static void settle_all(struct tr_client *c)
{
	_cleanup_(cleanup_free) uint32_t *order = NULL;
	bool again = c->copies && !(c->flags & TR_OPEN_NO_RECONNECT);
	uint32_t *next = &c->resend_first;
	uint32_t n = 0;

	if (c->n_used)
		order = malloc(c->n_used * sizeof(*order));
	for (uint32_t i = 0; i < c->n_rows; i++) {
		if (c->rows[i].state != ROW_QUEUED && c->rows[i].state != ROW_SENT)
			continue;
		if (order)
			order[n++] = i;
		else if (call_began(c, &c->rows[i]))
			client_settle(c, &c->rows[i], TR_UNKNOWN,
				      "the executor went away: the call may have run");
		else
			client_settle(c, &c->rows[i], TR_NOT_STARTED,
				      "the executor went away before the call began");
	}
	if (n)
		qsort_r(order, n, sizeof(*order), by_order, c->rows);
	for (uint32_t i = 0; i < n; i++) {
		struct row *row = &c->rows[order[i]];

		if (call_began(c, row)) {
			client_settle(c, row, TR_UNKNOWN,
				      "the executor went away: the call may have run");
		} else if (again && !row->abandoned && !row->cancel) {
			row->state = ROW_QUEUED;
			*next = order[i];
			next = &row->next;
		} else {
			client_settle(c, row, TR_NOT_STARTED,
				      "the executor went away before the call began");
		}
	}
	*next = CLIENT_ROW_NONE;
	c->unsent = c->resend_first != CLIENT_ROW_NONE;
}

void session_lost(struct tr_client *c, bool executor_gone)
{
	if (c->state != SESSION_OPEN)
		return;
	if (executor_gone)
		client_consume(c, NULL, NULL);
	c->state = SESSION_NONE;
	c->error = -ENOTCONN;
	c->next_try_ns = executor_gone ? 0 : now_ns() + CLIENT_RETRY_MS * NS_PER_MS;
	c->pending.active = false;
	c->resend_first = CLIENT_ROW_NONE;
	c->assembly.active = false;
	c->assembled = false;
	settle_all(c);
	c->cancel_first = CLIENT_ROW_NONE;
	c->armed = false;
	c->owed = false;
	shutdown(c->fd, SHUT_RDWR);
	leader_kick(c);
	followers_wake(c, ~0u);
}

void session_close(struct tr_client *c)
{
	handshake_reset(&c->handshake);
	segment_deinit(&c->segment);
	fd_close(&c->fd);
	fd_close(&c->executor_fd);
	fd_close(&c->stats_fd);
	fd_close(&c->kick_fd);
}
