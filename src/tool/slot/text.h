/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOL_SLOT_TEXT_H
#define TOOL_SLOT_TEXT_H

/*
 * Bytes of guests as text: valid UTF-8, in which what was none stands as U+FFFD, once for each
 * longest beginning of a character (as Python's errors='replace', and as Unicode recommends).
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

/* Bytes that may come of n, at most. */
#define TEXT_BYTES_MAX(n) (3 * (n))

int text_decode(struct buf *out, struct span bytes);

/* Characters that text_decode() makes of it. */
uint64_t text_count(struct span bytes);

/*
 * What the tool bash shows of a command's two streams: of each at most n_max characters and then, if
 * there was more, "\n... (output truncated)"; between them, if both said something,
 * "\n[stderr]\n"; no white space around it all. 4 * n_max captured bytes of a stream are always
 * enough; more: it had more than those. out is to take twice 4 * n_max bytes and 64.
 */
struct text_stream {
	struct span bytes;
	bool more;
	bool is_cut; /* set by text_show(): the note stands behind it */
};
int text_show(struct buf *out, struct text_stream *standard, struct text_stream *errors,
	      uint64_t n_max);

#endif
