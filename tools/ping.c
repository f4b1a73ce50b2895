/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "text.h"

struct pings {
	uint64_t n;
	double sum_ns;
	double min_ns;
	double max_ns;
};

static void count(struct pings *p, double ns)
{
	p->min_ns = p->n == 0 || ns < p->min_ns ? ns : p->min_ns;
	p->max_ns = ns > p->max_ns ? ns : p->max_ns;
	p->sum_ns += ns;
	p->n++;
}

static void print_summary(const struct pings *p)
{
	printf("%llu round trips: min %s, mean %s, max %s\n", (unsigned long long)p->n,
	       text_ns(p->min_ns).s, text_ns(p->sum_ns / (double)p->n).s, text_ns(p->max_ns).s);
}

static int run(int argc, char **argv)
{
	const char *name = NULL;
	uint64_t n_pings = 4;
	double interval_s = 0.2;
	const struct cli_option options[] = {
		CLI_OPTION_NUMBER('c', "count", "N", &n_pings, 1, 1e9, "how many; 4 by default"),
		CLI_OPTION_REAL('i', "interval", "S", &interval_s, 0, 3600,
				"seconds between two; 0.2 by default"),
		CLI_OPTION_INSTANCE(&name),
	};
	const struct cli_spec spec = {
		.command = &command_ping, .options = options, .n_options = N_ELEMENTS(options)};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	struct pings pings = {0};
	int r;

	cli_parse(&spec, argc, argv);
	r = cli_open(&client, name);
	for (uint64_t i = 0; r == 0 && i < n_pings; i++) {
		struct timespec pause = {.tv_sec = (time_t)interval_s};
		uint64_t ns;

		pause.tv_nsec = (long)((interval_s - floor(interval_s)) * 1e9);
		if (i > 0)
			nanosleep(&pause, NULL);
		r = tr_ping(client, 10000, &ns);
		if (r < 0)
			return cli_error("no answer to ping %llu: %s", (unsigned long long)i + 1,
					 strerror(-r));
		printf("ping %llu: %s\n", (unsigned long long)i + 1, text_ns((double)ns).s);
		fflush(stdout);
		count(&pings, (double)ns);
	}
	if (r == 0)
		print_summary(&pings);
	return r;
}

const struct command command_ping = {
	.name = "ping",
	.synopsis = "[-c N] [-i S] [--name NAME]",
	.summary = "time round trips through the ring",
	.run = run,
};
