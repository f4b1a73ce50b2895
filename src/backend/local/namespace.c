/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/local/carry_out.h"
#include "base/cleanup.h"
#include "base/decimal.h"

#define CAPABILITIES_MAX  64
#define PAGE              4096
#define INOTIFY_INSTANCES 64

/* Where no slot may have the host's network, inits are born into the maker's own, which is empty. */
static bool is_network_late(const struct plan *p)
{
	return plan_has(p, PLAN_NETWORK) && p->params.network == PLAN_NETWORK_NONE;
}

uint64_t namespace_maker_flags(const struct plan *p)
{
	return CLONE_NEWNS | (p->n_ids == 1 ? CLONE_NEWUSER : 0) |
	       (is_network_late(p) ? CLONE_NEWNET : 0);
}

uint64_t namespace_slot_flags(const struct plan *p, const struct plan_params *params)
{
	uint64_t flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS;

	if (plan_has(p, PLAN_IPC))
		flags |= CLONE_NEWUTS;
	if (plan_has(p, PLAN_NETWORK) && params->network == PLAN_NETWORK_NONE &&
	    !is_network_late(p))
		flags |= CLONE_NEWNET;
	return flags;
}

static uint64_t late_flags(const struct plan *p)
{
	return (plan_has(p, PLAN_IPC) ? CLONE_NEWIPC : 0) | (is_network_late(p) ? CLONE_NEWNET : 0);
}

/* What the kernel will not have stays as it is. */
static void set_sysctl(const char *path, uint64_t number)
{
	_cleanup_(cleanup_close) int fd = open(path, O_WRONLY | O_CLOEXEC);
	char text[24] = "";

	decimal_append(text, sizeof(text), number);
	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		return;
}

void namespace_limit_ipc(const struct plan_params *params)
{
	/* System V memory is no process's: killing one does not free it. */
	set_sysctl("/proc/sys/kernel/shmall", params->disk_bytes / PLAN_SHM_SHARE / PAGE);
}

int namespace_make_late(const struct plan *p, const struct plan_params *params,
			const char **ret_step)
{
	uint64_t flags = late_flags(p);

	*ret_step = "the slot's ipc and net namespaces";
	if (unshare((int)flags) < 0)
		return -errno;
	/* Where the host keeps our cgroup is none of a guest's business; nothing hangs on it. */
	unshare(CLONE_NEWCGROUP);
	if (flags & CLONE_NEWIPC)
		namespace_limit_ipc(params);
	/* Counted for all of a host's user together, where that has many slots. */
	set_sysctl("/proc/sys/user/max_inotify_instances", INOTIFY_INSTANCES);
	return flags & CLONE_NEWNET ? namespace_loopback_up(ret_step) : 0;
}

uint64_t namespace_room_flags(const struct plan *p, bool own_ipc)
{
	uint64_t flags = CLONE_NEWPID | CLONE_NEWNS;

	if (own_ipc && plan_has(p, PLAN_IPC))
		flags |= CLONE_NEWIPC;
	return flags;
}

/* ---- ids ------------------------------------------------------------------------------------------ */

static int write_proc(int pid, const char *file, const char *text, const char **ret_step)
{
	_cleanup_(cleanup_close) int fd = -1;
	char path[64] = "/proc/";

	decimal_append(path, sizeof(path), (uint64_t)pid);
	strcat(path, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0) {
		*ret_step = file;
		return -errno;
	}
	return 0;
}

/* "INSIDE OUTSIDE N" */
static void format_map(char *text, size_t n, uint32_t inside, uint32_t outside, uint32_t n_ids)
{
	text[0] = '\0';
	decimal_append(text, n, inside);
	strcat(text, " ");
	decimal_append(text, n, outside);
	strcat(text, " ");
	decimal_append(text, n, n_ids);
}

int namespace_map_ids(const struct plan *p, uint32_t seat, int pid, const char **ret_step)
{
	bool is_range = p->n_ids > 1;
	uint32_t first = is_range ? plan_outer_id(p, seat, 0) : 0;
	char users[64], groups[64];
	int r = 0;

	format_map(users, sizeof(users), is_range ? 0 : p->guest_uid,
		   is_range ? first : p->outer_uid, p->n_ids);
	format_map(groups, sizeof(groups), is_range ? 0 : p->guest_gid,
		   is_range ? first : p->outer_gid, p->n_ids);
	/* Who is not root may map groups only where nobody can drop one. */
	if (!is_range)
		r = write_proc(pid, "/setgroups", "deny", ret_step);
	if (r == 0)
		r = write_proc(pid, "/uid_map", users, ret_step);
	if (r == 0)
		r = write_proc(pid, "/gid_map", groups, ret_step);
	return r;
}

/* The maker's capabilities are not to go with its id. */
int namespace_pay_as(const struct plan *p, uint32_t seat)
{
	uid_t uid = plan_outer_id(p, seat, 0);

	/* Who may not keep them, in a container without CAP_SETPCAP, pays itself. */
	if (p->n_ids == 1 || prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) < 0)
		return 0;
	return syscall(SYS_setresuid, -1, uid, -1) < 0 ? -errno : 0;
}

void namespace_pay_as_ourselves(const struct plan *p)
{
	if (p->n_ids > 1)
		syscall(SYS_setresuid, -1, 0, -1);
}

int namespace_become_init(const struct plan *p, const char **ret_step)
{
	if (p->n_ids > 1 &&
	    (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)) {
		*ret_step = "becoming the slot's init";
		return -errno;
	}
	return 0;
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

int namespace_become_guest(const struct plan *p, const char **ret_step)
{
	*ret_step = "becoming the guest";
	for (unsigned long i = 0; i < CAPABILITIES_MAX; i++)
		if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0 && errno != EINVAL)
			return -errno;
	if (p->n_ids > 1 && setgroups(0, NULL) < 0)
		return -errno;
	if (setresgid(p->guest_gid, p->guest_gid, p->guest_gid) < 0 ||
	    setresuid(p->guest_uid, p->guest_uid, p->guest_uid) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return drop_capabilities();
}

/* ---- network -------------------------------------------------------------------------------------- */

int namespace_loopback_up(const char **ret_step)
{
	_cleanup_(cleanup_close) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_name = "lo"};

	*ret_step = "turning lo on";
	if (fd < 0)
		return -errno;
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}
