/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of the plan's mount table, carried out. The template is made in the maker's own mount
 * namespace and then shut (read-only); slots and rooms get copies of that namespace, and mount
 * their own on top.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/local/carry_out.h"
#include "base/cleanup.h"
#include "base/decimal.h"

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

#define TARGET_MAX (2 * PLAN_PATH_MAX)

static int set_attributes(const char *target, uint64_t attributes, bool recursive)
{
	struct mount_attr attr = {.attr_set = attributes};
	unsigned flags = recursive ? AT_RECURSIVE : 0;

	return syscall(SYS_mount_setattr, AT_FDCWD, target, flags, &attr, sizeof(attr)) < 0 ? -errno
											    : 0;
}

/* What something is mounted on must be there: a file or a directory, as its source is. */
static int make_mountpoint(const char *source, const char *target)
{
	_cleanup_(cleanup_close) int fd = -1;
	struct stat st;

	if (stat(source, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return mkdir(target, 0755) < 0 && errno != EEXIST ? -errno : 0;
	fd = open(target, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0444);
	return fd < 0 ? -errno : 0;
}

static int do_directory(const struct plan *p, const struct plan_mount *m, const char *target)
{
	if (mkdir(target, m->mode) < 0 && errno != EEXIST)
		return -errno;
	if (chmod(target, m->mode) < 0)
		return -errno;
	if (m->guest_owned && chown(target, p->guest_uid, p->guest_gid) < 0)
		return -errno;
	return 0;
}

static int do_bind(const struct plan_mount *m, const char *target)
{
	int r = make_mountpoint(m->source, target);

	if (r < 0)
		return r;
	if (mount(m->source, target, NULL, MS_BIND | MS_REC, NULL) < 0)
		return -errno;
	return set_attributes(target, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
			      true);
}

/* A node of our own costs no mount; who may not make one binds the host's. */
static int do_device(const struct plan_mount *m, const char *target)
{
	struct stat st;
	int r;

	if (stat(m->source, &st) < 0)
		return -errno;
	if (!S_ISCHR(st.st_mode))
		return -ENODEV;
	if (mknod(target, S_IFCHR | 0666, st.st_rdev) == 0)
		return chmod(target, 0666) < 0 ? -errno : 0;
	if (errno != EPERM)
		return -errno;
	r = make_mountpoint(m->source, target);
	if (r < 0)
		return r;
	return mount(m->source, target, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

static int do_copy(const struct plan_mount *m, const char *target)
{
	_cleanup_(cleanup_close) int from = open(m->source, O_RDONLY | O_CLOEXEC);
	_cleanup_(cleanup_close) int to = -1;
	char bytes[4096];
	ssize_t n;

	if (from < 0)
		return -errno;
	to = open(target, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, m->mode);
	if (to < 0)
		return -errno;
	while ((n = read(from, bytes, sizeof(bytes))) > 0)
		if (write(to, bytes, (size_t)n) != n)
			return -EIO;
	if (n < 0 || fchmod(to, m->mode) < 0)
		return -errno;
	return 0;
}

static void add_option(char *options, size_t n, const char *name, uint64_t number)
{
	if (options[0])
		strcat(options, ",");
	strcat(options, name);
	decimal_append(options, n, number);
}

static int do_tmpfs(const struct plan *p, const struct plan_params *params,
		    const struct plan_mount *m, const char *target)
{
	char options[160] = "", mode[] = ",mode=0000";

	add_option(options, sizeof(options), "size=", plan_mount_bytes(m, params));
	add_option(options, sizeof(options), "nr_inodes=", plan_mount_inodes(m, params));
	if (m->guest_owned) {
		add_option(options, sizeof(options), "uid=", p->guest_uid);
		add_option(options, sizeof(options), "gid=", p->guest_gid);
	}
	for (int i = 0; i < 4; i++)
		mode[sizeof(mode) - 2 - (size_t)i] = (char)('0' + (m->mode >> (3 * i) & 7));
	strcat(options, mode);
	return mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0 ? -errno : 0;
}

static int do_proc(const char *target)
{
	return mount("proc", target, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ? -errno
											 : 0;
}

/*
 * A room may only mount its /proc where one is in sight already. In the template that is one of a
 * pid namespace in which nobody lives, so that it shows none of the host's processes, and serves all
 * slots.
 */
static int do_empty_proc(const char *target)
{
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
	int status;

	if (pid == 0)
		_exit(-do_proc(target));
	if (pid < 0)
		return -errno;
	while (waitpid(pid, &status, __WALL) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
}

static int do_row(const struct plan *p, const struct plan_params *params,
		  const struct plan_mount *m, const char *target)
{
	int r = 0;

	switch ((enum plan_kind)m->kind) {
	case PLAN_DIRECTORY:
		return do_directory(p, m, target);
	case PLAN_SYMLINK:
		return symlink(m->source, target) < 0 ? -errno : 0;
	case PLAN_BIND:
		return do_bind(m, target);
	case PLAN_DEVICE:
		return do_device(m, target);
	case PLAN_COPY:
		return do_copy(m, target);
	case PLAN_TMPFS:
		return do_tmpfs(p, params, m, target);
	case PLAN_PROCFS:
		return m->stage == PLAN_TEMPLATE ? do_empty_proc(target) : do_proc(target);
	case PLAN_DEVPTS:
		/* The whole machine has a few thousand: no guest takes them all. */
		r = mount("devpts", target, "devpts", MS_NOSUID | MS_NOEXEC,
			  "newinstance,ptmxmode=0666,mode=0620,max=64");
		break;
	default:
		return -EINVAL;
	}
	return r < 0 ? -errno : 0;
}

int mount_stage(const struct plan *p, const struct plan_params *params, enum plan_stage stage,
		const char *root, const char **ret_step)
{
	char target[TARGET_MAX];

	for (uint32_t i = 0; i < p->n_mounts; i++) {
		const struct plan_mount *m = &p->mounts[i];
		int r;

		if (m->stage != stage)
			continue;
		if (strlen(root) + strlen(m->target) >= sizeof(target))
			return -ENAMETOOLONG;
		strcpy(target, root);
		strcat(target, m->target);
		r = do_row(p, params, m, target);
		if (r < 0) {
			*ret_step = m->target;
			return r;
		}
	}
	return 0;
}

int mount_shut(const char *path, const char **ret_step)
{
	*ret_step = "making the template read-only";
	return set_attributes(path, MOUNT_ATTR_RDONLY, false);
}

int mount_copy(const char *path, const char **ret_step)
{
	*ret_step = "copying the template";
	return mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0 ? -errno : 0;
}

int mount_enter_root(const char *path, const char **ret_step)
{
	*ret_step = "pivot_root";
	/* The old root ends up on top of the new one, from where it is taken away with all below. */
	if (chdir(path) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	return 0;
}
