/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/store.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "base/log.h"

/* The template is a few hundred mounts at most. */
#define READY_NS UINT64_C(30000000000)
/* How long the maker may take to take away what is left of killed slots. */
#define STOP_NS UINT64_C(10000000000)
/* A message of the largest size, twice, so that neither side waits for the other. */
#define CONTROL_BYTES 262144
/* Messages taken of one side before it is the other's turn. */
#define MESSAGES_PER_STEP 256
#define RETRY_MS          10

enum seat_state {
	SEAT_EMPTY,
	SEAT_MAKING,
	SEAT_MADE,
	SEAT_GOING,
};

struct store_seat {
	uint8_t state;   /* enum seat_state */
	bool unwanted;   /* MAKING, for an executor that is no more: to be dropped when made */
	bool orphaned;   /* GOING, and its maker is no more: gone once it is dead */
	int control;     /* the executor's end of its socket; -1 */
	int its_control; /* its own end, until the maker was sent it; -1 */
	int pidfd;       /* of its init; -1 */
	struct plan_params params;
};

static void *room(size_t n)
{
	/* Untouched zero pages cost nothing. */
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int store_init(struct store *s, const struct plan *plan, const char *program)
{
	*s = (struct store){.plan = plan, .program = program, .maker = MAKER_NONE, .executor = -1};
	if (!plan)
		return 0;
	/* Of each seat HAVE or GOING, what became of a MAKE, and GONE; ALL; a refusal. */
	s->queue_size = 3 * plan->n_seats + 2;
	s->seats = calloc(plan->n_seats, sizeof(*s->seats));
	s->queue = room(s->queue_size * sizeof(*s->queue));
	s->to_make = room(plan->n_seats * sizeof(*s->to_make));
	if (!s->seats || !s->queue || !s->to_make)
		return -ENOMEM;
	for (uint32_t i = 0; i < plan->n_seats; i++)
		s->seats[i].control = s->seats[i].its_control = s->seats[i].pidfd = -1;
	return 0;
}

/* ---- to the executor ------------------------------------------------------------------------------ */

/* Says it later. What nobody hears is not kept: the next executor is told how things are. */
static void tell(struct store *s, enum store_kind kind, uint32_t seat, const char *text)
{
	struct store_message *m;

	if (s->executor < 0 || s->n_queued == s->queue_size)
		return;
	m = &s->queue[(s->queue_first + s->n_queued++) % s->queue_size];
	memset(m, 0, sizeof(*m));
	m->kind = kind;
	m->seat = seat;
	if (seat < s->plan->n_seats)
		m->params = s->seats[seat].params;
	if (text)
		snprintf(m->text, sizeof(m->text), "%s", text);
}

/* 1: sent, or not worth it any more; 0: not now. */
static int send_first(struct store *s)
{
	const struct store_message *m = &s->queue[s->queue_first];
	bool has_socket = m->kind == STORE_MADE || m->kind == STORE_HAVE;
	ssize_t r;

	/* It has gone meanwhile: that is said behind it. */
	if (has_socket && s->seats[m->seat].control < 0)
		return 1;
	r = fdpass_send(s->executor, m, sizeof(*m), has_socket ? &s->seats[m->seat].control : NULL,
			has_socket, MSG_DONTWAIT);
	if (r == -EAGAIN)
		return 0;
	/* Too many descriptors on their way, or no memory. */
	if (r == -ETOOMANYREFS || r == -ENOBUFS || r == -ENOMEM) {
		s->retries = true;
		return 0;
	}
	return 1;
}

static void flush_queue(struct store *s)
{
	while (s->n_queued && send_first(s)) {
		s->queue_first = (s->queue_first + 1) % s->queue_size;
		s->n_queued--;
	}
	/* The room is for the worst case: what is said one by one need not come to all of its pages. */
	if (!s->n_queued)
		s->queue_first = 0;
}

int store_executor_begins(struct store *s, int *ret_fd)
{
	int pair[2];

	if (!s->plan) {
		*ret_fd = -1;
		return 0;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	s->executor = pair[0];
	s->queue_first = s->n_queued = 0;
	for (uint32_t i = 0; i < s->plan->n_seats; i++) {
		struct store_seat *seat = &s->seats[i];

		if (seat->state == SEAT_MAKING)
			seat->unwanted = true;
		if (seat->state == SEAT_MADE)
			tell(s, STORE_HAVE, i, NULL);
		else if (seat->state != SEAT_EMPTY)
			tell(s, STORE_GOING, i, NULL);
	}
	tell(s, STORE_ALL, 0, NULL);
	*ret_fd = pair[1];
	return 0;
}

void store_executor_ended(struct store *s)
{
	fd_close(&s->executor);
	s->n_queued = 0;
}

/* ---- seats ---------------------------------------------------------------------------------------- */

static void seat_empty(struct store_seat *seat)
{
	fd_close(&seat->control);
	fd_close(&seat->its_control);
	fd_close(&seat->pidfd);
	*seat = (struct store_seat){.control = -1, .its_control = -1, .pidfd = -1};
}

static void seat_kill(struct store_seat *seat)
{
	if (seat->pidfd >= 0)
		syscall(SYS_pidfd_send_signal, seat->pidfd, SIGKILL, NULL, 0);
	/* Whatever becomes of the signal, the hang-up ends it too. */
	fd_close(&seat->control);
	seat->state = SEAT_GOING;
}

static void seat_failed(struct store *s, uint32_t i, const char *text)
{
	if (s->seats[i].unwanted)
		tell(s, STORE_GONE, i, NULL);
	else
		tell(s, STORE_FAILED, i, text);
	seat_empty(&s->seats[i]);
}

/* Tells the maker of what waits for that, as far as its socket has room. */
static void flush_to_make(struct store *s)
{
	while (s->n_to_make && s->maker.socket >= 0) {
		uint32_t i = s->to_make[s->to_make_first];
		struct store_seat *seat = &s->seats[i];
		struct store_message m = {.kind = STORE_MAKE, .seat = i, .params = seat->params};
		ssize_t r;

		/* It may have failed meanwhile, with its maker. */
		if (seat->state == SEAT_MAKING && seat->its_control >= 0) {
			r = fdpass_send(s->maker.socket, &m, sizeof(m), &seat->its_control, 1,
					MSG_DONTWAIT);
			s->retries |= r == -ETOOMANYREFS || r == -ENOBUFS || r == -ENOMEM;
			if (r == -EAGAIN || s->retries)
				return;
			fd_close(&seat->its_control);
			if (r < 0)
				seat_failed(s, i, "the maker of slots is gone");
		}
		s->to_make_first = (s->to_make_first + 1) % s->plan->n_seats;
		s->n_to_make--;
	}
}

static const char *params_fault(const struct plan_params *p, const struct plan_params *most)
{
	if (!p->memory_bytes || p->memory_bytes > most->memory_bytes)
		return "more memory than is allowed";
	if (!p->disk_bytes || p->disk_bytes > most->disk_bytes)
		return "more disk than is allowed";
	if (!p->n_pids || p->n_pids > most->n_pids)
		return "more processes than are allowed";
	if (p->network != PLAN_NETWORK_NONE &&
	    (p->network != PLAN_NETWORK_HOST || most->network != PLAN_NETWORK_HOST))
		return "a network that is not allowed";
	return NULL;
}

static int make_sockets(struct store_seat *seat)
{
	int pair[2], n = CONTROL_BYTES;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	for (int i = 0; i < 2; i++)
		if (setsockopt(pair[i], SOL_SOCKET, SO_SNDBUFFORCE, &n, sizeof(n)) < 0)
			setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &n, sizeof(n));
	seat->control = pair[0];
	seat->its_control = pair[1];
	return 0;
}

static void make(struct store *s, const struct store_message *m)
{
	struct store_seat *seat = &s->seats[m->seat];
	const char *fault = params_fault(&m->params, &s->plan->params);
	int r = 0;

	/* It has not asked for anything that we know of; what is there stays as it is. */
	if (seat->state != SEAT_EMPTY) {
		tell(s, STORE_FAILED, m->seat, "the seat is taken");
		return;
	}
	if (!fault)
		r = make_sockets(seat);
	if (fault || r < 0) {
		tell(s, STORE_FAILED, m->seat, fault ? fault : strerror(-r));
		return;
	}
	seat->state = SEAT_MAKING;
	/* Without what only fills the struct: nothing of the executor's but numbers goes on. */
	seat->params = (struct plan_params){
		.memory_bytes = m->params.memory_bytes,
		.disk_bytes = m->params.disk_bytes,
		.n_pids = m->params.n_pids,
		.network = m->params.network,
	};
	s->to_make[(s->to_make_first + s->n_to_make++) % s->plan->n_seats] = m->seat;
}

/* ---- what comes in -------------------------------------------------------------------------------- */

static void read_executor(struct store *s)
{
	struct store_message m;

	for (int i = 0; i < MESSAGES_PER_STEP && s->executor >= 0 && !s->n_queued; i++) {
		ssize_t n = recv(s->executor, &m, sizeof(m), MSG_DONTWAIT | MSG_TRUNC);

		if (n < 0 && errno == EINTR)
			continue;
		/* A hang-up is followed by its end, of which we hear as its parent. */
		if (n == 0)
			store_executor_ended(s);
		if (n <= 0)
			return;
		if (n != sizeof(m))
			continue;
		if (m.seat >= s->plan->n_seats)
			tell(s, STORE_FAILED, m.seat, "there is no such seat");
		else if (m.kind == STORE_MAKE)
			make(s, &m);
		else if (m.kind == STORE_DROP && s->seats[m.seat].state == SEAT_MADE)
			seat_kill(&s->seats[m.seat]);
		flush_to_make(s);
		flush_queue(s);
	}
}

static void made(struct store *s, uint32_t i, int *pidfd)
{
	struct store_seat *seat = &s->seats[i];

	if (seat->state != SEAT_MAKING || seat->its_control >= 0 || *pidfd < 0)
		return;
	seat->pidfd = fd_steal(pidfd);
	seat->state = SEAT_MADE;
	if (seat->unwanted)
		seat_kill(seat);
	else
		tell(s, STORE_MADE, i, NULL);
}

static void gone(struct store *s, uint32_t i)
{
	if (s->seats[i].state != SEAT_MADE && s->seats[i].state != SEAT_GOING)
		return;
	seat_empty(&s->seats[i]);
	tell(s, STORE_GONE, i, NULL);
}

/* Of a seat whose maker died nothing is left once its init is dead and the next maker has swept. */
static void look_after_orphans(struct store *s)
{
	for (uint32_t i = 0; s->maker_ready && s->n_orphans && i < s->plan->n_seats; i++) {
		struct pollfd p = {.fd = s->seats[i].pidfd, .events = POLLIN};

		if (s->seats[i].orphaned && (p.fd < 0 || poll(&p, 1, 0) == 1)) {
			s->n_orphans--;
			gone(s, i);
		}
	}
}

static int take_maker_message(struct store *s, struct store_message *m, int *pidfd)
{
	m->text[sizeof(m->text) - 1] = '\0';
	if (m->kind == STORE_READY) {
		s->maker_ready = true;
		look_after_orphans(s);
		return 0;
	}
	if (m->kind == STORE_FAILED && m->seat == UINT32_MAX) {
		log_error("no slots can be made: %s", m->text);
		return -ENOEXEC;
	}
	if (m->seat >= s->plan->n_seats)
		return 0;
	if (m->kind == STORE_MADE)
		made(s, m->seat, pidfd);
	else if (m->kind == STORE_GONE)
		gone(s, m->seat);
	else if (m->kind == STORE_FAILED && s->seats[m->seat].state == SEAT_MAKING)
		seat_failed(s, m->seat, m->text);
	return 0;
}

/* 0; -EPIPE: it hung up; -ENOEXEC. */
static int read_maker(struct store *s)
{
	for (int i = 0; i < MESSAGES_PER_STEP && s->maker.socket >= 0; i++) {
		struct store_message m;
		int fds[FDPASS_MAX];
		ssize_t n = fdpass_receive(s->maker.socket, &m, sizeof(m), fds, MSG_DONTWAIT);
		int r = 0;

		if (n == -EAGAIN)
			return 0;
		if (n == 0)
			return -EPIPE;
		if (n == sizeof(m))
			r = take_maker_message(s, &m, &fds[0]);
		for (size_t j = 0; n > 0 && j < FDPASS_MAX; j++)
			fd_close(&fds[j]);
		if (n < 0)
			log_warning("from the maker of slots: %s", strerror((int)-n));
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- the maker ------------------------------------------------------------------------------------ */

int store_restart_maker(struct store *s)
{
	s->maker_ready = false;
	return maker_start(&s->maker, s->program, s->plan);
}

/* 1: readable; 0: too late; -ECANCELED: we are to stop. */
static int wait_for_maker(struct store *s, int signal_fd, int stop_fd, uint64_t until)
{
	for (;;) {
		struct pollfd fds[] = {
			{.fd = s->maker.socket, .events = POLLIN},
			{.fd = signal_fd, .events = POLLIN},
			{.fd = stop_fd, .events = POLLIN},
		};
		uint64_t now = now_ns();
		struct signalfd_siginfo info;

		if (now >= until)
			return 0;
		if (poll(fds, 3, (int)((until - now) / NS_PER_MS) + 1) < 0) {
			if (errno != EINTR)
				return -errno;
			continue;
		}
		if (fds[2].revents)
			return -ECANCELED;
		if (fds[0].revents)
			return 1;
		if (fds[1].revents && read(signal_fd, &info, sizeof(info)) == sizeof(info) &&
		    info.ssi_signo != SIGCHLD)
			return -ECANCELED;
	}
}

int store_start(struct store *s, int signal_fd, int stop_fd)
{
	uint64_t until = now_ns() + READY_NS;
	int r;

	if (!s->plan)
		return 0;
	r = store_restart_maker(s);
	if (r < 0)
		log_error("cannot start %s: %s", s->program, strerror(-r));
	while (r == 0 && !s->maker_ready) {
		r = wait_for_maker(s, signal_fd, stop_fd, until);
		if (r == 0) {
			log_error("%s --maker says nothing: giving up", s->program);
			return -ETIMEDOUT;
		}
		if (r > 0)
			r = read_maker(s);
		if (r == -EPIPE)
			log_error("%s --maker left before it could make slots", s->program);
	}
	return r;
}

bool store_reaped(struct store *s, pid_t pid)
{
	if (!s->plan || pid != s->maker.pid)
		return false;
	/* What it said last. */
	read_maker(s);
	maker_reaped(&s->maker);
	s->maker_ready = false;
	s->n_to_make = 0;
	for (uint32_t i = 0; i < s->plan->n_seats; i++) {
		struct store_seat *seat = &s->seats[i];

		if (seat->state == SEAT_MAKING)
			seat_failed(s, i, "the maker of slots died");
		if (seat->state == SEAT_MADE)
			seat_kill(seat);
		if (seat->state == SEAT_GOING && !seat->orphaned) {
			seat->orphaned = true;
			s->n_orphans++;
		}
	}
	flush_queue(s);
	return true;
}

/* ---- the keeper's loop ---------------------------------------------------------------------------- */

void store_poll(const struct store *s, struct pollfd fds[STORE_N_POLLED])
{
	short out = s->retries ? 0 : POLLOUT;

	fds[0] = (struct pollfd){
		.fd = s->executor,
		.events = s->n_queued ? out : POLLIN,
	};
	fds[1] = (struct pollfd){
		.fd = s->plan ? s->maker.socket : -1,
		.events = (short)(POLLIN | (s->n_to_make ? out : 0)),
	};
}

int store_poll_timeout_ms(const struct store *s)
{
	return s->retries ? RETRY_MS : -1;
}

int store_step(struct store *s, const struct pollfd fds[STORE_N_POLLED])
{
	int r = 0;

	if (!s->plan)
		return 0;
	s->retries = false;
	if (fds[1].revents & (POLLIN | POLLHUP))
		r = read_maker(s);
	look_after_orphans(s);
	flush_queue(s);
	if (fds[0].revents & (POLLIN | POLLHUP))
		read_executor(s);
	flush_to_make(s);
	flush_queue(s);
	if (r == -EPIPE) {
		/* It is ending, or out of its mind: either way we hear of its end next. */
		fd_close(&s->maker.socket);
		kill(s->maker.pid, SIGKILL);
		r = 0;
	}
	return r;
}

void store_deinit(struct store *s)
{
	if (!s->plan)
		return;
	store_executor_ended(s);
	for (uint32_t i = 0; s->seats && i < s->plan->n_seats; i++) {
		seat_kill(&s->seats[i]);
		fd_close(&s->seats[i].its_control);
	}
	maker_stop(&s->maker, STOP_NS);
	for (uint32_t i = 0; s->seats && i < s->plan->n_seats; i++)
		fd_close(&s->seats[i].pidfd);
	/* What the maker left of its children is ours by now. */
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	if (s->queue)
		munmap(s->queue, s->queue_size * sizeof(*s->queue));
	if (s->to_make)
		munmap(s->to_make, s->plan->n_seats * sizeof(*s->to_make));
	free(s->seats);
}
