/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where our cgroups are in the file system: /proc/self/cgroup names a path in each hierarchy, and
 * /proc/self/mountinfo tells which part of which hierarchy is mounted where. In a container the path
 * may not be visible; then the top of the mount is all there is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/local/probe_part.h"
#include "base/cleanup.h"

struct mount_line {
	char root[PLAN_PATH_MAX];
	char target[PLAN_PATH_MAX];
	char type[16];
	char options[PLAN_PATH_MAX]; /* of the file system */
};

static void cleanup_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

/* Is word one of the words in list, which commas or spaces set apart? */
static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *at = list; *at;) {
		size_t n_here = strcspn(at, ", \n");

		if (n_here == n && strncmp(at, word, n) == 0)
			return true;
		at += n_here;
		at += strspn(at, ", \n");
	}
	return false;
}

/* \040 and the like, as the kernel writes what would break the line. */
static void decode(char *path)
{
	char *to = path;

	for (const char *c = path; *c; to++) {
		if (c[0] == '\\' && c[1] && c[2] && c[3]) {
			*to = (char)((c[1] - '0') << 6 | (c[2] - '0') << 3 | (c[3] - '0'));
			c += 4;
		} else {
			*to = *c++;
		}
	}
	*to = '\0';
}

static bool read_mount(const char *line, struct mount_line *ret)
{
	const char *dash = strstr(line, " - ");

	if (!dash || sscanf(line, "%*s %*s %*s %255s %255s", ret->root, ret->target) != 2 ||
	    sscanf(dash + 3, "%15s %*s %255s", ret->type, ret->options) != 2)
		return false;
	decode(ret->root);
	decode(ret->target);
	return true;
}

/* The path of our cgroup in the hierarchy of that controller. */
static bool read_own_path(const char *controller, char ret_path[PLAN_PATH_MAX])
{
	_cleanup_(cleanup_file) FILE *f = fopen("/proc/self/cgroup", "re");
	char line[1024];

	while (f && fgets(line, sizeof(line), f)) {
		char *names = strchr(line, ':');
		char *path = names ? strchr(names + 1, ':') : NULL;

		if (!path || strlen(path + 1) >= PLAN_PATH_MAX)
			continue;
		*path++ = '\0';
		names++;
		path[strcspn(path, "\n")] = '\0';
		if (controller ? !has_word(names, controller) : names[0] != '\0')
			continue;
		strcpy(ret_path, path);
		return true;
	}
	return false;
}

/* The part of path that lies below the mount's root; "" where it is not visible. */
static const char *below(const char *path, const char *root)
{
	size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);

	if (strncmp(path, root, n) != 0 || (path[n] && path[n] != '/') || strstr(path, "/.."))
		return "";
	return strcmp(path + n, "/") == 0 ? "" : path + n;
}

/* Takes a mount of that hierarchy if it shows our cgroup, or as well as nothing. */
static void consider(const struct mount_line *m, const char *own, struct cgroup_place *place)
{
	const char *rest = below(own, m->root);
	char path[2 * PLAN_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s%s/cgroup.procs", m->target, rest);
	if (access(path, F_OK) < 0) {
		rest = "";
		snprintf(path, sizeof(path), "%s/cgroup.procs", m->target);
	}
	*strrchr(path, '/') = '\0';
	if (strlen(path) >= PLAN_PATH_MAX - 64 || (place->version && !rest[0]))
		return;
	place->version = strcmp(m->type, "cgroup2") == 0 ? 2 : 1;
	strcpy(place->own, path);
	strcpy(place->top, m->target);
}

struct cgroup_place cgroup_find(const char *controller)
{
	_cleanup_(cleanup_file) FILE *f = fopen("/proc/self/mountinfo", "re");
	struct cgroup_place place = {0};
	char own[PLAN_PATH_MAX];
	char line[4096];
	struct mount_line m;

	if (!read_own_path(controller, own))
		return place;
	while (f && fgets(line, sizeof(line), f)) {
		if (!read_mount(line, &m))
			continue;
		if (controller ? strcmp(m.type, "cgroup") == 0 && has_word(m.options, controller)
			       : strcmp(m.type, "cgroup2") == 0)
			consider(&m, own, &place);
	}
	return place;
}

bool cgroup_kernel_has(const char *controller)
{
	_cleanup_(cleanup_file) FILE *f = fopen("/proc/cgroups", "re");
	char line[256], name[64];
	int enabled;

	/* No such file: a kernel without cgroup v1, of which only v2 can tell. */
	if (!f)
		return true;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %*d %*d %d", name, &enabled) == 2 &&
		    strcmp(name, controller) == 0)
			return enabled;
	return false;
}

bool cgroup_lists(const char *folder, const char *name, const char *word)
{
	char path[PLAN_PATH_MAX + 64], text[512];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return probe_read_text(path, text, sizeof(text)) == 0 && has_word(text, word);
}
