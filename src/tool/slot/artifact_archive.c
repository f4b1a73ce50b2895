/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A tar archive of a tree, written as the tree is walked. Files may change meanwhile: each member is
 * as long as its file was when it was opened, cut off or filled up with zeros if the file does not
 * stay so. Owners do not stand in it, and modes only as far as artifact_unpack() takes them.
 *
 * It is GNU's tar format, which every tar reads: names are the bytes they are there, of any length. In
 * pax they are UTF-8, to which libarchive would convert them from whatever the locale says.
 */
#include "tool/slot/artifact.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tool/slot/artifact_say.h"
#include "tool/slot/artifact_walk.h"

#define N_PIECE        (1 << 16)
#define N_FOLDERS_MORE 4096 /* than files: a limit of few is on files, wherever they lie */

struct job {
	const struct workspace *w;
	struct archive *archive;
	struct archive_entry *member;
	int out;
	uint64_t n_max;
	uint64_t n_written;
	uint64_t n_files;
	bool too_large;
	bool closed;
	bool over;  /* what is still written is not wanted */
	int broken; /* -errno of out, or of the archive */
	uint8_t piece[N_PIECE];
};

static la_ssize_t take(struct archive *archive, void *data, const void *bytes, size_t n)
{
	struct job *job = data;
	ssize_t n_here;

	(void)archive;
	if (job->over)
		return (la_ssize_t)n;
	if (n > job->n_max - job->n_written) {
		job->n_written += n;
		job->too_large = true;
		return -1;
	}
	do {
		n_here = write(job->out, bytes, n);
	} while (n_here < 0 && errno == EINTR);
	if (n_here <= 0) {
		job->broken = n_here < 0 ? -errno : -EIO;
		return -1;
	}
	job->n_written += (size_t)n_here;
	return n_here;
}

/* Why the archive did not take what it was given. */
static int why(struct job *job)
{
	if (job->too_large)
		return -EFBIG;
	if (job->broken == 0)
		job->broken = archive_errno(job->archive) == ENOMEM ? -ENOMEM : -EIO;
	return job->broken;
}

static bool is_good(int r)
{
	return r == ARCHIVE_OK || r == ARCHIVE_WARN;
}

static int open_archive(struct job *job, enum slot_format format)
{
	struct archive *a = job->archive = archive_write_new();
	int r;

	job->member = archive_entry_new();
	if (!a || !job->member)
		return -ENOMEM;
	r = archive_write_set_format_gnutar(a);
	if (r == ARCHIVE_OK && format == SLOT_TAR_GZ)
		r = archive_write_add_filter_gzip(a);
	if (r == ARCHIVE_OK && format == SLOT_TAR_GZ)
		r = archive_write_set_filter_option(a, "gzip", "compression-level", "6");
	/* The same tree gives the same archive. */
	if (r == ARCHIVE_OK && format == SLOT_TAR_GZ)
		r = archive_write_set_filter_option(a, "gzip", "timestamp", NULL);
	if (r == ARCHIVE_OK && format == SLOT_TAR_ZST)
		r = archive_write_add_filter_zstd(a);
	if (r == ARCHIVE_OK)
		r = archive_write_set_bytes_per_block(a, N_PIECE);
	if (r == ARCHIVE_OK)
		r = archive_write_set_bytes_in_last_block(a, 1);
	if (r == ARCHIVE_OK)
		r = archive_write_open(a, job, NULL, take, NULL);
	return r == ARCHIVE_OK ? 0 : why(job);
}

static int put_header(struct job *job, const struct walk_entry *entry, const struct stat *st)
{
	struct archive_entry *member = archive_entry_clear(job->member);

	archive_entry_copy_pathname(member, entry->path);
	archive_entry_set_filetype(member, entry->is_folder ? AE_IFDIR : AE_IFREG);
	archive_entry_set_perm(member, st->st_mode & 0777);
	archive_entry_set_mtime(member, st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	archive_entry_set_size(member, entry->is_folder ? 0 : st->st_size);
	return is_good(archive_write_header(job->archive, member)) ? 0 : why(job);
}

/* n bytes of the file, or as many as are there; the archive fills up what is missing. */
static int put_content(struct job *job, int fd, uint64_t n)
{
	while (n) {
		ssize_t n_here = read(fd, job->piece, n < N_PIECE ? (size_t)n : N_PIECE);

		if (n_here < 0 && errno == EINTR)
			continue;
		if (n_here <= 0)
			return n_here < 0 ? -errno : 0;
		if (archive_write_data(job->archive, job->piece, (size_t)n_here) < 0)
			return why(job);
		n -= (uint64_t)n_here;
	}
	return 0;
}

static bool is_gone(int error)
{
	return error == -ENOENT || error == -ENOTDIR || error == -EISDIR || error == -ELOOP ||
	       error == -EXDEV || error == -ENXIO;
}

static int put_file(struct job *job, const struct walk_entry *entry)
{
	struct stat st;
	_cleanup_(cleanup_close) int fd = walk_open(job->w, entry, &st);
	int r;

	if (fd < 0)
		return is_gone(fd) ? WALK_NONE : fd;
	r = put_header(job, entry, &st);
	if (r == 0)
		r = put_content(job, fd, (uint64_t)st.st_size);
	if (r == 0 && !is_good(archive_write_finish_entry(job->archive)))
		r = why(job);
	if (r < 0)
		return r;
	job->n_files++;
	return WALK_ON;
}

/* What is behind a symlink to a folder stands elsewhere in the archive, or is not wanted. */
static int tell(void *data, const struct walk_entry *entry)
{
	struct job *job = data;
	struct stat st;
	int r;

	if (!entry->is_folder)
		return put_file(job, entry);
	if (entry->is_symlink || walk_look(job->w, entry, &st) < 0 || !S_ISDIR(st.st_mode))
		return WALK_NONE;
	r = put_header(job, entry, &st);
	return r < 0 ? r : WALK_ON;
}

/*
 * Also one that failed, in the middle of a member perhaps, which then must not be filled up. That
 * libarchive forgets what its filters hold of such a one unless it is closed is what this order is for.
 */
static void close_archive(struct job *job)
{
	job->over = true;
	archive_entry_free(job->member);
	if (job->archive && !job->closed) {
		archive_write_fail(job->archive);
		archive_write_close(job->archive);
	}
	archive_write_free(job->archive);
}

static int answer(struct job *job, int r, struct span path, uint64_t n_max,
		  struct artifact_result *ret)
{
	if (job->too_large) {
		artifact_say(ret, TR_LIMIT, "Archive too large: ", span_of(NULL, 0));
		artifact_say_number(ret, job->n_written);
		artifact_say_more(ret, " bytes and more (max ");
		artifact_say_number(ret, n_max);
		artifact_say_more(ret, ")");
		return 0;
	}
	if (job->broken < 0)
		return job->broken;
	return artifact_refuse(ret, r, path);
}

int artifact_archive(const struct workspace *w, struct span path, const struct artifact_options *o,
		     int out, struct artifact_result *ret)
{
	struct job job;
	struct walk_options options = {
		.recursive = true,
		.all = true,
		.n_files_max = o->n_entries_max,
		.n_folders_max = o->n_entries_max < UINT64_MAX - N_FOLDERS_MORE
					 ? o->n_entries_max + N_FOLDERS_MORE
					 : UINT64_MAX,
		.tell = tell,
		.data = &job,
	};
	char where[PATH_MAX] = "";
	bool more = false;
	int r;

	memset(ret, 0, sizeof(*ret));
	/* All but the piece, which is large. */
	memset(&job, 0, offsetof(struct job, piece));
	job.w = w;
	job.out = out;
	job.n_max = o->n_bytes_max;
	r = open_archive(&job, o->format);
	if (r == 0)
		r = artifact_walk(w, path, &options, where, &more);
	if (r == 0) {
		job.closed = is_good(archive_write_close(job.archive));
		r = job.closed ? 0 : why(&job);
	}
	if (r < 0)
		r = answer(&job, r, where[0] ? span_string(where) : path, o->n_bytes_max, ret);
	else {
		ret->flags = more ? SLOT_TRUNCATED : 0;
		ret->n_entries = job.n_files;
		ret->size = job.n_written;
	}
	close_archive(&job);
	return r;
}
