/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest's process takes upon itself for good: the filter of system calls, and limits. */
#include <errno.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/local/carry_out.h"

int filter_enter(const struct plan *p, const char **ret_step)
{
	struct sock_fprog program = {
		.len = (unsigned short)p->n_filter,
		.filter = (struct sock_filter *)(uintptr_t)p->filter,
	};

	if (!plan_has(p, PLAN_SECCOMP))
		return 0;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0) {
		*ret_step = "entering the seccomp filter";
		return -errno;
	}
	return 0;
}

int rlimit_enter(const struct plan *p, const char **ret_step)
{
	for (uint32_t i = 0; i < p->n_rlimits; i++) {
		const struct plan_rlimit *l = &p->rlimits[i];
		struct rlimit limit = {.rlim_cur = l->soft, .rlim_max = l->hard};

		if (setrlimit((__rlimit_resource_t)l->resource, &limit) < 0) {
			*ret_step = "setting a resource limit";
			return -errno;
		}
	}
	return 0;
}
