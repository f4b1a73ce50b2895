/* SPDX-License-Identifier: Apache-2.0 */
/* One ring, both ends in one thread: what is in it, how it wraps, and what is refused. */
#include "pair.h"

#define BYTES 256u
#define LAST  (BYTES - 8)

/* Positions around which everything is tried: the start, and where 64 bits wrap. */
static const uint64_t starts[] = {0, UINT64_C(0) - 2 * BYTES};

static void put(struct pair *p, uint64_t id, size_t n)
{
	uint8_t payload[BYTES];

	pattern_fill(payload, n, id);
	assert_int_equal(ring_tx_put(&p->tx, TR_KIND_PING, 0, id, NULL, 0, payload, n), 1);
}

static void take(struct pair *p, uint64_t id, size_t n)
{
	struct ring_record record = {0};
	uint8_t payload[BYTES];

	assert_int_equal(ring_rx_next(&p->rx, &record), 1);
	assert_int_equal(record.kind, TR_KIND_PING);
	assert_int_equal(record.flags, 0);
	assert_int_equal(record.call_id, id);
	assert_int_equal(record.length, n);
	ring_rx_copy(&p->rx, &record, 0, payload, n);
	assert_int_equal(pattern_match(payload, n, id), n);
	ring_rx_consume(&p->rx, &record);
}

/*
 * A record of every size at every offset comes out as it went in, takes the room that
 * ring_tx_need() says, and is preceded by a pad exactly where it would not fit before the end; also
 * where 8 bytes are left, which hold a pad and nothing else.
 */
static void test_every_size_at_every_offset(void **state)
{
	unsigned n_pads_of_8 = 0;

	(void)state;
	for (size_t s = 0; s < 2; s++) {
		for (uint64_t at = 0; at < 2 * BYTES; at += 8) {
			for (size_t n = 0; n <= ring_payload_max(BYTES); n++) {
				uint64_t start = starts[s] + at;
				uint64_t left = BYTES - (start & (BYTES - 1));
				uint64_t need = RING_HEADER + ring_align(n);
				uint64_t pad = left < need ? left : 0;
				struct pair p;

				pair_init(&p, BYTES, start);
				assert_int_equal(ring_tx_need(&p.tx, n), pad + need);
				put(&p, at + 1, n);
				assert_int_equal(p.tx.tail - start, pad + need);
				ring_tx_publish(&p.tx);
				take(&p, at + 1, n);
				assert_int_equal(ring_rx_poll(&p.rx), 0);
				ring_rx_release(&p.rx);
				assert_int_equal(p.shared.head, p.shared.tail);
				assert_int_equal(ring_tx_refresh(&p.tx), 0);
				n_pads_of_8 += pad == 8;
				pair_deinit(&p);
			}
		}
	}
	assert_true(n_pads_of_8 > 0);
}

/* A payload in two parts, as the first fragment has it, lies there as one. */
static void test_payload_of_two_parts(void **state)
{
	uint64_t first = 0x1122334455667788, read_first;
	struct ring_record record = {0};
	uint8_t rest[3];
	struct pair p;

	(void)state;
	pair_init(&p, BYTES, LAST);
	assert_int_equal(
		ring_tx_put(&p.tx, 3, TR_RECORD_FIRST | TR_RECORD_MORE, 9, &first, 8, "abc", 3), 1);
	ring_tx_publish(&p.tx);
	assert_int_equal(ring_rx_next(&p.rx, &record), 1);
	assert_int_equal(record.kind, 3);
	assert_int_equal(record.flags, TR_RECORD_FIRST | TR_RECORD_MORE);
	assert_int_equal(record.length, 11);
	ring_rx_copy(&p.rx, &record, 0, &read_first, 8);
	ring_rx_copy(&p.rx, &record, 8, rest, 3);
	assert_int_equal(read_first, first);
	assert_memory_equal(rest, "abc", 3);
	pair_deinit(&p);
}

/*
 * What is staged is not seen before it is published; what is consumed is not reused before it is
 * released.
 */
static void test_staging(void **state)
{
	struct pair p;

	(void)state;
	pair_init(&p, BYTES, 0);
	put(&p, 1, 48);
	put(&p, 2, 48);
	assert_int_equal(ring_rx_poll(&p.rx), 0);
	ring_tx_publish(&p.tx);
	put(&p, 3, 48);
	put(&p, 4, 48);
	assert_int_equal(ring_tx_fits(&p.tx, 0), 0);
	take(&p, 1, 48);
	take(&p, 2, 48);
	assert_int_equal(ring_rx_poll(&p.rx), 0);
	assert_int_equal(ring_tx_fits(&p.tx, 0), 0);
	ring_rx_release(&p.rx);
	assert_int_equal(ring_tx_fits(&p.tx, 48), 1);
	ring_tx_publish(&p.tx);
	take(&p, 3, 48);
	take(&p, 4, 48);
	pair_deinit(&p);
}

/* A full ring takes nothing more and loses nothing; all of it can be filled, and emptied again. */
static void test_full_and_empty(void **state)
{
	struct pair p;

	(void)state;
	for (uint64_t at = 0; at < BYTES; at += 8) {
		uint64_t id_in = 0, id_out = 0;

		pair_init(&p, BYTES, UINT64_C(0) - BYTES + at);
		for (unsigned lap = 0; lap < 10; lap++) {
			while (ring_tx_fits(&p.tx, id_in % 48))
				put(&p, id_in, id_in % 48), id_in++;
			assert_true(p.tx.tail - p.tx.head <= BYTES);
			ring_tx_publish(&p.tx);
			while (ring_rx_poll(&p.rx)) {
				take(&p, id_out, id_out % 48);
				id_out++;
			}
			ring_rx_release(&p.rx);
		}
		assert_int_equal(id_in, id_out);
		assert_true(id_in > 30);
		pair_deinit(&p);
	}
	pair_init(&p, BYTES, 0);
	for (uint64_t i = 0; i < BYTES / 16; i++)
		put(&p, i, 0);
	assert_int_equal(p.tx.tail, BYTES);
	assert_int_equal(ring_tx_put(&p.tx, TR_KIND_PING, 0, 1, NULL, 0, NULL, 0), 0);
	assert_int_equal(p.tx.tail, BYTES);
	pair_deinit(&p);
}

/*
 * The consumer refuses every tail that an honest producer cannot have stored, and takes the
 * outermost that it can.
 */
static void test_tail_refused(void **state)
{
	struct pair p;

	(void)state;
	for (size_t s = 0; s < 2; s++) {
		uint64_t base = starts[s] + 64;

		pair_init(&p, BYTES, base);
		put(&p, 1, 16);
		put(&p, 2, 16);
		ring_tx_publish(&p.tx);
		take(&p, 1, 16);
		take(&p, 2, 16);
		/* released: base; consumed: base + 64 */
		for (uint64_t step = 0; step <= 4 * BYTES; step++) {
			uint64_t tail = base + 64 + step;
			int r = tail & 7 || step > BYTES - 64 ? -EBADMSG : step != 0;

			p.rx.tail = p.rx.head;
			p.shared.tail = tail;
			assert_int_equal(ring_rx_poll(&p.rx), r);
			p.rx.tail = p.rx.head;
			p.shared.tail = base + 64 - step;
			assert_int_equal(ring_rx_poll(&p.rx), step ? -EBADMSG : 0);
		}
		p.shared.tail = base + (UINT64_C(1) << 63);
		assert_int_equal(ring_rx_poll(&p.rx), -EBADMSG);
		pair_deinit(&p);
	}
}

/* The producer refuses every head that an honest consumer cannot have stored. */
static void test_head_refused(void **state)
{
	uint8_t payload[48] = {0};
	struct pair p;

	(void)state;
	for (size_t s = 0; s < 2; s++) {
		uint64_t base = starts[s] + 64;

		pair_init(&p, BYTES, base);
		put(&p, 1, 16);
		put(&p, 2, 16);
		ring_tx_publish(&p.tx);
		put(&p, 3, 16); /* staged: not the consumer's yet */
		for (uint64_t step = 0; step <= 4 * BYTES; step++) {
			p.tx.head = base;
			p.shared.head = base + step;
			assert_int_equal(ring_tx_refresh(&p.tx),
					 step & 7 || step > 64 ? -EBADMSG : 0);
			p.tx.head = base;
			p.shared.head = base - step;
			assert_int_equal(ring_tx_refresh(&p.tx), step ? -EBADMSG : 0);
		}
		p.tx.head = base;
		p.shared.head = base + (UINT64_C(1) << 63);
		assert_int_equal(ring_tx_refresh(&p.tx), -EBADMSG);
		/* A refusal comes out of every call that looks. */
		put(&p, 4, 48);
		put(&p, 5, 48);
		assert_int_equal(ring_tx_fits(&p.tx, 48), -EBADMSG);
		assert_int_equal(ring_tx_put(&p.tx, TR_KIND_PING, 0, 6, NULL, 0, payload, 48),
				 -EBADMSG);
		pair_deinit(&p);
	}
}

/* Writes the first 8 bytes of a record. */
static void forge(struct pair *p, uint64_t at, uint32_t length, uint16_t kind)
{
	struct tr_record header = {.length = length, .kind = kind};

	memcpy(p->area + at, &header, 8);
}

struct forged {
	const char *what;
	uint64_t at;        /* where the consumer is, in the ring */
	uint64_t available; /* bytes that tail announces */
	uint16_t kind;
	uint32_t length;
	int result;
};

#define QUARTER 48u /* largest payload of one record */

static const struct forged forgeries[] = {
	{"largest", 0, 64, TR_KIND_PING, QUARTER, 1},
	{"larger than a quarter", 0, BYTES, TR_KIND_PING, QUARTER + 1, -EBADMSG},
	{"largest number", 0, BYTES, TR_KIND_PING, UINT32_MAX, -EBADMSG},
	{"largest number, aligned", 0, BYTES, TR_KIND_PING, UINT32_MAX - 7, -EBADMSG},
	{"header cut by tail", 0, 8, TR_KIND_PING, 0, -EBADMSG},
	{"payload cut by tail", 0, 16, TR_KIND_PING, 1, -EBADMSG},
	{"last byte cut by tail", 0, 24, TR_KIND_PING, 9, -EBADMSG},
	{"up to tail", 0, 24, TR_KIND_PING, 8, 1},
	{"header over the end", LAST, 64, TR_KIND_PING, 0, -EBADMSG},
	{"payload over the end", BYTES - 16, 64, TR_KIND_PING, 1, -EBADMSG},
	{"up to the end", BYTES - 16, 64, TR_KIND_PING, 0, 1},
	{"pad at the start", 0, BYTES, TR_KIND_PAD, BYTES - 8, -EBADMSG},
	{"pad in the middle", 64, 128, TR_KIND_PAD, 56, -EBADMSG},
	{"pad too short", LAST - 8, 64, TR_KIND_PAD, 0, -EBADMSG},
	{"pad too long", LAST, 64, TR_KIND_PAD, 8, -EBADMSG},
	{"pad unaligned", LAST - 8, 64, TR_KIND_PAD, 7, -EBADMSG},
	{"pad of the largest number", LAST, 64, TR_KIND_PAD, UINT32_MAX - 7, -EBADMSG},
	{"pad cut by tail", LAST - 8, 8, TR_KIND_PAD, 8, -EBADMSG},
	{"pad and no record", LAST - 8, 16, TR_KIND_PAD, 8, 0},
	{"pad and a record", LAST - 8, 32, TR_KIND_PAD, 8, 1},
	{"pad and a record cut by tail", LAST - 8, 24, TR_KIND_PAD, 8, -EBADMSG},
};

/*
 * Every header that an honest producer does not write is refused; the neighbours that it may write
 * are taken.
 */
static void test_header_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(forgeries) / sizeof(forgeries[0]); i++) {
		const struct forged *f = &forgeries[i];
		struct ring_record record = {0};
		struct pair p;
		int r;

		pair_init(&p, BYTES, BYTES + f->at);
		forge(&p, 0, 0, TR_KIND_PING);
		forge(&p, f->at, f->length, f->kind);
		p.shared.tail += f->available;
		r = ring_rx_next(&p.rx, &record);
		if (r != f->result)
			fail_msg("%s: %d, not %d", f->what, r, f->result);
		pair_deinit(&p);
	}
}

/* A pad after a pad is refused: nothing makes the consumer go round without taking a record. */
static void test_pad_after_pad(void **state)
{
	static const uint32_t lengths[] = {0, 8, 48, BYTES - 8};

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct ring_record record = {0};
		struct pair p;

		pair_init(&p, BYTES, LAST);
		forge(&p, LAST, 0, TR_KIND_PAD);
		forge(&p, 0, lengths[i], TR_KIND_PAD);
		p.shared.tail += BYTES;
		assert_int_equal(ring_rx_next(&p.rx, &record), -EBADMSG);
		pair_deinit(&p);
	}
}

/* A header that changes after it was taken changes nothing: it is a copy. */
static void test_header_is_copied(void **state)
{
	struct ring_record record = {0};
	struct pair p;

	(void)state;
	pair_init(&p, BYTES, 0);
	put(&p, 7, 10);
	put(&p, 8, 10);
	ring_tx_publish(&p.tx);
	assert_int_equal(ring_rx_next(&p.rx, &record), 1);
	memset(p.area, 0xff, 16);
	assert_int_equal(record.length, 10);
	assert_int_equal(record.call_id, 7);
	ring_rx_consume(&p.rx, &record);
	take(&p, 8, 10);
	pair_deinit(&p);
}

/*
 * Garbage in the area and in tail: the consumer either refuses it or finds records that lie inside
 * the ring, and never more of them than fit.
 */
static void test_garbage(void **state)
{
	uint64_t seed = 0x243f6a8885a308d3;
	unsigned n_records = 0, n_refused = 0;

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		struct ring_record record = {0};
		uint8_t payload[BYTES];
		uint64_t taken = 0;
		struct pair p;
		int r;

		pair_init(&p, BYTES, random_next(&seed) & ~UINT64_C(7));
		for (uint64_t at = 0; at < BYTES; at += 8) {
			uint64_t dice = random_next(&seed);

			forge(&p, at, (uint32_t)(dice >> 8) % (dice & 1 ? 64 : 300),
			      (dice >> 2) & 3);
		}
		p.shared.tail += random_next(&seed) % (BYTES + 16);
		if (round % 8)
			p.shared.tail &= ~UINT64_C(7);
		while ((r = ring_rx_next(&p.rx, &record)) > 0) {
			assert_true(record.at + record.length <= BYTES);
			ring_rx_copy(&p.rx, &record, 0, payload, record.length);
			ring_rx_consume(&p.rx, &record);
			taken++;
		}
		assert_true(taken <= BYTES / RING_HEADER);
		n_records += taken > 0;
		n_refused += r < 0;
		pair_deinit(&p);
	}
	assert_true(n_records > 100 && n_refused > 100);
}

/* Whoever announces sleep is owed one wake-up, of the kind announced, and gets it once. */
static void test_wake_words(void **state)
{
	struct pair p;

	(void)state;
	pair_init(&p, BYTES, 0);
	assert_int_equal(ring_tx_wake(&p.tx), TR_AWAKE);
	ring_rx_sleep(&p.rx, TR_WAIT_SOCKET);
	assert_int_equal(ring_tx_wake(&p.tx), TR_WAIT_SOCKET);
	assert_int_equal(ring_tx_wake(&p.tx), TR_AWAKE);
	ring_rx_sleep(&p.rx, TR_WAIT_FUTEX);
	ring_rx_awake(&p.rx);
	assert_int_equal(ring_tx_wake(&p.tx), TR_AWAKE);

	assert_int_equal(ring_rx_wake(&p.rx), TR_AWAKE);
	ring_tx_sleep(&p.tx, TR_WAIT_FUTEX);
	assert_int_equal(ring_tx_wake(&p.tx), TR_AWAKE); /* the other word */
	assert_int_equal(ring_rx_wake(&p.rx), TR_WAIT_FUTEX);
	assert_int_equal(ring_rx_wake(&p.rx), TR_AWAKE);
	ring_tx_sleep(&p.tx, TR_WAIT_FUTEX);
	ring_tx_awake(&p.tx);
	assert_int_equal(ring_rx_wake(&p.rx), TR_AWAKE);
	pair_deinit(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_size_at_every_offset),
		cmocka_unit_test(test_payload_of_two_parts),
		cmocka_unit_test(test_staging),
		cmocka_unit_test(test_full_and_empty),
		cmocka_unit_test(test_tail_refused),
		cmocka_unit_test(test_head_refused),
		cmocka_unit_test(test_header_refused),
		cmocka_unit_test(test_pad_after_pad),
		cmocka_unit_test(test_header_is_copied),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_wake_words),
	};

	return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
