/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench_system.h"

struct bench_text bench_cpu_model(void)
{
	struct bench_text model = {"unknown"};
	struct utsname uts;
	char line[256];
	FILE *file = fopen("/proc/cpuinfo", "re");

	if (uname(&uts) == 0)
		snprintf(model.s, sizeof(model.s), "%s", uts.machine);
	while (file && fgets(line, sizeof(line), file)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) == 0 && colon) {
			line[strcspn(line, "\n")] = 0;
			snprintf(model.s, sizeof(model.s), "%.120s", colon + 2);
			break;
		}
	}
	if (file)
		fclose(file);
	return model;
}

/* The cores we might use when we began, before any pinning. */
static const cpu_set_t *cores_at_start(void)
{
	static cpu_set_t set;
	static bool known;

	if (!known && sched_getaffinity(0, sizeof(set), &set) < 0) {
		CPU_ZERO(&set);
		CPU_SET(0, &set);
	}
	known = true;
	return &set;
}

int bench_n_cores(void)
{
	return CPU_COUNT(cores_at_start());
}

struct bench_cores bench_cores(void)
{
	struct bench_cores cores = {-1, -1};

	for (int i = 0; i < CPU_SETSIZE && cores.theirs < 0; i++) {
		if (!CPU_ISSET((size_t)i, cores_at_start()))
			continue;
		if (cores.ours < 0)
			cores.ours = i;
		else
			cores.theirs = i;
	}
	if (cores.theirs < 0)
		cores.theirs = cores.ours;
	return cores;
}

/* Not fatal: a sandbox may forbid it, and the bench then only is noisier. */
void bench_pin(int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)core, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

void bench_unpin(void)
{
	sched_setaffinity(0, sizeof(cpu_set_t), cores_at_start());
}

void bench_pin_all_but(int core)
{
	cpu_set_t set = *cores_at_start();

	if (CPU_COUNT(&set) > 1)
		CPU_CLR((size_t)core, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

uint64_t bench_own_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * BENCH_NS_PER_S + (uint64_t)t.tv_nsec;
}

double bench_ns_per_tick(void)
{
	static double ratio;

	if (ratio == 0) {
		uint64_t ns = bench_now_ns();
		uint64_t ticks = bench_ticks();

		bench_sleep_ns(20 * BENCH_NS_PER_MS);
		ns = bench_now_ns() - ns;
		ticks = bench_ticks() - ticks;
		ratio = (double)ns / (double)ticks;
	}
	return ratio;
}

void bench_sleep_ns(uint64_t ns)
{
	struct timespec t = {.tv_sec = (time_t)(ns / BENCH_NS_PER_S),
			     .tv_nsec = (long)(ns % BENCH_NS_PER_S)};

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}
