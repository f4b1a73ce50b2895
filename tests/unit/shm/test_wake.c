/* SPDX-License-Identifier: Apache-2.0 */
/* Sleeping and waking by futex and by socket, spinning, and two threads that do it in earnest. */
#include "pair.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/message.h"
#include "shm/wake.h"

/* Far more than any machine needs; only a lost wake-up lasts as long. */
#define FOREVER_NS (120 * NS_PER_S)

/* ---- the system calls ------------------------------------------------------------------------*/

/* A word that is not what the sleeper expects is no sleep at all; one that is, is a bounded one. */
static void test_wait(void **state)
{
	uint32_t word = TR_AWAKE;
	uint64_t before;

	(void)state;
	assert_int_equal(wake_wait(&word, TR_WAIT_FUTEX, FOREVER_NS), 0);
	word = TR_WAIT_FUTEX;
	assert_int_equal(wake_wait(&word, TR_WAIT_FUTEX, 0), -ETIMEDOUT);
	before = now_ns();
	assert_int_equal(wake_wait(&word, TR_WAIT_FUTEX, 2 * NS_PER_MS), -ETIMEDOUT);
	assert_true(now_ns() - before >= 2 * NS_PER_MS);
}

static void *sleep_until_awake(void *data)
{
	uint32_t *word = data;
	int r = 0;

	while (r == 0 && __atomic_load_n(word, __ATOMIC_ACQUIRE) == TR_WAIT_FUTEX)
		r = wake_wait(word, TR_WAIT_FUTEX, FOREVER_NS);
	return (void *)(intptr_t)r;
}

/* A sleeping thread is woken. */
static void test_send_futex(void **state)
{
	uint32_t word = TR_WAIT_FUTEX;
	pthread_t thread;
	void *result;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, sleep_until_awake, &word), 0);
	__atomic_store_n(&word, TR_AWAKE, __ATOMIC_RELEASE);
	assert_int_equal(wake_send(TR_WAIT_FUTEX, &word, -1), 1);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_null(result);
}

/* One byte comes; a full socket, a closed one and none at all neither block nor kill. */
static void test_send_socket(void **state)
{
	uint32_t word = TR_AWAKE;
	int pair[2];
	char c;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(wake_send(TR_WAIT_SOCKET, &word, pair[0]), 1);
	assert_int_equal(recv(pair[1], &c, 1, MSG_DONTWAIT), 1);
	assert_int_equal(recv(pair[1], &c, 1, MSG_DONTWAIT), -1);
	while (send(pair[0], &c, 1, MSG_DONTWAIT) == 1)
		;
	assert_int_equal(wake_send(TR_WAIT_SOCKET, &word, pair[0]), 1);
	close(pair[1]);
	wake_send(TR_WAIT_SOCKET, &word, pair[0]);
	close(pair[0]);
	wake_send(TR_WAIT_SOCKET, &word, -1);
}

/* Nobody is woken where nobody sleeps, or where the word is one that means nothing. */
static void test_send_nothing(void **state)
{
	uint32_t word = TR_AWAKE;

	(void)state;
	assert_int_equal(wake_send(TR_AWAKE, &word, -1), 0);
	assert_int_equal(wake_send(3, &word, -1), 0);
	assert_int_equal(wake_send(UINT32_MAX, &word, -1), 0);
}

/* ---- spinning --------------------------------------------------------------------------------*/

/* Unrewarded, the spin shrinks to nothing, and is then tried at its longest only now and then. */
static void test_spin_shrinks(void **state)
{
	uint32_t ns, before = UINT32_MAX;
	unsigned n_tries = 0;
	struct spin s;

	(void)state;
	spin_init(&s, 100000);
	assert_int_equal(spin_begin(&s), 100000);
	while ((ns = spin_begin(&s))) {
		assert_true(ns < before);
		before = ns;
		spin_end(&s, ns, 0);
	}
	for (unsigned i = 0; i < 1600; i++) {
		ns = spin_begin(&s);
		assert_true(ns == 0 || ns == 100000);
		n_tries += ns > 0;
		spin_end(&s, ns, 0);
	}
	assert_true(n_tries >= 10 && n_tries <= 200);
}

/* Rewarded, it grows to the longest and no further, whatever that is. */
static void test_spin_grows(void **state)
{
	static const uint32_t longest[] = {1, 1000, 100000, UINT32_C(1) << 31, UINT32_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(longest) / sizeof(longest[0]); i++) {
		uint32_t before = 0;
		struct spin s;

		spin_init(&s, longest[i]);
		for (unsigned k = 0; k < 4; k++)
			spin_end(&s, longest[i], 0);
		for (unsigned k = 0; k < 8; k++) {
			spin_end(&s, 1, 1);
			assert_true(s.ns >= before && s.ns <= longest[i]);
			before = s.ns;
		}
		assert_int_equal(s.ns, longest[i]);
	}
}

/* Once given up, one reward brings it back; a sleep that did not spin changes nothing. */
static void test_spin_comes_back(void **state)
{
	uint32_t ns;
	struct spin s;

	(void)state;
	spin_init(&s, 50000);
	while ((ns = spin_begin(&s)))
		spin_end(&s, ns, 0);
	spin_end(&s, 0, 0);
	assert_int_equal(s.ns, 0);
	spin_end(&s, 0, 1);
	assert_int_equal(spin_begin(&s), 50000);
	spin_end(&s, 0, 0);
	assert_int_equal(spin_begin(&s), 50000);
}

/* 0 is never. */
static void test_spin_off(void **state)
{
	struct spin s;

	(void)state;
	spin_init(&s, 0);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(spin_begin(&s), 0);
		spin_end(&s, 0, (int)(i & 1));
	}
}

/* ---- two threads -----------------------------------------------------------------------------*/

#define RING_BYTES 4096u
#define N_MESSAGES 80000u
#define LENGTH_MAX 3000u

struct traffic {
	struct pair pair;
	uint32_t how; /* the consumer sleeps */
	int consumer_socket;
	int producer_socket;
	struct message_assembly assembly;
	unsigned n_sleeps[2]; /* producer, consumer */
	const char *fault[2];
};

static size_t length_of(uint64_t id)
{
	uint64_t dice = id * 0x9e3779b97f4a7c15u >> 33;

	return (size_t)(dice % (id % 8 ? 200 : LENGTH_MAX));
}

static void publish(struct traffic *t)
{
	struct ring_tx *tx = &t->pair.tx;

	ring_tx_publish(tx);
	wake_send(ring_tx_wake(tx), tx->words.consumer_wait, t->producer_socket);
}

static void release(struct traffic *t)
{
	struct ring_rx *rx = &t->pair.rx;

	ring_rx_release(rx);
	wake_send(ring_rx_wake(rx), rx->words.producer_wait, t->consumer_socket);
}

/* Until a record of the largest size fits. False: nothing woke us for very long. */
static bool wait_for_room(struct traffic *t)
{
	struct ring_tx *tx = &t->pair.tx;
	int r = 0;

	while (r != -ETIMEDOUT) {
		ring_tx_sleep(tx, TR_WAIT_FUTEX);
		if (ring_tx_fits(tx, ring_payload_max(RING_BYTES))) {
			ring_tx_awake(tx);
			return true;
		}
		t->n_sleeps[0]++;
		r = wake_wait(tx->words.producer_wait, TR_WAIT_FUTEX, FOREVER_NS);
	}
	return false;
}

static bool wait_for_record(struct traffic *t)
{
	struct pollfd p = {.fd = t->consumer_socket, .events = POLLIN};
	struct ring_rx *rx = &t->pair.rx;
	char drain[16];
	int r = 0;

	while (r != -ETIMEDOUT) {
		ring_rx_sleep(rx, t->how);
		if (ring_rx_poll(rx)) {
			ring_rx_awake(rx);
			return true;
		}
		t->n_sleeps[1]++;
		if (t->how == TR_WAIT_FUTEX)
			r = wake_wait(rx->words.consumer_wait, TR_WAIT_FUTEX, FOREVER_NS);
		else if (poll(&p, 1, (int)(FOREVER_NS / NS_PER_MS)) == 0)
			r = -ETIMEDOUT;
		else
			recv(t->consumer_socket, drain, sizeof(drain), MSG_DONTWAIT);
	}
	return false;
}

static void *produce(void *data)
{
	static uint8_t message[LENGTH_MAX];
	struct traffic *t = data;

	for (uint64_t id = 1; id <= N_MESSAGES; id++) {
		size_t n = length_of(id), done = 0;
		int r;

		pattern_fill(message, n, id);
		while ((r = message_put(&t->pair.tx, 2, id, message, n, &done)) == 0) {
			publish(t);
			if (!wait_for_room(t)) {
				t->fault[0] = "the producer was not woken";
				return NULL;
			}
		}
		if (r < 0) {
			t->fault[0] = "the producer refused the consumer";
			return NULL;
		}
		if (id % 5 == 0 || id == N_MESSAGES)
			publish(t);
	}
	return NULL;
}

/* One whole message of the record: 1; a part: 0; -1: not what was sent. */
static int check(struct traffic *t, const struct ring_record *record, uint64_t id)
{
	static uint8_t payload[RING_BYTES / 4];
	const uint8_t *data = payload;
	size_t n = record->length;
	int r;

	if (record->flags || t->assembly.active) {
		r = message_assembly_feed(&t->assembly, &t->pair.rx, record);
		if (r <= 0)
			return r;
		data = t->assembly.data.data;
		n = t->assembly.data.n;
	} else {
		ring_rx_copy(&t->pair.rx, record, 0, payload, n);
	}
	return record->call_id == id && n == length_of(id) && pattern_match(data, n, id) == n ? 1
											      : -1;
}

static void *consume(void *data)
{
	struct traffic *t = data;
	uint64_t id = 1;

	while (id <= N_MESSAGES) {
		struct ring_record record = {0};
		int r = ring_rx_next(&t->pair.rx, &record);

		if (r == 0) {
			release(t);
			if (!wait_for_record(t)) {
				t->fault[1] = "the consumer was not woken";
				return NULL;
			}
			continue;
		}
		if (r > 0)
			r = check(t, &record, id);
		if (r < 0) {
			t->fault[1] = "a message came wrong";
			return NULL;
		}
		id += (unsigned)r;
		ring_rx_consume(&t->pair.rx, &record);
		if (record.call_id % 3 == 0)
			release(t);
	}
	release(t);
	return NULL;
}

static void run_traffic(uint32_t how)
{
	pthread_t producer, consumer;
	struct traffic t = {.how = how};
	int sockets[2];

	pair_init(&t.pair, RING_BYTES, UINT64_C(0) - 64 * RING_BYTES + 40);
	message_assembly_init(&t.assembly, LENGTH_MAX);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
	t.consumer_socket = sockets[0];
	t.producer_socket = sockets[1];
	assert_int_equal(pthread_create(&producer, NULL, produce, &t), 0);
	assert_int_equal(pthread_create(&consumer, NULL, consume, &t), 0);
	pthread_join(producer, NULL);
	pthread_join(consumer, NULL);
	for (unsigned i = 0; i < 2; i++)
		if (t.fault[i])
			fail_msg("%s", t.fault[i]);
	assert_int_equal(t.pair.shared.head, t.pair.shared.tail);
	print_message("slept: producer %u, consumer %u\n", t.n_sleeps[0], t.n_sleeps[1]);
	close(sockets[0]);
	close(sockets[1]);
	message_assembly_deinit(&t.assembly);
	pair_deinit(&t.pair);
}

/*
 * Messages of all sizes through a ring that is mostly full or mostly empty, without spinning, so
 * that both sides sleep all the time: all come, whole and in order, and nobody sleeps for ever.
 */
static void test_traffic_futex(void **state)
{
	(void)state;
	run_traffic(TR_WAIT_FUTEX);
}

/* The same with a consumer that sleeps in poll. */
static void test_traffic_socket(void **state)
{
	(void)state;
	run_traffic(TR_WAIT_SOCKET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_send_futex),
		cmocka_unit_test(test_send_socket),
		cmocka_unit_test(test_send_nothing),
		cmocka_unit_test(test_spin_shrinks),
		cmocka_unit_test(test_spin_grows),
		cmocka_unit_test(test_spin_comes_back),
		cmocka_unit_test(test_spin_off),
		cmocka_unit_test(test_traffic_futex),
		cmocka_unit_test(test_traffic_socket),
	};

	return cmocka_run_group_tests_name("wake", tests, NULL, NULL);
}
