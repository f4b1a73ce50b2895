/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks the ring and the wake protocol of src/shm/ring.h, the code that ships, under C++'s relaxed
 * memory with Relacy: stale loads, every interleaving (in the searched scenarios) or many random
 * ones, and futexes that time never ends, so that a lost wake-up shows as a deadlock.
 *
 * Shown: no record is lost, duplicated, torn or out of order; no payload is touched without a
 * happens-before edge; nobody sleeps for ever; also where positions wrap around the ring and around
 * 2^64. And that each order matters: every SITE() found in ring.h is weakened in turn (a load or
 * store to relaxed, a fence to none, and one that is seq_cst a second time, to acq_rel), and each
 * time at least one scenario must fail.
 *
 * usage: model PATH_TO_RING_H [-v]
 */
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <toolring/abi.h>

#include "order.h"
#include "shm/ring.h"

uint32_t model_weakened;
rl::memory_order model_weakened_to = rl::mo_relaxed;

/* One ring: what its two sides share, and the sockets they may sleep on instead of the wait words. */
struct link {
	static const uint64_t bytes_max = 256;

	shm_u64 tail, head;
	shm_u32 consumer_wait, producer_wait;
	shm_u32 consumer_socket, producer_socket; /* bytes that wait to be read there */
	shm_bytes area[bytes_max / 8];

	void init(uint64_t start)
	{
		tail.store(start, rl::mo_relaxed, RL_INFO);
		head.store(start, rl::mo_relaxed, RL_INFO);
		consumer_wait.store(TR_AWAKE, rl::mo_relaxed, RL_INFO);
		producer_wait.store(TR_AWAKE, rl::mo_relaxed, RL_INFO);
		consumer_socket.store(0, rl::mo_relaxed, RL_INFO);
		producer_socket.store(0, rl::mo_relaxed, RL_INFO);
	}

	struct ring_words words()
	{
		struct ring_words w = {&tail, &head, &consumer_wait, &producer_wait};

		return w;
	}

	struct ring_tx tx(uint64_t start, uint64_t bytes)
	{
		struct ring_tx t = {words(), area, bytes, start, start, start};

		return t;
	}

	struct ring_rx rx(uint64_t start, uint64_t bytes)
	{
		struct ring_rx r = {words(), area, bytes, start, start, start};

		return r;
	}
};

/* ---- the kernel's part -----------------------------------------------------------------------*/

/* Without a bound; may wake for no reason. */
static void futex_wait(shm_u32 *word, int value)
{
	rl::rl_futex(word, rl::RL_FUTEX_WAIT, value, nullptr, nullptr, 0, RL_INFO);
}

static void futex_wake(shm_u32 *word)
{
	rl::rl_futex(word, rl::RL_FUTEX_WAKE, 1, nullptr, nullptr, 0, RL_INFO);
}

/* One byte at most is held: a second would be EAGAIN or say nothing more. */
static void socket_send(shm_u32 *bytes)
{
	if (bytes->exchange(1, rl::mo_acq_rel, RL_INFO) == 0)
		futex_wake(bytes);
}

static void socket_poll_and_drain(shm_u32 *bytes)
{
	while (bytes->exchange(0, rl::mo_acq_rel, RL_INFO) == 0)
		futex_wait(bytes, 0);
}

static void wake(uint32_t how, shm_u32 *word, shm_u32 *socket)
{
	if (how == TR_WAIT_FUTEX)
		futex_wake(word);
	else if (how == TR_WAIT_SOCKET)
		socket_send(socket);
}

/* ---- the two sides, as client and executor write them ----------------------------------------*/

static void tx_publish_and_wake(struct link *l, struct ring_tx *tx)
{
	ring_tx_publish(tx);
	wake(ring_tx_wake(tx), &l->consumer_wait, &l->consumer_socket);
}

static void rx_release_and_wake(struct link *l, struct ring_rx *rx)
{
	ring_rx_release(rx);
	wake(ring_rx_wake(rx), &l->producer_wait, &l->producer_socket);
}

/* As a client does. */
static void tx_wait_for_room(struct link *l, struct ring_tx *tx, uint64_t n)
{
	for (;;) {
		ring_tx_sleep(tx, TR_WAIT_FUTEX);
		if (ring_tx_fits(tx, n)) {
			ring_tx_awake(tx);
			return;
		}
		futex_wait(&l->producer_wait, TR_WAIT_FUTEX);
	}
}

/* As the executor does, which only looks whether the consumer moved and stays announced. */
static void tx_wait_for_move(struct link *l, struct ring_tx *tx)
{
	ring_tx_sleep(tx, TR_WAIT_SOCKET);
	if (!ring_tx_moved(tx))
		socket_poll_and_drain(&l->producer_socket);
}

/* Now in one way, now in the other. */
static const uint32_t wait_either = 3;

static void rx_wait_for_record(struct link *l, struct ring_rx *rx, uint32_t how_given)
{
	for (;;) {
		uint32_t how = how_given == wait_either ? TR_WAIT_FUTEX + rl::rand(2) : how_given;

		ring_rx_sleep(rx, how);
		if (ring_rx_poll(rx)) {
			ring_rx_awake(rx);
			return;
		}
		if (how == TR_WAIT_FUTEX)
			futex_wait(&l->consumer_wait, TR_WAIT_FUTEX);
		else
			socket_poll_and_drain(&l->consumer_socket);
	}
}

static uint64_t payload_word(uint64_t id, uint64_t i)
{
	return (id << 8 | i) * 0x9e3779b97f4a7c15u;
}

/* Stages a record; publishes and sleeps while there is no room. */
static void produce(struct link *l, struct ring_tx *tx, uint64_t id, uint64_t length, uint32_t how)
{
	uint64_t words[link::bytes_max / 32];
	bool announced = false;
	int r;

	for (uint64_t i = 0; i < (length + 7) / 8; i++)
		words[i] = payload_word(id, i);
	while ((r = ring_tx_put(tx, TR_KIND_PING, 0, id, nullptr, 0, words, length)) == 0) {
		if (tx->published != tx->tail)
			tx_publish_and_wake(l, tx);
		if (how == TR_WAIT_SOCKET) {
			tx_wait_for_move(l, tx);
			announced = true;
		} else {
			tx_wait_for_room(l, tx, length);
		}
	}
	RL_ASSERT(r == 1);
	if (announced)
		ring_tx_awake(tx);
}

/* Takes the record with that id and nothing else; sleeps while there is none. */
static void consume(struct link *l, struct ring_rx *rx, uint64_t id, uint64_t length, uint32_t how)
{
	uint64_t words[link::bytes_max / 32];
	struct ring_record record = {};
	int r;

	while ((r = ring_rx_next(rx, &record)) == 0) {
		if (rx->released != rx->head)
			rx_release_and_wake(l, rx);
		rx_wait_for_record(l, rx, how);
	}
	RL_ASSERT(r == 1);
	RL_ASSERT(record.call_id == id);
	RL_ASSERT(record.kind == TR_KIND_PING);
	RL_ASSERT(record.length == length);
	ring_rx_copy(rx, &record, 0, words, length);
	for (uint64_t i = 0; i < (length + 7) / 8; i++) {
		uint64_t here = payload_word(id, i);
		uint64_t n = length - i * 8 < 8 ? length - i * 8 : 8;

		RL_ASSERT(memcmp(&words[i], &here, n) == 0);
	}
	ring_rx_consume(rx, &record);
}

/* ---- scenarios -------------------------------------------------------------------------------*/

/* Sizes that leave 8, 16 and more bytes before the end of the ring, so that there are pads. */
static uint64_t length_of(uint64_t id, uint64_t ring_bytes)
{
	static const uint64_t lengths[] = {16, 0, 7, 8, 13, 1, 16, 9};

	return ring_bytes < 128 ? 0 : lengths[id % 8];
}

/*
 * A producer and a consumer of one ring. The batches are random (or, for a search, one of the
 * choices it goes through): so the consumer may release four records at once and the producer
 * publish several. how: how the consumer sleeps; how_tx: the producer.
 */
template <int n_records, uint64_t ring_bytes, uint64_t start, uint32_t how, int batch_max,
	  uint32_t how_tx = TR_WAIT_FUTEX>
struct stream : rl::test_suite<stream<n_records, ring_bytes, start, how, batch_max, how_tx>, 2> {
	struct link l;

	void before()
	{
		l.init(start);
	}

	static bool batch_ends(void)
	{
		return batch_max == 1 || rl::rand(batch_max) == 0;
	}

	void thread(unsigned index)
	{
		if (index == 0) {
			struct ring_tx tx = l.tx(start, ring_bytes);

			for (int id = 1; id <= n_records; id++) {
				produce(&l, &tx, id, length_of(id, ring_bytes), how_tx);
				if (id == n_records || batch_ends())
					tx_publish_and_wake(&l, &tx);
			}
		} else {
			struct ring_rx rx = l.rx(start, ring_bytes);

			for (int id = 1; id <= n_records; id++) {
				consume(&l, &rx, id, length_of(id, ring_bytes), how);
				if (id == n_records || batch_ends())
					rx_release_and_wake(&l, &rx);
			}
			RL_ASSERT(ring_rx_poll(&rx) == 0);
		}
	}
};

/* Both rings: calls one way, answers the other, as many in flight as fit. */
template <int n_calls, int n_flight, uint64_t start, uint32_t how>
struct ping_pong : rl::test_suite<ping_pong<n_calls, n_flight, start, how>, 2> {
	static const uint64_t ring_bytes = 64;
	struct link submission, completion;

	void before()
	{
		submission.init(start);
		completion.init(start);
	}

	void client()
	{
		struct ring_tx tx = submission.tx(start, ring_bytes);
		struct ring_rx rx = completion.rx(start, ring_bytes);
		int n_sent = 0;

		for (int id = 1; id <= n_calls; id++) {
			while (n_sent < n_calls && n_sent < id - 1 + n_flight) {
				produce(&submission, &tx, ++n_sent, 0, TR_WAIT_FUTEX);
				tx_publish_and_wake(&submission, &tx);
			}
			consume(&completion, &rx, id, 0, TR_WAIT_FUTEX);
			rx_release_and_wake(&completion, &rx);
		}
	}

	void executor()
	{
		struct ring_rx rx = submission.rx(start, ring_bytes);
		struct ring_tx tx = completion.tx(start, ring_bytes);

		for (int id = 1; id <= n_calls; id++) {
			consume(&submission, &rx, id, 0, how);
			rx_release_and_wake(&submission, &rx);
			produce(&completion, &tx, id, 0, TR_WAIT_SOCKET);
			tx_publish_and_wake(&completion, &tx);
		}
	}

	void thread(unsigned index)
	{
		if (index == 0)
			client();
		else
			executor();
	}
};

/* 24 bytes before both the end of the ring and the end of 64 bits. */
static const uint64_t wrap = UINT64_MAX - 24 + 1;

struct scenario {
	const char *name;
	bool (*run)(rl::test_params &);
	rl::scheduler_type_e search;
	unsigned n; /* random: iterations; bound: switches of a thread that could go on */
};

static const struct scenario scenarios[] = {
	{"1 record, all interleavings", rl::simulate<stream<1, 64, 0, TR_WAIT_FUTEX, 1>>,
	 rl::sched_full, 0},
	{"5 records through 4, bound", rl::simulate<stream<5, 64, wrap, TR_WAIT_FUTEX, 1>>,
	 rl::sched_bound, 3},
	{"9 records, ring of 128", rl::simulate<stream<9, 128, wrap, TR_WAIT_FUTEX, 4>>,
	 rl::sched_random, 400000},
	{"9 records, ring of 64", rl::simulate<stream<9, 64, wrap, TR_WAIT_FUTEX, 4>>,
	 rl::sched_random, 400000},
	{"9 records, asleep on socket", rl::simulate<stream<9, 128, wrap, TR_WAIT_SOCKET, 4>>,
	 rl::sched_random, 400000},
	{"9 records, asleep on either", rl::simulate<stream<9, 128, wrap, wait_either, 4>>,
	 rl::sched_random, 400000},
	{"5 through 4, producer on socket",
	 rl::simulate<stream<5, 64, wrap, TR_WAIT_FUTEX, 1, TR_WAIT_SOCKET>>, rl::sched_bound, 2},
	{"9 records, producer on socket",
	 rl::simulate<stream<9, 128, wrap, TR_WAIT_FUTEX, 4, TR_WAIT_SOCKET>>, rl::sched_random,
	 400000},
	{"ping-pong", rl::simulate<ping_pong<6, 1, wrap, TR_WAIT_FUTEX>>, rl::sched_random, 200000},
	{"ping-pong, 3 in flight", rl::simulate<ping_pong<6, 3, wrap, TR_WAIT_SOCKET>>,
	 rl::sched_random, 200000},
};

/* ---- the runs --------------------------------------------------------------------------------*/

/*
 * What Relacy prints, up to a limit. Of fixed size, since it prints inside of the simulation, where
 * memory is counted as the scenario's.
 */
struct printed : std::streambuf {
	char text[1 << 16];

	printed()
	{
		setp(text, text + sizeof(text) - 1);
	}

	int overflow(int c) override
	{
		return c == EOF ? 0 : c;
	}

	const char *end()
	{
		*pptr() = 0;
		return text;
	}
};

/* True if the scenario passed; *ret_how says what was found. */
static bool run(const struct scenario &s, std::string *ret_how)
{
	struct printed printed;
	std::ostream stream(&printed);
	std::ostringstream how;
	rl::test_params params;
	bool passed;

	params.search_type = s.search;
	params.iteration_count = s.n;
	params.context_bound = s.n;
	params.execution_depth_limit = 20000;
	params.output_stream = &stream;
	params.progress_stream = &stream;
	passed = s.run(params);
	how << rl::test_result_str(params.test_result) << ", iteration " << params.stop_iteration;
	*ret_how = how.str();
	if (!passed && !model_weakened)
		printf("%s\n", printed.end());
	return passed;
}

struct site {
	std::string name;
	bool seq_cst;
};

/* The sites SITE(name, order), in order; false if an order stands outside of any. */
static bool read_sites(const char *path, std::vector<site> *ret_sites)
{
	std::ifstream file(path);
	std::string line;
	bool complete = true;

	while (std::getline(file, line)) {
		size_t at = line.find("SITE(");

		if (at != std::string::npos) {
			at += strlen("SITE(");
			ret_sites->push_back({line.substr(at, line.find(',', at) - at),
					      line.find("SHM_SEQ_CST", at) != std::string::npos});
		} else if (line.find("SHM_ACQUIRE") != std::string::npos ||
			   line.find("SHM_RELEASE") != std::string::npos ||
			   line.find("SHM_SEQ_CST") != std::string::npos) {
			printf("an order without a SITE: %s\n", line.c_str());
			complete = false;
		}
	}
	return complete;
}

static bool check_intact(void)
{
	bool good = true;

	for (const struct scenario &s : scenarios) {
		std::string how;
		bool passed = run(s, &how);

		printf("%-8s %-32s %s\n", passed ? "passes" : "FAILS", s.name, how.c_str());
		fflush(stdout);
		good = good && passed;
	}
	return good;
}

static bool check_weakened(const std::string &site, rl::memory_order to, bool all)
{
	std::string what = site + (to == rl::mo_acq_rel ? " to acq_rel" : "");
	bool found = false;

	model_weakened = model_hash(site.c_str());
	model_weakened_to = to;
	for (const struct scenario &s : scenarios) {
		std::string how;

		if (!run(s, &how)) {
			printf("%-25s fails, as it must: %s (%s)\n", what.c_str(), how.c_str(),
			       s.name);
			found = true;
		} else if (all) {
			printf("%-25s passes: %s (%s)\n", what.c_str(), how.c_str(), s.name);
		}
		fflush(stdout);
		if (found && !all)
			break;
	}
	model_weakened = 0;
	if (!found)
		printf("%-25s is not needed, or no scenario shows that it is\n", what.c_str());
	return found;
}

int main(int argc, char **argv)
{
	bool all = argc == 3 && strcmp(argv[2], "-v") == 0;
	std::vector<site> sites;
	bool good;

	if (argc < 2) {
		fprintf(stderr, "usage: model PATH_TO_RING_H [-v]\n");
		return 1;
	}
	good = read_sites(argv[1], &sites);
	if (sites.empty()) {
		fprintf(stderr, "%s: no SITE found\n", argv[1]);
		return 1;
	}
	good = check_intact() && good;
	for (const struct site &site : sites) {
		good = check_weakened(site.name, rl::mo_relaxed, all) && good;
		if (site.seq_cst)
			good = check_weakened(site.name, rl::mo_acq_rel, all) && good;
	}
	printf("%zu sites, %s\n", sites.size(), good ? "all needed" : "see above");
	return good ? 0 : 1;
}
