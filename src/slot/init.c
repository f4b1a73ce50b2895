/* SPDX-License-Identifier: Apache-2.0 */
/* A slot's init: from the clone to the moment it serves, and what it is as a process. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "slot/slot.h"

#define HOSTNAME "slot"
#define N(bit)   (UINT32_C(1) << (bit))
/* What lets files be acted on against their modes. */
#define FILE_CAPABILITIES                                                                          \
	(N(CAP_CHOWN) | N(CAP_DAC_OVERRIDE) | N(CAP_DAC_READ_SEARCH) | N(CAP_FOWNER) |             \
	 N(CAP_FSETID) | N(CAP_MKNOD))

static void on_child(int signal)
{
	(void)signal; /* it only ends a wait */
}

static int set_signals(void)
{
	struct sigaction action = {.sa_handler = on_child};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	if (sigaction(SIGCHLD, &action, NULL) < 0 || sigprocmask(SIG_SETMASK, &set, NULL) < 0)
		return -errno;
	return 0;
}

static int open_places(struct slot *s, const char **ret_step)
{
	*ret_step = "opening the workspace";
	s->null = open("/dev/null", O_RDWR | O_CLOEXEC);
	/* Nothing of the host is held open any more. */
	for (int fd = 0; fd <= 2; fd++)
		if (s->null < 0 || dup2(s->null, fd) < 0)
			return -errno;
	s->workspace = (struct workspace){
		.fd = open("/workspace", O_PATH | O_DIRECTORY | O_CLOEXEC),
		.path = "/workspace",
	};
	return s->null < 0 || s->workspace.fd < 0 ? -errno : 0;
}

/* In its namespaces: all that is the slot's own. */
static int be_born(struct slot *s, const char **ret_step)
{
	int r = namespace_become_init(s->plan, ret_step);

	if (r < 0)
		return r;
	*ret_step = "the process";
	if (setsid() < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	prctl(PR_SET_NAME, "toolring-slot", 0, 0, 0);
	if (plan_has(s->plan, PLAN_IPC) && sethostname(HOSTNAME, sizeof(HOSTNAME) - 1) < 0)
		return -errno;
	r = mount_copy(SLOT_TEMPLATE, ret_step);
	if (r == 0)
		r = mount_stage(s->plan, &s->params, PLAN_SLOT, SLOT_TEMPLATE, ret_step);
	if (r == 0)
		r = mount_enter_root(SLOT_TEMPLATE, ret_step);
	if (r == 0 && namespace_slot_flags(s->plan, &s->params) & CLONE_NEWNET)
		r = namespace_loopback_up(ret_step);
	if (r == 0)
		r = open_places(s, ret_step);
	if (r == 0)
		r = set_signals();
	return r;
}

static bool pass_gate(int gate)
{
	char byte;

	return recv(gate, &byte, 1, 0) == 1;
}

void init_main(const struct plan *plan, const struct plan_params *params, int control, int gate,
	       const int event_fds[CGROUP_N_FDS])
{
	static struct slot s;
	struct slot_report birth;
	const char *step = "the start";

	s.plan = plan;
	s.params = *params;
	s.control = control;
	memcpy(s.event_fds, event_fds, sizeof(s.event_fds));
	if (!pass_gate(gate))
		_exit(EXIT_FAILURE);
	birth = report_of(be_born(&s, &step), step);
	run_init(&s);
	init_act_as_guest(&s);
	if (send(gate, &birth, sizeof(birth), MSG_NOSIGNAL) != sizeof(birth) || birth.error)
		_exit(EXIT_FAILURE);
	close(gate);
	serve(&s);
	_exit(EXIT_SUCCESS);
}

/* ---- children ------------------------------------------------------------------------------------- */

void init_reap(struct slot *s, int flags)
{
	struct rusage usage;
	int status;
	pid_t pid;

	while ((pid = wait4(-1, &status, flags | __WALL, &usage)) > 0) {
		run_reaped(s, pid, status, &usage);
		shell_reaped(s, pid, status);
		room_reaped(s, pid);
		flags |= WNOHANG;
	}
}

/* ---- rights over files ---------------------------------------------------------------------------- */

static void set_file_capabilities(bool on)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) < 0)
		return;
	if (on)
		data[0].effective |= data[0].permitted & FILE_CAPABILITIES;
	else
		data[0].effective &= ~FILE_CAPABILITIES;
	syscall(SYS_capset, &header, data);
}

void init_act_as_guest(const struct slot *s)
{
	setfsgid(s->plan->guest_gid);
	setfsuid(s->plan->guest_uid);
	set_file_capabilities(false);
}

void init_act_as_init(const struct slot *s)
{
	if (s->plan->n_ids > 1) {
		setfsuid(0);
		setfsgid(0);
	}
	set_file_capabilities(true);
}
