/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/slot/files.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/decimal.h"
#include "tool/slot/cause.h"
#include "tool/slot/content.h"
#include "tool/slot/text.h"

/* ---- what is said ------------------------------------------------------------------------------ */

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
	const struct cause *cause = cause_of(error);
	size_t n;
	int r;

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
	r = content_load(fd, (size_t)file.st.st_size, texts->output);
	if (r < 0)
		return r;
	size = texts->output->n;
	r = content_make_text(texts->output, 0);
	if (r < 0)
		return r;
	return succeed(w, &file, size, texts, ret);
}

/* ---- writing ----------------------------------------------------------------------------------- */

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
	r = fd < 0 ? fd : content_store(fd, &file.st, content);
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
