/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXECUTOR_EXECUTOR_H
#define EXECUTOR_EXECUTOR_H

/*
 * The whole executor in one struct, and one turn of its loop in one function (executor.c):
 *
 *   reap completions -> sessions -> intake -> affinity -> batch/dispatch -> reply -> flush ->
 *   spin or sleep
 *
 * Completions and timers only mark and queue; each step works off what was queued, boundedly.
 */

#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "base/buf.h"
#include "executor/affinity.h"
#include "executor/batch.h"
#include "executor/call.h"
#include "executor/config.h"
#include "executor/session.h"
#include "executor/slot.h"
#include "executor/stats.h"
#include "io/loop.h"
#include "shm/wake.h"

struct plan;

/* What an executor is given at its start, and leaves to the next one. */
struct executor_start {
	const struct config *config;
	int listener; /* the control socket, listening, non-blocking */
	int keeper;   /* its hang-up is the keeper's death; one byte is written there when ready */
	int stats_fd; /* read-only, for the clients */
	struct tr_stats *stats;
	struct slot_note *notes; /* n_slots_max of them */
	uint64_t generation;     /* of this start, from 1 */
	const char *shm_prefix;
	const struct plan *plan; /* what slots are made to; NULL: the backend makes none here */
	int store;               /* speaks backend/local/store.h; -1 without a plan */
	void *backend_notes;     /* executor_backend_notes_bytes() of them */
};

/* What the backend of such a configuration leaves to the next executor; 0: nothing. */
size_t executor_backend_notes_bytes(const struct config *config, const struct plan *plan);

enum executor_stop {
	EXECUTOR_RUNS,
	EXECUTOR_DRAINS,  /* no new calls; what runs may end, for a time */
	EXECUTOR_CANCELS, /* what runs is cancelled */
	EXECUTOR_ENDS,    /* leaves the loop after this turn */
};

struct executor {
	const struct config *config;
	const struct limits *limits;
	struct executor_start start;
	struct loop loop;
	struct backend *backend;
	uint64_t default_timeout_ns;
	struct sessions sessions;
	struct calls calls;
	struct affinity affinity;
	struct slots slots;
	struct batches batches;
	struct stats stats;
	struct list arrived;      /* calls taken in this turn */
	struct list overdue;      /* running calls whose deadline passed */
	struct buf intake;        /* the record being taken in */
	struct buf scratch;       /* the result being encoded */
	struct buf metadata;      /* of answers we give ourselves */
	struct spin spin;         /* while nothing runs ... */
	struct spin spin_running; /* ... and while backends are at it */
	size_t n_cores;
	uint64_t turn;
	bool did_work; /* in this turn */
	enum executor_stop stop;
	struct timer stop_timer;
	struct loop_op keeper_op;
	int pidfd; /* of ourselves, for the clients */
	bool keeper_ready;
};

/* Exit codes of the executor's process. */
enum executor_exit {
	EXECUTOR_EXIT_OK = 0,      /* told to stop, or the keeper is gone */
	EXECUTOR_EXIT_CANNOT = 78, /* will never start like this: no use in trying again */
	EXECUTOR_EXIT_FATAL = 70,
};

/* Runs until it is told to stop. Returns the exit code. */
int executor_run(const struct executor_start *start);

/* Steps that live in files of their own name. */
void intake_step(struct executor *e);
void dispatch_step(struct executor *e);
void reply_step(struct executor *e);

/* Gives up a call that is queued, or hurries one that runs (dispatch.c). */
void dispatch_cancel(struct executor *e, struct call *call);
/* Asks a running call's backend for its end, by a deadline that takes the slot out of use. */
void dispatch_hurry(struct executor *e, struct call *call);
/* Fills in what the backend needs, and says in the table of calls that it may begin now. */
void dispatch_mark(struct executor *e, struct call *call);
/* Hands a RESET to the backend. */
void dispatch_reset(struct executor *e, struct call *call);

/* Answers a call that no backend has (reply.c): frees it, or leaves it in the backlog. */
void reply_error(struct executor *e, struct call *call, enum tr_verdict verdict, const char *error);
void reply_ok(struct executor *e, struct call *call, const char *output, struct span slot_id);
/* Answers STATUS and PING, which are no calls to the rest. error: what is wrong with it, or NULL. */
void reply_status(struct executor *e, struct session *s, uint64_t id, const char *error);
void reply_bytes(struct executor *e, struct session *s, enum tr_kind kind, uint64_t id,
		 const void *data, size_t n);
/* The session of a call ended: what is left of it is dropped or hurried. */
void reply_abandon(struct executor *e, struct call *call);
/* Passes the session's backlog on as far as there is room. */
void reply_backlog(struct executor *e, struct session *s);

/* Packs the whole of what STATUS says as metadata (status.c). */
int status_write(struct executor *e, struct buf *out);

/* Reads ACQUIRE's spec. -EINVAL: error says what is wrong (spec.c). */
int slot_spec_read(struct span spec, struct slot_spec *ret_spec, char *error, size_t n_error);
/* Does it ask for no slot in particular? The idle time does not make a slot. */
bool slot_spec_is_plain(const struct slot_spec *spec);
/* Appends what makes the slot, packed as ACQUIRE has it. -ENOMEM. */
int slot_spec_write(const struct slot_spec *spec, struct buf *out);
/* -EPERM: it asks for more than the operator allows; error names the limit. */
int slot_spec_permit(const struct config *c, const struct slot_spec *spec, char *error,
		     size_t n_error);
/*
 * Is a slot made to one spec what another asks for? What one does not say is as the operator has it.
 * The idle time does not make a slot.
 */
bool slot_spec_agrees(const struct config *c, const struct slot_spec *wish,
		      const struct slot_spec *made);

#endif
