/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc tells of toolringd and its children: CPU time and memory. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench_system.h"

pid_t bench_parent(pid_t pid)
{
	char path[64];
	char line[512];
	int parent = 0;
	char *end;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	/* The name in the middle may hold anything, also spaces and brackets. */
	end = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	fclose(file);
	if (!end || sscanf(end, ") %*c %d", &parent) != 1)
		return 0;
	return (pid_t)parent;
}

struct process {
	pid_t pid;
	pid_t parent;
};

static int compare(const void *a, const void *b)
{
	pid_t x = ((const struct process *)a)->pid;
	pid_t y = ((const struct process *)b)->pid;

	return (x > y) - (x < y);
}

/* All processes that we see, sorted; for free(). */
static int list_processes(struct process **ret_processes, size_t *ret_n)
{
	struct process *processes = NULL;
	size_t n = 0;
	size_t n_room = 0;
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	if (!proc)
		return -errno;
	while ((entry = readdir(proc))) {
		pid_t pid = (pid_t)atoi(entry->d_name);

		if (pid <= 0)
			continue;
		if (n == n_room) {
			struct process *more;

			n_room = n_room ? 2 * n_room : 256;
			more = realloc(processes, n_room * sizeof(*processes));
			if (!more) {
				free(processes);
				closedir(proc);
				return -ENOMEM;
			}
			processes = more;
		}
		processes[n++] = (struct process){.pid = pid, .parent = bench_parent(pid)};
	}
	closedir(proc);
	if (n > 0)
		qsort(processes, n, sizeof(*processes), compare);
	*ret_processes = processes;
	*ret_n = n;
	return 0;
}

static bool is_below(const struct process *processes, size_t n, struct process process, pid_t root)
{
	/* A number that was used again meanwhile might close a circle. */
	for (size_t depth = 0; depth < n; depth++) {
		const struct process key = {.pid = process.parent};
		const struct process *parent;

		if (process.pid == root)
			return true;
		parent = bsearch(&key, processes, n, sizeof(*processes), compare);
		if (!parent)
			return false;
		process = *parent;
	}
	return false;
}

int bench_tree(pid_t root, pid_t **ret_pids, size_t *ret_n)
{
	struct process *processes = NULL;
	pid_t *pids;
	size_t n = 0;
	size_t n_pids = 0;
	int r = list_processes(&processes, &n);

	if (r < 0)
		return r;
	pids = malloc((n + 1) * sizeof(*pids));
	for (size_t i = 0; i < n && pids; i++)
		if (is_below(processes, n, processes[i], root))
			pids[n_pids++] = processes[i].pid;
	free(processes);
	if (!pids)
		return -ENOMEM;
	if (n_pids == 0) {
		free(pids);
		return -ESRCH;
	}
	*ret_pids = pids;
	*ret_n = n_pids;
	return 0;
}

/* Of one thread: the scheduler's own count where there is one, else clock ticks. */
static int task_cpu_ns(pid_t pid, const char *task, uint64_t *ret_ns)
{
	char path[320];
	char line[512];
	unsigned long long ns;
	unsigned long user;
	unsigned long system;
	char *end;
	FILE *file;
	int r = -EIO;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, task);
	file = fopen(path, "re");
	if (file) {
		if (fscanf(file, "%llu", &ns) == 1) {
			*ret_ns = ns;
			r = 0;
		}
		fclose(file);
		return r;
	}
	snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", (int)pid, task);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	end = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	fclose(file);
	if (end && sscanf(end, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
			  &system) == 2) {
		*ret_ns = (user + system) * (uint64_t)(BENCH_NS_PER_S / sysconf(_SC_CLK_TCK));
		r = 0;
	}
	return r;
}

static uint64_t process_cpu_ns(pid_t pid)
{
	uint64_t sum = 0;
	char path[64];
	struct dirent *entry;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	while (tasks && (entry = readdir(tasks))) {
		uint64_t ns = 0;

		if (isdigit((unsigned char)entry->d_name[0]) &&
		    task_cpu_ns(pid, entry->d_name, &ns) == 0)
			sum += ns;
	}
	if (tasks)
		closedir(tasks);
	return sum;
}

int bench_cpu_ns(pid_t root, uint64_t *ret_ns)
{
	pid_t *pids;
	size_t n;
	uint64_t sum = 0;
	int r = bench_tree(root, &pids, &n);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		sum += process_cpu_ns(pids[i]);
	free(pids);
	*ret_ns = sum;
	return 0;
}

/* The sum of some lines of a process's smaps_rollup. */
static int memory_bytes(pid_t pid, const char *const *names, uint64_t *ret_bytes)
{
	uint64_t sum = 0;
	char path[64];
	char line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		char name[64];
		unsigned long long kib;

		if (sscanf(line, "%63s %llu", name, &kib) != 2)
			continue;
		for (size_t i = 0; names[i]; i++)
			if (strcmp(name, names[i]) == 0)
				sum += kib * 1024;
	}
	fclose(file);
	*ret_bytes = sum;
	return 0;
}

int bench_private_bytes(pid_t root, uint64_t *ret_bytes)
{
	static const char *const names[] = {"Private_Clean:", "Private_Dirty:", NULL};
	pid_t *pids;
	size_t n;
	uint64_t sum = 0;
	int r = bench_tree(root, &pids, &n);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r == 0; i++) {
		uint64_t bytes = 0;

		r = memory_bytes(pids[i], names, &bytes);
		sum += bytes;
	}
	free(pids);
	if (r == 0)
		*ret_bytes = sum;
	return r;
}

uint64_t bench_anonymous_bytes(pid_t pid)
{
	static const char *const names[] = {"Anonymous:", "Pss_Shmem:", NULL};
	uint64_t bytes = 0;

	memory_bytes(pid, names, &bytes);
	return bytes;
}

int bench_shared_bytes(uint64_t *ret_bytes)
{
	static unsigned long inodes[1024];
	size_t n_inodes = 0;
	uint64_t sum = 0;
	char line[512];
	FILE *file = fopen("/proc/self/maps", "re");

	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		unsigned long start;
		unsigned long end;
		unsigned long inode;
		char mode[8];
		size_t i = 0;

		/* Segments are in /dev/shm, the statistics may be there or a memfd. */
		if (sscanf(line, "%lx-%lx %7s %*s %*s %lu", &start, &end, mode, &inode) != 4 ||
		    mode[3] != 's' || (!strstr(line, "/dev/shm/") && !strstr(line, "/memfd:")))
			continue;
		while (i < n_inodes && inodes[i] != inode)
			i++;
		if (i < n_inodes || n_inodes == sizeof(inodes) / sizeof(inodes[0]))
			continue;
		inodes[n_inodes++] = inode;
		sum += end - start;
	}
	fclose(file);
	*ret_bytes = sum;
	return 0;
}
