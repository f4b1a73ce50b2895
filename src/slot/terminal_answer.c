/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of a terminal's call that is over. */
#include "base/clock.h"
#include "slot/slot.h"

static const char *const outputs[SLOT_TERMINAL_N] = {
	[SLOT_TERMINAL_START] = "started",
	[SLOT_TERMINAL_RESIZE] = "resized",
	[SLOT_TERMINAL_KEYS] = "ok",
	[SLOT_TERMINAL_WAIT] = "seen",
};

static const char *words_for(enum slot_shell_end how)
{
	switch (how) {
	case SLOT_SHELL_EXITED:
		return "the terminal's shell has exited: the next call starts a new one";
	case SLOT_SHELL_KILLED:
		return "the terminal's shell was killed: the next call starts a new one";
	case SLOT_SHELL_REPLACED:
		return "the terminal's shell was replaced by another program, which has no prompt: "
		       "once that ends, or is stopped, the next call starts a new one";
	case SLOT_SHELL_LIED:
		return "the terminal's shell was ended: what came as its report was not its own";
	default:
		return "the terminal's shell was lost with its room: the next call starts a new one";
	}
}

/* Not the screen's own words: something has come to an end. */
static void set_fault(struct slot *s, struct slot_reply *reply, const char *words, bool is_ours,
		      struct span *ret_error)
{
	bool oom = false, pids = false;

	answer_look_at_events(s, &oom, &pids);
	reply->verdict = oom ? TR_OOM : is_ours ? TR_UNAVAILABLE : TR_FAILED;
	*ret_error = span_string(words);
}

bool terminal_is_whole(const struct slot *s)
{
	return s->terminal.is_done && s->run.out.bytes.n == s->terminal.done.n_output;
}

static void set_end(struct slot *s, struct slot_reply *reply, struct span parts[SLOT_N_REPLY_PARTS])
{
	struct run *run = &s->run;
	const struct screen_done *d = &s->terminal.done;
	bool is_told = terminal_is_whole(s), is_kept = is_told && d->verdict == TR_OK;

	if (is_told) {
		parts[SLOT_ERROR] = span_of(s->error.data, s->error.n);
		parts[SLOT_FILE] = span_of(s->resolved.data, s->resolved.n);
	}
	if (run->cancelled) {
		reply->verdict = TR_CANCELLED;
	} else if (run->timed_out) {
		reply->verdict = TR_TIMEOUT;
		reply->flags |= SLOT_TIMED_OUT | (is_kept ? 0 : SLOT_NOT_SEEN);
	} else if (run->shell_end != SLOT_SHELL_LIVES && !is_kept) {
		bool is_ours = run->shell_end == SLOT_SHELL_ROOM_LOST;

		set_fault(s, reply, words_for(run->shell_end), is_ours, &parts[SLOT_ERROR]);
		if (reply->verdict == TR_UNAVAILABLE)
			reply->verdict = TR_UNKNOWN;
	} else if (!is_told) {
		set_fault(s, reply, "the terminal's screen was lost: the next call has a new one",
			  true, &parts[SLOT_ERROR]);
	} else {
		reply->verdict = d->verdict;
		reply->flags |= d->flags;
	}
	if (reply->verdict != TR_OK &&
	    (run->request.action != SLOT_TERMINAL_KEYS || !(d->flags & SLOT_NOT_SEEN)))
		return;
	if (outputs[run->request.action])
		parts[SLOT_OUTPUT] = span_string(outputs[run->request.action]);
	else
		parts[SLOT_OUTPUT] = span_of(run->out.bytes.data, run->out.bytes.n);
}

void terminal_answer(struct slot *s)
{
	const struct run *run = &s->run;
	const struct screen_done *d = &s->terminal.done;
	struct span parts[SLOT_N_REPLY_PARTS] = {0};
	struct slot_reply reply = {
		.id = run->request.id,
		.generation = run->request.generation,
		.op = run->request.op,
		.exit_code = -1,
		.started_ns = run->started_ns,
		.ended_ns = now_ns(),
		.flags = run->shell_was_started ? SLOT_SHELL_STARTED : 0,
		.shell_lost = run->shell_lost,
		.shell_end = run->shell_end,
	};

	set_end(s, &reply, parts);
	if (terminal_is_whole(s)) {
		reply.size = d->offset;
		reply.file_size = d->n_dropped;
		reply.n_columns = d->n_columns;
		reply.n_rows = d->n_rows;
		reply.cursor_column = d->cursor_column;
		reply.cursor_row = d->cursor_row;
	}
	serve_reply(s, &reply, parts);
}
