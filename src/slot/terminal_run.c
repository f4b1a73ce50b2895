/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run of a terminal's call:
 *
 *   prompt --the shell waits for a key--> asked --DONE, all of it has come--------------> over
 *     |                                    |  \--KEYS_SENT--> the shell is asked to say when it waits
 *     |                                    |                  for a key; SETTLED tells the screen
 *     |                                    \--deadline, CANCEL, ABORT, the shell's end-->
 *     |                                            cancelled --DONE, or a moment--------> over
 *     \---deadline, CANCEL, ABORT, the shell's end--------------------------------------> over
 *
 * (prompt is left out where the terminal was in use before.) Nothing that runs there is ended by it.
 * A screen that breaks the rules, or does not answer, is ended: the next call has a new one.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "slot/slot.h"
#include "tool/slot/terminal.h"

/* For the screen to answer that was told to end it; shorter than the executor's patience. */
#define GRACE_NS (750 * NS_PER_MS)
/* A shell that has hung up and does not end for so long has become another program. */
#define HANG_UP_NS NS_PER_S
/* How long an interrupt waits for what was typed before; for a program to start; between two looks. */
#define CALM_NS_MAX   (100 * NS_PER_MS)
#define CALM_NS_START (5 * NS_PER_MS)
#define CALM_NS_LOOK  (2 * NS_PER_MS)
#define ERROR_MAX     1024
/* A stream is of whole lines, and of one at least. */
#define STREAM_LINE_MAX 65536
#define KEYS_LIMIT      "the keys are too long: 1048576 bytes is the most"

/* ---- starting ------------------------------------------------------------------------------------- */

static void stop(struct slot *s, const struct slot_request *request)
{
	struct span parts[SLOT_N_REPLY_PARTS] = {[SLOT_OUTPUT] = span_string("stopped")};
	struct slot_reply reply = {
		.id = request->id,
		.generation = request->generation,
		.op = request->op,
		.verdict = TR_OK,
		.exit_code = -1,
		.started_ns = now_ns(),
	};

	if (s->shell.socket >= 0) {
		shell_end(s, SLOT_SHELL_STOPPED);
		reply.shell_end = SLOT_SHELL_STOPPED;
	}
	reply.ended_ns = now_ns();
	serve_reply(s, &reply, parts);
}

/* It shows nothing yet, and what runs there would not draw itself anew but for another size. */
static void have_redrawn(struct slot *s)
{
	struct winsize size;

	if (ioctl(s->shell.master, TIOCGWINSZ, &size) < 0)
		return;
	size.ws_row++;
	ioctl(s->shell.master, TIOCSWINSZ, &size);
	size.ws_row--;
	ioctl(s->shell.master, TIOCSWINSZ, &size);
}

/* What came as its report was not its own. */
static void end_liar(struct slot *s)
{
	room_drop(s, &s->shell_room);
	s->shell.lost = s->run.shell_end = SLOT_SHELL_LIED;
}

static int attach(struct slot *s, const char **ret_step)
{
	bool was_attached = s->shell.is_attached;
	int r = screen_start(s, ret_step);

	if (r < 0)
		return r;
	*ret_step = "the shell's terminal";
	if (!was_attached) {
		r = shell_attach(s);
		if (r == 0)
			r = shell_order(s, SHELL_ASK);
		/* It has ended before its prompt, which is told as such. */
		if (r == -EPIPE || r == -ECONNRESET) {
			s->terminal.hung_up_ns = now_ns();
			return 0;
		}
		if (r == -EBADMSG) {
			end_liar(s);
			return 0;
		}
		/* It is in between, and of no use. */
		if (r < 0)
			shell_end(s, SLOT_SHELL_ROOM_LOST);
		return r;
	}
	if (s->screen.is_attached)
		return 0;
	r = screen_attach(s);
	if (r == 0)
		have_redrawn(s);
	return r;
}

/* Its parts are in run->command. */
static void ask_screen(struct slot *s)
{
	const struct buf *parts = &s->run.command;
	size_t n_max = SCREEN_MESSAGE_MAX - sizeof(struct screen_message);
	uint64_t serial = ++s->screen.serial;
	int r = screen_send(s, SCREEN_REQUEST, serial,
			    span_of(&s->run.request, sizeof(s->run.request)));

	s->terminal.is_asked = true;
	for (size_t at = 0; r == 0 && at < parts->n; at += n_max) {
		size_t n = parts->n - at < n_max ? parts->n - at : n_max;

		r = screen_send(s, SCREEN_MORE, serial, span_of(parts->data + at, n));
	}
	s->terminal.screen_is_lost = r < 0;
}

/*
 * An interrupt must not overtake what was typed before: between a line and the program that it starts
 * there is a moment in which bash itself is in the foreground, and an interrupt is lost. It waits until
 * the shell is at its prompt, or somebody else is in the foreground, and has had a moment to become
 * what was to be started; or, as the shell may be busy itself, for so long.
 */
static void wait_for_calm(struct slot *s)
{
	s->terminal.calm_ns = now_ns() + CALM_NS_MAX;
	if (s->shell.asked != SHELL_ASK)
		shell_order(s, SHELL_ASK);
}

static void look_for_calm(struct slot *s)
{
	struct terminal_call *t = &s->terminal;
	uint64_t now = now_ns();
	pid_t group;

	if (now + CALM_NS_START < t->calm_ns && s->shell.socket >= 0 &&
	    ioctl(s->shell.master, TIOCGPGRP, &group) == 0 && group != s->shell.pid)
		t->calm_ns = now + CALM_NS_START;
	if (now < t->calm_ns || t->is_asked)
		return;
	t->calm_ns = 0;
	ask_screen(s);
}

/* One of the keys is a signal to whoever is in the foreground. */
static bool interrupts(struct span keys)
{
	static const char *const names[] = {"C-c", "C-C",  "^C",  "^c",   "C-z",  "C-Z", "^Z",
					    "^z",  "C-\\", "^\\", "\x03", "\x1a", "\x1c"};

	for (size_t at = 0; at < keys.n;) {
		const char *key = (const char *)keys.data + at;

		for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
			if (strcmp(key, names[i]) == 0)
				return true;
		at += strlen(key) + 1;
	}
	return false;
}

static int start(struct slot *s, const struct slot_request *request, const char **ret_step)
{
	struct run *run = &s->run;
	bool was_started = false, was_attached;
	enum slot_shell_end lost = SLOT_SHELL_LIVES;
	int r;

	if (s->shell.socket < 0) {
		s->shell.n_columns = request->n_columns ? request->n_columns : TERMINAL_COLUMNS;
		s->shell.n_rows = request->n_rows ? request->n_rows : TERMINAL_ROWS;
	}
	r = shell_start(s, true, &was_started, &lost, ret_step);
	if (r < 0)
		return r;
	run_begin(s, request, &s->shell_room, false);
	run->shell_was_started = was_started;
	run->shell_lost = lost;
	run->had_zygote = 0;
	s->terminal = (struct terminal_call){0};
	was_attached = s->shell.is_attached;
	r = attach(s, ret_step);
	if (r < 0)
		return r;
	if (was_attached && interrupts(span_of(run->command.data, request->n[SLOT_ARGV])))
		wait_for_calm(s);
	else if (was_attached)
		ask_screen(s);
	/* Where it has just been shown, a new size is waited for as well. */
	else if (request->action == SLOT_TERMINAL_START || request->action == SLOT_TERMINAL_RESIZE)
		run->request.flags |= SLOT_BLOCK;
	return r;
}

void terminal_run_start(struct slot *s, const struct slot_request *request,
			const struct span parts[SLOT_N_REQUEST_PARTS])
{
	struct run *run = &s->run;
	const char *step = "the terminal";
	int r;

	if (request->action == SLOT_TERMINAL_STOP) {
		stop(s, request);
		return;
	}
	if (parts[SLOT_ARGV].n > SCREEN_PARTS_MAX ||
	    parts[SLOT_COMMAND].n > SCREEN_PARTS_MAX - parts[SLOT_ARGV].n) {
		serve_error(s, request, TR_LIMIT, KEYS_LIMIT);
		return;
	}
	run_settle_ahead(s);
	run->child = CHILD_NONE;
	buf_clear(&run->command);
	r = buf_append(&run->command, parts[SLOT_ARGV].data, parts[SLOT_ARGV].n);
	if (r == 0)
		r = buf_append(&run->command, parts[SLOT_COMMAND].data, parts[SLOT_COMMAND].n);
	if (r == 0)
		r = start(s, request, &step);
	if (r == 0)
		return;
	run->is_active = false;
	run_not_started(s, request, step, -r);
}

/* ---- what the shell says --------------------------------------------------------------------------- */

/* The answer counts that came after all that was written before it was asked. */
static void ask_shell(struct slot *s)
{
	struct terminal_call *t = &s->terminal;

	t->wants_ask = s->shell.asked == SHELL_ASK;
	if (!t->wants_ask && shell_order(s, SHELL_ASK) < 0 && !t->hung_up_ns)
		t->hung_up_ns = now_ns();
}

static void hear_shell(struct slot *s)
{
	struct terminal_call *t = &s->terminal;
	struct shell_report report;
	int r = shell_hear(s, &report);

	if (r == -EBADMSG) {
		end_liar(s);
	} else if (r == -EPIPE) {
		t->hung_up_ns = now_ns();
	} else if (r == 1 && t->wants_ask) {
		ask_shell(s);
	} else if (r == 1 && !t->is_asked) {
		ask_screen(s);
	} else if (r == 1 && !t->is_settled && !t->is_done) {
		t->is_settled = true;
		t->screen_is_lost |=
			screen_send(s, SCREEN_SETTLED, s->screen.serial, span_of(NULL, 0)) < 0;
	}
}

static bool needs_prompt(const struct slot *s)
{
	const struct slot_request *q = &s->run.request;

	return !s->terminal.is_asked || q->flags & SLOT_BLOCK;
}

/* Nothing of what the call waits for can come any more. */
static bool is_moot(const struct slot *s)
{
	const struct run *run = &s->run;

	if (run->shell_end == SLOT_SHELL_LIVES)
		return false;
	/* What it was replaced by may show it, but has no prompt. */
	if (run->shell_end == SLOT_SHELL_REPLACED && !s->shell.is_reaped)
		return needs_prompt(s);
	return needs_prompt(s) || run->request.n[SLOT_COMMAND];
}

/* Its end, if it has ended. */
static void look_at_shell(struct slot *s)
{
	struct run *run = &s->run;
	const struct terminal_call *t = &s->terminal;

	if (run->shell_end != SLOT_SHELL_LIVES)
		return;
	if (s->shell.socket < 0)
		run->shell_end = SLOT_SHELL_ROOM_LOST;
	else if (s->shell.is_reaped)
		run->shell_end = shell_how_ended(s);
	else if (t->hung_up_ns && !s->shell.exits && now_ns() - t->hung_up_ns >= HANG_UP_NS)
		run->shell_end = SLOT_SHELL_REPLACED;
}

/* ---- what the screen says -------------------------------------------------------------------------- */

static bool done_is_sound(const struct slot *s, const struct screen_done *d, size_t n_text)
{
	uint64_t n_max = s->run.request.stdout_max;

	if (s->run.request.action == SLOT_TERMINAL_STREAM)
		n_max += STREAM_LINE_MAX;
	else if (s->run.request.action != SLOT_TERMINAL_CAPTURE)
		n_max = 0;
	return (d->verdict == TR_OK || d->verdict == TR_FAILED || d->verdict == TR_TIMEOUT ||
		d->verdict == TR_LIMIT || d->verdict == TR_CANCELLED) &&
	       !(d->flags & ~(uint32_t)(SLOT_TRUNCATED | SLOT_NOT_SEEN)) &&
	       d->n_columns >= TERMINAL_COLUMNS_MIN && d->n_columns <= TERMINAL_COLUMNS_MAX &&
	       d->n_rows >= TERMINAL_ROWS_MIN && d->n_rows <= TERMINAL_ROWS_MAX &&
	       d->cursor_column < d->n_columns && d->cursor_row < d->n_rows &&
	       d->n_error <= ERROR_MAX && d->n_title <= TERMINAL_TITLE_MAX &&
	       d->n_error + d->n_title <= n_text && d->n_output <= n_max;
}

static int take_output(struct slot *s, struct span text)
{
	struct buf *output = &s->run.out.bytes;

	if (text.n > s->terminal.done.n_output - output->n)
		return -EBADMSG;
	if (buf_append(output, text.data, text.n) < 0)
		return -ENOMEM;
	if (output->n == s->terminal.done.n_output && !utf8_valid(span_of(output->data, output->n)))
		return -EBADMSG;
	return 0;
}

/* Error, title, and the beginning of the output. */
static int take_done(struct slot *s, struct span text)
{
	struct screen_done *d = &s->terminal.done;
	struct span error, title;

	if (text.n < sizeof(*d))
		return -EBADMSG;
	memcpy(d, text.data, sizeof(*d));
	text = span_of(text.data + sizeof(*d), text.n - sizeof(*d));
	if (!done_is_sound(s, d, text.n))
		return -EBADMSG;
	error = span_of(text.data, d->n_error);
	title = span_of(text.data + error.n, d->n_title);
	if (!utf8_valid(error) || !utf8_valid(title))
		return -EBADMSG;
	buf_clear(&s->error);
	buf_clear(&s->resolved);
	if (buf_append(&s->error, error.data, error.n) < 0 ||
	    buf_append(&s->resolved, title.data, title.n) < 0)
		return -ENOMEM;
	s->terminal.is_done = true;
	return take_output(s, span_of(title.data + title.n, text.n - error.n - title.n));
}

static int take_message(struct slot *s, const struct screen_message *m, struct span text)
{
	const struct terminal_call *t = &s->terminal;

	if (!t->is_asked || m->serial != s->screen.serial)
		return -EBADMSG;
	if (m->kind == SCREEN_KEYS_SENT && !t->is_done && s->run.request.flags & SLOT_BLOCK) {
		ask_shell(s);
		return 0;
	}
	if (m->kind == SCREEN_DONE && !t->is_done)
		return take_done(s, text);
	if (m->kind == SCREEN_MORE && t->is_done && text.n)
		return take_output(s, text);
	return -EBADMSG;
}

static void hear_screen(struct slot *s)
{
	struct screen_message m;
	struct span text;
	int r = screen_hear(s, &m, &text);

	if (r == 1)
		r = take_message(s, &m, text);
	if (r < 0)
		s->terminal.screen_is_lost = true;
}

/* ---- the end --------------------------------------------------------------------------------------- */

static void finish(struct slot *s)
{
	struct run *run = &s->run;
	const struct terminal_call *t = &s->terminal;

	/* One that was asked and has not answered is in the middle of something. */
	if (t->is_asked && !terminal_is_whole(s))
		screen_end(s);
	if (terminal_is_whole(s) && s->shell.socket >= 0) {
		s->shell.n_columns = t->done.n_columns;
		s->shell.n_rows = t->done.n_rows;
	}
	terminal_answer(s);
	/* What it was replaced by may go on. */
	if (run->shell_end != SLOT_SHELL_LIVES && s->shell.socket >= 0 &&
	    (run->shell_end != SLOT_SHELL_REPLACED || s->shell.is_reaped))
		shell_end(s, run->shell_end);
	run->is_active = false;
	buf_trim(&run->out.bytes, SLOT_BYTES_KEPT);
	buf_clear(&run->out.bytes);
	buf_trim(&run->command, SLOT_BYTES_KEPT);
	buf_clear(&run->command);
}

/* ---- running --------------------------------------------------------------------------------------- */

#define N_FDS 3

static struct timespec time_left(const struct slot *s)
{
	const struct terminal_call *t = &s->terminal;
	uint64_t until = t->give_up_ns ? t->give_up_ns : s->run.deadline_ns, now = now_ns();

	if (t->calm_ns && !t->is_asked && now + CALM_NS_LOOK < until)
		until = now + CALM_NS_LOOK;
	/* It has ended before anything was asked. */
	if (s->run.shell_end != SLOT_SHELL_LIVES && !t->is_asked)
		until = now;
	if (t->hung_up_ns && !s->shell.exits && needs_prompt(s) &&
	    t->hung_up_ns + HANG_UP_NS < until)
		until = t->hung_up_ns + HANG_UP_NS;
	return ns_to_timespec(until > now ? until - now : 0);
}

static void wait_for_news(struct slot *s, struct pollfd fds[N_FDS])
{
	struct timespec timeout = time_left(s);
	sigset_t none;

	/* Once it is to end, what else is asked for waits. */
	fds[0] = (struct pollfd){.fd = s->run.cancelled ? -1 : s->control, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = s->terminal.hung_up_ns ? -1 : s->shell.socket,
				 .events = POLLIN};
	fds[2] = (struct pollfd){.fd = screen_socket(s), .events = POLLIN};
	sigemptyset(&none);
	if (ppoll(fds, N_FDS, &timeout, &none) < 0)
		for (size_t i = 0; i < N_FDS; i++)
			fds[i].revents = 0;
}

/* Nobody waits for it any more. */
static void give_up(struct slot *s)
{
	struct terminal_call *t = &s->terminal;

	t->give_up_ns = now_ns() + GRACE_NS;
	if (!t->is_done)
		t->screen_is_lost |=
			screen_send(s, SCREEN_CANCEL, s->screen.serial, span_of(NULL, 0)) < 0;
}

void terminal_run_step(struct slot *s)
{
	struct run *run = &s->run;
	struct terminal_call *t = &s->terminal;
	struct pollfd fds[N_FDS];
	bool is_late;

	wait_for_news(s, fds);
	init_reap(s, WNOHANG);
	if (fds[2].revents)
		hear_screen(s);
	if (fds[1].revents && s->shell.socket >= 0)
		hear_shell(s);
	if (fds[0].revents)
		serve_while_running(s);
	look_at_shell(s);
	if (t->calm_ns && !t->is_asked && run->shell_end == SLOT_SHELL_LIVES)
		look_for_calm(s);
	if (screen_socket(s) < 0)
		t->screen_is_lost = true;
	if (!t->give_up_ns)
		run_check_time(run);
	is_late = run->timed_out || run->cancelled || is_moot(s);
	if (is_late && t->is_asked && !t->give_up_ns && !t->screen_is_lost)
		give_up(s);
	if (terminal_is_whole(s) || t->screen_is_lost || (is_late && !t->is_asked) ||
	    (t->give_up_ns && now_ns() >= t->give_up_ns))
		finish(s);
}
