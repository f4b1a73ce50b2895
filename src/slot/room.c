/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rooms. A room's init is pid 1 of the room's pid namespace and does three things: it reaps what is
 * orphaned there, kills all others when told to (kill(-1) is the one call that nothing can fork away
 * from), and mounts what comes late. That nobody is left is not its word: the slot's init reads it
 * in the room's /proc, which lists every process of the namespace, zombies too.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "slot/dents.h"
#include "slot/slot.h"

#define ROOM_FD 3
/* procfs lists processes from this position on; what stands before are files of its root. */
#define PROC_FIRST    256
#define CLEAR_NS_MAX  NS_PER_S
#define ORDER_MS_MAX  10000
#define LOOK_AGAIN_NS (20 * NS_PER_MS)
#define PLACE_MODE    01777 /* of /tmp and /dev/shm, as in the plan */

enum room_order {
	ORDER_KILL = 'K',
	ORDER_COUNT = 'C', /* is anybody there? Where there is no /proc to look at. */
	ORDER_FINISH = 'F',
	ORDER_UNFINISH = 'U',
};

static const char *const place_paths[ROOM_N_PLACES] = {
	[ROOM_TMP] = "/tmp",
	[ROOM_SHM] = "/dev/shm",
	[ROOM_PROC] = "/proc",
	[ROOM_NS_MOUNT] = "/proc/self/ns/mnt",
	[ROOM_NS_PID] = "/proc/self/ns/pid",
	[ROOM_NS_IPC] = "/proc/self/ns/ipc",
};

/* ---- the room's init ------------------------------------------------------------------------------ */

/* Reaps what has ended; all there will be if flags is 0. */
static void reap_orphans(struct room_account *account, int flags)
{
	struct rusage usage;

	while (wait4(-1, NULL, flags | __WALL, &usage) > 0) {
		uint64_t peak = (uint64_t)usage.ru_maxrss * 1024;

		account->n_reaped++;
		account->user_ns += timeval_ns(usage.ru_utime);
		account->system_ns += timeval_ns(usage.ru_stime);
		if (peak > account->memory_peak_bytes)
			account->memory_peak_bytes = peak;
	}
}

static int unfinish(const struct plan *p)
{
	for (uint32_t i = p->n_mounts; i-- > 0;)
		if (p->mounts[i].stage == PLAN_ROOM_LATE &&
		    umount2(p->mounts[i].target, MNT_DETACH) < 0 && errno != EINVAL)
			return -errno;
	return 0;
}

static void obey(const struct slot *s, struct room_account *account, char order)
{
	struct slot_report report;
	const char *step = "";
	int r = 0;

	switch ((enum room_order)order) {
	case ORDER_KILL:
		/* ESRCH: there was nobody. */
		kill(-1, SIGKILL);
		reap_orphans(account, 0);
		break;
	case ORDER_COUNT:
		r = kill(-1, 0) == 0 ? -1 : 0;
		break;
	case ORDER_FINISH:
		r = mount_stage(s->plan, &s->params, PLAN_ROOM_LATE, "", &step);
		break;
	case ORDER_UNFINISH:
		r = unfinish(s->plan);
		break;
	}
	report = report_of(r, step);
	send(ROOM_FD, &report, sizeof(report), MSG_NOSIGNAL);
}

static void be_ready(const struct slot *s, const struct room *room)
{
	struct slot_report report;
	int places[ROOM_N_PLACES];
	const char *step = "";
	size_t n_places = plan_has(s->plan, PLAN_PROC) ? ROOM_N_PLACES : ROOM_PROC;
	size_t n = 0;
	int r = mount_stage(s->plan, &s->params, PLAN_ROOM, "", &step);

	if (namespace_room_flags(s->plan, room->is_shell) & CLONE_NEWIPC)
		namespace_limit_ipc(&s->params);
	/* Without a /proc we are entered by our pidfd, which is for those alone who might trace us. */
	if (!plan_has(s->plan, PLAN_PROC))
		prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	while (n < n_places && r == 0) {
		step = place_paths[n];
		places[n] = open(step, O_RDONLY | O_CLOEXEC);
		if (places[n] < 0)
			r = -errno;
		else
			n++;
	}
	report = report_of(r, step);
	fdpass_send(ROOM_FD, &report, sizeof(report), places, r < 0 ? 0 : n, 0);
	while (n > 0)
		close(places[--n]);
}

_Noreturn static void room_main(const struct slot *s, const struct room *room, int socket)
{
	struct pollfd fds = {.fd = ROOM_FD, .events = POLLIN};
	struct room_account *account = room->account;
	sigset_t none;
	char order;

	if (dup2(socket, ROOM_FD) < 0 || syscall(SYS_close_range, ROOM_FD + 1, ~0u, 0) < 0)
		_exit(EXIT_FAILURE);
	setsid();
	/* What is mounted here belongs to the slot's root, where it has one. */
	init_act_as_init(s);
	sigemptyset(&none);
	prctl(PR_SET_NAME, "toolring-room", 0, 0, 0);
	be_ready(s, room);
	for (;;) {
		/* SIGCHLD is caught and blocked, as for the slot's init, but in here. */
		if (ppoll(&fds, 1, NULL, &none) < 0 && errno != EINTR)
			_exit(EXIT_FAILURE);
		reap_orphans(account, WNOHANG);
		if (!fds.revents)
			continue;
		if (recv(ROOM_FD, &order, 1, MSG_DONTWAIT) == 1)
			obey(s, account, order);
		else if (fds.revents & POLLHUP)
			_exit(EXIT_SUCCESS);
	}
}

/* ---- from outside --------------------------------------------------------------------------------- */

static bool order(const struct room *room, char what)
{
	return send(room->socket, &what, 1, MSG_NOSIGNAL) == 1;
}

/* Orders what is done at once, and waits for the report. */
static int order_and_wait(const struct room *room, char what, const char **ret_step)
{
	struct pollfd fds = {.fd = room->socket, .events = POLLIN};
	struct slot_report report;

	*ret_step = "the room's init";
	if (!order(room, what))
		return -EPIPE;
	while (poll(&fds, 1, ORDER_MS_MAX) < 0 && errno == EINTR)
		;
	if (recv(room->socket, &report, sizeof(report), MSG_DONTWAIT) != sizeof(report))
		return -EPIPE;
	return -report.error;
}

int room_finish(struct room *room, bool undo, const char **ret_step)
{
	int r;

	if (room->is_finished == !undo)
		return 0;
	r = order_and_wait(room, undo ? ORDER_UNFINISH : ORDER_FINISH, ret_step);
	if (r == 0)
		room->is_finished = !undo;
	return r;
}

static void forget(struct room *room)
{
	zygote_end(&room->zygotes[ZYGOTE_SHELL]);
	zygote_end(&room->zygotes[ZYGOTE_PLAIN]);
	child_close(&room->ahead);
	fd_close(&room->pidfd);
	fd_close(&room->socket);
	for (size_t i = 0; i < ROOM_N_PLACES; i++)
		fd_close(&room->places[i]);
	if (room->account)
		munmap(room->account, sizeof(*room->account));
	room->account = NULL;
	room->is_finished = false;
	room->pid = 0;
}

static int take_places(struct room *room, const char **ret_step)
{
	static struct slot_report report;
	int fds[FDPASS_MAX];
	ssize_t n;

	do {
		n = fdpass_receive(room->socket, &report, sizeof(report), fds, 0);
	} while (n == -EINTR);
	*ret_step = "the room";
	if (n != sizeof(report))
		return n < 0 ? (int)n : -EPIPE;
	if (report.error) {
		*ret_step = report.step;
		return -report.error;
	}
	memcpy(room->places, fds, sizeof(room->places));
	return 0;
}

void room_init(struct room *room, bool is_shell)
{
	*room = (struct room){.is_shell = is_shell, .pidfd = -1, .socket = -1, .ahead = CHILD_NONE};
	for (size_t i = 0; i < ROOM_N_PLACES; i++)
		room->places[i] = -1;
	for (size_t i = 0; i < ZYGOTE_N_KINDS; i++)
		room->zygotes[i].socket = -1;
}

int room_make(struct slot *s, struct room *room, const char **ret_step)
{
	struct clone_args args = {
		.flags = namespace_room_flags(s->plan, room->is_shell) | CLONE_PIDFD,
		.exit_signal = SIGCHLD,
	};
	int pair[2], r;

	if (room->pid)
		return 0;
	if (!s->has_late) {
		init_act_as_init(s);
		r = namespace_make_late(s->plan, &s->params, ret_step);
		init_act_as_guest(s);
		if (r < 0)
			return r;
		s->has_late = true;
	}
	*ret_step = "the room's init";
	room->account = mmap(NULL, sizeof(*room->account), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (room->account == MAP_FAILED) {
		room->account = NULL;
		return -errno;
	}
	room->is_dropped = false;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		r = -errno;
		forget(room);
		return r;
	}
	room->socket = pair[0];
	args.pidfd = (uint64_t)(uintptr_t)&room->pidfd;
	room->pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (room->pid == 0)
		room_main(s, room, pair[1]);
	r = room->pid < 0 ? -errno : 0;
	close(pair[1]);
	if (r < 0)
		room->pid = 0;
	if (r == 0)
		r = take_places(room, ret_step);
	/* An empty room that does not look empty would never be proven to be. */
	if (r == 0 && room_count(room) != 0)
		r = -ENOTEMPTY;
	if (r < 0)
		room_drop(s, room);
	return r;
}

int room_enter(const struct slot *s, const struct room *room)
{
	uint64_t flags = namespace_room_flags(s->plan, room->is_shell);

	if (room->places[ROOM_NS_PID] < 0)
		return setns(room->pidfd, (int)flags) < 0 ? -errno : 0;
	/* The mount namespace last: the root is another one then. */
	if (setns(room->places[ROOM_NS_PID], CLONE_NEWPID) < 0 ||
	    (flags & CLONE_NEWIPC && setns(room->places[ROOM_NS_IPC], CLONE_NEWIPC) < 0) ||
	    setns(room->places[ROOM_NS_MOUNT], CLONE_NEWNS) < 0)
		return -errno;
	return 0;
}

void room_drop(struct slot *s, struct room *room)
{
	room->is_dropped = true;
	if (room->pid)
		kill(room->pid, SIGKILL);
	/*
	 * The kernel lets a pid namespace's init go only after all others, of which some are our own
	 * children: everything is reaped until it is the room's turn.
	 */
	while (room->pid)
		init_reap(s, 0);
	forget(room);
	if (room->is_shell && s->shell.socket >= 0)
		shell_forget(s, SLOT_SHELL_ROOM_LOST);
}

void room_reaped(struct slot *s, pid_t pid)
{
	struct room *rooms[] = {&s->call_room, &s->shell_room};

	for (size_t i = 0; i < 2; i++) {
		struct room *room = rooms[i];

		if (room->pid == pid) {
			s->shell_was_lost |= room->is_shell && !room->is_dropped;
			room->pid = 0;
			forget(room);
			if (room->is_shell && s->shell.socket >= 0)
				shell_forget(s, SLOT_SHELL_ROOM_LOST);
		}
		if (room->ahead.pid == pid)
			child_close(&room->ahead);
		for (size_t k = 0; k < ZYGOTE_N_KINDS; k++)
			if (room->zygotes[k].pid == pid) {
				room->zygotes[k].pid = 0;
				zygote_end(&room->zygotes[k]);
			}
	}
}

/* ---- who is there --------------------------------------------------------------------------------- */

bool room_is_alive(const struct room *room)
{
	const char *step;

	/* Its own error is 1: somebody is there. */
	return room->pid && order_and_wait(room, ORDER_COUNT, &step) >= -1;
}

int room_count(const struct room *room)
{
	struct dents d;
	const char *name = "", *step;
	int n = 0, r;

	if (room->places[ROOM_PROC] < 0) {
		r = order_and_wait(room, ORDER_COUNT, &step);
		return r < 0 && r != -1 ? r : -r;
	}
	r = dents_open(&d, room->places[ROOM_PROC], PROC_FIRST);
	while (r == 0 && (r = dents_next(&d, &name)) > 0) {
		if (name[0] >= '0' && name[0] <= '9' && strcmp(name, "1") != 0)
			n++;
		r = 0;
	}
	return r < 0 ? r : n;
}

/* Waits a moment for the room's init to be through. true: it is. */
static bool wait_for_report(struct slot *s, struct room *room)
{
	struct pollfd fds = {.fd = room->socket, .events = POLLIN};
	struct timespec timeout = ns_to_timespec(LOOK_AGAIN_NS);
	struct slot_report report;
	sigset_t none;

	sigemptyset(&none);
	ppoll(&fds, 1, &timeout, &none);
	init_reap(s, WNOHANG);
	return !room->pid || recv(room->socket, &report, sizeof(report), MSG_DONTWAIT) > 0;
}

uint32_t room_clear(struct slot *s, struct room *room, uint32_t *ret_n_killed)
{
	uint64_t until = now_ns() + CLEAR_NS_MAX;
	int n = room->pid ? room_count(room) : 0;
	/* An order that is on its way still would hit who comes after. */
	bool is_ordered = false;

	*ret_n_killed = n > 0 ? (uint32_t)n : 0;
	while (room->pid && (n != 0 || is_ordered)) {
		if (now_ns() >= until)
			return n > 0 ? (uint32_t)n : 1;
		if (!is_ordered)
			is_ordered = order(room, ORDER_KILL);
		if (wait_for_report(s, room))
			is_ordered = false;
		n = room->pid ? room_count(room) : 0;
	}
	return 0;
}

/* A folder as it was mounted: empty, and with its mode, which a guest may own, and nothing else. */
static bool tidy_place(int fd)
{
	struct stat st;

	return tidy_directory(fd) == 0 && fstat(fd, &st) == 0 &&
	       ((st.st_mode & 07777) == PLACE_MODE || fchmod(fd, PLACE_MODE) == 0) &&
	       flistxattr(fd, NULL, 0) == 0;
}

void room_tidy(struct slot *s, struct room *room)
{
	bool is_clean;

	init_act_as_init(s);
	is_clean = tidy_place(room->places[ROOM_TMP]) && tidy_place(room->places[ROOM_SHM]);
	init_act_as_guest(s);
	/* What takes long to clean is not cleaned but thrown away. */
	if (!is_clean || (plan_has(s->plan, PLAN_IPC) && tidy_ipc() < 0))
		room_drop(s, room);
}
