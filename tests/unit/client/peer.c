/* SPDX-License-Identifier: Apache-2.0 */
#include "peer.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "shm/wake.h"
#include "wire/call.h"
#include "wire/result.h"

#define SLEEP_NS (5 * NS_PER_MS)

void peer_init(struct peer *p)
{
	*p = (struct peer){.executor_fd = -1, .stats_fd = -1, .listener = -1, .socket = -1};
	p->segment = SEGMENT_NULL;
	p->sizes = (struct segment_sizes){65536, 65536, 256};
	p->call_bytes_max = 16u << 20;
	snprintf(p->directory, sizeof(p->directory), "/tmp/toolring-test-XXXXXX");
	if (!mkdtemp(p->directory))
		abort();
	snprintf(p->path, sizeof(p->path), "%s/s.sock", p->directory);
	p->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	message_assembly_init(&p->assembly, 64u << 20);
	buf_init(&p->out, 64u << 20);
}

int peer_pidfd(void)
{
	return (int)syscall(SYS_pidfd_open, getpid(), 0);
}

int peer_listen(struct peer *p)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	unlink(p->path);
	memcpy(a.sun_path, p->path, sizeof(p->path));
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 16) < 0)
		abort();
	p->listener = fd;
	return fd;
}

static bool stopping(struct peer *p)
{
	return __atomic_load_n(&p->stop, __ATOMIC_RELAXED);
}

int peer_welcome(struct peer *p, int socket)
{
	struct tr_welcome w = {
		.magic = TR_MAGIC,
		.bytes = sizeof(w),
		.layout_version = TR_LAYOUT_VERSION,
	};
	struct segment_identity identity = {
		.session_id = p->n_sessions + 1,
		.generation = 1,
		.call_bytes_max = p->call_bytes_max,
		.result_bytes_max = 64u << 20,
	};
	_cleanup_(cleanup_close) int pidfd = peer_pidfd();
	int fds[3];
	int r;

	r = segment_create(&p->segment, "toolring-test-", &p->sizes, &identity);
	if (r < 0)
		return r;
	w.segment_bytes = p->segment.bytes;
	fds[0] = p->segment.fd;
	fds[1] = p->executor_fd >= 0 ? p->executor_fd : pidfd;
	fds[2] = p->stats_fd;
	segment_executor_rings(&p->segment, &p->tx, &p->rx);
	return fdpass_send(socket, &w, sizeof(w), fds, p->stats_fd >= 0 ? 3 : 2, 0) == sizeof(w)
		       ? 0
		       : -EIO;
}

/* ---- answering -------------------------------------------------------------------------------------- */

static bool hung_up(struct peer *p)
{
	struct pollfd f = {.fd = p->socket, .events = POLLRDHUP};

	return poll(&f, 1, 0) > 0 && f.revents;
}

static void publish(struct peer *p)
{
	ring_tx_publish(&p->tx);
	wake_send(ring_tx_wake(&p->tx), p->tx.words.consumer_wait, p->socket);
}

/* Waits for room without taking anything in meanwhile: the client must not rely on that. */
static int put(struct peer *p, uint16_t kind, uint64_t id, const void *data, size_t n)
{
	size_t done = 0;
	int r;

	while ((r = message_put(&p->tx, kind, id, data, n, &done)) == 0) {
		uint64_t head = p->tx.head;

		publish(p);
		ring_tx_sleep(&p->tx, TR_WAIT_FUTEX);
		if (ring_tx_refresh(&p->tx) == 0 && p->tx.head == head)
			wake_wait(p->tx.words.producer_wait, TR_WAIT_FUTEX, SLEEP_NS);
		ring_tx_awake(&p->tx);
		if (stopping(p) || hung_up(p))
			return -EPIPE;
	}
	return r < 0 ? r : 0;
}

static int answer(struct peer *p, uint16_t kind, uint64_t id, const struct wire_result *result)
{
	buf_clear(&p->out);
	if (wire_result_encode(&p->out, result) < 0)
		return -EINVAL;
	return put(p, kind, id, p->out.data, p->out.n);
}

static void note_begun(struct peer *p, uint64_t id)
{
	__atomic_store_n(&p->segment.calls[id & (p->segment.sizes.n_calls - 1)], id,
			 __ATOMIC_RELEASE);
}

static int execute(struct peer *p, uint64_t id, const struct wire_call *call)
{
	struct wire_result result = {.success = true, .uniq_id = call->uniq_id};
	_cleanup_(cleanup_free) char *big = NULL;

	if (span_is(call->tool, "ignore"))
		return 0;
	if (span_is(call->tool, "die")) {
		publish(p);
		return -EPIPE;
	}
	if (span_is(call->tool, "violate"))
		return answer(p, TR_KIND_EXECUTE, id + p->segment.sizes.n_calls, &result);
	note_begun(p, id);
	if (span_is(call->tool, "hang"))
		return 0;
	result.output = call->arguments;
	if (span_is(call->tool, "big")) {
		char number[24] = "";

		memcpy(number, call->uniq_id.data, call->uniq_id.n < 23 ? call->uniq_id.n : 23);
		result.output.n = strtoul(number, NULL, 10);
		big = malloc(result.output.n + 1);
		memset(big, 'x', result.output.n);
		result.output.data = (const uint8_t *)big;
	}
	result.timing_ns[TR_PHASE_RUN] = 1234;
	return answer(p, TR_KIND_EXECUTE, id, &result);
}

static int status(struct peer *p, uint64_t id)
{
	uint8_t map[] = {0x81, 0xa8, 's', 'e', 's', 's', 'i', 'o', 'n', 's', 1};
	struct wire_result result = {.success = true, .metadata = span_of(map, sizeof(map))};

	return answer(p, TR_KIND_STATUS, id, &result);
}

static int serve(struct peer *p, uint16_t kind, uint64_t id, uint8_t *payload, size_t n)
{
	struct wire_result result = {.success = true};
	struct wire_call call;
	struct wire_error error;

	if (kind == TR_KIND_CANCEL) {
		__atomic_add_fetch(&p->n_cancels, 1, __ATOMIC_RELAXED);
		result.success = false;
		result.verdict = TR_CANCELLED;
		return answer(p, TR_KIND_EXECUTE, id, &result);
	}
	__atomic_add_fetch(&p->n_records, 1, __ATOMIC_RELAXED);
	if (kind == TR_KIND_PING)
		return put(p, kind, id, payload, n);
	if (kind == TR_KIND_STATUS)
		return status(p, id);
	if (wire_call_decode((enum tr_kind)kind, payload, n, &call, &error) < 0) {
		result.success = false;
		result.verdict = TR_INVALID;
		result.error = span_string(error.text);
		return answer(p, kind, id, &result);
	}
	if (kind == TR_KIND_EXECUTE)
		return execute(p, id, &call);
	result.output = span_string(wire_kind_name((enum tr_kind)kind));
	if (kind == TR_KIND_ACQUIRE)
		result.slot_id = span_string("slot-1");
	if (call.path.n)
		result.output = call.path;
	return answer(p, kind, id, &result);
}

/* ---- one session ------------------------------------------------------------------------------------- */

static int take(struct peer *p, const struct ring_record *record)
{
	struct message_assembly *a = &p->assembly;
	_cleanup_(cleanup_free) uint8_t *large = NULL;
	uint8_t small[4096];
	uint8_t *payload = small;
	int r = 0;

	if (record->flags || a->active) {
		r = message_assembly_feed(a, &p->rx, record);
		ring_rx_consume(&p->rx, record);
		return r <= 0 ? r : serve(p, a->kind, a->call_id, a->data.data, a->data.n);
	}
	if (record->length > sizeof(small))
		payload = large = malloc(record->length);
	ring_rx_copy(&p->rx, record, 0, payload, record->length);
	ring_rx_consume(&p->rx, record);
	return serve(p, record->kind, record->call_id, payload, record->length);
}

static int turn(struct peer *p)
{
	struct ring_record record;
	int r = 0;

	while (!__atomic_load_n(&p->paused, __ATOMIC_RELAXED) &&
	       (r = ring_rx_next(&p->rx, &record)) > 0) {
		r = take(p, &record);
		if (r < 0)
			return r;
		if (p->rx.head - p->rx.released > p->rx.bytes / 8)
			ring_rx_release(&p->rx);
	}
	if (r < 0)
		return r;
	if (p->rx.head != p->rx.released)
		ring_rx_release(&p->rx);
	wake_send(ring_rx_wake(&p->rx), p->rx.words.producer_wait, p->socket);
	if (p->tx.tail != p->tx.published)
		publish(p);
	return 0;
}

static void session(struct peer *p)
{
	struct tr_hello hello;

	if (recv(p->socket, &hello, sizeof(hello), MSG_WAITALL) != sizeof(hello))
		return;
	if (peer_welcome(p, p->socket) < 0)
		return;
	__atomic_add_fetch(&p->n_sessions, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&p->n_records, 0, __ATOMIC_RELAXED);
	p->assembly.active = false;
	while (!stopping(p) && turn(p) == 0) {
		bool awake = false;

		for (int i = 0; i < 2000 && !awake; i++) {
			awake = ring_rx_poll(&p->rx) != 0;
			spin_pause();
		}
		if (awake && !__atomic_load_n(&p->paused, __ATOMIC_RELAXED))
			continue;
		ring_rx_sleep(&p->rx, TR_WAIT_FUTEX);
		if (p->rx.tail != p->rx.head || ring_rx_poll(&p->rx) == 0)
			wake_wait(p->rx.words.consumer_wait, TR_WAIT_FUTEX, SLEEP_NS);
		ring_rx_awake(&p->rx);
		if (hung_up(p))
			return;
	}
}

static void *peer_main(void *data)
{
	struct peer *p = data;

	while (!stopping(p)) {
		struct pollfd f[2] = {{.fd = p->listener, .events = POLLIN},
				      {.fd = p->stop_fd, .events = POLLIN}};

		poll(f, 2, -1);
		if (f[1].revents)
			break;
		p->socket = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
		if (p->socket < 0)
			continue;
		session(p);
		fd_close(&p->socket);
		segment_deinit(&p->segment);
	}
	return NULL;
}

void peer_start(struct peer *p)
{
	uint64_t n;
	ssize_t r = read(p->stop_fd, &n, sizeof(n));

	(void)r;
	p->stop = false;
	peer_listen(p);
	if (pthread_create(&p->thread, NULL, peer_main, p))
		abort();
	p->started = true;
}

void peer_stop(struct peer *p)
{
	uint64_t one = 1;
	ssize_t r;

	if (!p->started)
		return;
	p->started = false;
	__atomic_store_n(&p->stop, true, __ATOMIC_RELAXED);
	r = write(p->stop_fd, &one, sizeof(one));
	(void)r;
	pthread_join(p->thread, NULL);
	fd_close(&p->listener);
	unlink(p->path);
}

void peer_pause(struct peer *p, bool paused)
{
	__atomic_store_n(&p->paused, paused, __ATOMIC_RELAXED);
}

void peer_deinit(struct peer *p)
{
	peer_stop(p);
	fd_close(&p->listener);
	fd_close(&p->stop_fd);
	unlink(p->path);
	rmdir(p->directory);
	message_assembly_deinit(&p->assembly);
	buf_deinit(&p->out);
}
