/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOL_SLOT_ARTIFACT_WALK_H
#define TOOL_SLOT_ARTIFACT_WALK_H

/*
 * The files and folders at a path, one after another, in an order that depends on their names alone:
 * of each folder first the folders in it, then the files, each by name; then what is in the folders. A
 * walk that is not recursive gives them all by name.
 *
 * A symlink stands for what it leads to, as a folder of which nothing more is told; there is none
 * for one that leads out of the workspace or nowhere. Neither is there for a FIFO, socket or device.
 */

#include "tool/slot/workspace.h"

struct walk_entry {
	const char *path; /* from the workspace on */
	const char *name; /* its last part */
	bool is_folder;
	bool is_symlink; /* which led there */
	int folder;      /* that it lies in, open; -1: it is what the walk was asked for */
};

enum walk_said {
	WALK_ON,
	WALK_NONE, /* there is no such entry any more: it does not count */
};

struct walk_options {
	bool recursive;
	bool all;      /* a folder that cannot be read is an error */
	bool together; /* n_folders_max says nothing: both count as files */
	uint64_t n_files_max;
	uint64_t n_folders_max;
	/* enum walk_said or -errno, which ends the walk */
	int (*tell)(void *data, const struct walk_entry *entry);
	void *data;
};

/*
 * *ret_path (PATH_MAX bytes): of what -errno is about; "": of the path given. *ret_more: there was
 * more. Needs memory for as many names as it may give, however many there are.
 */
int artifact_walk(const struct workspace *w, struct span path, const struct walk_options *o,
		  char *ret_path, bool *ret_more);

/* As fstat(), with -errno: of where a symlink leads to, too. */
int walk_look(const struct workspace *w, const struct walk_entry *entry, struct stat *ret_st);
/* Opens a file for reading. -errno, as workspace_open(). */
int walk_open(const struct workspace *w, const struct walk_entry *entry, struct stat *ret_st);

#endif
