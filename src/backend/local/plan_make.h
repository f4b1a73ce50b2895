/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_PLAN_MAKE_H
#define BACKEND_LOCAL_PLAN_MAKE_H

/* From what the operator said and what this machine allows to the plan. Only toolringd does this. */

#include <stdio.h>

#include "backend/local/plan.h"
#include "backend/local/probe.h"

struct plan_bind_option {
	const char *source;
	const char *target; /* inside */
};

struct plan_options {
	struct plan_params params;
	uint32_t n_seats;
	uint32_t uid_base; /* as root: the first of the seats' ids */
	uint32_t cpu_weight;
	uint32_t accept_missing; /* 1 << enum plan_layer */
	const char *shell;       /* inside; NULL or "": /bin/bash, or /bin/sh where there is none */
	const char *zygote; /* the host's path of the object for bash; NULL: none is to be used */
	const char *const *env; /* n_env NAME=VALUE that the operator adds */
	size_t n_env;
	const struct plan_bind_option *binds;
	size_t n_binds;
	const char *cgroup_prefix;
};

/*
 * Fills in p. -EINVAL: an option is wrong; -EPERM: a layer is missing that was not accepted; the
 * cause and the remedy are in error. probe: what probe_machine() found.
 */
int plan_make(struct plan *p, const struct plan_options *options, const struct probe *probe,
	      char *error, size_t n_error);

/* As JSON, whole: what --plan prints. seccomp as the names of the calls that are denied. */
void plan_print(const struct plan *p, FILE *out);

/* The filter for guests. -errno. (libseccomp; plan.filter is filled.) */
int seccomp_make(struct plan *p, char *error, size_t n_error);
/* Names of what it denies, for plan_print(); NULL past the last. */
const char *seccomp_denied(size_t index);

#endif
