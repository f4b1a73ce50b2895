/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void submit(struct tr_client *c, const char *tool, uint64_t *ret_id)
{
	struct tr_call call = call_of(tool, NULL);

	assert_int_equal(tr_submit_wait(c, &call, LONG_MS, ret_id), 0);
}

static void reap_verdict(struct tr_client *c, uint64_t id, enum tr_verdict verdict)
{
	struct tr_result r = {0};

	assert_int_equal(tr_reap(c, &r, LONG_MS), 0);
	assert_int_equal(r.call_id, id);
	assert_int_equal(r.verdict, verdict);
	assert_int_equal(r.success, verdict == TR_OK);
	assert_int_equal(r.error.n > 0, verdict != TR_OK);
	tr_result_deinit(&r);
}

/*
 * The executor dies: what it had answered is still handed out, what it noted as begun is unknown,
 * all else never started; then the next call finds a new session.
 */
static void test_verdicts(void **state)
{
	struct fixture *f = *state;
	uint64_t id[5], ping;
	int fd = tr_fd(f->client);

	submit(f->client, "echo", &id[0]);
	submit(f->client, "hang", &id[1]);
	submit(f->client, "ignore", &id[2]);
	submit(f->client, "echo", &id[3]);
	submit(f->client, "die", &id[4]);
	reap_verdict(f->client, id[0], TR_OK);
	reap_verdict(f->client, id[3], TR_OK);
	reap_verdict(f->client, id[1], TR_UNKNOWN);
	reap_verdict(f->client, id[2], TR_NOT_STARTED);
	reap_verdict(f->client, id[4], TR_NOT_STARTED);
	assert_int_equal(tr_n_in_flight(f->client), 0);
	assert_int_equal(tr_ping(f->client, LONG_MS, NULL), 0);
	assert_int_equal(tr_session_count(f->client), 2);
	assert_int_equal(tr_fd(f->client), fd);
	submit(f->client, "echo", &ping);
	assert_true(ping != id[0]);
	reap_verdict(f->client, ping, TR_OK);
}

/* Who waits for the one call gets its verdict as a result. */
static void test_waiting(void **state)
{
	struct fixture *f = *state;
	struct tr_call call = call_of("die", NULL);
	struct tr_result r = {0};

	assert_int_equal(tr_call_wait(f->client, &call, &r, LONG_MS), 0);
	assert_int_equal(r.verdict, TR_NOT_STARTED);
	assert_int_equal(tr_call_wait(f->client, &call, &r, LONG_MS), 0);
	assert_int_equal(r.verdict, TR_NOT_STARTED);
	assert_int_equal(tr_session_count(f->client), 2);
	tr_result_deinit(&r);
}

/* Without an executor: what does not wait says so, what waits waits no longer than told. */
static void test_down(void **state)
{
	struct fixture *f = *state;
	struct tr_call call = call_of("echo", NULL);
	struct tr_result r = {0};
	uint64_t id;

	submit(f->client, "hang", &id);
	assert_int_equal(tr_wait(f->client, id, &r, 1), -ETIMEDOUT);
	peer_stop(&f->peer);
	reap_verdict(f->client, id, TR_UNKNOWN);
	assert_int_equal(tr_submit(f->client, &call, NULL), -ENOTCONN);
	assert_int_equal(tr_reap(f->client, &r, 0), -ENOENT);
	assert_int_equal(tr_call_wait(f->client, &call, &r, 60), -ENOTCONN);
	assert_int_equal(tr_ping(f->client, 0, NULL), -ENOTCONN);
	peer_start(&f->peer);
	assert_int_equal(tr_call_wait(f->client, &call, &r, LONG_MS), 0);
	assert_int_equal(r.verdict, TR_OK);
	tr_result_deinit(&r);
}

/* An executor that is full, stopping or short of memory is one that is not back yet. */
static void test_refused(void **state)
{
	static const uint32_t statuses[] = {TR_WELCOME_FULL, TR_WELCOME_STOPPING,
					    TR_WELCOME_NO_MEMORY};
	struct fixture *f = *state;
	struct tr_welcome w = {
		.magic = TR_MAGIC,
		.bytes = sizeof(w),
		.layout_version = TR_LAYOUT_VERSION,
	};
	struct tr_hello hello;

	peer_stop(&f->peer);
	assert_int_equal(tr_ping(f->client, 60, NULL), -ENOTCONN);
	peer_listen(&f->peer);
	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
		struct pollfd p = {.fd = f->peer.listener, .events = POLLIN};
		int fd;

		/* Each asks whether it is due to knock again. */
		while (poll(&p, 1, 1) == 0)
			assert_int_equal(tr_ping(f->client, 0, NULL), -ENOTCONN);
		fd = accept(f->peer.listener, NULL, NULL);
		assert_int_equal(recv(fd, &hello, sizeof(hello), MSG_WAITALL), sizeof(hello));
		w.status = statuses[i];
		assert_int_equal(send(fd, &w, sizeof(w), MSG_NOSIGNAL), sizeof(w));
		close(fd);
	}
	assert_int_equal(tr_ping(f->client, 0, NULL), -ENOTCONN);
	close(f->peer.listener);
	f->peer.listener = -1;
	peer_start(&f->peer);
	assert_int_equal(tr_ping(f->client, LONG_MS, NULL), 0);
}

/* A lost session stays lost if so wanted. */
static void test_no_reconnect(void **state)
{
	struct fixture *f = *state;
	struct tr_client *c;
	uint64_t id;

	tr_close(f->client);
	f->client = NULL;
	c = client_to(&f->peer, TR_OPEN_NO_RECONNECT | TR_OPEN_RESUBMIT);
	submit(c, "die", &id);
	reap_verdict(c, id, TR_NOT_STARTED);
	assert_int_equal(tr_ping(c, LONG_MS, NULL), -ENOTCONN);
	assert_int_equal(tr_ping(c, -1, NULL), -ENOTCONN);
	assert_int_equal(tr_session_count(c), 1);
	tr_close(c);
}

/* Calls that never began are sent again, in order, under their ids; what may have run is not. */
static void test_resubmit(void **state)
{
	struct fixture *f = *state;
	size_t n_large = 300000;
	uint8_t *large = calloc(1, n_large);
	struct tr_result r = {0};
	struct tr_client *c;
	uint64_t id[4], hang;

	tr_close(f->client);
	f->client = NULL;
	c = client_to(&f->peer, TR_OPEN_RESUBMIT);
	submit(c, "hang", &hang);
	assert_int_equal(tr_ping(c, LONG_MS, NULL), 0); /* hang has been taken in */
	peer_pause(&f->peer, true);
	submit(c, "echo", &id[0]);
	submit(c, "echo", &id[1]);
	submit(c, "echo", &id[2]);
	/* Larger than the ring: only its beginning is in there when the executor dies. */
	assert_int_equal(tr_submit_raw(c, TR_KIND_PING, large, n_large, NULL, 0, &id[3]), 0);
	peer_stop(&f->peer);
	peer_pause(&f->peer, false);
	reap_verdict(c, hang, TR_UNKNOWN);
	assert_int_equal(tr_reap(c, &r, 0), -ENOTCONN);
	assert_int_equal(tr_n_in_flight(c), 4);
	peer_start(&f->peer);
	for (int i = 0; i < 4; i++)
		reap_verdict(c, id[i], TR_OK);
	assert_int_equal(tr_session_count(c), 2);

	/* One that is cancelled meanwhile is not sent. */
	peer_pause(&f->peer, true);
	submit(c, "echo", &id[0]);
	submit(c, "echo", &id[1]);
	peer_stop(&f->peer);
	peer_pause(&f->peer, false);
	assert_int_equal(tr_wait(c, id[0], &r, 60), -ENOTCONN);
	assert_int_equal(tr_cancel(c, id[0]), 0);
	peer_start(&f->peer);
	reap_verdict(c, id[0], TR_CANCELLED);
	reap_verdict(c, id[1], TR_OK);
	tr_result_deinit(&r);
	tr_close(c);
	free(large);
}

/* A ping and a status have no effect: unanswered, they never started. */
static void test_ping_lost(void **state)
{
	struct fixture *f = *state;
	uint64_t die, ping, status;
	struct tr_call call = {.kind = TR_KIND_STATUS};

	submit(f->client, "die", &die);
	assert_int_equal(tr_submit_raw(f->client, TR_KIND_PING, NULL, 0, NULL, LONG_MS, &ping), 0);
	assert_int_equal(tr_submit_wait(f->client, &call, LONG_MS, &status), 0);
	reap_verdict(f->client, die, TR_NOT_STARTED);
	reap_verdict(f->client, ping, TR_NOT_STARTED);
	reap_verdict(f->client, status, TR_NOT_STARTED);
}

/* The executor's death is seen by its pidfd while somebody else holds its socket open. */
static void test_pidfd(void **state)
{
	struct fixture *f = *state;
	struct tr_client *c;
	uint64_t id;
	pid_t pid;

	tr_close(f->client);
	f->client = NULL;
	pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	f->peer.executor_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	assert_true(f->peer.executor_fd >= 0);
	c = client_to(&f->peer, 0);
	submit(c, "hang", &id);
	assert_int_equal(tr_ping(c, LONG_MS, NULL), 0);
	kill(pid, SIGKILL);
	reap_verdict(c, id, TR_UNKNOWN);
	waitpid(pid, NULL, 0);
	tr_close(c);
	close(f->peer.executor_fd);
}

/* An answer to what was never asked ends the session, at once and for every call. */
static void test_violation(void **state)
{
	struct fixture *f = *state;
	uint64_t hang, violate;

	submit(f->client, "hang", &hang);
	submit(f->client, "violate", &violate);
	reap_verdict(f->client, hang, TR_UNKNOWN);
	reap_verdict(f->client, violate, TR_NOT_STARTED);
	assert_int_equal(tr_ping(f->client, LONG_MS, NULL), 0);
	assert_int_equal(tr_session_count(f->client), 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_verdicts),  TEST(test_waiting),      TEST(test_down),
		TEST(test_refused),   TEST(test_no_reconnect), TEST(test_resubmit),
		TEST(test_ping_lost), TEST(test_pidfd),        TEST(test_violation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
