/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_SYSTEM_H
#define TOOLS_BENCH_SYSTEM_H

/* What benches need of the machine: its description, cores to pin to, processes, clocks. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#define BENCH_NS_PER_MS 1000000
#define BENCH_NS_PER_S  1000000000

struct bench_text {
	char s[128];
};

struct bench_text bench_cpu_model(void);
int bench_n_cores(void); /* that we may run on */

/*
 * The two cores that a pair of processes is pinned to: ours and the other's. On a machine with one
 * core both are the same.
 */
struct bench_cores {
	int ours;
	int theirs;
};
struct bench_cores bench_cores(void);
void bench_pin(int core);
void bench_unpin(void);
/* All cores that we might run on at the start, but for one (if there is another). */
void bench_pin_all_but(int core);

/* 0 if there is no such process. */
pid_t bench_parent(pid_t pid);
/* A process and all its descendants; for free(). -errno. */
int bench_tree(pid_t root, pid_t **ret_pids, size_t *ret_n);
/* CPU time of a process and all its descendants so far, or of ourselves. -errno. */
int bench_cpu_ns(pid_t root, uint64_t *ret_ns);
uint64_t bench_own_cpu_ns(void);
/* Memory that is a process's and its descendants' alone. -errno. */
int bench_private_bytes(pid_t root, uint64_t *ret_bytes);
/* What of one process is no file's: anonymous memory, its share of shared memory. 0: it is gone. */
uint64_t bench_anonymous_bytes(pid_t pid);
/* Memory shared with toolringd that is mapped here: each object once. -errno. */
int bench_shared_bytes(uint64_t *ret_bytes);

static inline uint64_t bench_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * BENCH_NS_PER_S + (uint64_t)t.tv_nsec;
}

/*
 * A clock cheap enough to read between two round trips of 0.1 us: on x86 the time stamp counter
 * (a vDSO clock_gettime costs 20 to 50 ns more), elsewhere nanoseconds.
 */
static inline uint64_t bench_ticks(void)
{
#if defined(__x86_64__)
	_mm_lfence();
	return __rdtsc();
#else
	return bench_now_ns();
#endif
}

/* Nanoseconds of one tick; takes 20 ms the first time. */
double bench_ns_per_tick(void);

void bench_sleep_ns(uint64_t ns);

#endif
