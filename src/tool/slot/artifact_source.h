/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOL_SLOT_ARTIFACT_SOURCE_H
#define TOOL_SLOT_ARTIFACT_SOURCE_H

/* An archive that comes in, member after member: tar, plain or compressed by gzip or zstd, only. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "wire/slot.h"

struct archive;
struct archive_entry;

struct source {
	struct archive *stream;  /* what the descriptor gives, without its compression */
	struct archive *archive; /* the members in it */
	const char *error;       /* with -EBADMSG: what is wrong; good as long as this is */
	size_t n_header;         /* bytes read to get at a member */
	bool in_header;
};

/* format 0: any of them. 0, -ENOMEM, -EBADMSG. source_deinit() must follow. */
int source_open(struct source *s, int in, enum slot_format format);
void source_deinit(struct source *s);
/* 1: *ret_member, good until the next; 0: there are no more; -errno as above. */
int source_next(struct source *s, struct archive_entry **ret_member);
/* 1: a piece of the member's content, which stands at *ret_offset; 0: there is no more; -errno. */
int source_read(struct source *s, struct span *ret_bytes, uint64_t *ret_offset);

#endif
