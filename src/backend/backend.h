/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_BACKEND_H
#define BACKEND_BACKEND_H

/*
 * The seam behind which slots live. The executor knows slots by index; a backend knows what one is.
 *
 * Every operation is asynchronous: the executor hands over a struct backend_op, which stays the
 * backend's until it calls backend_done() on it, once, with the answer in op->answer; that may
 * happen before the function that took it returns. backend_done() only queues: nothing of the
 * executor runs inside it. A backend answers every op it took, also after cancel() and stop(), which
 * both only hurry it. The executor runs at most one op per slot at a time (cancel aside).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <toolring/abi.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/span.h"

struct backend;
struct loop;

enum backend_op_kind {
	BACKEND_ACQUIRE, /* make slot ready for a trajectory, as spec wants it */
	BACKEND_EXECUTE,
	BACKEND_ARTIFACT, /* artifact says which */
	BACKEND_RESET,    /* as new, and still the trajectory's */
	BACKEND_RELEASE,  /* as new and free, or (reset false) parked with its files */
};

enum backend_op_state {
	BACKEND_OP_IDLE, /* the executor's */
	BACKEND_OP_TAKEN,
	BACKEND_OP_DONE, /* queued, the executor's again */
};

struct backend_answer {
	enum tr_verdict verdict;
	bool slot_lost;     /* the slot is gone with its files; the executor forgets it */
	struct span output; /* these live until answer_taken() */
	struct span error;
	struct span metadata; /* packed map; n 0: {} */
	struct span more;     /* further packed pairs of the result */
	uint32_t n_more;
	struct span body; /* bytes that end the last of these pairs: large content is not copied */
};

struct backend_op {
	struct list link; /* the holder's queue: the backend's while taken, then the done queue */
	struct backend *holder; /* who took it last */
	enum backend_op_kind kind;
	enum backend_op_state state;
	enum tr_kind artifact;
	uint32_t slot; /* index, below the configured most */
	struct span trajectory_id;
	struct span tool;      /* its canonical name */
	struct span arguments; /* EXECUTE: packed map; ACQUIRE: the spec; ARTIFACT: the options */
	struct span command;   /* EXECUTE: arguments.command, if it is a string */
	struct span path;      /* ARTIFACT */
	bool reset;            /* RELEASE */
	uint64_t timeout_ns;   /* EXECUTE, ARTIFACT: how long it may run from its start */
	uint64_t started_ns;   /* set by the backend when it really begins ... */
	uint64_t ended_ns;     /* ... and when it has ended; 0: never */
	struct backend_answer answer;
	void *private; /* the backend's, until answer_taken() */
};

struct backend_ops {
	const char *name;
	/* How long to gather calls for one target while it is busy; 0: never. */
	uint64_t batch_window_ns;
	int (*start)(struct backend *b);
	/* purge: nothing may outlive it. All ops taken are answered before or soon after. */
	void (*stop)(struct backend *b, bool purge);
	void (*acquire)(struct backend *b, struct backend_op *op);
	void (*release)(struct backend *b, struct backend_op *op);
	void (*reset)(struct backend *b, struct backend_op *op);
	/* EXECUTE and ARTIFACT ops, all of one target, each on another slot. */
	void (*execute_batch)(struct backend *b, struct backend_op **ops, size_t n);
	/* Hurries an op: it is answered soon, with TR_CANCELLED unless it had ended by itself. */
	void (*cancel)(struct backend *b, struct backend_op *op);
	/*
	 * The executor is through with op->answer of an op that was done. op may be a copy: only
	 * answer, slot and private of it still mean something.
	 */
	void (*answer_taken)(struct backend *b, struct backend_op *op);
	/* What a slot is reached through (a node); calls of one target are batched together. */
	uint32_t (*target)(struct backend *b, uint32_t slot);
	/* Takes over a slot that an earlier executor left, idle. false: it is gone. */
	bool (*adopt)(struct backend *b, uint32_t slot);
	/* Writes the slot's name, e.g. "fake-7", at most n bytes with the NUL. */
	void (*slot_name)(struct backend *b, uint32_t slot, char *ret_name, size_t n);
	/* 0, or -errno with the reason in text. */
	int (*health)(struct backend *b, char *text, size_t n_text);
	/* Appends packed pairs to b for status; returns how many, or -errno. */
	int (*stats)(struct backend *b, struct buf *out);
	uint64_t (*default_timeout_ns)(struct backend *b);
};

struct backend {
	const struct backend_ops *ops;
	struct loop *loop;
	uint32_t n_slots_max;
	uint32_t n_targets;
	struct list done; /* ops answered, for the executor to take */
};

/* Queues an answered op for the executor. */
static inline void backend_done(struct backend *b, struct backend_op *op)
{
	op->state = BACKEND_OP_DONE;
	list_push_back(&b->done, &op->link);
}

#endif
