/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landlock's rules: what a guest may do where, said a second time apart from mounts and modes. They
 * are opened in a room that has its /proc, /tmp and /dev/shm, but not yet its /dev/pts, which lies
 * below /dev and so has that one's rule.
 */
#include <string.h>

#include "backend/local/landlock_abi.h"
#include "backend/local/plan_rows.h"

#define READ  (LL_READ_FILE | LL_READ_DIR)
#define WRITE (LL_WRITE_FILE | LL_TRUNCATE)

static const struct plan_rule rules[] = {
	{.path = "/", .access = READ | LL_EXECUTE},
	{.path = "/workspace", .access = LL_ALL},
	{.path = "/tmp", .access = LL_ALL},
	{.path = "/dev/shm", .access = LL_ALL},
	{.path = "/dev", .access = READ | WRITE | LL_IOCTL_DEV},
	{.path = "/proc", .access = READ | WRITE},
};

/* What the kernel's Landlock can tell apart. */
static uint64_t accesses_of(uint32_t abi)
{
	uint64_t all = LL_ALL;

	if (abi < 3)
		all &= ~LL_TRUNCATE;
	if (abi < 5)
		all &= ~LL_IOCTL_DEV;
	return all;
}

void plan_make_rules(struct plan_making *m)
{
	struct plan *p = m->plan;

	if (!plan_has(p, PLAN_LANDLOCK))
		return;
	p->landlock_abi = m->probe->landlock_abi;
	p->landlock_handled = accesses_of(p->landlock_abi);
	if (p->landlock_abi >= 6)
		p->landlock_scoped = LL_SCOPE_ABSTRACT_UNIX_SOCKET | LL_SCOPE_SIGNAL;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		p->rules[i] = rules[i];
		p->rules[i].access &= p->landlock_handled;
	}
	p->n_rules = sizeof(rules) / sizeof(rules[0]);
}
