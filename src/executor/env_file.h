/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXECUTOR_ENV_FILE_H
#define EXECUTOR_ENV_FILE_H

/*
 * Reads a .env file: lines of KEY=VALUE, blank lines, and comments that start with '#'.
 *
 *   export KEY=VALUE   the word export is allowed and ignored
 *   KEY = VALUE        space around key and value is dropped; " #" starts a comment
 *   KEY='VALUE'        as it stands
 *   KEY="VALUE"        \n \r \t \\ \" \$ \' \` are escapes; nothing is expanded
 *
 * A value ends with its line (LF or CRLF).
 */

#include <stddef.h>

#define ENV_FILE_BYTES_MAX (64 * 1024)

struct env_entry {
	char *key;
	char *value;
	unsigned int line;
};

struct env_file {
	struct env_entry *entries; /* as they stand in the file; of equal keys the last counts */
	size_t n_entries;
};

#define ENV_FILE_NULL ((struct env_file){0})

/*
 * 0, also if there is no such file (no entries then); -EINVAL: malformed, too large or not to be
 * read; -ENOMEM. On error a line of text names the file, the line and the cause.
 */
int env_file_read(struct env_file *f, const char *path, char *ret_error, size_t n_error);

/* The same for n bytes of text in memory; path is for the error alone. */
int env_file_parse(struct env_file *f, const char *path, const char *text, size_t n,
		   char *ret_error, size_t n_error);

void env_file_deinit(struct env_file *f);

/* The entry that counts for key; NULL if there is none. */
const struct env_entry *env_file_find(const struct env_file *f, const char *key);

#endif
