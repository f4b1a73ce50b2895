/* SPDX-License-Identifier: Apache-2.0 */
/* Messages over records: fragments of every size, and everything that is not a message refused. */
#include "pair.h"

#include "shm/message.h"

#define BYTES   1024u
#define QUARTER (BYTES / 4 - 16) /* largest payload of one record */
#define MESSAGE 20000u           /* larger than many rings */

struct stream {
	struct pair pair;
	struct message_assembly assembly;
	uint8_t *message;
	uint8_t *copy; /* of one record's payload */
};

static void stream_init(struct stream *s, uint64_t start, size_t n_max)
{
	pair_init(&s->pair, BYTES, start);
	message_assembly_init(&s->assembly, n_max);
	s->message = malloc(MESSAGE);
	s->copy = malloc(QUARTER);
	assert_non_null(s->message);
	assert_non_null(s->copy);
}

static void stream_deinit(struct stream *s)
{
	pair_deinit(&s->pair);
	message_assembly_deinit(&s->assembly);
	free(s->message);
	free(s->copy);
}

/*
 * Takes what is there, as a consumer does: 1 when the message with that id and size has come whole.
 * Checks each record against the rules of abi.h by the way.
 */
static int take(struct stream *s, uint64_t id, size_t n, unsigned *n_records)
{
	struct ring_rx *rx = &s->pair.rx;
	struct ring_record record = {0};
	int r = 0;

	while (r == 0 && ring_rx_next(rx, &record) == 1) {
		bool first = *n_records == 0;

		assert_int_equal(record.kind, TR_KIND_EXECUTE);
		assert_int_equal(record.call_id, id);
		assert_true(record.length <= QUARTER);
		if (!s->assembly.active && !record.flags) {
			assert_true(first);
			assert_int_equal(record.length, n);
			ring_rx_copy(rx, &record, 0, s->copy, n);
			assert_int_equal(pattern_match(s->copy, n, id), n);
			r = 1;
		} else {
			assert_int_equal(!!(record.flags & TR_RECORD_FIRST), first);
			r = message_assembly_feed(&s->assembly, rx, &record);
			assert_int_equal(!!(record.flags & TR_RECORD_MORE), r == 0);
		}
		++*n_records;
		ring_rx_consume(rx, &record);
	}
	ring_rx_release(rx);
	return r;
}

static void check_round_trip(uint64_t start, uint64_t id, size_t n)
{
	unsigned n_records = 0, n_turns = 0;
	size_t done = 0, done_before = 0;
	struct stream s;
	int put, taken;

	stream_init(&s, start, MESSAGE);
	pattern_fill(s.message, n, id);
	do {
		put = message_put(&s.pair.tx, TR_KIND_EXECUTE, id, s.message, n, &done);
		assert_true(put >= 0);
		assert_true(put == 0 || done == n);
		assert_true(put == 1 || done > done_before);
		done_before = done;
		ring_tx_publish(&s.pair.tx);
		taken = take(&s, id, n, &n_records);
		assert_int_equal(taken, put);
		n_turns++;
	} while (!put);
	assert_int_equal(ring_rx_poll(&s.pair.rx), 0);
	assert_true(s.pair.tx.tail - start <= message_ring_bytes(BYTES, n));
	if (n <= QUARTER) {
		assert_int_equal(n_records, 1);
	} else {
		assert_int_equal(s.assembly.data.n, n);
		assert_int_equal(pattern_match(s.assembly.data.data, n, id), n);
		assert_int_equal(n_records, (n + 8 + QUARTER - 1) / QUARTER);
		assert_int_equal(s.assembly.kind, TR_KIND_EXECUTE);
		assert_int_equal(s.assembly.call_id, id);
	}
	assert_int_equal(n_turns > 1, n_records > 4 || s.pair.tx.tail - start > BYTES);
	stream_deinit(&s);
}

/*
 * Messages around each limit and far larger than the ring come out whole, wherever they begin, with
 * the flags that abi.h asks for, and take no more of the ring than message_ring_bytes() says.
 */
static void test_sizes(void **state)
{
	static const size_t sizes[] = {
		0,
		1,
		7,
		8,
		QUARTER - 1,
		QUARTER,
		QUARTER + 1,
		2 * QUARTER - 9,
		2 * QUARTER - 8,
		2 * QUARTER,
		BYTES - 1,
		BYTES,
		BYTES + 1,
		4 * QUARTER,
		8 * BYTES,
		MESSAGE - 1,
		MESSAGE,
	};

	(void)state;
	for (uint64_t at = 0; at < 2 * BYTES; at += 8)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			check_round_trip(UINT64_C(0) - BYTES + at, at + i, sizes[i]);
	for (size_t n = 0; n < 3 * BYTES; n++)
		check_round_trip(n * 8, n, n);
}

/* An assembly is used again for the next message; a smaller one shows nothing of the larger. */
static void test_reuse(void **state)
{
	struct stream s;

	(void)state;
	stream_init(&s, 0, MESSAGE);
	for (uint64_t id = 1; id < 40; id++) {
		size_t n = MESSAGE - id * 450, done = 0;
		unsigned n_records = 0;
		int r;

		pattern_fill(s.message, n, id);
		do {
			r = message_put(&s.pair.tx, TR_KIND_EXECUTE, id, s.message, n, &done);
			ring_tx_publish(&s.pair.tx);
			assert_int_equal(take(&s, id, n, &n_records), r);
		} while (!r);
		assert_int_equal(s.assembly.data.n, n);
		assert_int_equal(pattern_match(s.assembly.data.data, n, id), n);
	}
	stream_deinit(&s);
}

/* A refused position stops message_put, too. */
static void test_put_refused(void **state)
{
	struct stream s;
	size_t done = 0;

	(void)state;
	stream_init(&s, 0, MESSAGE);
	s.pair.shared.head = 4;
	memset(s.message, 0, MESSAGE);
	assert_int_equal(message_put(&s.pair.tx, 2, 1, s.message, MESSAGE, &done), -EBADMSG);
	assert_true(done < MESSAGE);
	stream_deinit(&s);
}

/* ---- what is not a message -------------------------------------------------------------------*/

#define FIRST TR_RECORD_FIRST
#define MORE  TR_RECORD_MORE
#define LIMIT 1000u

/* A record as its consumer sees it. total is its payload's first word where FIRST is set. */
struct fragment {
	uint16_t flags;
	uint16_t kind;
	uint16_t id;
	uint16_t length;
	uint64_t total;
	int result;
};

struct sequence {
	const char *what;
	struct fragment fragments[4];
};

static const struct sequence sequences[] = {
	{"two", {{FIRST | MORE, 3, 7, 18, 20, 0}, {0, 3, 7, 10, 0, 1}}},
	{"three, of the most allowed",
	 {{FIRST | MORE, 3, 7, 208, LIMIT, 0},
	  {MORE, 3, 7, 240, 0, 0},
	  {MORE, 3, 7, 240, 0, 0},
	  {MORE, 3, 7, 240, 0, 0}}},
	{"one", {{FIRST, 3, 7, 18, 10, 1}}},
	{"one after another", {{FIRST, 3, 7, 18, 10, 1}, {FIRST, 4, 8, 12, 4, 1}}},
	{"flag that is none", {{FIRST | MORE | 4, 3, 7, 18, 20, -EBADMSG}}},
	{"high flag that is none", {{FIRST | MORE | 0x8000, 3, 7, 18, 20, -EBADMSG}}},
	{"no first", {{MORE, 3, 7, 18, 20, -EBADMSG}}},
	{"no first and no more", {{0, 3, 7, 18, 20, -EBADMSG}}},
	{"two firsts", {{FIRST | MORE, 3, 7, 18, 20, 0}, {FIRST, 3, 7, 18, 10, -EBADMSG}}},
	{"another first", {{FIRST | MORE, 3, 7, 18, 20, 0}, {FIRST, 3, 8, 18, 10, -EBADMSG}}},
	{"first without total", {{FIRST | MORE, 3, 7, 7, LIMIT + 1, -EBADMSG}}},
	{"first of nothing", {{FIRST | MORE, 3, 7, 0, 20, -EBADMSG}}},
	{"first with total only", {{FIRST | MORE, 3, 7, 8, 20, -EBADMSG}}},
	{"message of nothing", {{FIRST, 3, 7, 8, 0, -EBADMSG}}},
	{"total over the limit", {{FIRST | MORE, 3, 7, 18, LIMIT + 1, -E2BIG}}},
	{"total of the largest number", {{FIRST | MORE, 3, 7, 18, UINT64_MAX, -E2BIG}}},
	{"another kind", {{FIRST | MORE, 3, 7, 18, 20, 0}, {0, 4, 7, 10, 0, -EBADMSG}}},
	{"another id", {{FIRST | MORE, 3, 7, 18, 20, 0}, {0, 3, 8, 10, 0, -EBADMSG}}},
	{"nothing in the middle", {{FIRST | MORE, 3, 7, 18, 20, 0}, {MORE, 3, 7, 0, 0, -EBADMSG}}},
	{"nothing at the end", {{FIRST | MORE, 3, 7, 18, 20, 0}, {0, 3, 7, 0, 0, -EBADMSG}}},
	{"first over total", {{FIRST, 3, 7, 29, 20, -EBADMSG}}},
	{"last over total", {{FIRST | MORE, 3, 7, 18, 20, 0}, {0, 3, 7, 11, 0, -EBADMSG}}},
	{"ends early", {{FIRST | MORE, 3, 7, 18, 20, 0}, {0, 3, 7, 9, 0, -EBADMSG}}},
	{"first ends early", {{FIRST, 3, 7, 18, 20, -EBADMSG}}},
	{"does not end", {{FIRST | MORE, 3, 7, 18, 20, 0}, {MORE, 3, 7, 10, 0, -EBADMSG}}},
	{"first does not end", {{FIRST | MORE, 3, 7, 28, 20, -EBADMSG}}},
};

/* Every rule of fragments: what breaks it is refused at that record, what keeps it is not. */
static void test_malformed(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(sequences) / sizeof(sequences[0]); i++) {
		const struct sequence *q = &sequences[i];
		struct stream s;

		stream_init(&s, 0, LIMIT);
		for (size_t k = 0; k < 4 && q->fragments[k].kind; k++) {
			const struct fragment *f = &q->fragments[k];
			struct ring_record record = {
				.kind = f->kind,
				.flags = f->flags,
				.length = f->length,
				.call_id = f->id,
				.at = RING_HEADER,
			};
			int r;

			memcpy(s.pair.area + RING_HEADER, &f->total, sizeof(f->total));
			r = message_assembly_feed(&s.assembly, &s.pair.rx, &record);
			if (r != f->result)
				fail_msg("%s: record %zu: %d, not %d", q->what, k, r, f->result);
			assert_true(s.assembly.data.n <= LIMIT);
		}
		stream_deinit(&s);
	}
}

/* Memory is taken as bytes come: a claim of a gigabyte costs nothing. */
static void test_claims_cost_nothing(void **state)
{
	struct ring_record record = {
		.kind = TR_KIND_EXECUTE,
		.flags = FIRST | MORE,
		.length = QUARTER,
		.call_id = 1,
		.at = RING_HEADER,
	};
	uint64_t total = UINT64_C(1) << 30;
	struct stream s;

	(void)state;
	stream_init(&s, 0, (size_t)total);
	memcpy(s.pair.area + RING_HEADER, &total, sizeof(total));
	assert_int_equal(message_assembly_feed(&s.assembly, &s.pair.rx, &record), 0);
	assert_true(s.assembly.data.size <= 4096);
	stream_deinit(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_reuse),
		cmocka_unit_test(test_put_refused),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_claims_cost_nothing),
	};

	return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
