/* SPDX-License-Identifier: Apache-2.0 */
/* What both sides of a plan need: part of the static toolring-slot, hence no stdio and no memory. */
#include "backend/local/plan.h"

#include <string.h>

#define PAGE        UINT64_C(4096)
#define INODE_BYTES UINT64_C(16384) /* of a cap for each inode allowed ... */
#define INODES_MIN  UINT64_C(1024)
#define INODES_MAX  (UINT64_C(1) << 20)
#define INODE_COST  UINT64_C(2048) /* ... which costs at most this of the kernel's memory */
#define ROOMS       2              /* that may stand at a time: for calls, and for what is kept */
#define ID_LAST     UINT32_C(0xfffffffe)

static const char *const layer_names[PLAN_N_LAYERS] = {
	[PLAN_USER] = "user",       [PLAN_PID] = "pid",           [PLAN_MOUNT] = "mount",
	[PLAN_IPC] = "ipc",         [PLAN_NETWORK] = "network",   [PLAN_PROC] = "proc",
	[PLAN_SECCOMP] = "seccomp", [PLAN_LANDLOCK] = "landlock", [PLAN_MEMORY] = "memory",
	[PLAN_PIDS] = "pids",       [PLAN_CPU] = "cpu",
};

const char *plan_layer_name(enum plan_layer layer)
{
	return layer < PLAN_N_LAYERS ? layer_names[layer] : "?";
}

uint64_t plan_mount_bytes(const struct plan_mount *m, const struct plan_params *params)
{
	uint64_t bytes = m->size_bytes;

	if (m->size == PLAN_SIZE_DISK)
		bytes = params->disk_bytes;
	else if (m->size == PLAN_SIZE_TMP)
		bytes = params->disk_bytes / 2;
	else if (m->size == PLAN_SIZE_SHM)
		bytes = params->disk_bytes / PLAN_SHM_SHARE;
	/* To tmpfs 0 means that there is no cap. */
	return bytes < PAGE ? PAGE : bytes;
}

uint64_t plan_mount_inodes(const struct plan_mount *m, const struct plan_params *params)
{
	uint64_t n;

	if (m->size == PLAN_SIZE_FIXED)
		return m->n_inodes ? m->n_inodes : INODES_MIN;
	n = plan_mount_bytes(m, params) / INODE_BYTES;
	return n < INODES_MIN ? INODES_MIN : n > INODES_MAX ? INODES_MAX : n;
}

uint64_t plan_memory_cap(const struct plan *p, const struct plan_params *params)
{
	uint64_t cap;

	if (__builtin_add_overflow(params->memory_bytes, PLAN_OWN_BYTES, &cap))
		return UINT64_MAX;
	for (uint32_t i = 0; i < p->n_mounts; i++) {
		const struct plan_mount *m = &p->mounts[i];
		uint64_t bytes;

		/* What lies in the template is not the slot's. */
		if (m->kind != PLAN_TMPFS || m->stage == PLAN_TEMPLATE)
			continue;
		if (__builtin_add_overflow(plan_mount_bytes(m, params),
					   plan_mount_inodes(m, params) * INODE_COST, &bytes) ||
		    __builtin_mul_overflow(bytes, m->stage == PLAN_SLOT ? 1 : ROOMS, &bytes) ||
		    __builtin_add_overflow(cap, bytes, &cap))
			return UINT64_MAX;
	}
	return cap;
}

uint32_t plan_outer_id(const struct plan *p, uint32_t seat, uint32_t inside)
{
	return p->n_ids == 1 ? p->outer_uid : p->uid_first + seat * p->n_ids + inside;
}

static bool is_string(const char *text, size_t n)
{
	return memchr(text, '\0', n) != NULL;
}

/* Absolute, and no step of it leads back. */
static bool is_path(const char *path)
{
	if (!is_string(path, PLAN_PATH_MAX) || path[0] != '/')
		return false;
	for (const char *at = path; (at = strstr(at, "/..")); at += 3)
		if (at[3] == '\0' || at[3] == '/')
			return false;
	return true;
}

static bool mounts_are_sound(const struct plan *p)
{
	for (uint32_t i = 0; i < p->n_mounts; i++) {
		const struct plan_mount *m = &p->mounts[i];

		if (m->stage > PLAN_ROOM_LATE || m->kind > PLAN_DEVPTS || m->size > PLAN_SIZE_SHM ||
		    m->mode > 07777 || !is_path(m->target) ||
		    !is_string(m->source, sizeof(m->source)))
			return false;
		if ((m->kind == PLAN_BIND || m->kind == PLAN_DEVICE || m->kind == PLAN_COPY) &&
		    !is_path(m->source))
			return false;
	}
	return true;
}

static bool rules_are_sound(const struct plan *p)
{
	for (uint32_t i = 0; i < p->n_rules; i++)
		if (!is_path(p->rules[i].path) || (p->rules[i].access & ~p->landlock_handled))
			return false;
	return true;
}

/* Whoever is somebody inside is nobody outside: no range holds root, and none runs over. */
static bool ids_are_sound(const struct plan *p)
{
	if (p->n_seats < 1 || p->n_seats > PLAN_SEATS_MAX || p->n_ids < 1)
		return false;
	if (p->n_ids == 1)
		return p->outer_uid != 0;
	return p->uid_first > 0 && p->guest_uid < p->n_ids && p->guest_gid < p->n_ids &&
	       p->uid_first + (uint64_t)p->n_seats * p->n_ids <= ID_LAST;
}

static bool strings_are_sound(const struct plan *p)
{
	const struct plan_cgroup *c = &p->cgroup;

	return is_path(p->shell) && is_string(p->zygote_path, sizeof(p->zygote_path)) &&
	       (!p->has_zygote || is_path(p->zygote_path)) &&
	       is_string(c->memory, sizeof(c->memory)) && is_string(c->pids, sizeof(c->pids)) &&
	       is_string(c->cpu, sizeof(c->cpu)) && is_string(c->prefix, sizeof(c->prefix)) &&
	       !strchr(c->prefix, '/') && (!p->n_env_bytes || p->env[p->n_env_bytes - 1] == '\0');
}

bool plan_is_sound(const struct plan *p, size_t n_bytes)
{
	if (n_bytes != sizeof(*p) || p->magic != PLAN_MAGIC || p->version != PLAN_VERSION ||
	    p->size != sizeof(*p))
		return false;
	if (p->n_mounts > PLAN_MOUNTS_MAX || p->n_rlimits > PLAN_RLIMITS_MAX ||
	    p->n_rules > PLAN_RULES_MAX || p->n_filter > PLAN_FILTER_MAX ||
	    p->n_env_bytes > PLAN_ENV_MAX || p->layers >> PLAN_N_LAYERS || p->cgroup.version > 2)
		return false;
	if ((plan_has(p, PLAN_SECCOMP) && !p->n_filter) ||
	    (plan_has(p, PLAN_LANDLOCK) && !p->n_rules))
		return false;
	return strings_are_sound(p) && ids_are_sound(p) && mounts_are_sound(p) &&
	       rules_are_sound(p);
}
