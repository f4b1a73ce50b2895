/* SPDX-License-Identifier: Apache-2.0 */

/*
 * libarchive twice: one takes the compression off, the other one finds the members in what is left. So
 * the stream between them is in our hands: what libarchive takes from it before it shows a member, and
 * keeps, has no end with some kinds of sparse files, and 78 KB of an archive come to 1 GB of memory.
 */
#include "tool/slot/artifact_source.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>

#define N_PIECE      (1 << 16)
#define N_FILTERS    2         /* one compression, and the descriptor */
#define N_HEADER_MAX (2 << 20) /* libarchive itself takes names and the like of 1 MiB */

/* ARCHIVE_RETRY is none: it stands for a header with a wrong checksum, which is given all the same. */
static bool is_good(int r)
{
	return r == ARCHIVE_OK || r == ARCHIVE_WARN;
}

static int fail(struct source *s, struct archive *a)
{
	s->error = archive_error_string(a);
	if (!s->error)
		s->error = "unknown format";
	return archive_errno(a) == ENOMEM ? -ENOMEM : -EBADMSG;
}

/* A piece of the stream, for the other half. */
static la_ssize_t feed(struct archive *archive, void *data, const void **ret_bytes)
{
	struct source *s = data;
	int64_t offset;
	size_t n;
	int r = archive_read_data_block(s->stream, ret_bytes, &n, &offset);

	if (r == ARCHIVE_EOF)
		return 0;
	if (!is_good(r)) {
		archive_set_error(archive, archive_errno(s->stream), "%s",
				  archive_error_string(s->stream));
		return -1;
	}
	if (s->in_header && s->n_header >= N_HEADER_MAX) {
		archive_set_error(archive, EINVAL, "a member's header is too long");
		return -1;
	}
	s->n_header += n;
	return (la_ssize_t)n;
}

/* Nor one in another: that would be a bomb. */
static bool is_format(struct archive *stream, enum slot_format format)
{
	int code = archive_filter_code(stream, 0);
	enum slot_format is = code == ARCHIVE_FILTER_GZIP   ? SLOT_TAR_GZ
			      : code == ARCHIVE_FILTER_ZSTD ? SLOT_TAR_ZST
							    : SLOT_TAR;

	return archive_filter_count(stream) <= N_FILTERS && (!format || format == is);
}

int source_open(struct source *s, int in, enum slot_format format)
{
	struct archive_entry *all;

	*s = (struct source){.stream = archive_read_new(), .archive = archive_read_new()};
	if (!s->stream || !s->archive || archive_read_support_format_raw(s->stream) != ARCHIVE_OK ||
	    archive_read_support_filter_gzip(s->stream) != ARCHIVE_OK ||
	    archive_read_support_filter_zstd(s->stream) != ARCHIVE_OK ||
	    archive_read_support_format_tar(s->archive) != ARCHIVE_OK)
		return -ENOMEM;
	if (archive_read_open_fd(s->stream, in, N_PIECE) != ARCHIVE_OK)
		return fail(s, s->stream);
	if (!is_format(s->stream, format)) {
		s->error = "not of that format";
		return -EBADMSG;
	}
	if (!is_good(archive_read_next_header(s->stream, &all)))
		return fail(s, s->stream);
	s->in_header = true;
	if (archive_read_open(s->archive, s, NULL, feed, NULL) != ARCHIVE_OK)
		return fail(s, s->archive);
	s->in_header = false;
	return 0;
}

void source_deinit(struct source *s)
{
	archive_read_free(s->archive);
	archive_read_free(s->stream);
	*s = (struct source){.stream = NULL};
}

int source_next(struct source *s, struct archive_entry **ret_member)
{
	int r;

	/* What belongs to none that was read, as a link's content: it is no part of the next header. */
	if (archive_file_count(s->archive) && !is_good(archive_read_data_skip(s->archive)))
		return fail(s, s->archive);
	s->n_header = 0;
	s->in_header = true;
	r = archive_read_next_header(s->archive, ret_member);
	s->in_header = false;
	if (r == ARCHIVE_EOF)
		return 0;
	return is_good(r) ? 1 : fail(s, s->archive);
}

int source_read(struct source *s, struct span *ret_bytes, uint64_t *ret_offset)
{
	const void *bytes;
	int64_t offset;
	size_t n;
	int r = archive_read_data_block(s->archive, &bytes, &n, &offset);

	if (r == ARCHIVE_EOF)
		return 0;
	if (!is_good(r))
		return fail(s, s->archive);
	*ret_bytes = span_of(bytes, n);
	/* One below zero is then beyond all sizes. */
	*ret_offset = (uint64_t)offset;
	return 1;
}
