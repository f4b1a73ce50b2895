/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/slot/workspace.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#define N_LINKS_MAX   40 /* as the kernel */
#define N_LOOKUPS_MAX 4096
#define N_TRIES       32
#define HAS_LINKS     1 /* perhaps; of what is not to follow them */

/* ---- from the path that was given to one without symlinks -------------------------------------- */

/*
 * A path on its way: what is still to go stands at the end of left, where a symlink's text finds room
 * before it. done is where it has come to: outside of the workspace, in its n_outer first folders,
 * or, with all of them, in the workspace's folder done.
 */
struct walk {
	const struct workspace *w;
	size_t n_outer;
	size_t n_done;
	char *done; /* PATH_MAX */
	unsigned n_links;
	unsigned n_lookups;
	size_t at;
	char left[2 * PATH_MAX];
};

/* The next name of a path, at *at. n 0: there is none. */
static struct span next_name(const char *path, size_t n, size_t *at)
{
	size_t start;

	while (*at < n && path[*at] == '/')
		++*at;
	start = *at;
	while (*at < n && path[*at] != '/')
		++*at;
	return span_of(path + start, *at - start);
}

/* The name of the workspace's path with that number. n 0: it has no more. */
static struct span outer_name(const struct workspace *w, size_t number)
{
	size_t n = strlen(w->path), at = 0;
	struct span name;

	do {
		name = next_name(w->path, n, &at);
	} while (number-- && name.n);
	return name;
}

static bool is_inside(const struct walk *walk)
{
	return outer_name(walk->w, walk->n_outer).n == 0;
}

/* Puts text before what is left. */
static int go_first(struct walk *walk, const char *text, size_t n)
{
	if (n + 1 > walk->at)
		return -ENAMETOOLONG;
	walk->left[--walk->at] = '/';
	walk->at -= n;
	memcpy(walk->left + walk->at, text, n);
	if (n && text[0] == '/') {
		walk->n_outer = 0;
		walk->n_done = 0;
		walk->done[0] = 0;
	}
	return 0;
}

static void go_up(struct walk *walk)
{
	if (walk->n_done == 0) {
		walk->n_outer -= walk->n_outer > 0;
		return;
	}
	while (walk->n_done && walk->done[walk->n_done - 1] != '/')
		walk->n_done--;
	walk->n_done -= walk->n_done > 0;
	walk->done[walk->n_done] = 0;
}

static int go_down(struct walk *walk, struct span name)
{
	if (walk->n_done + name.n + 2 > PATH_MAX)
		return -ENAMETOOLONG;
	if (walk->n_done)
		walk->done[walk->n_done++] = '/';
	memcpy(walk->done + walk->n_done, name.data, name.n);
	walk->n_done += name.n;
	walk->done[walk->n_done] = 0;
	return 0;
}

static int open_beneath(int fd, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (unsigned)(flags | O_CLOEXEC | O_NOFOLLOW),
		.mode = mode,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long r = syscall(SYS_openat2, fd, *path ? path : ".", &how, sizeof(how));

	return r < 0 ? -errno : (int)r;
}

/* The symlink's text if done is one, and how long that is; 0: it is none, or is not there. */
static int look_up(struct walk *walk, char text[PATH_MAX])
{
	_cleanup_(cleanup_close) int fd = -1;
	struct stat st;
	ssize_t n;

	if (walk->n_lookups++ == N_LOOKUPS_MAX)
		return -ELOOP;
	fd = open_beneath(walk->w->fd, walk->done, O_PATH, 0);
	/* What is wrong with it says the one who opens it for good. */
	if (fd < 0)
		return fd == -ELOOP ? -EAGAIN : 0;
	if (fstat(fd, &st) < 0 || !S_ISLNK(st.st_mode))
		return 0;
	if (walk->n_links++ == N_LINKS_MAX)
		return -ELOOP;
	n = readlinkat(fd, "", text, PATH_MAX);
	if (n < 0)
		return -errno;
	return n < PATH_MAX ? (int)n : -ENAMETOOLONG;
}

static int step(struct walk *walk, struct span name, bool follow)
{
	char text[PATH_MAX];
	int r;

	if (span_is(name, "."))
		return 0;
	if (span_is(name, "..")) {
		/* Above a symlink's folder is something else than above its target. */
		if (!follow && walk->n_done)
			return HAS_LINKS;
		go_up(walk);
		return 0;
	}
	if (!is_inside(walk)) {
		if (!span_equal(name, outer_name(walk->w, walk->n_outer)))
			return -EXDEV;
		walk->n_outer++;
		return 0;
	}
	r = go_down(walk, name);
	if (r < 0 || !follow)
		return r;
	r = look_up(walk, text);
	if (r <= 0)
		return r;
	go_up(walk);
	return go_first(walk, text, (size_t)r);
}

/* Where path leads to. HAS_LINKS: cannot be told without following them. */
static int resolve(const struct workspace *w, struct span path, bool follow,
		   char ret_done[PATH_MAX])
{
	struct walk walk;
	struct span name;
	int r;

	/* Field by field: left is large. */
	walk.w = w;
	walk.n_outer = 0;
	walk.n_done = 0;
	walk.done = ret_done;
	walk.n_links = 0;
	walk.n_lookups = 0;
	walk.at = sizeof(walk.left);
	ret_done[0] = 0;
	while (outer_name(w, walk.n_outer).n)
		walk.n_outer++;
	r = go_first(&walk, (const char *)path.data, path.n);
	while (r == 0) {
		name = next_name(walk.left, sizeof(walk.left), &walk.at);
		if (name.n == 0)
			return is_inside(&walk) ? 0 : -EXDEV;
		r = step(&walk, name, follow);
	}
	return r;
}

/* ---- opening what has none --------------------------------------------------------------------- */

/* Why path is not to be opened for reading or writing. */
static int what_is_it(const struct workspace *w, const char *path)
{
	_cleanup_(cleanup_close) int fd = open_beneath(w->fd, path, O_PATH, 0);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return -ELOOP;
	return S_ISREG(st.st_mode) ? -EAGAIN : -EISDIR;
}

/*
 * A look first, since opening a FIFO would wake who waits at its other end. If it has become one
 * since, or was reached by a symlink, what is opened tells. A new file is never somebody else's.
 */
static int open_file(const struct workspace *w, const char *path, bool for_writing,
		     struct stat *ret_st)
{
	_cleanup_(cleanup_close) int fd = -1;
	int flags = O_NONBLOCK | O_NOCTTY | (for_writing ? O_WRONLY : O_RDONLY);
	struct stat st;
	int r = fstatat(w->fd, path, &st, AT_SYMLINK_NOFOLLOW);

	if (r < 0 && errno == ENOENT && for_writing && *path)
		flags |= O_CREAT | O_EXCL;
	else if (r < 0 || !S_ISREG(st.st_mode))
		return what_is_it(w, path);
	fd = open_beneath(w->fd, path, flags, flags & O_CREAT ? 0644 : 0);
	/* A fifo or socket by now, in which nobody reads. */
	if (fd == -ENXIO)
		return what_is_it(w, path);
	if (fd < 0)
		return fd == -EEXIST ? -EAGAIN : fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EISDIR;
	*ret_st = st;
	return fd_steal(&fd);
}

/* Those above path, and, if whole, path itself. */
static int make_folders(const struct workspace *w, const char *path, bool whole)
{
	_cleanup_(cleanup_close) int last = -1;

	for (; strchr(path, '/') || (whole && *path); path += *path == '/') {
		int in = last < 0 ? w->fd : last;
		size_t n = strcspn(path, "/");
		char name[NAME_MAX + 1];
		int fd;

		if (n > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(name, path, n);
		name[n] = 0;
		if (mkdirat(in, name, 0755) < 0 && errno != EEXIST)
			return -errno;
		fd = open_beneath(in, name, O_PATH | O_DIRECTORY, 0);
		if (fd < 0)
			return fd;
		fd_close(&last);
		last = fd;
		path += n;
	}
	return 0;
}

static int open_folder(const struct workspace *w, const char *path, struct stat *ret_st)
{
	_cleanup_(cleanup_close) int fd =
		open_beneath(w->fd, path, O_RDONLY | O_DIRECTORY | O_NOCTTY, 0);
	struct stat st;
	int r;

	/* What the kernel says of a symlink at the end, too. */
	if (fd == -ENOTDIR) {
		r = what_is_it(w, path);
		return r == -ELOOP ? r : -ENOTDIR;
	}
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	*ret_st = st;
	return fd_steal(&fd);
}

static int look(const struct workspace *w, const char *path, struct stat *ret_st)
{
	_cleanup_(cleanup_close) int fd = open_beneath(w->fd, path, O_PATH, 0);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return -ELOOP;
	*ret_st = st;
	return 0;
}

/* ---- both together ----------------------------------------------------------------------------- */

enum want {
	WANT_FILE,
	WANT_NEW_FILE, /* or one that is there, for writing */
	WANT_FOLDER,
	WANT_NEW_FOLDER,
	WANT_LOOK
};

static int get(const struct workspace *w, enum want want, struct workspace_file *ret)
{
	switch (want) {
	case WANT_FILE:
	case WANT_NEW_FILE:
		return open_file(w, ret->path, want == WANT_NEW_FILE, &ret->st);
	case WANT_FOLDER:
	case WANT_NEW_FOLDER:
		return open_folder(w, ret->path, &ret->st);
	case WANT_LOOK:
		break;
	}
	return look(w, ret->path, &ret->st);
}

static int check_path(struct span path)
{
	if (path.n >= PATH_MAX)
		return -ENAMETOOLONG;
	return path.n && memchr(path.data, 0, path.n) ? -EINVAL : 0;
}

static int find(const struct workspace *w, struct span path, enum want want,
		struct workspace_file *ret)
{
	bool make = want == WANT_NEW_FILE || want == WANT_NEW_FOLDER;
	bool follow = false;
	int r = check_path(path);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < N_TRIES; i++) {
		r = resolve(w, path, follow, ret->path);
		if (r == 0)
			r = get(w, want, ret);
		else if (r == HAS_LINKS)
			r = -ELOOP;
		else if (r != -EAGAIN)
			return r;
		if (r == -ENOENT && make) {
			r = make_folders(w, ret->path, want == WANT_NEW_FOLDER);
			if (r == 0)
				r = -EAGAIN;
		}
		if (r != -ELOOP && r != -EAGAIN)
			return r;
		follow = follow || r == -ELOOP;
	}
	return r;
}

int workspace_open(const struct workspace *w, struct span path, bool for_writing,
		   struct workspace_file *ret)
{
	return find(w, path, for_writing ? WANT_NEW_FILE : WANT_FILE, ret);
}

int workspace_open_folder(const struct workspace *w, struct span path, bool make,
			  struct workspace_file *ret)
{
	return find(w, path, make ? WANT_NEW_FOLDER : WANT_FOLDER, ret);
}

int workspace_look(const struct workspace *w, struct span path, struct workspace_file *ret)
{
	return find(w, path, WANT_LOOK, ret);
}

int workspace_resolve(const struct workspace *w, struct span path, char ret_path[PATH_MAX])
{
	int r = check_path(path);

	for (unsigned i = 0; r == 0 && i < N_TRIES; i++) {
		r = resolve(w, path, true, ret_path);
		if (r != -EAGAIN)
			break;
		r = i + 1 < N_TRIES ? 0 : r;
	}
	return r;
}
