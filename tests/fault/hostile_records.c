/* SPDX-License-Identifier: Apache-2.0 */
/* Floods, silence, records that make no sense, and handshakes of every kind. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "attach.h"
#include "base/fdpass.h"
#include "hostile_attacks.h"
#include "shm/wake.h"

static void ends(struct attach *a, const char *why)
{
	check(attach_hung_up(a, true), "%s, and the session goes on", why);
	attach_close(a);
}

static void pause_ms(long ms)
{
	struct timespec t = {.tv_nsec = ms * 1000000};

	nanosleep(&t, NULL);
}

/* An EXECUTE of bash in this trajectory, which says how many bytes it answers with. */
static size_t put_execute(uint8_t *to, unsigned trajectory, uint32_t n_output)
{
	int n = sprintf((char *)to,
			"\x82\xadtrajectory_id\xa6h%05u\xa4tool\x82\xa4name\xa4"
			"bash\xa9"
			"arguments\x81\xa4"
			"fake\x81\xac"
			"output_bytes\xce",
			trajectory % 100000);

	for (int shift = 24; shift >= 0; shift -= 8)
		to[n++] = (uint8_t)(n_output >> shift);
	return (size_t)n;
}

/* ---- floods, and results nobody takes -------------------------------------------------------------- */

/* As many echoes and results as it takes, and none is ever read. */
static void never_reaps(const char *socket, struct dice *dice)
{
	uint64_t until = test_now_ns() + 500000000;
	size_t size = dice_below(dice, 2) ? 100 : 200000;
	uint8_t *payload = calloc(1, size);
	uint64_t id = 0;
	size_t n_done = 0;
	struct attach a;
	uint8_t call[128];

	check(payload, "memory");
	attach_open(&a, socket, 65536, 0);
	for (unsigned i = 0; i < 10; i++)
		if (!attach_send(&a, TR_KIND_EXECUTE, ++id, call, put_execute(call, i, 300000)))
			break;
	id++;
	while (test_now_ns() < until && !attach_hung_up(&a, false)) {
		int r = message_put(&a.tx, TR_KIND_PING, id, payload, size, &n_done);

		attach_publish(&a);
		if (r > 0) {
			id++;
			n_done = 0;
		} else {
			pause_ms(1);
		}
	}
	/* Dead without a word, or hung up properly. */
	if (dice_below(dice, 2))
		attach_close(&a);
	free(payload);
}

/* It asks for a byte on the socket each time, and never reads one. */
static void never_reads_its_socket(const char *socket, struct dice *dice)
{
	struct ring_record record = {0};
	struct attach a;

	attach_open(&a, socket, (uint32_t)dice_below(dice, 2) * 4096, 0);
	for (uint64_t id = 1; id <= 3000; id++) {
		struct patience p = {0};

		ring_rx_sleep(&a.rx, TR_WAIT_SOCKET);
		check(attach_send(&a, TR_KIND_PING, id, "x", 1), "ping %lu", (unsigned long)id);
		while (ring_rx_next(&a.rx, &record) <= 0)
			if (shm_load(a.rx.words.consumer_wait, SHM_RELAXED) == TR_AWAKE)
				check(patience_look_again(&p), "ping %lu", (unsigned long)id);
		ring_rx_consume(&a.rx, &record);
		ring_rx_release(&a.rx);
	}
	attach_close(&a);
}

static void floods_its_socket(const char *socket, struct dice *dice)
{
	static const uint8_t bytes[65536];
	struct attach a;
	size_t n = 0;

	(void)dice;
	attach_open(&a, socket, 0, 0);
	while (n < (64u << 20)) {
		ssize_t r = send(a.fd, bytes, sizeof(bytes), MSG_NOSIGNAL);

		if (r < 0)
			break;
		n += (size_t)r;
	}
	check(n < (64u << 20), "all of the flood was taken");
	ends(&a, "it flooded its socket");
}

/* Pings, calls to hundreds of trajectories, STATUS and CANCEL as fast as the ring takes them. */
static void floods_its_ring(const char *socket, struct dice *dice)
{
	uint64_t until = test_now_ns() + 400000000, id = 0;
	struct ring_record record;
	struct attach a;
	uint8_t call[128];

	attach_open(&a, socket, 0, 8192);
	while (test_now_ns() < until && !attach_hung_up(&a, false)) {
		static const uint16_t kinds[] = {
			TR_KIND_PING,   TR_KIND_EXECUTE, TR_KIND_EXECUTE,
			TR_KIND_STATUS, TR_KIND_CANCEL,
		};

		for (int i = 0; i < 200; i++) {
			uint16_t kind = kinds[dice_below(dice, 5)];
			size_t n = put_execute(call, (unsigned)dice_below(dice, 500), 0);
			size_t n_done = 0;

			if (kind != TR_KIND_EXECUTE)
				n = 0;
			if (message_put(&a.tx, kind, ++id, call, n, &n_done) <= 0)
				break;
		}
		attach_publish(&a);
		while (ring_rx_next(&a.rx, &record) > 0)
			ring_rx_consume(&a.rx, &record);
		ring_rx_release(&a.rx);
		wake_send(ring_rx_wake(&a.rx), a.rx.words.producer_wait, a.fd);
	}
	attach_close(&a);
}

/* ---- messages -------------------------------------------------------------------------------------- */

static void put(struct attach *a, uint16_t kind, uint16_t flags, uint64_t id, const uint64_t *total,
		const void *data, size_t n)
{
	check(ring_tx_put(&a->tx, kind, flags, id, total, total ? sizeof(*total) : 0, data, n) == 1,
	      "the ring is full");
	attach_publish(a);
}

/* A message begun and left, or gone on with in some other way than it should. */
static void half_messages(const char *socket, struct dice *dice)
{
	static const uint8_t data[600];
	const uint64_t total = 1000;

	for (int i = 0; i < 7; i++) {
		struct attach a;

		attach_open(&a, socket, 4096, 0);
		put(&a, TR_KIND_PING, TR_RECORD_FIRST | TR_RECORD_MORE, 7, &total, data, 600);
		switch (i) {
		case 0: /* silence */
			pause_ms((long)dice_below(dice, 50));
			attach_close(&a);
			continue;
		case 1: /* another call in between */
			put(&a, TR_KIND_PING, 0, 8, NULL, data, 8);
			break;
		case 2: /* more than was said */
			put(&a, TR_KIND_PING, 0, 7, NULL, data, 600);
			break;
		case 3: /* less */
			put(&a, TR_KIND_PING, 0, 7, NULL, data, 16);
			break;
		case 4: /* as much, and still more to come */
			put(&a, TR_KIND_PING, TR_RECORD_MORE, 7, NULL, data, 400);
			break;
		case 5: /* nothing at all */
			put(&a, TR_KIND_PING, TR_RECORD_MORE, 7, NULL, data, 0);
			break;
		default: /* begun anew */
			put(&a, TR_KIND_PING, TR_RECORD_FIRST | TR_RECORD_MORE, 7, &total, data,
			    600);
			break;
		}
		ends(&a, "its fragments make no message");
	}
}

/* Totals that are out of reach end the session, those just within wait and cost nothing. */
static void huge_totals(const char *socket, struct dice *dice)
{
	static const uint8_t data[64];
	struct attach a;
	uint64_t total;

	for (int i = 0; i < 4; i++) {
		attach_open(&a, socket, 4096, 0);
		total = i == 0   ? UINT64_MAX
			: i == 1 ? UINT64_C(1) << 63
			: i == 2 ? a.segment.call_bytes_max + 1
				 : 0;
		put(&a, TR_KIND_EXECUTE, TR_RECORD_FIRST | TR_RECORD_MORE, 1, &total, data, 64);
		ends(&a, "its message is too large");
	}
	for (int i = 0; i < 20; i++) {
		attach_open(&a, socket, 4096, 0);
		total = a.segment.call_bytes_max;
		put(&a, TR_KIND_EXECUTE, TR_RECORD_FIRST | TR_RECORD_MORE, 1, &total, data, 1);
		if (dice_below(dice, 2))
			attach_close(&a);
	}
}

/* Kinds, flags and ids that there cannot be. */
static void kinds_and_ids(const char *socket, struct dice *dice)
{
	static const struct {
		uint16_t kind, flags;
		uint64_t id;
	} bad[] = {
		{TR_N_KINDS, 0, 1},
		{UINT16_MAX, 0, 1},
		{TR_KIND_PING, 4, 1},
		{TR_KIND_PING, 0x8000, 1},
		{TR_KIND_PING, TR_RECORD_MORE, 1},
		{TR_KIND_EXECUTE, 0, 0},
		{TR_KIND_PAD, 0, 1},
		{TR_KIND_FORK, 0, 0},
	};
	uint8_t call[256];
	struct attach a;
	size_t n;

	(void)dice;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		attach_open(&a, socket, 0, 0);
		n = put_execute(call, 1, 0);
		put(&a, bad[i].kind, bad[i].flags, bad[i].id, NULL, call, n);
		ends(&a, "its record cannot be");
	}
	/* The same id, and another one of the same row, while the first is in flight. */
	for (int i = 0; i < 2; i++) {
		static const char waits[] = "\x82\xadtrajectory_id\xa1w\xa4tool\x82\xa4name\xa4"
					    "bash\xa9"
					    "arguments\x81\xa4"
					    "fake\x81\xa6wait_s\x3c";

		attach_open(&a, socket, 0, 16);
		put(&a, TR_KIND_EXECUTE, 0, 5, NULL, waits, sizeof(waits) - 1);
		put(&a, TR_KIND_EXECUTE, 0, i ? 5 + 16 : 5, NULL, waits, sizeof(waits) - 1);
		ends(&a, "its id is taken");
	}
}

/* Payloads that are noise, or nearly msgpack: each is answered, and nothing more. */
static void noise(const char *socket, struct dice *dice)
{
	uint8_t data[2000];
	struct attach a;
	uint16_t kind, answer;
	uint64_t id;

	attach_open(&a, socket, 0, 0);
	for (uint64_t i = 1; i <= 500; i++) {
		size_t n = dice_size(dice, sizeof(data));

		dice_fill(dice, data, n);
		if (dice_below(dice, 2)) {
			n = put_execute(data, (unsigned)i, 10);
			data[dice_below(dice, n)] = (uint8_t)dice_roll(dice);
		}
		kind = (uint16_t)(TR_KIND_ACQUIRE + dice_below(dice, TR_N_KINDS - TR_KIND_ACQUIRE));
		if (kind == TR_KIND_CANCEL)
			kind = TR_KIND_EXECUTE;
		check(attach_send(&a, kind, i, data, n), "send");
		check(attach_receive(&a, &answer, &id) && answer == kind && id == i,
		      "message %lu of kind %u is not answered", (unsigned long)i, kind);
	}
	attach_close(&a);
}

/* Wait words that change all the time, of which some are none. */
static void wait_words(const char *socket, struct dice *dice)
{
	uint64_t until = test_now_ns() + 200000000;
	struct attach a;
	uint64_t id = 0;

	attach_open(&a, socket, 4096, 0);
	while (test_now_ns() < until && !attach_hung_up(&a, false)) {
		static const uint32_t values[] = {0, 1, 2, 3, 7, UINT32_MAX, 1u << 31};
		uint32_t *list[] = {
			a.tx.words.consumer_wait,
			a.tx.words.producer_wait,
			a.rx.words.consumer_wait,
			a.rx.words.producer_wait,
		};
		struct ring_record record;
		size_t n_done = 0;

		shm_store(list[dice_below(dice, 4)], values[dice_below(dice, 7)], SHM_RELAXED);
		message_put(&a.tx, TR_KIND_PING, ++id, "x", 1, &n_done);
		ring_tx_publish(&a.tx);
		wake_send(1 + (uint32_t)dice_below(dice, 2), a.tx.words.consumer_wait, a.fd);
		shm_store(list[dice_below(dice, 4)], values[dice_below(dice, 7)], SHM_RELAXED);
		while (ring_rx_next(&a.rx, &record) > 0)
			ring_rx_consume(&a.rx, &record);
		ring_rx_release(&a.rx);
	}
	attach_close(&a);
}

/* ---- handshakes ------------------------------------------------------------------------------------ */

static struct tr_hello good_hello(void)
{
	return (struct tr_hello){
		.magic = TR_MAGIC,
		.bytes = sizeof(struct tr_hello),
		.layout_version = TR_LAYOUT_VERSION,
		.label = "\x1b[31m\xff hostile",
	};
}

static int connected(const char *socket)
{
	int fd = attach_connect(socket);

	check(fd >= 0, "connect: %s", strerror(-fd));
	return fd;
}

static void is_refused(const char *socket, const struct tr_hello *hello, size_t n,
		       enum tr_welcome_status status)
{
	int fd = connected(socket), r;

	check(send(fd, hello, n, MSG_NOSIGNAL) == (ssize_t)n, "hello");
	r = attach_refusal(fd);
	check(r == (int)status, "the welcome is %d, not %d", r, (int)status);
	close(fd);
}

static void bad_hellos(const char *socket, struct dice *dice)
{
	struct tr_hello h = good_hello();
	uint8_t garbage[sizeof(h)];

	dice_fill(dice, garbage, sizeof(garbage));
	memcpy(&h, garbage, sizeof(h));
	is_refused(socket, &h, sizeof(h), TR_WELCOME_MALFORMED);
	h = good_hello();
	h.bytes = 15;
	is_refused(socket, &h, sizeof(h), TR_WELCOME_MALFORMED);
	h.bytes = UINT32_MAX;
	is_refused(socket, &h, sizeof(h), TR_WELCOME_MALFORMED);
	h = good_hello();
	h.layout_version++;
	is_refused(socket, &h, sizeof(h), TR_WELCOME_VERSION);
	is_refused(socket, &h, 16, TR_WELCOME_VERSION);
	h = good_hello();
	h.features_required = UINT64_C(1) << 40;
	is_refused(socket, &h, sizeof(h), TR_WELCOME_FEATURE);
	h = good_hello();
	h.submission_bytes = UINT32_MAX;
	is_refused(socket, &h, sizeof(h), TR_WELCOME_SIZE);
	h = good_hello();
	h.completion_bytes = UINT32_C(1) << 31;
	is_refused(socket, &h, sizeof(h), TR_WELCOME_SIZE);
	h = good_hello();
	h.n_calls = UINT32_MAX;
	is_refused(socket, &h, sizeof(h), TR_WELCOME_SIZE);
}

/* A hello in pieces, a longer one of a time to come, and with bytes behind: sessions like any other. */
static void odd_hellos(const char *socket, struct dice *dice)
{
	struct {
		struct tr_hello hello;
		uint8_t more[1000];
	} h = {.hello = good_hello()};
	struct attach a;

	for (int i = 0; i < 3; i++) {
		int fd = connected(socket);
		size_t n = sizeof(h.hello);

		if (i == 1)
			n += dice_below(dice, sizeof(h.more));
		h.hello.bytes = (uint32_t)n;
		for (size_t j = 0; j < n; j++) {
			check(send(fd, (uint8_t *)&h + j, 1, MSG_NOSIGNAL) == 1, "hello");
			if (i == 0 && j % 16 == 0)
				pause_ms(1);
		}
		if (i == 2)
			check(send(fd, h.more, 100, MSG_NOSIGNAL) == 100, "bytes behind");
		attach_take(&a, fd);
		check(attach_send(&a, TR_KIND_PING, 1, NULL, 0), "ping");
		attach_close(&a);
	}
}

/* None, half a one, and gone; or hung up on when the time is over. */
static void no_hello(const char *socket, struct dice *dice)
{
	struct tr_hello h = good_hello();
	struct attach a = {.fd = -1};

	for (int i = 0; i < 300; i++) {
		int fd = connected(socket);

		send(fd, &h, dice_below(dice, sizeof(h)), MSG_NOSIGNAL);
		close(fd);
	}
	a.fd = connected(socket);
	check(attach_hung_up(&a, true), "it waits for a hello for ever");
	close(a.fd);
	a.fd = connected(socket);
	send(a.fd, &h, 40, MSG_NOSIGNAL);
	check(attach_hung_up(&a, true), "it waits for the rest of a hello for ever");
	close(a.fd);
}

/* Many at the same time, with descriptors in the hello and behind, who then die all at once. */
static void crowd(const char *socket, struct dice *dice)
{
	struct tr_hello h = good_hello();
	int fds[] = {0, 1, 2};

	for (int i = 0; i < 60; i++) {
		int fd = connected(socket);

		if (dice_below(dice, 3) == 0)
			continue;
		fdpass_send(fd, &h, sizeof(h), fds, 3, 0);
		fdpass_send(fd, "x", 1, fds, 3, 0);
		if (dice_below(dice, 3) == 0)
			check(attach_refusal(fd) == TR_WELCOME_OK, "no session");
	}
}

const struct attack record_attacks[] = {
	{"never_reaps", never_reaps},
	{"never_reads_its_socket", never_reads_its_socket},
	{"floods_its_socket", floods_its_socket},
	{"floods_its_ring", floods_its_ring},
	{"half_messages", half_messages},
	{"huge_totals", huge_totals},
	{"kinds_and_ids", kinds_and_ids},
	{"noise", noise},
	{"wait_words", wait_words},
	{"bad_hellos", bad_hellos},
	{"odd_hellos", odd_hellos},
	{"no_hello", no_hello},
	{"crowd", crowd},
};
const size_t n_record_attacks = sizeof(record_attacks) / sizeof(*record_attacks);
