/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench_system.h"

#define N_READINGS BENCH_N_MEDIAN_MAX
#define N_KIB      1024.0

static int read_memory_once(struct bench_memory *ret)
{
	static const char *const names[] = {
		[BENCH_MEMORY_FREE] = "MemFree:",
		[BENCH_MEMORY_BUFFERS] = "Buffers:",
		[BENCH_MEMORY_CACHED] = "Cached:",
		[BENCH_MEMORY_SHMEM] = "Shmem:",
		[BENCH_MEMORY_AVAILABLE] = "MemAvailable:",
		[BENCH_MEMORY_ANON] = "AnonPages:",
		[BENCH_MEMORY_SLAB] = "Slab:",
		[BENCH_MEMORY_PERCPU] = "Percpu:",
		[BENCH_MEMORY_STACKS] = "KernelStack:",
		[BENCH_MEMORY_TABLES] = "PageTables:",
	};
	char line[256];
	FILE *file = fopen("/proc/meminfo", "re");

	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		char name[64];
		double kib;

		if (sscanf(line, "%63s %lf", name, &kib) != 2)
			continue;
		for (size_t i = 0; i < BENCH_N_MEMORY; i++)
			if (strcmp(name, names[i]) == 0)
				ret->bytes[i] = kib * N_KIB;
	}
	fclose(file);
	return 0;
}

double bench_median(const double *values, size_t n)
{
	double sorted[N_READINGS];

	for (size_t i = 0; i < n; i++) {
		size_t at = i;

		for (; at > 0 && sorted[at - 1] > values[i]; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = values[i];
	}
	return sorted[n / 2];
}

/* Lets go of what the kernel only remembers, if we may: names of files, inodes. */
static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "2", 1) != 1)
		fprintf(stderr, "cannot drop caches: slot_memory may be less steady\n");
	close(fd);
}

int bench_memory_read(bool quick, struct bench_memory *ret)
{
	struct bench_memory readings[N_READINGS] = {0};
	uint64_t rest_ms = quick ? 100 : 3000;
	int r = 0;

	bench_sleep_ns(rest_ms * BENCH_NS_PER_MS);
	drop_caches();
	for (size_t i = 0; i < N_READINGS && r == 0; i++) {
		r = read_memory_once(&readings[i]);
		bench_sleep_ns(20 * BENCH_NS_PER_MS);
	}
	for (size_t line = 0; line < BENCH_N_MEMORY; line++) {
		double values[N_READINGS];

		for (size_t i = 0; i < N_READINGS; i++)
			values[i] = readings[i].bytes[line];
		ret->bytes[line] = bench_median(values, N_READINGS);
	}
	return r;
}

double bench_memory_used(const struct bench_memory *r)
{
	return -(r->bytes[BENCH_MEMORY_FREE] + r->bytes[BENCH_MEMORY_BUFFERS] +
		 r->bytes[BENCH_MEMORY_CACHED] - r->bytes[BENCH_MEMORY_SHMEM]);
}
