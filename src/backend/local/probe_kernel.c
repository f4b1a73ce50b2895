/* SPDX-License-Identifier: Apache-2.0 */
/* What a process shuts itself in with: seccomp and Landlock. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/local/landlock_abi.h"
#include "backend/local/probe_part.h"
#include "base/cleanup.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self  446
#endif
#define CREATE_RULESET_VERSION 1
/* REFER: without it renames between directories are refused whatever the rules say. */
#define ABI_MIN 2

/* ---- seccomp -------------------------------------------------------------------------------------- */

/* The twin of a guest's: denies one call, by an errno that nothing else gives. */
static int try_filter(const struct plan *plan, const char **ret_step)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	(void)plan;
	*ret_step = "no_new_privs";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	*ret_step = "installing a filter";
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return -errno;
	*ret_step = "a filter that denies";
	return syscall(SYS_getppid) == -1 && errno == EXDEV ? 0 : -ENOSYS;
}

void probe_seccomp(struct probe *probe, const struct plan *plan)
{
	struct probe_row *row = &probe->rows[PLAN_SECCOMP];
	struct trial_outcome o = trial_run_plain(plan, &(struct trial){.run = try_filter});

	if (o.stage == TRIAL_PASSED) {
		probe_works(row, "filters of system calls");
	} else if (probe_has_seccomp()) {
		probe_blame_seccomp(row, o.error, "seccomp and prctl");
	} else if (o.error == EINVAL || o.error == ENOSYS) {
		probe_detail(row, o.error, "%s: this kernel has no filters of system calls",
			     o.step);
		probe_remedy(row, "use a kernel built with CONFIG_SECCOMP_FILTER; or "
				  "--accept-missing=seccomp");
	} else {
		probe_blame_security_module(row, o.error, o.step);
	}
}

/* ---- Landlock ------------------------------------------------------------------------------------- */

static int landlock_version(void)
{
	long r = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);

	return r < 0 ? -errno : (int)r;
}

static bool root_is_shut(void)
{
	_cleanup_(cleanup_close) int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 && errno == EACCES;
}

/* Shuts the file system, and looks. */
static int try_landlock(const struct plan *plan, const char **ret_step)
{
	const struct ll_ruleset_attr attr = {.handled_access_fs = LL_READ_DIR};
	_cleanup_(cleanup_close) int rules = -1;

	(void)plan;
	*ret_step = "landlock_create_ruleset";
	rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
	if (rules < 0)
		return -errno;
	*ret_step = "landlock_restrict_self";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		return -errno;
	*ret_step = "a rule that denies";
	return root_is_shut() ? 0 : -ENOSYS;
}

static void blame_boot(struct probe_row *row)
{
	char list[128] = "";

	probe_read_text("/sys/kernel/security/lsm", list, sizeof(list));
	list[strcspn(list, "\n")] = '\0';
	probe_detail(row, EOPNOTSUPP,
		     "the kernel has Landlock, but it was not switched on at boot");
	probe_remedy(row,
		     "add landlock to the kernel's command line: lsm=landlock,%.120s (in "
		     "/etc/default/grub, then sudo update-grub, and reboot); or "
		     "--accept-missing=landlock",
		     list[0] ? list : "lockdown,yama,integrity,apparmor,bpf");
}

void probe_landlock(struct probe *probe, const struct plan *plan)
{
	struct probe_row *row = &probe->rows[PLAN_LANDLOCK];
	int abi = landlock_version();
	struct trial_outcome o;

	if (abi == -EOPNOTSUPP) {
		blame_boot(row);
		return;
	}
	if (abi < 0 && probe_has_seccomp()) {
		probe_blame_seccomp(
			row, -abi,
			"landlock_create_ruleset, landlock_add_rule, landlock_restrict_self");
		return;
	}
	if (abi < ABI_MIN) {
		probe_detail(
			row, abi < 0 ? -abi : EOPNOTSUPP,
			abi < 0 ? "this kernel has no Landlock"
				: "Landlock's ABI 1 is too old: every rename would be refused");
		probe_remedy(row,
			     "use Linux 5.19 or later, built with CONFIG_SECURITY_LANDLOCK; or "
			     "--accept-missing=landlock");
		return;
	}
	o = trial_run_plain(plan, &(struct trial){.run = try_landlock});
	if (o.stage != TRIAL_PASSED) {
		probe_blame_security_module(row, o.error, o.step);
		return;
	}
	probe_works(row, "ABI %d", abi);
	probe->landlock_abi = (uint32_t)abi;
}
