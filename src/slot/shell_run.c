/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run of a command in the stateful shell:
 *
 *   parking --it is at its prompt--> running --DONE------------------------> over: the shell lives
 *      |                                |  \--it exits, is killed, execs---> over: it is started anew
 *      \---deadline, CANCEL, ABORT------/                                         by the next call
 *                   |
 *             interrupted --DONE, its end, a moment-----------------------> over: its room is ended
 *
 * (parking is left out while the terminal is not in use.) The exit code is what the shell itself has
 * reported, or what the kernel says of its end. A report that is not the one asked for ends its room.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "slot/slot.h"

#define COMMAND_PART_MAX (SHELL_ORDER_BYTES - sizeof(struct shell_order))
/* From the interrupt to the kill: so long may what runs say that it was interrupted. */
#define GRACE_NS (25 * NS_PER_MS)
/* So often is looked whether a command has read, or flushed, the end of its input. */
#define INPUT_NS (50 * NS_PER_MS)
/* What a pseudo-terminal can hold, and more. */
#define REST_BYTES_MAX (1 << 20)

/* ---- starting ------------------------------------------------------------------------------------- */

/* Sends what the shell's socket takes. */
static int send_text(struct slot *s)
{
	struct run *run = &s->run;
	int r = 0;

	while (r == 0 && run->n_sent < run->command.n) {
		const struct shell_order more = {.magic = SHELL_MAGIC, .kind = SHELL_TEXT};
		struct span part =
			span_of(run->command.data + run->n_sent, run->command.n - run->n_sent);

		if (part.n > COMMAND_PART_MAX)
			part.n = COMMAND_PART_MAX;
		r = shell_send(s, &more, part);
		if (r == 0)
			run->n_sent += part.n;
	}
	return r == -EAGAIN || r == -EINTR ? 0 : r;
}

static int send_command(struct slot *s)
{
	struct run *run = &s->run;
	struct span first = span_of(run->command.data, run->command.n);
	struct shell_order order;
	int r = shell_order_make(s, SHELL_COMMAND, run->command.n, &order);

	if (first.n > COMMAND_PART_MAX)
		first.n = COMMAND_PART_MAX;
	if (shell_set_modes(s, true))
		shell_end_input(s);
	/* What background jobs wrote before is not this command's. */
	shell_drain(s);
	if (r == 0)
		r = shell_send(s, &order, first);
	if (r < 0)
		return r;
	run->n_sent = first.n;
	run->heard_ns = now_ns();
	return send_text(s);
}

static int start(struct slot *s, const struct slot_request *request, const char **ret_step)
{
	struct run *run = &s->run;
	bool was_started = false;
	enum slot_shell_end lost = SLOT_SHELL_LIVES;
	int r = shell_start(s, false, &was_started, &lost, ret_step);

	if (r < 0)
		return r;
	run_begin(s, request, &s->shell_room, true);
	run->shell_was_started = was_started;
	run->shell_lost = lost;
	run->is_parking = s->shell.is_attached;
	run->had_zygote = 0;
	*ret_step = "the shell";
	r = run->is_parking ? shell_order(s, SHELL_PARK) : send_command(s);
	/* Killed just now: its end is told as any other. */
	if (r != -EPIPE && r != -ECONNRESET)
		return r;
	run->is_hung_up = true;
	return 0;
}

void shell_run_start(struct slot *s, const struct slot_request *request,
		     const struct span parts[SLOT_N_REQUEST_PARTS])
{
	struct run *run = &s->run;
	const char *step = "the command";
	int r;

	run_settle_ahead(s);
	run->child = CHILD_NONE;
	buf_clear(&run->command);
	r = buf_append(&run->command, parts[SLOT_COMMAND].data, parts[SLOT_COMMAND].n);
	if (r == 0)
		r = start(s, request, &step);
	if (r == 0)
		return;
	run->is_active = false;
	run_not_started(s, request, step, -r);
}

/* ---- the end -------------------------------------------------------------------------------------- */

static void set_costs(struct slot *s, const struct shell_report *report)
{
	struct rusage *usage = &s->run.usage;
	uint64_t user = report->user_ns - s->shell.user_ns;
	uint64_t system = report->system_ns - s->shell.system_ns;

	usage->ru_utime = ns_to_timeval(user);
	usage->ru_stime = ns_to_timeval(system);
	usage->ru_maxrss = report->memory_peak_kib;
	s->shell.user_ns = report->user_ns;
	s->shell.system_ns = report->system_ns;
}

static void read_rest(struct slot *s)
{
	if (s->shell.master >= 0 && !s->shell.is_attached && !s->run.is_parking)
		capture_read(s, &s->run.out, &s->shell.master, REST_BYTES_MAX);
}

/* What the shell does not survive. */
static void end_room(struct slot *s, enum slot_shell_end how, uint32_t *ret_n_killed)
{
	int n = s->shell_room.pid ? room_count(&s->shell_room) : 0;

	*ret_n_killed = n > 0 ? (uint32_t)n : 0;
	room_drop(s, &s->shell_room);
	s->run.shell_end = how;
	s->shell.lost = how;
}

static void finish(struct slot *s)
{
	struct run *run = &s->run;
	uint32_t n_killed = 0;
	bool lives = !run->timed_out && !run->cancelled && run->shell_end == SLOT_SHELL_LIVES;

	read_rest(s);
	if (run->timed_out)
		end_room(s, SLOT_SHELL_TIMEOUT, &n_killed);
	else if (run->cancelled)
		end_room(s, SLOT_SHELL_CANCELLED, &n_killed);
	else if (run->shell_end == SLOT_SHELL_LIED)
		end_room(s, SLOT_SHELL_LIED, &n_killed);
	else if (!lives)
		shell_forget(s, run->shell_end);
	answer_run(s, n_killed, 0);
	run->is_active = false;
	if (lives) {
		screen_feed(s, span_of(run->out.bytes.data, run->out.bytes.n));
		shell_end_input(s);
	}
	buf_trim(&run->out.bytes, SLOT_BYTES_KEPT);
	buf_trim(&run->command, SLOT_BYTES_KEPT);
}

/* ---- running -------------------------------------------------------------------------------------- */

static void hear(struct slot *s)
{
	struct run *run = &s->run;
	struct shell_report report;
	int r = shell_hear(s, &report);

	if (r == -EBADMSG) {
		run->shell_end = SLOT_SHELL_LIED;
		run->has_ended = true;
	} else if (r == -EPIPE) {
		/* It ends, or was replaced, and what replaced it will end. */
		run->is_hung_up = true;
	} else if (r == 1 && run->is_parking) {
		shell_detached(s);
		run->is_parking = false;
		run->is_hung_up = send_command(s) < 0;
	} else if (r == 1) {
		set_costs(s, &report);
		run->status = W_EXITCODE(report.status, 0);
		run->has_ended = true;
	}
}

/* What was typed before has ended the shell: the command is for another. */
static void start_anew(struct slot *s)
{
	struct run *run = &s->run;
	const char *step;
	int r;

	if (s->shell.socket >= 0 && !s->shell.is_reaped)
		shell_end(s, SLOT_SHELL_REPLACED);
	r = shell_start(s, false, &run->shell_was_started, &run->shell_lost, &step);
	run->is_parking = run->is_hung_up = false;
	if (r == 0) {
		if (run->room->account)
			run->account = *run->room->account;
		r = send_command(s);
	}
	if (r == 0)
		return;
	run->is_active = false;
	run_not_started(s, &run->request, step, -r);
}

/* The room has died, or the shell was reaped. */
static void look_for_end(struct slot *s)
{
	struct run *run = &s->run;
	bool is_gone = s->shell.socket < 0 || s->shell.is_reaped;

	if (run->has_ended)
		return;
	if (run->is_parking && (is_gone || (run->is_hung_up && !s->shell.exits))) {
		start_anew(s);
	} else if (s->shell.socket < 0) {
		run->room_died = true;
		run->status = W_EXITCODE(0, SIGKILL);
		run->shell_end = SLOT_SHELL_ROOM_LOST;
		run->has_ended = true;
	} else if (is_gone) {
		run->status = s->shell.status;
		run->shell_end = shell_how_ended(s);
		run->has_ended = true;
	}
}

/*
 * The shell is stopped first, or it would say at a prompt that it was interrupted. If it runs the
 * command itself there is nobody else to interrupt.
 */
static void interrupt(struct slot *s)
{
	struct run *run = &s->run;
	pid_t group;

	run->killed_ns = now_ns();
	if (run->is_parking || s->shell.socket < 0 || s->shell.is_reaped)
		return;
	kill(s->shell.pid, SIGSTOP);
	if (ioctl(s->shell.master, TIOCGPGRP, &group) == 0 && group > 1 && group != s->shell.pid) {
		kill(-group, SIGINT);
		run->killed_ns += GRACE_NS;
	}
}

#define N_FDS 3

static void wait_for_news(struct slot *s, struct pollfd fds[N_FDS])
{
	struct run *run = &s->run;
	bool has_text = !run->is_parking && run->n_sent < run->command.n;
	uint64_t now = now_ns();
	struct timespec timeout = run_time_left(run);
	sigset_t none;
	int r;

	if (run->killed_ns)
		timeout = ns_to_timespec(run->killed_ns > now ? run->killed_ns - now : 0);
	else if (!run->is_parking && (timeout.tv_sec || (uint64_t)timeout.tv_nsec > INPUT_NS))
		timeout = ns_to_timespec(INPUT_NS);
	/* Once it is to end, what else is asked for waits. */
	fds[0] = (struct pollfd){.fd = run->killed_ns ? -1 : s->control, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = run->is_hung_up ? -1 : s->shell.socket,
				 .events = (short)(POLLIN | (has_text ? POLLOUT : 0))};
	fds[2] = (struct pollfd){.fd = shell_drain_fd(s), .events = POLLIN};
	sigemptyset(&none);
	r = ppoll(fds, N_FDS, &timeout, &none);
	if (r == 0 && !run->is_parking && !run->killed_ns)
		shell_renew_input(s);
	for (size_t i = 0; r < 0 && i < N_FDS; i++)
		fds[i].revents = 0;
}

void shell_run_step(struct slot *s)
{
	struct run *run = &s->run;
	struct pollfd fds[N_FDS];

	wait_for_news(s, fds);
	init_reap(s, WNOHANG);
	if (fds[2].revents && shell_drain_fd(s) >= 0) {
		run->heard_ns = now_ns();
		capture_read(s, &run->out, &s->shell.master, CAPTURE_TURN_BYTES);
	}
	if (fds[1].revents & (POLLIN | POLLHUP | POLLERR) && s->shell.socket >= 0)
		hear(s);
	if (fds[1].revents & POLLOUT && !run->is_hung_up && send_text(s) < 0)
		run->is_hung_up = true;
	if (fds[0].revents)
		serve_while_running(s);
	look_for_end(s);
	if (!run->is_active)
		return;
	if (!run->killed_ns)
		run_check_time(run);
	if (!run->has_ended && !run->killed_ns && (run->timed_out || run->cancelled))
		interrupt(s);
	if (run->has_ended || (run->killed_ns && now_ns() >= run->killed_ns))
		finish(s);
}
