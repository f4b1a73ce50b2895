/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CLIENT_PEER_H
#define TESTS_CLIENT_PEER_H

/*
 * A small executor inside the test, in a thread: enough of one to test the client library against
 * without the real thing. It serves one session at a time. What an EXECUTE does is its tool's name:
 *
 *   echo     answers with the arguments, packed, as output
 *   big      answers with as many bytes of 'x' as uniq_id says
 *   hang     is noted in the table of calls as begun; answered when it is cancelled
 *   ignore   is neither noted nor answered
 *   die      ends the session, as if the executor had been killed
 *   violate  is answered under an id that nobody asked with
 *
 * STATUS answers with metadata {"sessions": n}; every other kind with its own name as output.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "shm/message.h"
#include "shm/segment.h"

struct peer {
	char directory[64];
	char path[100];
	/* Set before peer_start(), or left 0. */
	struct segment_sizes sizes;
	uint64_t call_bytes_max;
	int executor_fd; /* -1: a pidfd of ourselves */
	int stats_fd;    /* -1: none */

	int listener;
	int stop_fd;
	bool started;
	bool stop;
	bool paused; /* takes nothing out of the ring */
	pthread_t thread;
	uint64_t n_sessions;
	uint64_t n_records; /* this session's, cancellations aside */
	uint64_t n_cancels;

	int socket;
	struct segment segment;
	struct ring_rx rx;
	struct ring_tx tx;
	struct message_assembly assembly;
	struct buf out;
};

/* Makes the directory and the path, nothing else. */
void peer_init(struct peer *p);
/* Listens and starts the thread. */
void peer_start(struct peer *p);
/* The executor is gone: thread, socket and session end, whatever was in flight. */
void peer_stop(struct peer *p);
void peer_deinit(struct peer *p);
void peer_pause(struct peer *p, bool paused);

/* Pieces, for tests that misbehave. */
int peer_listen(struct peer *p);
int peer_pidfd(void);
/* Makes the segment and sends the welcome for it. */
int peer_welcome(struct peer *p, int socket);

#endif
