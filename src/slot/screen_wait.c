/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was asked of the screen: when it is done, and what is said then.
 *
 *   keys on their way --all written--> waiting --prompt, text, min_wait--> DONE
 *          \----------max_wait, CANCEL----/------------------------------> DONE: what is missing
 */
#include <string.h>

#include "base/clock.h"
#include "base/decimal.h"
#include "base/utf8.h"
#include "slot/screen_parts.h"

#define SHOWN_MAX 200 /* of a pattern */
/* While keys wait we look again so often: a terminal may say that there is room before there is. */
#define LOOK_AGAIN_NS (50 * NS_PER_MS)

/* ---- answers --------------------------------------------------------------------------------------- */

void screen_append(char *text, const char *more)
{
	size_t n = strlen(text);

	strncat(text, more, ERROR_MAX - 1 - n);
}

/* "3.0s", "0.25s" */
static void append_seconds(char *text, uint64_t ns)
{
	uint64_t us = (ns + 500) / NS_PER_US;
	char digits[] = ".000000s";
	size_t n = 7;

	decimal_append(text, ERROR_MAX, us / 1000000);
	us %= 1000000;
	for (size_t i = 6; i >= 1; i--, us /= 10)
		digits[i] = (char)('0' + us % 10);
	while (n > 2 && digits[n - 1] == '0')
		n--;
	memcpy(digits + n, "s", 2);
	screen_append(text, digits);
}

struct span screen_pattern_text(const struct asked *a)
{
	return span_of(a->parts.data + a->request.n[SLOT_ARGV], a->request.n[SLOT_COMMAND]);
}

static struct iovec io_of(const void *data, size_t n)
{
	return (struct iovec){.iov_base = (void *)data, .iov_len = n};
}

static void send_done(struct screen *s, enum tr_verdict verdict, const char *error,
		      struct screen_done *done)
{
	struct asked *a = &s->asked;
	struct terminal_state state;
	size_t n_error = strlen(error), n_first, room;

	terminal_state(s->terminal, &state);
	done->verdict = verdict;
	done->n_columns = state.n_columns;
	done->n_rows = state.n_rows;
	done->cursor_column = state.cursor_column;
	done->cursor_row = state.cursor_row;
	done->n_error = (uint32_t)n_error;
	done->n_title = (uint32_t)state.title.n;
	done->n_output = s->output.n;
	room = SCREEN_MESSAGE_MAX - sizeof(struct screen_message) - sizeof(*done) - n_error -
	       state.title.n;
	n_first = s->output.n < room ? s->output.n : room;
	screen_say(SCREEN_DONE, a->serial,
		   (struct iovec[]){io_of(done, sizeof(*done)), io_of(error, n_error),
				    io_of(state.title.data, state.title.n),
				    io_of(s->output.data, n_first)},
		   4);
	room = SCREEN_MESSAGE_MAX - sizeof(struct screen_message);
	for (size_t at = n_first; at < s->output.n; at += room) {
		struct iovec more = io_of(s->output.data + at,
					  s->output.n - at < room ? s->output.n - at : room);

		screen_say(SCREEN_MORE, a->serial, &more, 1);
	}
}

/* The request is over; what it has left in the queue goes, or it would come out at some later time. */
static void finish(struct screen *s, enum tr_verdict verdict, const char *error,
		   struct screen_done *done)
{
	struct asked *a = &s->asked;

	send_done(s, verdict, error, done);
	if (a->is_sending)
		screen_drop_queue(s);
	a->is_sending = false;
	a->pattern = terminal_pattern_free(a->pattern);
	buf_trim(&a->parts, BYTES_KEPT);
	buf_trim(&s->output, BYTES_KEPT);
	buf_clear(&s->output);
	a->is_active = false;
}

void screen_finish(struct screen *s, enum tr_verdict verdict, const char *error)
{
	struct screen_done done = {0};

	finish(s, verdict, error, &done);
}

/* Only the last bytes, from the beginning of a line, if there is one. */
static bool cut_front(struct buf *b, uint64_t n_max)
{
	const uint8_t *from, *newline;
	size_t n;

	if (b->n <= n_max)
		return false;
	n = (size_t)n_max;
	from = b->data + b->n - n;
	newline = from[-1] == '\n' ? from - 1 : memchr(from, '\n', n);
	if (newline && newline + 1 < b->data + b->n)
		from = newline + 1;
	while (from < b->data + b->n && (*from & 0xc0) == 0x80)
		from++;
	n = (size_t)(b->data + b->n - from);
	memmove(b->data, from, n);
	b->n = n;
	return true;
}

static void finish_text(struct screen *s)
{
	const struct slot_request *q = &s->asked.request;
	struct screen_done done = {0};
	bool more = false;
	int r;

	if (q->action == SLOT_TERMINAL_STREAM) {
		r = terminal_stream(s->terminal, q->flags & SLOT_RESET, q->stdout_max, &s->output,
				    &done.offset, &done.n_dropped, &more);
	} else {
		r = terminal_capture(s->terminal, q->flags & SLOT_ALL, &s->output);
		more = r == 0 && cut_front(&s->output, q->stdout_max);
	}
	done.flags = more ? SLOT_TRUNCATED : 0;
	if (r == 0)
		finish(s, TR_OK, "", &done);
	else
		screen_finish(s, TR_LIMIT, "the slot has no memory for the answer");
}

/* ---- waiting --------------------------------------------------------------------------------------- */

static bool is_shown(const struct screen *s)
{
	return !s->asked.pattern || terminal_shows(s->terminal, s->asked.pattern) == 1;
}

static bool has_settled(const struct asked *a)
{
	return !(a->request.flags & SLOT_BLOCK) || a->is_settled;
}

static void append_unsent(const struct screen *s, char *error)
{
	const struct asked *a = &s->asked;
	size_t n = s->n_written > a->keys_from ? s->n_written - a->keys_from : 0;

	screen_append(error, "The terminal took ");
	decimal_append(error, ERROR_MAX, n);
	screen_append(error, " of ");
	decimal_append(error, ERROR_MAX, a->keys_to - a->keys_from);
	screen_append(error, " bytes of the keys");
}

/* What was waited for did not come. */
static void finish_unseen(struct screen *s)
{
	const struct asked *a = &s->asked;
	struct screen_done done = {.flags = SLOT_NOT_SEEN};
	char error[ERROR_MAX] = "", shown[SHOWN_MAX];

	if (a->is_sending) {
		append_unsent(s, error);
		screen_append(error, " in ");
	} else if (!has_settled(a)) {
		screen_append(error, "The terminal was not back at its prompt after ");
	} else {
		screen_append(error, "Not on the screen after ");
	}
	append_seconds(error, a->request.max_wait_ns);
	if (!a->is_sending && has_settled(a)) {
		screen_append(error, ": ");
		screen_append(error, utf8_show(screen_pattern_text(a), shown, sizeof(shown)));
	}
	finish(s, TR_TIMEOUT, error, &done);
}

/* Nobody waits any more; but what is there counts. */
static void finish_cancelled(struct screen *s)
{
	const struct asked *a = &s->asked;
	char error[ERROR_MAX] = "";

	screen_read_master(s, REST_BYTES_MAX);
	if (a->is_sending)
		append_unsent(s, error);
	if (!a->is_sending && has_settled(a) && is_shown(s))
		screen_finish(s, TR_OK, "");
	else
		screen_finish(s, TR_CANCELLED, error);
}

static bool is_over(uint64_t since_ns, uint64_t ns, uint64_t now)
{
	return now - since_ns >= ns;
}

/* Moves the request on as far as that can be done now. */
void screen_step(struct screen *s)
{
	struct asked *a = &s->asked;
	const struct slot_request *q = &a->request;
	uint64_t now = now_ns();

	if (!a->is_active || !a->is_begun)
		return;
	if (a->is_cancelled) {
		finish_cancelled(s);
		return;
	}
	if (!a->sent_ns && !a->is_sending) {
		a->sent_ns = now;
		if (q->flags & SLOT_BLOCK)
			screen_say(SCREEN_KEYS_SENT, a->serial, NULL, 0);
	}
	if (a->sent_ns && !is_over(a->sent_ns, q->min_wait_ns, now))
		return;
	if (a->sent_ns && has_settled(a) && is_shown(s)) {
		if (q->action == SLOT_TERMINAL_CAPTURE || q->action == SLOT_TERMINAL_STREAM)
			finish_text(s);
		else
			screen_finish(s, TR_OK, "");
	} else if (q->max_wait_ns && is_over(a->begun_ns, q->max_wait_ns, now)) {
		finish_unseen(s);
	}
}

/* When screen_step() is to be called again, though nothing happens. */
uint64_t screen_next_step(const struct screen *s, uint64_t now)
{
	const struct asked *a = &s->asked;
	const struct slot_request *q = &a->request;
	uint64_t ns = UINT64_MAX;

	if (!a->is_active || !a->is_begun)
		return ns;
	if (a->sent_ns && !is_over(a->sent_ns, q->min_wait_ns, now))
		return q->min_wait_ns - (now - a->sent_ns);
	if (q->max_wait_ns)
		ns = is_over(a->begun_ns, q->max_wait_ns, now)
			     ? 0
			     : q->max_wait_ns - (now - a->begun_ns);
	return !a->sent_ns && ns > LOOK_AGAIN_NS ? LOOK_AGAIN_NS : ns;
}
