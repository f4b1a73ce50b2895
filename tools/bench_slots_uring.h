/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_SLOTS_URING_H
#define TOOLS_BENCH_SLOTS_URING_H

/*
 * What reading files in many slots is measured against: processes that open, read and close a file
 * and answer, and nothing else, each at the end of a socket pair; alone, or many of them under a bare
 * io_uring loop.
 */

#include <stdint.h>

#define BENCH_FILE_BYTES 1024

struct bench_readers;

/* Starts n processes that read the file name in folder; they die with us. -errno. */
int bench_readers_start(struct bench_readers **ret_readers, int n, const char *folder,
			const char *name);
struct bench_readers *bench_readers_stop(struct bench_readers *readers); /* returns NULL */

/* data: struct bench_readers. A racer (bench_turns.h): one request in flight for each process. */
int bench_readers_run(void *data, uint64_t end_ns, uint64_t *ret_n);

#endif
