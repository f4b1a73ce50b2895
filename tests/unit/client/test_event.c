/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"

#include <poll.h>

/* One turn of an event loop. Returns how many results there were. */
static int turn(struct tr_client *c)
{
	struct pollfd p = {.fd = tr_fd(c), .events = POLLIN};
	struct tr_result r = {0};
	int armed = tr_fd_arm(c);
	int n = 0;

	assert_true(armed == 0 || armed == 1 || armed == -ENOTCONN);
	if (armed <= 0)
		assert_int_equal(poll(&p, 1, LONG_MS), 1);
	while (tr_reap(c, &r, 0) == 0)
		n++;
	tr_result_deinit(&r);
	return n;
}

/* Every result wakes the loop: no poll ever runs into its timeout. */
static void test_loop(void **state)
{
	struct fixture *f = *state;

	for (int round = 0; round < 300; round++) {
		int n = 1 + round % 7;

		for (int i = 0; i < n; i++)
			assert_int_equal(
				tr_submit_raw(f->client, TR_KIND_PING, NULL, 0, NULL, 0, NULL), 0);
		while (n > 0)
			n -= turn(f->client);
		assert_int_equal(n, 0);
	}
}

/* After -EAGAIN the descriptor shows room as well, and a message too large is passed on by turns. */
static void test_room(void **state)
{
	struct fixture *f = *state;
	uint8_t *large = calloc(1, 1u << 20);
	int n_in_flight = 0, n_submitted = 0;

	while (n_submitted < 50) {
		size_t n = n_submitted % 10 == 9 ? 1u << 20 : 10000;
		int r = tr_submit_raw(f->client, TR_KIND_PING, large, n, NULL, 0, NULL);

		if (r == 0) {
			n_submitted++;
			n_in_flight++;
			continue;
		}
		assert_int_equal(r, -EAGAIN);
		n_in_flight -= turn(f->client);
	}
	while (n_in_flight > 0)
		n_in_flight -= turn(f->client);
	free(large);
}

/*
 * The executor dies and comes back: the loop sees the end, gets the verdict, and is connected again
 * with nothing but its own turns.
 */
static void test_death(void **state)
{
	struct fixture *f = *state;
	struct tr_call hang = call_of("hang", NULL);
	int n = 0;

	assert_int_equal(tr_submit(f->client, &hang, NULL), 0);
	peer_stop(&f->peer);
	while (n == 0)
		n = turn(f->client);
	assert_int_equal(n, 1);
	assert_int_equal(tr_fd_arm(f->client), -ENOTCONN);
	peer_start(&f->peer);
	while (tr_session_count(f->client) == 1)
		turn(f->client);
	assert_int_equal(tr_submit_raw(f->client, TR_KIND_PING, NULL, 0, NULL, 0, NULL), 0);
	for (n = 0; n == 0;)
		n = turn(f->client);
	assert_int_equal(n, 1);
}

static void *caller(void *data)
{
	struct tr_client *c = data;

	for (int i = 0; i < 300; i++)
		assert_int_equal(tr_ping(c, LONG_MS, NULL), 0);
	return NULL;
}

/* An event loop and a thread that waits share one handle, and neither takes the other's wake-ups. */
static void test_beside_thread(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;

	pthread_create(&thread, NULL, caller, f->client);
	for (int round = 0; round < 300; round++) {
		int n = 0;

		assert_int_equal(tr_submit_raw(f->client, TR_KIND_PING, NULL, 0, NULL, 0, NULL), 0);
		while (n == 0)
			n = turn(f->client);
		assert_int_equal(n, 1);
	}
	pthread_join(thread, NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_loop),
		TEST(test_room),
		TEST(test_death),
		TEST(test_beside_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
