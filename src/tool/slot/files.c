/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/slot/files.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/decimal.h"
#include "base/utf8.h"
#include "tool/slot/text.h"

/* ---- what is said ------------------------------------------------------------------------------ */

struct cause {
	int error;
	enum tr_verdict verdict;
	const char *text; /* the path follows, but for what ends in none of ": " */
};

static const struct cause causes[] = {
	{EXDEV, TR_DENIED, "Access denied: path outside workspace"},
	{EINVAL, TR_INVALID, "Invalid path: it has a NUL byte"},
	{ENOENT, TR_FAILED, "File not found: "},
	{ENOTDIR, TR_FAILED, "Not a directory: "},
	{EISDIR, TR_FAILED, "Not a file: "},
	{EACCES, TR_FAILED, "Permission denied: "},
	{EPERM, TR_FAILED, "Permission denied: "},
	{EROFS, TR_FAILED, "Read-only file system: "},
	{ELOOP, TR_FAILED, "Too many levels of symbolic links: "},
	{EAGAIN, TR_FAILED, "File is busy: "},
	{ETXTBSY, TR_FAILED, "File is busy: "},
	{ENAMETOOLONG, TR_INVALID, "File name too long: "},
	{EMLINK, TR_LIMIT, "Too many files in a folder: "},
	{ENOSPC, TR_LIMIT, "No space left on device: "},
	{EDQUOT, TR_LIMIT, "No space left on device: "},
	{ENOMEM, TR_LIMIT, "No memory left for file: "},
	{EFBIG, TR_LIMIT, "File larger than allowed: "},
};

static int append_text(struct buf *b, const char *text)
{
	return buf_append(b, text, strlen(text));
}

static int append_number(struct buf *b, uint64_t number)
{
	char text[24] = "";

	decimal_append(text, sizeof(text), number);
	return append_text(b, text);
}

/* error: -errno of what went wrong with path. Forwards what is nobody's fault. */
static int refuse(int error, struct span path, struct file_texts *texts, struct file_result *ret)
{
	const struct cause *cause = NULL;
	size_t n;
	int r;

	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]) && !cause; i++)
		if (causes[i].error == -error)
			cause = &causes[i];
	if (!cause)
		return error;
	texts->output->n = 0;
	n = strlen(cause->text);
	r = buf_append(texts->error, cause->text, n);
	if (r == 0 && cause->text[n - 1] == ' ')
		r = path.n < PATH_MAX ? text_decode(texts->error, path)
				      : append_text(texts->error, "(the path)");
	*ret = (struct file_result){.verdict = cause->verdict};
	return r;
}

/* "WHAT too large: N bytes (max M)" */
static int refuse_size(const char *what, uint64_t n, uint64_t n_max, struct file_texts *texts,
		       struct file_result *ret)
{
	int r = append_text(texts->error, what);

	r = r ? r : append_number(texts->error, n);
	r = r ? r : append_text(texts->error, " bytes (max ");
	r = r ? r : append_number(texts->error, n_max);
	r = r ? r : append_text(texts->error, ")");
	*ret = (struct file_result){.verdict = TR_LIMIT};
	return r;
}

static int succeed(const struct workspace *w, const struct workspace_file *file, uint64_t size,
		   struct file_texts *texts, struct file_result *ret)
{
	int r = append_text(texts->resolved, w->path);

	if (r == 0 && file->path[0])
		r = append_text(texts->resolved, "/");
	r = r ? r : text_decode(texts->resolved, span_string(file->path));
	*ret = (struct file_result){.verdict = TR_OK, .size = size};
	return r;
}

static void texts_clear(struct file_texts *texts)
{
	buf_clear(texts->output);
	buf_clear(texts->error);
	buf_clear(texts->resolved);
}

/* ---- reading ----------------------------------------------------------------------------------- */

/* The first n bytes, or as many as are there. */
static int load(int fd, size_t n, struct buf *output)
{
	int r = buf_reserve(output, n);

	if (r < 0)
		return r;
	while (output->n < n) {
		ssize_t n_here = read(fd, output->data + output->n, n - output->n);

		if (n_here < 0 && errno == EINTR)
			continue;
		if (n_here < 0)
			return -errno;
		if (n_here == 0)
			break;
		output->n += (size_t)n_here;
	}
	return 0;
}

/* Makes the bytes in output text, in place if they are. */
static int make_text(struct buf *output)
{
	size_t n = output->n;
	int r;

	if (utf8_valid(span_of(output->data, n)))
		return 0;
	/* The room first: what is read from must not move. */
	r = buf_reserve(output, TEXT_BYTES_MAX(n));
	if (r < 0)
		return r;
	r = text_decode(output, span_of(output->data, n));
	assert(r == 0);
	output->n -= n;
	memmove(output->data, output->data + n, output->n);
	return 0;
}

int files_read(const struct workspace *w, struct span path, uint64_t n_max,
	       struct file_texts *texts, struct file_result *ret)
{
	struct workspace_file file;
	_cleanup_(cleanup_close) int fd = workspace_open(w, path, false, &file);
	uint64_t size;
	int r;

	texts_clear(texts);
	/* For who reads, a file below a file is just not there. */
	if (fd < 0)
		return refuse(fd == -ENOTDIR ? -ENOENT : fd, path, texts, ret);
	if ((uint64_t)file.st.st_size > n_max)
		return refuse_size("File too large: ", (uint64_t)file.st.st_size, n_max, texts,
				   ret);
	r = load(fd, (size_t)file.st.st_size, texts->output);
	if (r < 0)
		return r;
	size = texts->output->n;
	r = make_text(texts->output);
	if (r < 0)
		return r;
	return succeed(w, &file, size, texts, ret);
}

/* ---- writing ----------------------------------------------------------------------------------- */

/*
 * The space is taken first, with the old content in place: if there is not enough, nothing is lost.
 * Some file systems cannot do that.
 */
static int reserve_space(int fd, size_t n)
{
	int r;

	if (n == 0)
		return 0;
	do {
		r = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)n);
	} while (r < 0 && errno == EINTR);
	return r < 0 && errno != EOPNOTSUPP && errno != ENOSYS ? -errno : 0;
}

static int store(int fd, const struct stat *st, struct span content)
{
	size_t at = 0;
	int r = reserve_space(fd, content.n);

	if (r < 0)
		return r;
	while (at < content.n) {
		ssize_t n = write(fd, content.data + at, content.n - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += (size_t)n;
	}
	if ((uint64_t)st->st_size > content.n && ftruncate(fd, (off_t)content.n) < 0)
		return -errno;
	return 0;
}

int files_write(const struct workspace *w, struct span path, struct span content, uint64_t n_max,
		struct file_texts *texts, struct file_result *ret)
{
	_cleanup_(cleanup_close) int fd = -1;
	uint64_t n = text_count(content);
	struct workspace_file file;
	int r;

	texts_clear(texts);
	if (n > n_max)
		return refuse_size("Content too large: ", n, n_max, texts, ret);
	fd = workspace_open(w, path, true, &file);
	r = fd < 0 ? fd : store(fd, &file.st, content);
	if (r < 0)
		return refuse(r, path, texts, ret);
	r = append_text(texts->output, "Successfully wrote ");
	r = r ? r : append_number(texts->output, n);
	r = r ? r : append_text(texts->output, " bytes to ");
	r = r ? r : text_decode(texts->output, path);
	if (r < 0)
		return r;
	return succeed(w, &file, n, texts, ret);
}
