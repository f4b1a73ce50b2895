/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run of a command, from the request to the moment when its answer can be written:
 *
 *   started --its child ends--------------> over: all else in the room is killed, proven gone
 *      \---deadline, CANCEL, ABORT--kill--/
 *
 * A kept one (exec with keep) leaves the rest of its room alone if it ends by itself, and takes the
 * whole room with it if not. A job in the shell room (ANYWHERE, job.c) always leaves the rest alone: it
 * is our own code, which starts nothing. What a command writes is read as it comes; past the cap it is
 * dropped, so that no writer ever waits for us.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/write.h"
#include "slot/slot.h"
#include "slot/zygote.h"

#define SHORT_TEXT_MAX 65536
#define COMMAND_MAX    (UINT64_C(80) << 20)

void run_init(struct slot *s)
{
	buf_init(&s->run.out.bytes, CAPTURE_MAX);
	buf_init(&s->run.err.bytes, CAPTURE_MAX);
	buf_init(&s->run.command, COMMAND_MAX);
	buf_init(&s->output, CAPTURE_MAX);
	buf_init(&s->error, SHORT_TEXT_MAX);
	buf_init(&s->resolved, SHORT_TEXT_MAX);
	s->run.output = -1;
	room_init(&s->call_room, false);
	room_init(&s->shell_room, true);
	shell_init(&s->shell);
}

void run_deinit(struct slot *s)
{
	buf_deinit(&s->run.out.bytes);
	buf_deinit(&s->run.err.bytes);
	buf_deinit(&s->run.command);
	buf_deinit(&s->output);
	buf_deinit(&s->error);
	buf_deinit(&s->resolved);
}

/* ---- starting ------------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static uint32_t count_strings(struct span strings)
{
	uint32_t n = 0;

	for (size_t i = 0; i < strings.n; i++)
		n += !strings.data[i];
	return n;
}

static int append_string(struct buf *b, struct span text)
{
	int r = buf_append(b, text.data, text.n);

	return r < 0 ? r : buf_append(b, "", 1);
}

/* What an exec'ing child is sent: argv, environment and directory, one after another. */
static int write_exec(struct slot *s, const struct span parts[SLOT_N_REQUEST_PARTS])
{
	struct buf *b = &s->run.command;
	struct zygote_command head = {.magic = ZYGOTE_MAGIC};
	int r;

	buf_clear(b);
	r = buf_append(b, &head, sizeof(head));
	if (r == 0 && parts[SLOT_ARGV].n) {
		head.n_args = count_strings(parts[SLOT_ARGV]);
		r = buf_append(b, parts[SLOT_ARGV].data, parts[SLOT_ARGV].n);
	} else if (r == 0) {
		head.n_args = 3 | ZYGOTE_SHELL_ARGS;
		r = append_string(b, span_string(base_name(s->plan->shell)));
		if (r == 0)
			r = append_string(b, span_string("-c"));
		if (r == 0)
			r = append_string(b, parts[SLOT_COMMAND]);
	}
	head.n_env = count_strings(parts[SLOT_ENV]);
	if (r == 0)
		r = buf_append(b, parts[SLOT_ENV].data, parts[SLOT_ENV].n);
	if (r == 0 && parts[SLOT_CWD].n) {
		head.n_cwd = (uint32_t)parts[SLOT_CWD].n + 1;
		r = append_string(b, parts[SLOT_CWD]);
	}
	if (r < 0)
		return r;
	head.n_bytes = b->n - sizeof(head);
	memcpy(b->data, &head, sizeof(head));
	return 0;
}

static int write_shell(struct slot *s, struct span command)
{
	struct buf *b = &s->run.command;
	struct zygote_command head = {.magic = ZYGOTE_MAGIC, .n_bytes = command.n};
	int r;

	buf_clear(b);
	r = buf_append(b, &head, sizeof(head));
	return r < 0 ? r : buf_append(b, command.data, command.n);
}

/* Sends what the child's socket takes. */
static void send_command(struct run *run)
{
	struct buf *b = &run->command;

	while (run->n_sent < b->n) {
		ssize_t n = send(run->child.command, b->data + run->n_sent, b->n - run->n_sent,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		/* A child that takes no more has ended, which is seen elsewhere. */
		run->n_sent = n < 0 ? b->n : run->n_sent + (size_t)n;
	}
	buf_trim(b, SLOT_BYTES_KEPT);
	b->n = 0;
	run->n_sent = 0;
	/* An exec'ing child says there why it could not. */
	if (run->had_zygote)
		fd_close(&run->child.command);
}

static int make_input(struct span bytes, int *ret_fd)
{
	_cleanup_(cleanup_close) int fd = memfd_create("stdin", MFD_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = write_all(fd, bytes);
	if (r < 0)
		return r;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	*ret_fd = fd_steal(&fd);
	return 0;
}

static bool is_by_shell(const struct slot *s, const struct slot_request *request)
{
	return request->op == SLOT_BASH && s->plan->has_zygote;
}

static int get_child(struct slot *s, struct room *room, bool by_shell, struct span input,
		     const char **ret_step)
{
	struct run *run = &s->run;
	enum zygote_kind kind = by_shell ? ZYGOTE_SHELL : ZYGOTE_PLAIN;
	int in = -1, r;

	if (by_shell && room->ahead.pid) {
		run->child = room->ahead;
		room->ahead = CHILD_NONE;
		run->had_zygote = 2;
		return 0;
	}
	/* It would be one more that this run leaves behind. */
	child_discard(&room->ahead);
	r = room_make(s, room, ret_step);
	if (r == 0)
		r = zygote_start(s, room, kind, ret_step);
	*ret_step = r == 0 ? "standard input" : *ret_step;
	if (r == 0 && input.n)
		r = make_input(input, &in);
	if (r < 0)
		return r;
	*ret_step = "a process";
	r = zygote_fork_begin(room, kind, in, &run->child);
	if (r == 0)
		r = zygote_fork_end(room, kind, &run->child);
	run->had_zygote = by_shell;
	return r;
}

void run_not_started(struct slot *s, const struct slot_request *request, const char *step,
		     int error)
{
	static char text[256];
	const char *why = strerrordesc_np(error);
	enum tr_verdict verdict = TR_UNAVAILABLE;
	bool oom, pids;

	/* The caps count our processes like any other: what guests took is missing here. */
	answer_look_at_events(s, &oom, &pids);
	if (error == EAGAIN) {
		verdict = TR_LIMIT;
		why = "the limit of processes is reached";
	} else if (error == ENOSPC) {
		verdict = TR_LIMIT;
	} else if (oom) {
		verdict = TR_OOM;
		why = "the slot is out of memory";
	}
	text[0] = '\0';
	strcat(text, "the slot cannot run it: ");
	strncat(text, step, 120);
	strcat(text, ": ");
	strncat(text, why ? why : "unknown error", 80);
	serve_error(s, request, verdict, text);
}

void run_settle_ahead(struct slot *s)
{
	if (s->call_room.ahead.is_asked)
		zygote_fork_end(&s->call_room, ZYGOTE_SHELL, &s->call_room.ahead);
}

void run_begin(struct slot *s, const struct slot_request *request, struct room *room, bool is_text)
{
	struct run *run = &s->run;

	run->is_active = true;
	run->request = *request;
	run->room = room;
	run->n_sent = 0;
	run->has_ended = run->timed_out = run->is_idle = run->cancelled = false;
	run->room_is_lost = run->room_died = run->is_parking = run->is_hung_up = false;
	run->shell_was_started = false;
	run->shell_lost = run->shell_end = SLOT_SHELL_LIVES;
	run->killed_ns = 0;
	run->usage = (struct rusage){0};
	capture_begin(&run->out, request->stdout_max, is_text);
	capture_begin(&run->err, request->stderr_max, is_text);
	if (room->account) {
		room->account->memory_peak_bytes = 0;
		run->account = *room->account;
	}
	run->started_ns = run->heard_ns = now_ns();
	run->deadline_ns = run->started_ns + request->timeout_ns;
}

/* What lives there beside this run stays. */
static bool leaves_room(const struct slot_request *request)
{
	return request->flags & (SLOT_KEEP | SLOT_ANYWHERE);
}

void run_start(struct slot *s, const struct slot_request *request,
	       const struct span parts[SLOT_N_REQUEST_PARTS])
{
	struct run *run = &s->run;
	struct room *room = leaves_room(request) ? &s->shell_room : &s->call_room;
	bool by_shell = is_by_shell(s, request);
	const char *step = "the command";
	int r;

	run_settle_ahead(s);
	init_reap(s, WNOHANG);
	if (job_is(request))
		r = job_prepare(run);
	else
		r = by_shell ? write_shell(s, parts[SLOT_COMMAND]) : write_exec(s, parts);
	if (r == 0)
		r = get_child(s, room, by_shell, parts[SLOT_STDIN], &step);
	/* What is kept may have used up what the slot has: it goes before a call cannot run, but for one
	 * that is to look at it. */
	if (r < 0 && r != -EAGAIN && s->shell_room.pid && !(request->flags & SLOT_ANYWHERE)) {
		room_drop(s, &s->shell_room);
		s->shell_was_lost = true;
		r = get_child(s, room, by_shell, parts[SLOT_STDIN], &step);
	}
	if (r < 0) {
		fd_close(&run->output);
		run_not_started(s, request, step, -r);
		return;
	}
	run_begin(s, request, room, request->op == SLOT_BASH);
	if (job_is(request))
		job_order(run, parts[SLOT_PATH]);
	else
		send_command(run);
}

/* ---- running -------------------------------------------------------------------------------------- */

void run_reaped(struct slot *s, pid_t pid, int status, const struct rusage *usage)
{
	if (!s->run.is_active || pid != s->run.child.pid)
		return;
	s->run.has_ended = true;
	s->run.child.pid = 0;
	s->run.status = status;
	s->run.usage = *usage;
}

/* Ends all but what is to be kept. */
static void clear_room(struct slot *s, uint32_t *ret_n_killed, uint32_t *ret_n_left)
{
	struct run *run = &s->run;
	int n;

	/* What ended it may have ended its room, which takes a moment longer. */
	if (run->has_ended && WIFSIGNALED(run->status) && WTERMSIG(run->status) == SIGKILL &&
	    !room_is_alive(run->room)) {
		run->room_died = true;
		s->shell_was_lost |= run->room->is_shell;
		room_drop(s, run->room);
	}
	if (!leaves_room(&run->request)) {
		*ret_n_left = room_clear(s, run->room, ret_n_killed);
		return;
	}
	if (run->has_ended)
		return;
	if (job_is(&run->request)) {
		*ret_n_killed = 1;
		*ret_n_left = job_kill(s);
		return;
	}
	n = run->room->pid ? room_count(run->room) : 0;
	*ret_n_killed = n > 0 ? (uint32_t)n : 0;
	room_drop(s, run->room);
	run->room_is_lost = true;
}

/* Before it is needed, so that the next call need not wait for it. */
static void fork_ahead(struct room *room)
{
	if (room->pid && room->zygotes[ZYGOTE_SHELL].pid && !room->ahead.pid)
		zygote_fork_begin(room, ZYGOTE_SHELL, -1, &room->ahead);
}

static void finish(struct slot *s)
{
	struct run *run = &s->run;
	uint32_t n_killed = 0, n_left = 0;

	clear_room(s, &n_killed, &n_left);
	capture_rest(s, &run->out, &run->child.out);
	capture_rest(s, &run->err, &run->child.err);
	answer_run(s, n_killed, n_left);
	child_close(&run->child);
	buf_trim(&run->out.bytes, SLOT_BYTES_KEPT);
	buf_trim(&run->err.bytes, SLOT_BYTES_KEPT);
	fd_close(&run->output);
	run->is_active = false;
	if (leaves_room(&run->request) || n_left || !run->room->pid)
		return;
	room_tidy(s, run->room);
	if (run->had_zygote)
		fork_ahead(run->room);
}

static uint64_t idle_deadline(const struct run *run)
{
	return run->request.idle_ns ? run->heard_ns + run->request.idle_ns : UINT64_MAX;
}

struct timespec run_time_left(const struct run *run)
{
	uint64_t idle = idle_deadline(run);
	uint64_t until = idle < run->deadline_ns ? idle : run->deadline_ns;
	uint64_t now = now_ns();

	return ns_to_timespec(until > now ? until - now : 0);
}

void run_check_time(struct run *run)
{
	uint64_t now = now_ns();

	if (run->has_ended || run->cancelled)
		return;
	run->is_idle = now < run->deadline_ns && now >= idle_deadline(run);
	run->timed_out = run->is_idle || now >= run->deadline_ns;
}

#define N_FDS 5

void run_step(struct slot *s)
{
	struct run *run = &s->run;
	struct timespec timeout = run_time_left(run);
	struct pollfd fds[N_FDS] = {
		{.fd = s->control, .events = POLLIN},
		{.fd = run->child.out, .events = POLLIN},
		{.fd = run->child.err, .events = POLLIN},
		{.fd = run->n_sent < run->command.n ? run->child.command : -1, .events = POLLOUT},
		{.fd = shell_drain_fd(s), .events = POLLIN},
	};
	sigset_t none;

	sigemptyset(&none);
	if (ppoll(fds, N_FDS, &timeout, &none) < 0)
		for (size_t i = 0; i < N_FDS; i++)
			fds[i].revents = 0;
	init_reap(s, WNOHANG);
	if (fds[1].revents || fds[2].revents)
		run->heard_ns = now_ns();
	if (fds[4].revents && shell_drain_fd(s) >= 0)
		shell_drain(s);
	if (fds[1].revents)
		capture_read(s, &run->out, &run->child.out, CAPTURE_TURN_BYTES);
	if (fds[2].revents)
		capture_read(s, &run->err, &run->child.err, CAPTURE_TURN_BYTES);
	if (fds[3].revents)
		send_command(run);
	if (fds[0].revents)
		serve_while_running(s);
	run_check_time(run);
	if (run->has_ended || run->timed_out || run->cancelled)
		finish(s);
}
