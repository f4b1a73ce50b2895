/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_RESULT_H
#define WIRE_RESULT_H

/*
 * The payload of a result, both ways:
 *   {success, output, error, metadata, uniq_id, verdict, timing: {queue_ns, slot_wait_ns, start_ns,
 *    run_ns, reply_ns}, slot_id?, and whatever else a kind answers with}
 */

#include <stdbool.h>
#include <stdint.h>

#include <toolring/abi.h>

#include "base/buf.h"
#include "base/span.h"

struct wire_result {
	enum tr_verdict verdict;
	bool success;
	struct span output; /* sent as a string; decoded from string or binary */
	struct span error;
	struct span uniq_id;  /* sent as "" when empty */
	struct span metadata; /* one packed map; n 0 stands for {} */
	struct span slot_id;  /* n 0: absent */
	uint64_t timing_ns[TR_N_PHASES];
	/* Further pairs, packed key value key value ..., as they stand (encoding only). */
	struct span more;
	uint32_t n_more;
	struct span body; /* bytes that end the last of these pairs, where they lie elsewhere */
};

/* Appends the result. -ENOMEM, -E2BIG. Allocates nothing once the buffer has grown. */
int wire_result_encode(struct buf *b, const struct wire_result *result);

/*
 * Decodes one: an unknown key is skipped; a missing one leaves its zero, but a missing verdict is
 * TR_UNKNOWN. Nil stands for empty. -EBADMSG: malformed, or of a wrong type, or a verdict that is
 * none.
 */
int wire_result_decode(const void *data, size_t n, struct wire_result *ret_result);

const char *wire_verdict_name(enum tr_verdict verdict); /* "ok"; NULL if none */

#endif
