/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_DAEMON_H
#define TOOLS_BENCH_DAEMON_H

/* A private toolringd for one bench; to be used under bench_guarded(). */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <toolring/toolring.h>

struct bench_daemon_options {
	const char *program;      /* NULL: look for it */
	const char *backend;      /* NULL: fake */
	int core;                 /* to run on; -1: any */
	const char *preload;      /* an object to load first, or NULL */
	const char *const *flags; /* further flags, NULL at the end; or NULL */
};

struct bench_daemon {
	pid_t pid; /* 0: not started */
	char socket[100];
};

/* What to call an instance that is already there, as if it had been started. */
void bench_daemon_use(struct bench_daemon *d, const char *name);

/* Starts toolringd and waits until it accepts. Says itself what went wrong. */
int bench_daemon_start(struct bench_daemon *d, const char *dir,
		       const struct bench_daemon_options *options);
/* Stops it, if it was started, and waits for its end. */
void bench_daemon_stop(struct bench_daemon *d);

/* Opens a session, or says why not. */
int bench_open(const struct bench_daemon *d, struct tr_client **ret_client);
/* The same, of a client that stays awake: it polls for its answers for up to a millisecond. */
int bench_open_awake(const struct bench_daemon *d, struct tr_client **ret_client);
/* The process to ask for CPU time and memory: the keeper. -errno. */
int bench_daemon_pid(const struct bench_daemon *d, struct tr_client *client, pid_t *ret_pid);

/*
 * CPU time of toolringd and all its slots over ten seconds in which nobody calls; quick: over one,
 * times ten. -errno.
 */
int bench_daemon_idle(const struct bench_daemon *d, struct tr_client *client, bool quick,
		      double *ret_ns);

/* Path of the object that counts allocations (alloc_count.c); says if there is none. */
int bench_find_preload(char *ret_path, size_t n);

#endif
