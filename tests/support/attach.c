/* SPDX-License-Identifier: Apache-2.0 */
#include "attach.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fdpass.h"
#include "daemon.h"
#include "shm/wake.h"

#define RESULT_BYTES_MAX (UINT64_C(64) << 20)
#define HANG_UP_MS_MAX   60000

int attach_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	check(fd >= 0, "socket");
	check(strlen(path) < sizeof(address.sun_path), "%s", path);
	strcpy(address.sun_path, path);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

/* All of the welcome, as it is sent: in one piece. */
static int receive_welcome(int fd, struct tr_welcome *w, int fds[FDPASS_MAX])
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n;

	check(poll(&p, 1, HANG_UP_MS_MAX) == 1, "neither a welcome nor a hang-up");
	n = fdpass_receive(fd, w, sizeof(*w), fds, 0);
	if (n <= 0)
		return n < 0 ? (int)n : -ECONNRESET;
	check(n == sizeof(*w) && w->magic == TR_MAGIC && w->bytes == sizeof(*w), "a welcome");
	return 0;
}

int attach_refusal(int fd)
{
	int fds[FDPASS_MAX];
	struct tr_welcome w;
	int r = receive_welcome(fd, &w, fds);

	if (r < 0)
		return r;
	for (size_t i = 0; i < FDPASS_MAX; i++)
		fd_close(&fds[i]);
	return (int)w.status;
}

void attach_take(struct attach *a, int fd)
{
	int fds[FDPASS_MAX];
	struct tr_welcome w;
	int r = receive_welcome(fd, &w, fds);

	*a = (struct attach){.fd = fd, .segment_fd = -1};
	check(r == 0 && w.status == TR_WELCOME_OK, "no session: %d, %.*s", r,
	      r ? 0 : (int)sizeof(w.message), w.message);
	a->segment_fd = dup(fds[TR_FD_SEGMENT]);
	r = segment_map(&a->segment, fds[TR_FD_SEGMENT], w.segment_bytes);
	check(r == 0, "the segment: %s", strerror(-r));
	segment_client_rings(&a->segment, &a->tx, &a->rx);
	message_assembly_init(&a->assembly, RESULT_BYTES_MAX);
	for (size_t i = 0; i < FDPASS_MAX; i++)
		if (i != TR_FD_SEGMENT)
			fd_close(&fds[i]);
}

void attach_open(struct attach *a, const char *socket, uint32_t ring_bytes, uint32_t n_calls)
{
	struct tr_hello hello = {
		.magic = TR_MAGIC,
		.bytes = sizeof(hello),
		.layout_version = TR_LAYOUT_VERSION,
		.submission_bytes = ring_bytes,
		.completion_bytes = ring_bytes,
		.n_calls = n_calls,
		.label = "attach",
	};
	int fd = attach_connect(socket);

	check(fd >= 0, "connect: %s", strerror(-fd));
	check(send(fd, &hello, sizeof(hello), MSG_NOSIGNAL) == sizeof(hello), "hello");
	attach_take(a, fd);
}

void attach_close(struct attach *a)
{
	message_assembly_deinit(&a->assembly);
	segment_deinit(&a->segment);
	fd_close(&a->segment_fd);
	fd_close(&a->fd);
}

void attach_publish(struct attach *a)
{
	ring_tx_publish(&a->tx);
	wake_send(ring_tx_wake(&a->tx), a->tx.words.consumer_wait, a->fd);
}

bool attach_send(struct attach *a, uint16_t kind, uint64_t id, const void *data, size_t n)
{
	struct patience p = {0};
	size_t n_done = 0;
	int r;

	while ((r = message_put(&a->tx, kind, id, data, n, &n_done)) == 0) {
		attach_publish(a);
		if (attach_hung_up(a, false) || !patience_look_again(&p))
			return false;
	}
	attach_publish(a);
	return r > 0;
}

bool attach_hung_up(struct attach *a, bool wait)
{
	struct pollfd p = {.fd = a->fd, .events = POLLRDHUP};

	return poll(&p, 1, wait ? HANG_UP_MS_MAX : 0) == 1;
}

bool attach_receive(struct attach *a, uint16_t *ret_kind, uint64_t *ret_id)
{
	struct patience p = {0};
	struct ring_record record;
	int r;

	a->assembly.active = false;
	for (;;) {
		r = ring_rx_next(&a->rx, &record);
		if (r < 0)
			return false;
		if (r == 0) {
			if (attach_hung_up(a, false) || !patience_look_again(&p))
				return false;
			continue;
		}
		*ret_kind = record.kind;
		*ret_id = record.call_id;
		if (record.flags || a->assembly.active) {
			r = message_assembly_feed(&a->assembly, &a->rx, &record);
		} else {
			buf_clear(&a->assembly.data);
			r = buf_reserve(&a->assembly.data, record.length);
			if (r == 0) {
				ring_rx_copy(&a->rx, &record, 0, a->assembly.data.data,
					     record.length);
				a->assembly.data.n = record.length;
				r = 1;
			}
		}
		if (r < 0)
			return false;
		ring_rx_consume(&a->rx, &record);
		ring_rx_release(&a->rx);
		wake_send(ring_rx_wake(&a->rx), a->rx.words.producer_wait, a->fd);
		if (r > 0)
			return true;
	}
}
