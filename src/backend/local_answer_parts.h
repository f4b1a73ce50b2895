/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_ANSWER_PARTS_H
#define BACKEND_LOCAL_ANSWER_PARTS_H

/* The parts of an answer, each made in a file of its own. -ENOMEM, -E2BIG. */

#include "backend/local_answer.h"

int local_answer_metadata(struct local_answer *a, const struct local_facts *facts,
			  struct backend_op *op, const struct slot_request *asked,
			  const struct slot_reply *reply,
			  const struct span parts[SLOT_N_REPLY_PARTS], bool network_isolated);

/*
 * The pairs beside the output: exec's streams, and what an artifact is. Content that came in a file
 * stays there (answer.body), and the message with it.
 */
int local_answer_more(struct local_answer *a, struct backend_op *op,
		      const struct slot_request *asked, const struct slot_reply *reply,
		      const struct span parts[SLOT_N_REPLY_PARTS]);

#endif
