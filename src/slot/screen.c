/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The screen's process: one loop over its socket and, while it is ATTACHED, the pseudo-terminal's
 * master. It reads a bounded piece, handles one message, and looks whether what was asked of it is done
 * (screen_wait.c), in turn: however much a program writes, a request is not kept waiting. Keys wait in a
 * queue until the program's side takes them; reading goes on meanwhile, so that neither waits for the
 * other.
 *
 * A message that is not well-formed is the init's own mistake: then the screen leaves.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "slot/screen_parts.h"
#include "slot/zygote.h"

#define TURN_BYTES  16384
#define QUEUE_MAX   (4u << 20)  /* of keys, each name of which may become more */
#define REPLIES_MAX 65536       /* in the queue; a program that reads none gets no more */
#define OUTPUT_MAX  (24u << 20) /* history and screen */

/* ---- to the init ----------------------------------------------------------------------------------- */

void screen_say(uint32_t kind, uint64_t serial, const struct iovec *texts, size_t n_texts)
{
	struct screen_message m = {.magic = SCREEN_MAGIC, .kind = kind, .serial = serial};
	struct iovec io[5] = {{.iov_base = &m, .iov_len = sizeof(m)}};
	struct msghdr message = {.msg_iov = io, .msg_iovlen = 1 + n_texts};

	for (size_t i = 0; i < n_texts; i++)
		io[1 + i] = texts[i];
	while (sendmsg(ZYGOTE_FD, &message, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			_exit(EXIT_FAILURE);
}

/* ---- the master ------------------------------------------------------------------------------------ */

void screen_drop_queue(struct screen *s)
{
	buf_trim(&s->queue, BYTES_KEPT);
	s->queue.n = 0;
	s->n_written = 0;
}

static bool has_queue(const struct screen *s)
{
	return s->is_attached && s->n_written < s->queue.n;
}

static void write_queue(struct screen *s)
{
	struct asked *a = &s->asked;

	while (has_queue(s)) {
		ssize_t n =
			write(s->master, s->queue.data + s->n_written, s->queue.n - s->n_written);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		/* Nobody is there to take it. */
		s->n_written = n < 0 ? s->queue.n : s->n_written + (size_t)n;
	}
	if (!s->is_attached)
		s->n_written = s->queue.n;
	a->is_sending &= s->n_written < a->keys_to;
	if (s->n_written == s->queue.n && s->queue.n)
		screen_drop_queue(s);
}

static void feed(struct screen *s, struct span bytes)
{
	struct buf replies;

	buf_init(&replies, REPLIES_MAX);
	/* Without memory something is missing on the screen, and it goes on. */
	if (terminal_feed(s->terminal, bytes, now_ns(), &replies) == 0 && replies.n &&
	    s->is_attached && s->queue.n - s->n_written <= REPLIES_MAX &&
	    buf_append(&s->queue, replies.data, replies.n) == 0)
		write_queue(s);
	buf_deinit(&replies);
}

/* What there is, up to about n_max bytes. */
void screen_read_master(struct screen *s, size_t n_max)
{
	static uint8_t bytes[TURN_BYTES];
	size_t n_read = 0;

	while (s->is_attached && n_read < n_max) {
		ssize_t n = read(s->master, bytes, sizeof(bytes));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			s->is_attached = false;
			return;
		}
		feed(s, span_of(bytes, (size_t)n));
		n_read += (size_t)n;
	}
}

/* What a command wrote while the terminal did not translate its output. */
static void feed_translated(struct screen *s, struct span text)
{
	static uint8_t bytes[2 * TURN_BYTES];

	while (text.n) {
		size_t n_turn = text.n < TURN_BYTES ? text.n : TURN_BYTES, n = 0;

		for (size_t i = 0; i < n_turn; i++) {
			if (text.data[i] == '\n')
				bytes[n++] = '\r';
			bytes[n++] = text.data[i];
		}
		feed(s, span_of(bytes, n));
		text = span_of(text.data + n_turn, text.n - n_turn);
	}
}

/* ---- requests -------------------------------------------------------------------------------------- */

static int queue_keys(struct screen *s)
{
	struct asked *a = &s->asked;
	struct span row = span_of(a->parts.data, a->request.n[SLOT_ARGV]);
	int r = 0;

	a->keys_from = s->queue.n;
	while (r == 0 && row.n) {
		size_t n = strnlen((const char *)row.data, row.n);

		r = terminal_keys(s->terminal, span_of(row.data, n), &s->queue);
		n += n < row.n;
		row = span_of(row.data + n, row.n - n);
	}
	if (r < 0)
		s->queue.n = a->keys_from;
	a->keys_to = s->queue.n;
	a->is_sending = a->keys_to > a->keys_from;
	return r;
}

static int resize(struct screen *s)
{
	const struct slot_request *q = &s->asked.request;
	struct terminal_state now;
	struct winsize size = {0};

	terminal_state(s->terminal, &now);
	size.ws_col = q->n_columns ? q->n_columns : now.n_columns;
	size.ws_row = q->n_rows ? q->n_rows : now.n_rows;
	if (size.ws_col == now.n_columns && size.ws_row == now.n_rows)
		return 0;
	if (terminal_resize(s->terminal, size.ws_col, size.ws_row, now_ns()) < 0)
		return -ENOMEM;
	return s->master >= 0 && ioctl(s->master, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

static void begin(struct screen *s)
{
	struct asked *a = &s->asked;
	const struct slot_request *q = &a->request;
	char error[ERROR_MAX] = "Not a regular expression: ";
	const char *why = "";
	int r = 0;

	a->is_begun = true;
	a->begun_ns = now_ns();
	/* Keys are sent as the terminal's mode of now has them; what is shown is shown whole. */
	screen_read_master(s, REST_BYTES_MAX);
	write_queue(s);
	if (q->n[SLOT_COMMAND]) {
		a->pattern =
			terminal_pattern_new(screen_pattern_text(a), q->flags & SLOT_REGEX, &why);
		if (!a->pattern) {
			screen_append(error, why);
			screen_finish(s, TR_FAILED, error);
			return;
		}
	}
	if (q->action == SLOT_TERMINAL_START || q->action == SLOT_TERMINAL_RESIZE)
		r = resize(s);
	else if (q->action == SLOT_TERMINAL_KEYS)
		r = queue_keys(s);
	if (r < 0)
		screen_finish(s, TR_LIMIT, "the slot has no memory for this");
	write_queue(s);
}

static void start_request(struct screen *s, uint64_t serial, struct span text)
{
	struct asked *a = &s->asked;
	struct buf parts = a->parts;

	if (a->is_active || text.n != sizeof(a->request))
		_exit(EXIT_FAILURE);
	*a = (struct asked){.is_active = true, .serial = serial, .parts = parts};
	memcpy(&a->request, text.data, sizeof(a->request));
	a->n_parts = a->request.n[SLOT_ARGV] + a->request.n[SLOT_COMMAND];
	buf_clear(&a->parts);
	if (a->n_parts > SCREEN_PARTS_MAX)
		_exit(EXIT_FAILURE);
	if (!a->n_parts)
		begin(s);
}

static void take_more(struct screen *s, uint64_t serial, struct span text)
{
	struct asked *a = &s->asked;

	if (!a->is_active || a->is_begun || serial != a->serial ||
	    text.n > a->n_parts - a->parts.n || buf_append(&a->parts, text.data, text.n) < 0)
		_exit(EXIT_FAILURE);
	if (a->parts.n == a->n_parts)
		begin(s);
}

static void attach(struct screen *s, int master)
{
	if (master >= 0) {
		fd_close(&s->master);
		s->master = master;
	}
	s->is_attached = s->master >= 0;
}

static void detach(struct screen *s, uint64_t serial)
{
	screen_read_master(s, REST_BYTES_MAX);
	s->is_attached = false;
	screen_drop_queue(s);
	screen_say(SCREEN_DETACHED, serial, NULL, 0);
}

static void take_message(struct screen *s)
{
	static _Alignas(8) uint8_t bytes[SCREEN_MESSAGE_MAX];
	struct asked *a = &s->asked;
	struct screen_message m;
	int fds[FDPASS_MAX];
	struct span text;
	ssize_t n = fdpass_receive(ZYGOTE_FD, bytes, sizeof(bytes), fds, MSG_DONTWAIT);

	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n < (ssize_t)sizeof(m))
		_exit(n == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
	memcpy(&m, bytes, sizeof(m));
	text = span_of(bytes + sizeof(m), (size_t)n - sizeof(m));
	if (m.magic != SCREEN_MAGIC)
		_exit(EXIT_FAILURE);
	switch ((enum screen_kind)m.kind) {
	case SCREEN_ATTACH:
		attach(s, fds[0]);
		break;
	case SCREEN_DETACH:
		detach(s, m.serial);
		break;
	case SCREEN_FEED:
		feed_translated(s, text);
		break;
	case SCREEN_REQUEST:
		start_request(s, m.serial, text);
		break;
	case SCREEN_MORE:
		take_more(s, m.serial, text);
		break;
	/* These two may have crossed DONE. */
	case SCREEN_SETTLED:
		if (a->is_active && m.serial == a->serial) {
			screen_read_master(s, REST_BYTES_MAX);
			a->is_settled = true;
		}
		break;
	case SCREEN_CANCEL:
		a->is_cancelled |= a->is_active && m.serial == a->serial;
		break;
	default:
		_exit(EXIT_FAILURE);
	}
}

/* ---- the loop -------------------------------------------------------------------------------------- */

static void turn(struct screen *s)
{
	uint64_t ns = screen_next_step(s, now_ns());
	struct timespec timeout = ns_to_timespec(ns);
	struct pollfd fds[] = {
		{.fd = ZYGOTE_FD, .events = POLLIN},
		{.fd = s->is_attached ? s->master : -1,
		 .events = (short)(POLLIN | (has_queue(s) ? POLLOUT : 0))},
	};

	if (ppoll(fds, 2, ns == UINT64_MAX ? NULL : &timeout, NULL) < 0) {
		if (errno != EINTR)
			_exit(EXIT_FAILURE);
		return;
	}
	if (fds[1].revents)
		screen_read_master(s, TURN_BYTES);
	if (has_queue(s))
		write_queue(s);
	if (fds[0].revents)
		take_message(s);
	screen_step(s);
}

void screen_main(uint16_t n_columns, uint16_t n_rows)
{
	static struct screen s = {.master = -1};
	char ready = ZYGOTE_READY;

	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	prctl(PR_SET_NAME, "toolring-screen", 0, 0, 0);
	buf_init(&s.queue, QUEUE_MAX);
	buf_init(&s.output, OUTPUT_MAX);
	buf_init(&s.asked.parts, SCREEN_PARTS_MAX);
	s.terminal = terminal_new(n_columns, n_rows, now_ns());
	if (!s.terminal)
		_exit(EXIT_FAILURE);
	if (send(ZYGOTE_FD, &ready, 1, MSG_NOSIGNAL) != 1)
		_exit(EXIT_FAILURE);
	for (;;)
		turn(&s);
}
