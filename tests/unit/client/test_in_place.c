/* SPDX-License-Identifier: Apache-2.0 */
/* Results that are not copied: with TR_OPEN_IN_PLACE, and those that came in pieces. */
#include "common.h"

/* A reallocation to this size or more fails, in this thread. */
static _Thread_local size_t fails_from = SIZE_MAX;
static _Thread_local size_t n_reallocs;
void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_realloc(void *p, size_t n)
{
	n_reallocs++;
	return n >= fails_from ? NULL : __real_realloc(p, n);
}

static int setup_in_place(void **state)
{
	struct fixture *f;

	setup_peer(state);
	f = *state;
	peer_start(&f->peer);
	f->client = client_to(&f->peer, TR_OPEN_IN_PLACE);
	return 0;
}

static void assert_within_raw(const struct tr_result *r, struct tr_slice s, const char *text)
{
	assert_int_equal(s.n, strlen(text));
	assert_memory_equal(s.data, text, s.n);
	assert_true(s.data > r->raw.data && s.data + s.n <= r->raw.data + r->raw.n);
}

/* All of 'x', n of them, and NUL behind if is_ended. */
static void assert_big(struct tr_slice s, size_t n, bool is_ended)
{
	assert_int_equal(s.n, n);
	for (size_t i = 0; i < n; i++)
		if (s.data[i] != 'x')
			fail();
	if (is_ended)
		assert_int_equal(s.data[n], 0);
}

/* Each typed string is a part of raw; what is empty, and a PING, is as ever. */
static void test_slices(void **state)
{
	struct fixture *f = *state;
	struct tr_member m = {.key = "command", .value = tr_string("true")};
	struct tr_call call = call_of("echo", "u-1");
	struct tr_result r = {0};
	struct tr_value *v;
	uint64_t id;

	call.arguments = tr_map(&m, 1);
	assert_int_equal(tr_call_wait(f->client, &call, &r, LONG_MS), 0);
	assert_int_equal(r.verdict, TR_OK);
	assert_int_equal(r.timing.ns[TR_PHASE_RUN], 1234);
	assert_within_raw(&r, r.output,
			  "\x81\xa7"
			  "command\xa4true");
	assert_within_raw(&r, r.uniq_id, "u-1");
	assert_slice(r.error, "");
	assert_slice(r.slot_id, "");
	assert_int_equal(r.raw.data[r.raw.n], 0);
	assert_int_equal(tr_value_parse(r.raw.data, r.raw.n, &v), 0);
	assert_string_equal(tr_value_get(v, "uniq_id")->u.string, "u-1");
	tr_value_free(v);
	assert_int_equal(tr_acquire(f->client, "t", NULL, &r, LONG_MS), 0);
	assert_within_raw(&r, r.slot_id, "slot-1");
	assert_int_equal(tr_status(f->client, &r, LONG_MS), 0);
	assert_within_raw(&r, r.metadata, "\x81\xa8sessions\x01");
	assert_int_equal(tr_submit_raw(f->client, TR_KIND_PING, "ping", 4, NULL, 0, &id), 0);
	assert_int_equal(tr_wait(f->client, id, &r, LONG_MS), 0);
	assert_slice(r.raw, "ping");
	assert_slice(r.output, "");
	tr_result_deinit(&r);
}

/* What the library itself says of a call is terminated, and lies in no buffer. */
static void test_settled(void **state)
{
	struct fixture *f = *state;
	struct tr_call call = call_of("die", NULL);
	struct tr_result r = {0};

	assert_int_equal(tr_call_wait(f->client, &call, &r, LONG_MS), 0);
	assert_int_equal(r.verdict, TR_NOT_STARTED);
	assert_true(r.error.n > 0);
	assert_int_equal(r.error.data[r.error.n], 0);
	assert_int_equal(r.raw.n, 0);
	tr_result_deinit(&r);
}

/* A result takes as much memory as its payload, not twice that. */
static void test_memory(void **state)
{
	struct fixture *f = *state;
	struct tr_call small = call_of("big", "40000"), big = call_of("big", "3000000");
	struct tr_result r = {0};

	/* The peer serves one session at a time. */
	tr_close(f->client);
	f->client = client_to(&f->peer, 0);
	assert_int_equal(tr_call_wait(f->client, &small, &r, LONG_MS), 0);
	assert_big(r.output, 40000, true);
	assert_int_equal(r.buffer.size, 128 << 10);
	assert_int_equal(tr_call_wait(f->client, &big, &r, LONG_MS), 0);
	assert_big(r.output, 3000000, true);
	assert_int_equal(r.buffer.size, 8 << 20);
	tr_result_deinit(&r);
	tr_close(f->client);
	f->client = client_to(&f->peer, TR_OPEN_IN_PLACE);
	assert_int_equal(tr_call_wait(f->client, &small, &r, LONG_MS), 0);
	assert_big(r.output, 40000, false);
	assert_int_equal(r.buffer.size, 64 << 10);
	assert_int_equal(tr_call_wait(f->client, &big, &r, LONG_MS), 0);
	assert_big(r.output, 3000000, false);
	assert_int_equal(r.buffer.size, 4 << 20);
	tr_result_deinit(&r);
}

/*
 * Results that came in pieces take over the buffer they were put together in: with two buffers that
 * go to and fro there are no allocations once warm, of whichever sizes the results are.
 */
static void test_exchange(void **state)
{
	static const char *const sizes[] = {"3000000", "100000", "2500000", "0", "4000000", "200"};
	struct fixture *f = *state;
	struct tr_result r[3] = {0};
	size_t before = 0;

	for (int round = 0; round < 30; round++) {
		if (round == 20)
			before = n_reallocs;
		for (int i = 0; i < 6; i++) {
			struct tr_call call = call_of("big", sizes[i]);
			size_t n = strtoul(sizes[i], NULL, 10);

			assert_int_equal(tr_call_wait(f->client, &call, &r[i % 3], LONG_MS), 0);
			assert_big(r[i % 3].output, n, false);
			assert_int_equal(r[i % 3].raw.data[r[i % 3].raw.n], 0);
			assert_true(r[i % 3].buffer.size <= 8 << 20);
		}
	}
	assert_int_equal(n_reallocs - before, 0);
	assert_true(before > 0);
	for (int i = 0; i < 3; i++)
		tr_result_deinit(&r[i]);
}

/* Results that nobody has asked for yet are handed over as well, each its own. */
static void test_stashed(void **state)
{
	static const char *const sizes[] = {"1000000", "70000", "3000000", "300"};
	struct fixture *f = *state;
	struct tr_result r[4] = {0};
	uint64_t ids[4];

	for (int i = 0; i < 4; i++) {
		struct tr_call call = call_of("big", sizes[i]);

		assert_int_equal(tr_submit(f->client, &call, &ids[i]), 0);
	}
	for (int i = 3; i >= 0; i--)
		assert_int_equal(tr_wait(f->client, ids[i], &r[i], LONG_MS), 0);
	for (int i = 0; i < 4; i++) {
		assert_big(r[i].output, strtoul(sizes[i], NULL, 10), false);
		tr_result_deinit(&r[i]);
	}
}

/* A payload that fills its buffer to the last byte has its NUL all the same. */
static void test_full_buffer(void **state)
{
	struct fixture *f = *state;
	size_t n = 1 << 20;
	uint8_t *ping = malloc(n + 1);
	struct tr_result r = {0};
	uint64_t id;

	memset(ping, 'x', n + 1);
	for (size_t more = 0; more < 2; more++) {
		assert_int_equal(
			tr_submit_raw(f->client, TR_KIND_PING, ping, n + more, NULL, 0, &id), 0);
		assert_int_equal(tr_wait(f->client, id, &r, LONG_MS), 0);
		assert_big(r.raw, n + more, true);
	}
	tr_result_deinit(&r);
	free(ping);
}

/* Without memory for a result's strings nothing is lost: it is there when it is asked for again. */
static void test_no_memory(void **state)
{
	struct fixture *f = *state;
	struct tr_call call = call_of("big", "3000000");
	struct tr_result r = {0};
	uint64_t id;
	int result;

	assert_int_equal(tr_submit(f->client, &call, &id), 0);
	fails_from = 6000000;
	do
		result = tr_wait(f->client, id, &r, LONG_MS);
	while (result == -ETIMEDOUT);
	fails_from = SIZE_MAX;
	assert_int_equal(result, -ENOMEM);
	assert_int_equal(tr_wait(f->client, id, &r, LONG_MS), 0);
	assert_big(r.output, 3000000, true);
	tr_result_deinit(&r);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_in_place, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_slices),
		TEST(test_settled),
		TEST(test_memory),
		TEST(test_exchange),
		TEST(test_stashed),
		TEST(test_full_buffer),
		cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
