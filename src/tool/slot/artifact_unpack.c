/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Unpacking an archive that may be made to do harm, into a folder that guests may change meanwhile.
 *
 * Members see that folder as if it were a workspace: all that is made is made by a single name in a
 * folder of it that workspace_open_folder() found inside, so no symlink leads anything out, whether it
 * was there, came with the archive, or is put there in between. What would lead out, and what is no
 * file, folder or symlink, ends it all: what stands in the archive before it has been unpacked then.
 *
 * A member's size counts before anything of it is read. Folders get their modes and times at the end,
 * the last first: one that may not be written to can be filled, and filling does not change its time.
 */
#include "tool/slot/artifact.h"

#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tool/slot/artifact_say.h"
#include "tool/slot/artifact_source.h"

#define N_TRIES       16
#define N_FOLDERS_MAX (16 << 20) /* bytes of what is known of folders until the end */
#define NANOSECONDS   1000000000

/* A refusal that was said already. */
#define REFUSED 1

struct unpack {
	const struct workspace *target;
	const struct artifact_options *o;
	struct artifact_result *ret;
	struct source source;
	uint64_t n_entries;
	uint64_t n_bytes;
	struct buf folders; /* of each its path and then a struct folder_end */
	int parent;         /* open: of the member before */
	char parent_path[PATH_MAX];
};

struct folder_end {
	struct timespec mtime;
	size_t n_path;
	mode_t mode;
};

/* A member's path, without "." and doubled slashes, in two parts. */
struct place {
	char parent[PATH_MAX]; /* "": the folder itself */
	char name[PATH_MAX];   /* "": the member is the folder itself */
};

/* ---- what is refused --------------------------------------------------------------------------- */

static void say_how_far(struct unpack *u)
{
	artifact_say_more(u->ret, " (entries unpacked before: ");
	artifact_say_number(u->ret, u->n_entries);
	artifact_say_more(u->ret, ")");
}

static int refuse(struct unpack *u, enum tr_verdict verdict, const char *text, const char *name)
{
	artifact_say(u->ret, verdict, text, span_string(name));
	say_how_far(u);
	return REFUSED;
}

static int refuse_source(struct unpack *u, int error)
{
	if (error != -EBADMSG)
		return refuse(u, TR_LIMIT, "No memory left to unpack the archive", "");
	refuse(u, TR_INVALID, "Not a valid archive: ", u->source.error);
	u->ret->flags |= SLOT_MISUSED;
	return REFUSED;
}

static int refuse_number(struct unpack *u, const char *text, uint64_t number)
{
	artifact_say(u->ret, TR_LIMIT, text, span_of(NULL, 0));
	artifact_say_number(u->ret, number);
	artifact_say_more(u->ret, ")");
	say_how_far(u);
	return REFUSED;
}

/* Splits a name of the archive. NULL: fine; else what is wrong with it. */
static const char *split(const char *path, struct place *ret)
{
	size_t n_parent = 0, n_name = 0, n;

	if (!path || !*path)
		return "Refused a member without a name";
	if (*path == '/')
		return "Refused an absolute name: ";
	if (strlen(path) >= PATH_MAX)
		return "Refused a name that is too long: ";
	for (; *path; path += n) {
		n = strspn(path, "/");
		if (n)
			continue;
		n = strcspn(path, "/");
		if (n == 1 && path[0] == '.')
			continue;
		if (n == 2 && path[0] == '.' && path[1] == '.')
			return "Refused a name with \"..\": ";
		if (n_parent)
			ret->parent[n_parent++] = '/';
		memcpy(ret->parent + n_parent, ret->name, n_name);
		n_parent += n_name;
		memcpy(ret->name, path, n);
		n_name = n;
	}
	ret->parent[n_parent] = 0;
	ret->name[n_name] = 0;
	return NULL;
}

/* ---- making things ----------------------------------------------------------------------------- */

static void forget_parent(struct unpack *u)
{
	fd_close(&u->parent);
}

/* Opens and keeps the folder that the next thing is to be made in. */
static int open_parent(struct unpack *u, const char *path)
{
	struct workspace_file file;

	if (u->parent >= 0 && strcmp(u->parent_path, path) == 0)
		return 0;
	forget_parent(u);
	u->parent = workspace_open_folder(u->target, span_string(path), true, &file);
	if (u->parent < 0)
		return u->parent;
	strcpy(u->parent_path, path);
	return 0;
}

/* Takes what is in the way, if it is no folder. */
static int clear_way(struct unpack *u, const char *name)
{
	struct stat st;

	if (fstatat(u->parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	return unlinkat(u->parent, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static struct timespec mtime_of(struct archive_entry *member)
{
	struct timespec mtime = {.tv_nsec = UTIME_NOW};

	if (!archive_entry_mtime_is_set(member))
		return mtime;
	mtime.tv_sec = archive_entry_mtime(member);
	mtime.tv_nsec = archive_entry_mtime_nsec(member);
	if (mtime.tv_nsec < 0 || mtime.tv_nsec >= NANOSECONDS)
		mtime.tv_nsec = 0;
	return mtime;
}

static int write_at(int fd, struct span bytes, off_t offset)
{
	size_t at = 0;

	while (at < bytes.n) {
		ssize_t n = pwrite(fd, bytes.data + at, bytes.n - at, offset + (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += (size_t)n;
	}
	return 0;
}

static int put_content(struct unpack *u, int fd, int64_t size)
{
	struct span bytes;
	uint64_t offset;
	int r;

	while ((r = source_read(&u->source, &bytes, &offset)) == 1) {
		if (offset > (uint64_t)size || bytes.n > (uint64_t)size - offset)
			return refuse(u, TR_INVALID, "Not a valid archive: sizes differ", "");
		r = write_at(fd, bytes, (off_t)offset);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return refuse_source(u, r);
	return ftruncate(fd, size) < 0 ? -errno : 0;
}

static int put_file(struct unpack *u, const struct place *place, struct archive_entry *member)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, mtime_of(member)};
	_cleanup_(cleanup_close) int fd = -1;
	int r = 0;

	for (unsigned i = 0; fd < 0 && r == 0; i++) {
		fd = openat(u->parent, place->name,
			    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0)
			r = errno != EEXIST ? -errno
			    : i < N_TRIES   ? clear_way(u, place->name)
					    : -EAGAIN;
	}
	if (r < 0)
		return r;
	r = put_content(u, fd, archive_entry_size(member));
	if (r == 0 && fchmod(fd, archive_entry_perm(member) & 0777) < 0)
		r = -errno;
	if (r != 0) {
		unlinkat(u->parent, place->name, 0);
		return r;
	}
	/* A time that the file system cannot keep is no reason to fail. */
	futimens(fd, times);
	return 0;
}

/* Made by make, a single system call. */
static int put_link(struct unpack *u, const char *name, int (*make)(void *, int, const char *),
		    void *data)
{
	int r;

	for (unsigned i = 0;; i++) {
		if (make(data, u->parent, name) == 0)
			return 0;
		if (errno != EEXIST)
			return -errno;
		r = i < N_TRIES ? clear_way(u, name) : -EAGAIN;
		if (r < 0)
			return r;
	}
}

static int make_symlink(void *data, int folder, const char *name)
{
	return symlinkat(data, folder, name);
}

static int put_symlink(struct unpack *u, const struct place *place, struct archive_entry *member)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, mtime_of(member)};
	const char *text = archive_entry_symlink(member);
	char path[2 * PATH_MAX], leads_to[PATH_MAX];
	int r;

	if (!text || !*text)
		return refuse(u, TR_INVALID, "Refused a symlink to nothing: ", place->name);
	if (strlen(text) >= PATH_MAX)
		return -ENAMETOOLONG;
	path[0] = 0;
	if (*text != '/') {
		strcpy(path, place->parent);
		strcat(path, "/");
		if (!place->parent[0])
			path[0] = 0;
	}
	strcat(path, text);
	r = workspace_resolve(u->target, span_string(path), leads_to);
	if (r == -EXDEV)
		return refuse(u, TR_DENIED,
			      "Refused a symlink that leads out: ", archive_entry_pathname(member));
	if (r < 0)
		return r;
	memcpy(path, text, strlen(text) + 1);
	r = put_link(u, place->name, make_symlink, path);
	if (r == 0)
		utimensat(u->parent, place->name, times, AT_SYMLINK_NOFOLLOW);
	/* The folder before may be reached through it, or another now. */
	forget_parent(u);
	return r;
}

struct hard_link {
	int folder;
	const char *name;
};

static int make_hard_link(void *data, int folder, const char *name)
{
	const struct hard_link *link = data;

	return linkat(link->folder, link->name, folder, name, 0);
}

static int put_hard_link(struct unpack *u, const struct place *place, const char *name,
			 const char *path)
{
	_cleanup_(cleanup_close) int folder = -1;
	struct workspace_file file;
	struct place to;
	struct hard_link link;
	struct stat st, st_here;
	const char *wrong = split(path, &to);

	if (wrong)
		return refuse(u, TR_DENIED, "Refused a hard link that leads out: ", name);
	folder = workspace_open_folder(u->target, span_string(to.parent), false, &file);
	if (folder == -EXDEV)
		return refuse(u, TR_DENIED, "Refused a hard link that leads out: ", name);
	if (folder == -ENOENT)
		return refuse(u, TR_INVALID, "Refused a hard link to what is not there: ", name);
	if (folder < 0)
		return folder;
	if (fstatat(folder, to.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return refuse(u, TR_INVALID, "Refused a hard link to what is not there: ", name);
	if (!S_ISREG(st.st_mode))
		return refuse(u, TR_DENIED, "Refused a hard link to what is no file: ", name);
	/* Not to lose it: it may be the one in the way. */
	if (fstatat(u->parent, place->name, &st_here, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st_here.st_dev == st.st_dev && st_here.st_ino == st.st_ino)
		return 0;
	link = (struct hard_link){folder, to.name};
	return put_link(u, place->name, make_hard_link, &link);
}

/* ---- folders ----------------------------------------------------------------------------------- */

static int put_folder(struct unpack *u, const struct place *place, struct archive_entry *member)
{
	struct folder_end end = {
		.mtime = mtime_of(member),
		.mode = archive_entry_perm(member) & 0777,
	};
	_cleanup_(cleanup_close) int fd = -1;
	struct workspace_file file;
	char path[2 * PATH_MAX];

	strcpy(path, place->parent);
	if (path[0])
		strcat(path, "/");
	strcat(path, place->name);
	fd = workspace_open_folder(u->target, span_string(path), true, &file);
	if (fd < 0)
		return fd;
	end.n_path = strlen(path);
	if (buf_append(&u->folders, path, end.n_path) < 0 ||
	    buf_append(&u->folders, &end, sizeof(end)) < 0)
		return -ENOMEM;
	return 0;
}

/* What cannot be is left: such a folder is somebody else's, or gone by now. */
static void end_folders(struct unpack *u)
{
	struct workspace_file file;
	struct folder_end end;
	struct buf *b = &u->folders;

	while (b->n >= sizeof(end)) {
		_cleanup_(cleanup_close) int fd = -1;
		struct timespec times[2] = {{.tv_nsec = UTIME_NOW}};

		b->n -= sizeof(end);
		memcpy(&end, b->data + b->n, sizeof(end));
		b->n -= end.n_path;
		fd = workspace_open_folder(u->target, span_of(b->data + b->n, end.n_path), false,
					   &file);
		if (fd < 0 || fchmod(fd, end.mode) < 0)
			continue;
		times[1] = end.mtime;
		futimens(fd, times);
	}
}

/* ---- members ----------------------------------------------------------------------------------- */

static const char *what_is_wrong(struct archive_entry *member)
{
	if (archive_entry_perm(member) & (S_ISUID | S_ISGID))
		return "Refused a member with setuid or setgid: ";
	if (archive_entry_hardlink(member))
		return NULL;
	switch (archive_entry_filetype(member)) {
	case AE_IFREG:
	case AE_IFDIR:
	case AE_IFLNK:
		return NULL;
	case AE_IFCHR:
	case AE_IFBLK:
		return "Refused a device: ";
	case AE_IFIFO:
		return "Refused a FIFO: ";
	case AE_IFSOCK:
		return "Refused a socket: ";
	default:
		return "Refused a member of unknown kind: ";
	}
}

static int put(struct unpack *u, const struct place *place, struct archive_entry *member)
{
	const char *hard_link = archive_entry_hardlink(member);
	bool is_folder = !hard_link && archive_entry_filetype(member) == AE_IFDIR;
	int r;

	if (!place->name[0])
		return is_folder ? 0 : -EISDIR;
	if (is_folder)
		return put_folder(u, place, member);
	r = open_parent(u, place->parent);
	if (r < 0)
		return r;
	if (hard_link)
		return put_hard_link(u, place, archive_entry_pathname(member), hard_link);
	if (archive_entry_filetype(member) == AE_IFLNK)
		return put_symlink(u, place, member);
	return put_file(u, place, member);
}

static int unpack_member(struct unpack *u, struct archive_entry *member)
{
	const char *path = archive_entry_pathname(member);
	int64_t size = archive_entry_size(member);
	const char *wrong;
	struct place place;
	int r;

	if (u->n_entries == u->o->n_entries_max)
		return refuse_number(u, "Archive has too many entries (max ", u->n_entries);
	if (size < 0 || (uint64_t)size > u->o->n_bytes_max - u->n_bytes)
		return refuse_number(
			u, "Archive too large: its files have more bytes than allowed (max ",
			u->o->n_bytes_max);
	wrong = split(path, &place);
	if (!wrong)
		wrong = what_is_wrong(member);
	if (wrong)
		return refuse(u, TR_DENIED, wrong, path ? path : "");
	r = put(u, &place, member);
	if (r == -EXDEV)
		return refuse(u, TR_DENIED,
			      "Refused a member behind a symlink that leads out: ", path);
	if (r < 0) {
		r = artifact_refuse(u->ret, r, span_string(path));
		/* That is said of the folder which was asked for. */
		u->ret->flags &= ~(uint32_t)SLOT_NOT_FOUND;
		say_how_far(u);
		return r < 0 ? r : REFUSED;
	}
	if (r == 0) {
		u->n_entries++;
		u->n_bytes += (uint64_t)size;
	}
	return r;
}

/* ---- an archive -------------------------------------------------------------------------------- */

static int unpack(struct unpack *u, int in)
{
	struct archive_entry *member;
	int r = source_open(&u->source, in, u->o->format);

	if (r < 0)
		return refuse_source(u, r);
	for (;;) {
		r = source_next(&u->source, &member);
		if (r <= 0)
			return r < 0 ? refuse_source(u, r) : 0;
		r = unpack_member(u, member);
		if (r != 0)
			return r;
	}
}

int artifact_unpack(const struct workspace *w, struct span path, const struct artifact_options *o,
		    int in, struct artifact_result *ret)
{
	_cleanup_(cleanup_close) int fd = -1;
	char target_path[2 * PATH_MAX];
	struct workspace target;
	struct workspace_file file;
	struct unpack u;
	int r;

	memset(ret, 0, sizeof(*ret));
	fd = workspace_open_folder(w, path, true, &file);
	if (fd < 0)
		return artifact_refuse(ret, fd, path);
	strcpy(target_path, w->path);
	strcat(target_path, "/");
	strcat(target_path, file.path);
	target = (struct workspace){.fd = fd, .path = target_path};
	u = (struct unpack){.target = &target, .o = o, .ret = ret, .parent = -1};
	buf_init(&u.folders, N_FOLDERS_MAX);
	r = unpack(&u, in);
	end_folders(&u);
	ret->n_entries = u.n_entries;
	ret->size = u.n_bytes;
	forget_parent(&u);
	buf_deinit(&u.folders);
	source_deinit(&u.source);
	return r == REFUSED ? 0 : r;
}
