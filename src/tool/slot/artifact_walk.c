/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The tree may change at any moment, by guests who mean it. So nothing is remembered but names: a
 * folder is found anew by its whole path when its turn comes, and one that is a symlink or gone by
 * then has nothing in it. What is in a folder is found by its descriptor, and no symlink followed.
 *
 * Of a folder with more entries than may be told, those of the lowest names are kept, in a heap; and
 * of the folders on the way down, only their own folders that were told. So there are never more
 * names in memory than twice as many as may be told.
 */
#include "tool/slot/artifact_walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define N_MAX (UINT64_C(1) << 32) /* of each sort, whatever was asked for */

/* ---- names ------------------------------------------------------------------------------------- */

/* What stands before a name. */
enum kind {
	KIND_FILE = 'f',
	KIND_FOLDER = 'd',
	KIND_LINK_TO_FILE = 'F',
	KIND_LINK_TO_FOLDER = 'D',
	KIND_NONE = 0,
};

/* The lowest n_max of those that were put in; the highest stands in front (until they are sorted). */
struct names {
	char **names;
	size_t n;
	size_t size;
	uint64_t n_max;
	bool more; /* there was one that did not fit */
};

static void names_deinit(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->names[i]);
	free(names->names);
	*names = (struct names){.n_max = names->n_max};
}

static bool is_higher(const char *a, const char *b)
{
	return strcmp(a + 1, b + 1) > 0;
}

static void sink(struct names *names)
{
	size_t at = 0, high;
	char *name;

	for (;; at = high) {
		high = 2 * at + 1;
		if (high >= names->n)
			return;
		if (high + 1 < names->n && is_higher(names->names[high + 1], names->names[high]))
			high++;
		if (!is_higher(names->names[high], names->names[at]))
			return;
		name = names->names[at];
		names->names[at] = names->names[high];
		names->names[high] = name;
	}
}

static void rise(struct names *names)
{
	size_t at = names->n - 1, above;
	char *name;

	for (; at && is_higher(names->names[at], names->names[above = (at - 1) / 2]); at = above) {
		name = names->names[at];
		names->names[at] = names->names[above];
		names->names[above] = name;
	}
}

static bool names_would_keep(const struct names *names, const char *name)
{
	return names->n < names->n_max || (names->n && strcmp(names->names[0] + 1, name) > 0);
}

static int names_grow(struct names *names)
{
	size_t size = names->size ? 2 * names->size : 64;
	char **grown = reallocarray(names->names, size, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	names->names = grown;
	names->size = size;
	return 0;
}

static int names_put(struct names *names, enum kind kind, const char *name)
{
	size_t n = strlen(name) + 1;
	char *copy;

	if (!names_would_keep(names, name)) {
		names->more = true;
		return 0;
	}
	if (names->n < names->n_max && names->n == names->size && names_grow(names) < 0)
		return -ENOMEM;
	copy = malloc(n + 1);
	if (!copy)
		return -ENOMEM;
	copy[0] = (char)kind;
	memcpy(copy + 1, name, n);
	if (names->n < names->n_max) {
		names->names[names->n++] = copy;
		rise(names);
	} else {
		names->more = true;
		free(names->names[0]);
		names->names[0] = copy;
		sink(names);
	}
	return 0;
}

/* In place, and no heap any more. */
static void names_sort(struct names *names)
{
	size_t n = names->n;
	char *name;

	while (names->n > 1) {
		name = names->names[0];
		names->names[0] = names->names[--names->n];
		names->names[names->n] = name;
		sink(names);
	}
	names->n = n;
}

/* ---- a walk ------------------------------------------------------------------------------------ */

/* A folder whose folders have been told, of which that with the number at is next. */
struct level {
	struct names folders;
	size_t at;
	size_t n_path;
};

struct walk {
	const struct workspace *w;
	const struct walk_options *o;
	uint64_t n_files_left;
	uint64_t n_folders_left;
	bool more;
	bool over; /* no more may be told */
	size_t n_path;
	char *path; /* PATH_MAX: where it is */
	struct level *levels;
	size_t n_levels;
	size_t n_levels_size;
};

static bool is_dot(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Goes down to name. false: too long. */
static bool go_down(struct walk *walk, const char *name)
{
	size_t n = strlen(name), n_slash = walk->n_path > 0;

	if (walk->n_path + n_slash + n >= PATH_MAX)
		return false;
	if (n_slash)
		walk->path[walk->n_path] = '/';
	memcpy(walk->path + walk->n_path + n_slash, name, n + 1);
	walk->n_path += n_slash + n;
	return true;
}

static void go_to(struct walk *walk, size_t n_path)
{
	walk->n_path = n_path;
	walk->path[n_path] = 0;
}

static enum kind kind_of_symlink(struct walk *walk, const char *name)
{
	struct workspace_file file;
	size_t n_path = walk->n_path;
	int r;

	if (!go_down(walk, name))
		return KIND_NONE;
	r = workspace_look(walk->w, span_string(walk->path), &file);
	go_to(walk, n_path);
	if (r < 0)
		return KIND_NONE;
	return S_ISDIR(file.st.st_mode)   ? KIND_LINK_TO_FOLDER
	       : S_ISREG(file.st.st_mode) ? KIND_LINK_TO_FILE
					  : KIND_NONE;
}

static enum kind kind_of(struct walk *walk, int folder, const struct dirent *entry)
{
	struct stat st;

	switch (entry->d_type) {
	case DT_REG:
		return KIND_FILE;
	case DT_DIR:
		return KIND_FOLDER;
	case DT_LNK:
		return kind_of_symlink(walk, entry->d_name);
	case DT_UNKNOWN:
		break;
	default:
		return KIND_NONE;
	}
	if (fstatat(folder, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return KIND_NONE;
	if (S_ISLNK(st.st_mode))
		return kind_of_symlink(walk, entry->d_name);
	return S_ISDIR(st.st_mode) ? KIND_FOLDER : S_ISREG(st.st_mode) ? KIND_FILE : KIND_NONE;
}

static bool is_folder(enum kind kind)
{
	return kind == KIND_FOLDER || kind == KIND_LINK_TO_FOLDER;
}

static void cleanup_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* Sorts what is in the open folder into those. A flat walk has files only. */
static int read_names(struct walk *walk, int folder, struct names *folders, struct names *files)
{
	int copy = fcntl(folder, F_DUPFD_CLOEXEC, 0);
	_cleanup_(cleanup_closedir) DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;
	int r = 0;

	if (!dir) {
		r = -errno;
		if (copy >= 0)
			close(copy);
		return r;
	}
	errno = 0;
	while (r == 0 && (entry = readdir(dir))) {
		enum kind kind;

		if (is_dot(entry->d_name))
			continue;
		/* That there are more is clear then, whatever this one is. */
		if (!names_would_keep(files, entry->d_name) &&
		    !names_would_keep(folders, entry->d_name))
			continue;
		kind = kind_of(walk, folder, entry);
		if (kind != KIND_NONE)
			r = names_put(walk->o->recursive && is_folder(kind) ? folders : files, kind,
				      entry->d_name);
		errno = 0;
	}
	if (r == 0 && errno)
		r = -errno;
	names_sort(folders);
	names_sort(files);
	return r;
}

static int tell(struct walk *walk, int folder, const char *name, enum kind kind)
{
	uint64_t *n_left =
		is_folder(kind) && !walk->o->together ? &walk->n_folders_left : &walk->n_files_left;
	struct walk_entry entry = {
		.path = walk->path,
		.name = name,
		.is_folder = is_folder(kind),
		.is_symlink = kind == KIND_LINK_TO_FILE || kind == KIND_LINK_TO_FOLDER,
		.folder = folder,
	};
	int r;

	if (*n_left == 0) {
		walk->more = true;
		walk->over = true;
		return 0;
	}
	r = walk->o->tell(walk->o->data, &entry);
	if (r == WALK_ON)
		--*n_left;
	return r < 0 ? r : 0;
}

static int tell_all(struct walk *walk, int folder, const struct names *names)
{
	size_t n_path = walk->n_path;
	int r = 0;

	for (size_t i = 0; i < names->n && r == 0 && !walk->over; i++) {
		const char *name = names->names[i];

		if (!go_down(walk, name + 1)) {
			walk->more = true;
			continue;
		}
		r = tell(walk, folder, name + 1, (enum kind)name[0]);
		if (r == 0)
			go_to(walk, n_path);
	}
	walk->more = walk->more || names->more;
	return r;
}

static int push(struct walk *walk, const struct names *folders)
{
	size_t size = walk->n_levels_size ? 2 * walk->n_levels_size : 16;
	struct level *grown;

	if (walk->n_levels == walk->n_levels_size) {
		grown = reallocarray(walk->levels, size, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		walk->levels = grown;
		walk->n_levels_size = size;
	}
	walk->levels[walk->n_levels++] =
		(struct level){.folders = *folders, .n_path = walk->n_path};
	return 0;
}

static uint64_t n_folders_left(const struct walk *walk)
{
	return walk->o->together ? walk->n_files_left : walk->n_folders_left;
}

/* Tells what is in the folder at the path, and keeps its folders for later. */
static int enter(struct walk *walk)
{
	/* One more than may be told, so that it shows. */
	struct names files = {.n_max = walk->n_files_left + 1};
	struct names folders = {.n_max = walk->o->recursive ? n_folders_left(walk) + 1 : 0};
	_cleanup_(cleanup_close) int fd = -1;
	struct workspace_file file;
	int r;

	fd = workspace_open_folder(walk->w, span_string(walk->path), false, &file);
	if (fd >= 0 && strcmp(file.path, walk->path) != 0)
		return 0;
	if (fd < 0) {
		if (fd == -EACCES || fd == -EPERM)
			return walk->o->all || walk->n_levels == 0 ? fd : 0;
		return fd == -ENOMEM || fd == -EMFILE || fd == -ENFILE ? fd : 0;
	}
	r = read_names(walk, fd, &folders, &files);
	r = r ? r : tell_all(walk, fd, &folders);
	r = r ? r : tell_all(walk, fd, &files);
	names_deinit(&files);
	if (r == 0 && folders.n && !walk->over)
		r = push(walk, &folders);
	if (r < 0 || !folders.n || walk->over)
		names_deinit(&folders);
	return r;
}

/* The folder's folders, one below another, without recursion: guests choose how deep. */
static int descend(struct walk *walk)
{
	int r = enter(walk);

	while (r == 0 && walk->n_levels && !walk->over) {
		struct level *level = &walk->levels[walk->n_levels - 1];
		char *name;

		go_to(walk, level->n_path);
		if (level->at == level->folders.n) {
			names_deinit(&level->folders);
			walk->n_levels--;
			continue;
		}
		name = level->folders.names[level->at++];
		if (name[0] == KIND_FOLDER && go_down(walk, name + 1))
			r = enter(walk);
	}
	return r;
}

int artifact_walk(const struct workspace *w, struct span path, const struct walk_options *o,
		  char *ret_path, bool *ret_more)
{
	struct walk walk = {
		.w = w,
		.o = o,
		.n_files_left = o->n_files_max < N_MAX ? o->n_files_max : N_MAX,
		.n_folders_left = o->n_folders_max < N_MAX ? o->n_folders_max : N_MAX,
		.path = ret_path,
	};
	struct workspace_file file;
	const char *slash;
	int r;

	ret_path[0] = 0;
	r = workspace_look(w, path, &file);
	if (r < 0)
		return r == -ENOTDIR ? -ENOENT : r;
	if (!S_ISDIR(file.st.st_mode) && !S_ISREG(file.st.st_mode))
		return -EISDIR;
	strcpy(ret_path, file.path);
	walk.n_path = strlen(file.path);
	slash = strrchr(file.path, '/');
	if (S_ISREG(file.st.st_mode))
		r = tell(&walk, -1, slash ? slash + 1 : file.path, KIND_FILE);
	else
		r = descend(&walk);
	while (walk.n_levels)
		names_deinit(&walk.levels[--walk.n_levels].folders);
	free(walk.levels);
	if (r == 0)
		*ret_more = walk.more;
	return r;
}

/* ---- what was told ----------------------------------------------------------------------------- */

int walk_look(const struct workspace *w, const struct walk_entry *entry, struct stat *ret_st)
{
	struct workspace_file file;
	int r;

	if (entry->folder >= 0 && !entry->is_symlink)
		return fstatat(entry->folder, entry->name, ret_st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno
											    : 0;
	r = workspace_look(w, span_string(entry->path), &file);
	if (r == 0)
		*ret_st = file.st;
	return r;
}

int walk_open(const struct workspace *w, const struct walk_entry *entry, struct stat *ret_st)
{
	_cleanup_(cleanup_close) int fd = -1;
	struct workspace_file file;

	if (entry->folder < 0 || entry->is_symlink) {
		fd = workspace_open(w, span_string(entry->path), false, &file);
		if (fd >= 0)
			*ret_st = file.st;
		return fd_steal(&fd);
	}
	fd = openat(entry->folder, entry->name,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, ret_st) < 0)
		return -errno;
	return S_ISREG(ret_st->st_mode) ? fd_steal(&fd) : -EISDIR;
}
