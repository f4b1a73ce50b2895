/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Counts allocations, to show that there are none per call once warm. */
static _Thread_local size_t n_allocs;
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
	n_allocs++;
	return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	n_allocs++;
	return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	n_allocs++;
	return __real_realloc(p, n);
}

/* An EXECUTE carries its arguments there and every member of its result back. */
static void test_call_wait(void **state)
{
	struct fixture *f = *state;
	struct tr_member m = {.key = "command", .value = tr_string("true")};
	struct tr_call call = call_of("echo", "u-1");
	struct tr_result result = {0};
	struct tr_value *output, *raw;

	call.arguments = tr_map(&m, 1);
	call.user_data = f;
	assert_int_equal(tr_call_wait(f->client, &call, &result, LONG_MS), 0);
	assert_int_equal(result.kind, TR_KIND_EXECUTE);
	assert_int_equal(result.verdict, TR_OK);
	assert_true(result.success);
	assert_ptr_equal(result.user_data, f);
	assert_slice(result.uniq_id, "u-1");
	assert_slice(result.error, "");
	assert_int_equal(result.timing.ns[TR_PHASE_RUN], 1234);
	assert_int_equal(result.output.data[result.output.n], 0);
	assert_int_equal(result.metadata.data[result.metadata.n], 0);
	assert_int_equal(result.raw.data[result.raw.n], 0);
	assert_int_equal(tr_value_parse(result.output.data, result.output.n, &output), 0);
	assert_string_equal(tr_value_get(output, "command")->u.string, "true");
	assert_int_equal(tr_value_parse(result.raw.data, result.raw.n, &raw), 0);
	assert_string_equal(tr_value_get(raw, "uniq_id")->u.string, "u-1");
	tr_value_free(output);
	tr_value_free(raw);

	/* The same arguments, packed by the caller. */
	call.arguments = tr_map(NULL, 0);
	call.arguments_packed = "\x81\xa1k\x01";
	call.n_arguments_packed = 4;
	assert_int_equal(tr_call_wait(f->client, &call, &result, LONG_MS), 0);
	assert_memory_equal(result.output.data, "\x81\xa1k\x01", 5);
	call.n_arguments_packed = 3;
	assert_int_equal(tr_call_wait(f->client, &call, &result, LONG_MS), -EINVAL);
	tr_result_deinit(&result);
}

/* Every other kind goes through, with its own members. */
static void test_kinds(void **state)
{
	struct fixture *f = *state;
	struct tr_client *c = f->client;
	struct tr_member m = {.key = "network", .value = tr_bool(false)};
	struct tr_value spec = tr_map(&m, 1);
	struct tr_result r = {0};
	struct tr_value *v;
	uint64_t ns = 0;

	assert_int_equal(tr_ping(c, LONG_MS, &ns), 0);
	assert_true(ns > 0);
	assert_int_equal(tr_acquire(c, "t", &spec, &r, LONG_MS), 0);
	assert_slice(r.slot_id, "slot-1");
	assert_int_equal(tr_acquire(c, "t", NULL, &r, LONG_MS), 0);
	assert_slice(r.output, "ACQUIRE");
	assert_int_equal(tr_reset(c, "t", &r, LONG_MS), 0);
	assert_slice(r.output, "RESET");
	assert_int_equal(tr_release(c, "t", false, &r, LONG_MS), 0);
	assert_slice(r.output, "RELEASE");
	assert_int_equal(tr_artifact_read(c, "t", "a/b", &spec, &r, LONG_MS), 0);
	assert_int_equal(r.kind, TR_KIND_ARTIFACT_READ);
	assert_slice(r.output, "a/b");
	assert_int_equal(tr_artifact_list(c, "t", "p", NULL, &r, LONG_MS), 0);
	assert_int_equal(tr_artifact_archive(c, "t", "p", NULL, &r, LONG_MS), 0);
	assert_int_equal(tr_artifact_write(c, "t", "p", "x", 1, NULL, &r, LONG_MS), 0);
	assert_int_equal(tr_artifact_unpack(c, "t", "p", "x", 1, NULL, &r, LONG_MS), 0);
	assert_int_equal(r.verdict, TR_OK);
	assert_slice(r.output, "p");
	assert_int_equal(tr_acquire(c, NULL, NULL, &r, LONG_MS), 0);
	assert_int_equal(r.verdict, TR_INVALID);
	assert_true(r.error.n > 0);
	assert_int_equal(tr_status(c, &r, LONG_MS), 0);
	assert_int_equal(tr_value_parse(r.metadata.data, r.metadata.n, &v), 0);
	assert_int_equal(tr_value_get(v, "sessions")->u.integer, 1);
	tr_value_free(v);
	tr_result_deinit(&r);
}

/* Arguments that make no sense are refused before anything is sent. */
static void test_invalid(void **state)
{
	struct fixture *f = *state;
	struct tr_call call = call_of("echo", NULL);
	struct tr_value number = tr_int(1);
	struct tr_result r = {0};
	uint64_t id;

	assert_int_equal(tr_submit(f->client, NULL, &id), -EINVAL);
	assert_int_equal(tr_submit(NULL, &call, &id), -EINVAL);
	call.kind = TR_KIND_CANCEL;
	assert_int_equal(tr_submit(f->client, &call, &id), -EINVAL);
	call.kind = (enum tr_kind)77;
	assert_int_equal(tr_submit(f->client, &call, &id), -EINVAL);
	call.kind = TR_KIND_EXECUTE;
	call.arguments = number;
	assert_int_equal(tr_submit(f->client, &call, &id), -EINVAL);
	assert_int_equal(tr_acquire(f->client, "t", &number, &r, 0), -EINVAL);
	assert_int_equal(tr_wait(f->client, 12345, &r, 0), -ENOENT);
	assert_int_equal(tr_cancel(f->client, 12345), -ENOENT);
	assert_int_equal(tr_reap(f->client, &r, LONG_MS), -ENOENT);
	assert_int_equal(tr_reap_many(f->client, &r, 0, 0), -EINVAL);
	assert_int_equal(tr_n_in_flight(f->client), 0);
	assert_null(tr_close(NULL));
}

/* Results come in the order of completion, each with its call's user_data. */
static void test_pipeline(void **state)
{
	struct fixture *f = *state;
	static struct tr_result results[100];
	uintptr_t next = 0;
	int n;

	for (uintptr_t i = 0; i < 100; i++)
		assert_int_equal(
			tr_submit_raw(f->client, TR_KIND_PING, &i, sizeof(i), (void *)i, 0, NULL),
			0);
	assert_int_equal(tr_n_in_flight(f->client), 100);
	while (next < 100) {
		n = tr_reap_many(f->client, results, 100, LONG_MS);
		assert_true(n > 0);
		for (int i = 0; i < n; i++, next++) {
			assert_ptr_equal(results[i].user_data, (void *)next);
			assert_memory_equal(results[i].raw.data, &next, sizeof(next));
		}
	}
	assert_int_equal(tr_n_in_flight(f->client), 0);
	for (int i = 0; i < 100; i++)
		tr_result_deinit(&results[i]);
}

/* tr_wait() takes one result out of the middle; the others stay in order for reapers. */
static void test_wait_in_between(void **state)
{
	struct fixture *f = *state;
	struct tr_result r = {0};
	uint64_t ids[5];

	for (uint64_t i = 0; i < 5; i++)
		assert_int_equal(tr_submit_raw(f->client, TR_KIND_PING, &i, 8, NULL, 0, &ids[i]),
				 0);
	assert_int_equal(tr_wait(f->client, ids[3], &r, LONG_MS), 0);
	assert_int_equal(r.call_id, ids[3]);
	assert_int_equal(tr_wait(f->client, ids[3], &r, 0), -ENOENT);
	assert_int_equal(tr_wait(f->client, ids[1], &r, LONG_MS), 0);
	assert_int_equal(r.call_id, ids[1]);
	for (int i = 0; i < 5; i++) {
		if (i == 1 || i == 3)
			continue;
		assert_int_equal(tr_reap(f->client, &r, LONG_MS), 0);
		assert_int_equal(r.call_id, ids[i]);
	}
	assert_int_equal(tr_reap(f->client, &r, 0), -ENOENT);
	tr_result_deinit(&r);
}

/* Messages many times larger than the ring travel both ways. */
static void test_fragments(void **state)
{
	struct fixture *f = *state;
	size_t n = 3 * 1024 * 1024 + 17;
	struct tr_call big = call_of("big", "5000001");
	struct tr_result r = {0};
	uint8_t *ping = malloc(n);
	uint64_t ids[3];

	for (size_t i = 0; i < n; i++)
		ping[i] = (uint8_t)(i * 7 + (i >> 12));
	for (int i = 0; i < 3; i++)
		assert_int_equal(tr_submit_raw(f->client, TR_KIND_PING, ping, n - (size_t)i, NULL,
					       LONG_MS, &ids[i]),
				 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(tr_reap(f->client, &r, LONG_MS), 0);
		assert_int_equal(r.call_id, ids[i]);
		assert_int_equal(r.raw.n, n - (size_t)i);
		assert_memory_equal(r.raw.data, ping, r.raw.n);
	}
	assert_int_equal(tr_call_wait(f->client, &big, &r, LONG_MS), 0);
	assert_int_equal(r.output.n, 5000001);
	for (size_t i = 0; i < r.output.n; i++)
		if (r.output.data[i] != 'x')
			fail();
	assert_int_equal(r.output.data[r.output.n], 0);
	tr_result_deinit(&r);
	free(ping);
}

/*
 * A message larger than the ring is accepted without waiting, and gets through by any later call;
 * until then the next one is told -EAGAIN.
 */
static void test_pending(void **state)
{
	struct fixture *f = *state;
	size_t n = 1024 * 1024;
	uint8_t *ping = calloc(1, n);
	struct tr_result r = {0};
	uint64_t id;

	peer_pause(&f->peer, true);
	assert_int_equal(tr_submit_raw(f->client, TR_KIND_PING, ping, n, NULL, 0, &id), 0);
	assert_int_equal(tr_submit_raw(f->client, TR_KIND_PING, NULL, 0, NULL, 0, NULL), -EAGAIN);
	assert_int_equal(tr_submit_raw(f->client, TR_KIND_PING, NULL, 0, NULL, 50, NULL),
			 -ETIMEDOUT);
	assert_int_equal(tr_reap(f->client, &r, 0), -EAGAIN);
	assert_int_equal(tr_reap(f->client, &r, 10), -ETIMEDOUT);
	peer_pause(&f->peer, false);
	assert_int_equal(tr_reap(f->client, &r, LONG_MS), 0);
	assert_int_equal(r.call_id, id);
	assert_int_equal(r.raw.n, n);
	assert_int_equal(
		tr_submit_raw(f->client, TR_KIND_PING, ping, (16u << 20) + 1, NULL, 0, NULL),
		-E2BIG);
	tr_result_deinit(&r);
	free(ping);
}

/* Full table of calls: -EAGAIN, then -ENOBUFS once all are answered and none is reaped. */
static void test_no_rows(void **state)
{
	struct fixture *f = *state;
	struct tr_result r = {0};

	for (int i = 0; i < 256; i++)
		assert_int_equal(tr_submit_raw(f->client, TR_KIND_PING, NULL, 0, NULL, 0, NULL), 0);
	assert_int_equal(tr_submit_raw(f->client, TR_KIND_PING, NULL, 0, NULL, 0, NULL), -EAGAIN);
	assert_int_equal(tr_submit_raw(f->client, TR_KIND_PING, NULL, 0, NULL, LONG_MS, NULL),
			 -ENOBUFS);
	assert_int_equal(tr_reap(f->client, &r, LONG_MS), 0);
	assert_int_equal(tr_submit_raw(f->client, TR_KIND_PING, NULL, 0, NULL, LONG_MS, NULL), 0);
	for (int i = 0; i < 256; i++)
		assert_int_equal(tr_reap(f->client, &r, LONG_MS), 0);
	assert_int_equal(tr_reap(f->client, &r, LONG_MS), -ENOENT);
	tr_result_deinit(&r);
}

/*
 * Both rings full at once: the peer waits for completion space and takes nothing in, while we wait
 * for submission space. Nobody reaps, and it must still come through.
 */
static void test_both_full(void **state)
{
	struct fixture *f = *state;
	uint8_t ping[12000] = {0};
	struct tr_result r = {0};

	for (int i = 0; i < 200; i++)
		assert_int_equal(tr_submit_raw(f->client, TR_KIND_PING, ping, sizeof(ping), NULL,
					       LONG_MS, NULL),
				 0);
	for (int i = 0; i < 200; i++)
		assert_int_equal(tr_reap(f->client, &r, LONG_MS), 0);
	tr_result_deinit(&r);
}

/* A call that hangs is cancelled and answered. */
static void test_cancel(void **state)
{
	struct fixture *f = *state;
	struct tr_call hang = call_of("hang", NULL);
	struct tr_result r = {0};
	uint64_t id;

	assert_int_equal(tr_submit(f->client, &hang, &id), 0);
	assert_int_equal(tr_wait(f->client, id, &r, 5), -ETIMEDOUT);
	assert_int_equal(tr_cancel(f->client, id), 0);
	assert_int_equal(tr_wait(f->client, id, &r, LONG_MS), 0);
	assert_int_equal(r.verdict, TR_CANCELLED);
	assert_int_equal(tr_cancel(f->client, id), -ENOENT);
	tr_result_deinit(&r);
}

/* A call given up is cancelled, and its result is never seen; its row is used again. */
static void test_abandoned(void **state)
{
	struct fixture *f = *state;
	struct tr_call hang = call_of("hang", NULL);
	struct tr_result r = {0};

	for (int i = 0; i < 300; i++) {
		assert_int_equal(tr_call_wait(f->client, &hang, &r, 1), -ETIMEDOUT);
		assert_int_equal(tr_n_in_flight(f->client), 0);
	}
	assert_int_equal(tr_reap(f->client, &r, 0), -ENOENT);
	assert_int_equal(tr_ping(f->client, LONG_MS, NULL), 0);
	assert_int_equal(__atomic_load_n(&f->peer.n_cancels, __ATOMIC_RELAXED), 300);
	tr_result_deinit(&r);
}

/* The same when asked for, of a call in flight and of one that has its answer already. */
static void test_abandon(void **state)
{
	struct fixture *f = *state;
	struct tr_call calls[] = {call_of("hang", NULL), call_of("echo", NULL)};
	struct tr_result r = {0};
	uint64_t id;

	for (int i = 0; i < 300; i++) {
		assert_int_equal(tr_submit(f->client, &calls[i % 2], &id), 0);
		assert_int_equal(tr_ping(f->client, LONG_MS, NULL), 0); /* drains the echo's too */
		assert_int_equal(tr_abandon(f->client, id), 0);
		assert_int_equal(tr_abandon(f->client, id), -ENOENT);
		assert_int_equal(tr_n_in_flight(f->client), 0);
	}
	assert_int_equal(tr_reap(f->client, &r, 0), -ENOENT);
	assert_int_equal(tr_ping(f->client, LONG_MS, NULL), 0);
	assert_int_equal(__atomic_load_n(&f->peer.n_cancels, __ATOMIC_RELAXED), 150);
	tr_result_deinit(&r);
}

/* A forked child gets -ECHILD from everything, may close, and leaves the parent's session alone. */
static void test_fork(void **state)
{
	struct fixture *f = *state;
	struct tr_result r = {0};
	int status;
	pid_t pid;

	assert_int_equal(tr_ping(f->client, LONG_MS, NULL), 0);
	pid = fork();
	if (pid == 0) {
		bool good = tr_ping(f->client, LONG_MS, NULL) == -ECHILD &&
			    tr_reap(f->client, &r, -1) == -ECHILD && tr_fd(f->client) == -ECHILD &&
			    tr_fd_arm(f->client) == -ECHILD && tr_stats(f->client) == NULL &&
			    tr_n_in_flight(f->client) == 0;

		tr_close(f->client);
		_exit(good ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(tr_ping(f->client, LONG_MS, NULL), 0);
	assert_int_equal(tr_session_count(f->client), 1);
}

/* Once warm, no call of the data plane allocates: waited for, reaped, or put aside first. */
static void test_no_allocation(void **state)
{
	struct fixture *f = *state;
	struct tr_member m = {.key = "command", .value = tr_string("true")};
	struct tr_call call = call_of("echo", "u-1");
	static struct tr_result r[8];
	size_t before = 0;
	uint64_t id[8];

	call.arguments = tr_map(&m, 1);
	for (int round = 0; round < 40; round++) {
		if (round == 20)
			before = n_allocs;
		assert_int_equal(tr_call_wait(f->client, &call, &r[0], LONG_MS), 0);
		assert_int_equal(tr_ping(f->client, LONG_MS, NULL), 0);
		for (int i = 0; i < 8; i++)
			assert_int_equal(tr_submit(f->client, &call, &id[i]), 0);
		/* The last one: all others are put aside. */
		assert_int_equal(tr_wait(f->client, id[7], &r[7], LONG_MS), 0);
		for (int i = 0; i < 7; i++)
			assert_int_equal(tr_reap(f->client, &r[i], LONG_MS), 0);
	}
	assert_int_equal(n_allocs - before, 0);
	assert_true(before > 0);
	for (int i = 0; i < 8; i++)
		tr_result_deinit(&r[i]);
}

/* Statistics are mapped read-only from the third descriptor, if it holds what it should. */
static void test_stats(void **state)
{
	struct fixture *f = *state;
	struct tr_stats *s;
	struct tr_client *c;
	int fd = memfd_create("stats", MFD_CLOEXEC);

	assert_null(tr_stats(f->client));
	tr_close(f->client);
	f->client = NULL;
	assert_int_equal(ftruncate(fd, sizeof(*s)), 0);
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	f->peer.stats_fd = fd;
	c = client_to(&f->peer, 0);
	assert_null(tr_stats(c)); /* all zero */
	tr_close(c);
	s->magic = TR_MAGIC;
	s->version = TR_STATS_VERSION;
	s->bytes = sizeof(*s);
	s->pings_total = 42;
	c = client_to(&f->peer, 0);
	assert_non_null(tr_stats(c));
	assert_int_equal(tr_stats(c)->pings_total, 42);
	assert_ptr_equal(tr_stats(c), tr_stats(c));
	tr_close(c);
	munmap(s, sizeof(*s));
	close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_call_wait), TEST(test_kinds),           TEST(test_invalid),
		TEST(test_pipeline),  TEST(test_wait_in_between), TEST(test_fragments),
		TEST(test_pending),   TEST(test_no_rows),         TEST(test_both_full),
		TEST(test_cancel),    TEST(test_abandoned),       TEST(test_abandon),
		TEST(test_fork),      TEST(test_no_allocation),   TEST(test_stats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
