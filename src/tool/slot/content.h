/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOL_SLOT_CONTENT_H
#define TOOL_SLOT_CONTENT_H

/* The content of an open file, read and replaced. */

#include <sys/stat.h>

#include "base/buf.h"
#include "base/span.h"

/* Appends the next n bytes, or as many as are there. */
int content_load(int fd, size_t n, struct buf *out);

/* Makes the bytes that stand in out from there on text. It is to take 3 times as many more. */
int content_make_text(struct buf *out, size_t from);

/*
 * Replaces the content of a file that was as st says. The space is taken first, with the old content
 * in place: if there is not enough, nothing is lost. Some file systems cannot do that.
 */
int content_store(int fd, const struct stat *st, struct span content);

#endif
