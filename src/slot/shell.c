/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stateful shell from the init's side: its start, orders and reports (shell.h), and its end. What
 * runs in it is shell_run.c's.
 *
 * While it is PARKED what it reads from its terminal is at its end: a few end-of-file characters wait
 * there, so that a command that reads need not be waited for. They are made new after each command,
 * when its answer is under way, and while one runs that has read or flushed them all.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "slot/pty.h"
#include "slot/slot.h"
#include "slot/zygote.h"
#include "tool/slot/terminal.h"

#define START_NS_MAX  (5 * NS_PER_S)
#define ATTACH_NS_MAX (100 * NS_PER_MS)
#define N_ENDS        8 /* of file, waiting to be read */
#define END_OF_FILE   4
#define DRAIN_BYTES   65536

void shell_init(struct shell *sh)
{
	*sh = (struct shell){.socket = -1, .master = -1, .slave = -1};
}

/* ---- its terminal --------------------------------------------------------------------------------- */

void shell_drain(struct slot *s)
{
	static uint8_t bytes[DRAIN_BYTES];
	size_t n_turn = 0;
	ssize_t n = 1;

	while (n > 0 && n_turn < CAPTURE_TURN_BYTES) {
		n = read(s->shell.master, bytes, sizeof(bytes));
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0) {
			n_turn += (size_t)n;
			if (!s->shell.is_silent)
				screen_feed(s, span_of(bytes, (size_t)n));
		}
	}
}

int shell_drain_fd(const struct slot *s)
{
	return s->shell.is_attached ? -1 : s->shell.master;
}

bool shell_set_modes(struct slot *s, bool for_command)
{
	const struct shell *sh = &s->shell;
	struct termios modes = sh->modes, now;

	/* Output as it is written, without a CR before each newline; and nobody types. */
	if (for_command) {
		modes.c_oflag &= ~(tcflag_t)OPOST;
		modes.c_lflag &= ~(tcflag_t)ECHO;
	}
	if (tcgetattr(sh->slave, &now) == 0 && memcmp(&now, &modes, sizeof(now)) == 0)
		return false;
	tcsetattr(sh->slave, TCSANOW, &modes);
	return true;
}

static void write_ends(struct slot *s, size_t n)
{
	static const char ends[N_ENDS] = {[0 ... N_ENDS - 1] = END_OF_FILE};

	if (write(s->shell.master, ends, n) < 0)
		return; /* a command that reads will wait, and time out */
}

void shell_end_input(struct slot *s)
{
	shell_set_modes(s, true);
	tcflush(s->shell.slave, TCIFLUSH);
	write_ends(s, N_ENDS);
}

void shell_renew_input(struct slot *s)
{
	struct pollfd input = {.fd = s->shell.slave, .events = POLLIN};

	if (poll(&input, 1, 0) == 0)
		write_ends(s, 1);
}

/* ---- orders and reports --------------------------------------------------------------------------- */

int shell_send(struct slot *s, const struct shell_order *order, struct span text)
{
	struct iovec io[] = {
		{.iov_base = (void *)order, .iov_len = sizeof(*order)},
		{.iov_base = (void *)text.data, .iov_len = text.n},
	};
	struct msghdr m = {.msg_iov = io, .msg_iovlen = 2};

	if (sendmsg(s->shell.socket, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return -errno;
	return 0;
}

int shell_order_make(struct slot *s, enum shell_kind kind, uint64_t n_bytes,
		     struct shell_order *ret_order)
{
	struct shell *sh = &s->shell;

	if (getrandom(sh->nonces[kind], SHELL_NONCE_BYTES, 0) != SHELL_NONCE_BYTES)
		return -EAGAIN;
	sh->asked = kind;
	sh->open |= UINT32_C(1) << kind;
	*ret_order = (struct shell_order){.magic = SHELL_MAGIC, .kind = kind, .n_bytes = n_bytes};
	memcpy(ret_order->nonce, sh->nonces[kind], SHELL_NONCE_BYTES);
	return 0;
}

int shell_order(struct slot *s, enum shell_kind kind)
{
	struct shell_order order;
	int r = shell_order_make(s, kind, 0, &order);

	return r < 0 ? r : shell_send(s, &order, span_of(NULL, 0));
}

union credentials {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))];
};

/* From the shell itself, and nobody who has inherited its socket. */
static bool is_from_shell(const struct slot *s, struct msghdr *m)
{
	bool is_own = false;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		struct ucred who;

		if (h->cmsg_level != SOL_SOCKET)
			continue;
		if (h->cmsg_type == SCM_RIGHTS) {
			size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

			for (size_t i = 0; i < n; i++) {
				int fd;

				memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
				close(fd);
			}
		} else if (h->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&who, CMSG_DATA(h), sizeof(who));
			is_own = who.pid == s->shell.pid;
		}
	}
	return is_own && !(m->msg_flags & (MSG_TRUNC | MSG_CTRUNC));
}

/* It answers an order that is open. */
static bool is_answer(const struct shell *sh, const struct shell_report *report)
{
	uint32_t kind = report->kind == SHELL_DONE ? SHELL_COMMAND : report->kind;

	return kind < SHELL_N_ORDERS && sh->open >> kind & 1 && report->status >= 0 &&
	       report->status <= 255 && (kind != SHELL_COMMAND || report->kind == SHELL_DONE) &&
	       memcmp(report->nonce, sh->nonces[kind], SHELL_NONCE_BYTES) == 0;
}

int shell_hear(struct slot *s, struct shell_report *ret)
{
	struct shell *sh = &s->shell;
	struct shell_report report;
	struct iovec io = {.iov_base = &report, .iov_len = sizeof(report)};
	union credentials c;
	struct msghdr m = {
		.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = &c,
		.msg_controllen = sizeof(c),
	};
	ssize_t n = recvmsg(sh->socket, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	uint32_t kind;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
	if (n == 0 && m.msg_controllen == 0)
		return -EPIPE;
	if (!is_from_shell(s, &m) || n != sizeof(report) || report.magic != SHELL_MAGIC)
		return -EBADMSG;
	if (report.kind == SHELL_EXITS) {
		sh->exits = true;
		return 0;
	}
	if (!is_answer(sh, &report))
		return -EBADMSG;
	kind = report.kind == SHELL_DONE ? SHELL_COMMAND : report.kind;
	sh->open &= ~(UINT32_C(1) << kind);
	/* Something else was ordered meanwhile, and nobody waits for this. */
	if (kind != sh->asked)
		return 0;
	sh->asked = 0;
	*ret = report;
	return 1;
}

/* Waits for the open order's report, where nothing of the guest's can make that long. */
static int await(struct slot *s, uint64_t ns_max)
{
	uint64_t until = now_ns() + ns_max;
	struct shell_report report;
	int r;

	while ((r = shell_hear(s, &report)) == 0) {
		struct pollfd fds[] = {
			{.fd = s->shell.socket, .events = POLLIN},
			{.fd = shell_drain_fd(s), .events = POLLIN},
		};
		uint64_t now = now_ns();
		struct timespec timeout = ns_to_timespec(until > now ? until - now : 0);
		sigset_t none;

		if (now >= until)
			return -ETIMEDOUT;
		sigemptyset(&none);
		if (ppoll(fds, 2, &timeout, &none) > 0 && fds[1].revents)
			shell_drain(s);
		init_reap(s, WNOHANG);
		if (s->shell.is_reaped)
			return -EPIPE;
	}
	return r < 0 ? r : 0;
}

/* ---- start and end -------------------------------------------------------------------------------- */

static int open_object(const struct slot *s)
{
	int fd = open(s->plan->zygote_path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int take_pty(struct slot *s, int command)
{
	struct pollfd poll_fd = {.fd = command, .events = POLLIN};
	struct shell *sh = &s->shell;
	int32_t error = 0;
	int fds[FDPASS_MAX];
	struct stat st;
	ssize_t n;

	while (poll(&poll_fd, 1, (int)(START_NS_MAX / NS_PER_MS)) < 0 && errno == EINTR)
		;
	n = fdpass_receive(command, &error, sizeof(error), fds, MSG_DONTWAIT);
	if (n != 1)
		return n == sizeof(error) && error < 0 && error >= -4095 ? error : -EPIPE;
	sh->master = fds[PTY_MASTER];
	sh->slave = fds[PTY_SLAVE];
	if (sh->slave < 0 || fstat(sh->slave, &st) < 0 || !S_ISCHR(st.st_mode) ||
	    !isatty(sh->slave) || !isatty(sh->master))
		return -EPROTO;
	return 0;
}

/* The socket's other end goes in as the child's standard input. */
static int fork_shell(struct slot *s, int theirs, struct child *ret_child)
{
	struct room *room = &s->shell_room;
	int r = zygote_fork_begin(room, ZYGOTE_PLAIN, theirs, ret_child);

	return r < 0 ? r : zygote_fork_end(room, ZYGOTE_PLAIN, ret_child);
}

/* What bash is to load goes along with the second message. */
static int send_start(struct slot *s, int command, int object)
{
	const struct zygote_command head = {
		.magic = ZYGOTE_MAGIC,
		.n_args = ZYGOTE_PTY,
		.n_bytes = sizeof(struct winsize),
	};
	const struct winsize size = {.ws_row = s->shell.n_rows, .ws_col = s->shell.n_columns};

	if (send(command, &head, sizeof(head), MSG_NOSIGNAL) != sizeof(head) ||
	    fdpass_send(command, &size, sizeof(size), &object, 1, 0) != sizeof(size))
		return -EPIPE;
	return 0;
}

static int start_child(struct slot *s, int theirs, const char **ret_step)
{
	_cleanup_(cleanup_close) int object = open_object(s);
	struct child child = CHILD_NONE;
	int r;

	*ret_step = "the object that the shell loads";
	if (object < 0) {
		close(theirs);
		return object;
	}
	*ret_step = "the shell's process";
	r = fork_shell(s, theirs, &child);
	if (r < 0)
		return r;
	s->shell.pid = child.pid;
	*ret_step = "the shell's pseudo-terminal";
	r = send_start(s, child.command, object);
	if (r == 0)
		r = take_pty(s, child.command);
	child_close(&child);
	return r;
}

static int make_socket(struct shell *sh, int *ret_theirs)
{
	int pair[2], on = 1, bytes = 2 * SHELL_ORDER_BYTES;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	sh->socket = pair[0];
	*ret_theirs = pair[1];
	if (setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
	    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) < 0) {
		close(pair[1]);
		return -errno;
	}
	return 0;
}

static int start(struct slot *s, const char **ret_step)
{
	struct shell *sh = &s->shell;
	int theirs = -1, r;

	*ret_step = "the shell: it needs a bash, and /proc in its room";
	if (!s->plan->has_zygote || !plan_has(s->plan, PLAN_PROC))
		return -EOPNOTSUPP;
	r = room_make(s, &s->shell_room, ret_step);
	if (r == 0)
		r = zygote_start(s, &s->shell_room, ZYGOTE_PLAIN, ret_step);
	if (r < 0)
		return r;
	*ret_step = "the shell's socket";
	r = make_socket(sh, &theirs);
	if (r == 0)
		r = start_child(s, theirs, ret_step);
	if (r < 0)
		return r;
	*ret_step = "a shell that gets ready";
	r = shell_order(s, SHELL_PARK);
	if (r == 0)
		r = await(s, START_NS_MAX);
	if (r == -EPIPE && shell_how_ended(s) == SLOT_SHELL_EXITED) {
		*ret_step = "the shell: it needs a bash that edits lines";
		return -EOPNOTSUPP;
	}
	if (r < 0)
		return r;
	if (tcgetattr(sh->slave, &sh->modes) < 0)
		return -errno;
	sh->modes.c_oflag |= OPOST | ONLCR;
	sh->modes.c_cc[VEOF] = END_OF_FILE;
	shell_end_input(s);
	return 0;
}

/* Is it still what it was when its last command ended? */
static bool is_well(struct slot *s, bool for_terminal)
{
	struct shell_report report;
	int r;

	init_reap(s, WNOHANG);
	if (s->shell.socket < 0)
		return false;
	if (s->shell.is_reaped) {
		shell_forget(s, shell_how_ended(s));
		return false;
	}
	r = shell_hear(s, &report);
	/* It says that it exits, and is gone in a moment. */
	if (r == 0 && s->shell.exits) {
		shell_end(s, SLOT_SHELL_EXITED);
		return false;
	}
	/* What it was replaced by is the terminal's. */
	if (r == -EPIPE && for_terminal && s->shell.is_attached && !s->shell.exits)
		return true;
	if (r == -EPIPE)
		shell_end(s, s->shell.exits ? SLOT_SHELL_EXITED : SLOT_SHELL_REPLACED);
	else if (r < 0) {
		room_drop(s, &s->shell_room);
		s->shell.lost = SLOT_SHELL_LIED;
	}
	return r >= 0;
}

int shell_start(struct slot *s, bool for_terminal, bool *ret_started, enum slot_shell_end *ret_lost,
		const char **ret_step)
{
	struct shell *sh = &s->shell;
	enum slot_shell_end lost;
	bool had_room;
	int r;

	*ret_started = false;
	*ret_lost = SLOT_SHELL_LIVES;
	if (is_well(s, for_terminal))
		return 0;
	lost = sh->lost;
	had_room = s->shell_room.pid;
	if (!sh->n_columns) {
		sh->n_columns = TERMINAL_COLUMNS;
		sh->n_rows = TERMINAL_ROWS;
	}
	r = start(s, ret_step);
	/* Who lives there still may have used up what it needs, or attack it: the room goes first. */
	if (r < 0 && r != -EAGAIN && r != -EOPNOTSUPP && had_room) {
		uint16_t n_columns = sh->n_columns, n_rows = sh->n_rows;

		lost = SLOT_SHELL_ROOM_LOST;
		shell_end(s, lost);
		room_drop(s, &s->shell_room);
		s->shell_was_lost = true;
		sh->n_columns = n_columns;
		sh->n_rows = n_rows;
		r = start(s, ret_step);
	}
	if (r < 0) {
		shell_end(s, lost);
		return r;
	}
	sh->lost = SLOT_SHELL_LIVES;
	*ret_started = true;
	*ret_lost = lost;
	return 0;
}

/* It says so before it exits, after a few answers at most; one that does not was another program. */
enum slot_shell_end shell_how_ended(struct slot *s)
{
	struct shell *sh = &s->shell;
	struct shell_report report;

	for (int i = 0; i < SHELL_N_ORDERS && !sh->exits && shell_hear(s, &report) >= 0; i++)
		;
	if (WIFEXITED(sh->status))
		return sh->exits ? SLOT_SHELL_EXITED : SLOT_SHELL_REPLACED;
	return WTERMSIG(sh->status) == SHELL_GIVES_UP ? SLOT_SHELL_LIED : SLOT_SHELL_KILLED;
}

void shell_forget(struct slot *s, enum slot_shell_end how)
{
	struct shell *sh = &s->shell;

	zygote_end(&s->shell_room.zygotes[ZYGOTE_SCREEN]);
	fd_close(&sh->socket);
	fd_close(&sh->master);
	fd_close(&sh->slave);
	shell_init(sh);
	sh->lost = how;
}

void shell_end(struct slot *s, enum slot_shell_end how)
{
	/* Its terminal's end is a SIGHUP to what runs in the foreground; it is reaped with all others. */
	if (s->shell.pid && !s->shell.is_reaped)
		kill(s->shell.pid, SIGKILL);
	shell_forget(s, how);
}

void shell_reaped(struct slot *s, pid_t pid, int status)
{
	if (pid != s->shell.pid || s->shell.is_reaped)
		return;
	s->shell.status = status;
	s->shell.is_reaped = true;
}

/* ---- whose the terminal is ------------------------------------------------------------------------ */

/*
 * To the report bash has no more to say than a newline, for its new prompt. What the guest has it do
 * before each prompt may take longer, and is the terminal's to show.
 */
int shell_attach(struct slot *s)
{
	int r;

	if (s->shell.is_attached)
		return 0;
	shell_drain(s);
	tcflush(s->shell.slave, TCIFLUSH);
	shell_set_modes(s, false);
	r = shell_order(s, SHELL_ATTACH);
	s->shell.is_silent = true;
	if (r == 0)
		r = await(s, ATTACH_NS_MAX);
	/* It goes on once it is ordered what comes next. */
	shell_drain(s);
	s->shell.is_silent = false;
	if (r == 0 || r == -ETIMEDOUT || r == -EPIPE)
		r = screen_attach(s);
	if (r == 0)
		s->shell.is_attached = true;
	return r;
}

void shell_detached(struct slot *s)
{
	/* A screen that does not answer is ended by that; the shell needs none. */
	screen_detach(s);
	s->shell.is_attached = false;
	shell_drain(s);
	/* What commands write is not to stand over the prompt. */
	screen_feed(s, span_string("\n"));
	shell_end_input(s);
}
