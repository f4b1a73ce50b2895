/* SPDX-License-Identifier: Apache-2.0 */
/* What 2,000 slots cost that do nothing, and what a call takes on one of them. */

#include "bench_slots.h"
#include "bench_tool.h"
#include "bench_memory.h"
#include "bench_turns.h"
#include "cli.h"

#define N_MANY   2000
#define N_FEW    10
#define N_ROUNDS 3
#define N_KIB    1024.0

struct many {
	struct bench_suite *suite;
	struct bench_daemon daemon;
	struct tr_client *client;
	uint64_t n;             /* all */
	struct bench_tool tool; /* on each */
	struct bench_tool bash; /* the calls that are timed */
	struct bench_tool read;
};

/* What one slot takes. */
enum cost {
	COST_BARE,
	COST_AVAILABLE,
	COST_PROCESSES,
	COST_TMPFS,
	COST_SLAB,
	COST_PERCPU,
	COST_STACKS,
	COST_ZYGOTE,
	N_COSTS
};

struct costs {
	double bytes[N_COSTS];
};

static void fill_costs(const struct many *m, const struct bench_memory *few,
		       const struct bench_memory *bare, const struct bench_memory *warm,
		       struct costs *ret)
{
	double grown[BENCH_N_MEMORY];

	for (size_t i = 0; i < BENCH_N_MEMORY; i++)
		grown[i] = (bare->bytes[i] - few->bytes[i]) / (double)(m->n - N_FEW);
	*ret = (struct costs){{
		[COST_BARE] =
			(bench_memory_used(bare) - bench_memory_used(few)) / (double)(m->n - N_FEW),
		[COST_AVAILABLE] = -grown[BENCH_MEMORY_AVAILABLE],
		[COST_PROCESSES] = grown[BENCH_MEMORY_ANON] + grown[BENCH_MEMORY_TABLES],
		[COST_TMPFS] = grown[BENCH_MEMORY_SHMEM],
		[COST_SLAB] = grown[BENCH_MEMORY_SLAB],
		[COST_PERCPU] = grown[BENCH_MEMORY_PERCPU],
		[COST_STACKS] = grown[BENCH_MEMORY_STACKS],
		[COST_ZYGOTE] = (bench_memory_used(warm) - bench_memory_used(bare)) /
				(double)(m->n - N_FEW),
	}};
}

/* Of each cost the rounds' median. */
static void add_costs(struct many *m, const struct costs *rounds, size_t n_rounds)
{
	static const struct {
		const char *name;
		double limit_kib; /* 0: none, it only tells where the memory is */
	} rows[] = {
		[COST_BARE] = {"slot_memory", 350},
		[COST_AVAILABLE] = {"slot_memory_available", 0},
		[COST_PROCESSES] = {"slot_memory_processes", 0},
		[COST_TMPFS] = {"slot_memory_tmpfs", 0},
		[COST_SLAB] = {"slot_memory_slab", 0},
		[COST_PERCPU] = {"slot_memory_percpu", 0},
		[COST_STACKS] = {"slot_memory_stacks", 0},
		[COST_ZYGOTE] = {"slot_memory_zygote", 250},
	};

	for (size_t i = 0; i < N_COSTS; i++) {
		double values[N_ROUNDS];

		for (size_t k = 0; k < n_rounds; k++)
			values[k] = rounds[k].bytes[i];
		bench_suite_add(m->suite, &(struct bench_row){
						  .name = rows[i].name,
						  .value = bench_median(values, n_rounds),
						  .unit = BENCH_BYTES,
						  .target = rows[i].limit_kib > 0 ? BENCH_AT_MOST
										  : BENCH_NO_TARGET,
						  .limit = rows[i].limit_kib * N_KIB});
	}
}

/* One call of that kind on each trajectory from first up to but not including end. */
static int on_each(struct many *m, uint64_t first, uint64_t end, enum tr_kind kind)
{
	return bench_tool_each(&m->tool, "many", kind, first, end);
}

/* Both calls in turns, each turn on another slot of those from first on, up to end. */
static int time_calls(struct many *m, struct bench_side sides[2], uint64_t first, uint64_t end)
{
	int n_turns = m->suite->options.quick ? 1 : 2;
	int r = 0;

	for (int turn = 0; turn < n_turns && r == 0; turn++) {
		_cleanup_(bench_tool_deinit) struct bench_tool write;
		struct bench_name name = bench_name("many", first + (end - first) * (uint64_t)turn /
									    (uint64_t)n_turns);

		bench_tool_write(&write, m->client, "many", "a", "some text\n", 10);
		write.trajectory = name;
		m->bash.trajectory = name;
		m->read.trajectory = name;
		r = bench_tool_call(&write);
		if (r == 0)
			r = bench_turns(sides, 2, 1);
	}
	return r;
}

static int measure_idle(struct many *m)
{
	double ns;
	int r = bench_daemon_idle(&m->daemon, m->client, m->suite->options.quick, &ns);

	if (r == 0)
		bench_suite_add(m->suite, &(struct bench_row){.name = "slot_idle_cpu",
							      .value = ns,
							      .unit = BENCH_NS,
							      .target = BENCH_BELOW,
							      .limit = 1e6});
	return r;
}

static void add_calls(struct many *m, const struct bench_side few[2],
		      const struct bench_side many[2])
{
	bench_suite_add(m->suite, &(struct bench_row){.name = "many_slots_call",
						      .value = many[0].p50_ns,
						      .unit = BENCH_NS,
						      .baseline = "bash true with ten slots",
						      .baseline_value = few[0].p50_ns,
						      .target = BENCH_AT_MOST,
						      .limit = 1.1});
	bench_suite_add(m->suite, &(struct bench_row){.name = "many_slots_read",
						      .value = many[1].p50_ns,
						      .unit = BENCH_NS,
						      .baseline = "read_file with ten slots",
						      .baseline_value = few[1].p50_ns,
						      .target = BENCH_AT_MOST,
						      .limit = 1.1});
}

/* From ten slots to all, bare; then with a call of bash on each. */
static int grow(struct many *m, struct costs *ret_costs)
{
	struct bench_memory few = {0};
	struct bench_memory bare = {0};
	struct bench_memory warm = {0};
	int r = bench_memory_read(m->suite->options.quick, &few);

	if (r == 0)
		r = on_each(m, N_FEW, m->n, TR_KIND_ACQUIRE);
	if (r == 0)
		r = bench_memory_read(m->suite->options.quick, &bare);
	if (r == 0)
		r = on_each(m, N_FEW, m->n, TR_KIND_EXECUTE);
	if (r == 0)
		r = bench_memory_read(m->suite->options.quick, &warm);
	if (r == 0)
		fill_costs(m, &few, &bare, &warm, ret_costs);
	return r;
}

static int shrink(struct many *m)
{
	int r = on_each(m, N_FEW, m->n, TR_KIND_RELEASE);

	/* Namespaces are taken down later. */
	bench_sleep_ns((m->suite->options.quick ? 100 : 3000) * (uint64_t)BENCH_NS_PER_MS);
	return r;
}

static int measure(struct many *m)
{
	size_t n = m->suite->options.quick ? 20 : 400;
	size_t n_rounds = m->suite->options.quick ? 1 : N_ROUNDS;
	bool calls = bench_suite_wants(m->suite, "many_slots_call") ||
		     bench_suite_wants(m->suite, "many_slots_read");
	struct bench_side few[] = {
		{.step = bench_tool_call, .data = &m->bash, .n_steps = n},
		{.step = bench_tool_call, .data = &m->read, .n_steps = 4 * n},
	};
	struct bench_side many[] = {few[0], few[1]};
	struct costs costs[N_ROUNDS];
	int r = on_each(m, 0, N_FEW, TR_KIND_EXECUTE);

	/* Calls with ten slots and with all in turns, so that slower times on the machine hit both. */
	for (size_t i = 0; i < n_rounds && r == 0; i++) {
		if (calls)
			r = time_calls(m, few, 0, N_FEW);
		if (r == 0)
			r = grow(m, &costs[i]);
		if (r == 0 && i == 0 && bench_suite_wants(m->suite, "slot_idle_cpu"))
			r = measure_idle(m);
		if (r == 0 && calls)
			r = time_calls(m, many, N_FEW, m->n);
		if (r == 0)
			r = shrink(m);
	}
	if (r < 0)
		return r;
	add_costs(m, costs, n_rounds);
	if (calls)
		add_calls(m, few, many);
	return 0;
}

int bench_slots_many(struct bench_suite *suite)
{
	/* No slot that was taken is to be given back for having nothing to do. */
	static const char *const flags[] = {"--slots-max", "4096", "--idle-ttl-s", "86400", NULL};
	struct many m = {.suite = suite, .n = suite->options.quick ? 40 : N_MANY};
	int r;

	/* Ten slots or all: each call is to have the same cores. */
	bench_pin(suite->cores.ours);
	r = bench_suite_start_on(suite, suite->cores.theirs, flags, &m.daemon, &m.client);

	bench_tool_bash(&m.tool, m.client, "many", "true");
	bench_tool_bash(&m.bash, m.client, "many", "true");
	bench_tool_read(&m.read, m.client, "many", "a");
	if (r == 0)
		r = measure(&m);
	bench_tool_deinit(&m.tool);
	bench_tool_deinit(&m.bash);
	bench_tool_deinit(&m.read);
	tr_close(m.client);
	bench_unpin();
	bench_daemon_stop(&m.daemon);
	return r;
}
