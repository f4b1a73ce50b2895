/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a folder of cgroups can be given to a slot: by doing it once. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backend/local/probe_part.h"
#include "base/cleanup.h"
#include "base/clock.h"

#define REMOVE_PAUSE_NS (2 * NS_PER_MS)
#define REMOVE_NS_MAX   (2 * NS_PER_S)

/* A cap for each controller, to be set by way of trial. */
static const struct cap {
	enum plan_layer layer;
	const char *files[3]; /* [version] */
	const char *value;
} caps[] = {
	{PLAN_MEMORY, {NULL, "memory.limit_in_bytes", "memory.max"}, "1073741824"},
	{PLAN_PIDS, {NULL, "pids.max", "pids.max"}, "100"},
	{PLAN_CPU, {NULL, "cpu.shares", "cpu.weight"}, "100"},
};

int cgroup_write(const char *folder, const char *name, const char *text)
{
	_cleanup_(cleanup_close) int fd = -1;
	char path[PLAN_PATH_MAX + 128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* A child that goes there and ends. */
static int enter_in_child(const char *folder)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	/* 0 is who writes it. */
	if (pid == 0)
		_exit(-cgroup_write(folder, "cgroup.procs", "0"));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
}

/* It may stay busy for a moment after its last process has ended. */
static void remove_folder(const char *folder)
{
	const struct timespec pause = ns_to_timespec(REMOVE_PAUSE_NS);
	uint64_t until_ns = now_ns() + REMOVE_NS_MAX;

	while (rmdir(folder) < 0 && errno == EBUSY && now_ns() < until_ns)
		nanosleep(&pause, NULL);
}

static const struct cap *cap_of(enum plan_layer layer)
{
	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++)
		if (caps[i].layer == layer)
			return &caps[i];
	return NULL;
}

bool cgroup_try(const char *home, uint32_t version, enum plan_layer layer,
		struct cgroup_fault *ret_fault)
{
	const struct cap *cap = cap_of(layer);
	char folder[PLAN_PATH_MAX + 64];
	const char *step = "making a cgroup";
	int r = 0;

	snprintf(folder, sizeof(folder), "%s/toolring-probe-%d", home, (int)getpid());
	if (mkdir(folder, 0755) < 0)
		r = -errno;
	if (r == 0) {
		step = "setting a cap";
		r = cgroup_write(folder, cap->files[version], cap->value);
		if (r == 0) {
			step = "putting a process there";
			r = enter_in_child(folder);
		}
		remove_folder(folder);
	}
	if (r < 0) {
		ret_fault->error = -r;
		ret_fault->step = step;
		strcpy(ret_fault->folder, home);
	}
	return r == 0;
}
