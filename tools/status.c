/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What toolringd says of itself: the status call (which also shows that its loop turns), and the
 * statistics it shares, read from memory.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "json.h"
#include "text.h"
#include "histogram.h"

static const char *const phase_names[TR_N_PHASES] = {"queue", "slot_wait", "start", "run", "reply"};

/* The plain words of struct tr_stats, for both forms of output. */
struct counter {
	const char *name;
	size_t offset;
};

#define COUNTER(name_)                                                                             \
	{                                                                                          \
#name_, offsetof(struct tr_stats, name_)                                           \
	}

static const struct counter counters[] = {
	COUNTER(generation),    COUNTER(sessions),           COUNTER(trajectories),
	COUNTER(slots),         COUNTER(slots_used),         COUNTER(calls_queued),
	COUNTER(calls_running), COUNTER(sessions_total),     COUNTER(sessions_lost_total),
	COUNTER(records_total), COUNTER(record_bytes_total), COUNTER(pings_total),
	COUNTER(calls_total),   COUNTER(results_total),      COUNTER(result_bytes_total),
	COUNTER(batches_total), COUNTER(turns_total),        COUNTER(sleeps_total),
	COUNTER(wakes_total),
};

static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static uint64_t counter_value(const struct tr_stats *stats, const struct counter *c)
{
	return load((const uint64_t *)(const void *)((const char *)stats + c->offset));
}

static double seconds_since(uint64_t realtime_ns)
{
	struct timespec now;
	double ns;

	clock_gettime(CLOCK_REALTIME, &now);
	ns = (double)now.tv_sec * 1e9 + (double)now.tv_nsec - (double)realtime_ns;
	return ns > 0 ? ns / 1e9 : 0;
}

/* Name of a row of the table, NUL-terminated whatever stands there. */
static const char *tool_name(const struct tr_stats_tool *tool, char ret_name[25])
{
	memcpy(ret_name, tool->name, 24);
	ret_name[24] = 0;
	return ret_name;
}

static json_t *histogram_json(const struct tr_histogram *shared)
{
	struct tr_histogram h;

	histogram_copy_shared(shared, &h);
	return json_pack("{s:I s:I s:I s:I s:I s:I s:I}", "count", (json_int_t)h.count, "sum_ns",
			 (json_int_t)h.sum_ns, "p50_ns", (json_int_t)histogram_shared_at(&h, 0.5),
			 "p90_ns", (json_int_t)histogram_shared_at(&h, 0.9), "p99_ns",
			 (json_int_t)histogram_shared_at(&h, 0.99), "p999_ns",
			 (json_int_t)histogram_shared_at(&h, 0.999), "max_ns",
			 (json_int_t)h.max_ns);
}

static json_t *tool_json(const struct tr_stats_tool *tool)
{
	json_t *verdicts = json_object();
	json_t *phases = json_object();

	for (size_t i = 0; i < TR_N_VERDICTS; i++)
		json_object_set_new(verdicts, tr_verdict_name((enum tr_verdict)i),
				    json_integer((json_int_t)load(&tool->verdicts[i])));
	for (size_t i = 0; i < TR_N_PHASES; i++)
		json_object_set_new(phases, phase_names[i], histogram_json(&tool->phases[i]));
	return json_pack("{s:o s:o}", "verdicts", verdicts, "phases", phases);
}

static json_t *stats_json(const struct tr_stats *stats)
{
	json_t *json = json_object();
	json_t *verdicts = json_object();
	json_t *tools = json_object();
	char name[25];

	json_object_set_new(json, "uptime_s", json_real(seconds_since(load(&stats->started_ns))));
	json_object_set_new(json, "executor_uptime_s",
			    json_real(seconds_since(load(&stats->executor_started_ns))));
	for (size_t i = 0; i < N_ELEMENTS(counters); i++)
		json_object_set_new(json, counters[i].name,
				    json_integer((json_int_t)counter_value(stats, &counters[i])));
	for (size_t i = 0; i < TR_N_VERDICTS; i++)
		json_object_set_new(verdicts, tr_verdict_name((enum tr_verdict)i),
				    histogram_json(&stats->verdict_total[i]));
	for (size_t i = 0; i < TR_STATS_TOOLS && *tool_name(&stats->tools[i], name); i++)
		json_object_set_new(tools, name, tool_json(&stats->tools[i]));
	json_object_set_new(json, "verdicts", verdicts);
	json_object_set_new(json, "tools", tools);
	return json;
}

static void print_histogram(const char *left, const struct tr_histogram *shared)
{
	struct tr_histogram h;

	histogram_copy_shared(shared, &h);
	if (h.count == 0)
		return;
	printf("  %-22s %10s %10s %10s %10s %10s\n", left, text_count((double)h.count).s,
	       text_ns((double)histogram_shared_at(&h, 0.5)).s,
	       text_ns((double)histogram_shared_at(&h, 0.9)).s,
	       text_ns((double)histogram_shared_at(&h, 0.99)).s, text_ns((double)h.max_ns).s);
}

static void print_histogram_head(const char *title)
{
	printf("\n%-24s %10s %10s %10s %10s %10s\n", title, "count", "p50", "p90", "p99", "max");
}

static void print_tool(const struct tr_stats_tool *tool)
{
	uint64_t n_calls = 0;
	char name[25];

	for (size_t i = 0; i < TR_N_VERDICTS; i++)
		n_calls += load(&tool->verdicts[i]);
	if (n_calls == 0)
		return;
	print_histogram_head(tool_name(tool, name));
	for (size_t i = 0; i < TR_N_PHASES; i++)
		print_histogram(phase_names[i], &tool->phases[i]);
	fputs("  verdicts:", stdout);
	for (size_t i = 0; i < TR_N_VERDICTS; i++)
		if (load(&tool->verdicts[i]) > 0)
			printf(" %s %llu", tr_verdict_name((enum tr_verdict)i),
			       (unsigned long long)load(&tool->verdicts[i]));
	fputc('\n', stdout);
}

static void print_stats(const struct tr_stats *stats)
{
	char name[25];

	printf("up %.0f s, this executor %.0f s\n\n", seconds_since(load(&stats->started_ns)),
	       seconds_since(load(&stats->executor_started_ns)));
	for (size_t i = 0; i < N_ELEMENTS(counters); i++)
		printf("%-20s %-16llu%s", counters[i].name,
		       (unsigned long long)counter_value(stats, &counters[i]),
		       i % 2 == 1 || i + 1 == N_ELEMENTS(counters) ? "\n" : "");
	print_histogram_head("intake to reply");
	for (size_t i = 0; i < TR_N_VERDICTS; i++)
		print_histogram(tr_verdict_name((enum tr_verdict)i), &stats->verdict_total[i]);
	for (size_t i = 0; i < TR_STATS_TOOLS && *tool_name(&stats->tools[i], name); i++)
		print_tool(&stats->tools[i]);
}

/* One line for each member, what is inside as JSON. */
static void print_metadata(json_t *metadata)
{
	const char *key;
	json_t *value;

	json_object_foreach(metadata, key, value)
	{
		char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

		printf("%s: %s\n", key,
		       json_is_string(value) ? json_string_value(value)
		       : text                ? text
					     : "?");
		free(text);
	}
}

/* metadata is NULL if there was no answer. */
static int print_json(json_t *metadata, const struct tr_stats *stats)
{
	_cleanup_(json_cleanup) json_t *json = json_pack("{s:O? s:o}", "status", metadata, "stats",
							 stats ? stats_json(stats) : json_null());

	if (!json || json_dumpf(json, stdout, JSON_INDENT(2)) < 0)
		return cli_error("cannot print the status");
	fputc('\n', stdout);
	return CLI_OK;
}

static int print(json_t *metadata, const struct tr_stats *stats, bool json)
{
	if (json)
		return print_json(metadata, stats);
	if (metadata)
		print_metadata(metadata);
	if (stats)
		print_stats(stats);
	return CLI_OK;
}

static int run(int argc, char **argv)
{
	const char *name = NULL;
	bool json = false;
	const struct cli_option options[] = {
		CLI_OPTION_FLAG(0, "json", &json, "print one JSON object"),
		CLI_OPTION_INSTANCE(&name),
	};
	const struct cli_spec spec = {
		.command = &command_status, .options = options, .n_options = N_ELEMENTS(options)};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(cli_cleanup_result) struct tr_result result = {0};
	_cleanup_(json_cleanup) json_t *metadata = NULL;
	const struct tr_stats *stats;
	int r;

	cli_parse(&spec, argc, argv);
	r = cli_open(&client, name);
	if (r != 0)
		return r;
	r = tr_status(client, &result, 10000);
	stats = tr_stats(client);
	if (r < 0) {
		cli_error("no answer: %s%s", strerror(-r),
			  stats ? "; the statistics are read from shared memory" : "");
		print(NULL, stats, json);
		return CLI_INFRASTRUCTURE;
	}
	if (result.verdict != TR_OK)
		return cli_error("status: %s", result.error.n ? result.error.data : "refused");
	metadata = json_from_packed(result.metadata.data, result.metadata.n);
	return print(metadata, stats, json);
}

const struct command command_status = {
	.name = "status",
	.synopsis = "[--json] [--name NAME]",
	.summary = "what toolringd is doing: gauges, counters, latencies",
	.text = "If toolringd does not answer within 10 s, what it shares in memory is printed all\n"
		"the same, and the exit code is 3.\n",
	.run = run,
};
