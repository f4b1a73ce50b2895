/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A ring whose other side writes whatever it likes, whenever it likes: both its positions and the
 * data area. Shows, for the consumer and the assembly of fragments: nothing outside the area is read,
 * one position published makes at most one ring's worth of work, memory grows with the bytes that
 * came and not with what is claimed. For the producer: nothing outside the area is written, and never
 * more is staged than the ring holds.
 *
 * An input is a byte of settings, a byte that says how many steps there are, the steps, and the data
 * area, repeated until it is full. The areas lie between pages that cannot be touched.
 */

#include <errno.h>
#include <sys/mman.h>

#include "fuzz.h"
#include "shm/message.h"

#define PAGE        4096
#define RING_MAX    (2 * PAGE)
#define MESSAGE_MAX (64 * 1024)

struct __attribute__((packed)) step {
	uint8_t what; /* low three bits: enum action; the others: an offset */
	uint64_t value;
};

enum action {
	ACTION_ADVANCE = 0,   /* tail moves on by a little */
	ACTION_TAIL = 1,      /* tail is anything */
	ACTION_SCRIBBLE = 2,  /* eight bytes in front of the consumer change */
	ACTION_PUT = 3,       /* our producer puts a message */
	ACTION_HEAD = 4,      /* the other side's head moves on by a little */
	ACTION_HEAD_FREE = 5, /* and is anything */
};

#define N_ACTIONS 6

/* The shared words of one ring and its area. */
struct shared {
	uint64_t tail;
	uint64_t head;
	uint32_t consumer_wait;
	uint32_t producer_wait;
	uint8_t *area;
};

struct world {
	uint64_t bytes;
	struct shared in, out;
	struct ring_rx rx;
	struct ring_tx tx;
	struct message_assembly assembly;
	uint64_t n_received; /* payload bytes */
	size_t n_put;        /* the message that is on its way out, and how much of it is */
	size_t n_put_done;
};

enum area {
	AREA_IN,
	AREA_OUT,
	N_AREAS
};

/* An area of one or two pages, with a page that cannot be touched directly before and behind it. */
static uint8_t *guarded(enum area which, uint64_t bytes)
{
	static uint8_t *maps[N_AREAS][2];
	uint8_t **map = &maps[which][bytes / PAGE - 1];

	if (!*map) {
		*map = mmap(NULL, bytes + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		FUZZ_CHECK(*map != MAP_FAILED);
		FUZZ_CHECK(mprotect(*map + PAGE, bytes, PROT_READ | PROT_WRITE) == 0);
	}
	return *map + PAGE;
}

static struct ring_words words_of(struct shared *s)
{
	return (struct ring_words){&s->tail, &s->head, &s->consumer_wait, &s->producer_wait};
}

/* Both rings empty at a position that, if asked for, soon passes the end of 64 bits. */
static void world_init(struct world *w, uint8_t settings)
{
	uint64_t start = settings & 2 ? UINT64_MAX - 2 * PAGE + 1 : 0;

	*w = (struct world){.bytes = settings & 1 ? 2 * PAGE : PAGE};
	w->in = (struct shared){.tail = start, .head = start, .area = guarded(AREA_IN, w->bytes)};
	w->out = (struct shared){.tail = start, .head = start, .area = guarded(AREA_OUT, w->bytes)};
	w->rx = (struct ring_rx){.words = words_of(&w->in),
				 .area = w->in.area,
				 .bytes = w->bytes,
				 .head = start,
				 .released = start,
				 .tail = start};
	w->tx = (struct ring_tx){.words = words_of(&w->out),
				 .area = w->out.area,
				 .bytes = w->bytes,
				 .tail = start,
				 .published = start,
				 .head = start};
	message_assembly_init(&w->assembly, MESSAGE_MAX);
}

static void fill(struct world *w, const uint8_t *data, size_t n)
{
	if (n == 0)
		memset(w->in.area, 0, w->bytes);
	for (uint64_t at = 0; n && at < w->bytes; at += n)
		memcpy(w->in.area + at, data, w->bytes - at < n ? (size_t)(w->bytes - at) : n);
}

/* One record, as the executor and the client take it. -errno ends the session. */
static int take_record(struct world *w, const struct ring_record *record)
{
	const struct message_assembly *a = &w->assembly;
	uint8_t *copy;
	int r = 0;

	FUZZ_CHECK(record->kind != TR_KIND_PAD);
	FUZZ_CHECK(record->length <= ring_payload_max(w->bytes));
	FUZZ_CHECK(record->at + record->length <= w->bytes);
	w->n_received += record->length;
	if (record->flags || a->active) {
		r = message_assembly_feed(&w->assembly, &w->rx, record);
		FUZZ_CHECK(r == 0 || r == 1 || r == -EBADMSG || r == -E2BIG);
		FUZZ_CHECK(a->data.n <= MESSAGE_MAX && a->data.n <= w->n_received);
		FUZZ_CHECK(a->data.size <= 256 + 2 * w->n_received);
		if (r > 0)
			FUZZ_CHECK(a->data.n == a->total && !a->active);
	} else {
		copy = malloc(record->length + 1u);
		FUZZ_CHECK(copy);
		ring_rx_copy(&w->rx, record, 0, copy, record->length);
		free(copy);
	}
	if (r >= 0)
		ring_rx_consume(&w->rx, record);
	return r < 0 ? r : 0;
}

/* Takes all there is: since tail stands still meanwhile, that is one ring of records at most. */
static int drain(struct world *w)
{
	uint64_t n_records_max = w->bytes / RING_HEADER, n_records = 0;
	struct ring_record record;
	int r;

	while ((r = ring_rx_next(&w->rx, &record)) > 0) {
		FUZZ_CHECK(n_records++ < n_records_max);
		r = take_record(w, &record);
		if (r < 0)
			return r;
	}
	FUZZ_CHECK(r == 0 || r == -EBADMSG);
	ring_rx_release(&w->rx);
	ring_rx_wake(&w->rx);
	return r;
}

/* Goes on with the message on its way out, or begins one. */
static int put(struct world *w, uint64_t value)
{
	static const uint8_t content[2 * RING_MAX];
	int r;

	if (w->n_put_done == w->n_put) {
		w->n_put = (size_t)(value % sizeof(content));
		w->n_put_done = 0;
	}
	r = message_put(&w->tx, TR_KIND_EXECUTE, 1, content, w->n_put, &w->n_put_done);
	FUZZ_CHECK(r == 0 || r == 1 || r == -EBADMSG);
	FUZZ_CHECK(w->n_put_done <= w->n_put);
	FUZZ_CHECK(w->tx.tail - w->tx.head <= w->bytes);
	if (r < 0)
		return r;
	ring_tx_publish(&w->tx);
	ring_tx_wake(&w->tx);
	return 0;
}

static int take_step(struct world *w, const struct step *step)
{
	uint64_t at = (w->rx.head + (uint64_t)(step->what >> 3) * 8) & (w->bytes - 1);
	uint64_t value = step->value;

	switch (step->what % 8 % N_ACTIONS) {
	case ACTION_ADVANCE:
		w->in.tail += value % (w->bytes + 64);
		return drain(w);
	case ACTION_TAIL:
		w->in.tail = value;
		return drain(w);
	case ACTION_SCRIBBLE:
		memcpy(w->in.area + at, &value, sizeof(value));
		return 0;
	case ACTION_PUT:
		return put(w, value);
	case ACTION_HEAD:
		w->out.head += value % (w->bytes + 64);
		return put(w, value >> 32);
	default:
		w->out.head = value;
		return put(w, value >> 32);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct world w;
	size_t n_steps;

	if (n < 2)
		return 0;
	n_steps = data[1];
	if (n_steps > (n - 2) / sizeof(struct step))
		n_steps = (n - 2) / sizeof(struct step);
	world_init(&w, data[0]);
	fill(&w, data + 2 + n_steps * sizeof(struct step), n - 2 - n_steps * sizeof(struct step));
	for (size_t i = 0; i < n_steps; i++) {
		struct step step;

		memcpy(&step, data + 2 + i * sizeof(step), sizeof(step));
		if (take_step(&w, &step) < 0)
			break;
	}
	message_assembly_deinit(&w.assembly);
	return 0;
}

/* ---- seeds: what an honest producer writes ------------------------------------------------------------- */

static void add_step(uint8_t *data, size_t *n, enum action what, uint64_t value)
{
	struct step step = {.what = (uint8_t)what, .value = value};

	memcpy(data + *n, &step, sizeof(step));
	*n += sizeof(step);
	data[1]++;
}

/* Records, a message in fragments, and steps that publish them and use the other ring too. */
size_t fuzz_seed(unsigned number, uint8_t *data, size_t size)
{
	static uint8_t content[3 * PAGE / 2];
	size_t n = 2, done = 0;
	struct world w;
	uint64_t start;

	if (number >= 4)
		return 0;
	memset(content, 'c', sizeof(content));
	world_init(&w, (uint8_t)number);
	start = w.tx.tail;
	fill(&w, NULL, 0);
	memset(w.out.area, 0, w.bytes);
	FUZZ_CHECK(message_put(&w.tx, TR_KIND_PING, 7, content, 12, &done) == 1);
	done = 0;
	FUZZ_CHECK(message_put(&w.tx, TR_KIND_STATUS, 8, content, 0, &done) == 1);
	done = 0;
	FUZZ_CHECK(message_put(&w.tx, TR_KIND_EXECUTE, 9, content, w.bytes / 2, &done) == 1);
	data[0] = (uint8_t)number;
	data[1] = 0;
	add_step(data, &n, ACTION_PUT, 100);
	add_step(data, &n, ACTION_ADVANCE, 32);
	add_step(data, &n, ACTION_HEAD, 120);
	add_step(data, &n, ACTION_TAIL, w.tx.tail);
	add_step(data, &n, ACTION_PUT, 3 * PAGE);
	add_step(data, &n, ACTION_HEAD_FREE, start + 1024);
	FUZZ_CHECK(n + w.bytes <= size);
	memcpy(data + n, w.out.area, w.bytes);
	return n + w.bytes;
}
