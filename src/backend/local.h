/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_H
#define BACKEND_LOCAL_H

/*
 * Slots on this machine, the executor's side of them. Who makes them is asked through the keeper
 * (local/store.h); each is talked to over its control socket (wire/slot.h).
 *
 *   local.c          the seam: slots that are acquired, reset, given back, found again
 *   local_run.c      ops that were taken, and which seat a slot's number is bound to
 *   local_call.c     calls: what is asked of a slot, and what comes back
 *   local_request.c  from a tool's arguments to a request; local_request_terminal.c: of tmux;
 *                    local_request_artifact.c: from an artifact's options; all by local_form.c
 *   local_spec.c     from a spec to what a slot is made to
 *   local_answer.c   from a slot's reply to an answer; local_answer_metadata.c: its metadata;
 *                    local_answer_more.c: exec's streams and artifacts; local_mime.c: types by names
 *   local_pool.c     seats: made ahead of need, or to order
 *   local_seat.c     what happens to one seat
 *   local_stats.c    what status says
 *
 * A slot's number and its seat are two things: a reset drops the seat and binds a fresh one to the
 * number, so that nothing of the old one is left by construction. Which seat is bound to which number
 * stands in memory that the keeper holds for the next executor.
 */

#include "backend/backend.h"

struct plan;

struct local_options {
	const struct plan *plan;
	/* local_notes_bytes() of them, which the next executor finds; zero at first. */
	uint32_t *notes;
	int store; /* to the keeper; stays the caller's */
	uint32_t generation;
	uint32_t n_slots_min;           /* to be made at the start */
	uint32_t n_slots_warm;          /* to be ready beyond those in use */
	uint64_t output_chars;          /* of each stream of bash */
	uint64_t file_chars;            /* of read_file and write_file */
	uint64_t exec_output_bytes_max; /* of each stream of exec */
	uint64_t artifact_bytes_max;    /* of an artifact, in or out */
	uint64_t artifact_entries_max;  /* of a list or an archive */
	uint64_t anywhere_bytes_max;    /* the same, where a harness asks for any path */
	uint64_t anywhere_entries_max;
	uint64_t grace_ns; /* how long past its timeout a slot may take to answer */
	uint64_t gone_ns;  /* how long a slot that was killed may take to be gone */
};

size_t local_notes_bytes(uint32_t n_slots_max, const struct plan *plan);

int local_new(struct backend **ret_backend, struct loop *loop, uint32_t n_slots_max,
	      const struct local_options *options, char *error, size_t n_error);
struct backend *local_free(struct backend *backend);

#endif
