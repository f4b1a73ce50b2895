/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toolring bench load: an open loop. Call number i is due at start + i / rate, whatever became of
 * the calls before it, and its latency counts from there; so time in which toolringd (or we) stood
 * still is not forgiven, as it is where the next call waits for the last answer.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "bench_daemon.h"
#include "bench_guard.h"
#include "bench_plot.h"
#include "bench_report.h"
#include "bench_system.h"
#include "cli.h"
#include "json.h"
#include "text.h"

#define N_REAPED 64
/* With less than this until the next call is due, we spin: a sleep would end too late. */
#define SPIN_NS   (60 * UINT64_C(1000))
#define DRAIN_NS  (UINT64_C(60) * BENCH_NS_PER_S)
#define BURST_MAX 64 /* calls due that are submitted before answers are looked at again */

struct load_options {
	const char *name;
	const char *program;
	const char *tool;
	const char *arguments;
	double rate;
	double seconds;
	uint64_t n_trajectories;
	uint64_t payload_bytes;
	bool json;
};

struct load {
	const struct load_options *options;
	struct tr_client *client;
	struct tr_value arguments;
	uint64_t start_ns;
	uint64_t n_calls; /* to make */
	uint64_t n_submitted;
	uint64_t n_answered;
	uint64_t verdicts[TR_N_VERDICTS];
	struct histogram latency;
	struct tr_result results[N_REAPED];
	uint64_t elapsed_ns;
	uint64_t client_cpu_ns;
	uint64_t daemon_cpu_ns;
};

static uint64_t due_ns(const struct load *l, uint64_t index)
{
	return l->start_ns + (uint64_t)((double)index * 1e9 / l->options->rate);
}

/* Submits what is due, as far as the ring takes it. */
static int submit_due(struct load *l, uint64_t now)
{
	char trajectory[32];
	struct tr_call call = {
		.trajectory_id = trajectory,
		.tool = l->options->tool,
		.uniq_id = "load",
		.arguments = l->arguments,
	};

	for (int i = 0; i < BURST_MAX; i++) {
		int r;

		if (l->n_submitted == l->n_calls || due_ns(l, l->n_submitted) > now)
			return 0;
		snprintf(trajectory, sizeof(trajectory), "load-%llu",
			 (unsigned long long)(l->n_submitted % l->options->n_trajectories));
		call.user_data = (void *)(uintptr_t)l->n_submitted;
		r = tr_submit(l->client, &call, NULL);
		if (r < 0)
			return r == -EAGAIN ? 0 : r;
		l->n_submitted++;
	}
	return 0;
}

static int reap(struct load *l)
{
	uint64_t now;
	int n;

	if (l->n_submitted == l->n_answered)
		return 0;
	n = tr_reap_many(l->client, l->results, N_REAPED, 0);
	if (n == -EAGAIN)
		return 0;
	if (n < 0)
		return n;
	now = bench_now_ns();
	for (int i = 0; i < n; i++) {
		uint64_t due = due_ns(l, (uintptr_t)l->results[i].user_data);

		histogram_add(&l->latency, now > due ? now - due : 0);
		if ((unsigned)l->results[i].verdict < TR_N_VERDICTS)
			l->verdicts[l->results[i].verdict]++;
	}
	l->n_answered += (uint64_t)n;
	return n;
}

/* Until an answer comes or the next call is due. */
static void rest(struct load *l)
{
	uint64_t now = bench_now_ns();
	uint64_t due = l->n_submitted < l->n_calls ? due_ns(l, l->n_submitted)
						   : now + 100 * BENCH_NS_PER_MS;
	struct pollfd p = {.fd = tr_fd(l->client), .events = POLLIN};
	struct timespec limit;

	if (due < now + SPIN_NS || tr_fd_arm(l->client) > 0)
		return;
	limit = (struct timespec){.tv_sec = (time_t)((due - now) / BENCH_NS_PER_S),
				  .tv_nsec = (long)((due - now) % BENCH_NS_PER_S)};
	ppoll(&p, 1, &limit, NULL);
}

static int drive(struct load *l)
{
	uint64_t end;
	int r = 0;

	l->start_ns = bench_now_ns() + BENCH_NS_PER_MS;
	end = due_ns(l, l->n_calls) + DRAIN_NS;
	while (l->n_answered < l->n_calls && r >= 0) {
		uint64_t now = bench_now_ns();

		if (now > end)
			return -ETIMEDOUT;
		r = submit_due(l, now);
		if (r >= 0)
			r = reap(l);
		if (r == 0)
			rest(l);
	}
	l->elapsed_ns = bench_now_ns() - l->start_ns;
	return r < 0 ? r : 0;
}

/* Each trajectory once, one after another: then all have their slots and nothing is cold. */
static int warm(struct load *l)
{
	for (uint64_t i = 0; i < l->options->n_trajectories; i++) {
		char trajectory[32];
		const struct tr_call call = {.trajectory_id = trajectory,
					     .tool = l->options->tool,
					     .uniq_id = "warm",
					     .arguments = l->arguments};
		int r;

		snprintf(trajectory, sizeof(trajectory), "load-%llu", (unsigned long long)i);
		r = tr_call_wait(l->client, &call, &l->results[0], 60000);
		if (r < 0)
			return r;
	}
	return 0;
}

static int measure(struct load *l, const struct bench_daemon *daemon)
{
	uint64_t daemon_ns = 0;
	uint64_t own_ns;
	pid_t pid;
	int r = warm(l);

	if (r < 0)
		return r;
	/* Sleeps end when they should, not up to 50 us later. */
	prctl(PR_SET_TIMERSLACK, 1);
	r = bench_daemon_pid(daemon, l->client, &pid);
	if (r == 0)
		r = bench_cpu_ns(pid, &daemon_ns);
	if (r < 0)
		return r;
	own_ns = bench_own_cpu_ns();
	r = drive(l);
	l->client_cpu_ns = bench_own_cpu_ns() - own_ns;
	if (r == 0)
		r = bench_cpu_ns(pid, &l->daemon_cpu_ns);
	l->daemon_cpu_ns -= daemon_ns;
	return r;
}

static void add(struct bench_report *report, const char *name, double value, enum bench_unit unit)
{
	bench_report_add(report, &(struct bench_row){.name = name, .value = value, .unit = unit});
}

static void report_rows(const struct load *l, struct bench_report *report)
{
	static const struct {
		const char *name;
		double share;
	} shares[] = {{"latency_p50", 0.5},     {"latency_p90", 0.9},       {"latency_p99", 0.99},
		      {"latency_p99.9", 0.999}, {"latency_p99.99", 0.9999}, {"latency_max", 1}};
	double n = (double)l->n_answered;

	add(report, "rate_offered", l->options->rate, BENCH_PER_SECOND);
	add(report, "rate_answered", n * 1e9 / (double)l->elapsed_ns, BENCH_PER_SECOND);
	add(report, "calls", n, BENCH_COUNT);
	add(report, "calls_not_ok", n - (double)l->verdicts[TR_OK], BENCH_COUNT);
	for (size_t i = 0; i < N_ELEMENTS(shares); i++)
		add(report, shares[i].name, (double)histogram_at(&l->latency, shares[i].share),
		    BENCH_NS);
	add(report, "client_cpu_per_call", (double)l->client_cpu_ns / n, BENCH_NS);
	add(report, "toolringd_cpu_per_call", (double)l->daemon_cpu_ns / n, BENCH_NS);
}

static int print(const struct load *l)
{
	static struct bench_report report = {.bench = "load"};

	report_rows(l, &report);
	if (l->options->json)
		return bench_report_print_json(&report);
	bench_report_print_table(&report);
	for (size_t i = 1; i < TR_N_VERDICTS; i++)
		if (l->verdicts[i] > 0)
			printf("%llu calls ended with the verdict %s\n",
			       (unsigned long long)l->verdicts[i],
			       tr_verdict_name((enum tr_verdict)i));
	printf("\nlatency from the intended start, by percentile\n\n");
	bench_plot(&l->latency);
	return 0;
}

static int run_load(struct load *l, const char *dir, struct bench_daemon *daemon)
{
	const struct load_options *o = l->options;
	struct bench_cores cores = bench_cores();
	char slots[24];
	const char *const flags[] = {"--slots-max", slots, NULL};
	const struct bench_daemon_options options = {
		.program = o->program, .core = cores.theirs, .flags = flags};
	int r;

	snprintf(slots, sizeof(slots), "%llu",
		 (unsigned long long)(o->n_trajectories > 64 ? o->n_trajectories : 64));
	if (o->name) {
		bench_daemon_use(daemon, o->name);
	} else {
		bench_pin(cores.ours);
		r = bench_daemon_start(daemon, dir, &options);
		if (r < 0)
			return CLI_INFRASTRUCTURE;
	}
	r = bench_open(daemon, &l->client);
	if (r < 0)
		return CLI_INFRASTRUCTURE;
	l->n_calls = (uint64_t)(o->rate * o->seconds);
	r = measure(l, daemon);
	if (r == 0)
		r = print(l);
	for (size_t i = 0; i < N_REAPED; i++)
		tr_result_deinit(&l->results[i]);
	tr_close(l->client);
	return r < 0 ? cli_error("bench load: %s", strerror(-r)) : CLI_OK;
}

/* Without --arguments: a command that does nothing, and is as long as was asked for. */
static char *default_arguments(uint64_t payload_bytes)
{
	char *filler = malloc(payload_bytes + 3);
	json_t *json;
	char *text;

	if (!filler)
		return NULL;
	memset(filler, 'x', payload_bytes + 2);
	memcpy(filler, ": ", 2);
	filler[payload_bytes + 2] = 0;
	json = json_pack("{s:s}", "command", filler);
	text = json_dumps(json, 0);
	json_decref(json);
	free(filler);
	return text;
}

static int work(const char *dir, void *data)
{
	static struct load load;
	struct load_options *o = data;
	struct bench_daemon daemon = {0};
	char *own = o->arguments ? NULL : default_arguments(o->payload_bytes);
	char error[256];
	json_t *source;
	int r;

	load.options = o;
	r = json_value_parse(o->arguments ? o->arguments : own, &source, &load.arguments, error,
			     sizeof(error));
	free(own);
	if (r < 0)
		return cli_usage(&command_bench_load, "--arguments is %s", error);
	if (load.arguments.type != TR_MAP) {
		r = cli_usage(&command_bench_load, "--arguments must be a JSON object");
	} else {
		r = run_load(&load, dir, &daemon);
		bench_daemon_stop(&daemon);
	}
	json_value_deinit(&load.arguments);
	json_decref(source);
	return r;
}

static int run(int argc, char **argv)
{
	struct load_options o = {.rate = 10000,
				 .seconds = 5,
				 .n_trajectories = 64,
				 .payload_bytes = 64,
				 .tool = "bash"};
	const struct cli_option options[] = {
		CLI_OPTION_REAL('r', "rate", "R", &o.rate, 0.1, 1e7,
				"calls a second; 10000 by default"),
		CLI_OPTION_REAL('s', "seconds", "S", &o.seconds, 0.01, 86400,
				"how long; 5 by default"),
		CLI_OPTION_STRING('t', "tool", "TOOL", &o.tool, "what to call; bash by default"),
		CLI_OPTION_STRING('a', "arguments", "JSON", &o.arguments,
				  "its arguments; a command that does nothing by default"),
		CLI_OPTION_NUMBER(0, "trajectories", "N", &o.n_trajectories, 1, 100000,
				  "how many take turns; 64 by default"),
		CLI_OPTION_NUMBER(0, "payload", "BYTES", &o.payload_bytes, 0, 16e6,
				  "size of the default command; 64 by default"),
		CLI_OPTION_FLAG(0, "json", &o.json, "print one JSON object, no plot"),
		CLI_OPTION_STRING(0, "toolringd", "PATH", &o.program,
				  "the program to start; else $TOOLRINGD, beside us, in PATH"),
		CLI_OPTION_STRING('n', "name", "NAME", &o.name,
				  "load this running instance, start none"),
	};
	const struct cli_spec spec = {.command = &command_bench_load,
				      .options = options,
				      .n_options = N_ELEMENTS(options)};

	cli_parse(&spec, argc, argv);
	if (o.rate * o.seconds < 1)
		return cli_usage(&command_bench_load, "not even one call in that time");
	return bench_guarded(work, &o);
}

const struct command command_bench_load = {
	.name = "bench load",
	.synopsis =
		"[--rate R] [--seconds S] [--tool TOOL] [--trajectories N] [--payload BYTES]\n"
		"                           [--arguments JSON] [--json] [--toolringd PATH | --name NAME]",
	.summary = "offer calls at a fixed rate (open loop), show how long they took",
	.text = "Latency counts from the moment a call was due, not from when it could be sent.\n"
		"Between calls that are due within 60 us the client spins, which its CPU time\n"
		"shows. Exit codes: 0 done, 2 wrong usage, 3 it could not be measured.\n",
	.run = run,
};
