/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each seat has one folder, PREFIX-SEAT, in every cgroup hierarchy that the plan names: one with v2,
 * one to three with v1, where controllers may be mounted together. What is done there goes hierarchy
 * by hierarchy, each of them once.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "backend/local/carry_out.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/decimal.h"

#define PATH_SIZE        (PLAN_PATH_MAX + 128)
#define NUMBER_SIZE      24
#define PIDS_AT_ONCE     64
#define SWEEP_PAUSE_NS   (2 * NS_PER_MS)
#define SWEEP_NS_MAX     (2 * NS_PER_S) /* for one folder whose processes do not die ... */
#define SWEEP_ALL_NS_MAX (5 * NS_PER_S) /* ... and for all of them */

enum {
	HIERARCHIES_MAX = 3
};

/* The folders that slots' folders are made in, each once. Returns how many. */
static size_t hierarchies(const struct plan_cgroup *c, const char *ret_folders[HIERARCHIES_MAX])
{
	const char *const all[HIERARCHIES_MAX] = {c->memory, c->pids, c->cpu};
	size_t n = 0;

	for (size_t i = 0; i < HIERARCHIES_MAX; i++) {
		bool is_new = all[i][0] != '\0';

		for (size_t k = 0; k < n; k++)
			is_new = is_new && strcmp(all[i], ret_folders[k]) != 0;
		if (is_new)
			ret_folders[n++] = all[i];
	}
	return n;
}

/* FOLDER/PREFIX-SEAT */
static void seat_path(const struct plan_cgroup *c, const char *folder, uint32_t seat,
		      char ret_path[PATH_SIZE])
{
	strcpy(ret_path, folder);
	strcat(ret_path, "/");
	strcat(ret_path, c->prefix);
	strcat(ret_path, "-");
	decimal_append(ret_path, PATH_SIZE, seat);
}

/* Files of cgroups take a value whole, in one write. */
static int write_file(int folder, const char *name, const char *text)
{
	_cleanup_(cleanup_close) int fd = openat(folder, name, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int write_number(int folder, const char *name, uint64_t number)
{
	char text[NUMBER_SIZE] = "";

	decimal_append(text, sizeof(text), number);
	return write_file(folder, name, text);
}

/* ---- what an earlier run left --------------------------------------------------------------------- */

/* The first processes of the folder. Returns how many; -errno. */
static ssize_t read_pids(int folder, int ret_pids[PIDS_AT_ONCE])
{
	_cleanup_(cleanup_close) int fd = openat(folder, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	char text[PIDS_AT_ONCE * 8];
	ssize_t n_text, n = 0;
	int pid = 0;

	if (fd < 0)
		return -errno;
	n_text = read(fd, text, sizeof(text));
	if (n_text < 0)
		return -errno;
	/* A number that the buffer cut off has no end of line. */
	for (ssize_t i = 0; i < n_text && n < PIDS_AT_ONCE; i++) {
		if (text[i] >= '0' && text[i] <= '9') {
			pid = pid * 10 + (text[i] - '0');
			continue;
		}
		ret_pids[n++] = pid;
		pid = 0;
	}
	return n;
}

static bool holds_pid(const int *pids, ssize_t n, int pid)
{
	for (ssize_t i = 0; i < n; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

/*
 * Kills the first processes of the folder. A number may go to somebody else while we look: who is
 * still in the folder after we got hold of him is the one we hold, or that one is dead.
 */
static void kill_some(int folder)
{
	int pids[PIDS_AT_ONCE], again[PIDS_AT_ONCE], fds[PIDS_AT_ONCE];
	ssize_t n, n_again;

	/* All at once, where the kernel can: v2 from 5.14 on. */
	if (write_file(folder, "cgroup.kill", "1") == 0)
		return;
	n = read_pids(folder, pids);
	/* 0 is a process of another pid namespace; the kernel refuses that here. */
	for (ssize_t i = 0; i < n; i++)
		fds[i] = (int)syscall(SYS_pidfd_open, pids[i], 0);
	n_again = n > 0 ? read_pids(folder, again) : 0;
	for (ssize_t i = 0; i < n; i++) {
		if (fds[i] < 0)
			continue;
		if (holds_pid(again, n_again, pids[i]) && pids[i] != getpid())
			syscall(SYS_pidfd_send_signal, fds[i], SIGKILL, NULL, 0);
		close(fds[i]);
	}
}

/* Kills who is in the folder, and removes it. -EBUSY: that did not help in time. */
static int sweep_folder(const char *path, uint64_t until_ns)
{
	_cleanup_(cleanup_close) int folder = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	const struct timespec pause = ns_to_timespec(SWEEP_PAUSE_NS);
	int r = 0;

	if (folder < 0)
		return errno == ENOENT ? 0 : -errno;
	for (;;) {
		r = rmdir(path) < 0 && errno != ENOENT ? -errno : 0;
		if (r != -EBUSY || now_ns() >= until_ns)
			return r;
		kill_some(folder);
		nanosleep(&pause, NULL);
	}
}

/* Is it PREFIX-SEAT? */
static bool is_ours(const struct plan_cgroup *c, const char *name)
{
	size_t n = strlen(c->prefix);

	if (n == 0 || strncmp(name, c->prefix, n) != 0 || name[n] != '-' || !name[n + 1])
		return false;
	return name[n + 1 + strspn(name + n + 1, "0123456789")] == '\0';
}

struct entry {
	uint64_t inode;
	int64_t offset;
	uint16_t n;
	uint8_t type;
	char name[];
};

static void sweep_hierarchy(const struct plan_cgroup *c, const char *parent, uint64_t until_ns)
{
	_cleanup_(cleanup_close) int fd = open(parent, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	char buffer[4096] __attribute__((aligned(8)));
	char path[PATH_SIZE];
	long n;

	while (fd >= 0 && (n = syscall(SYS_getdents64, fd, buffer, sizeof(buffer))) > 0) {
		const struct entry *e;

		for (long at = 0; at < n; at += e->n) {
			uint64_t now = now_ns();

			e = (const void *)(buffer + at);
			if (!is_ours(c, e->name) ||
			    strlen(parent) + 1 + strlen(e->name) >= sizeof(path))
				continue;
			strcpy(path, parent);
			strcat(path, "/");
			strcat(path, e->name);
			sweep_folder(path,
				     now + SWEEP_NS_MAX < until_ns ? now + SWEEP_NS_MAX : until_ns);
		}
	}
}

void cgroup_sweep(const struct plan *p)
{
	const char *folders[HIERARCHIES_MAX];
	size_t n = hierarchies(&p->cgroup, folders);
	uint64_t until_ns = now_ns() + SWEEP_ALL_NS_MAX;

	for (size_t i = 0; i < n; i++)
		sweep_hierarchy(&p->cgroup, folders[i], until_ns);
}

/* ---- a seat's folders ----------------------------------------------------------------------------- */

static int set_memory(const struct plan *p, const struct plan_params *params, int folder)
{
	uint64_t cap = plan_memory_cap(p, params);
	int r = 0;

	if (cap > INT64_MAX)
		cap = INT64_MAX;
	if (p->cgroup.version == 2) {
		r = write_number(folder, "memory.max", cap);
		/* What is swapped out would not count; not every kernel has it. And the kernel ends the
		 * one process that is too large, not the whole slot. */
		write_file(folder, "memory.swap.max", "0");
		write_file(folder, "memory.oom.group", "0");
		return r;
	}
	r = write_number(folder, "memory.limit_in_bytes", cap);
	/* Memory and swap together, where the kernel counts that: never below the first. */
	write_number(folder, "memory.memsw.limit_in_bytes", cap);
	return r;
}

static int set_pids(const struct plan_params *params, int folder)
{
	/* Ours are not the guest's to pay for. */
	return write_number(folder, "pids.max", (uint64_t)params->n_pids + PLAN_OWN_PIDS);
}

/* Of no weight against what is promised: where it is refused, all are equal. */
static void set_cpu(const struct plan *p, int folder)
{
	/* 100 of v2 is what 1024 is to v1, whose least is 2. */
	uint64_t shares = (uint64_t)p->cgroup.cpu_weight * 1024 / 100;

	if (!p->cgroup.cpu_weight)
		return;
	if (p->cgroup.version == 2)
		write_number(folder, "cpu.weight", p->cgroup.cpu_weight);
	else
		write_number(folder, "cpu.shares", shares < 2 ? 2 : shares);
}

static int make_folder(const char *path, const char **ret_step)
{
	int r;

	*ret_step = "making a cgroup";
	if (mkdir(path, 0755) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	*ret_step = "removing a cgroup left by an earlier run";
	r = sweep_folder(path, now_ns() + SWEEP_NS_MAX);
	if (r < 0)
		return r;
	return mkdir(path, 0755) < 0 ? -errno : 0;
}

/* One folder, with the caps of each controller that this hierarchy has. */
static int make_in(const struct plan *p, const char *parent, uint32_t seat,
		   const struct plan_params *params, int ret_fds[CGROUP_N_FDS],
		   const char **ret_step)
{
	_cleanup_(cleanup_close) int folder = -1;
	const struct plan_cgroup *c = &p->cgroup;
	char path[PATH_SIZE];
	int r;

	seat_path(c, parent, seat, path);
	r = make_folder(path, ret_step);
	if (r < 0)
		return r;
	*ret_step = "opening a cgroup";
	folder = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (folder < 0)
		return -errno;
	if (strcmp(parent, c->memory) == 0) {
		*ret_step = "a cgroup's memory cap";
		r = set_memory(p, params, folder);
		ret_fds[CGROUP_OOM] =
			openat(folder, c->version == 2 ? "memory.events" : "memory.oom_control",
			       O_RDONLY | O_CLOEXEC);
	}
	if (r == 0 && strcmp(parent, c->pids) == 0) {
		*ret_step = "a cgroup's cap on processes";
		r = set_pids(params, folder);
		ret_fds[CGROUP_PIDS] = openat(folder, "pids.events", O_RDONLY | O_CLOEXEC);
	}
	if (strcmp(parent, c->cpu) == 0)
		set_cpu(p, folder);
	return r;
}

int cgroup_make(const struct plan *p, uint32_t seat, const struct plan_params *params,
		int ret_fds[CGROUP_N_FDS], const char **ret_step)
{
	const char *folders[HIERARCHIES_MAX];
	size_t n = hierarchies(&p->cgroup, folders);
	int fds[CGROUP_N_FDS] = {-1, -1};
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = make_in(p, folders[i], seat, params, fds, ret_step);
	if (r < 0) {
		for (size_t i = 0; i < CGROUP_N_FDS; i++)
			fd_close(&fds[i]);
		cgroup_remove(p, seat);
		return r;
	}
	memcpy(ret_fds, fds, sizeof(fds));
	return 0;
}

int cgroup_enter(const struct plan *p, uint32_t seat, int pid, const char **ret_step)
{
	const char *folders[HIERARCHIES_MAX];
	size_t n = hierarchies(&p->cgroup, folders);
	char path[PATH_SIZE];

	*ret_step = "entering a cgroup";
	for (size_t i = 0; i < n; i++) {
		_cleanup_(cleanup_close) int folder = -1;
		int r;

		seat_path(&p->cgroup, folders[i], seat, path);
		folder = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
		if (folder < 0)
			return -errno;
		r = write_number(folder, "cgroup.procs", (uint64_t)pid);
		if (r < 0)
			return r;
	}
	return 0;
}

int cgroup_open(const struct plan *p, uint32_t seat)
{
	char path[PATH_SIZE];
	int fd;

	if (p->cgroup.version != 2)
		return -ENOTSUP;
	seat_path(&p->cgroup, p->cgroup.pids[0] ? p->cgroup.pids : p->cgroup.memory, seat, path);
	fd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int cgroup_remove(const struct plan *p, uint32_t seat)
{
	const char *folders[HIERARCHIES_MAX];
	size_t n = hierarchies(&p->cgroup, folders);
	char path[PATH_SIZE];
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		seat_path(&p->cgroup, folders[i], seat, path);
		if (rmdir(path) < 0 && errno != ENOENT && r != -EBUSY)
			r = -errno;
	}
	return r;
}
