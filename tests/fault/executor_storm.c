/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows, with the executor killed with -9 under load many times: every call gets one verdict and
 * only one; what came back whole is what was asked for, in the order of its trajectory; with
 * TR_OPEN_RESUBMIT no call ends as not_started; and the verdicts are true. That last is shown by the
 * books: the statistics outlive an executor, so the calls it counted as ended well must be all those
 * whose result came, and beyond these only such as ended "unknown". A call that ran and was said not
 * to have started, or that was run twice, would be one too many.
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

#define N_PROCESSES    4
#define N_THREADS      2
#define N_TRAJECTORIES 3
#define BURST_MAX      24
#define DATA_MAX       20000
#define WAIT_MS        120000

struct counts {
	uint64_t submitted;
	uint64_t verdicts[TR_N_VERDICTS];
};

struct shared {
	bool stop;
	unsigned n_ready; /* threads with a session */
	struct counts counts[N_PROCESSES][N_THREADS];
};

struct item {
	uint64_t seq;
	uint64_t seed;
	size_t n;
	unsigned trajectory;
	bool done;
};

struct worker {
	struct shared *shared;
	struct counts *counts;
	const char *socket;
	char name[24];
	uint32_t flags;
	struct dice dice;
	struct tr_client *client;
	struct tr_result result;
	struct item items[BURST_MAX];
	uint64_t next_seq;
	uint64_t last_seq[N_TRAJECTORIES]; /* that ended well */
	uint8_t data[DATA_MAX];
};

static void fill(struct worker *w, const struct item *item)
{
	struct dice d = {.state = item->seed};

	dice_fill(&d, w->data, item->n);
}

static void submit(struct worker *w, struct item *item)
{
	struct tr_member script[] = {
		{"wait_s", tr_float((double)dice_below(&w->dice, 3000) / 1e6)},
	};
	struct tr_member arguments[] = {
		{"seq", tr_int((int64_t)item->seq)},
		{"data", tr_binary(w->data, item->n)},
		{"fake", tr_map(script, dice_below(&w->dice, 4) == 0)},
	};
	char trajectory[32];
	struct tr_call call = {
		.trajectory_id = trajectory,
		.tool = "bash",
		.arguments = tr_map(arguments, 3),
		.user_data = item,
	};
	int r;

	snprintf(trajectory, sizeof(trajectory), "%s-%u", w->name, item->trajectory);
	fill(w, item);
	r = tr_submit_wait(w->client, &call, WAIT_MS, NULL);
	check(r == 0, "%s: submit: %s", w->name, strerror(-r));
	w->counts->submitted++;
}

static void check_content(struct worker *w, const struct item *item)
{
	struct tr_value *metadata;
	const struct tr_value *arguments, *seq, *data;
	int r = tr_value_parse(w->result.metadata.data, w->result.metadata.n, &metadata);

	check(r == 0, "%s: metadata: %s", w->name, strerror(-r));
	arguments = tr_value_get(metadata, "arguments");
	seq = tr_value_get(arguments, "seq");
	data = tr_value_get(arguments, "data");
	fill(w, item);
	check(seq && seq->type == TR_INT && (uint64_t)seq->u.integer == item->seq, "%s: seq",
	      w->name);
	check(data && data->type == TR_BINARY && data->n == item->n &&
		      memcmp(data->u.binary, w->data, item->n) == 0,
	      "%s: data of call %lu", w->name, item->seq);
	tr_value_free(metadata);
}

static void reap(struct worker *w)
{
	int r = tr_reap(w->client, &w->result, WAIT_MS);
	struct item *item = w->result.user_data;

	check(r == 0, "%s: reap: %s", w->name, strerror(-r));
	check(!item->done, "%s: call %lu ended twice", w->name, item->seq);
	item->done = true;
	w->counts->verdicts[w->result.verdict]++;
	switch (w->result.verdict) {
	case TR_OK:
		check_content(w, item);
		check(item->seq > w->last_seq[item->trajectory], "%s: call %lu came after %lu",
		      w->name, item->seq, w->last_seq[item->trajectory]);
		w->last_seq[item->trajectory] = item->seq;
		break;
	case TR_UNKNOWN:
		break;
	case TR_NOT_STARTED:
		check(!(w->flags & TR_OPEN_RESUBMIT), "%s: call %lu was not sent again: %s",
		      w->name, item->seq, w->result.error.data);
		break;
	default:
		check(false, "%s: %s: %s", w->name, tr_verdict_name(w->result.verdict),
		      w->result.error.data);
	}
}

static void *work(void *context)
{
	struct worker *w = context;

	while (!__atomic_load_n(&w->shared->stop, __ATOMIC_RELAXED)) {
		size_t n = dice_below(&w->dice, BURST_MAX) + 1;

		for (size_t i = 0; i < n; i++) {
			w->items[i] = (struct item){
				.seq = ++w->next_seq,
				.seed = dice_roll(&w->dice) | 1,
				.n = dice_size(&w->dice, DATA_MAX),
				.trajectory = (unsigned)dice_below(&w->dice, N_TRAJECTORIES),
			};
			submit(w, &w->items[i]);
		}
		for (size_t i = 0; i < n; i++)
			reap(w);
		check(tr_reap(w->client, &w->result, 0) == -ENOENT, "%s: one too many", w->name);
	}
	return NULL;
}

/* Odd ones let what never began be sent again. */
static void process(struct shared *shared, const char *socket, unsigned number, struct dice dice)
{
	struct worker *workers = calloc(N_THREADS, sizeof(*workers));
	pthread_t threads[N_THREADS];

	check(workers, "memory");
	for (unsigned i = 0; i < N_THREADS; i++) {
		struct worker *w = &workers[i];
		struct tr_options o = {.size = sizeof(o), .name = socket};
		int r;

		o.flags = w->flags = number % 2 ? TR_OPEN_RESUBMIT : 0;
		/* Small rings: what is cut in two by a kill are messages, too. */
		o.submission_bytes = o.completion_bytes = i ? 8192 : 0;
		w->shared = shared;
		w->socket = socket;
		w->counts = &shared->counts[number][i];
		w->dice.state = dice_roll(&dice) | 1;
		snprintf(w->name, sizeof(w->name), "p%u-%u", number, i);
		r = tr_open_with(&w->client, &o);
		check(r == 0, "%s: open: %s", w->name, strerror(-r));
		__atomic_fetch_add(&shared->n_ready, 1, __ATOMIC_RELAXED);
		check(pthread_create(&threads[i], NULL, work, w) == 0, "thread");
	}
	for (unsigned i = 0; i < N_THREADS; i++) {
		pthread_join(threads[i], NULL);
		tr_result_deinit(&workers[i].result);
		tr_close(workers[i].client);
	}
	free(workers);
}

static uint64_t ended_well(const struct tr_stats *s)
{
	for (size_t i = 0; i < TR_STATS_TOOLS && s->tools[i].name[0]; i++)
		if (strcmp(s->tools[i].name, "bash") == 0)
			return s->tools[i].verdicts[TR_OK];
	check(false, "no row for bash");
	return 0;
}

static void sum_up(const struct shared *shared, uint64_t n_ended_well)
{
	struct counts all = {0};
	uint64_t n = 0;

	for (unsigned i = 0; i < N_PROCESSES * N_THREADS; i++) {
		const struct counts *c = &shared->counts[i / N_THREADS][i % N_THREADS];

		all.submitted += c->submitted;
		for (int v = 0; v < TR_N_VERDICTS; v++)
			all.verdicts[v] += c->verdicts[v];
	}
	for (int v = 0; v < TR_N_VERDICTS; v++)
		n += all.verdicts[v];
	printf("%lu calls: %lu ok, %lu unknown, %lu not_started; the executors ended %lu well\n",
	       all.submitted, all.verdicts[TR_OK], all.verdicts[TR_UNKNOWN],
	       all.verdicts[TR_NOT_STARTED], n_ended_well);
	check(n == all.submitted, "%lu calls have verdicts", n);
	check(n_ended_well >= all.verdicts[TR_OK], "results out of nowhere");
	check(n_ended_well <= all.verdicts[TR_OK] + all.verdicts[TR_UNKNOWN],
	      "calls ran that are said not to have started, or twice");
	check(all.verdicts[TR_OK] && all.verdicts[TR_UNKNOWN] && all.verdicts[TR_NOT_STARTED],
	      "a verdict that should occur here does not");
}

int main(int argc, char **argv)
{
	const char *program = daemon_program(argc, argv);
	unsigned long n_kills = test_number("TOOLRING_KILLS", 40);
	struct dice dice = dice_new();
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[N_PROCESSES];
	struct tr_client *client;
	struct patience p = {0};
	struct daemon d;

	check(shared != MAP_FAILED, "memory");
	daemon_start(&d, program, "--log-level", "error", "--limit", "restarts_max=100000", NULL);
	for (unsigned i = 0; i < N_PROCESSES; i++) {
		dice_roll(&dice);
		pids[i] = child_fork();
		if (!pids[i]) {
			process(shared, d.socket, i, dice);
			exit(0);
		}
	}
	while (__atomic_load_n(&shared->n_ready, __ATOMIC_RELAXED) < N_PROCESSES * N_THREADS)
		check(patience_look_again(&p), "the clients do not come");
	p.until_ns = 0;
	for (unsigned long i = 0; i < n_kills; i++) {
		struct timespec a_while = {.tv_nsec = (long)dice_below(&dice, 100000000)};

		nanosleep(&a_while, NULL);
		daemon_kill_executor(&d);
		for (unsigned j = 0; j < N_PROCESSES; j++)
			check(waitpid(pids[j], NULL, WNOHANG) == 0, "process %u ended", j);
	}
	__atomic_store_n(&shared->stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < N_PROCESSES; i++)
		check(child_wait(pids[i], 180) == 0, "process %u failed", i);
	check(tr_open(&client, d.socket) == 0, "open");
	while (tr_stats(client)->sessions != 1) {
		check(patience_look_again(&p), "%lu sessions are left", tr_stats(client)->sessions);
		check(tr_ping(client, WAIT_MS, NULL) == 0, "ping");
	}
	check(tr_stats(client)->generation == n_kills + 1, "executor %lu",
	      tr_stats(client)->generation);
	check(tr_stats(client)->sessions_lost_total == 0, "sessions were lost");
	sum_up(shared, ended_well(tr_stats(client)));
	tr_close(client);
	daemon_stop(&d);
	munmap(shared, sizeof(*shared));
	return 0;
}
