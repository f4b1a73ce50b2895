/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXECUTOR_CONFIG_H
#define EXECUTOR_CONFIG_H

/*
 * What the operator said: flags, then the environment, then a .env file, then defaults. Everything
 * is settled and checked before anything starts; afterwards a struct config is plain data.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/log.h"
#include "executor/limits.h"

#define CONFIG_ERROR_BYTES   512
#define CONFIG_N_OPTIONS_MAX 48
#define CONFIG_NS_UNSET      UINT64_MAX
/* The local backend has places for as many slots at a time, those that are made ahead or on their way
 * out among them. */
#define CONFIG_SEATS_MAX   32768
#define CONFIG_SEATS_GOING 16

enum config_action {
	CONFIG_RUN,
	CONFIG_CHECK,   /* --check-config: print it and leave */
	CONFIG_HELP,    /* --help */
	CONFIG_VERSION, /* --version */
	CONFIG_PROBE,   /* --probe: what this machine can do; as JSON with config.json */
	CONFIG_PLAN,    /* --plan: what slots would be made to, as JSON */
};

enum config_backend {
	CONFIG_BACKEND_LOCAL,
	CONFIG_BACKEND_FAKE,
};

enum config_network {
	CONFIG_NETWORK_NONE,
	CONFIG_NETWORK_HOST,
};

struct config_list {
	char **items;
	size_t n;
};

enum config_source {
	CONFIG_FROM_DEFAULT,
	CONFIG_FROM_ENV_FILE,
	CONFIG_FROM_ENVIRONMENT,
	CONFIG_FROM_FLAG,
};

struct config_origin {
	enum config_source source;
	unsigned int line; /* of the .env file */
	char name[56];     /* what it was called there, e.g. "TOOLRING_SLOTS_MAX"; "": a default */
};

struct config {
	char *name;        /* of the instance: [A-Za-z0-9._-]{1,64} */
	char *socket;      /* "": derived from the name */
	char *runtime_dir; /* $XDG_RUNTIME_DIR; "" if it is not set */
	enum config_backend backend;
	char *fake; /* options of the fake backend, for it to read */
	uint32_t n_slots_max;
	uint32_t n_slots_min;  /* made at the start */
	uint32_t n_slots_warm; /* kept ready beyond those in use */
	/* What a slot may be: the most that ACQUIRE's spec may ask for, and what it gets otherwise. */
	enum config_network network;
	uint64_t memory_bytes;
	uint64_t disk_bytes;
	uint32_t n_pids;
	uint32_t cpu_weight;
	char *shell;                   /* inside slots; "": bash, or sh where there is none */
	struct config_list slot_env;   /* NAME=VALUE */
	struct config_list slot_binds; /* SOURCE or SOURCE:TARGET */
	uint32_t accept_missing;       /* 1 << enum plan_layer */
	char *slot_program;            /* "": the one beside toolringd */
	uint32_t uid_base;             /* as root: the first of the slots' ids */
	uint64_t acquire_timeout_ns;
	uint64_t idle_ttl_ns;
	uint64_t default_timeout_ns; /* CONFIG_NS_UNSET: the backend's own */
	uint64_t batch_window_ns;    /* CONFIG_NS_UNSET: the backend's own */
	uint64_t spin_ns;            /* the executor's longest spin; 0: none */
	uid_t *allow_uids;           /* who may attach; never empty */
	size_t n_allow_uids;
	char *user;     /* whom the executor becomes when started by root */
	uid_t user_uid; /* valid if started by root, and then never 0 */
	gid_t user_gid;
	char **external_tools;
	size_t n_external_tools;
	uint32_t io_disable; /* enum loop_feature: to be done without */
	enum log_level log_level;
	int ready_fd; /* -1: none */
	int stop_fd;  /* -1: none */
	bool json;
	struct limits limits;

	/* Variables that are meant for us or the system we replace, and that nothing reads: a warning
	 * is due, since a policy that is dropped in silence is no policy. */
	char unread[512];

	/* where each value came from, for config_print() */
	char *env_file_path;
	struct config_origin option_origins[CONFIG_N_OPTIONS_MAX];
	struct config_origin limit_origins[N_LIMITS];
};

/*
 * Fills in c. env_file_path: usually ".env"; it need not exist; NULL: none is read. 0; -EINVAL with
 * a line of text that names what is wrong and where it was said; -ENOMEM, also with a text. On
 * error nothing is left to free. With CONFIG_HELP and CONFIG_VERSION the rest is not looked at.
 */
int config_parse(struct config *c, int argc, char **argv, char *const *envp,
		 const char *env_file_path, enum config_action *ret_action, char *ret_error,
		 size_t n_error);
void config_deinit(struct config *c);

/* Every option and limit with its value, where that came from, and why it is there. */
void config_print(const struct config *c, FILE *out);

/* The text of --help. */
void config_help(FILE *out);

/* Where the control socket lies. 0; -ENAMETOOLONG: too long for ret_path or for a Unix socket. */
int config_socket_path(const struct config *c, char *ret_path, size_t n);

#endif
