/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_PLAN_H
#define BACKEND_LOCAL_PLAN_H

/*
 * What every slot, room and process is made to, as data: settled once by toolringd, printed by
 * --plan, handed to toolring-slot in a file of memory, and carried out there by namespace.c,
 * mount.c, landlock.c and their like. Nothing is made any other way. Flat, without pointers.
 */

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAN_MAGIC       UINT32_C(0x6e616c70) /* "plan" */
#define PLAN_VERSION     1
#define PLAN_PATH_MAX    256
#define PLAN_MOUNTS_MAX  96
#define PLAN_ENV_MAX     16384 /* bytes */
#define PLAN_RLIMITS_MAX 16
#define PLAN_RULES_MAX   32
#define PLAN_FILTER_MAX  1024 /* instructions */
#define PLAN_SEATS_MAX   32768
/* Of a slot's cap on processes these are ours: its init, and for each of its two rooms an init and
 * its zygotes. */
#define PLAN_OWN_PIDS 7
/* Of a slot's disk cap /dev/shm may hold one part in so many; System V memory too. */
#define PLAN_SHM_SHARE 4
/* Of a slot's memory cap this is ours: what its init holds of a call's output, two captures of up to
 * 64 MiB and the file of memory, as large as both, that carries them to the executor. Without it a
 * call with much output would have the init killed where the guest's own share is small. */
#define PLAN_OWN_BYTES (UINT64_C(256) << 20)

/* What isolates a slot. Each can be asked about by name (plan_layer_name()). */
enum plan_layer {
	PLAN_USER,     /* own user namespace: needed always, cannot be accepted missing */
	PLAN_PID,      /* needed always */
	PLAN_MOUNT,    /* own mount namespace and private root: needed always */
	PLAN_IPC,      /* ipc and uts */
	PLAN_NETWORK,  /* own net namespace, for slots with the network off */
	PLAN_PROC,     /* own /proc */
	PLAN_SECCOMP,  /* system calls denied */
	PLAN_LANDLOCK, /* a second wall around files */
	PLAN_MEMORY,   /* cgroup: memory cap */
	PLAN_PIDS,     /* cgroup: cap on processes */
	PLAN_CPU,      /* cgroup: CPU weight; its lack is told but stops nothing */
	PLAN_N_LAYERS
};

enum plan_network {
	PLAN_NETWORK_NONE = 1,
	PLAN_NETWORK_HOST = 2,
};

/* What may differ from slot to slot. */
struct plan_params {
	uint64_t memory_bytes;
	uint64_t disk_bytes; /* cap of /workspace; those of /tmp and /dev/shm follow from it */
	uint32_t n_pids;
	uint32_t network; /* enum plan_network */
};

enum plan_stage {
	PLAN_TEMPLATE, /* once, in the root that all slots clone */
	PLAN_SLOT,     /* once a slot, shared by its rooms */
	PLAN_ROOM,     /* once a room, before anything runs there */
	PLAN_ROOM_LATE, /* once a room, after its zygote is up (it may hide what that was loaded from) */
};

enum plan_kind {
	PLAN_DIRECTORY, /* mode */
	PLAN_SYMLINK,   /* source: what it says */
	PLAN_BIND,      /* host's source, with what is mounted below, read-only, nosuid, nodev */
	PLAN_DEVICE,    /* the host's device node source */
	PLAN_COPY,      /* a copy of the host's file source, mode */
	PLAN_TMPFS,     /* of size; mode; nosuid, nodev */
	PLAN_PROCFS,    /* of the pid namespace at hand; of an empty one in the template */
	PLAN_DEVPTS,
};

/* How much a tmpfs may hold. */
enum plan_size {
	PLAN_SIZE_FIXED, /* size_bytes and n_inodes stand in the row */
	PLAN_SIZE_DISK,  /* params.disk_bytes */
	PLAN_SIZE_TMP,   /* half of it */
	PLAN_SIZE_SHM,   /* a quarter of it */
};

struct plan_mount {
	uint8_t stage;    /* enum plan_stage */
	uint8_t kind;     /* enum plan_kind */
	uint8_t size;     /* enum plan_size */
	uint8_t optional; /* a source that is not there is passed over (settled by plan_make()) */
	uint16_t mode;
	uint16_t guest_owned; /* belongs to the guest and not to the slot's init */
	uint64_t size_bytes;
	uint64_t n_inodes;
	char source[PLAN_PATH_MAX];
	char target[PLAN_PATH_MAX]; /* in the slot's root */
};

struct plan_rlimit {
	int32_t resource;
	uint32_t reserved;
	uint64_t soft;
	uint64_t hard;
};

/* A Landlock rule: below path, these accesses. */
struct plan_rule {
	uint64_t access;
	char path[PLAN_PATH_MAX];
};

struct plan_cgroup {
	uint32_t version;    /* 2; 1; 0: none */
	uint32_t cpu_weight; /* as of cgroup v2: 1 to 10000 */
	/* Folders in which each slot gets one of its own; "": that controller cannot be had. With
	 * version 2 all three are the same. */
	char memory[PLAN_PATH_MAX];
	char pids[PLAN_PATH_MAX];
	char cpu[PLAN_PATH_MAX];
	char prefix[64]; /* of the slots' folders' names: this instance's alone */
};

struct plan {
	uint32_t magic;
	uint32_t version;
	uint32_t size;     /* of this struct */
	uint32_t layers;   /* 1 << enum plan_layer: carried out */
	uint32_t accepted; /* missing, and the operator said it may be */
	/* Ids. As root slot seat n has the host's ids [uid_first + n * n_ids, n_ids), as 0.. inside, and
	 * its init is 0 inside. Else (n_ids 1) the guest's id inside is the user outside, and the init's
	 * as well, which only its capabilities and its pid namespace set apart. */
	uint32_t uid_first;
	uint32_t n_ids;
	uint32_t outer_uid; /* n_ids 1: of the user outside */
	uint32_t outer_gid;
	uint32_t guest_uid;
	uint32_t guest_gid;
	uint32_t n_seats; /* slots that may be there at a time, with those that are going */
	struct plan_params
		params;      /* what a slot gets that asks for nothing: also the most it may ask */
	uint32_t has_zygote; /* the shell is a bash that can load zygote_path */
	uint32_t n_mounts;
	uint32_t n_rlimits;
	uint32_t n_rules;
	uint32_t landlock_abi; /* 0: none */
	uint32_t n_filter;
	uint32_t n_env_bytes;
	uint32_t reserved;
	uint64_t landlock_handled; /* accesses to files that are denied unless a rule allows them */
	uint64_t landlock_scoped;  /* with the network on */
	char shell[PLAN_PATH_MAX]; /* inside */
	char zygote_path
		[PLAN_PATH_MAX]; /* inside: where the object for bash is to be loaded from */
	struct plan_cgroup cgroup;
	struct plan_rlimit rlimits[PLAN_RLIMITS_MAX];
	struct plan_rule rules[PLAN_RULES_MAX];
	struct sock_filter filter[PLAN_FILTER_MAX]; /* seccomp, of everything that guests run */
	struct plan_mount mounts[PLAN_MOUNTS_MAX];
	char env[PLAN_ENV_MAX]; /* NAME=VALUE, each ended by NUL */
};

/* "user", "pid", "mount", "ipc", "network", "proc", "seccomp", "landlock", "memory", "pids", "cpu" */
const char *plan_layer_name(enum plan_layer layer);

static inline bool plan_has(const struct plan *p, enum plan_layer layer)
{
	return p->layers >> layer & 1;
}

/* Bytes a tmpfs of this row may hold, and inodes. */
uint64_t plan_mount_bytes(const struct plan_mount *m, const struct plan_params *params);
uint64_t plan_mount_inodes(const struct plan_mount *m, const struct plan_params *params);
/* The memory cap of a slot's cgroup: params->memory_bytes, PLAN_OWN_BYTES, and room for what its files
 * may take. */
uint64_t plan_memory_cap(const struct plan *p, const struct plan_params *params);
/* The host's id of id inside the slot of that seat. */
uint32_t plan_outer_id(const struct plan *p, uint32_t seat, uint32_t inside);
/* Is it what this program was built for, and whole? (Read from a file of memory.) */
bool plan_is_sound(const struct plan *p, size_t n_bytes);

#endif
