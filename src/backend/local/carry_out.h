/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_CARRY_OUT_H
#define BACKEND_LOCAL_CARRY_OUT_H

/*
 * The parts of a plan, carried out. All but the cgroup's act on the calling process. They are part
 * of a static program that must stay small: no stdio, nothing allocated. Where one fails, -errno, and
 * the step that failed in *ret_step (a literal, or a path of the plan's).
 */

#include "backend/local/plan.h"

/* namespace.c: the flags of what the maker unshares, and for clone() of a slot's init, and a room's. */
uint64_t namespace_maker_flags(const struct plan *p);
uint64_t namespace_slot_flags(const struct plan *p, const struct plan_params *params);
uint64_t namespace_room_flags(const struct plan *p, bool own_ipc);
/* Who makes a slot's user namespace pays for what is counted there: the seat's own id, not root. */
int namespace_pay_as(const struct plan *p, uint32_t seat);
void namespace_pay_as_ourselves(const struct plan *p);
/* Writes the id maps of pid, as its parent. */
int namespace_map_ids(const struct plan *p, uint32_t seat, int pid, const char **ret_step);
/* Becomes the slot's init's id, with all capabilities it has. */
int namespace_become_init(const struct plan *p, const char **ret_step);
/* Makes the slot's other ones, once, before anything of a guest runs: they cost most, and a slot that
 * only keeps files needs none of them. */
int namespace_make_late(const struct plan *p, const struct plan_params *params,
			const char **ret_step);
/* Bounds what an ipc namespace of our own may hold, where the kernel lets us. */
void namespace_limit_ipc(const struct plan_params *params);
/* Turns lo on. */
int namespace_loopback_up(const char **ret_step);
/* Becomes the guest: its ids, no capability, ever. */
int namespace_become_guest(const struct plan *p, const char **ret_step);

/* mount.c: carries out the rows of one stage below root ("": the current root). */
int mount_stage(const struct plan *p, const struct plan_params *params, enum plan_stage stage,
		const char *root, const char **ret_step);
/* Nothing can be written there any more (but to devices, and what is mounted on top). */
int mount_shut(const char *path, const char **ret_step);
/* Makes path, with what is mounted below, a mount of this namespace's own. */
int mount_copy(const char *path, const char **ret_step);
/* Makes path, a mount of its own, the root, and leaves nothing of the old one. */
int mount_enter_root(const char *path, const char **ret_step);

/* landlock.c: opens the rules' paths where they are now, and shuts this process in. */
int landlock_enter(const struct plan *p, const struct plan_params *params, const char **ret_step);

/* seccomp.c's filter, installed. no_new_privs must be set. */
int filter_enter(const struct plan *p, const char **ret_step);

int rlimit_enter(const struct plan *p, const char **ret_step);

/* cgroup.c */
enum {
	CGROUP_OOM,  /* memory.events, or memory.oom_control: its "oom_kill N" */
	CGROUP_PIDS, /* pids.events: its "max N" */
	CGROUP_N_FDS
};
/* Makes the folders of a seat, with caps and weight; opens what tells of their events (or -1). */
int cgroup_make(const struct plan *p, uint32_t seat, const struct plan_params *params,
		int ret_fds[CGROUP_N_FDS], const char **ret_step);
/* Puts a process there. */
int cgroup_enter(const struct plan *p, uint32_t seat, int pid, const char **ret_step);
/* With version 2 a process can be cloned into its cgroup: a descriptor for that, or -errno. */
int cgroup_open(const struct plan *p, uint32_t seat);
/* -EBUSY: somebody is left in it. */
int cgroup_remove(const struct plan *p, uint32_t seat);
/* Removes what an earlier run of this instance left; kills who is in it. */
void cgroup_sweep(const struct plan *p);

#endif
