/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"

#include "base/clock.h"

#define N_THREADS 4

struct worker {
	struct tr_client *client;
	unsigned number;
	unsigned rounds; /* 0: until stop */
	bool *stop;
	uint64_t *n_submitted; /* by all */
	uint64_t *n_reaped;
	unsigned n_lost;
};

static void check(bool good, const char *what)
{
	if (!good) {
		fprintf(stderr, "%s\n", what);
		abort();
	}
}

/* One call, waited for: the answer is this thread's own. */
static void call_once(struct worker *w, unsigned i, struct tr_result *r)
{
	struct tr_call call = {.trajectory_id = "t", .tool = "echo"};
	char uniq_id[32];
	int error;

	snprintf(uniq_id, sizeof(uniq_id), "%u-%u", w->number, i);
	call.uniq_id = uniq_id;
	call.user_data = w;
	error = tr_call_wait(w->client, &call, r, LONG_MS);
	if (error == 0 && r->verdict == TR_OK) {
		check(r->uniq_id.n == strlen(uniq_id) && strcmp(r->uniq_id.data, uniq_id) == 0,
		      "another call's result");
		check(r->user_data == w, "another call's user_data");
		return;
	}
	check(error == 0 && (r->verdict == TR_UNKNOWN || r->verdict == TR_NOT_STARTED),
	      "an unexpected error");
	w->n_lost++;
}

static void submit_some(struct worker *w, unsigned n)
{
	static const uint8_t payload[3000];

	for (unsigned i = 0; i < n; i++) {
		int r = tr_submit_raw(w->client, TR_KIND_PING, payload, i % 4 ? 8 : sizeof(payload),
				      NULL, 1000, NULL);

		check(r == 0 || r == -ENOBUFS, "submit failed");
		if (r == 0)
			__atomic_add_fetch(w->n_submitted, 1, __ATOMIC_RELAXED);
	}
}

static void reap_some(struct worker *w, struct tr_result *results)
{
	int r = tr_reap_many(w->client, results, 8, 20);

	check(r > 0 || r == -ENOENT || r == -ETIMEDOUT, "reap failed");
	if (r > 0)
		__atomic_add_fetch(w->n_reaped, (uint64_t)r, __ATOMIC_RELAXED);
}

static void *worker_main(void *data)
{
	struct worker *w = data;
	struct tr_result results[8] = {0};

	for (unsigned i = 0;
	     w->rounds ? i < w->rounds : !__atomic_load_n(w->stop, __ATOMIC_RELAXED); i++) {
		call_once(w, i, &results[0]);
		if (w->n_submitted) {
			submit_some(w, 1 + (i + w->number) % 6);
			reap_some(w, results);
		}
		if (i % 16 == w->number)
			check(tr_ping(w->client, LONG_MS, NULL) == 0 || !w->n_submitted,
			      "ping failed");
	}
	for (int i = 0; i < 8; i++)
		tr_result_deinit(&results[i]);
	return NULL;
}

static void run(struct fixture *f, unsigned rounds, uint64_t *n_submitted, uint64_t *n_reaped,
		unsigned n_restarts)
{
	struct worker workers[N_THREADS];
	pthread_t threads[N_THREADS];
	bool stop = false;

	for (unsigned i = 0; i < N_THREADS; i++) {
		workers[i] = (struct worker){
			.client = f->client,
			.number = i,
			.rounds = rounds,
			.stop = &stop,
			.n_submitted = n_submitted,
			.n_reaped = n_reaped,
		};
		pthread_create(&threads[i], NULL, worker_main, &workers[i]);
	}
	for (unsigned i = 0; i < n_restarts; i++) {
		/* Let the new session serve something before it ends as well. */
		while (__atomic_load_n(&f->peer.n_records, __ATOMIC_RELAXED) < 20)
			nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
		peer_stop(&f->peer);
		f->peer.n_records = 0;
		peer_start(&f->peer);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
}

/* Four threads call, submit and reap on one handle: each gets its own, nothing is lost. */
static void test_mixed(void **state)
{
	struct fixture *f = *state;
	uint64_t n_submitted = 0, n_reaped = 0;
	struct tr_result r = {0};

	run(f, 400, &n_submitted, &n_reaped, 0);
	while (tr_reap(f->client, &r, LONG_MS) == 0)
		n_reaped++;
	tr_result_deinit(&r);
	assert_int_equal(n_submitted, n_reaped);
	assert_int_equal(tr_n_in_flight(f->client), 0);
	assert_int_equal(tr_session_count(f->client), 1);
}

/* The executor dies under four threads, again and again: each call ends, with its own verdict. */
static void test_restarts(void **state)
{
	struct fixture *f = *state;

	run(f, 0, NULL, NULL, 15);
	assert_int_equal(tr_n_in_flight(f->client), 0);
	assert_true(tr_session_count(f->client) >= 15);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_mixed),
		TEST(test_restarts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
