/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every layer is tried for real, in a child process made as slots are made: what a kernel's version
 * or configuration says does not tell what a container, a security module or a sysctl takes away.
 * Only once something was refused is it asked who may have refused it.
 */
#include "backend/local/probe.h"

#include <errno.h>
#include <string.h>

#include "backend/local/probe_part.h"
#include "base/cleanup.h"

void probe_machine(struct probe *probe)
{
	_cleanup_(cleanup_free) struct plan *plan = trial_plan();

	*probe = (struct probe){0};
	if (!plan) {
		for (size_t i = 0; i < PLAN_N_LAYERS; i++)
			probe_detail(&probe->rows[i], ENOMEM, "%s", strerror(ENOMEM));
		return;
	}
	probe->is_root = plan->n_ids > 1;
	probe_namespaces(probe, plan);
	probe_seccomp(probe, plan);
	probe_landlock(probe, plan);
	probe_cgroups(probe);
}
