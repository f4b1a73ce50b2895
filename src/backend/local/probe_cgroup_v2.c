/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup v2: a cgroup that gives controllers to those below it may hold no process itself (only the
 * machine's own top may). So slots' cgroups go to the one we are in, and we leave it for a leaf below
 * it, if nobody else is there. If that does not do, the nearest one above us that can be used without
 * moving anybody is taken: a folder delegated to us whose sub-folder we were started in, or, as root,
 * the slice of the session.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/local/probe_part.h"
#include "base/cleanup.h"

#define LEAF_PREFIX  "toolring-self-"
#define CONTROL_FILE "cgroup.subtree_control"

static const enum plan_layer controllers[] = {PLAN_MEMORY, PLAN_PIDS, PLAN_CPU};

#define N_CONTROLLERS (sizeof(controllers) / sizeof(controllers[0]))
#define LAYER(layer)  (UINT32_C(1) << (layer))
#define NEEDED        (LAYER(PLAN_MEMORY) | LAYER(PLAN_PIDS))

static void cleanup_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

static FILE *open_in(const char *folder, const char *name)
{
	char path[PLAN_PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return fopen(path, "re");
}

static void note(struct cgroup_fault *fault, const char *folder, int r, const char *step)
{
	fault->error = -r;
	fault->step = step;
	strcpy(fault->folder, folder);
}

/* The machine's top cgroup has no type, and may hold processes. */
static bool is_top(const char *folder)
{
	_cleanup_(cleanup_file) FILE *f = open_in(folder, "cgroup.type");

	return !f;
}

/*
 * `toolring doctor` waits for us in the cgroup we would have had to ourselves: it comes along, and
 * goes back with us.
 */
static bool is_doctor(int pid)
{
	char path[32], name[32];

	if (pid != getppid())
		return false;
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	return probe_read_text(path, name, sizeof(name)) == 0 && strcmp(name, "toolring\n") == 0;
}

/* Processes of the folder that are not ours to move. */
static int count_others(const char *folder)
{
	_cleanup_(cleanup_file) FILE *f = open_in(folder, "cgroup.procs");
	int pid, n = 0;

	while (f && fscanf(f, "%d", &pid) == 1)
		n += pid != getpid() && !is_doctor(pid);
	return n;
}

static bool holds_us(const char *folder)
{
	_cleanup_(cleanup_file) FILE *f = open_in(folder, "cgroup.procs");
	int pid;

	while (f && fscanf(f, "%d", &pid) == 1)
		if (pid == getpid())
			return true;
	return false;
}

/* Leaves of runs that could not go back. One that is in use cannot be removed. */
static void sweep_leaves(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		char path[PLAN_PATH_MAX + 300];
		int pid;

		if (sscanf(e->d_name, LEAF_PREFIX "%d", &pid) != 1 || pid <= 0 ||
		    kill(pid, 0) == 0 || errno != ESRCH)
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		rmdir(path);
	}
	if (dir)
		closedir(dir);
}

/* All that are in one folder go to another. */
static int move_all(const char *from, const char *to)
{
	_cleanup_(cleanup_file) FILE *f = open_in(from, "cgroup.procs");
	char text[16];
	int pid, r = 0;

	while (f && fscanf(f, "%d", &pid) == 1) {
		int moved;

		snprintf(text, sizeof(text), "%d", pid);
		moved = cgroup_write(to, "cgroup.procs", text);
		if (moved < 0 && moved != -ESRCH)
			r = moved;
	}
	return r;
}

static int enter_leaf(struct probe *probe, const char *home, struct cgroup_fault *ret_fault)
{
	char leaf[PLAN_PATH_MAX + 64];
	int r = 0;

	sweep_leaves(home);
	snprintf(leaf, sizeof(leaf), "%s/" LEAF_PREFIX "%d", home, (int)getpid());
	if (strlen(leaf) >= sizeof(probe->leaf))
		r = -ENAMETOOLONG;
	if (r == 0 && mkdir(leaf, 0755) < 0)
		r = -errno;
	if (r < 0) {
		note(ret_fault, home, r, "making a cgroup");
		return r;
	}
	strcpy(probe->leaf, leaf);
	r = move_all(home, leaf);
	if (r < 0)
		note(ret_fault, home, r, "moving into a leaf");
	return r;
}

/* Returns the controllers that are there for those below home. */
static uint32_t switch_on(struct probe *probe, const char *home, struct cgroup_fault *ret_fault)
{
	uint32_t on = 0;

	for (size_t i = 0; i < N_CONTROLLERS; i++) {
		const char *name = plan_layer_name(controllers[i]);
		char text[16];
		int r = 0;

		if (!cgroup_lists(home, "cgroup.controllers", name))
			continue;
		if (!cgroup_lists(home, CONTROL_FILE, name)) {
			snprintf(text, sizeof(text), "+%s", name);
			r = cgroup_write(home, CONTROL_FILE, text);
			if (r == 0)
				probe->enabled |= LAYER(controllers[i]);
		}
		if (r == 0)
			on |= LAYER(controllers[i]);
		else if (!ret_fault->error)
			note(ret_fault, home, r, "switching a controller on");
	}
	return on;
}

/* Which of them would be there, were they switched on? */
static uint32_t offered(const char *home)
{
	uint32_t there = 0;

	for (size_t i = 0; i < N_CONTROLLERS; i++)
		if (cgroup_lists(home, "cgroup.controllers", plan_layer_name(controllers[i])))
			there |= LAYER(controllers[i]);
	return there;
}

static bool try_each(const char *home, uint32_t layers, struct cgroup_fault *ret_fault)
{
	for (size_t i = 0; i < N_CONTROLLERS; i++)
		if ((layers & LAYER(controllers[i])) &&
		    !cgroup_try(home, 2, controllers[i], ret_fault))
			return false;
	return true;
}

/* Makes home fit for slots' cgroups, if what is wanted is to be had there. */
static uint32_t settle_in(struct probe *probe, const char *home, uint32_t wanted,
			  struct cgroup_fault *ret_fault)
{
	uint32_t on;
	int r = 0;

	if ((offered(home) & wanted) != wanted) {
		note(ret_fault, home, -ENOENT, "finding controllers");
		return 0;
	}
	if (faccessat(AT_FDCWD, home, W_OK, AT_EACCESS) < 0) {
		note(ret_fault, home, -errno, "making a cgroup");
		return 0;
	}
	strcpy(probe->home, home);
	if (!is_top(home)) {
		if (count_others(home) > 0) {
			note(ret_fault, home, -EBUSY, "moving into a leaf");
			r = -EBUSY;
		} else if (holds_us(home)) {
			r = enter_leaf(probe, home, ret_fault);
		}
	}
	on = r == 0 ? switch_on(probe, home, ret_fault) : 0;
	if (on && (on & wanted) == wanted && try_each(home, on & wanted, ret_fault)) {
		*ret_fault = (struct cgroup_fault){0};
		return on;
	}
	probe_undo(probe);
	return 0;
}

void probe_undo(struct probe *probe)
{
	if (!probe->home[0])
		return;
	/* In this order: a process may go back only where no controller is given on. */
	for (size_t i = 0; i < N_CONTROLLERS; i++) {
		char text[16];

		if (!(probe->enabled & LAYER(controllers[i])))
			continue;
		snprintf(text, sizeof(text), "-%s", plan_layer_name(controllers[i]));
		cgroup_write(probe->home, CONTROL_FILE, text);
	}
	if (probe->leaf[0]) {
		move_all(probe->leaf, probe->home);
		rmdir(probe->leaf);
	}
	probe->home[0] = '\0';
	probe->leaf[0] = '\0';
	probe->enabled = 0;
}

uint32_t cgroup_settle_v2(struct probe *probe, const struct cgroup_place *place,
			  struct cgroup_fault *ret_fault)
{
	struct cgroup_fault other = {0};
	char home[PLAN_PATH_MAX];
	uint32_t on, some;

	on = settle_in(probe, place->own, NEEDED, ret_fault);
	strcpy(home, place->own);
	while (!on && strlen(home) > strlen(place->top)) {
		*strrchr(home, '/') = '\0';
		on = settle_in(probe, home, NEEDED, &other);
	}
	if (on)
		*ret_fault = (struct cgroup_fault){0};
	/* Not all is to be had anywhere: then what there is where we are. */
	some = offered(place->own);
	if (!on && some && (some & NEEDED) != NEEDED)
		on = settle_in(probe, place->own, some, &other);
	return on;
}
