/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_shells.h"

#include "cli.h"

static const struct bench_part parts[] = {
	{bench_shells_true,
	 {"stateful_true_p50", "stateful_true_p99", "stateful_true_vs_spin",
	  "stateful_true_default"}},
	{bench_shells_true_placed, {"stateful_true_one_core", "stateful_true_any_core"}},
	{bench_shells_start, {"shell_start"}},
	{bench_shells_output, {"stateful_output_10mb"}},
	{bench_shells_keys, {"key_echo_p50", "key_wait_for_p50"}},
	{bench_shells_artifact_read, {"artifact_read_5mb"}},
	{bench_shells_artifact_archive, {"artifact_archive_1000", "artifact_archive_zst"}},
	{bench_shells_idle,
	 {"shell_idle_memory", "shell_idle_processes", "shell_idle_tmpfs", "shell_idle_slab",
	  "shell_idle_cpu"}},
};

static int run(int argc, char **argv)
{
	static const struct bench_suite_spec spec = {
		.command = &command_bench_shells,
		.name = "shells",
		.parts = parts,
		.n_parts = N_ELEMENTS(parts),
	};

	return bench_suite_run(&spec, argc, argv);
}

const struct command command_bench_shells = {
	.name = "bench shells",
	.synopsis = "[--json] [--check] [--quick] [--only ROW,...] [--toolringd PATH]",
	.summary =
		"speed and memory of stateful shells, terminals and artifacts, against bash, tmux, "
		"cp and tar",
	.text = "Starts toolringd (in a directory that is removed again) and measures it in turns\n"
		"with each baseline; about five minutes, on a machine that does nothing else. A value\n"
		"is the best of several turns, and so is its baseline, as what disturbs only slows.\n"
		"stateful_true_p50 has this program on one core, and on another toolringd with its\n"
		"slots, or the bare bash. The client stays awake (it may poll for a millisecond); for\n"
		"the bare bash's answers it sleeps in read(), and with ..._vs_spin polls for them\n"
		"too. ..._default has a client with default options, as have ..._one_core, where all\n"
		"is on one core, and ..._any_core, where the kernel chooses. key_echo_p50 is of a cat\n"
		"that runs in the terminal: a call that sends one key, and captures until it is seen.\n"
		"Artifacts are taken from tmpfs on both sides, and 5 MB are 5,000,000 bytes. The\n"
		"archive is of 1,000 files of 4 KiB in which 32 of 64 bytes are random hexadecimal\n"
		"digits, the rest always the same; gzip at level 6 on both sides, zstd at 3 (tar runs\n"
		"its gzip or zstd beside it, on another core). shell_idle_memory counts what 500\n"
		"shells take from the whole machine beyond their bare slots, but for the page cache.\n"
		"With --quick there is one turn, and fewer of everything. Rows that compare with tmux\n"
		"or zstd are not judged where they are not installed.\n"
		"Exit codes: 0 done; 1 with --check, a target was missed or not judged; 2 wrong\n"
		"usage; 3 something could not be measured.\n",
	.run = run,
};
