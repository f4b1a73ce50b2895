/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_ANSWER_H
#define BACKEND_LOCAL_ANSWER_H

/* What a slot replied becomes the answer of an op, as the tool contract has it. */

#include "backend/backend.h"
#include "backend/local/plan.h"
#include "base/buf.h"
#include "wire/slot.h"

/* What every answer of a backend says alike; made once. */
struct local_facts {
	struct buf missing; /* the packed pair of "missing_layers"; n 0: none are */
	uint32_t n_missing; /* layers */
};

/* The memory behind one answer. */
struct local_answer {
	struct buf text;
	struct buf metadata;
	struct buf more;
	struct slot_message message; /* what is too large to be copied */
};

int local_facts_init(struct local_facts *f, const struct plan *plan);
void local_facts_deinit(struct local_facts *f);

void local_answer_init(struct local_answer *a);
void local_answer_deinit(struct local_answer *a);
/* It has been taken; what it needed beyond the ordinary goes back to the kernel. */
void local_answer_clear(struct local_answer *a);

/*
 * Fills in op->answer, and when it ran. parts may lie in a buffer that is used again; m is taken
 * over. network_isolated: of this slot. -ENOMEM, -E2BIG: the answer is too large to be made.
 */
int local_answer_make(struct local_answer *a, const struct local_facts *facts,
		      struct backend_op *op, const struct slot_request *asked,
		      const struct slot_reply *reply, const struct span parts[SLOT_N_REPLY_PARTS],
		      struct slot_message *m, bool network_isolated);

/* The metadata of an answer that has nothing else to tell. */
void local_answer_facts(struct local_answer *a, const struct local_facts *facts,
			struct backend_op *op);

/* One of ours, about a call that no slot answered. */
void local_answer_fail(struct local_answer *a, const struct local_facts *facts,
		       struct backend_op *op, enum tr_verdict verdict, const char *error);

#endif
