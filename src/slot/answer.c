/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of a run that is over. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "slot/slot.h"
#include "tool/slot/text.h"

#define EVENTS_BYTES_MAX 512

/* ---- what the cgroup tells ------------------------------------------------------------------------ */

/* The number behind "KEY " at the start of a line; 0 if there is none. */
static uint64_t read_counter(int fd, const char *key)
{
	char text[EVENTS_BYTES_MAX];
	size_t n_key = strlen(key);
	uint64_t number = 0;
	ssize_t n = fd >= 0 ? pread(fd, text, sizeof(text) - 1, 0) : -1;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, n_key) != 0 || line[n_key] != ' ')
			continue;
		for (const char *c = line + n_key + 1; *c >= '0' && *c <= '9'; c++)
			number = number * 10 + (uint64_t)(*c - '0');
		break;
	}
	return number;
}

void answer_look_at_events(struct slot *s, bool *ret_oom, bool *ret_pids)
{
	uint64_t oom = read_counter(s->event_fds[CGROUP_OOM], "oom_kill");
	uint64_t pids = read_counter(s->event_fds[CGROUP_PIDS], "max");

	*ret_oom = oom > s->events[CGROUP_OOM];
	*ret_pids = pids > s->events[CGROUP_PIDS];
	s->events[CGROUP_OOM] = oom;
	s->events[CGROUP_PIDS] = pids;
}

/* ---- how it ended --------------------------------------------------------------------------------- */

static void set_costs(const struct run *run, struct slot_reply *reply)
{
	const struct room_account *now = run->room->account;
	uint64_t peak = (uint64_t)run->usage.ru_maxrss * 1024;

	reply->cpu_user_ns = timeval_ns(run->usage.ru_utime);
	reply->cpu_system_ns = timeval_ns(run->usage.ru_stime);
	reply->memory_peak_bytes = peak;
	if (!now)
		return;
	reply->cpu_user_ns += now->user_ns - run->account.user_ns;
	reply->cpu_system_ns += now->system_ns - run->account.system_ns;
	if (now->memory_peak_bytes > peak)
		reply->memory_peak_bytes = now->memory_peak_bytes;
}

static void set_end(struct slot *s, struct slot_reply *reply, struct span *ret_error)
{
	const struct run *run = &s->run;
	bool oom = false, pids = false;

	reply->exit_code = -1;
	if (run->cancelled) {
		reply->verdict = TR_CANCELLED;
		return;
	}
	if (run->timed_out) {
		reply->verdict = TR_TIMEOUT;
		reply->flags |= SLOT_TIMED_OUT | (run->is_idle ? SLOT_IDLE : 0);
		return;
	}
	if (run->shell_end == SLOT_SHELL_LIED) {
		reply->verdict = TR_FAILED;
		*ret_error = span_string("the shell was ended: what came as the command's end was "
					 "not its own report");
		return;
	}
	reply->exit_code =
		WIFEXITED(run->status) ? WEXITSTATUS(run->status) : 128 + WTERMSIG(run->status);
	reply->signal = WIFSIGNALED(run->status) ? WTERMSIG(run->status) : 0;
	if (reply->exit_code == 0) {
		reply->verdict = TR_OK;
		return;
	}
	answer_look_at_events(s, &oom, &pids);
	reply->verdict = oom ? TR_OOM : pids ? TR_LIMIT : TR_FAILED;
	if (run->room_died && !oom) {
		/* Not by the command: it cannot reach its room's init. */
		reply->verdict = TR_UNKNOWN;
		*ret_error = span_string("the room died under the command");
	}
}

/* An exec'ing child that could not has said why. */
static void set_not_started(const struct run *run, struct slot_reply *reply, struct span *ret_error)
{
	static char text[160];
	int32_t error = 0;

	if (run->had_zygote || run->child.command < 0 || reply->exit_code < 0 ||
	    recv(run->child.command, &error, sizeof(error), MSG_DONTWAIT) != sizeof(error) ||
	    error == 0 || error < -4095 || error > 4095)
		return;
	reply->flags |= SLOT_NOT_STARTED;
	text[0] = '\0';
	strcat(text,
	       error < 0 ? "cannot enter the working directory: " : "cannot run the program: ");
	strncat(text, strerrordesc_np(error < 0 ? -error : error), 100);
	*ret_error = span_string(text);
}

static int set_text(struct slot *s, struct slot_reply *reply, struct span *ret_output)
{
	struct run *run = &s->run;
	struct text_stream out = {
		.bytes = span_of(run->out.bytes.data, run->out.bytes.n),
		.more = run->out.n_total > run->out.bytes.n,
	};
	struct text_stream err = {
		.bytes = span_of(run->err.bytes.data, run->err.bytes.n),
		.more = run->err.n_total > run->err.bytes.n,
	};
	int r;

	buf_clear(&s->output);
	r = text_show(&s->output, &out, &err, run->request.stdout_max);
	if (r < 0)
		return r;
	reply->flags |=
		(out.is_cut ? SLOT_TRUNCATED : 0) | (err.is_cut ? SLOT_STDERR_TRUNCATED : 0);
	*ret_output = span_of(s->output.data, s->output.n);
	return 0;
}

static void answer_command(struct slot *s, struct slot_reply *reply,
			   struct span parts[SLOT_N_REPLY_PARTS])
{
	struct run *run = &s->run;

	if (reply->op == SLOT_BASH || reply->op == SLOT_SHELL) {
		if (set_text(s, reply, &parts[SLOT_OUTPUT]) < 0) {
			reply->verdict = TR_UNAVAILABLE;
			parts[SLOT_ERROR] = span_string("the slot is out of memory");
		}
	} else {
		parts[SLOT_OUTPUT] = span_of(run->out.bytes.data, run->out.bytes.n);
		parts[SLOT_STDERR] = span_of(run->err.bytes.data, run->err.bytes.n);
		set_not_started(run, reply, &parts[SLOT_ERROR]);
	}
	serve_reply(s, reply, parts);
	buf_trim(&s->output, SLOT_BYTES_KEPT);
}

void answer_run(struct slot *s, uint32_t n_killed, uint32_t n_left)
{
	struct run *run = &s->run;
	struct span parts[SLOT_N_REPLY_PARTS] = {0};
	struct slot_reply reply = {
		.id = run->request.id,
		.generation = run->request.generation,
		.op = run->request.op,
		.n_killed = n_killed,
		.n_left = n_left,
		.had_zygote = run->had_zygote,
		.started_ns = run->started_ns,
		.ended_ns = now_ns(),
		.stdout_bytes = run->out.n_total,
		.stderr_bytes = run->err.n_total,
		.flags = n_left ? SLOT_STUCK : 0,
	};
	bool oom, pids;

	if (run->room_is_lost ||
	    (run->request.flags & (SLOT_KEEP | SLOT_ANYWHERE) && s->shell_was_lost)) {
		reply.flags |= SLOT_ROOM_LOST;
		s->shell_was_lost = false;
	}

	set_end(s, &reply, &parts[SLOT_ERROR]);
	set_costs(run, &reply);
	if (run->request.op == SLOT_SHELL) {
		reply.flags |= run->shell_was_started ? SLOT_SHELL_STARTED : 0;
		reply.shell_lost = run->shell_lost;
		reply.shell_end = run->shell_end;
	}
	if (job_is(&run->request))
		job_answer(s, &reply, parts[SLOT_ERROR]);
	else
		answer_command(s, &reply, parts);
	/* What happened in a run that is not blamed for it is not laid at the next one's door. */
	if (reply.verdict != TR_FAILED && reply.verdict != TR_OOM && reply.verdict != TR_LIMIT)
		answer_look_at_events(s, &oom, &pids);
}
