/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tries run in a process that is made as a slot's init is: a child stands for the maker (an ordinary
 * user's enters a user namespace of its own first), clones one more with the namespaces asked for and
 * maps its ids, with the same functions. So what works here works there. They tell the outcome in
 * shared memory.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/local/carry_out.h"
#include "backend/local/probe_part.h"

#define TRIAL_N_IDS 65536
#define TRIAL_GUEST 1000

/* The last ids that there are in this user namespace: those slots get when root makes them. */
static void choose_range(struct plan *p)
{
	FILE *f = fopen("/proc/self/uid_map", "re");
	uint64_t inside, outside, n, end = 0;

	while (f && fscanf(f, "%" SCNu64 " %" SCNu64 " %" SCNu64, &inside, &outside, &n) == 3)
		if (inside + n > end && inside + n <= UINT32_MAX && n > 2)
			end = inside + n;
	if (f)
		fclose(f);
	p->n_ids = end > 2 * TRIAL_N_IDS ? TRIAL_N_IDS : end > 2 ? (uint32_t)end / 2 : 2;
	p->uid_first = end > 2 ? (uint32_t)end - p->n_ids : 1;
}

struct plan *trial_plan(void)
{
	struct plan *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->n_ids = 1;
	if (geteuid() == 0)
		choose_range(p);
	p->outer_uid = geteuid();
	p->outer_gid = getegid();
	p->guest_uid = TRIAL_GUEST;
	p->guest_gid = TRIAL_GUEST;
	p->n_seats = 1;
	p->n_mounts = 1;
	p->mounts[0] = (struct plan_mount){
		.stage = PLAN_TEMPLATE, .kind = PLAN_BIND, .source = "/usr", .target = "/usr"};
	return p;
}

static void tell(struct trial_outcome *o, enum trial_stage stage, int r, const char *step)
{
	o->stage = stage;
	o->error = -r;
	strncpy(o->step, step ? step : "", sizeof(o->step) - 1);
}

/* What the maker does for itself; -errno. */
static int enter_as_maker(const struct plan *plan, const struct trial *trial, const char **ret_step)
{
	const struct plan own = {
		.n_ids = 1,
		.guest_uid = plan->outer_uid,
		.guest_gid = plan->outer_gid,
		.outer_uid = plan->outer_uid,
		.outer_gid = plan->outer_gid,
	};
	int flags = plan->n_ids > 1 ? 0 : CLONE_NEWUSER;
	int r = 0;

	if (trial->flags & CLONE_NEWNS)
		flags |= CLONE_NEWNS;
	*ret_step = flags & CLONE_NEWUSER ? "unshare(CLONE_NEWUSER)" : "unshare(CLONE_NEWNS)";
	if (flags && unshare(flags) < 0)
		return -errno;
	if (plan->n_ids == 1)
		r = namespace_map_ids(&own, 0, getpid(), ret_step);
	if (r < 0 || !(flags & CLONE_NEWNS))
		return r;
	*ret_step = "making mounts private";
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0;
}

static _Noreturn void be_init(const struct plan *plan, const struct trial *trial, int gate,
			      struct trial_outcome *o)
{
	const char *step = "";
	char byte;
	int r;

	if (read(gate, &byte, 1) != 1)
		_exit(EXIT_FAILURE);
	r = namespace_become_init(plan, &step);
	if (r < 0) {
		tell(o, TRIAL_MAP, r, step);
		_exit(EXIT_FAILURE);
	}
	r = trial->run(plan, &step);
	tell(o, r < 0 ? TRIAL_RUN : TRIAL_PASSED, r, step);
	_exit(EXIT_SUCCESS);
}

static void wait_for(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static _Noreturn void be_maker(const struct plan *plan, const struct trial *trial,
			       struct trial_outcome *o)
{
	struct clone_args args = {
		.flags = CLONE_NEWUSER | trial->flags,
		.exit_signal = SIGCHLD,
	};
	const char *step = "";
	int gate[2], r;
	pid_t pid;

	r = enter_as_maker(plan, trial, &step);
	if (r < 0) {
		/* Its own ids are the user namespace's matter, as the slot's are. */
		tell(o, step[0] == '/' ? TRIAL_MAP : TRIAL_MAKER, r, step);
		_exit(EXIT_FAILURE);
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gate) < 0) {
		tell(o, TRIAL_DIED, -errno, "socketpair");
		_exit(EXIT_FAILURE);
	}
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0) {
		tell(o, TRIAL_CLONE, -errno, "clone3");
		_exit(EXIT_FAILURE);
	}
	if (pid == 0) {
		close(gate[0]);
		be_init(plan, trial, gate[1], o);
	}
	close(gate[1]);
	r = namespace_map_ids(plan, 0, pid, &step);
	if (r < 0)
		tell(o, TRIAL_MAP, r, step);
	else
		send(gate[0], "g", 1, MSG_NOSIGNAL);
	close(gate[0]);
	wait_for(pid);
	_exit(EXIT_SUCCESS);
}

static _Noreturn void be_plain(const struct plan *plan, const struct trial *trial,
			       struct trial_outcome *o)
{
	const char *step = "";
	int r = trial->run(plan, &step);

	tell(o, r < 0 ? TRIAL_RUN : TRIAL_PASSED, r, step);
	_exit(EXIT_SUCCESS);
}

static struct trial_outcome run_in(const struct plan *plan, const struct trial *trial,
				   void (*child)(const struct plan *, const struct trial *,
						 struct trial_outcome *))
{
	struct trial_outcome *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
					    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct trial_outcome o = {.stage = TRIAL_DIED, .error = ENOMEM, .step = "mmap"};
	pid_t pid, parent = getpid();

	if (shared == MAP_FAILED)
		return o;
	tell(shared, TRIAL_DIED, -ECHILD, "the child");
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			child(plan, trial, shared);
		_exit(EXIT_FAILURE);
	}
	if (pid < 0)
		tell(shared, TRIAL_DIED, -errno, "fork");
	else
		wait_for(pid);
	o = *shared;
	munmap(shared, sizeof(*shared));
	return o;
}

struct trial_outcome trial_run(const struct plan *plan, const struct trial *trial)
{
	return run_in(plan, trial, be_maker);
}

struct trial_outcome trial_run_plain(const struct plan *plan, const struct trial *trial)
{
	return run_in(plan, trial, be_plain);
}
