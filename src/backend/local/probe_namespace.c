/* SPDX-License-Identifier: Apache-2.0 */
/* The namespaces of a slot: each tried alone, and its refusal traced to who refuses. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/local/carry_out.h"
#include "backend/local/probe_part.h"
#include "base/cleanup.h"

#define GROUND       "/sys" /* what the private root is tried on */
#define LIMIT_WANTED 15000
#define NAMESPACE_CALLS                                                                            \
	"clone, clone3, unshare, mount, umount2, mount_setattr, pivot_root and sethostname"

/* ---- tries ---------------------------------------------------------------------------------------- */

static int try_nothing(const struct plan *plan, const char **ret_step)
{
	(void)plan;
	(void)ret_step;
	return 0;
}

static int try_pid(const struct plan *plan, const char **ret_step)
{
	(void)plan;
	*ret_step = "being process 1";
	return getpid() == 1 ? 0 : -ENOSYS;
}

static int try_mount(const struct plan *plan, const char **ret_step)
{
	int r;

	*ret_step = "mounting a tmpfs";
	if (mount("tmpfs", GROUND, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") < 0)
		return -errno;
	r = mount_stage(plan, &plan->params, PLAN_TEMPLATE, GROUND, ret_step);
	if (r == 0)
		r = mount_shut(GROUND, ret_step);
	if (r == 0)
		r = mount_enter_root(GROUND, ret_step);
	if (r < 0)
		return r;
	*ret_step = "reading the private root";
	return access("/usr", F_OK) < 0 ? -errno : 0;
}

static int try_ipc(const struct plan *plan, const char **ret_step)
{
	(void)plan;
	*ret_step = "sethostname";
	return sethostname("slot", 4) < 0 ? -errno : 0;
}

static int try_network(const struct plan *plan, const char **ret_step)
{
	(void)plan;
	return namespace_loopback_up(ret_step);
}

static int try_proc(const struct plan *plan, const char **ret_step)
{
	(void)plan;
	*ret_step = "mounting a new /proc";
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return -errno;
	*ret_step = "reading a new /proc";
	return access("/proc/1/status", R_OK) < 0 ? -errno : 0;
}

static const struct layer {
	enum plan_layer layer;
	struct trial trial;
	const char *what;
	const char *limits[2]; /* sysctls user.NAME */
} layers[] = {
	{PLAN_USER, {0, try_nothing}, "user namespace", {"max_user_namespaces"}},
	{PLAN_PID, {CLONE_NEWPID, try_pid}, "pid namespace", {"max_pid_namespaces"}},
	{PLAN_MOUNT,
	 {CLONE_NEWNS, try_mount},
	 "mount namespace and a private root",
	 {"max_mnt_namespaces"}},
	{PLAN_IPC,
	 {CLONE_NEWIPC | CLONE_NEWUTS, try_ipc},
	 "ipc and uts namespace",
	 {"max_ipc_namespaces", "max_uts_namespaces"}},
	{PLAN_NETWORK,
	 {CLONE_NEWNET, try_network},
	 "net namespace with its own loopback",
	 {"max_net_namespaces"}},
	{PLAN_PROC,
	 {CLONE_NEWPID | CLONE_NEWNS, try_proc},
	 "/proc for each pid namespace",
	 {"max_pid_namespaces", "max_mnt_namespaces"}},
};

/* ---- who refuses ---------------------------------------------------------------------------------- */

/* ENOSPC: a limit of user.*; which one? It may be that of a user namespace further out. */
static void blame_limit(struct probe_row *row, const struct layer *l)
{
	const char *const names[] = {l->limits[0], l->limits[1], "max_user_namespaces"};
	const char *name = l->limits[0];
	long limit = -1;
	char path[64];

	for (size_t i = 0; i < 3 && limit != 0; i++) {
		if (!names[i])
			continue;
		snprintf(path, sizeof(path), "/proc/sys/user/%s", names[i]);
		limit = probe_read_number(path);
		if (limit == 0)
			name = names[i];
	}
	if (limit == 0)
		probe_detail(row, ENOSPC, "switched off: user.%s is 0", name);
	else
		probe_detail(row, ENOSPC,
			     "there may be no more of them: user.%s is used up, here or in a "
			     "namespace further out",
			     name);
	probe_remedy(row,
		     "sudo sysctl user.%s=%d (to keep it: echo user.%s=%d | sudo tee "
		     "/etc/sysctl.d/90-toolring.conf); in a container, on its host",
		     name, LIMIT_WANTED, name, LIMIT_WANTED);
}

static void blame_apparmor(struct probe_row *row, int error, const char *step)
{
	char path[128] = "";
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash = n > 0 ? strrchr(path, '/') : NULL;

	if (slash)
		*slash = '\0';
	probe_detail(row, error,
		     "%s: AppArmor takes the rights out of ordinary users' user namespaces "
		     "(kernel.apparmor_restrict_unprivileged_userns is 1)",
		     step);
	probe_remedy(row,
		     "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0; or, for these "
		     "programs alone: echo 'abi <abi/4.0>, profile toolring %.100s/toolring* "
		     "flags=(unconfined) { userns, }' | sudo tee /etc/apparmor.d/toolring && sudo "
		     "apparmor_parser -r /etc/apparmor.d/toolring",
		     slash ? path : "/usr/bin");
}

/* Where is something mounted whose path begins so? Decodes nothing: what it returns is only shown. */
static bool find_mount(const char *prefix, bool exactly, char ret_path[64])
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	bool found = false;
	char line[1024];

	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%*s %*s %*s %*s %63s", ret_path) == 1 &&
			strncmp(ret_path, prefix, strlen(prefix)) == 0 &&
			(!exactly || strcmp(ret_path, prefix) == 0) &&
			strcmp(ret_path, "/proc/sys/fs/binfmt_misc") != 0;
	if (f)
		fclose(f);
	return found;
}

/* After chroot no user namespace may be made. The root is then no mount's, or not that of process 1,
 * if we may see that. */
static bool is_chrooted(void)
{
	struct stat own, real;
	char path[64];

	if (!find_mount("/", true, path))
		return true;
	return stat("/", &own) == 0 && stat("/proc/1/root", &real) == 0 &&
	       (own.st_ino != real.st_ino || own.st_dev != real.st_dev);
}

static void blame_ids(struct probe_row *row, const struct plan *plan, int error, const char *step)
{
	probe_detail(row, error, "%s%s: the ids of slots cannot be mapped: %s",
		     step[0] == '/' ? "/proc/PID" : "", step, strerror(error));
	if (plan->n_ids > 1)
		probe_remedy(row, "this root holds no ids besides its own, or no right to hand "
				  "them on (cat /proc/self/uid_map; CAP_SETUID, CAP_SETGID): start "
				  "toolringd as an ordinary user");
	else
		probe_remedy(row, "see what refuses: dmesg | grep -iE 'apparmor|selinux|denied' | "
				  "tail");
}

static void blame_for_user(struct probe_row *row, const struct plan *plan,
			   const struct trial_outcome *o)
{
	bool at_birth = o->stage == TRIAL_MAKER || o->stage == TRIAL_CLONE;
	bool is_root = plan->n_ids > 1;

	if (at_birth && !is_root &&
	    probe_read_number("/proc/sys/kernel/unprivileged_userns_clone") == 0) {
		probe_detail(row, o->error, "kept for root: kernel.unprivileged_userns_clone is 0");
		probe_remedy(row, "sudo sysctl kernel.unprivileged_userns_clone=1 (to keep it: "
				  "echo kernel.unprivileged_userns_clone=1 | sudo tee "
				  "/etc/sysctl.d/90-toolring.conf)");
	} else if (at_birth && probe_has_seccomp()) {
		probe_blame_seccomp(row, o->error, NAMESPACE_CALLS);
	} else if (!is_root &&
		   probe_read_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") >
			   0) {
		blame_apparmor(row, o->error, o->step);
	} else if (!at_birth) {
		blame_ids(row, plan, o->error, o->step);
	} else if (is_chrooted()) {
		probe_detail(row, o->error, "%s is refused in a chroot", o->step);
		probe_remedy(row, "start toolringd outside the chroot, or in a container "
				  "(pivot_root) in its stead");
	} else {
		probe_blame_security_module(row, o->error, o->step);
	}
}

static void blame_kernel(struct probe_row *row, const struct layer *l,
			 const struct trial_outcome *o)
{
	if (probe_has_seccomp()) {
		probe_blame_seccomp(row, o->error, NAMESPACE_CALLS);
		return;
	}
	probe_detail(row, o->error, "%s: %s: this kernel cannot do it", o->step,
		     strerror(o->error));
	probe_remedy(row,
		     "use Linux 5.15 or later, built with CONFIG_USER_NS, CONFIG_PID_NS, "
		     "CONFIG_IPC_NS, CONFIG_UTS_NS and CONFIG_NET_NS (missing here: %s)",
		     l->what);
}

/* The kernel mounts a new /proc only for who can see a whole one already. */
static void blame_for_proc(struct probe_row *row, const struct trial_outcome *o)
{
	char over[64];

	if (o->error != EPERM && o->error != EACCES) {
		probe_blame_security_module(row, o->error, o->step);
		return;
	}
	if (find_mount("/proc/", false, over))
		probe_detail(
			row, o->error,
			"/proc is masked (something is mounted over %s), so the kernel refuses "
			"to mount a new one",
			over);
	else
		probe_detail(
			row, o->error,
			"no whole /proc can be seen here (masked, or read-only), so the kernel "
			"refuses to mount a new one");
	probe_remedy(row,
		     "docker: run --security-opt systempaths=unconfined; podman: run "
		     "--security-opt unmask=ALL; Kubernetes: procMount: Unmasked (with hostUsers: "
		     "false); GPU containers: unmount what the runtime put there (findmnt -R "
		     "/proc); or --accept-missing=proc");
}

static void blame_for_root_mounts(struct probe_row *row, const struct trial_outcome *o)
{
	if (probe_has_seccomp()) {
		probe_blame_seccomp(row, o->error, NAMESPACE_CALLS);
		return;
	}
	probe_detail(row, o->error, "%s: %s: this root has no CAP_SYS_ADMIN", o->step,
		     strerror(o->error));
	probe_remedy(row,
		     "docker or podman: run --cap-add SYS_ADMIN; Kubernetes: "
		     "capabilities: {add: [SYS_ADMIN]}; or start toolringd as an ordinary user");
}

static void blame(struct probe_row *row, const struct plan *plan, const struct layer *l,
		  const struct trial_outcome *o)
{
	bool is_refusal = o->error == EPERM || o->error == EACCES;

	if (o->error == ENOSPC && o->stage != TRIAL_RUN)
		blame_limit(row, l);
	else if (o->error == ENOSYS || o->error == EINVAL)
		blame_kernel(row, l, o);
	else if (o->stage == TRIAL_DIED || (!is_refusal && o->stage != TRIAL_RUN))
		probe_detail(row, o->error, "%s: %s", o->step, strerror(o->error));
	else if (l->layer == PLAN_USER)
		blame_for_user(row, plan, o);
	else if (o->stage == TRIAL_MAKER)
		blame_for_root_mounts(row, o);
	else if (l->layer == PLAN_PROC)
		blame_for_proc(row, o);
	else if (is_refusal && probe_has_seccomp())
		probe_blame_seccomp(row, o->error, NAMESPACE_CALLS);
	else
		probe_blame_security_module(row, o->error, o->step);
	if (!row->remedy[0])
		probe_remedy(row, "raise what is short (ulimit -u, memory), and look again");
}

/* Is what we find in /proc about us? In a pid namespace with the outer one's /proc it is
 * not: then ids would be mapped for somebody else. */
static bool proc_is_ours(void)
{
	char text[16] = "";

	return readlink("/proc/self", text, sizeof(text) - 1) > 0 && atoi(text) == getpid();
}

void probe_namespaces(struct probe *probe, const struct plan *plan)
{
	struct probe_row *user = &probe->rows[PLAN_USER];

	for (size_t i = 0; i < sizeof(layers) / sizeof(layers[0]); i++) {
		const struct layer *l = &layers[i];
		struct probe_row *row = &probe->rows[l->layer];
		struct trial_outcome o;

		if (l->layer != PLAN_USER && !user->works) {
			probe_detail(row, user->error, "needs a user namespace");
			probe_remedy(row, "as for user");
			continue;
		}
		if (!proc_is_ours()) {
			probe_detail(row, ENOENT,
				     "/proc is missing, or not that of our pid namespace");
			probe_remedy(row,
				     "mount -t proc proc /proc, before toolringd starts (bwrap: "
				     "--proc /proc)");
			continue;
		}
		o = trial_run(plan, &l->trial);
		if (o.stage != TRIAL_PASSED)
			blame(row, plan, l, &o);
		else if (l->layer != PLAN_USER)
			probe_works(row, "%s", l->what);
		else if (plan->n_ids > 1)
			probe_works(row, "user namespace, with ids of its own for each slot");
		else
			probe_works(row, "user namespace, for uid %u alone",
				    (unsigned)plan->outer_uid);
	}
}
