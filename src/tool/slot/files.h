/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOL_SLOT_FILES_H
#define TOOL_SLOT_FILES_H

/* The tools read_file and write_file, run in the slot by its init with the guest's file system ids. */

#include <stdint.h>

#include <toolring/abi.h>

#include "base/buf.h"
#include "tool/slot/workspace.h"

struct file_result {
	enum tr_verdict verdict;
	uint64_t size; /* ok: bytes of what was read, characters of what was written; else 0 */
};

/* What is said of it: valid UTF-8, from the buffers' beginning. */
struct file_texts {
	struct buf *output;
	struct buf *error;    /* n 0 if ok; at most SLOT_TEXT_MAX */
	struct buf *resolved; /* the path as it is, e.g. "/workspace/a"; n 0 unless ok. As large. */
};

/*
 * The content of a file of at most n_max bytes; output is to take 4 times as many. -errno: neither
 * the call's nor the guest's fault.
 */
int files_read(const struct workspace *w, struct span path, uint64_t n_max,
	       struct file_texts *texts, struct file_result *ret);

/*
 * Replaces a file's content, n_max characters at most. Where there is no space for it, or it may not
 * be written, what was there before still is.
 */
int files_write(const struct workspace *w, struct span path, struct span content, uint64_t n_max,
		struct file_texts *texts, struct file_result *ret);

#endif
