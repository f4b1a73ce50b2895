/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_FAKE_H
#define BACKEND_FAKE_H

/*
 * A backend without slots: it answers with the arguments it got, as metadata.arguments, and with
 * output: arguments.argv if that is an array of strings, a space between two; else
 * arguments.command. A call may carry a script for it:
 *
 *   arguments.fake: {wait_s: N, verdict: "failed", error: "text", output_bytes: N,
 *                    exit_code: 0 to 255, signal: 1 to 127, stdout: "text", stderr: "text",
 *                    die: "slot" | "executor" | "hang"}
 *
 * wait_s: answer that much later (a timeout comes first if it is shorter). exit_code, signal, stdout
 * and stderr are put into the metadata as they are. die: the slot is lost; the executor is killed
 * with SIGKILL; or no answer comes, not even after a cancel. Options for all calls, as
 * NAME=VALUE,...: acquire_s, release_s (delays), acquire_fail, release_fail (0 or 1: no slot is made,
 * or none reset, before it is another's), targets (how many nodes the slots are spread over),
 * window_ms (batch window).
 */

#include "backend/backend.h"

/* -EINVAL: an option is wrong, and error says which. */
int fake_new(struct backend **ret_backend, struct loop *loop, uint32_t n_slots_max,
	     const char *options, char *error, size_t n_error);
struct backend *fake_free(struct backend *backend);

#endif
