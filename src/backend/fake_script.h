/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_FAKE_SCRIPT_H
#define BACKEND_FAKE_SCRIPT_H

/* What a call tells the fake backend to do; its form stands in fake.h. */

#include <stdbool.h>
#include <stdint.h>

#include <toolring/abi.h>

#include "base/buf.h"
#include "base/span.h"

#define FAKE_OUTPUT_BYTES_MAX (UINT32_C(64) << 20)
#define FAKE_WAIT_S_MAX       3600.0

enum fake_fate {
	FAKE_ANSWERS,
	FAKE_SLOT_DIES,
	FAKE_EXECUTOR_DIES,
	FAKE_HANGS,
};

/* Spans point into the call's arguments. */
struct fake_script {
	double wait_s;
	enum tr_verdict verdict;
	struct span error;
	uint32_t n_output;
	bool has_output;
	bool has_exit_code;
	bool has_stdout;
	bool has_stderr;
	uint8_t exit_code;
	uint8_t signal; /* 0: none */
	struct span stdout_text;
	struct span stderr_text;
	enum fake_fate fate;
	struct span argv; /* arguments.argv, packed; empty: there is none */
};

/* Reads a call's arguments, a packed map or empty. -EINVAL: arguments.fake makes no sense. */
int fake_script_parse(struct span arguments, struct fake_script *ret_script);

/* Appends argv's words to out, with a space between two. -EINVAL: not an array of strings; -ENOMEM. */
int fake_script_join_argv(const struct fake_script *script, struct buf *out);

/* How many members fake_script_write() writes, and at most how many bytes. */
uint32_t fake_script_n_members(const struct fake_script *script);
size_t fake_script_n_bytes(const struct fake_script *script);
/* Writes exit_code, signal, stdout and stderr, as far as the script has them, as members of a map. */
int fake_script_write(const struct fake_script *script, struct buf *out);

#endif
