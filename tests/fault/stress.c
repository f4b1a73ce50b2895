/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 8 client processes of 4 threads for TOOLRING_STRESS_SECONDS (60), messages of 0 to 4 MiB, some
 * processes killed with -9 at random moments and replaced. Two threads of each process share one
 * handle and reap for each other; two have sessions of their own, one of them with the smallest
 * rings. Shows that nothing is lost, comes twice, comes back changed, or ends out of its order within
 * a trajectory, whatever is cancelled in between; and that of the dead every session, trajectory,
 * slot, descriptor and byte is given back. A call is known by the seq in its arguments; its data
 * follows from a seed.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <toolring/toolring.h>

#include "daemon.h"

#define N_PROCESSES    8
#define N_THREADS      4
#define N_TRAJECTORIES 3
#define BURST_MAX      16
#define DATA_MAX       (4u << 20)
#define WAIT_MS        180000
#define GROWTH_MAX     (INT64_C(64) << 20) /* pools are kept */

struct counts {
	uint64_t calls;
	uint64_t pings;
	uint64_t bytes;
	uint64_t cancelled;
	uint64_t released;
	uint64_t rounds;
};

struct shared {
	bool stop;
	struct counts counts[N_PROCESSES][N_THREADS];
};

struct worker;

struct item {
	struct worker *worker;
	uint64_t id;
	uint64_t seq;
	uint64_t seed;
	size_t n;
	unsigned trajectory;
	bool cancelled;
	bool done;
};

/* A handle, and the lock under which its results are taken and looked at, for order's sake. */
struct handle {
	struct tr_client *client;
	pthread_mutex_t reaping;
	struct tr_result result;
	uint8_t data[DATA_MAX];
};

struct worker {
	struct shared *shared;
	struct counts *counts;
	char name[40];
	struct dice dice;
	struct handle *handle;
	struct item items[BURST_MAX];
	uint64_t next_seq;
	uint64_t last_seq[N_TRAJECTORIES]; /* that ended and was not cancelled */
	uint8_t data[DATA_MAX];
};

static void fill(uint8_t *data, const struct item *item)
{
	struct dice d = {.state = item->seed};

	dice_fill(&d, data, item->n);
}

/* ---- calls ----------------------------------------------------------------------------------------- */

static void submit(struct worker *w, struct item *item)
{
	struct tr_member script[] = {
		{"wait_s", tr_float((double)dice_below(&w->dice, 20000) / 1e6)},
	};
	struct tr_member arguments[] = {
		{"seq", tr_int((int64_t)item->seq)},
		{"data", tr_binary(w->data, item->n)},
		{"fake", tr_map(script, dice_below(&w->dice, 8) == 0)},
	};
	char trajectory[64];
	struct tr_call call = {
		.trajectory_id = trajectory,
		.tool = "bash",
		.arguments = tr_map(arguments, 3),
		.user_data = item,
	};
	int r;

	snprintf(trajectory, sizeof(trajectory), "%s-%u", w->name, item->trajectory);
	fill(w->data, item);
	r = tr_submit_wait(w->handle->client, &call, WAIT_MS, &item->id);
	check(r == 0, "%s: submit: %s", w->name, strerror(-r));
	w->counts->calls++;
	w->counts->bytes += item->n;
}

static void check_content(struct handle *h, const struct item *item)
{
	const char *name = item->worker->name;
	struct tr_value *metadata;
	const struct tr_value *arguments, *seq, *data;
	int r = tr_value_parse(h->result.metadata.data, h->result.metadata.n, &metadata);

	check(r == 0, "%s: metadata: %s", name, strerror(-r));
	arguments = tr_value_get(metadata, "arguments");
	seq = tr_value_get(arguments, "seq");
	data = tr_value_get(arguments, "data");
	fill(h->data, item);
	check(seq && seq->type == TR_INT && (uint64_t)seq->u.integer == item->seq, "%s: seq", name);
	check(data && data->type == TR_BINARY && data->n == item->n &&
		      memcmp(data->u.binary, h->data, item->n) == 0,
	      "%s: the data of call %lu, %zu bytes", name, item->seq, item->n);
	tr_value_free(metadata);
}

/* One result of any thread of this handle, looked at under its lock. */
static void take(struct handle *h)
{
	struct item *item = h->result.user_data;
	struct worker *w = item->worker;

	check(!item->done, "%s: call %lu ended twice", w->name, item->seq);
	check(h->result.verdict == TR_OK || (h->result.verdict == TR_CANCELLED && item->cancelled),
	      "%s: call %lu is %s: %s", w->name, item->seq, tr_verdict_name(h->result.verdict),
	      h->result.error.data);
	if (h->result.verdict == TR_OK) {
		check_content(h, item);
		/* What is cancelled in the queue ends at once; all else in its order. */
		if (!item->cancelled) {
			check(item->seq > w->last_seq[item->trajectory], "%s: %lu came after %lu",
			      w->name, item->seq, w->last_seq[item->trajectory]);
			w->last_seq[item->trajectory] = item->seq;
		}
	} else {
		w->counts->cancelled++;
	}
	item->done = true;
}

/* Whoever has the lock reaps for all; the others find theirs done. */
static void reap_all(struct worker *w, size_t n)
{
	struct handle *h = w->handle;
	uint64_t until = test_now_ns() + WAIT_MS * UINT64_C(1000000);

	for (size_t i = 0; i < n;) {
		int r;

		pthread_mutex_lock(&h->reaping);
		while (i < n && w->items[i].done)
			i++;
		r = i < n ? tr_reap(h->client, &h->result, 100) : -ETIMEDOUT;
		if (r == 0)
			take(h);
		pthread_mutex_unlock(&h->reaping);
		check(r == 0 || r == -ETIMEDOUT, "%s: reap: %s", w->name, strerror(-r));
		check(test_now_ns() < until, "%s: call %lu of %zu bytes is lost", w->name,
		      i < n ? w->items[i].seq : 0, i < n ? w->items[i].n : 0);
	}
}

static void burst(struct worker *w)
{
	size_t n = dice_below(&w->dice, BURST_MAX) + 1;
	uint64_t max = n > 4 ? DATA_MAX / 16 : DATA_MAX;

	for (size_t i = 0; i < n; i++)
		w->items[i] = (struct item){
			.worker = w,
			.seq = ++w->next_seq,
			.seed = dice_roll(&w->dice) | 1,
			.n = dice_size(&w->dice, max),
			.trajectory = (unsigned)dice_below(&w->dice, N_TRAJECTORIES),
			.cancelled = dice_below(&w->dice, 16) == 0,
		};
	for (size_t i = 0; i < n; i++) {
		submit(w, &w->items[i]);
		if (w->items[i].cancelled) {
			int r = tr_cancel(w->handle->client, w->items[i].id);

			check(r == 0 || r == -ENOENT, "%s: cancel: %s", w->name, strerror(-r));
		}
	}
	reap_all(w, n);
}

static void ping(struct worker *w)
{
	struct item item = {.seed = dice_roll(&w->dice) | 1, .n = dice_size(&w->dice, DATA_MAX)};
	struct tr_result result = {0};
	struct tr_call call = {.kind = TR_KIND_PING};
	int r;

	fill(w->data, &item);
	call.arguments_packed = w->data;
	call.n_arguments_packed = item.n;
	r = tr_call_wait(w->handle->client, &call, &result, WAIT_MS);
	check(r == 0, "%s: ping: %s", w->name, strerror(-r));
	check(result.raw.n == item.n && memcmp(result.raw.data, w->data, item.n) == 0,
	      "%s: a ping of %zu bytes came back with %zu", w->name, item.n, result.raw.n);
	w->counts->pings++;
	w->counts->bytes += item.n;
	tr_result_deinit(&result);
}

static void release(struct worker *w, unsigned i)
{
	struct tr_result result = {0};
	char trajectory[64];
	int r;

	snprintf(trajectory, sizeof(trajectory), "%s-%u", w->name, i);
	r = tr_release(w->handle->client, trajectory, true, &result, WAIT_MS);
	check(r == 0 && result.verdict == TR_OK, "%s: release: %d", w->name, r);
	w->counts->released++;
	tr_result_deinit(&result);
}

static void *work(void *context)
{
	struct worker *w = context;

	while (!__atomic_load_n(&w->shared->stop, __ATOMIC_RELAXED)) {
		if (dice_below(&w->dice, 3) == 0)
			ping(w);
		else
			burst(w);
		if (dice_below(&w->dice, 32) == 0)
			release(w, (unsigned)dice_below(&w->dice, N_TRAJECTORIES));
		w->counts->rounds++;
	}
	for (unsigned i = 0; i < N_TRAJECTORIES; i++)
		release(w, i);
	return NULL;
}

/* ---- a process of clients -------------------------------------------------------------------------- */

static struct handle *handle_new(const char *socket, uint32_t ring_bytes)
{
	struct tr_options o = {
		.size = sizeof(o),
		.name = socket,
		.submission_bytes = ring_bytes,
		.completion_bytes = ring_bytes,
		/* A machine full of sanitized processes may take its time to accept us. */
		.open_timeout_ms = WAIT_MS,
	};
	struct handle *h = calloc(1, sizeof(*h));
	int r;

	check(h, "memory");
	pthread_mutex_init(&h->reaping, NULL);
	r = tr_open_with(&h->client, &o);
	check(r == 0, "open: %s", strerror(-r));
	return h;
}

static void handle_free(struct handle *h)
{
	tr_result_deinit(&h->result);
	tr_close(h->client);
	pthread_mutex_destroy(&h->reaping);
	free(h);
}

static void process(struct shared *shared, const char *socket, unsigned number,
		    unsigned incarnation, struct dice dice)
{
	/* The first two share one. */
	struct handle *handles[] = {
		handle_new(socket, 0),
		handle_new(socket, 0),
		handle_new(socket, 4096),
	};
	struct worker *workers[N_THREADS];
	pthread_t threads[N_THREADS];

	for (unsigned i = 0; i < N_THREADS; i++) {
		struct worker *w = workers[i] = calloc(1, sizeof(*w));

		check(w, "memory");
		w->shared = shared;
		w->counts = &shared->counts[number][i];
		w->handle = handles[i ? i - 1 : 0];
		w->dice.state = dice_roll(&dice) | 1;
		snprintf(w->name, sizeof(w->name), "p%u.%u-t%u", number, incarnation, i);
		check(pthread_create(&threads[i], NULL, work, w) == 0, "thread");
	}
	for (unsigned i = 0; i < N_THREADS; i++) {
		pthread_join(threads[i], NULL);
		free(workers[i]);
	}
	for (unsigned i = 0; i < N_THREADS - 1; i++)
		handle_free(handles[i]);
}

/* ---- all of them ----------------------------------------------------------------------------------- */

struct test {
	struct daemon daemon;
	struct tr_client *client;
	struct shared *shared;
	struct dice dice;
	pid_t pids[N_PROCESSES];
	unsigned incarnations[N_PROCESSES];
	unsigned n_killed;
	int64_t n_fds;
	int64_t private_bytes;
	pid_t executor;
};

static void start_process(struct test *t, unsigned i)
{
	dice_roll(&t->dice);
	t->pids[i] = child_fork();
	if (t->pids[i])
		return;
	/* Our copy of the parent's session must not keep it open. */
	tr_close(t->client);
	process(t->shared, t->daemon.socket, i, t->incarnations[i], t->dice);
	exit(0);
}

static void kill_one(struct test *t, unsigned i)
{
	int status;

	check(kill(t->pids[i], SIGKILL) == 0, "kill");
	status = child_wait(t->pids[i], 60);
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "process %u had ended with 0x%x",
	      i, (unsigned)status);
	t->n_killed++;
	t->incarnations[i]++;
	start_process(t, i);
}

static void watch(struct test *t, uint64_t until)
{
	while (test_now_ns() < until) {
		struct timespec a_while = {
			.tv_nsec = (long)(50000000 + dice_below(&t->dice, 450000000))};
		int status;

		nanosleep(&a_while, NULL);
		for (unsigned i = 0; i < N_PROCESSES; i++)
			check(waitpid(t->pids[i], &status, WNOHANG) == 0,
			      "process %u ended with status 0x%x", i, (unsigned)status);
		kill_one(t, (unsigned)dice_below(&t->dice, N_PROCESSES));
		check(daemon_executor(&t->daemon, 0) == t->executor, "the executor died");
	}
}

static void sum_up(const struct test *t)
{
	struct counts all = {0};

	for (unsigned i = 0; i < N_PROCESSES * N_THREADS; i++) {
		const struct counts *c = &t->shared->counts[i / N_THREADS][i % N_THREADS];

		check(c->rounds, "thread %u of process %u did nothing", i % N_THREADS,
		      i / N_THREADS);
		all.calls += c->calls;
		all.pings += c->pings;
		all.bytes += c->bytes;
		all.cancelled += c->cancelled;
		all.released += c->released;
	}
	printf("%lu calls (%lu cancelled) and %lu pings, %lu MiB each way, %lu releases; %u killed\n",
	       all.calls, all.cancelled, all.pings, all.bytes >> 20, all.released, t->n_killed);
}

static uint64_t gauge(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void all_is_given_back(struct test *t)
{
	const struct tr_stats *s = tr_stats(t->client);
	struct patience p = {0};
	int64_t n;

	while (gauge(&s->sessions) != 1 || gauge(&s->trajectories) || gauge(&s->slots_used) ||
	       gauge(&s->calls_queued) || gauge(&s->calls_running)) {
		check(patience_look_again(&p),
		      "left: %lu sessions, %lu trajectories, %lu slots, %lu calls waiting, %lu running",
		      s->sessions, s->trajectories, s->slots_used, s->calls_queued,
		      s->calls_running);
		check(tr_ping(t->client, WAIT_MS, NULL) == 0, "ping");
	}
	check(gauge(&s->sessions_lost_total) == 0, "%lu sessions were ended for what they did",
	      s->sessions_lost_total);
	check(daemon_n_shm(&t->daemon) == 0, "/dev/shm");
	n = process_n_fds(t->executor);
	check(n == t->n_fds, "%ld descriptors, and %ld at the start", n, t->n_fds);
	n = process_private_bytes(t->executor);
	if (n < 0 || process_is_sanitized(t->executor)) {
		printf("the executor's memory cannot be judged here\n");
		return;
	}
	printf("the executor's private memory: %ld KiB, and %ld at the start\n", n / 1024,
	       t->private_bytes / 1024);
	check(n <= t->private_bytes + GROWTH_MAX, "it keeps too much");
}

int main(int argc, char **argv)
{
	const char *program = daemon_program(argc, argv);
	unsigned long seconds = test_number("TOOLRING_STRESS_SECONDS", 60);
	static struct test t;
	int status;

	t.dice = dice_new();
	t.shared = mmap(NULL, sizeof(*t.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	check(t.shared != MAP_FAILED, "memory");
	daemon_start(&t.daemon, program, "--log-level", "info", NULL);
	check(tr_open(&t.client, t.daemon.socket) == 0, "open");
	check(tr_ping(t.client, WAIT_MS, NULL) == 0, "ping");
	t.executor = daemon_executor(&t.daemon, 0);
	t.n_fds = process_n_fds(t.executor);
	t.private_bytes = process_private_bytes(t.executor);
	for (unsigned i = 0; i < N_PROCESSES; i++)
		start_process(&t, i);
	watch(&t, test_now_ns() + seconds * UINT64_C(1000000000));
	__atomic_store_n(&t.shared->stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < N_PROCESSES; i++) {
		status = child_wait(t.pids[i], 300);
		check(status == 0, "process %u ended with status 0x%x", i, (unsigned)status);
	}
	sum_up(&t);
	all_is_given_back(&t);
	tr_close(t.client);
	daemon_stop(&t.daemon);
	munmap(t.shared, sizeof(*t.shared));
	return 0;
}
