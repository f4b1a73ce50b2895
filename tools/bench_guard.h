/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_GUARD_H
#define TOOLS_BENCH_GUARD_H

#include <sys/types.h>

/*
 * A bench starts processes and makes files, and must leave none of them, however it ends. So the
 * bench itself runs in a child (the worker), with a directory of its own. Its parent, the guard,
 * only waits. When the worker is gone (done, interrupted, killed, crashed), the kernel has sent
 * SIGTERM to the toolringd that it started (PR_SET_PDEATHSIG), which is the guard's child by then
 * (PR_SET_CHILD_SUBREAPER); the guard waits for it and removes the directory with all that is in it.
 */

/* Runs work(dir, data) under guard; returns what it returned, or 128 + the signal that ended it. */
int bench_guarded(int (*work)(const char *dir, void *data), void *data);

/*
 * Called by the worker, once: makes a directory in memory, which the guard removes with all that is in
 * it. -errno.
 */
int bench_guard_scratch(const char **ret_path);

/* Called by the worker: a process that the guard kills if SIGTERM was not enough for it. */
void bench_guard_watch(pid_t pid);
void bench_guard_forget(pid_t pid);

#endif
