/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOL_SLOT_WORKSPACE_H
#define TOOL_SLOT_WORKSPACE_H

/*
 * Paths that a guest gave, opened below the workspace and nowhere else, whatever the guest's
 * processes do to the folders meanwhile.
 *
 * What is opened is always named from the workspace's own descriptor, by a path without any symlink or
 * "..", which the kernel holds to (openat2). Symlinks are worked out here, as text, and only below
 * the workspace: a path that leaves it is refused at the first name outside, before anything there is
 * looked at. So a symlink swapped in at the wrong moment costs a retry, never more.
 */

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "base/span.h"

struct workspace {
	int fd;           /* O_PATH will do */
	const char *path; /* inside: "/workspace"; nothing of it is a symlink */
};

struct workspace_file {
	char path[PATH_MAX]; /* from the workspace on, without symlinks; "": the workspace itself */
	struct stat st;
};

/*
 * Opens a regular file at path, which is absolute or relative to the workspace; for writing makes it
 * and the folders above it if need be, and leaves its content alone. Nothing else than a regular
 * file is ever opened, and nobody is waited for. Returns its descriptor or -errno, among them:
 *   -EINVAL  a NUL in path                 -EXDEV        outside of the workspace
 *   -EISDIR  not a regular file            -ENAMETOOLONG
 *   -ELOOP   too many symlinks             -EAGAIN       in use, or changed all the time
 */
int workspace_open(const struct workspace *w, struct span path, bool for_writing,
		   struct workspace_file *ret);

/* Opens a folder for reading; make: makes it if need be. -ENOTDIR: is none. Else as above. */
int workspace_open_folder(const struct workspace *w, struct span path, bool make,
			  struct workspace_file *ret);

/* What lies at path, whichever it is, symlinks followed. 0 or as above. */
int workspace_look(const struct workspace *w, struct span path, struct workspace_file *ret);

/* Where path leads to as things are, though there may be nothing. 0 or as above. */
int workspace_resolve(const struct workspace *w, struct span path, char ret_path[PATH_MAX]);

#endif
