/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_PROBE_PART_H
#define BACKEND_LOCAL_PROBE_PART_H

/* What the parts of the probe share. Of no use to anybody else. */

#include "backend/local/plan.h"
#include "backend/local/probe.h"

/* ---- probe_say.c: words, and what they are made from ---------------------------------------------- */

void probe_works(struct probe_row *row, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void probe_detail(struct probe_row *row, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void probe_remedy(struct probe_row *row, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The number in a file; -1 if there is none. */
long probe_read_number(const char *path);
/* The first n - 1 bytes of a file, as a string. -errno. */
int probe_read_text(const char *path, char *ret_text, size_t n);
/* Does a seccomp filter hold us? */
bool probe_has_seccomp(void);
/* The remedy where that filter is what refuses these system calls. */
void probe_blame_seccomp(struct probe_row *row, int error, const char *calls);
/* The remedy where nothing tells who refuses. */
void probe_blame_security_module(struct probe_row *row, int error, const char *step);

/* ---- probe_trial.c: a try, in a process made as slots are made ------------------------------------ */

enum trial_stage {
	TRIAL_PASSED,
	TRIAL_MAKER, /* what the maker does for itself */
	TRIAL_CLONE, /* of a slot's init */
	TRIAL_MAP,   /* its ids */
	TRIAL_RUN,   /* the try itself */
	TRIAL_DIED,
};

struct trial {
	uint64_t flags; /* namespaces, besides the user one */
	/* Runs in the new process; 0 or -errno, with the step that failed. */
	int (*run)(const struct plan *plan, const char **ret_step);
};

struct trial_outcome {
	enum trial_stage stage;
	int error; /* errno */
	char step[96];
};

/* A plan to try with: ids, and a few rows of mounts. free() it. NULL: no memory. */
struct plan *trial_plan(void);
struct trial_outcome trial_run(const struct plan *plan, const struct trial *trial);
/* The same in a plain child: no namespaces. */
struct trial_outcome trial_run_plain(const struct plan *plan, const struct trial *trial);

/* ---- the rows ------------------------------------------------------------------------------------- */

/* probe_namespace.c: user to proc */
void probe_namespaces(struct probe *probe, const struct plan *plan);
/* probe_kernel.c */
void probe_seccomp(struct probe *probe, const struct plan *plan);
void probe_landlock(struct probe *probe, const struct plan *plan);
/* probe_cgroup.c: memory, pids, cpu */
void probe_cgroups(struct probe *probe);

/* ---- cgroups -------------------------------------------------------------------------------------- */

/* Where a controller is, or why not. */
struct cgroup_place {
	uint32_t version;        /* 0: its hierarchy is not mounted here */
	char own[PLAN_PATH_MAX]; /* the folder of the cgroup that we are in */
	char top[PLAN_PATH_MAX]; /* where that hierarchy is mounted */
};

/* What failed on a folder; error 0: nothing did. */
struct cgroup_fault {
	int error; /* errno */
	const char *step;
	char folder[PLAN_PATH_MAX];
};

/* probe_cgroup_find.c: controller is NULL for cgroup v2's hierarchy. */
struct cgroup_place cgroup_find(const char *controller);
/* Does this kernel have the controller, not switched off at boot? */
bool cgroup_kernel_has(const char *controller);

/* probe_cgroup_try.c: makes a folder in home, caps it for real, puts a process there, and removes
 * it. Leaves the first fault in ret_fault. */
bool cgroup_try(const char *home, uint32_t version, enum plan_layer layer,
		struct cgroup_fault *ret_fault);

/* probe_cgroup_v2.c: finds home, goes to a leaf if need be, switches controllers on. ret_place is
 * v2's. Returns the layers that home can give to folders in it. */
uint32_t cgroup_settle_v2(struct probe *probe, const struct cgroup_place *place,
			  struct cgroup_fault *ret_fault);
/* Writes into a file of a folder; -errno. */
int cgroup_write(const char *folder, const char *name, const char *text);
/* Does the file, of words, hold this one? */
bool cgroup_lists(const char *folder, const char *name, const char *word);

#endif
