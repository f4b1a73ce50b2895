/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXECUTOR_CALL_H
#define EXECUTOR_CALL_H

/*
 * A call inside the executor, from the record to the result.
 *
 *   ARRIVED --affinity--> QUEUED --its turn, has a slot--> BATCHED --dispatch--> RUNNING --> answered
 *                           |                                 |                     |
 *                           +--------- cancelled, refused, out of time -------------+
 *
 * A call is answered once. What was answered while its backend still owes us an answer (a timeout it
 * does not keep) is a STRAY: it only waits for that.
 */

#include <stdbool.h>
#include <stdint.h>

#include <toolring/abi.h>

#include "backend/backend.h"
#include "base/buf.h"
#include "base/list.h"
#include "executor/stats.h"
#include "io/timer.h"
#include "wire/call.h"

struct session;
struct trajectory;

enum call_state {
	CALL_ARRIVED,
	CALL_QUEUED,
	CALL_BATCHED,
	CALL_RUNNING,
	CALL_STRAY,
	CALL_BACKLOG, /* answered; the result waits for room in the ring */
};

struct call {
	struct list link; /* by state: arrived, the trajectory's queue, a batch, backlog, pool */
	struct session *session; /* NULL: it has ended */
	struct trajectory *trajectory;
	uint64_t id;
	size_t n_bytes; /* of the message */
	uint64_t hash;  /* of owner and trajectory id */
	enum call_state state;
	enum stats_row row;
	bool cancelled;
	struct wire_call wire; /* points into data */
	struct backend_op op;
	struct timer deadline;
	unsigned n_deadlines;        /* passed: first the backend is hurried, then given up */
	uint64_t at_ns[TR_N_PHASES]; /* when each phase began */
	struct buf data;             /* the message as it came */
	struct buf reply;            /* BACKLOG */
	size_t n_reply_done;
};

struct calls {
	struct list pool;
	size_t n_pool;
	size_t n_queued;  /* arrived or queued, in all trajectories */
	size_t n_running; /* batched or running */
};

void calls_init(struct calls *c);
void calls_deinit(struct calls *c);

/* A zeroed call with empty buffers that may hold up to these sizes. NULL: no memory. */
struct call *call_new(struct calls *c, size_t n_data_max, size_t n_reply_max);
void call_free(struct calls *c, struct call *call);

#endif
