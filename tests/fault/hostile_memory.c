/* SPDX-License-Identifier: Apache-2.0 */
/* Garbage in shared words, record headers, payloads and positions; segments that are truncated. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "attach.h"
#include "hostile_attacks.h"
#include "shm/wake.h"

static const uint32_t ring_sizes[] = {0, 4096, 65536};

static void open_any(struct attach *a, const char *socket, struct dice *dice)
{
	attach_open(a, socket, ring_sizes[dice_below(dice, 3)], dice_below(dice, 2) ? 16 : 0);
}

/* Wakes the executor in both ways, whatever the words say. */
static void poke(struct attach *a)
{
	wake_send(TR_WAIT_FUTEX, a->tx.words.consumer_wait, -1);
	wake_send(TR_WAIT_SOCKET, NULL, a->fd);
}

static void ends(struct attach *a, const char *why)
{
	check(attach_hung_up(a, true), "%s, and the session goes on", why);
	attach_close(a);
}

static void ping_once(struct attach *a, uint64_t id)
{
	uint16_t kind;
	uint64_t answer;

	check(attach_send(a, TR_KIND_PING, id, "hello", 5), "ping");
	check(attach_receive(a, &kind, &answer) && kind == TR_KIND_PING && answer == id, "pong");
}

static uint64_t any_position(struct dice *dice, uint64_t now, uint64_t bytes)
{
	const uint64_t list[] = {
		0,
		8,
		now + 8,
		now - 8,
		now + 1,
		now + bytes,
		now + bytes + 8,
		bytes,
		bytes - 8,
		~UINT64_C(7),
		UINT64_C(1) << 63,
		UINT64_C(1) << 32,
		dice_roll(dice),
		dice_roll(dice) & ~UINT64_C(7),
		now + (dice_below(dice, bytes) & ~UINT64_C(7)),
	};

	return list[dice_below(dice, sizeof(list) / sizeof(*list))];
}

/* Any of the eight words, with anything in it. */
static void words(const char *socket, struct dice *dice)
{
	for (int i = 0; i < 20; i++) {
		struct attach a;

		open_any(&a, socket, dice);
		for (uint64_t n = dice_below(dice, 4); n; n--)
			ping_once(&a, n);
		for (int j = 0; j < 8 && !attach_hung_up(&a, false); j++) {
			struct ring_words *w = dice_below(dice, 2) ? &a.tx.words : &a.rx.words;
			uint64_t position = any_position(dice, a.tx.tail, a.tx.bytes);
			uint32_t wait = (uint32_t)dice_below(dice, 4);

			switch (dice_below(dice, 4)) {
			case 0:
				shm_store(w->tail, position, SHM_RELEASE);
				break;
			case 1:
				shm_store(w->head, position, SHM_RELEASE);
				break;
			case 2:
				shm_store(w->consumer_wait, wait ? wait : UINT32_MAX, SHM_RELAXED);
				break;
			default:
				shm_store(w->producer_wait, wait ? wait : UINT32_MAX, SHM_RELAXED);
				break;
			}
			poke(&a);
		}
		attach_close(&a);
	}
}

/* The submission tail where it cannot be: the session ends. */
static void tails(const char *socket, struct dice *dice)
{
	for (int i = 0; i < 7; i++) {
		struct attach a;
		uint64_t bad[7];

		open_any(&a, socket, dice);
		ping_once(&a, 1);
		bad[0] = a.tx.tail + 4;
		bad[1] = a.tx.tail + 1;
		bad[2] = a.tx.tail - 8;
		bad[3] = a.tx.tail + a.tx.bytes + 8;
		bad[4] = UINT64_C(1) << 63;
		bad[5] = 0;
		bad[6] = ~UINT64_C(7);
		shm_store(a.tx.words.tail, bad[i], SHM_RELEASE);
		poke(&a);
		ends(&a, "its tail is where it cannot be");
	}
}

/* The completion head: the executor looks at it when it needs the room. */
static void heads(const char *socket, struct dice *dice)
{
	static const uint8_t payload[512];

	for (int i = 0; i < 5; i++) {
		struct attach a;
		uint64_t bad[5];

		attach_open(&a, socket, 4096, 0);
		/* Some laps, so that it has looked at our head before. */
		for (uint64_t id = 1; a.rx.head < 3 * a.rx.bytes + dice_below(dice, a.rx.bytes);
		     id++)
			ping_once(&a, id);
		bad[0] = a.rx.head + (UINT64_C(1) << 20);
		bad[1] = a.rx.head + 4;
		bad[2] = 8;
		bad[3] = UINT64_C(1) << 63;
		bad[4] = ~UINT64_C(7);
		shm_store(a.rx.words.head, bad[i], SHM_RELEASE);
		for (uint64_t id = 1000; id < 1050 && !attach_hung_up(&a, false); id++)
			if (!attach_send(&a, TR_KIND_PING, id, payload, sizeof(payload)))
				break;
		poke(&a);
		ends(&a, "its head is where it cannot be");
	}
}

/* Headers and payloads of noise, at a position that is right. */
static void headers(const char *socket, struct dice *dice)
{
	for (int i = 0; i < 30; i++) {
		struct attach a;
		uint64_t n;

		open_any(&a, socket, dice);
		n = (dice_below(dice, a.tx.bytes) | 16) & ~UINT64_C(7);
		dice_fill(dice, a.tx.area, n);
		if (dice_below(dice, 2)) {
			/* Plausible in all but one field. */
			struct tr_record r = {.length = 8, .kind = TR_KIND_EXECUTE, .call_id = 1};

			if (dice_below(dice, 2))
				r.length = (uint32_t)dice_roll(dice);
			else if (dice_below(dice, 2))
				r.kind = (uint16_t)dice_roll(dice);
			else
				r.flags = (uint16_t)dice_roll(dice);
			memcpy(a.tx.area, &r, sizeof(r));
		}
		shm_store(a.tx.words.tail, n, SHM_RELEASE);
		poke(&a);
		if (dice_below(dice, 2)) {
			struct timespec moment = {.tv_nsec = 1000000};

			nanosleep(&moment, NULL);
		}
		attach_close(&a);
	}
}

/* All of the segment at once, and again while the executor reads and writes there. */
static void everything(const char *socket, struct dice *dice)
{
	for (int i = 0; i < 4; i++) {
		uint64_t until = test_now_ns() + 100000000;
		struct attach a;

		open_any(&a, socket, dice);
		attach_send(&a, TR_KIND_PING, 1, "hello", 5);
		if (i % 2)
			dice_fill(dice, a.segment.base, a.segment.bytes);
		while (test_now_ns() < until && !attach_hung_up(&a, false)) {
			for (int j = 0; j < 100; j++)
				((uint8_t *)a.segment.base)[dice_below(dice, a.segment.bytes)] =
					(uint8_t)dice_roll(dice);
			poke(&a);
		}
		attach_close(&a);
	}
}

/* The payload changes while it is read. */
static void changing(const char *socket, struct dice *dice)
{
	uint64_t until = test_now_ns() + 200000000;
	struct attach a;
	uint8_t payload[900];

	attach_open(&a, socket, 4096, 0);
	for (uint64_t id = 1; test_now_ns() < until && !attach_hung_up(&a, false); id++) {
		struct ring_record record;
		size_t n_done = 0;

		dice_fill(dice, payload, sizeof(payload));
		payload[0] = 0x82;
		message_put(&a.tx, TR_KIND_EXECUTE, id, payload, dice_below(dice, sizeof(payload)),
			    &n_done);
		ring_tx_publish(&a.tx);
		for (int j = 0; j < 50; j++)
			a.tx.area[dice_below(dice, a.tx.bytes)] = (uint8_t)dice_roll(dice);
		poke(&a);
		while (ring_rx_next(&a.rx, &record) > 0)
			ring_rx_consume(&a.rx, &record);
		ring_rx_release(&a.rx);
		poke(&a);
	}
	attach_close(&a);
}

/* ---- truncation ------------------------------------------------------------------------------------ */

static void on_bus_error(int number)
{
	(void)number;
	_exit(0);
}

static void until_asleep(struct attach *a)
{
	struct patience p = {0};

	while (shm_load(a->tx.words.consumer_wait, SHM_RELAXED) == TR_AWAKE)
		check(patience_look_again(&p), "the executor does not sleep");
}

/* While it sleeps on what is truncated, or has just written there. Our own words are gone, too. */
static void truncated_idle(const char *socket, struct dice *dice)
{
	signal(SIGBUS, on_bus_error);
	for (int i = 0; i < 8; i++) {
		struct attach a;

		open_any(&a, socket, dice);
		if (i & 1)
			ping_once(&a, 1);
		if (i & 2)
			until_asleep(&a);
		check(ftruncate(a.segment_fd, i & 4 ? 1024 : 0) == 0, "ftruncate");
		wake_send(TR_WAIT_SOCKET, NULL, a.fd);
		/* What lies within the first page is still there, and zero from 1024 on. */
		if (!(i & 4))
			ends(&a, "it truncated its segment");
		else
			attach_close(&a);
	}
}

/* The words stay, the rings go. */
static void truncated_to_a_page(const char *socket, struct dice *dice)
{
	signal(SIGBUS, on_bus_error);
	for (int i = 0; i < 4; i++) {
		struct attach a;

		open_any(&a, socket, dice);
		if (i & 1)
			ping_once(&a, 1);
		if (i & 2)
			until_asleep(&a);
		check(ftruncate(a.segment_fd, 4096) == 0, "ftruncate");
		shm_store(a.tx.words.tail, a.tx.tail + 16, SHM_RELEASE);
		poke(&a);
		ends(&a, "it truncated its rings");
	}
}

struct cut {
	int fd;
	off_t bytes;
	long after_ms;
};

static void *truncate_later(void *context)
{
	const struct cut *cut = context;
	struct timespec a_while = {.tv_nsec = cut->after_ms * 1000000};

	nanosleep(&a_while, NULL);
	check(ftruncate(cut->fd, cut->bytes) == 0 && ftruncate(cut->fd, 0) == 0, "ftruncate");
	return NULL;
}

/* While the executor reads calls and writes results, and nobody else touches anything. */
static void truncated_meanwhile(const char *socket, struct dice *dice)
{
	static uint8_t payload[3000];

	for (int i = 0; i < 40; i++) {
		uint64_t until, id = 0;
		struct attach a;

		attach_open(&a, socket, ring_sizes[dice_below(dice, 3)], 0);
		while (ring_tx_put(&a.tx, TR_KIND_PING, 0, ++id, NULL, 0, payload,
				   dice_below(dice, ring_payload_max(a.tx.bytes) < sizeof(payload)
							    ? ring_payload_max(a.tx.bytes)
							    : sizeof(payload))) > 0)
			continue;
		attach_publish(&a);
		until = test_now_ns() + dice_size(dice, 200000);
		while (test_now_ns() < until)
			continue;
		check(ftruncate(a.segment_fd, i % 4 ? 0 : 4096) == 0, "ftruncate");
		wake_send(TR_WAIT_SOCKET, NULL, a.fd);
		if (i % 4)
			ends(&a, "it truncated its segment");
		else
			attach_close(&a);
	}
}

/* The same with us in there, too. Whoever of the two touches it first dies of it. */
static void truncated_busy(const char *socket, struct dice *dice)
{
	static uint8_t payload[3000];
	static struct cut cut;
	pthread_t thread;
	struct attach a;
	uint64_t id;

	signal(SIGBUS, on_bus_error);
	attach_open(&a, socket, 65536, 0);
	dice_fill(dice, payload, sizeof(payload));
	cut = (struct cut){
		.fd = dup(a.segment_fd),
		.bytes = (off_t)(a.segment.bytes / 2),
		.after_ms = (long)dice_below(dice, 8),
	};
	check(pthread_create(&thread, NULL, truncate_later, &cut) == 0, "thread");
	/* We may leave from inside a signal handler, which joins nobody. */
	pthread_detach(thread);
	for (uint64_t i = 1;; i++) {
		uint16_t kind;

		if (!attach_send(&a, TR_KIND_PING, i, payload, sizeof(payload)) ||
		    (i % 8 == 0 && !attach_receive(&a, &kind, &id)))
			break;
	}
	ends(&a, "it truncated its segment");
}

/* Truncated and made as long as before, or with a hole: all words are zero then. */
static void emptied(const char *socket, struct dice *dice)
{
	for (int i = 0; i < 4; i++) {
		struct attach a;

		open_any(&a, socket, dice);
		ping_once(&a, 1);
		if (i & 1)
			until_asleep(&a);
		if (i & 2)
			check(ftruncate(a.segment_fd, 0) == 0 &&
				      ftruncate(a.segment_fd, (off_t)a.segment.bytes) == 0,
			      "ftruncate");
		else
			check(fallocate(a.segment_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
					(off_t)a.segment.bytes) == 0,
			      "fallocate");
		poke(&a);
		ends(&a, "its positions went back to zero");
	}
}

const struct attack memory_attacks[] = {
	{"words", words},
	{"tails", tails},
	{"heads", heads},
	{"headers", headers},
	{"everything", everything},
	{"changing", changing},
	{"truncated_idle", truncated_idle},
	{"truncated_to_a_page", truncated_to_a_page},
	{"truncated_meanwhile", truncated_meanwhile},
	{"truncated_busy", truncated_busy},
	{"emptied", emptied},
};
const size_t n_memory_attacks = sizeof(memory_attacks) / sizeof(*memory_attacks);
