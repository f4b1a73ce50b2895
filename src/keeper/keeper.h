/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KEEPER_KEEPER_H
#define KEEPER_KEEPER_H

/*
 * The keeper: small, and parses nothing that a client wrote. It owns what must outlive an executor
 * (the control socket, the statistics, a note per slot that it does not read, the descriptors of
 * slots: store.h), starts the executor as a child that has dropped what privileges there were, and
 * starts another when it dies. Slots are made by a third process, for which it does the same.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct plan;

struct keeper_options {
	const char *socket_path;
	bool own_directory;     /* the socket's directory is ours to make (one level) */
	bool removes_directory; /* ... and to remove at the end, if it is empty then */
	bool socket_is_open;    /* others may connect, to be judged by their uid */
	const char *shm_prefix;
	uid_t drop_uid; /* as root: whom the executor becomes */
	gid_t drop_gid;
	uint64_t restarts_max;
	uint64_t restarts_window_ns;
	uint64_t stop_grace_ns; /* how long an executor that was told to stop may take */
	uint64_t kill_grace_ns; /* how long after it was told twice */
	int ready_fd;           /* one byte is written there once clients are served; -1: none */
	int stop_fd;            /* readable: whom we serve has ended, and so do we; -1: none */
	size_t notes_bytes;
	size_t stats_bytes;
	const struct plan *plan;    /* what slots are made to; NULL: there are none to be made */
	const char *slot_program;   /* which makes them */
	size_t backend_notes_bytes; /* what an executor's backend leaves to the next; 0: nothing */
};

/* What each executor is given. */
struct keeper_child {
	int listener;
	int keeper; /* one byte goes out when it serves, one comes in for each stop; its hang-up is our
		       death */
	int stats_fd;
	void *stats;
	void *notes;
	void *backend_notes; /* zero at first; NULL without any */
	int store;           /* speaks backend/local/store.h; -1 without a plan */
	uint64_t generation;
};

/* Exit code of a child that will never start like this. */
#define KEEPER_CHILD_CANNOT 78

/* Runs until told to stop (SIGTERM, SIGINT, SIGHUP, stop_fd). Returns the exit code of the program. */
int keeper_run(const struct keeper_options *options,
	       int (*child)(const struct keeper_child *child, void *context), void *context);

#endif
