/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli.h"

static const struct command *const benches[] = {
	&command_bench_ring, &command_bench_slots,        &command_bench_shells,
	&command_bench_load, &command_bench_alloc_client, /* last: not shown */
};

#define N_SHOWN (N_ELEMENTS(benches) - 1)

static int run(int argc, char **argv)
{
	const struct command *bench;

	if (argc < 2)
		return cli_usage(&command_bench,
				 "bench: which? There are: ring, slots, shells, load");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		printf("usage: toolring bench %s\n\n%s\n\n", command_bench.synopsis,
		       command_bench.summary);
		cli_print_commands(benches, N_SHOWN);
		return CLI_OK;
	}
	bench = cli_find(benches, N_ELEMENTS(benches), argv[1]);
	if (!bench)
		return cli_unknown_command("toolring bench", benches, N_SHOWN, argv[1]);
	return bench->run(argc - 1, argv + 1);
}

const struct command command_bench = {
	.name = "bench",
	.synopsis = "BENCH [OPTIONS]",
	.summary = "measure speed and memory: bench ring, bench slots, bench shells, bench load",
	.run = run,
};
