/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a hostile client loses its session or waits, and that nobody else sees anything of it:
 * every attack (hostile_memory.c, hostile_records.c) runs once, then random ones for
 * TOOLRING_HOSTILE_SECONDS (15), while a well-behaved client in another process gets every answer,
 * right and in time. The executor never dies, and at the end it has given everything back.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <toolring/toolring.h>

#include "hostile_attacks.h"

#define WAIT_MS    60000
#define DATA_MAX   200000
#define GROWTH_MAX (INT64_C(64) << 20)

struct shared {
	bool stop;
	uint64_t n_answers;
	uint64_t worst_ns;
};

struct test {
	struct daemon daemon;
	struct tr_client *client;
	struct shared *shared;
	struct dice dice;
	pid_t good;
	pid_t executor;
};

/* ---- who behaves ----------------------------------------------------------------------------------- */

static void good_ping(struct tr_client *c, struct tr_result *result, const uint8_t *data, size_t n)
{
	struct tr_call call = {
		.kind = TR_KIND_PING,
		.arguments_packed = data,
		.n_arguments_packed = n,
	};
	int r = tr_call_wait(c, &call, result, WAIT_MS);

	check(r == 0, "the good client's ping: %s", strerror(-r));
	check(result->raw.n == n && memcmp(result->raw.data, data, n) == 0, "its echo");
}

static void good_call(struct tr_client *c, struct tr_result *result, const uint8_t *data, size_t n)
{
	struct tr_member arguments[] = {
		{"command", tr_string("true")},
		{"data", tr_binary(data, n)},
	};
	struct tr_call call = {
		.trajectory_id = n % 2 ? "good" : "good, too",
		.tool = "bash",
		.arguments = tr_map(arguments, 2),
	};
	const struct tr_value *back;
	struct tr_value *metadata;
	int r = tr_call_wait(c, &call, result, WAIT_MS);

	check(r == 0, "the good client's call: %s", strerror(-r));
	check(result->verdict == TR_OK, "it is %s: %s", tr_verdict_name(result->verdict),
	      result->error.data);
	check(strcmp(result->output.data, "true") == 0, "its output is '%s'", result->output.data);
	check(tr_value_parse(result->metadata.data, result->metadata.n, &metadata) == 0,
	      "metadata");
	back = tr_value_get(tr_value_get(metadata, "arguments"), "data");
	check(back && back->n == n && memcmp(back->u.binary, data, n) == 0, "its data");
	tr_value_free(metadata);
}

static void behave(struct shared *shared, const char *socket, struct dice dice)
{
	struct tr_result result = {0};
	struct tr_client *c;
	uint8_t *data = malloc(DATA_MAX);

	check(data, "memory");
	check(tr_open(&c, socket) == 0, "open");
	while (!__atomic_load_n(&shared->stop, __ATOMIC_RELAXED)) {
		size_t n = dice_size(&dice, DATA_MAX);
		uint64_t start, took;

		dice_fill(&dice, data, n);
		start = test_now_ns();
		if (dice_below(&dice, 2))
			good_ping(c, &result, data, n);
		else
			good_call(c, &result, data, n);
		took = test_now_ns() - start;
		if (took > shared->worst_ns)
			shared->worst_ns = took;
		__atomic_fetch_add(&shared->n_answers, 1, __ATOMIC_RELAXED);
	}
	check(tr_session_count(c) == 1, "the good client lost its session");
	tr_result_deinit(&result);
	tr_close(c);
	free(data);
}

/* ---- rounds ---------------------------------------------------------------------------------------- */

static void until_more_answers(struct test *t)
{
	uint64_t before = __atomic_load_n(&t->shared->n_answers, __ATOMIC_RELAXED);
	struct patience p = {0};

	while (__atomic_load_n(&t->shared->n_answers, __ATOMIC_RELAXED) < before + 2) {
		check(waitpid(t->good, NULL, WNOHANG) == 0, "the good client failed");
		check(patience_look_again(&p), "the good client gets no answers");
	}
}

static void attack(struct test *t, const struct attack *a)
{
	pid_t pid;
	int status;

	dice_roll(&t->dice);
	pid = child_fork();
	if (!pid) {
		struct dice dice = t->dice;

		tr_close(t->client);
		a->run(t->daemon.socket, &dice);
		/* Without a word to anybody, and its memory as it is. */
		_exit(0);
	}
	status = child_wait(pid, 240);
	check(status == 0, "%s ended with status 0x%x", a->name, (unsigned)status);
	check(daemon_executor(&t->daemon, 0) == t->executor, "the executor died of %s", a->name);
	until_more_answers(t);
}

static const struct attack *attack_number(size_t i)
{
	return i < n_memory_attacks ? &memory_attacks[i] : &record_attacks[i - n_memory_attacks];
}

static unsigned rounds(struct test *t, const char *only)
{
	uint64_t until =
		test_now_ns() + test_number("TOOLRING_HOSTILE_SECONDS", 15) * UINT64_C(1000000000);
	size_t n = n_memory_attacks + n_record_attacks;
	unsigned n_rounds = 0;

	for (size_t i = 0; i < n || test_now_ns() < until; i++) {
		const struct attack *a = attack_number(i < n ? i : dice_below(&t->dice, n));

		if (only && strcmp(a->name, only) != 0)
			continue;
		if (i < n) {
			printf("%s\n", a->name);
			fflush(stdout);
		}
		attack(t, a);
		n_rounds++;
	}
	return n_rounds;
}

/* ---- the end --------------------------------------------------------------------------------------- */

static void all_is_given_back(struct test *t, int64_t n_fds, int64_t private_bytes)
{
	const struct tr_stats *s = tr_stats(t->client);
	struct patience p = {0};
	int64_t n;

	while (s->sessions != 1 || s->trajectories || s->slots_used || s->calls_queued ||
	       s->calls_running) {
		check(patience_look_again(&p),
		      "left: %lu sessions, %lu trajectories, %lu slots, %lu calls waiting, %lu running",
		      s->sessions, s->trajectories, s->slots_used, s->calls_queued,
		      s->calls_running);
		check(tr_ping(t->client, WAIT_MS, NULL) == 0, "ping");
	}
	check(s->generation == 1, "executor %lu", s->generation);
	check(daemon_n_shm(&t->daemon) == 0, "/dev/shm");
	n = process_n_fds(t->executor);
	check(n == n_fds, "%ld descriptors, and %ld at the start", n, n_fds);
	n = process_private_bytes(t->executor);
	check(n <= private_bytes + GROWTH_MAX || process_is_sanitized(t->executor),
	      "%ld bytes of private memory, and %ld at the start", n, private_bytes);
}

int main(int argc, char **argv)
{
	const char *program = daemon_program(argc, argv);
	static struct test t;
	int64_t n_fds, private_bytes;
	unsigned n_rounds;

	t.dice = dice_new();
	t.shared = mmap(NULL, sizeof(*t.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	check(t.shared != MAP_FAILED, "memory");
	signal(SIGPIPE, SIG_IGN);
	daemon_start(&t.daemon, program, "--log-level", "info", "--limit",
		     "session_backlog_bytes_max=1048576", NULL);
	check(tr_open(&t.client, t.daemon.socket) == 0, "open");
	check(tr_ping(t.client, WAIT_MS, NULL) == 0, "ping");
	t.executor = daemon_executor(&t.daemon, 0);
	n_fds = process_n_fds(t.executor);
	private_bytes = process_private_bytes(t.executor);
	t.good = child_fork();
	if (!t.good) {
		tr_close(t.client);
		behave(t.shared, t.daemon.socket, t.dice);
		exit(0);
	}
	until_more_answers(&t);
	n_rounds = rounds(&t, argc > 2 ? argv[2] : NULL);
	__atomic_store_n(&t.shared->stop, true, __ATOMIC_RELAXED);
	check(child_wait(t.good, 120) == 0, "the good client failed");
	printf("%u attacks; the good client had %lu answers, the slowest after %lu ms\n", n_rounds,
	       t.shared->n_answers, t.shared->worst_ns / 1000000);
	check(argc > 2 || tr_stats(t.client)->sessions_lost_total, "no session was ended");
	all_is_given_back(&t, n_fds, private_bytes);
	tr_close(t.client);
	daemon_stop(&t.daemon);
	munmap(t.shared, sizeof(*t.shared));
	return 0;
}
