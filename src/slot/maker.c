/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The maker: builds the template root once, in a mount namespace of its own, then clones a slot's
 * init for each STORE_MAKE. It has the keeper's privilege and says no word to a guest; all it hears
 * comes from the keeper. Many slots may be on their way at a time: each tells its birth through its
 * gate. It reaps inits: when one is reaped, the kernel has ended all that lived in its slot.
 *
 * It is also where slots are copied from, so it stays small: no stdio, no heap.
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
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/local/store.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "base/path.h"
#include "slot/maker.h"
#include "slot/slot.h"

/* A seat's cgroup may be busy for a moment after its last process was reaped. */
#define CGROUP_TRIES        200
#define POLL_RETRY_MS       5
#define POLL_BIRTHS_MS      1000
#define BIRTH_NS_MAX        (10 * NS_PER_S)
#define SEAT_BIRTHS_AT_ONCE 32
#define ERROR_SEAT          UINT32_MAX

enum seat_state {
	SEAT_EMPTY,
	SEAT_MAKING, /* cloned, its birth not told yet */
	SEAT_MADE,
	SEAT_GOING, /* its birth failed, and was told to have */
	SEAT_BUSY,  /* its init is gone, its cgroup not yet */
};

struct seat {
	pid_t pid;
	uint8_t state;
	uint16_t n_tries;
	struct plan_params params;
};

/* Of a seat that is MAKING. */
struct birth {
	uint32_t seat;
	int gate;
	int pidfd;
	uint64_t late_ns; /* when it has taken too long */
};

struct maker {
	const struct plan *plan;
	struct seat *seats; /* not mapped in those we clone */
	int pair;
	int signals;
	uint32_t n_alive;
	uint32_t n_making;
	struct birth making[SEAT_BIRTHS_AT_ONCE];
	uint32_t n_busy;
};

/* ---- words to the keeper -------------------------------------------------------------------------- */

static void tell(struct maker *m, struct store_message *message, int fd)
{
	/* A keeper that is gone is seen by the next receive. */
	fdpass_send(m->pair, message, sizeof(*message), &fd, fd >= 0 ? 1 : 0, 0);
}

static void tell_failed(struct maker *m, uint32_t seat, const char *step, int error)
{
	struct store_message message = {.kind = STORE_FAILED, .seat = seat};

	strncpy(message.text, step ? step : "the start", sizeof(message.text) - 64);
	strcat(message.text, ": ");
	strncat(message.text, strerrordesc_np(error) ? strerrordesc_np(error) : "unknown error",
		50);
	tell(m, &message, -1);
}

/* ---- the template --------------------------------------------------------------------------------- */

/* An ordinary user's capabilities are those in a user namespace of the user's own. */
static int enter_own_namespaces(const struct plan *p, const char **ret_step)
{
	struct plan own = {
		.n_ids = 1,
		.guest_uid = p->outer_uid,
		.guest_gid = p->outer_gid,
		.outer_uid = p->outer_uid,
		.outer_gid = p->outer_gid,
	};

	*ret_step = "namespaces for the template";
	if (unshare((int)namespace_maker_flags(p)) < 0)
		return -errno;
	if (p->n_ids == 1) {
		int r = namespace_map_ids(&own, 0, getpid(), ret_step);

		if (r < 0)
			return r;
	}
	*ret_step = "making mounts private";
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0;
}

/* mkdir -p */
static int make_path(char *path)
{
	for (char *c = path + 1; *c; c++) {
		if (*c != '/')
			continue;
		*c = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -errno;
		*c = '/';
	}
	return mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

/*
 * Where the template is built: any directory of the host that nothing is taken from, as it is covered
 * meanwhile (in this mount namespace).
 */
static const char *find_ground(const struct plan *p)
{
	static const char *const grounds[] = {"/mnt",  "/media", "/srv", "/boot",
					      "/home", "/opt",   "/sys", "/var"};

	for (size_t i = 0; i < sizeof(grounds) / sizeof(*grounds); i++) {
		const char *ground = grounds[i];
		bool is_free = access(ground, F_OK) == 0 &&
			       !path_lies_in(p->cgroup.memory, ground) &&
			       !path_lies_in(p->cgroup.pids, ground) &&
			       !path_lies_in(p->cgroup.cpu, ground);

		for (uint32_t k = 0; k < p->n_mounts && is_free; k++)
			is_free = p->mounts[k].stage != PLAN_TEMPLATE ||
				  !path_lies_in(p->mounts[k].source, ground);
		if (is_free)
			return ground;
	}
	return NULL;
}

/* The same path of the host, seen from the ground. */
static int carry_over(const char *ground, const char *path, const char **ret_step)
{
	char target[2 * PLAN_PATH_MAX] = "";
	int r;

	if (!path[0])
		return 0;
	strcat(target, ground);
	strcat(target, path);
	*ret_step = path;
	r = make_path(target);
	if (r < 0)
		return r;
	return mount(path, target, NULL, MS_BIND | MS_REC, NULL) < 0 ? -errno : 0;
}

static int carry_over_cgroups(const struct plan_cgroup *c, const char *ground,
			      const char **ret_step)
{
	int r = carry_over(ground, c->memory, ret_step);

	if (r == 0 && strcmp(c->pids, c->memory) != 0)
		r = carry_over(ground, c->pids, ret_step);
	if (r == 0 && strcmp(c->cpu, c->memory) != 0 && strcmp(c->cpu, c->pids) != 0)
		r = carry_over(ground, c->cpu, ret_step);
	return r;
}

/*
 * The maker's root becomes a small one: the template, a /proc (to write id maps, and because a new
 * /proc may only be mounted where one can be seen), and the cgroups' folders.
 */
static int build_template(const struct plan *p, const char **ret_step)
{
	const char *ground = find_ground(p);
	char template[PLAN_PATH_MAX];
	int r = 0;

	*ret_step = "a file system for the template";
	if (!ground)
		return -ENOENT;
	strcpy(template, ground);
	strcat(template, SLOT_TEMPLATE);
	if (mount("tmpfs", ground, "tmpfs", MS_NOSUID, "mode=0755") < 0 ||
	    mkdir(template, 0755) < 0 ||
	    mount("tmpfs", template, "tmpfs", MS_NOSUID, "mode=0755") < 0)
		return -errno;
	r = mount_stage(p, &p->params, PLAN_TEMPLATE, template, ret_step);
	if (r == 0)
		r = mount_shut(template, ret_step);
	if (r == 0)
		r = carry_over(ground, "/proc", ret_step);
	if (r == 0)
		r = carry_over_cgroups(&p->cgroup, ground, ret_step);
	return r < 0 ? r : mount_enter_root(ground, ret_step);
}

/* ---- births --------------------------------------------------------------------------------------- */

/* into: the cgroup to be born in; -1: ours, also afterwards, where the kernel would not. */
static pid_t clone_init(const struct plan *p, const struct plan_params *params, int *into,
			int *ret_pidfd)
{
	struct clone_args args = {
		.flags = namespace_slot_flags(p, params) | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)ret_pidfd,
		.exit_signal = SIGCHLD,
	};
	pid_t pid = -1;

	if (*into >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (unsigned)*into;
		pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
		if (pid >= 0)
			return pid;
		args.flags &= ~CLONE_INTO_CGROUP;
		args.cgroup = 0;
		fd_close(into);
	}
	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

_Noreturn static void be_init(struct maker *m, const struct plan_params *params, int control,
			      int gate, const int event_fds[CGROUP_N_FDS])
{
	close(m->pair);
	close(m->signals);
	for (uint32_t i = 0; i < m->n_making; i++) {
		close(m->making[i].gate);
		close(m->making[i].pidfd);
	}
	init_main(m->plan, params, control, gate, event_fds);
}

/*
 * Maps the ids of a cloned init, opens its gate, and puts it into its cgroup, which may take the
 * kernel milliseconds, in which the init gets on with its mounts: it serves nobody before we have
 * said that it is made.
 */
static int settle_init(struct maker *m, uint32_t seat, pid_t pid, int gate, bool in_cgroup,
		       const char **ret_step)
{
	int r = namespace_map_ids(m->plan, seat, pid, ret_step);

	if (r < 0)
		return r;
	*ret_step = "the gate";
	if (send(gate, "g", 1, MSG_NOSIGNAL) != 1)
		return -errno;
	return in_cgroup ? 0 : cgroup_enter(m->plan, seat, pid, ret_step);
}

static void stop_making(struct maker *m, uint32_t seat)
{
	for (uint32_t i = 0; i < m->n_making; i++) {
		if (m->making[i].seat != seat)
			continue;
		close(m->making[i].gate);
		close(m->making[i].pidfd);
		m->making[i] = m->making[--m->n_making];
		break;
	}
}

static int make(struct maker *m, const struct store_message *order, int control,
		const char **ret_step)
{
	struct seat *seat = &m->seats[order->seat];
	_cleanup_(cleanup_close) int oom = -1, pids = -1, theirs = -1, ours = -1, into = -1;
	int event_fds[CGROUP_N_FDS] = {-1, -1}, pair[2], pidfd = -1, r;
	struct birth *birth;
	pid_t pid;

	r = cgroup_make(m->plan, order->seat, &order->params, event_fds, ret_step);
	if (r < 0)
		return r;
	oom = event_fds[CGROUP_OOM];
	pids = event_fds[CGROUP_PIDS];
	*ret_step = "a socket";
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ours = pair[0];
	theirs = pair[1];
	into = cgroup_open(m->plan, order->seat);
	*ret_step = "taking the seat's id";
	r = namespace_pay_as(m->plan, order->seat);
	if (r < 0)
		return r;
	*ret_step = "clone";
	pid = clone_init(m->plan, &order->params, &into, &pidfd);
	r = -errno;
	if (pid == 0) {
		close(ours);
		fd_close(&into);
		be_init(m, &order->params, control, theirs, event_fds);
	}
	namespace_pay_as_ourselves(m->plan);
	if (pid < 0)
		return r;
	seat->pid = pid;
	seat->state = SEAT_MAKING;
	seat->params = order->params;
	birth = &m->making[m->n_making++];
	*birth = (struct birth){.seat = order->seat,
				.gate = fd_steal(&ours),
				.pidfd = pidfd,
				.late_ns = now_ns() + BIRTH_NS_MAX};
	m->n_alive++;
	r = settle_init(m, order->seat, pid, birth->gate, into >= 0, ret_step);
	if (r < 0) {
		stop_making(m, order->seat);
		seat->state = SEAT_GOING;
		tell_failed(m, order->seat, *ret_step, -r);
		kill(pid, SIGKILL);
	}
	return 0;
}

/* Nobody else can end those who are not born yet. */
static void end_late(struct maker *m, uint64_t now)
{
	for (uint32_t i = 0; i < m->n_making; i++)
		if (now >= m->making[i].late_ns)
			kill(m->seats[m->making[i].seat].pid, SIGKILL);
}

/* A gate has something to say: the birth, or, hung up, that it went wrong. */
static void read_birth(struct maker *m, uint32_t at)
{
	uint32_t seat = m->making[at].seat;
	struct seat *s = &m->seats[seat];
	struct slot_report birth = {.error = EPIPE, .step = "its init ended before it served"};
	ssize_t n = recv(m->making[at].gate, &birth, sizeof(birth), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	birth.step[sizeof(birth.step) - 1] = '\0';
	if (n == sizeof(birth) && birth.error == 0) {
		s->state = SEAT_MADE;
		tell(m,
		     &(struct store_message){.kind = STORE_MADE, .seat = seat, .params = s->params},
		     m->making[at].pidfd);
	} else {
		s->state = SEAT_GOING;
		tell_failed(m, seat, birth.step, birth.error ? birth.error : EPROTO);
		kill(s->pid, SIGKILL);
	}
	stop_making(m, seat);
}

/* ---- deaths --------------------------------------------------------------------------------------- */

/* All that lived there is dead, and who waits for that is told; the cgroup may take a moment longer. */
static void clear_seat(struct maker *m, uint32_t seat)
{
	struct seat *s = &m->seats[seat];
	int r = cgroup_remove(m->plan, seat);

	if (r == -EBUSY && s->n_tries++ < CGROUP_TRIES) {
		m->n_busy += s->state != SEAT_BUSY;
		s->state = SEAT_BUSY;
		return;
	}
	m->n_busy -= s->state == SEAT_BUSY;
	*s = (struct seat){0};
}

static void reap(struct maker *m)
{
	struct signalfd_siginfo info;
	pid_t pid;

	while (read(m->signals, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, NULL, WNOHANG | __WALL)) > 0) {
		for (uint32_t i = 0; i < m->plan->n_seats; i++) {
			struct seat *s = &m->seats[i];

			if (s->pid != pid)
				continue;
			if (s->state == SEAT_MAKING) {
				stop_making(m, i);
				tell_failed(m, i, "its init ended before it served", EPIPE);
			}
			s->pid = 0;
			m->n_alive--;
			tell(m, &(struct store_message){.kind = STORE_GONE, .seat = i}, -1);
			clear_seat(m, i);
			break;
		}
	}
}

static void retry_busy(struct maker *m)
{
	for (uint32_t i = 0; m->n_busy && i < m->plan->n_seats; i++)
		if (m->seats[i].state == SEAT_BUSY)
			clear_seat(m, i);
}

/* ---- the loop ------------------------------------------------------------------------------------- */

/* 1: go on; 0: the keeper is gone. */
static int read_order(struct maker *m)
{
	struct store_message order;
	int fds[FDPASS_MAX];
	ssize_t n = fdpass_receive(m->pair, &order, sizeof(order), fds, MSG_DONTWAIT);
	const char *step = "an order";
	int r = -EPROTO;

	if (n == 0 || (n < 0 && n != -EAGAIN && n != -EINTR && n != -EMSGSIZE))
		return 0;
	if (n < 0)
		return 1;
	if (n == sizeof(order) && order.kind == STORE_MAKE && order.seat < m->plan->n_seats &&
	    (m->seats[order.seat].state == SEAT_EMPTY || m->seats[order.seat].state == SEAT_BUSY) &&
	    fds[0] >= 0) {
		/* What is left of its cgroup is swept by making it anew. */
		m->n_busy -= m->seats[order.seat].state == SEAT_BUSY;
		m->seats[order.seat] = (struct seat){0};
		r = make(m, &order, fds[0], &step);
		if (r < 0) {
			cgroup_remove(m->plan, order.seat);
			tell_failed(m, order.seat, step, -r);
			tell(m, &(struct store_message){.kind = STORE_GONE, .seat = order.seat},
			     -1);
		}
	}
	for (size_t i = 0; i < FDPASS_MAX; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return 1;
}

static void loop(struct maker *m)
{
	int goes_on = 1;

	/* Without a keeper, slots end: their control sockets are hung up. */
	while (goes_on || m->n_alive) {
		struct pollfd fds[2 + SEAT_BIRTHS_AT_ONCE] = {
			/* So many at a time: the rest waits in the socket. */
			{.fd = goes_on && m->n_making < SEAT_BIRTHS_AT_ONCE ? m->pair : -1,
			 .events = POLLIN},
			{.fd = m->signals, .events = POLLIN},
		};
		uint32_t n = m->n_making;

		for (uint32_t i = 0; i < n; i++)
			fds[2 + i] = (struct pollfd){.fd = m->making[i].gate, .events = POLLIN};
		if (poll(fds, 2 + n,
			 m->n_busy ? POLL_RETRY_MS
			 : n       ? POLL_BIRTHS_MS
				   : -1) < 0 &&
		    errno != EINTR)
			return;
		/* From the back, as those that are through are taken out. */
		while (n-- > 0)
			if (fds[2 + n].revents)
				read_birth(m, n);
		if (fds[1].revents)
			reap(m);
		retry_busy(m);
		end_late(m, goes_on ? now_ns() : UINT64_MAX);
		if (fds[0].revents)
			goes_on = read_order(m);
	}
	while (m->n_busy) {
		poll(NULL, 0, POLL_RETRY_MS);
		retry_busy(m);
	}
}

/* What we write after a clone is a page more for each that has the one from before: none has these. */
static int make_seats(struct maker *m)
{
	size_t n = m->plan->n_seats * sizeof(*m->seats);
	void *map = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED || madvise(map, n, MADV_DONTFORK) < 0)
		return -errno;
	m->seats = map;
	return 0;
}

static int prepare(struct maker *m, const char **ret_step)
{
	sigset_t set;
	int r;

	*ret_step = "its seats";
	r = make_seats(m);
	if (r < 0)
		return r;
	*ret_step = "signals";
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	signal(SIGPIPE, SIG_IGN);
	/* A terminal's interrupt is for the keeper, which hangs up in its own time. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	m->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (m->signals < 0)
		return -errno;
	umask(0);
	cgroup_sweep(m->plan);
	r = enter_own_namespaces(m->plan, ret_step);
	if (r == 0)
		r = build_template(m->plan, ret_step);
	return r;
}

static const struct plan *map_plan(int fd)
{
	struct stat st;
	void *map;

	if (fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(struct plan))
		return NULL;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED || !plan_is_sound(map, (size_t)st.st_size))
		return NULL;
	return map;
}

int maker_main(int plan_fd, int pair)
{
	struct maker m = {.plan = map_plan(plan_fd), .pair = pair, .signals = -1};
	const char *step = "the plan is not of this build";
	int r = m.plan ? prepare(&m, &step) : -EINVAL;

	close(plan_fd);
	if (r < 0) {
		tell_failed(&m, ERROR_SEAT, step, -r);
		return EXIT_FAILURE;
	}
	tell(&m, &(struct store_message){.kind = STORE_READY}, -1);
	loop(&m);
	return EXIT_SUCCESS;
}
