/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/local/carry_out.h"
#include "backend/local/landlock_abi.h"
#include "base/cleanup.h"

static int add_rule(int ruleset, const struct plan_rule *rule)
{
	_cleanup_(cleanup_close) int fd = open(rule->path, O_PATH | O_CLOEXEC);
	struct ll_path_beneath_attr attr = {.allowed_access = rule->access, .parent_fd = fd};

	if (fd < 0)
		return -errno;
	return syscall(SYS_landlock_add_rule, ruleset, LL_RULE_PATH_BENEATH, &attr, 0) < 0 ? -errno
											   : 0;
}

int landlock_enter(const struct plan *p, const struct plan_params *params, const char **ret_step)
{
	/* With the network off namespaces alone keep apart what the scopes would. */
	struct ll_ruleset_attr attr = {
		.handled_access_fs = p->landlock_handled,
		.scoped = params->network == PLAN_NETWORK_HOST ? p->landlock_scoped : 0,
	};
	_cleanup_(cleanup_close) int ruleset = -1;
	int r;

	if (!plan_has(p, PLAN_LANDLOCK))
		return 0;
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset < 0) {
		*ret_step = "Landlock's ruleset";
		return -errno;
	}
	for (uint32_t i = 0; i < p->n_rules; i++) {
		r = add_rule(ruleset, &p->rules[i]);
		if (r < 0) {
			*ret_step = p->rules[i].path;
			return r;
		}
	}
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0) {
		*ret_step = "entering Landlock";
		return -errno;
	}
	return 0;
}
