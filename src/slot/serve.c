/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests, one at a time: the executor sends the next when it has the answer to the last; while a
 * command runs only CANCEL and ABORT are in place. A message that is not well-formed, or a socket
 * that is hung up, ends the slot: its init leaves, and the kernel ends the rest.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "slot/slot.h"

#define AHEAD_MS 2000

/* r: how the sending of a reply went. */
static void settle(struct slot *s, struct slot_reply *reply, int r)
{
	if (r == 0 || r == -EPIPE || r == -ECONNRESET)
		return;
	/* Without memory for the whole answer, one in few words. */
	if (r == -ENOMEM || r == -ENOSPC || r == -EMSGSIZE || r == -ENFILE || r == -EMFILE) {
		struct span words[SLOT_N_REPLY_PARTS] = {
			[SLOT_ERROR] = span_string("the slot has no memory for the answer"),
		};

		reply->verdict = TR_LIMIT;
		reply->flags &= ~(uint32_t)SLOT_IN_FILE;
		r = slot_reply_send(s->control, reply, words, 0);
	}
	if (r < 0)
		s->ends = true;
}

void serve_reply(struct slot *s, struct slot_reply *reply,
		 const struct span parts[SLOT_N_REPLY_PARTS])
{
	settle(s, reply, slot_reply_send(s->control, reply, parts, 0));
}

void serve_reply_file(struct slot *s, struct slot_reply *reply, int file)
{
	settle(s, reply, slot_reply_send_file(s->control, reply, file, 0));
}

struct slot_reply serve_reply_to(const struct slot_request *request)
{
	return (struct slot_reply){
		.id = request->id,
		.generation = request->generation,
		.op = request->op,
		.exit_code = -1,
		.started_ns = now_ns(),
	};
}

void serve_error(struct slot *s, const struct slot_request *request, enum tr_verdict verdict,
		 const char *error)
{
	struct slot_reply reply = serve_reply_to(request);
	struct span parts[SLOT_N_REPLY_PARTS] = {[SLOT_ERROR] = span_string(error)};

	reply.verdict = verdict;
	reply.ended_ns = reply.started_ns;
	serve_reply(s, &reply, parts);
}

static void serve_file(struct slot *s, const struct slot_request *request,
		       const struct span parts[SLOT_N_REQUEST_PARTS])
{
	struct slot_reply reply = serve_reply_to(request);
	struct span answer[SLOT_N_REPLY_PARTS] = {0};
	struct file_result result = {.verdict = TR_UNAVAILABLE};
	struct file_texts texts = {
		.output = &s->output,
		.error = &s->error,
		.resolved = &s->resolved,
	};
	int r;

	if (request->op == SLOT_READ_FILE)
		r = files_read(&s->workspace, parts[SLOT_PATH], request->stdout_max, &texts,
			       &result);
	else
		r = files_write(&s->workspace, parts[SLOT_PATH], parts[SLOT_STDIN],
				request->stdout_max, &texts, &result);
	answer[SLOT_OUTPUT] = span_of(s->output.data, s->output.n);
	answer[SLOT_ERROR] = span_of(s->error.data, s->error.n);
	answer[SLOT_FILE] = span_of(s->resolved.data, s->resolved.n);
	if (r < 0) {
		memset(answer, 0, sizeof(answer));
		result.verdict = TR_UNAVAILABLE;
		answer[SLOT_ERROR] = span_string(r == -ENOMEM ? "the slot is out of memory"
							      : "the slot cannot get at its files");
	}
	reply.verdict = result.verdict;
	reply.size = result.size;
	reply.ended_ns = now_ns();
	serve_reply(s, &reply, answer);
	buf_trim(&s->output, SLOT_BYTES_KEPT);
}

/* Nothing of a call runs now: that is what was asked for. */
static void serve_abort(struct slot *s, const struct slot_request *request)
{
	if (s->run.is_active) {
		s->run.cancelled = true;
		s->abort = *request;
		s->has_abort = true;
		return;
	}
	serve_error(s, request, TR_OK, "");
}

static void warm(struct slot *s)
{
	enum zygote_kind kind = s->plan->has_zygote ? ZYGOTE_SHELL : ZYGOTE_PLAIN;
	const char *step;

	/* What cannot be made ahead is tried again, and then told, by the call that needs it. */
	if (room_make(s, &s->call_room, &step) == 0)
		zygote_start(s, &s->call_room, kind, &step);
}

static void serve_one(struct slot *s, const struct slot_request *request,
		      const struct span parts[SLOT_N_REQUEST_PARTS])
{
	bool is_call =
		request->op != SLOT_CANCEL && request->op != SLOT_WARM && request->op != SLOT_ABORT;

	if (is_call && s->run.is_active) {
		serve_error(s, request, TR_UNAVAILABLE, "the slot is busy");
		return;
	}
	switch ((enum slot_op)request->op) {
	case SLOT_BASH:
	case SLOT_EXEC:
	case SLOT_ARTIFACT_LIST:
	case SLOT_ARTIFACT_ARCHIVE:
	case SLOT_ARTIFACT_UNPACK:
		run_start(s, request, parts);
		break;
	case SLOT_ARTIFACT_READ:
	case SLOT_ARTIFACT_WRITE:
		if (job_is_short(s, request, parts))
			job_serve(s, request, parts);
		else
			run_start(s, request, parts);
		break;
	case SLOT_SHELL:
		shell_run_start(s, request, parts);
		break;
	case SLOT_TERMINAL:
		terminal_run_start(s, request, parts);
		break;
	case SLOT_READ_FILE:
	case SLOT_WRITE_FILE:
		serve_file(s, request, parts);
		break;
	case SLOT_CANCEL:
		if (s->run.is_active && s->run.request.id == request->id &&
		    s->run.request.generation == request->generation)
			s->run.cancelled = true;
		break;
	case SLOT_WARM:
		if (!s->run.is_active)
			warm(s);
		break;
	case SLOT_ABORT:
		serve_abort(s, request);
		break;
	case SLOT_N_OPS:
		break;
	}
}

static void serve_next(struct slot *s, int flags)
{
	static _Alignas(8) uint8_t buffer[SLOT_MESSAGE_MAX];
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct slot_request request;
	struct slot_message message;
	int r = slot_request_receive(s->control, buffer, &request, parts, &message, flags);

	if (r == 1) {
		serve_one(s, &request, parts);
		slot_message_done(&message);
	} else if (r != -EAGAIN && r != -EINTR) {
		s->ends = true;
	}
}

void serve_while_running(struct slot *s)
{
	serve_next(s, MSG_DONTWAIT);
	if (s->ends)
		s->run.cancelled = true;
}

/*
 * Until the next request. A child that was made ahead costs memory: a slot that rests has none. What
 * the shell's background jobs write is read, or they would be stopped by it.
 */
static void rest(struct slot *s)
{
	struct pollfd fds[] = {
		{.fd = s->control, .events = POLLIN},
		{.fd = shell_drain_fd(s), .events = POLLIN},
	};
	bool is_ahead = s->call_room.ahead.pid || s->call_room.ahead.is_asked;
	int r;

	if (!is_ahead && fds[1].fd < 0)
		return;
	do {
		r = poll(fds, 2, is_ahead ? AHEAD_MS : -1);
		if (r > 0 && fds[1].revents)
			shell_drain(s);
	} while (r > 0 && !fds[0].revents);
	if (r != 0)
		return;
	run_settle_ahead(s);
	child_discard(&s->call_room.ahead);
}

void serve(struct slot *s)
{
	while (!s->ends) {
		if (s->run.is_active && s->run.request.op == SLOT_SHELL) {
			shell_run_step(s);
		} else if (s->run.is_active && s->run.request.op == SLOT_TERMINAL) {
			terminal_run_step(s);
		} else if (s->run.is_active) {
			run_step(s);
		} else {
			rest(s);
			serve_next(s, 0);
		}
		if (s->has_abort && !s->run.is_active) {
			s->has_abort = false;
			serve_error(s, &s->abort, TR_OK, "");
		}
	}
}
