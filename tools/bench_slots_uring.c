/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_slots_uring.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_system.h"

#define N_READERS_MAX 64
#define REQUEST_BYTES 64
#define N_BATCH       64
#define SEND          (UINT64_C(1) << 32) /* in user_data, above the reader's number */

struct bench_reader {
	pid_t pid;
	int socket;
	char answer[BENCH_FILE_BYTES];
};

struct bench_readers {
	struct io_uring ring;
	bool has_ring;
	int n;
	char request[REQUEST_BYTES];
	struct bench_reader readers[N_READERS_MAX];
};

/* Opens as a slot does, which has to stay inside of the workspace. */
static int open_inside(int folder, const char *name)
{
	const struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
				     .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};

	return (int)syscall(SYS_openat2, folder, name, &how, sizeof(how));
}

static _Noreturn void become_reader(int socket, int folder, const char *name, pid_t parent)
{
	char request[REQUEST_BYTES];
	char content[BENCH_FILE_BYTES];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	while (recv(socket, request, sizeof(request), 0) > 0) {
		int fd = open_inside(folder, name);
		ssize_t n = fd >= 0 ? read(fd, content, sizeof(content)) : -1;

		if (fd >= 0)
			close(fd);
		if (n != sizeof(content) || send(socket, content, (size_t)n, MSG_NOSIGNAL) != n)
			_exit(1);
	}
	_exit(0);
}

static int start_reader(struct bench_readers *readers, int folder, const char *name)
{
	struct bench_reader *reader = &readers->readers[readers->n];
	pid_t us = getpid();
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	reader->pid = fork();
	if (reader->pid == 0) {
		/* Holding these open, the others would never see them close. */
		for (int i = 0; i < readers->n; i++)
			close(readers->readers[i].socket);
		close(pair[0]);
		become_reader(pair[1], folder, name, us);
	}
	close(pair[1]);
	if (reader->pid < 0) {
		int r = -errno;

		close(pair[0]);
		return r;
	}
	reader->socket = pair[0];
	readers->n++;
	return 0;
}

int bench_readers_start(struct bench_readers **ret_readers, int n, const char *folder_path,
			const char *name)
{
	int folder = open(folder_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct bench_readers *readers = calloc(1, sizeof(*readers));
	struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
						  IORING_SETUP_DEFER_TASKRUN};
	int r = folder < 0 ? -errno : readers ? 0 : -ENOMEM;

	for (int i = 0; i < n && i < N_READERS_MAX && r == 0; i++)
		r = start_reader(readers, folder, name);
	if (folder >= 0)
		close(folder);
	if (r == 0)
		r = io_uring_queue_init_params(4 * N_READERS_MAX, &readers->ring, &params);
	if (r == -EINVAL) /* an older kernel: without what makes it faster */
		r = io_uring_queue_init(4 * N_READERS_MAX, &readers->ring, 0);
	if (r < 0) {
		bench_readers_stop(readers);
		return r;
	}
	readers->has_ring = true;
	*ret_readers = readers;
	return 0;
}

struct bench_readers *bench_readers_stop(struct bench_readers *readers)
{
	if (!readers)
		return NULL;
	for (int i = 0; i < readers->n; i++)
		close(readers->readers[i].socket);
	if (readers->has_ring)
		io_uring_queue_exit(&readers->ring);
	for (int i = 0; i < readers->n; i++)
		waitpid(readers->readers[i].pid, NULL, 0);
	free(readers);
	return NULL;
}

/* Puts a request and the wait for its answer into the ring; both go to the kernel with the next. */
static void ask(struct bench_readers *readers, uint64_t i)
{
	struct bench_reader *reader = &readers->readers[i];
	struct io_uring_sqe *sqe = io_uring_get_sqe(&readers->ring);

	io_uring_prep_send(sqe, reader->socket, readers->request, sizeof(readers->request),
			   MSG_NOSIGNAL);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS; /* only a failure is told */
	io_uring_sqe_set_data64(sqe, i | SEND);
	sqe = io_uring_get_sqe(&readers->ring);
	io_uring_prep_recv(sqe, reader->socket, reader->answer, sizeof(reader->answer), 0);
	io_uring_sqe_set_data64(sqe, i);
}

int bench_readers_run(void *data, uint64_t end_ns, uint64_t *ret_n)
{
	struct bench_readers *readers = data;
	struct io_uring_cqe *cqes[N_BATCH];
	int n_open = readers->n;
	bool over = false;
	uint64_t n = 0;

	for (int i = 0; i < readers->n; i++)
		ask(readers, (uint64_t)i);
	while (n_open > 0) {
		int r = io_uring_submit_and_wait(&readers->ring, 1);
		unsigned n_cqes;

		if (r < 0 && r != -EINTR)
			return r;
		n_cqes = io_uring_peek_batch_cqe(&readers->ring, cqes, N_BATCH);
		over = over || bench_now_ns() >= end_ns;
		for (unsigned i = 0; i < n_cqes; i++) {
			if (cqes[i]->user_data & SEND || cqes[i]->res != BENCH_FILE_BYTES)
				return cqes[i]->res < 0 ? cqes[i]->res : -EPROTO;
			n += !over;
			n_open -= over;
			if (!over)
				ask(readers, cqes[i]->user_data);
		}
		io_uring_cq_advance(&readers->ring, n_cqes);
	}
	*ret_n = n;
	return 0;
}
