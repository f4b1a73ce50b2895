/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_slots.h"

#include "cli.h"

static const struct bench_part parts[] = {
	{bench_slots_bash, {"bash_true_p50", "bash_true_p99", "bash_true_vs_bwrap"}},
	{bench_slots_ls, {"bash_ls_p50"}},
	{bench_slots_bash_rate, {"bash_true_rate_64", "bash_true_rate_64_vs_bwrap"}},
	{bench_slots_read, {"read_file_p50", "read_file_any_core"}},
	{bench_slots_read_rate, {"read_file_rate_64"}},
	{bench_slots_make, {"slot_make"}},
	{bench_slots_rate, {"slot_rate"}},
	{bench_slots_reset, {"reset_small", "reset_large"}},
	{bench_slots_many,
	 {"slot_memory", "slot_memory_available", "slot_memory_processes", "slot_memory_tmpfs",
	  "slot_memory_slab", "slot_memory_percpu", "slot_memory_stacks", "slot_memory_zygote",
	  "slot_idle_cpu", "many_slots_call", "many_slots_read"}},
	{bench_slots_output, {"yes_memory", "yes_time"}},
	{bench_slots_abuse, {"abuse_p99"}},
};

const struct bench_words *bench_slots_bwrap(void)
{
	static struct bench_words words;
	static bool looked;
	static bool found;

	if (!looked)
		found = bench_bwrap_words(&words);
	looked = true;
	return found ? &words : NULL;
}

void bench_slots_add_bwrap(struct bench_suite *suite, const struct bench_row *row)
{
	if (!bench_suite_wants(suite, row->name))
		return;
	if (bench_slots_bwrap())
		bench_suite_add(suite, row);
	else
		bench_suite_add_bare(suite, row, "bwrap is missing");
}

static int run(int argc, char **argv)
{
	static const struct bench_suite_spec spec = {
		.command = &command_bench_slots,
		.name = "slots",
		.parts = parts,
		.n_parts = N_ELEMENTS(parts),
	};

	return bench_suite_run(&spec, argc, argv);
}

const struct command command_bench_slots = {
	.name = "bench slots",
	.synopsis = "[--json] [--check] [--quick] [--only ROW,...] [--toolringd PATH]",
	.summary =
		"speed and memory of slots, against programs without a sandbox and in bubblewrap",
	.text = "Starts toolringd (in a directory that is removed again) and measures it in turns\n"
		"with each baseline, on all cores; about ten minutes, on a machine that does nothing\n"
		"else. A value is the best of several turns, and so is its baseline, as what disturbs\n"
		"only slows; slot_rate is the mean over a minute of each, abuse_p99 that of all calls.\n"
		"slot_memory counts what 2,000 slots take from the whole machine, but for the page\n"
		"cache. With --quick there is one turn, and fewer of everything. Rows that compare\n"
		"with bubblewrap are not judged where bwrap is not installed.\n"
		"Exit codes: 0 done; 1 with --check, a target was missed or not judged; 2 wrong\n"
		"usage; 3 something could not be measured.\n",
	.run = run,
};
