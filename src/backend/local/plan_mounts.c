/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mount table. The root is an empty tmpfs that the maker mounts; what stands in it is listed
 * here, parents first, and nothing else of the host shows. Later rows may lie on earlier ones.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/local/plan_rows.h"
#include "base/cleanup.h"
#include "base/path.h"

#define ZYGOTE_PATH "/dev/pts/toolring-zygote.so"

/* Rows that hold on every machine. */
static const struct plan_mount own[] = {
	{.kind = PLAN_DIRECTORY, .target = "/proc", .mode = 0555},
	{.kind = PLAN_PROCFS, .target = "/proc"},
	{.kind = PLAN_DIRECTORY, .target = "/tmp", .mode = 01777},
	{.kind = PLAN_DIRECTORY, .target = "/workspace", .mode = 0755},
	{.kind = PLAN_DIRECTORY, .target = "/home", .mode = 0755},
	{.kind = PLAN_DIRECTORY, .target = "/root", .mode = 0700},
	{.kind = PLAN_DIRECTORY, .target = "/run", .mode = 0755},
	{.kind = PLAN_DIRECTORY, .target = "/var", .mode = 0755},
	{.kind = PLAN_SYMLINK, .target = "/var/run", .source = "/run"},
	{.kind = PLAN_SYMLINK, .target = "/var/tmp", .source = "/tmp"},
	{.kind = PLAN_DIRECTORY, .target = "/dev", .mode = 0755},
	{.kind = PLAN_DIRECTORY, .target = "/dev/pts", .mode = 0755},
	{.kind = PLAN_DIRECTORY, .target = "/dev/shm", .mode = 01777},
	{.kind = PLAN_DEVICE, .target = "/dev/null", .source = "/dev/null"},
	{.kind = PLAN_DEVICE, .target = "/dev/zero", .source = "/dev/zero"},
	{.kind = PLAN_DEVICE, .target = "/dev/full", .source = "/dev/full"},
	{.kind = PLAN_DEVICE, .target = "/dev/random", .source = "/dev/random"},
	{.kind = PLAN_DEVICE, .target = "/dev/urandom", .source = "/dev/urandom"},
	{.kind = PLAN_DEVICE, .target = "/dev/tty", .source = "/dev/tty", .optional = 1},
	{.kind = PLAN_SYMLINK, .target = "/dev/fd", .source = "/proc/self/fd"},
	{.kind = PLAN_SYMLINK, .target = "/dev/stdin", .source = "/proc/self/fd/0"},
	{.kind = PLAN_SYMLINK, .target = "/dev/stdout", .source = "/proc/self/fd/1"},
	{.kind = PLAN_SYMLINK, .target = "/dev/stderr", .source = "/proc/self/fd/2"},
	{.kind = PLAN_SYMLINK, .target = "/dev/ptmx", .source = "pts/ptmx"},
	{.stage = PLAN_SLOT,
	 .kind = PLAN_TMPFS,
	 .size = PLAN_SIZE_DISK,
	 .target = "/workspace",
	 .mode = 0755,
	 .guest_owned = 1},
	{.stage = PLAN_ROOM, .kind = PLAN_PROCFS, .target = "/proc"},
	{.stage = PLAN_ROOM,
	 .kind = PLAN_TMPFS,
	 .size = PLAN_SIZE_TMP,
	 .target = "/tmp",
	 .mode = 01777},
	{.stage = PLAN_ROOM,
	 .kind = PLAN_TMPFS,
	 .size = PLAN_SIZE_SHM,
	 .target = "/dev/shm",
	 .mode = 01777},
	{.stage = PLAN_ROOM_LATE, .kind = PLAN_DEVPTS, .target = "/dev/pts"},
};

#define N_OWN (sizeof(own) / sizeof(own[0]))

/* What slots see of the host; the first two are always there. */
static const char *const system_paths[] = {"/usr", "/etc",   "/bin",   "/sbin",
					   "/lib", "/lib32", "/lib64", "/libx32"};

/* What later rows would cover, or that must be as it is. */
static const char *const taken[] = {"/proc", "/tmp", "/workspace", "/dev"};

static int add(struct plan_making *m, const struct plan_mount *row)
{
	struct plan *p = m->plan;

	if (p->n_mounts == PLAN_MOUNTS_MAX)
		return plan_refuse(m, -EINVAL, "--slot-bind: more than fit the plan");
	p->mounts[p->n_mounts++] = *row;
	return 0;
}

static int add_path(struct plan_making *m, enum plan_kind kind, const char *source,
		    const char *target, uint16_t mode)
{
	struct plan_mount row = {.kind = (uint8_t)kind, .mode = mode};

	if (strlen(source) >= sizeof(row.source) || strlen(target) >= sizeof(row.target))
		return plan_refuse(m, -EINVAL, "%.80s...: a path of more than %d bytes",
				   strlen(source) >= sizeof(row.source) ? source : target,
				   PLAN_PATH_MAX - 1);
	strcpy(row.source, source);
	strcpy(row.target, target);
	return add(m, &row);
}

/* ---- the host's system directories ------------------------------------------------------------------ */

/* As on the host: where /bin is a link to usr/bin it is one here too. */
static int add_system_path(struct plan_making *m, const char *path)
{
	_cleanup_(cleanup_free) char *real = realpath(path, NULL);
	char text[PLAN_PATH_MAX];
	struct stat st;
	ssize_t n;

	if (!real || lstat(path, &st) < 0)
		return 0;
	if (!S_ISLNK(st.st_mode) || !path_lies_in(real, "/usr"))
		return add_path(m, PLAN_BIND, real, path, 0);
	n = readlink(path, text, sizeof(text) - 1);
	if (n < 0)
		return plan_refuse(m, -errno, "%s: cannot be read: %s", path, strerror(errno));
	text[n] = '\0';
	return add_path(m, PLAN_SYMLINK, text, path, 0);
}

static int add_own(struct plan_making *m)
{
	int r = 0;

	for (const struct plan_mount *row = own; row < own + N_OWN && r == 0; row++) {
		struct stat st;

		if (row->kind == PLAN_PROCFS && !plan_has(m->plan, PLAN_PROC))
			continue;
		if (row->kind == PLAN_DEVICE &&
		    (stat(row->source, &st) < 0 || !S_ISCHR(st.st_mode))) {
			if (row->optional)
				continue;
			return plan_refuse(m, -EINVAL, "%s is no device on this machine",
					   row->source);
		}
		r = add(m, row);
	}
	return r;
}

/* ---- what the operator adds ------------------------------------------------------------------------- */

/* Absolute, and each step a plain name. */
static bool is_plain_path(const char *path)
{
	const char *at = path;

	if (*at != '/' || !at[1])
		return false;
	while (*at++ == '/') {
		size_t n = strcspn(at, "/");

		if (n == 0 || (n == 1 && at[0] == '.') || (n == 2 && !strncmp(at, "..", 2)))
			return false;
		at += n;
	}
	return true;
}

/* Whether a row makes this path, or what it comes with. */
static const struct plan_mount *find_row(const struct plan *p, const char *path, bool below)
{
	for (uint32_t i = p->n_mounts; i > 0; i--) {
		const struct plan_mount *row = &p->mounts[i - 1];

		if (row->stage == PLAN_TEMPLATE &&
		    (below ? row->kind == PLAN_BIND && path_lies_in(path, row->target)
			   : !strcmp(row->target, path)))
			return row;
	}
	return NULL;
}

static int check_target(struct plan_making *m, const char *target)
{
	if (!is_plain_path(target))
		return plan_refuse(m, -EINVAL,
				   "--slot-bind: \"%.80s\" is no place in a slot; it must be an "
				   "absolute path without \".\", \"..\" and \"//\"",
				   target);
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		if (path_lies_in(target, taken[i]))
			return plan_refuse(
				m, -EINVAL,
				"--slot-bind: nothing can be put at %.80s: %s is the slot's own",
				target, taken[i]);
	for (uint32_t i = 0; i < m->plan->n_mounts; i++) {
		const struct plan_mount *row = &m->plan->mounts[i];

		if (row->kind == PLAN_SYMLINK && path_lies_in(target, row->target))
			return plan_refuse(
				m, -EINVAL,
				"--slot-bind: %.80s leads through the link %s -> %s; name the "
				"place it leads to",
				target, row->target, row->source);
	}
	return 0;
}

/* The folders that lead to a place, but for those that are there. */
static int add_parents(struct plan_making *m, const char *target)
{
	char path[PLAN_PATH_MAX];
	int r = 0;

	for (const char *at = strchr(target + 1, '/'); at && r == 0; at = strchr(at + 1, '/')) {
		snprintf(path, sizeof(path), "%.*s", (int)(at - target), target);
		if (!find_row(m->plan, path, false) && !find_row(m->plan, path, true))
			r = add_path(m, PLAN_DIRECTORY, "", path, 0755);
	}
	return r;
}

static int add_bind(struct plan_making *m, const struct plan_bind_option *bind)
{
	_cleanup_(cleanup_free) char *source = realpath(bind->source, NULL);
	const struct plan_mount *over;
	char under[PATH_MAX];
	int r = check_target(m, bind->target);

	if (r < 0)
		return r;
	if (!source || bind->source[0] != '/')
		return plan_refuse(m, -EINVAL, "--slot-bind: %.80s: %s", bind->source,
				   source ? "must be an absolute path" : strerror(errno));
	if (strlen(bind->target) >= PLAN_PATH_MAX)
		return plan_refuse(m, -EINVAL,
				   "--slot-bind: %.80s...: a path of more than %d bytes",
				   bind->target, PLAN_PATH_MAX - 1);
	over = find_row(m->plan, bind->target, true);
	if (over) { /* where nothing can be made */
		snprintf(under, sizeof(under), "%s%s", over->source,
			 bind->target + strlen(over->target));
		if (access(under, F_OK) < 0)
			return plan_refuse(
				m, -EINVAL,
				"--slot-bind: nothing can be put at %.80s: %s is read-only, "
				"and there is no such place in it",
				bind->target, over->target);
	}
	r = add_parents(m, bind->target);
	return r < 0 ? r : add_path(m, PLAN_BIND, source, bind->target, 0);
}

/* ---- the shell -------------------------------------------------------------------------------------- */

/* Where a path inside lies on the host; false: not in what slots see of it. */
static bool find_outside(const struct plan *p, const char *inside, char *ret_path)
{
	const struct plan_mount *row;
	char path[PATH_MAX], real[PATH_MAX];

	if (!is_plain_path(inside))
		return false;
	snprintf(path, sizeof(path), "%s", inside);
	for (uint32_t i = 0; i < p->n_mounts; i++) {
		row = &p->mounts[i];
		if (row->stage == PLAN_TEMPLATE && row->kind == PLAN_SYMLINK &&
		    path_lies_in(inside, row->target))
			snprintf(path, sizeof(path), "%s%s%s", row->source[0] == '/' ? "" : "/",
				 row->source, inside + strlen(row->target));
	}
	row = find_row(p, path, true);
	if (!row)
		return false;
	snprintf(real, sizeof(real), "%s%s", row->source, path + strlen(row->target));
	if (!realpath(real, ret_path))
		return false;
	for (uint32_t i = 0; i < p->n_mounts; i++)
		if (p->mounts[i].kind == PLAN_BIND && path_lies_in(ret_path, p->mounts[i].source))
			return true;
	return false;
}

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & S_IXOTH);
}

static int settle_shell(struct plan_making *m, char *ret_outside)
{
	const char *shell = m->options->shell;
	struct plan *p = m->plan;

	if (!shell || !*shell)
		shell = find_outside(p, "/bin/bash", ret_outside) && is_program(ret_outside)
				? "/bin/bash"
				: "/bin/sh";
	if (strlen(shell) >= sizeof(p->shell) || !find_outside(p, shell, ret_outside) ||
	    !is_program(ret_outside))
		return plan_refuse(
			m, -EINVAL,
			"--shell: %.80s is no program that slots can run: they see /usr, "
			"/bin, /sbin, /lib* and /etc of this machine, and what --slot-bind "
			"adds",
			shell);
	strcpy(p->shell, shell);
	return 0;
}

int plan_make_mounts(struct plan_making *m)
{
	const struct plan_options *o = m->options;
	char shell[PATH_MAX];
	int r = 0;

	for (size_t i = 0; i < sizeof(system_paths) / sizeof(system_paths[0]) && r == 0; i++)
		r = add_system_path(m, system_paths[i]);
	if (r == 0)
		r = add_own(m);
	for (size_t i = 0; i < o->n_binds && r == 0; i++)
		r = add_bind(m, &o->binds[i]);
	if (r == 0)
		r = settle_shell(m, shell);
	if (r < 0 || !o->zygote || !plan_shell_loads(shell, o->zygote))
		return r;
	strcpy(m->plan->zygote_path, ZYGOTE_PATH);
	m->plan->has_zygote = 1;
	return add_path(m, PLAN_COPY, o->zygote, ZYGOTE_PATH, 0555);
}
