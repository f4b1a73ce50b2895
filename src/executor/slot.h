/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXECUTOR_SLOT_H
#define EXECUTOR_SLOT_H

/*
 * Slots by number: who has which, who waits for one, and the note about each that the keeper holds
 * for the next executor.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "backend/backend.h"
#include "base/buf.h"
#include "base/list.h"
#include "wire/call.h"

struct executor;
struct session;
struct trajectory;

/* What a slot is asked to be; 0 is not asked. */
struct slot_spec {
	uint64_t memory_bytes;
	uint64_t disk_bytes;
	uint64_t idle_ttl_ns;
	uint32_t n_pids;
	uint32_t network; /* enum slot_network */
};

enum slot_network {
	SLOT_NETWORK_NONE = 1,
	SLOT_NETWORK_HOST = 2,
};

enum slot_note_state {
	SLOT_NOTE_FREE = 0,  /* nobody's, and clean */
	SLOT_NOTE_HELD = 1,  /* the trajectory's below */
	SLOT_NOTE_DIRTY = 2, /* nobody's, and to be reset before anybody's */
};

/* In memory shared with the keeper, to whom it is opaque. state is DIRTY while the rest is written. */
struct slot_note {
	uint32_t state; /* enum slot_note_state */
	uint32_t uid;
	uint64_t idle_ttl_ns;
	struct slot_spec spec;
	int32_t pid; /* of a holder, which comes back under it; 0: none */
	uint8_t kept;
	uint8_t n_id;
	char id[WIRE_TRAJECTORY_ID_MAX];
	uint8_t reserved[192 - 54 - WIRE_TRAJECTORY_ID_MAX];
};

struct slot {
	struct trajectory *trajectory; /* NULL: free, or out of use */
	uint32_t next_free;
	bool out_of_use; /* its backend owes an answer that is overdue */
};

/* An operation on a slot's life; pooled. */
struct slot_op {
	struct backend_op op;
	struct trajectory *trajectory; /* NULL: it went away meanwhile */
	struct slot_spec made;         /* what it is to be made to ... */
	struct buf spec;               /* ... packed */
};

struct slots {
	struct slot *slots;
	struct slot_note *notes;
	uint32_t n_slots;
	uint32_t n_made; /* numbers below were in use at some time */
	uint32_t first_free;
	uint32_t n_used; /* not free */
	uint32_t n_out_of_use;
	struct list waiting; /* sessions with trajectories that wait, in turns */
	struct list pool;    /* of slot_op */
};

int slots_init(struct slots *s, uint32_t n_slots, struct slot_note *notes);
void slots_deinit(struct slots *s);

/* Takes over what an earlier executor noted. */
void slots_recover(struct executor *e);

/* Gets a slot for t, now or when it is its turn. */
void slot_want(struct executor *e, struct trajectory *t);
/* While stopping, who waits for a slot is told so. */
void slots_stop_waiting(struct executor *e);
/* t no longer waits. */
void slot_unwant(struct executor *e, struct trajectory *t);
/* Moves what waits in a session that ends to the sessions of the calls behind. */
void slot_session_ends(struct executor *e, struct session *s);

/* Gives t's slot back to the backend: reset and free, or (reset false) parked for t. */
void slot_give_back(struct executor *e, struct trajectory *t, bool reset);
/* t's slot is gone with its files. */
void slot_lost(struct executor *e, struct trajectory *t);
/* t's slot does not answer: it is taken out of use until its backend has. */
void slot_take_out_of_use(struct executor *e, struct trajectory *t);
/* The backend has answered after all. */
void slot_back_in_use(struct executor *e, uint32_t slot, bool lost);

/* An ACQUIRE or RELEASE is answered. */
void slot_op_done(struct executor *e, struct backend_op *op);

void slot_note_write(struct executor *e, const struct trajectory *t);

#endif
