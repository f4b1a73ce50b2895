/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_REQUEST_H
#define BACKEND_LOCAL_REQUEST_H

/* What a call says becomes what a slot is asked: every field checked, every other one refused. */

#include "backend/backend.h"
#include "backend/local/plan.h"
#include "base/buf.h"
#include "wire/slot.h"

struct local_caps {
	uint64_t output_chars;
	uint64_t file_chars;
	uint64_t exec_output_bytes_max;
	uint64_t artifact_bytes_max; /* inside the workspace */
	uint64_t artifact_entries_max;
	uint64_t anywhere_bytes_max; /* for harnesses */
	uint64_t anywhere_entries_max;
};

struct local_request {
	struct slot_request header;
	struct span parts[SLOT_N_REQUEST_PARTS];
};

/*
 * Reads tool and arguments of an EXECUTE, or the options of an ARTIFACT; what has to be put together for
 * it lies in text. The rest points into the op. An enum tr_verdict (TR_INVALID, TR_FAILED, TR_LIMIT):
 * the call is refused, and error says which field is wrong and what is allowed; -ENOMEM, -E2BIG.
 */
int local_request_read(struct local_request *q, const struct backend_op *op,
		       const struct local_caps *caps, struct buf *text, char *error,
		       size_t n_error);

/*
 * What a slot of that spec (a packed map, or nothing) is made to. -EPERM: it asks for more than the
 * operator allows, and error says of what. The spec has been read before: it is well-formed.
 */
int local_spec_read(struct span spec, const struct plan *plan, struct plan_params *ret_params,
		    char *error, size_t n_error);

#endif
