/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a review of the executor found, so that it stays mended, second part: what holds after the
 * executor was killed, and what sessions see that keep to abi.h in other ways than the library.
 */
#include "world.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attach.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "shm/wake.h"

#define MIB            (1 << 20)
#define GRACE_MS       500
#define SMALL_RING     4096
#define PING_BYTES     800
#define N_PARKED       2
#define N_PINGS_MAX    64
#define N_DEEP         40
#define N_DEEP_ROUNDS  200
#define N_DOUBLE_WAKES 3000

static void let_pass(uint64_t ns)
{
	uint64_t until = now_ns() + ns;

	while (now_ns() < until)
		look_again_soon();
}

/* ---- after the executor died ----------------------------------------------------------------------- */

/* Kills the executor; c is attached to the next when this returns. */
static void restart(struct tr_client *c)
{
	uint64_t n_sessions = tr_session_count(c);
	pid_t pid = executor_pid(c);

	assert_int_equal(kill(pid, SIGKILL), 0);
	while (tr_session_count(c) == n_sessions || tr_ping(c, LONG_MS, NULL) < 0) {
		tr_ping(c, LONG_MS, NULL);
		look_again_soon();
	}
	assert_int_not_equal(executor_pid(c), pid);
}

/*
 * A slot that came over a restart is the one it was: the same spec names it, and what would make
 * another one of it is refused.
 */
static void spec_outlives_the_executor(void **state)
{
	const struct tr_member members[] = {
		{"network", tr_string("host")},
		{"memory", tr_int(MIB)},
		{"idle_ttl_s", tr_int(600)},
	};
	const struct tr_value spec = tr_map(members, 3);
	const struct tr_member larger = {"memory", tr_int(2 * MIB)};
	const struct tr_value other = tr_map(&larger, 1);
	struct world *w = *state;
	struct tr_result result = {0};
	struct tr_client *c;
	char before[64];

	world_start(w, "--network", "host", NULL);
	c = world_client(w);
	slot_of(c, "fills the first", NULL);
	snprintf(before, sizeof(before), "%s", slot_of(c, "a", &spec));
	restart(c);
	assert_string_equal(slot_of(c, "a", &spec), before);
	assert_string_equal(slot_of(c, "a", NULL), before);
	assert_int_equal(tr_acquire(c, "a", &other, &result, LONG_MS), 0);
	assert_int_equal(result.verdict, TR_INVALID);
	assert_non_null(strstr(result.error.data, "RELEASE it first"));
	assert_int_equal(status(c, "slots", "used"), 2);
	tr_result_deinit(&result);
}

/* Holds a slot and never says a word again. */
static pid_t holder_that_stays_away(struct world *w, struct tr_client *c)
{
	struct tr_client *own;
	uint64_t id;
	pid_t pid = world_fork(w);

	if (pid == 0) {
		if (world_open(w, &own, NULL, 0) < 0 || try_submit(own, "left", NULL, &id) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	status_becomes(c, "slots", "used", 2);
	return pid;
}

/*
 * A client that comes back after a restart keeps its slots, though it has nothing to say about them;
 * one that does not come back loses them after recovery_grace_ms.
 */
static void who_comes_back_keeps_its_slots(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	char before[64], limit[64];
	uint64_t back_ns;

	snprintf(limit, sizeof(limit), "recovery_grace_ms=%d", GRACE_MS);
	world_start(w, "--limit", limit, NULL);
	c = world_client(w);
	snprintf(before, sizeof(before), "%s", slot_of(c, "kept", NULL));
	holder_that_stays_away(w, c);
	restart(c);
	back_ns = now_ns();
	status_becomes(c, "slots", "used", 1);
	while (now_ns() < back_ns + 3 * GRACE_MS * NS_PER_MS) {
		taken_in(c);
		look_again_soon();
	}
	assert_int_equal(status(c, "slots", "used"), 1);
	assert_int_equal(status(c, "trajectories", NULL), 1);
	assert_string_equal(slot_of(c, "kept", NULL), before);
}

/* A slot that could not be reset is not taken for a clean one by the next executor. */
static void slot_not_reset_stays_out_of_use(void **state)
{
	struct world *w = *state;
	struct tr_result result = {0};
	struct tr_client *c;
	char before[64];

	world_start(w, "--fake", "release_fail=1", NULL);
	c = world_client(w);
	snprintf(before, sizeof(before), "%s", slot_of(c, "a", NULL));
	assert_int_equal(tr_release(c, "a", true, &result, LONG_MS), 0);
	assert_int_equal(result.verdict, TR_UNAVAILABLE);
	restart(c);
	assert_int_equal(status(c, "slots", "out_of_use"), 1);
	assert_string_not_equal(slot_of(c, "b", NULL), before);
	tr_result_deinit(&result);
}

/* ---- sessions without the library ------------------------------------------------------------------- */

static int stats_of_a_raw_session(const struct world *w, int *ret_socket, size_t *ret_bytes)
{
	const struct tr_hello hello = {
		.magic = TR_MAGIC,
		.bytes = sizeof(hello),
		.layout_version = TR_LAYOUT_VERSION,
		.label = "raw",
	};
	int fds[FDPASS_MAX], socket = attach_connect(w->socket);
	struct pollfd p = {.fd = socket, .events = POLLIN};
	struct tr_welcome welcome;

	assert_true(socket >= 0);
	assert_int_equal(send(socket, &hello, sizeof(hello), MSG_NOSIGNAL), sizeof(hello));
	assert_int_equal(poll(&p, 1, LONG_MS), 1);
	assert_int_equal(fdpass_receive(socket, &welcome, sizeof(welcome), fds, 0),
			 sizeof(welcome));
	assert_int_equal(welcome.status, TR_WELCOME_OK);
	close(fds[TR_FD_SEGMENT]);
	close(fds[TR_FD_EXECUTOR]);
	*ret_socket = socket;
	*ret_bytes = sizeof(struct tr_stats);
	return fds[TR_FD_STATS];
}

/*
 * The statistics are everybody's to read and nobody's to write: not through the descriptor that comes
 * with the welcome, nor through one that is opened anew from it, which root at least can do.
 */
static void statistics_cannot_be_written(void **state)
{
	struct world *w = *state;
	int fd, again, socket;
	struct tr_stats *seen;
	char path[64];
	size_t n;

	world_start(w, NULL);
	fd = stats_of_a_raw_session(w, &socket, &n);
	assert_ptr_equal(mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR | O_CLOEXEC);
	if (again >= 0) {
		assert_ptr_equal(mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0),
				 MAP_FAILED);
		assert_int_equal(pwrite(again, &n, sizeof(n), 0), -1);
		assert_int_equal(ftruncate(again, 0), -1);
		seen = mmap(NULL, n, PROT_READ, MAP_SHARED, again, 0);
		assert_ptr_not_equal(seen, MAP_FAILED);
		assert_int_equal(mprotect(seen, n, PROT_READ | PROT_WRITE), -1);
		munmap(seen, n);
		close(again);
	}
	/* The twin: it can be read, and shows what happens. */
	seen = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(seen, MAP_FAILED);
	expect(world_client(w), "a", NULL, TR_OK);
	assert_int_equal(seen->calls_total, 1);
	munmap(seen, n);
	close(fd);
	close(socket);
}

/* An EXECUTE that ends after a while, as the library would send it. */
static void send_slow_call(struct attach *a, uint64_t id, double wait_s)
{
	const struct tr_member wait = {"wait_s", tr_float(wait_s)};
	const struct tr_member fake = {"fake", tr_map(&wait, 1)};
	const struct tr_member tool[] = {
		{"name", tr_string("bash")},
		{"arguments", tr_map(&fake, 1)},
	};
	const struct tr_member members[] = {
		{"trajectory_id", tr_string("a")},
		{"tool", tr_map(tool, 2)},
	};
	const struct tr_value payload = tr_map(members, 2);
	void *data;
	size_t n;

	assert_int_equal(tr_value_pack(&payload, &data, &n), 0);
	assert_true(attach_send(a, TR_KIND_EXECUTE, id, data, n));
	free(data);
}

/* Sends pings until the executor takes no more of them; returns how many. */
static size_t ping_until_full(struct attach *a, uint64_t id)
{
	static const char data[PING_BYTES];
	size_t n = 0;

	for (int n_vain = 0; n_vain < 100 && n < N_PINGS_MAX;) {
		size_t n_done = 0;

		if (message_put(&a->tx, TR_KIND_PING, id + n, data, sizeof(data), &n_done) == 1) {
			attach_publish(a);
			n_vain = 0;
			n++;
		} else {
			n_vain++;
			look_again_soon();
		}
	}
	return n;
}

/*
 * A client that takes its results late and says so later still: its backlog goes into the ring for
 * another reason in between, and the executor must then not forget what still waits in its other
 * ring.
 */
static void take_late(struct world *w, struct tr_client *other)
{
	struct ring_record record;
	struct attach a;
	size_t n, n_taken = 0, n_slow = 0;
	uint16_t kind;
	uint64_t id;

	attach_open(&a, w->socket, SMALL_RING, 0);
	send_slow_call(&a, 1, 0.8);
	n = 1 + ping_until_full(&a, 2);
	assert_true(n < N_PINGS_MAX);
	for (; ring_rx_next(&a.rx, &record) == 1; n_taken++)
		ring_rx_consume(&a.rx, &record);
	ring_rx_release(&a.rx);
	status_becomes(other, "calls_running", NULL, 0);
	let_pass(20 * NS_PER_MS);
	wake_send(ring_rx_wake(&a.rx), a.rx.words.producer_wait, a.fd);
	for (; n_taken < n; n_taken++) {
		assert_true(attach_receive(&a, &kind, &id));
		n_slow += id == 1 && memmem(a.assembly.data.data, a.assembly.data.n, "ok", 2);
	}
	assert_int_equal(n_slow, 1);
	attach_close(&a);
}

/* ... and many at a time through the library, over rings too small for them. */
static void churn(struct world *w)
{
	const struct tr_options small = {
		.submission_bytes = SMALL_RING,
		.completion_bytes = SMALL_RING,
		.spin_us = -1,
	};
	struct tr_client *c = world_client_with(w, small);
	static const char data[PING_BYTES];
	struct tr_result result = {0};
	uint64_t id;

	for (int round = 0; round < N_DEEP_ROUNDS; round++) {
		for (int i = 0; i < N_DEEP; i++)
			assert_int_equal(tr_submit_raw(c, TR_KIND_PING, data, sizeof(data), NULL,
						       LONG_MS, &id),
					 0);
		for (int i = 0; i < N_DEEP; i++)
			assert_int_equal(tr_reap(c, &result, LONG_MS), 0);
	}
	tr_result_deinit(&result);
}

static void long_backlog_is_delivered(struct world *w, const char *flag, const char *value)
{
	struct tr_client *other;

	world_start(w, "--limit", "session_backlog_bytes_max=4096", flag, value, NULL);
	other = world_client(w);
	for (int i = 0; i < N_PARKED; i++)
		take_late(w, other);
	churn(w);
}

/* Whether the executor parks its sessions at once ... */
static void parked_session_gets_its_backlog(void **state)
{
	long_backlog_is_delivered(*state, "--spin-us", "0");
}

/* ... or looks at them for a while. */
static void spinning_executor_delivers_the_backlog(void **state)
{
	long_backlog_is_delivered(*state, NULL, NULL);
}

/* One round trip in which the executor is woken by its futex and by a byte, if it asked. */
static bool ping_with_both(struct attach *a, uint64_t id)
{
	uint32_t *word = a->tx.words.consumer_wait;
	size_t n_done = 0;
	uint16_t kind;
	uint64_t got;

	if (message_put(&a->tx, TR_KIND_PING, id, "x", 1, &n_done) != 1)
		return false;
	ring_tx_publish(&a->tx);
	if (ring_tx_wake(&a->tx) != TR_AWAKE) {
		wake_send(TR_WAIT_FUTEX, word, a->fd);
		wake_send(TR_WAIT_SOCKET, word, a->fd);
	}
	return attach_receive(a, &kind, &got) && got == id;
}

/*
 * A client that does not look which way the executor asked to be woken, and uses both each time, is
 * not one that floods its socket. One that sends bytes unasked is (the twin).
 */
static void asked_for_bytes_are_no_flood(void **state)
{
	struct world *w = *state;
	struct attach a;

	world_start(w, "--spin-us", "0", "--limit", "wake_bytes_max=1", NULL);
	attach_open(&a, w->socket, 0, 0);
	for (uint64_t id = 1; id <= N_DOUBLE_WAKES; id++)
		assert_true(ping_with_both(&a, id));
	assert_false(attach_hung_up(&a, false));
	/* As many as it was asked for, it was let off; so many it was not. */
	for (int i = 0; i < 4 * N_DOUBLE_WAKES && !attach_hung_up(&a, false); i++)
		if (send(a.fd, "ww", 2, MSG_NOSIGNAL) < 0)
			break;
	assert_true(attach_hung_up(&a, true));
	attach_close(&a);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		world_test(spec_outlives_the_executor),
		world_test(who_comes_back_keeps_its_slots),
		world_test(slot_not_reset_stays_out_of_use),
		world_test(statistics_cannot_be_written),
		world_test(parked_session_gets_its_backlog),
		world_test(spinning_executor_delivers_the_backlog),
		world_test(asked_for_bytes_are_no_flood),
	};

	world_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
