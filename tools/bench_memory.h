/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_MEMORY_H
#define TOOLS_BENCH_MEMORY_H

/* What the whole machine uses of its memory, the kernel's own included. */

#include <stdbool.h>
#include <stddef.h>

/* Lines of /proc/meminfo. */
enum bench_memory_line {
	BENCH_MEMORY_FREE,
	BENCH_MEMORY_BUFFERS,
	BENCH_MEMORY_CACHED,
	BENCH_MEMORY_SHMEM,
	BENCH_MEMORY_AVAILABLE,
	BENCH_MEMORY_ANON,
	BENCH_MEMORY_SLAB,
	BENCH_MEMORY_PERCPU,
	BENCH_MEMORY_STACKS,
	BENCH_MEMORY_TABLES,
	BENCH_N_MEMORY
};

struct bench_memory {
	double bytes[BENCH_N_MEMORY];
};

/*
 * Once things have come to rest (which takes seconds, unless quick); of some readings each line's
 * median, as others use memory too. -errno.
 */
int bench_memory_read(bool quick, struct bench_memory *ret);
/* What is neither free nor the page cache of files: what processes, tmpfs and the kernel hold. */
double bench_memory_used(const struct bench_memory *reading);

#define BENCH_N_MEDIAN_MAX 9
/* Of up to BENCH_N_MEDIAN_MAX values. */
double bench_median(const double *values, size_t n);

#endif
