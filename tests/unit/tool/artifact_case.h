/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TOOL_ARTIFACT_CASE_H
#define TESTS_UNIT_TOOL_ARTIFACT_CASE_H

/*
 * Artifacts in the folder of files_case.h: lists and archives as one line of text each, and archives
 * to unpack, made of any members.
 */

#include "files_case.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/mman.h>

#include "tool/slot/artifact.h"

#define N_LINE 16384
#define MTIME  1234567890

static struct artifact_result result;

static inline struct artifact_options options_of(uint64_t n_bytes_max, uint64_t n_entries_max)
{
	return (struct artifact_options){
		.n_bytes_max = n_bytes_max,
		.n_entries_max = n_entries_max,
		.recursive = true,
		.format = SLOT_TAR_GZ,
		.encoding = SLOT_BYTES,
	};
}

static inline int memory_file(void)
{
	int fd = memfd_create("out", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* A call's end: an error is told if and only if it failed, and is text. */
static inline enum tr_verdict checked(int r)
{
	assert_int_equal(r, 0);
	assert_true(memchr(result.error, 0, sizeof(result.error)) != NULL);
	assert_true(utf8_valid(span_string(result.error)));
	assert_true((result.verdict == TR_OK) == (result.error[0] == 0));
	return (enum tr_verdict)result.verdict;
}

static inline void check_error(enum tr_verdict verdict, const char *text)
{
	if (strcmp(result.error, text) != 0)
		fail_msg("\"%s\" instead of \"%s\"", result.error, text);
	assert_int_equal(result.verdict, verdict);
}

static inline void check_error_prefix(enum tr_verdict verdict, const char *text)
{
	if (strncmp(result.error, text, strlen(text)) != 0)
		fail_msg("\"%s\" instead of \"%s...\"", result.error, text);
	assert_int_equal(result.verdict, verdict);
}

static inline void make_folder(struct scene *s, const char *name)
{
	assert_int_equal(mkdirat(s->w.fd, name, 0755), 0);
}

static inline void put_text(struct scene *s, const char *name, const char *text)
{
	put(s, name, text, strlen(text));
}

/* ---- lists ------------------------------------------------------------------------------------- */

/* "d/ f=3 ": folders, and files with their sizes. */
static inline void rows_as_line(int fd, char line[N_LINE])
{
	off_t n = lseek(fd, 0, SEEK_END), at = 0;
	struct slot_entry row;
	uint64_t n_rows = 0;
	char *bytes = malloc((size_t)n + 1);

	assert_non_null(bytes);
	assert_int_equal(pread(fd, bytes, (size_t)n, 0), n);
	line[0] = 0;
	while (at < n) {
		size_t n_line = strlen(line);

		assert_true((size_t)(n - at) >= sizeof(row));
		memcpy(&row, bytes + at, sizeof(row));
		at += (off_t)sizeof(row);
		assert_true(row.n_path <= n - at);
		assert_true(utf8_valid(span_of(bytes + at, row.n_path)));
		assert_true(row.mtime_ns > 0);
		if (n_line + row.n_path + 32 < N_LINE)
			sprintf(line + n_line, row.is_dir ? "%.*s/ " : "%.*s=%u ", row.n_path,
				bytes + at, (unsigned)row.size);
		at += row.n_path;
		n_rows++;
	}
	assert_int_equal(n_rows, result.n_entries);
	free(bytes);
}

static inline enum tr_verdict list_of(struct scene *s, const char *path, bool recursive,
				      uint64_t n_max, char line[N_LINE])
{
	struct artifact_options o = options_of(0, n_max);
	enum tr_verdict verdict;
	int out = memory_file();

	o.recursive = recursive;
	verdict = checked(artifact_list(&s->w, span_string(path), &o, out, &result));
	line[0] = 0;
	if (verdict == TR_OK)
		rows_as_line(out, line);
	close(out);
	return verdict;
}

static inline void check_list(struct scene *s, const char *path, bool recursive,
			      const char *expected)
{
	char line[N_LINE];

	assert_int_equal(list_of(s, path, recursive, 1000, line), TR_OK);
	assert_string_equal(line, expected);
	assert_int_equal(result.flags, 0);
}

/* ---- archives ---------------------------------------------------------------------------------- */

/* "d/ f=content ", as libarchive reads it; also checks what holds for all of our members. */
static inline void archive_as_line(int fd, char line[N_LINE])
{
	struct archive *a = archive_read_new();
	struct archive_entry *member;
	char content[64];
	la_ssize_t n;
	int r;

	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	archive_read_support_format_tar(a);
	archive_read_support_filter_gzip(a);
	archive_read_support_filter_zstd(a);
	assert_int_equal(archive_read_open_fd(a, fd, 4096), ARCHIVE_OK);
	line[0] = 0;
	while ((r = archive_read_next_header(a, &member)) != ARCHIVE_EOF) {
		size_t n_line = strlen(line);
		bool is_folder = archive_entry_filetype(member) == AE_IFDIR;

		assert_true(r >= ARCHIVE_WARN);
		assert_int_equal(archive_entry_uid(member), 0);
		assert_int_equal(archive_entry_gid(member), 0);
		assert_int_equal(archive_entry_perm(member) & ~0777U, 0);
		n = archive_read_data(a, content, sizeof(content));
		assert_true(n >= 0);
		if (n_line + strlen(archive_entry_pathname(member)) + 80 < N_LINE)
			sprintf(line + n_line, is_folder ? "%s " : "%s=%.*s ",
				archive_entry_pathname(member), (int)n, content);
	}
	archive_read_free(a);
}

static inline enum tr_verdict archive_of(struct scene *s, const char *path,
					 struct artifact_options o, int out)
{
	enum tr_verdict verdict =
		checked(artifact_archive(&s->w, span_string(path), &o, out, &result));

	if (verdict == TR_OK)
		assert_int_equal(lseek(out, 0, SEEK_END), result.size);
	assert_true(lseek(out, 0, SEEK_END) <= (off_t)o.n_bytes_max);
	return verdict;
}

static inline void check_archive(struct scene *s, const char *path, const char *expected)
{
	char line[N_LINE];
	int out = memory_file();

	assert_int_equal(archive_of(s, path, options_of(1 << 20, 1000), out), TR_OK);
	archive_as_line(out, line);
	assert_string_equal(line, expected);
	assert_int_equal(result.flags, 0);
	close(out);
}

/* ---- archives to unpack ------------------------------------------------------------------------ */

struct member {
	const char *name;
	unsigned type;    /* AE_IFREG, ...; 0: a hard link */
	const char *text; /* content, or where it leads to */
	unsigned mode;    /* 0: 0644 */
};

static inline void add_member(struct archive *a, const struct member *m)
{
	struct archive_entry *entry = archive_entry_new();
	size_t n = m->type == AE_IFREG && m->text ? strlen(m->text) : 0;

	archive_entry_copy_pathname(entry, m->name);
	archive_entry_set_filetype(entry, m->type ? m->type : AE_IFREG);
	archive_entry_set_perm(entry, m->mode ? m->mode : 0644);
	archive_entry_set_mtime(entry, MTIME, 0);
	archive_entry_set_size(entry, (la_int64_t)n);
	if (m->type == AE_IFLNK)
		archive_entry_copy_symlink(entry, m->text);
	if (m->type == 0)
		archive_entry_copy_hardlink(entry, m->text);
	assert_true(archive_write_header(a, entry) >= ARCHIVE_WARN);
	if (n)
		assert_int_equal(archive_write_data(a, m->text, n), n);
	archive_entry_free(entry);
}

static inline int make_archive(const struct member *members, size_t n, enum slot_format format)
{
	struct archive *a = archive_write_new();
	int fd = memory_file();

	archive_write_set_format_gnutar(a);
	if (format == SLOT_TAR_GZ)
		archive_write_add_filter_gzip(a);
	if (format == SLOT_TAR_ZST)
		archive_write_add_filter_zstd(a);
	assert_int_equal(archive_write_open_fd(a, fd), ARCHIVE_OK);
	for (size_t i = 0; i < n; i++)
		add_member(a, &members[i]);
	assert_int_equal(archive_write_free(a), ARCHIVE_OK);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

/* Closes in. */
static inline enum tr_verdict unpack_fd(struct scene *s, const char *path,
					struct artifact_options o, int in)
{
	enum tr_verdict verdict;

	assert_int_equal(lseek(in, 0, SEEK_SET), 0);
	verdict = checked(artifact_unpack(&s->w, span_string(path), &o, in, &result));
	close(in);
	return verdict;
}

static inline enum tr_verdict unpack_members(struct scene *s, const char *path,
					     const struct member *members, size_t n)
{
	struct artifact_options o = options_of(1 << 20, 1000);

	o.format = 0;
	return unpack_fd(s, path, o, make_archive(members, n, SLOT_TAR_GZ));
}

/* NULL: there is none. */
static inline void check_content(struct scene *s, const char *path, const char *expected)
{
	int fd = openat(s->w.fd, path, O_RDONLY | O_CLOEXEC);
	char content[256] = "";

	if (!expected) {
		assert_int_equal(fd, -1);
		return;
	}
	assert_true(fd >= 0);
	assert_true(read(fd, content, sizeof(content) - 1) >= 0);
	close(fd);
	assert_string_equal(content, expected);
}

#endif
