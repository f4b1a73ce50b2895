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

#define N_PROCESSES_MAX 256

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

static bool contains(const pid_t *pids, size_t n, pid_t pid)
{
	for (size_t i = 0; i < n; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

/* root and all processes below it. */
static size_t find_processes(pid_t root, pid_t ret_pids[N_PROCESSES_MAX])
{
	size_t n = 1;
	size_t n_before;

	ret_pids[0] = root;
	/* A child may be listed before its parent: go over them until nothing is added. */
	do {
		DIR *proc = opendir("/proc");
		struct dirent *entry;

		n_before = n;
		while (proc && (entry = readdir(proc)) && n < N_PROCESSES_MAX) {
			pid_t pid = (pid_t)atoi(entry->d_name);

			if (pid > 0 && !contains(ret_pids, n, pid) &&
			    contains(ret_pids, n, bench_parent(pid)))
				ret_pids[n++] = pid;
		}
		if (proc)
			closedir(proc);
	} while (n != n_before);
	return n;
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

int bench_cpu_ns(pid_t root, uint64_t *ret_ns)
{
	pid_t pids[N_PROCESSES_MAX];
	size_t n = find_processes(root, pids);
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		char path[64];
		DIR *tasks;
		struct dirent *entry;

		snprintf(path, sizeof(path), "/proc/%d/task", (int)pids[i]);
		tasks = opendir(path);
		if (!tasks && i == 0)
			return -errno;
		while (tasks && (entry = readdir(tasks))) {
			uint64_t ns = 0;

			if (isdigit((unsigned char)entry->d_name[0]) &&
			    task_cpu_ns(pids[i], entry->d_name, &ns) == 0)
				sum += ns;
		}
		if (tasks)
			closedir(tasks);
	}
	*ret_ns = sum;
	return 0;
}

int bench_private_bytes(pid_t root, uint64_t *ret_bytes)
{
	pid_t pids[N_PROCESSES_MAX];
	size_t n = find_processes(root, pids);
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		char path[64];
		char line[256];
		unsigned long long kib;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pids[i]);
		file = fopen(path, "re");
		if (!file)
			return -errno;
		while (fgets(line, sizeof(line), file))
			if (sscanf(line, "Private_Clean: %llu", &kib) == 1 ||
			    sscanf(line, "Private_Dirty: %llu", &kib) == 1)
				sum += kib * 1024;
		fclose(file);
	}
	*ret_bytes = sum;
	return 0;
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
