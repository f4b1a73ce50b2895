/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_STATE_H
#define BACKEND_LOCAL_STATE_H

/* The local backend as its own files see it. */

#include "backend/local.h"
#include "backend/local/plan.h"
#include "backend/local_answer.h"
#include "backend/local_pool.h"
#include "backend/local_request.h"

#define TEXT_DIED     "the slot died; its files are gone; the call may have run"
#define TEXT_HAD_DIED "the slot had died; its files are gone"
#define TEXT_STOPPING "toolringd is stopping"

/* One op that is taken; pooled. */
struct run {
	struct list link;      /* in running, or in the pool */
	struct list send_link; /* its request waits for room in the socket */
	struct backend_op *op;
	struct timer timer; /* EXECUTE: when its slot is given up */
	struct local_wish wish;
	struct local_request request;
	struct buf request_text;
	struct local_answer answer;
	bool wishes;            /* ACQUIRE, RESET: a seat is not there yet */
	struct local_seat *old; /* RESET, RELEASE: is not gone yet; NULL */
	bool cancelled;
};

/* A slot by its number. */
struct place {
	struct local_seat *seat;
	struct run *run;           /* EXECUTE: sent, or about to be */
	bool has_died;             /* and nobody was told yet */
	struct plan_params params; /* of its last seat; 0: of that an earlier executor knew */
};

struct local {
	struct backend backend;
	struct local_options options;
	struct local_caps caps;
	struct local_facts facts;
	struct local_pool pool;
	struct place *places;
	uint32_t *bound; /* by slot, in the notes: its seat + 1; 0: none */
	struct list running;
	struct list runs; /* not in use */
	struct list unsent;
	struct timer send_timer;
	struct timer unclaimed_timer;
	uint64_t last_id;
	uint64_t n_died_total;
	bool stopped;
	void *buffer; /* for the reply that is being read */
};

static inline struct local *to_local(struct backend *b)
{
	return container_of(b, struct local, backend);
}

static inline struct local *of_pool(struct local_pool *p)
{
	return container_of(p, struct local, pool);
}

/* Takes an op. NULL: there is no memory, and it is answered. */
struct run *local_run_new(struct local *l, struct backend_op *op);
/* Hands the op back: its answer is complete ... */
void local_run_done(struct local *l, struct run *run);
/* ... or this. lost: the slot is gone with its files. */
void local_run_fail(struct local *l, struct run *run, enum tr_verdict verdict, const char *error);
void local_run_fail_lost(struct local *l, struct run *run, enum tr_verdict verdict,
			 const char *error);
void local_run_free(struct run *run);

void local_place_bind(struct local *l, uint32_t slot, struct local_seat *seat);
/* Returns its seat, which is nobody's now. */
struct local_seat *local_place_unbind(struct local *l, uint32_t slot);
/* The slot is no more, or not to be trusted any more: what runs there is answered with this. */
void local_place_died(struct local *l, uint32_t slot, enum tr_verdict verdict, const char *error);

/* local_call.c */
void local_call_execute(struct local *l, struct backend_op *op);
void local_call_readable(struct local_pool *p, struct local_seat *seat);
void local_call_cancel(struct local *l, struct run *run);
/* Its slot is given up. */
void local_call_on_watch(struct timer *timer, void *context);
void local_call_on_send_timer(struct timer *timer, void *context);
/* Says something that no answer is waited for. */
int local_call_note(struct local *l, const struct local_seat *seat, enum slot_op op, uint64_t id);

#endif
