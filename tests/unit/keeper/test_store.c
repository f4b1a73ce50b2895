/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper's store of slots, with a maker that makes none (fake_maker.c): what the executor may ask
 * for, what reaches whom, and that the death of either side loses nothing but what died.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "keeper/store.h"

#define SEATS   5
#define WAIT_NS (10 * NS_PER_S)

static const char *maker_path;

struct world {
	struct plan plan;
	struct store store;
	int signal_fd;
	int executor; /* its end; -1 */
	int control;  /* came with the last message; -1 */
};

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	sigset_t set;

	assert_non_null(w);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	w->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	w->executor = w->control = -1;
	w->plan = (struct plan){
		.n_seats = SEATS,
		.params = {.memory_bytes = 1000,
			   .disk_bytes = 1000,
			   .n_pids = 100,
			   .network = PLAN_NETWORK_NONE},
	};
	assert_int_equal(store_init(&w->store, &w->plan, maker_path), 0);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	fd_close(&w->control);
	fd_close(&w->executor);
	store_deinit(&w->store);
	fd_close(&w->signal_fd);
	free(w);
	return 0;
}

/* What the keeper's loop does, once, waiting at most for so long. */
static void step(struct world *w, int wait_ms)
{
	struct pollfd fds[STORE_N_POLLED + 1];
	struct signalfd_siginfo info;
	pid_t pid;

	store_poll(&w->store, fds);
	fds[STORE_N_POLLED] = (struct pollfd){.fd = w->signal_fd, .events = POLLIN};
	poll(fds, STORE_N_POLLED + 1, wait_ms);
	while (read(w->signal_fd, &info, sizeof(info)) == sizeof(info))
		;
	assert_int_equal(store_step(&w->store, fds), 0);
	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		if (store_reaped(&w->store, pid))
			assert_int_equal(store_restart_maker(&w->store), 0);
}

static void settle(struct world *w)
{
	for (int i = 0; i < 5; i++)
		step(w, 0);
}

static void begin_executor(struct world *w)
{
	fd_close(&w->executor);
	store_executor_ended(&w->store);
	assert_int_equal(store_executor_begins(&w->store, &w->executor), 0);
}

static void start(struct world *w)
{
	assert_int_equal(store_start(&w->store, w->signal_fd, -1), 0);
	begin_executor(w);
}

static void ask(struct world *w, enum store_kind kind, uint32_t seat, struct plan_params params)
{
	struct store_message m = {.kind = kind, .seat = seat, .params = params};

	assert_int_equal(send(w->executor, &m, sizeof(m), MSG_DONTWAIT), sizeof(m));
}

/* The next thing the executor hears. */
static struct store_message hear(struct world *w)
{
	uint64_t until = now_ns() + WAIT_NS;
	struct store_message m;
	int fds[FDPASS_MAX];
	ssize_t n;

	while ((n = fdpass_receive(w->executor, &m, sizeof(m), fds, MSG_DONTWAIT)) == -EAGAIN) {
		if (now_ns() > until)
			fail_msg("the store says nothing");
		step(w, 100);
	}
	assert_int_equal(n, sizeof(m));
	if (fds[0] >= 0) {
		fd_close(&w->control);
		w->control = fds[0];
	}
	return m;
}

static struct store_message expect(struct world *w, enum store_kind kind, uint32_t seat)
{
	struct store_message m = hear(w);

	if (m.kind != kind || m.seat != seat)
		fail_msg("%u of seat %u: %s", m.kind, m.seat, m.text);
	return m;
}

/* Of both seats, in whatever order their slots end. */
static void expect_both_gone(struct world *w, uint32_t a, uint32_t b)
{
	struct store_message first = hear(w);

	if (first.kind != STORE_GONE || (first.seat != a && first.seat != b))
		fail_msg("%u of seat %u: %s", first.kind, first.seat, first.text);
	expect(w, STORE_GONE, first.seat == a ? b : a);
}

static void expect_failed(struct world *w, uint32_t seat, const char *text)
{
	struct store_message m = expect(w, STORE_FAILED, seat);

	assert_non_null(strstr(m.text, text));
}

static void make(struct world *w, uint32_t seat)
{
	ask(w, STORE_MAKE, seat, w->plan.params);
	expect(w, STORE_MADE, seat);
}

/* Does somebody echo at the other end? */
static bool echoes(int control)
{
	struct pollfd p = {.fd = control, .events = POLLIN};
	char byte = 'x';

	return send(control, &byte, 1, MSG_NOSIGNAL) == 1 && poll(&p, 1, 10000) == 1 &&
	       recv(control, &byte, 1, 0) == 1 && byte == 'x';
}

/* A slot that is made can be talked to, and one that is dropped is gone. */
static void test_make_and_drop(void **state)
{
	struct world *w = *state;

	start(w);
	expect(w, STORE_ALL, 0);
	make(w, 3);
	assert_true(echoes(w->control));
	ask(w, STORE_DROP, 3, (struct plan_params){0});
	expect(w, STORE_GONE, 3);
	assert_false(echoes(w->control));
	/* The seat is anybody's again. */
	make(w, 3);
	assert_true(echoes(w->control));
}

/* What is taken at once takes the same memory again and again, however many slots come and go. */
static void test_queue_stays_small(void **state)
{
	struct world *w = *state;

	start(w);
	expect(w, STORE_ALL, 0);
	for (uint32_t i = 0; i < w->store.queue_size; i++) {
		make(w, i % SEATS);
		ask(w, STORE_DROP, i % SEATS, (struct plan_params){0});
		expect(w, STORE_GONE, i % SEATS);
	}
	for (uint32_t i = 1; i < w->store.queue_size; i++)
		assert_int_equal(w->store.queue[i].kind, 0);
}

/* The start waits for the maker's word, and fails with it. */
static void test_maker_refuses(void **state)
{
	struct world *w = *state;

	strcpy(w->plan.shell, "refuse");
	assert_int_equal(store_start(&w->store, w->signal_fd, -1), -ENOEXEC);
}

static void test_maker_leaves(void **state)
{
	struct world *w = *state;

	strcpy(w->plan.shell, "leave");
	assert_int_equal(store_start(&w->store, w->signal_fd, -1), -EPIPE);
}

static void test_no_maker(void **state)
{
	struct world *w = *state;

	w->store.program = "/nonexistent";
	assert_int_equal(store_start(&w->store, w->signal_fd, -1), -EPIPE);
}

/* A maker that says nothing is not waited for once whom we serve has ended. */
static void test_stop_meanwhile(void **state)
{
	struct world *w = *state;
	int ends[2];

	strcpy(w->plan.shell, "quiet");
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	close(ends[1]);
	assert_int_equal(store_start(&w->store, w->signal_fd, ends[0]), -ECANCELED);
	close(ends[0]);
}

/* An executor gets what the plan allows and nothing else, whoever it is by now. */
static void test_policy(void **state)
{
	struct world *w = *state;
	struct plan_params p;

	start(w);
	expect(w, STORE_ALL, 0);
	p = w->plan.params;
	p.memory_bytes++;
	ask(w, STORE_MAKE, 0, p);
	expect_failed(w, 0, "memory");
	p = w->plan.params;
	p.disk_bytes++;
	ask(w, STORE_MAKE, 0, p);
	expect_failed(w, 0, "disk");
	p = w->plan.params;
	p.n_pids++;
	ask(w, STORE_MAKE, 0, p);
	expect_failed(w, 0, "processes");
	p = w->plan.params;
	p.network = PLAN_NETWORK_HOST;
	ask(w, STORE_MAKE, 0, p);
	expect_failed(w, 0, "network");
	p.network = 77;
	ask(w, STORE_MAKE, 0, p);
	expect_failed(w, 0, "network");
	ask(w, STORE_MAKE, 0, (struct plan_params){0});
	expect_failed(w, 0, "memory");
	ask(w, STORE_MAKE, SEATS, w->plan.params);
	expect_failed(w, SEATS, "no such seat");
	ask(w, STORE_MAKE, UINT32_MAX, w->plan.params);
	expect_failed(w, UINT32_MAX, "no such seat");
	/* The twin: as much as is allowed, or less. */
	make(w, 0);
	p = w->plan.params;
	p.memory_bytes--;
	ask(w, STORE_MAKE, 1, p);
	expect(w, STORE_MADE, 1);
	ask(w, STORE_MAKE, 1, p);
	expect_failed(w, 1, "taken");
	assert_true(echoes(w->control));
}

/* With the network allowed a slot may have it, or not. */
static void test_network_policy(void **state)
{
	struct world *w = *state;
	struct plan_params p;

	w->plan.params.network = PLAN_NETWORK_HOST;
	start(w);
	expect(w, STORE_ALL, 0);
	make(w, 0);
	p = w->plan.params;
	p.network = PLAN_NETWORK_NONE;
	ask(w, STORE_MAKE, 1, p);
	expect(w, STORE_MADE, 1);
}

/* Messages of no sense are passed over: of a wrong size, of a kind that is the maker's to say. */
static void test_nonsense(void **state)
{
	struct world *w = *state;
	char bytes[2 * sizeof(struct store_message)] = {0};

	start(w);
	expect(w, STORE_ALL, 0);
	assert_int_equal(send(w->executor, bytes, 1, 0), 1);
	assert_int_equal(send(w->executor, bytes, sizeof(bytes), 0), sizeof(bytes));
	ask(w, STORE_MADE, 0, w->plan.params);
	ask(w, STORE_GONE, 0, w->plan.params);
	ask(w, STORE_READY, 0, w->plan.params);
	ask(w, STORE_DROP, 0, w->plan.params);
	settle(w);
	make(w, 0);
	ask(w, STORE_GONE, 0, w->plan.params);
	ask(w, 12345, 0, w->plan.params);
	settle(w);
	assert_true(echoes(w->control));
}

/* What the maker cannot do it says, and a slot that dies by itself is told of. */
static void test_failure_and_death(void **state)
{
	struct world *w = *state;
	struct plan_params p = w->plan.params;

	start(w);
	expect(w, STORE_ALL, 0);
	p.memory_bytes = 1;
	ask(w, STORE_MAKE, 0, p);
	expect_failed(w, 0, "too small");
	make(w, 0);
	/* The slot reads our hang-up, though the store has the socket as well. */
	shutdown(w->control, SHUT_RDWR);
	expect(w, STORE_GONE, 0);
}

/* The next executor is told of every seat, and gets the sockets of those that are there. */
static void test_next_executor(void **state)
{
	struct world *w = *state;
	struct store_message m;
	int before;

	start(w);
	expect(w, STORE_ALL, 0);
	make(w, 1);
	make(w, 4);
	before = fd_steal(&w->control);
	begin_executor(w);
	m = expect(w, STORE_HAVE, 1);
	assert_int_equal(m.params.memory_bytes, 1000);
	expect(w, STORE_HAVE, 4);
	expect(w, STORE_ALL, 0);
	assert_true(echoes(w->control));
	close(before);
	assert_true(echoes(w->control));
	ask(w, STORE_DROP, 4, w->plan.params);
	expect(w, STORE_GONE, 4);
}

/* What was being made for an executor that died is for nobody: the next one sees it go. */
static void test_made_for_nobody(void **state)
{
	struct world *w = *state;

	start(w);
	expect(w, STORE_ALL, 0);
	ask(w, STORE_MAKE, 2, w->plan.params);
	/* The store has passed it on, and has not heard of it again. */
	do {
		struct pollfd fds[STORE_N_POLLED];

		store_poll(&w->store, fds);
		fds[0].revents = POLLIN;
		store_step(&w->store, fds);
	} while (0);
	begin_executor(w);
	expect(w, STORE_GOING, 2);
	expect(w, STORE_ALL, 0);
	expect(w, STORE_GONE, 2);
}

/* An executor that does not listen holds up nobody, and misses nothing once it does. */
static void test_deaf_executor(void **state)
{
	struct world *w = *state;
	struct store_message m = {.kind = STORE_MAKE, .seat = SEATS};
	uint32_t n_sent = 0, n_heard = 0;

	start(w);
	expect(w, STORE_ALL, 0);
	make(w, 0);
	for (int i = 0; i < 20000; i++) {
		n_sent += send(w->executor, &m, sizeof(m), MSG_DONTWAIT) == sizeof(m);
		if (i % 16 == 0)
			step(w, 0);
	}
	assert_true(n_sent > 100);
	assert_true(w->store.n_queued <= w->store.queue_size);
	/* Its slot goes meanwhile. */
	shutdown(w->control, SHUT_RDWR);
	settle(w);
	for (bool gone = false; n_heard < n_sent || !gone;) {
		m = hear(w);
		gone |= m.kind == STORE_GONE;
		n_heard += m.kind == STORE_FAILED;
	}
	assert_int_equal(n_heard, n_sent);
}

/* A maker that dies takes its slots with it: all are told of, once nothing is left of them. */
static void test_maker_dies(void **state)
{
	struct world *w = *state;

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	start(w);
	expect(w, STORE_ALL, 0);
	make(w, 0);
	make(w, 1);
	kill(w->store.maker.pid, SIGKILL);
	expect_both_gone(w, 0, 1);
	assert_false(echoes(w->control));
	make(w, 0);
	assert_true(echoes(w->control));
	prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
}

/* One that dies over a seat: whoever wanted that is told. */
static void test_maker_dies_making(void **state)
{
	struct world *w = *state;

	strcpy(w->plan.shell, "die");
	start(w);
	expect(w, STORE_ALL, 0);
	ask(w, STORE_MAKE, 0, w->plan.params);
	expect_failed(w, 0, "maker");
}

/* At the end nothing is left: not the maker, not the slots. */
static void test_end(void **state)
{
	struct world *w = *state;
	pid_t maker;

	start(w);
	expect(w, STORE_ALL, 0);
	make(w, 0);
	maker = w->store.maker.pid;
	store_deinit(&w->store);
	assert_int_equal(kill(maker, 0), -1);
	assert_int_equal(errno, ESRCH);
	assert_false(echoes(w->control));
	w->store = (struct store){.executor = -1, .maker = MAKER_NONE};
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_make_and_drop),
		TEST(test_queue_stays_small),
		TEST(test_maker_refuses),
		TEST(test_maker_leaves),
		TEST(test_no_maker),
		TEST(test_stop_meanwhile),
		TEST(test_policy),
		TEST(test_network_policy),
		TEST(test_nonsense),
		TEST(test_failure_and_death),
		TEST(test_next_executor),
		TEST(test_made_for_nobody),
		TEST(test_deaf_executor),
		TEST(test_maker_dies),
		TEST(test_maker_dies_making),
		TEST(test_end),
	};

	if (argc != 2)
		return 2;
	maker_path = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
