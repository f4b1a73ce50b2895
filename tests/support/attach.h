/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_ATTACH_H
#define TESTS_SUPPORT_ATTACH_H

/*
 * A session without the library, for tests that do what the library never would. It keeps to
 * abi.h as far as it is asked to.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <toolring/abi.h>

#include "base/buf.h"
#include "shm/message.h"
#include "shm/ring.h"
#include "shm/segment.h"

struct attach {
	int fd;
	int segment_fd;
	struct segment segment;
	struct ring_tx tx;
	struct ring_rx rx;
	struct message_assembly assembly;
};

/* Connected, and nothing said yet. -errno. */
int attach_connect(const char *socket);
/* Takes the welcome: its status, or -errno if there came none. The descriptors are closed. */
int attach_refusal(int fd);

/* A session with rings and a table of these sizes (0: the default). Ends the test if there is none. */
void attach_open(struct attach *a, const char *socket, uint32_t ring_bytes, uint32_t n_calls);
/* The same on a connection to which a hello was sent already. */
void attach_take(struct attach *a, int fd);
void attach_close(struct attach *a);

/* Publishes what is staged in tx and wakes the executor. */
void attach_publish(struct attach *a);
/* Sends a message as it should be. false: the ring was full for too long. */
bool attach_send(struct attach *a, uint16_t kind, uint64_t id, const void *data, size_t n);
/* Has the executor hung up, now or within a minute? */
bool attach_hung_up(struct attach *a, bool wait);

/*
 * The next completion; what it carried stands in a->assembly.data. false: none came in a minute, or
 * the session is over.
 */
bool attach_receive(struct attach *a, uint16_t *ret_kind, uint64_t *ret_id);

#endif
