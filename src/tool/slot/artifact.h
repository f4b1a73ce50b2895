/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOL_SLOT_ARTIFACT_H
#define TOOL_SLOT_ARTIFACT_H

/*
 * Artifacts: files and trees read from a slot, and put there. A struct workspace says below which
 * folder, and nothing outside of it is ever touched: "/workspace", or, for `anywhere`, "/" with the
 * rights of the process that asks. Reading and writing one file is short work and may be done by a
 * slot's init; lists, archives and unpacking are done in a process of a room that can be killed
 * (slot/job.c), and write to a descriptor as they go, with memory that does not grow with the tree.
 */

#include <stdbool.h>
#include <stdint.h>

#include <toolring/abi.h>

#include "base/buf.h"
#include "tool/slot/workspace.h"
#include "wire/slot.h"

#define ARTIFACT_ERROR_MAX 4096

/* How it went; is sent between processes as it stands. */
struct artifact_result {
	uint32_t verdict; /* enum tr_verdict */
	uint32_t flags;   /* SLOT_TRUNCATED, SLOT_NOT_FOUND, SLOT_MISUSED */
	uint64_t size;    /* as struct slot_reply has them */
	uint64_t file_size;
	uint64_t n_entries;
	uint8_t sha256[32];
	char error[ARTIFACT_ERROR_MAX]; /* valid UTF-8; "" if ok */
};

/* What is asked: fields of a struct slot_request. */
struct artifact_options {
	uint64_t n_bytes_max; /* READ: of content; ARCHIVE: of the archive; UNPACK: of all files */
	uint64_t n_entries_max;
	bool recursive;
	bool with_sha256;
	enum slot_format format; /* UNPACK: 0: found out */
	enum slot_encoding encoding;
};

/*
 * Appends the content to out, in the encoding asked for; out is to take what that may come to: of
 * n_bytes_max, 4/3 for BASE64, 4 times for TEXT. -errno: neither the call's nor the guest's fault (so
 * with all of these).
 */
int artifact_read(const struct workspace *w, struct span path, const struct artifact_options *o,
		  struct buf *out, struct artifact_result *ret);
/* Replaces a file's content with bytes, as files_write() does; makes the folders above. */
int artifact_write(const struct workspace *w, struct span path, struct span content,
		   const struct artifact_options *o, struct artifact_result *ret);
/*
 * Writes struct slot_entry rows to the descriptor out, in the order of artifact_walk.h. Paths are from
 * the workspace on, here as in archives.
 */
int artifact_list(const struct workspace *w, struct span path, const struct artifact_options *o,
		  int out, struct artifact_result *ret);
/* Writes an archive to the descriptor out. Files count as entries; folders are in it, too. */
int artifact_archive(const struct workspace *w, struct span path, const struct artifact_options *o,
		     int out, struct artifact_result *ret);
/* Unpacks the archive that the descriptor in gives into the folder path, which is made if need be. */
int artifact_unpack(const struct workspace *w, struct span path, const struct artifact_options *o,
		    int in, struct artifact_result *ret);

#endif
