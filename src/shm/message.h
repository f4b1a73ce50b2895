/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHM_MESSAGE_H
#define SHM_MESSAGE_H

/* Messages over records: one record where it fits, fragments where it does not. */

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "shm/ring.h"

/*
 * Stages as much of a message as there is room for; *done (0 at first) is how much is in. 1: all of
 * it; 0: the ring is full; -EBADMSG. Until it returns 1, nothing else may be put into the ring.
 */
int message_put(struct ring_tx *tx, uint16_t kind, uint64_t call_id, const void *data, size_t n,
		size_t *done);

/* Ring bytes the message takes at most, all headers and padding included. */
uint64_t message_ring_bytes(uint64_t ring_bytes, size_t n);

/* A message that arrives in fragments. The buffer grows as bytes come, never by what is claimed. */
struct message_assembly {
	struct buf data;
	uint64_t total;
	uint64_t call_id;
	uint16_t kind;
	bool active;
};

void message_assembly_init(struct message_assembly *a, size_t n_max);
void message_assembly_deinit(struct message_assembly *a);

/*
 * Takes one fragment (a record with flags, or any record while active). 1: the message is complete
 * in data, and active is false again; 0: more to come; -EBADMSG: malformed; -E2BIG: larger than
 * allowed; -ENOMEM.
 */
int message_assembly_feed(struct message_assembly *a, const struct ring_rx *rx,
			  const struct ring_record *record);

#endif
