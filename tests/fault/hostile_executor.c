/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile executor against the client library. A thread accepts sessions and does to each, by a
 * seeded random number generator, whatever an executor can do to a client, truncating the segment
 * aside: bad welcomes, garbage in every shared word, header and payload, positions anywhere, wrong,
 * doubled and unasked answers, broken fragments, malformed msgpack, floods on the socket, silence,
 * and hanging up at each stage.
 *
 * Shown: the library does not crash (the sanitizers see more in their builds), does not wait beyond
 * its timeouts, every call it took gets exactly one result, and no descriptor is left behind.
 *
 *   hostile_executor [rounds [seed]]
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <toolring/toolring.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "shm/wake.h"
#include "wire/result.h"

#include "../unit/client/peer.h"

#define OPEN_TIMEOUT_MS 30
#define SLACK_NS        (10 * NS_PER_S) /* a busy machine may be this late, a hang is later */
#define N_STEPS         120
#define N_OPS           60

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* xorshift64*; each thread has its own, seeded from the printed one. */
struct dice {
	uint64_t state;
};

static uint64_t roll(struct dice *d)
{
	d->state ^= d->state >> 12;
	d->state ^= d->state << 25;
	d->state ^= d->state >> 27;
	return d->state * UINT64_C(2685821657736338717);
}

static uint64_t below(struct dice *d, uint64_t n)
{
	return (roll(d) >> 16) % n;
}

/* ---- the hostile side: welcomes ------------------------------------------------------------------------ */

struct hostile {
	struct peer *peer;
	struct dice dice;
	uint64_t last_id;
	uint16_t last_kind;
};

/* A welcome that is wrong somewhere. */
static void bad_welcome(struct hostile *h, int socket)
{
	struct dice *d = &h->dice;
	struct tr_welcome w = {
		.magic = TR_MAGIC,
		.bytes = sizeof(w),
		.layout_version = TR_LAYOUT_VERSION,
		.segment_bytes = 65536,
	};
	_cleanup_(cleanup_close) int file = memfd_create("bad", MFD_CLOEXEC);
	_cleanup_(cleanup_close) int read_only = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int pipes[2], fds[FDPASS_MAX];
	struct tr_segment s;

	CHECK(pipe2(pipes, O_CLOEXEC) == 0 && ftruncate(file, 65536) == 0);
	for (size_t i = 0; i < FDPASS_MAX; i++)
		fds[i] = below(d, 2) ? file : below(d, 2) ? pipes[0] : read_only;
	fds[0] = file;
	switch (below(d, 9)) {
	case 0: /* not a file at all */
		fds[0] = pipes[1];
		break;
	case 1: /* too small */
		w.segment_bytes = 65536 + 4096 * below(d, 1u << 20);
		break;
	case 2:
		w.segment_bytes = roll(d);
		break;
	case 3: /* random bytes anywhere in it */
		for (uint64_t i = below(d, 10); i > 0; i--)
			((uint8_t *)&w)[below(d, sizeof(w))] = (uint8_t)roll(d);
		break;
	case 4: /* refused, with a message that does not end */
		w.status = 1 + (uint32_t)below(d, 12);
		memset(w.message, (int)roll(d), sizeof(w.message));
		break;
	case 5:
		w.bytes = (uint32_t)roll(d) >> below(d, 32);
		break;
	default: /* a header that is nearly right */
		s = (struct tr_segment){
			.magic = TR_MAGIC,
			.layout_version = TR_LAYOUT_VERSION,
			.header_bytes = sizeof(s),
			.segment_bytes = 65536,
			.submission = {.offset = 4096, .bytes = 4096},
			.completion = {.offset = 8192, .bytes = 4096},
			.calls_offset = 12288,
			.n_calls = 16,
			.call_bytes_max = 4096,
			.result_bytes_max = 4096,
		};
		((uint64_t *)&s)[below(d, 14)] = below(d, 2) ? roll(d) : roll(d) >> below(d, 64);
		CHECK(pwrite(file, &s, sizeof(s), 0) == sizeof(s));
	}
	fdpass_send(socket, &w, below(d, 4) ? sizeof(w) : below(d, sizeof(w)), fds,
		    below(d, 3) ? 3 : below(d, FDPASS_MAX + 1), MSG_DONTWAIT);
	close(pipes[0]);
	close(pipes[1]);
}

/* ---- the hostile side: sessions ------------------------------------------------------------------------- */

static void put(struct hostile *h, uint16_t kind, uint16_t flags, uint64_t id, const void *first,
		size_t n_first, const void *data, size_t n)
{
	struct peer *p = h->peer;

	if (ring_tx_put(&p->tx, kind, flags, id, first, n_first, data, n) == 1)
		ring_tx_publish(&p->tx);
	wake_send(ring_tx_wake(&p->tx), p->tx.words.consumer_wait, p->socket);
}

/* Takes calls in, remembering the last, and answers them decently or nearly so. */
static void answer_some(struct hostile *h, bool decently)
{
	struct peer *p = h->peer;
	struct dice *d = &h->dice;
	struct ring_record record;

	for (uint64_t i = below(d, 20); i > 0 && ring_rx_next(&p->rx, &record) > 0; i--) {
		struct wire_result result = {
			.success = true,
			.verdict = (enum tr_verdict)below(d, TR_N_VERDICTS),
			.output = span_string("some output"),
		};
		uint16_t kind = record.kind;
		uint64_t id = record.call_id;

		ring_rx_consume(&p->rx, &record);
		ring_rx_release(&p->rx);
		wake_send(ring_rx_wake(&p->rx), p->rx.words.producer_wait, p->socket);
		h->last_id = id;
		h->last_kind = kind;
		if (kind == TR_KIND_CANCEL || (record.flags & TR_RECORD_MORE))
			continue;
		buf_clear(&p->out);
		CHECK(wire_result_encode(&p->out, &result) == 0);
		if (!decently) {
			switch (below(d, 5)) {
			case 0:
				kind = (uint16_t)below(d, 20);
				break;
			case 1:
				id += below(d, 2) ? 1 : roll(d);
				break;
			case 2:
				p->out.n = below(d, p->out.n);
				break;
			case 3:
				p->out.data[below(d, p->out.n)] = (uint8_t)roll(d);
				break;
			default: /* twice */
				put(h, kind, 0, id, NULL, 0, p->out.data, p->out.n);
			}
		}
		put(h, kind, 0, id, NULL, 0, p->out.data, p->out.n);
	}
}

/* A message in fragments that does not add up. */
static void fragments(struct hostile *h)
{
	struct dice *d = &h->dice;
	uint8_t data[600];
	uint64_t total = below(d, 3) ? below(d, 2000) : roll(d);
	uint16_t flags = TR_RECORD_FIRST | TR_RECORD_MORE;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)roll(d);
	for (uint64_t i = 1 + below(d, 5); i > 0; i--) {
		put(h, h->last_kind, flags, h->last_id, &total, flags & TR_RECORD_FIRST ? 8 : 0,
		    data, below(d, sizeof(data)));
		flags = (uint16_t)(below(d, 6) ? TR_RECORD_MORE : roll(d));
	}
}

static void garbage_in_words(struct hostile *h)
{
	struct dice *d = &h->dice;
	struct tr_segment *s = h->peer->segment.base;
	struct tr_ring *r = below(d, 2) ? &s->submission_ring : &s->completion_ring;
	uint64_t value = roll(d) >> below(d, 64);
	uint64_t *position = below(d, 2) ? &r->tail : &r->head;

	switch (below(d, 5)) {
	case 0:
		__atomic_store_n(&r->consumer_wait, (uint32_t)value, __ATOMIC_RELAXED);
		break;
	case 1:
		__atomic_store_n(&r->producer_wait, (uint32_t)value, __ATOMIC_RELAXED);
		break;
	case 2:
		__atomic_store_n(position, value, __ATOMIC_RELEASE);
		break;
	case 3:
		__atomic_add_fetch(position, (value & 0xfff) * 8 - 8192, __ATOMIC_RELEASE);
		break;
	default:
		__atomic_store_n(&h->peer->segment.calls[below(d, h->peer->segment.sizes.n_calls)],
				 below(d, 2) ? value : h->last_id, __ATOMIC_RELEASE);
	}
}

/* Garbage in the data area, then the position moved over it. */
static void garbage_in_area(struct hostile *h)
{
	struct peer *p = h->peer;
	struct dice *d = &h->dice;
	uint64_t n = 8 * (1 + below(d, p->tx.bytes / 8));
	struct tr_record header = {
		.length = (uint32_t)below(d, below(d, 2) ? 300 : UINT32_MAX),
		.kind = (uint16_t)below(d, 16),
		.flags = (uint16_t)below(d, 4),
		.call_id = h->last_id + below(d, 3),
	};

	for (uint64_t at = p->tx.tail; at < p->tx.tail + n; at += 8) {
		uint64_t word = roll(d);

		memcpy(p->tx.area + (at & (p->tx.bytes - 1)), &word, 8);
	}
	if (below(d, 2) && (p->tx.tail & (p->tx.bytes - 1)) + sizeof(header) <= p->tx.bytes)
		memcpy(p->tx.area + (p->tx.tail & (p->tx.bytes - 1)), &header, sizeof(header));
	p->tx.tail += n;
	ring_tx_publish(&p->tx);
	wake_send(ring_tx_wake(&p->tx), p->tx.words.consumer_wait, p->socket);
}

static void flood_socket(struct hostile *h)
{
	static const uint8_t bytes[4096];
	int fds[2] = {h->peer->segment.fd, h->peer->stop_fd};

	for (uint64_t i = below(&h->dice, 40); i > 0; i--)
		if (fdpass_send(h->peer->socket, bytes, 1 + below(&h->dice, sizeof(bytes)), fds,
				below(&h->dice, 3), MSG_DONTWAIT) < 0)
			return;
}

static bool hung_up(struct peer *p)
{
	struct pollfd f = {.fd = p->socket, .events = POLLRDHUP};

	return poll(&f, 1, 0) > 0;
}

/* true: and now hang up. */
static bool step(struct hostile *h)
{
	struct peer *p = h->peer;

	switch (below(&h->dice, 60)) {
	case 0:
		return true;
	case 1:
		shutdown(p->socket, SHUT_WR);
		return false;
	case 2:
		fragments(h);
		return false;
	case 3:
		garbage_in_area(h);
		return false;
	case 4:
	case 5:
		garbage_in_words(h);
		return false;
	case 6:
		flood_socket(h);
		return false;
	case 7:
		answer_some(h, false);
		return false;
	case 8: /* silence */
		ring_rx_sleep(&p->rx, TR_WAIT_FUTEX);
		wake_wait(p->rx.words.consumer_wait, TR_WAIT_FUTEX, NS_PER_MS);
		return false;
	default:
		answer_some(h, true);
		ring_tx_refresh(&p->tx);
		return false;
	}
}

static void session(struct hostile *h)
{
	struct peer *p = h->peer;
	struct dice *d = &h->dice;
	struct pollfd f = {.fd = p->socket, .events = POLLIN};
	struct tr_hello hello;

	if (below(d, 12) == 0)
		return;
	if (recv(p->socket, &hello, sizeof(hello), MSG_WAITALL) != sizeof(hello))
		return;
	switch (below(d, 10)) {
	case 0:
		return;
	case 1: /* silent until the client gives up */
		poll(&f, 1, 1000);
		return;
	case 2:
	case 3:
	case 4:
		bad_welcome(h, p->socket);
		return;
	}
	p->sizes = (struct segment_sizes){4096u << below(d, 3), 4096u << below(d, 3),
					  16u << below(d, 3)};
	p->sizes.n_calls = hello.n_calls > p->sizes.n_calls && below(d, 4)
				   ? segment_round_up(hello.n_calls)
				   : p->sizes.n_calls;
	if (peer_welcome(p, p->socket) < 0)
		return;
	for (int i = 0; i < N_STEPS && !hung_up(p); i++)
		if (step(h))
			return;
}

static void *hostile_main(void *data)
{
	struct hostile *h = data;
	struct peer *p = h->peer;

	for (;;) {
		struct pollfd f[2] = {{.fd = p->listener, .events = POLLIN},
				      {.fd = p->stop_fd, .events = POLLIN}};

		poll(f, 2, -1);
		if (f[1].revents)
			return NULL;
		p->socket = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
		CHECK(p->socket >= 0);
		session(h);
		fd_close(&p->socket);
		segment_deinit(&p->segment);
	}
}

/* ---- the client's side ------------------------------------------------------------------------------------ */

struct user {
	struct tr_client *client;
	struct dice dice;
	uint64_t *n_owed; /* calls submitted and not yet reaped, of all users of the client */
};

/* Errors that what an executor does may lead to. */
static void check_error(int r)
{
	static const int known[] = {
		EAGAIN, ETIMEDOUT, ENOTCONN,        ENOENT,       ENOBUFS,
		E2BIG,  EPROTO,    EPROTONOSUPPORT, EACCES,       EUSERS,
		ENOMEM, ESHUTDOWN, ENODEV,          ECONNREFUSED, EMSGSIZE,
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (r == -known[i])
			return;
	fprintf(stderr, "unexpected error %d\n", r);
	abort();
}

/* Reads all of a result: every slice with the NUL behind it. */
static void check_result(const struct tr_result *r)
{
	const struct tr_slice *slices[] = {&r->output,  &r->error,    &r->uniq_id,
					   &r->slot_id, &r->metadata, &r->raw};
	struct tr_value *v = NULL;

	for (size_t i = 0; i < 6; i++) {
		unsigned sum = 0;

		for (size_t j = 0; j <= slices[i]->n; j++)
			sum += (uint8_t)slices[i]->data[j];
		CHECK(slices[i]->data[slices[i]->n] == 0 || sum == UINT32_MAX);
	}
	CHECK(tr_verdict_name(r->verdict));
	if (r->metadata.n && tr_value_parse(r->metadata.data, r->metadata.n, &v) == 0)
		tr_value_free(v);
}

static void reap(struct user *u, int timeout_ms)
{
	struct tr_result results[4] = {0};
	int r = tr_reap_many(u->client, results, 1 + below(&u->dice, 4), timeout_ms);

	if (r < 0)
		check_error(r);
	else
		__atomic_sub_fetch(u->n_owed, (uint64_t)r, __ATOMIC_RELAXED);
	for (int i = 0; i < 4; i++) {
		if (i < r)
			check_result(&results[i]);
		tr_result_deinit(&results[i]);
	}
}

static void submit(struct user *u, int timeout_ms)
{
	static const uint8_t payload[60000];
	struct tr_call call = {.trajectory_id = "t", .tool = "bash", .uniq_id = "u"};
	uint64_t id;
	int r;

	/* Counted first: another thread may reap it before we are back. */
	__atomic_add_fetch(u->n_owed, 1, __ATOMIC_RELAXED);
	if (below(&u->dice, 2))
		r = tr_submit_wait(u->client, &call, timeout_ms, &id);
	else
		r = tr_submit_raw(u->client, TR_KIND_PING, payload,
				  below(&u->dice, 8) ? below(&u->dice, 200)
						     : below(&u->dice, 60000),
				  NULL, timeout_ms, &id);
	if (r < 0) {
		check_error(r);
		__atomic_sub_fetch(u->n_owed, 1, __ATOMIC_RELAXED);
	} else if (below(&u->dice, 4) == 0) {
		r = tr_cancel(u->client, id);
		CHECK(r == 0 || r == -ENOENT);
	}
}

static void call_wait(struct user *u, int timeout_ms)
{
	const struct tr_call call = {.trajectory_id = "t", .tool = "bash", .uniq_id = "u"};
	struct tr_result result = {0};
	int r = tr_call_wait(u->client, &call, &result, timeout_ms);

	if (r < 0)
		check_error(r);
	else
		check_result(&result);
	tr_result_deinit(&result);
}

static void event_turn(struct user *u, int timeout_ms)
{
	struct pollfd p = {.fd = tr_fd(u->client), .events = POLLIN};
	int r = tr_fd_arm(u->client);

	CHECK(r == 0 || r == 1 || r == -ENOTCONN);
	if (r <= 0)
		poll(&p, 1, timeout_ms);
	reap(u, 0);
}

static void *user_main(void *data)
{
	struct user *u = data;

	for (int i = 0; i < N_OPS; i++) {
		int timeout_ms = (int)below(&u->dice, 3);
		uint64_t start = now_ns();
		int r = 0;

		switch (below(&u->dice, 8)) {
		case 0:
		case 1:
		case 2:
			submit(u, timeout_ms);
			break;
		case 3:
		case 4:
			reap(u, timeout_ms);
			break;
		case 5:
			call_wait(u, timeout_ms);
			break;
		case 6:
			event_turn(u, timeout_ms);
			break;
		default:
			r = tr_ping(u->client, timeout_ms, NULL);
			if (r < 0)
				check_error(r);
		}
		CHECK(now_ns() - start < SLACK_NS);
	}
	return NULL;
}

static int n_open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* One client's life. 1: it had a session. */
static int client_round(struct peer *p, struct dice *d)
{
	bool again = below(d, 4) == 0;
	struct tr_options o = {
		.name = p->path,
		.open_timeout_ms = OPEN_TIMEOUT_MS,
		.spin_us = below(d, 2) ? 20 : -1,
		.n_calls = below(d, 2) ? 32 : 0,
		.result_bytes_max = 100000,
		.flags = again ? TR_OPEN_RESUBMIT : 0,
	};
	uint64_t n_owed = 0, start;
	struct user users[2];
	pthread_t thread;
	struct tr_client *c;
	bool two = below(d, 3) == 0;
	int r = tr_open_with(&c, &o);

	if (r < 0) {
		check_error(r);
		return 0;
	}
	for (int i = 0; i < 2; i++)
		users[i] = (struct user){.client = c, .dice.state = roll(d) | 1, .n_owed = &n_owed};
	if (two)
		CHECK(pthread_create(&thread, NULL, user_main, &users[1]) == 0);
	user_main(&users[0]);
	if (two)
		pthread_join(thread, NULL);
	/* What is owed comes: an answer, or, as each session of this executor ends, a verdict. */
	start = now_ns();
	while (!again && tr_n_in_flight(c) > 0) {
		reap(&users[0], 100);
		CHECK(now_ns() - start < 6 * SLACK_NS);
	}
	CHECK(again || n_owed == 0);
	tr_stats(c);
	tr_close(c);
	return 1;
}

int main(int argc, char **argv)
{
	uint64_t n_rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 600;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 20250101;
	struct dice dice = {.state = seed * 2 + 1};
	struct hostile h = {
		.dice.state = seed * 2 + 3, .last_id = 256, .last_kind = TR_KIND_EXECUTE};
	struct peer p;
	pthread_t thread;
	uint64_t one = 1, n_sessions = 0;
	int n_fds;

	printf("%llu rounds, seed %llu\n", (unsigned long long)n_rounds, (unsigned long long)seed);
	peer_init(&p);
	p.call_bytes_max = 50000;
	peer_listen(&p);
	h.peer = &p;
	n_fds = n_open_fds();
	CHECK(pthread_create(&thread, NULL, hostile_main, &h) == 0);
	for (uint64_t i = 0; i < n_rounds; i++)
		n_sessions += (uint64_t)client_round(&p, &dice);
	CHECK(write(p.stop_fd, &one, sizeof(one)) == sizeof(one));
	pthread_join(thread, NULL);
	CHECK(n_open_fds() == n_fds);
	peer_deinit(&p);
	printf("%llu clients had a session\n", (unsigned long long)n_sessions);
	return n_sessions > 0 ? 0 : 1;
}
