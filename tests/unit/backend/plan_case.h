/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLAN_CASE_H
#define PLAN_CASE_H

/* A plan made from options given in the test, on a machine that allows everything unless said. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/local/plan_make.h"

#define GIB (UINT64_C(1) << 30)

static struct plan plan;
static struct probe found;
static char error[4096];

static inline struct plan_options options_init(void)
{
	memset(&found, 0, sizeof(found));
	for (int i = 0; i < PLAN_N_LAYERS; i++)
		found.rows[i].works = true;
	/* What this kernel has; 2 where it has none: the plan is made all the same. */
	found.landlock_abi = (uint32_t)syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
	if ((int)found.landlock_abi < 2)
		found.landlock_abi = 2;
	found.is_root = geteuid() == 0;
	return (struct plan_options){
		.params = {.memory_bytes = 2 * GIB,
			   .disk_bytes = GIB,
			   .n_pids = 512,
			   .network = PLAN_NETWORK_NONE},
		.n_seats = 10,
		.uid_base = 0x70000000,
		.cpu_weight = 100,
		.cgroup_prefix = "test-",
	};
}

static inline void make_good(const struct plan_options *o)
{
	int r;

	error[0] = '\0';
	r = plan_make(&plan, o, &found, error, sizeof(error));
	if (r < 0)
		print_error("%s\n", error);
	assert_int_equal(r, 0);
}

static inline void make_wrong(const struct plan_options *o, int expected, const char *text)
{
	error[0] = '\0';
	assert_int_equal(plan_make(&plan, o, &found, error, sizeof(error)), expected);
	if (!strstr(error, text))
		fail_msg("\"%s\" does not say \"%s\"", error, text);
}

static inline const struct plan_mount *row_of(const char *target, enum plan_stage stage)
{
	for (uint32_t i = 0; i < plan.n_mounts; i++)
		if (plan.mounts[i].stage == stage && !strcmp(plan.mounts[i].target, target))
			return &plan.mounts[i];
	return NULL;
}

/* Runs act(context) in a child of its own and returns what it did, or 256 + the signal that ended it. */
static inline int in_child(int (*act)(const void *context), const void *context)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(act(context));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

#endif
