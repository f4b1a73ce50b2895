/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXECUTOR_AFFINITY_H
#define EXECUTOR_AFFINITY_H

/*
 * Trajectories: which calls belong together, in which order, and to which slot. A trajectory is
 * known by its owner's uid and its id; every session that used it holds it.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <toolring/abi.h>

#include "base/list.h"
#include "base/span.h"
#include "executor/slot.h"
#include "io/timer.h"

struct call;
struct executor;
struct session;
struct trajectory;

#define SLOT_NONE       UINT32_MAX
#define TRAJECTORY_LINE 64

/* One session holds one trajectory. */
struct hold {
	struct list session_link;
	struct list trajectory_link;
	struct session *session;
	struct trajectory *trajectory;
};

/* What is going on with the slot of a trajectory. */
enum slot_state {
	TRAJECTORY_NO_SLOT,
	TRAJECTORY_WAITS,    /* in its session's list of those that want one */
	TRAJECTORY_ACQUIRES, /* the backend makes it ready */
	TRAJECTORY_HAS_SLOT,
	TRAJECTORY_RELEASES, /* the backend takes it back, or parks it */
};

/*
 * What a call of a trajectory that has its slot touches lies together, on two lines: at random ones
 * of a hundred thousand, every line more is a cache miss more.
 */
struct trajectory {
	/* cold */
	uint64_t idle_ttl_ns;
	struct list holds;
	uint32_t n_holds;
	pid_t pid;                 /* recovered: of the client it waits for */
	struct session *waits_for; /* in whose list it waits */
	struct list wait_link;
	struct list due_link; /* its timer fired */
	struct list recovered_link;
	/* What its slots are made to, from the first one on until it is given back. A slot that is lost
	 * or goes for its idle time leaves this: the next must be no other one, as with a network. */
	struct slot_spec made;
	/* the first line */
	_Alignas(TRAJECTORY_LINE) struct trajectory *next; /* in its bucket */
	uint64_t hash;
	struct session *last_session; /* a holder that need not be looked for */
	struct call *running;
	struct list queue;
	uint32_t slot;
	uint32_t n_queued;
	uid_t uid;
	uint8_t slot_state; /* enum slot_state */
	uint8_t n_id;
	bool kept : 1;      /* released without a reset: only time frees it, or its next holder */
	bool doomed : 1;    /* its slot is to be given back as soon as nothing runs */
	bool forgotten : 1; /* doomed because nobody held it: whoever comes is new */
	bool recovered : 1; /* left by an earlier executor, and no client came for it yet */
	/* the second */
	uint64_t used_ns;
	struct timer timer; /* acquire timeout while it waits, else idle time */
	char id[];
};
_Static_assert(offsetof(struct trajectory, used_ns) ==
		       offsetof(struct trajectory, next) + TRAJECTORY_LINE,
	       "the first line");

struct affinity {
	struct trajectory **buckets;
	uint64_t mask;
	uint64_t seed;
	size_t n_trajectories;
	struct list due;       /* trajectories whose timer fired */
	struct list recovered; /* trajectories whose client may still come back */
	struct list hold_pool;
};

int affinity_init(struct affinity *a, uint64_t n_trajectories_max);
void affinity_deinit(struct affinity *a);

uint64_t affinity_hash(const struct affinity *a, uid_t uid, struct span id);
static inline void affinity_prefetch(const struct affinity *a, uint64_t hash)
{
	__builtin_prefetch(&a->buckets[hash & a->mask]);
}

/* A step of the turn: every call that arrived joins its trajectory's queue. */
void affinity_step(struct executor *e);

/* Starts what can be started of a trajectory: its next call, or giving its slot back. */
void trajectory_advance(struct executor *e, struct trajectory *t);

/* A trajectory that an earlier executor left, with its slot. NULL: no memory. */
struct trajectory *trajectory_recover(struct executor *e, const struct slot_note *note,
				      uint32_t slot);
/* A session begins: what its process held before the restart it holds again. */
void trajectory_session_opens(struct executor *e, struct session *s);

/* The session holds t from now on. -EUSERS: too many do, or it holds too many; -ENOMEM. */
int trajectory_hold(struct executor *e, struct trajectory *t, struct session *s);
/* The session lets go of all it holds; what nobody holds any more is given back. */
void trajectory_session_ends(struct executor *e, struct session *s);
/* Every session lets go of t. */
void trajectory_drop_holds(struct executor *e, struct trajectory *t);
/* The same, but those with calls in its queue hold it again. */
void trajectory_let_go(struct executor *e, struct trajectory *t);

/* Takes a call that arrived or is queued out of where it waits. */
void trajectory_dequeue(struct executor *e, struct call *call);
/* Ends every queued call of t. */
void trajectory_fail_queue(struct executor *e, struct trajectory *t, enum tr_verdict verdict,
			   const char *error);

/* Gives its slot back after what runs; what runs is cancelled. */
void trajectory_doom(struct executor *e, struct trajectory *t);

#endif
