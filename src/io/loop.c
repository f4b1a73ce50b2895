/* SPDX-License-Identifier: Apache-2.0 */
#include "io/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define ENTRIES  256
#define REAP_MAX 256
/* Debian 12's headers are 6.1's. */
#define OP_FUTEX_WAIT  51
#define FUTEX_SIZE_U32 2
#define FUTEX_MASK_ALL UINT64_C(0xffffffff)

static const char *const feature_names[] = {
	"single_issuer", "defer_taskrun", "coop_taskrun", "futex", "registered_ring",
};

const char *loop_feature_name(unsigned index)
{
	return index < sizeof(feature_names) / sizeof(*feature_names) ? feature_names[index] : NULL;
}

static int read_number(const char *path)
{
	_cleanup_(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[16] = "";

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return -1;
	return atoi(text);
}

static void explain_refusal(int error, char *text, size_t n)
{
	int disabled = read_number("/proc/sys/kernel/io_uring_disabled");

	if (error == -ENOSYS)
		snprintf(
			text, n,
			"this kernel has no io_uring, or a seccomp filter hides it: Linux 5.15 or later is "
			"needed; in a container allow io_uring_setup, io_uring_enter and io_uring_register "
			"in its seccomp profile");
	else if ((error == -EPERM || error == -EACCES) && disabled > 0)
		snprintf(
			text, n,
			"io_uring is switched off (kernel.io_uring_disabled is %d): set it to 0 with "
			"'sysctl kernel.io_uring_disabled=0'%s",
			disabled,
			disabled == 1
				? ", or add this user to the group kernel.io_uring_group names"
				: "");
	else if (error == -EPERM || error == -EACCES)
		snprintf(
			text, n,
			"io_uring is refused, most likely by the container's seccomp profile or a security "
			"module: allow io_uring_setup, io_uring_enter and io_uring_register (docker: "
			"--security-opt seccomp=PROFILE)");
	else if (error == -ENOMEM)
		snprintf(
			text, n,
			"no memory for io_uring: raise the locked-memory limit (ulimit -l, LimitMEMLOCK=)");
	else
		snprintf(text, n, "io_uring cannot be set up: %s", strerror(-error));
}

static uint32_t setup_flags(uint32_t features)
{
	uint32_t flags = IORING_SETUP_CLAMP;

	if (features & LOOP_SINGLE_ISSUER)
		flags |= IORING_SETUP_SINGLE_ISSUER;
	if (features & LOOP_DEFER_TASKRUN)
		flags |= IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
	else if (features & LOOP_COOP_TASKRUN)
		flags |= IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
	return flags;
}

/* Each row gives up the newest feature of the one before; an old kernel says EINVAL to a new flag. */
static int open_ring(struct loop *l, uint32_t allowed)
{
	static const uint32_t given_up[] = {
		0,
		LOOP_DEFER_TASKRUN,
		LOOP_DEFER_TASKRUN | LOOP_SINGLE_ISSUER,
		LOOP_DEFER_TASKRUN | LOOP_SINGLE_ISSUER | LOOP_COOP_TASKRUN,
	};
	int r = -EINVAL;

	/* The kernel takes DEFER_TASKRUN only together with SINGLE_ISSUER. */
	if (!(allowed & LOOP_SINGLE_ISSUER))
		allowed &= ~(uint32_t)LOOP_DEFER_TASKRUN;
	for (size_t i = 0; i < sizeof(given_up) / sizeof(*given_up) && r == -EINVAL; i++) {
		l->features = allowed & ~given_up[i];
		r = io_uring_queue_init(ENTRIES, &l->ring, setup_flags(l->features));
	}
	return r;
}

static void probe_futex(struct loop *l)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(&l->ring);

	if (!probe || probe->last_op < OP_FUTEX_WAIT ||
	    !(probe->ops[OP_FUTEX_WAIT].flags & IO_URING_OP_SUPPORTED))
		l->features &= ~(uint32_t)LOOP_FUTEX;
	io_uring_free_probe(probe);
}

int loop_init(struct loop *l, uint32_t disabled, char *error, size_t n_error)
{
	int r;

	*l = (struct loop){0};
	timers_init(&l->timers);
	r = open_ring(l, LOOP_FEATURES_ALL & ~disabled);
	if (r < 0) {
		explain_refusal(r, error, n_error);
		return r;
	}
	l->is_open = true;
	if (!(l->ring.features & IORING_FEAT_EXT_ARG) || !(l->ring.features & IORING_FEAT_NODROP)) {
		snprintf(error, n_error,
			 "this kernel's io_uring is too old: Linux 5.15 or later is needed");
		loop_deinit(l);
		return -ENOSYS;
	}
	if (l->features & LOOP_FUTEX)
		probe_futex(l);
	if (l->features & LOOP_REGISTERED_RING && io_uring_register_ring_fd(&l->ring) != 1)
		l->features &= ~(uint32_t)LOOP_REGISTERED_RING;
	l->now_ns = now_ns();
	return 0;
}

void loop_deinit(struct loop *l)
{
	if (l->is_open)
		io_uring_queue_exit(&l->ring);
	l->is_open = false;
	timers_deinit(&l->timers);
}

static struct io_uring_sqe *get_sqe(struct loop *l)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&l->ring);

	/* Submitting empties the queue: the kernel takes all of it, or says why on completion. */
	while (!sqe) {
		io_uring_submit(&l->ring);
		sqe = io_uring_get_sqe(&l->ring);
	}
	return sqe;
}

void loop_poll_in(struct loop *l, struct loop_op *op, int fd)
{
	struct io_uring_sqe *sqe;

	if (op->armed)
		return;
	sqe = get_sqe(l);
	io_uring_prep_poll_add(sqe, fd, POLLIN | POLLRDHUP);
	io_uring_sqe_set_data(sqe, op);
	op->armed = true;
}

void loop_futex_wait(struct loop *l, struct loop_op *op, uint32_t *word, uint32_t value)
{
	struct io_uring_sqe *sqe;

	if (op->armed)
		return;
	sqe = get_sqe(l);
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = OP_FUTEX_WAIT;
	sqe->fd = FUTEX_SIZE_U32;
	sqe->addr = (uintptr_t)word;
	sqe->addr2 = value;
	sqe->addr3 = FUTEX_MASK_ALL;
	io_uring_sqe_set_data(sqe, op);
	op->armed = true;
}

void loop_cancel(struct loop *l, struct loop_op *op)
{
	struct io_uring_sqe *sqe;

	if (!op->armed)
		return;
	sqe = get_sqe(l);
	io_uring_prep_cancel(sqe, op, 0);
	/* Its own completion says nothing that the op's does not. */
	io_uring_sqe_set_data(sqe, NULL);
}

bool loop_ready(const struct loop *l)
{
	return io_uring_cq_ready(&l->ring) ||
	       (__atomic_load_n(l->ring.sq.kflags, __ATOMIC_RELAXED) &
		(IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
}

size_t loop_reap(struct loop *l)
{
	struct io_uring_cqe *cqes[REAP_MAX];
	size_t n_done = 0;
	unsigned n;

	if (io_uring_sq_ready(&l->ring))
		io_uring_submit_and_get_events(&l->ring);
	else if (loop_ready(l) && !io_uring_cq_ready(&l->ring))
		io_uring_get_events(&l->ring);
	else if (!io_uring_cq_ready(&l->ring))
		return 0;
	n = io_uring_peek_batch_cqe(&l->ring, cqes, REAP_MAX);
	for (unsigned i = 0; i < n; i++) {
		struct loop_op *op = io_uring_cqe_get_data(cqes[i]);

		if (!op)
			continue;
		op->armed = false;
		op->complete(op, cqes[i]->res);
		n_done++;
	}
	io_uring_cq_advance(&l->ring, n);
	return n_done;
}

int loop_sleep(struct loop *l, uint64_t until_ns)
{
	struct io_uring_cqe *cqe;
	struct __kernel_timespec t;
	uint64_t now = now_ns();
	int r;

	if (until_ns == UINT64_MAX) {
		r = io_uring_submit_and_wait(&l->ring, 1);
	} else {
		uint64_t wait = until_ns > now ? until_ns - now : 0;

		t = (struct __kernel_timespec){
			.tv_sec = (long long)(wait / NS_PER_S),
			.tv_nsec = (long long)(wait % NS_PER_S),
		};
		r = io_uring_submit_and_wait_timeout(&l->ring, &cqe, 1, &t, NULL);
	}
	if (r == -ETIME || r == -EINTR || r == -EAGAIN || r == -EBUSY)
		return 0;
	return r < 0 ? r : 0;
}
