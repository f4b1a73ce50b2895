/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHM_SEGMENT_H
#define SHM_SEGMENT_H

/* Making a segment (executor) and mapping one (client). Afterwards both use the same struct. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <toolring/abi.h>

#include "shm/ring.h"

struct segment_sizes {
	uint32_t submission_bytes; /* powers of two */
	uint32_t completion_bytes;
	uint32_t n_calls;
};

#define SEGMENT_RING_MIN  4096u
#define SEGMENT_CALLS_MIN 16u

struct segment {
	struct tr_segment *base; /* shared: only the words of the rings are used after the start */
	size_t bytes;
	int fd; /* -1 once it is not needed */
	struct segment_sizes sizes;
	uint64_t call_bytes_max;
	uint64_t result_bytes_max;
	uint64_t session_id;
	uint64_t generation;
	uint64_t submission_offset;
	uint64_t completion_offset;
	uint64_t *calls; /* shared: the table of calls in flight */
};

#define SEGMENT_NULL ((struct segment){.fd = -1})

struct segment_identity {
	uint64_t features;
	uint64_t session_id;
	uint64_t generation;
	uint32_t executor_pid;
	uint64_t call_bytes_max;
	uint64_t result_bytes_max;
};

/* Smallest power of two that is at least n (n up to 2^31). */
uint32_t segment_round_up(uint32_t n);

/*
 * Makes a ready segment: a POSIX shared-memory object named prefix plus a random part, mode 0600,
 * all of it allocated, its name removed again. The descriptor is left in fd.
 */
int segment_create(struct segment *s, const char *prefix, const struct segment_sizes *sizes,
		   const struct segment_identity *identity);

/* Maps and checks a segment that an executor passed; takes fd over. -EPROTO: malformed. */
int segment_map(struct segment *s, int fd, uint64_t bytes);

void segment_deinit(struct segment *s);

/*
 * The table of calls in flight: the executor notes in it which calls reached a slot, and the client
 * looks once the executor is gone.
 */
static inline uint64_t *segment_call_word(const struct segment *s, uint64_t id)
{
	return &s->calls[id & (s->sizes.n_calls - 1)];
}

static inline void segment_call_mark(struct segment *s, uint64_t id)
{
	shm_store(segment_call_word(s, id), id, SHM_RELEASE);
}

static inline bool segment_call_began(const struct segment *s, uint64_t id)
{
	return shm_load(segment_call_word(s, id), SHM_ACQUIRE) == id;
}

/* The ends of the rings as the client and the executor hold them. */
void segment_client_rings(struct segment *s, struct ring_tx *tx, struct ring_rx *rx);
void segment_executor_rings(struct segment *s, struct ring_tx *tx, struct ring_rx *rx);

#endif
