/* SPDX-License-Identifier: Apache-2.0 */
/* What 500 shells cost that do nothing. */
#include "bench_memory.h"
#include "bench_shells.h"
#include "bench_tool.h"
#include "cli.h"

#define N_SHELLS 500
#define N_QUICK  10
#define N_FEW    10 /* shells from before, for what is there only once */
#define N_MIB    (1024.0 * 1024.0)
#define N_ROUNDS 3

enum cost {
	COST_ALL,
	COST_PROCESSES,
	COST_TMPFS,
	COST_SLAB,
	N_COSTS
};

struct costs {
	double bytes[N_COSTS];
};

/* From bare slots to a shell in each. */
static int grow(struct bench_suite *suite, struct bench_tool *tool, uint64_t n, struct costs *ret)
{
	struct bench_memory bare = {0};
	struct bench_memory warm = {0};
	double grown[BENCH_N_MEMORY];
	int r = bench_tool_each(tool, "idle", TR_KIND_ACQUIRE, N_FEW, N_FEW + n);

	if (r == 0)
		r = bench_memory_read(suite->options.quick, &bare);
	if (r == 0)
		r = bench_tool_each(tool, "idle", TR_KIND_EXECUTE, N_FEW, N_FEW + n);
	if (r == 0)
		r = bench_memory_read(suite->options.quick, &warm);
	for (size_t i = 0; i < BENCH_N_MEMORY; i++)
		grown[i] = (warm.bytes[i] - bare.bytes[i]) / (double)n;
	*ret = (struct costs){{
		[COST_ALL] = (bench_memory_used(&warm) - bench_memory_used(&bare)) / (double)n,
		[COST_PROCESSES] = grown[BENCH_MEMORY_ANON] + grown[BENCH_MEMORY_TABLES] +
				   grown[BENCH_MEMORY_STACKS],
		[COST_TMPFS] = grown[BENCH_MEMORY_SHMEM],
		[COST_SLAB] = grown[BENCH_MEMORY_SLAB] + grown[BENCH_MEMORY_PERCPU],
	}};
	return r;
}

static int shrink(struct bench_suite *suite, struct bench_tool *tool, uint64_t n)
{
	int r = bench_tool_each(tool, "idle", TR_KIND_RELEASE, N_FEW, N_FEW + n);

	/* Namespaces are taken down later. */
	bench_sleep_ns((suite->options.quick ? 100 : 3000) * (uint64_t)BENCH_NS_PER_MS);
	return r;
}

/* Of each cost the rounds' median. */
static void add_costs(struct bench_suite *suite, const struct costs *rounds, size_t n_rounds)
{
	static const char *const names[] = {
		[COST_ALL] = "shell_idle_memory",
		[COST_PROCESSES] = "shell_idle_processes",
		[COST_TMPFS] = "shell_idle_tmpfs",
		[COST_SLAB] = "shell_idle_slab",
	};

	for (size_t i = 0; i < N_COSTS; i++) {
		double values[N_ROUNDS];

		for (size_t k = 0; k < n_rounds; k++)
			values[k] = rounds[k].bytes[i];
		bench_suite_add(suite,
				&(struct bench_row){.name = names[i],
						    .value = bench_median(values, n_rounds),
						    .unit = BENCH_BYTES,
						    .target = i == COST_ALL ? BENCH_AT_MOST
									    : BENCH_NO_TARGET,
						    .limit = i == COST_ALL ? 3 * N_MIB : 0});
	}
}

static int add_idle(struct bench_suite *suite, const struct bench_daemon *daemon,
		    struct tr_client *client)
{
	double ns;
	int r = bench_daemon_idle(daemon, client, suite->options.quick, &ns);

	if (r == 0)
		bench_suite_add(suite, &(struct bench_row){.name = "shell_idle_cpu",
							   .value = ns,
							   .unit = BENCH_NS,
							   .target = BENCH_BELOW,
							   .limit = 1e6});
	return r;
}

int bench_shells_idle(struct bench_suite *suite)
{
	/* No slot that was taken is to be given back for having nothing to do. */
	static const char *const flags[] = {"--slots-max", "1024", "--idle-ttl-s", "86400", NULL};
	_cleanup_(bench_suite_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(bench_tool_deinit) struct bench_tool tool = {0};
	uint64_t n = suite->options.quick ? N_QUICK : N_SHELLS;
	size_t n_rounds = suite->options.quick ? 1 : N_ROUNDS;
	struct costs costs[N_ROUNDS];
	int r = bench_suite_start(suite, flags, &daemon, &client);

	bench_tool_init(&tool, client, "idle", "bash_stateful");
	bench_tool_argument(&tool, "command", tr_string("true"));
	if (r == 0)
		r = bench_tool_each(&tool, "idle", TR_KIND_EXECUTE, 0, N_FEW);
	for (size_t i = 0; i < n_rounds && r == 0; i++) {
		r = grow(suite, &tool, n, &costs[i]);
		if (r == 0 && i == 0 && bench_suite_wants(suite, "shell_idle_cpu"))
			r = add_idle(suite, &daemon, client);
		if (r == 0)
			r = shrink(suite, &tool, n);
	}
	if (r == 0)
		add_costs(suite, costs, n_rounds);
	return r;
}
