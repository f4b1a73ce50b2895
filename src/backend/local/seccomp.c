/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter of system calls for guests. By construction a list of what is allowed: every call that
 * libseccomp knows by name or that stands in newer[], but for those denied; to a guest any other does
 * not exist (ENOSYS), clone3 among them, whose flags a filter cannot see: C libraries then use clone.
 *
 * Calls that depend on an argument come first, in instructions of our own: the kernel looks at 32 bits
 * of those arguments, which libseccomp, comparing 64, can be made to miss.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/local/plan_make.h"
#include "base/cleanup.h"

#ifdef __s390__
#error "clone() takes its flags as its second argument here: see conditions[]"
#endif

#define CALLS_MAX 1024 /* numbers that are looked at */
#define DENY      (SECCOMP_RET_ERRNO | EPERM)
#define PASS_OVER SECCOMP_RET_ERRNO /* nothing is done, and that it went well is told */
#define TESTS_MAX 8
#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define NEW_TIME  0x80 /* CLONE_NEWTIME; in clone() these bits are the signal's */
#define NAMESPACES                                                                                 \
	(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | \
	 CLONE_NEWCGROUP)

static const char *const denied[] = {
	/* mounts, old and new */
	"mount",
	"umount",
	"umount2",
	"pivot_root",
	"chroot",
	"open_tree",
	"open_tree_attr",
	"move_mount",
	"fsopen",
	"fsconfig",
	"fsmount",
	"fspick",
	"mount_setattr",
	"statmount",
	"listmount",
	"quotactl",
	"quotactl_fd",
	"swapon",
	"swapoff",
	/* namespaces */
	"setns",
	/* much of the kernel behind one call */
	"bpf",
	"perf_event_open",
	"userfaultfd",
	"io_setup", /* fs.aio-max-nr is the whole machine's, and without it the others do nothing */
	"io_uring_setup",
	"io_uring_enter",
	"io_uring_register",
	"keyctl",
	"add_key",
	"request_key",
	"fanotify_init",
	"lookup_dcookie",
	"uselib",
	"modify_ldt",
	"vm86",
	"vm86old",
	/* the machine's */
	"init_module",
	"finit_module",
	"delete_module",
	"kexec_load",
	"kexec_file_load",
	"reboot",
	"settimeofday",
	"stime",
	"clock_settime",
	"clock_settime64",
	"syslog",
	"acct",
	"vhangup",
	"iopl",
	"ioperm",
	/* files past their folders */
	"name_to_handle_at",
	"open_by_handle_at",
};

/* Calls that the libseccomp at hand may be too old to know; these numbers are all machines'. */
static const struct {
	const char *name;
	int number;
} newer[] = {
	{"process_mrelease", 448}, {"futex_waitv", 449}, {"set_mempolicy_home_node", 450},
	{"cachestat", 451},        {"fchmodat2", 452},   {"map_shadow_stack", 453},
	{"futex_wake", 454},       {"futex_wait", 455},  {"futex_requeue", 456},
	{"statmount", 457},        {"listmount", 458},   {"mseal", 462},
	{"open_tree_attr", 467},
};

/* ---- calls that depend on an argument ----------------------------------------------------------------- */

enum test_kind {
	DENY_BITS, /* any of these set */
	DENY_EQUAL,
	ALLOW_EQUAL,
	PASS_OVER_EQUAL,
};

struct condition {
	const char *call;
	const char *shown;
	uint32_t arg;
	uint32_t otherwise; /* what it comes to if no test holds */
	uint32_t n_tests;
	bool shared_ids; /* only where all slots have one id, that of their inits */
	struct {
		enum test_kind kind;
		uint32_t value;
	} tests[TESTS_MAX];
};

static const struct condition conditions[] = {
	{
		.call = "clone",
		.shown = "clone (of namespaces)",
		.otherwise = SECCOMP_RET_ALLOW,
		.n_tests = 1,
		.tests = {{DENY_BITS, NAMESPACES}},
	},
	{
		.call = "unshare",
		.shown = "unshare (of namespaces)",
		.otherwise = SECCOMP_RET_ALLOW,
		.n_tests = 1,
		.tests = {{DENY_BITS, NAMESPACES | NEW_TIME}},
	},
	{
		.call = "socket",
		.shown = "socket (but AF_UNIX, AF_INET, AF_INET6, AF_NETLINK)",
		.otherwise = DENY,
		.n_tests = 4,
		.tests = {{ALLOW_EQUAL, AF_UNIX},
			  {ALLOW_EQUAL, AF_INET},
			  {ALLOW_EQUAL, AF_INET6},
			  {ALLOW_EQUAL, AF_NETLINK}},
	},
	{
		.call = "socketpair",
		.shown = "socketpair (but AF_UNIX)",
		.otherwise = DENY,
		.n_tests = 1,
		.tests = {{ALLOW_EQUAL, AF_UNIX}},
	},
	{
		.call = "ioctl",
		.shown = "ioctl (TIOCSTI, TIOCLINUX)",
		.arg = 1,
		.otherwise = SECCOMP_RET_ALLOW,
		.n_tests = 2,
		.tests = {{DENY_EQUAL, TIOCSTI}, {DENY_EQUAL, TIOCLINUX}},
	},
	{
		/* gdb turns randomised addresses off, which is another bit; ~0 only asks. */
		.call = "personality",
		.shown = "personality (but of Linux, native)",
		.otherwise = SECCOMP_RET_ALLOW,
		.n_tests = 2,
		.tests = {{ALLOW_EQUAL, UINT32_MAX}, {DENY_BITS, PER_MASK}},
	},
	{
		/* It would let dumps through again: see emit_core_limit(). */
		.call = "setrlimit",
		.shown = "setrlimit (of dumps: passed over)",
		.otherwise = SECCOMP_RET_ALLOW,
		.n_tests = 1,
		.tests = {{PASS_OVER_EQUAL, RLIMIT_CORE}},
	},
	{
		/* A room's init is the guest's own user there, and a limit of CPU time would kill it. */
		.call = "prlimit64",
		.shown = "prlimit64 (of dumps: passed over; of others, where slots share an id)",
		.shared_ids = true,
		.otherwise = DENY,
		.n_tests = 1,
		.tests = {{ALLOW_EQUAL, 0}},
	},
};

const char *seccomp_denied(size_t index)
{
	if (index < LENGTH(denied))
		return denied[index];
	index -= LENGTH(denied);
	if (index < LENGTH(conditions))
		return conditions[index].shown;
	index -= LENGTH(conditions);
	return index == 0 ? "clone3" : index == 1 ? "32-bit and x32 calls" : NULL;
}

static uint32_t arg_offset(uint32_t arg)
{
	uint32_t low = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0;

	return (uint32_t)offsetof(struct seccomp_data, args) + arg * 8 + low;
}

static uint32_t arg_offset_high(uint32_t arg)
{
	return arg_offset(arg) ^ 4;
}

static uint32_t verdict_of(enum test_kind kind)
{
	return kind == ALLOW_EQUAL ? SECCOMP_RET_ALLOW : kind == PASS_OVER_EQUAL ? PASS_OVER : DENY;
}

/* Room for all conditions is certain: see the assert below. */
static void emit(struct plan *p, uint16_t code, uint8_t jt, uint8_t jf, uint32_t k)
{
	p->filter[p->n_filter++] = (struct sock_filter){.code = code, .jt = jt, .jf = jf, .k = k};
}

static void emit_load(struct plan *p, uint32_t offset)
{
	emit(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, offset);
}

/* The number is loaded, before and after. */
static void emit_condition(struct plan *p, const struct condition *c)
{
	int number = seccomp_syscall_resolve_name(c->call);

	if (number < 0 || (c->shared_ids && p->n_ids != 1))
		return;
	/* To the next condition: the load, two for each test, what it comes to otherwise. */
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, (uint8_t)(2 + 2 * c->n_tests), (uint32_t)number);
	emit_load(p, arg_offset(c->arg));
	for (uint32_t i = 0; i < c->n_tests; i++) {
		enum test_kind kind = c->tests[i].kind;

		emit(p, BPF_JMP | BPF_K | (kind == DENY_BITS ? BPF_JSET : BPF_JEQ), 0, 1,
		     c->tests[i].value);
		emit(p, BPF_RET | BPF_K, 0, 0, verdict_of(kind));
	}
	emit(p, BPF_RET | BPF_K, 0, 0, c->otherwise);
}

/*
 * A limit on dumps of 1 keeps them from a core_pattern that is a pipe, and 0 would not. Programs that
 * want to be dumped nowhere set 0, and some end if they cannot: so they are told that they may, and
 * the limit stays. Reading it, with no new limit, goes on to the other rules.
 */
static void emit_core_limit(struct plan *p)
{
	int number = seccomp_syscall_resolve_name("prlimit64");

	emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 7, (uint32_t)number);
	emit_load(p, arg_offset(1));
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 5, RLIMIT_CORE);
	/* A pointer may be 0 in either half and yet lead somewhere. */
	emit_load(p, arg_offset(2));
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 2, 0);
	emit_load(p, arg_offset_high(2));
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 0);
	emit(p, BPF_RET | BPF_K, 0, 0, PASS_OVER);
	emit_load(p, (uint32_t)offsetof(struct seccomp_data, nr));
}

#define CONDITIONS_MAX (13 + LENGTH(conditions) * (3 + 2 * TESTS_MAX))
_Static_assert(CONDITIONS_MAX < PLAN_FILTER_MAX, "they fit");

static void emit_conditions(struct plan *p)
{
	uint32_t arch = seccomp_arch_native(), skip;

	emit_load(p, (uint32_t)offsetof(struct seccomp_data, arch));
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, arch);
	skip = p->n_filter;
	emit(p, BPF_JMP | BPF_JA, 0, 0, 0);
	emit_load(p, (uint32_t)offsetof(struct seccomp_data, nr));
	emit_core_limit(p);
	for (size_t i = 0; i < LENGTH(conditions); i++)
		emit_condition(p, &conditions[i]);
	p->filter[skip].k = p->n_filter - skip - 1;
}

/* ---- all others --------------------------------------------------------------------------------------- */

static bool is_denied(const char *name)
{
	for (size_t i = 0; i < LENGTH(denied); i++)
		if (!strcmp(denied[i], name))
			return true;
	return false;
}

static int add_call(scmp_filter_ctx context, const char *name, int number)
{
	if (!strcmp(name, "clone3"))
		return 0;
	return seccomp_rule_add(context, is_denied(name) ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_ALLOW,
				number, 0);
}

static int add_calls(scmp_filter_ctx context)
{
	int r = 0;

	for (int number = 0; number < CALLS_MAX && r == 0; number++) {
		_cleanup_(cleanup_free) char *name =
			seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);

		if (name)
			r = add_call(context, name, number);
		for (size_t i = 0; !name && i < LENGTH(newer) && r == 0; i++)
			if (newer[i].number == number)
				r = add_call(context, newer[i].name, number);
	}
	return r;
}

static void release(scmp_filter_ctx *context)
{
	if (*context)
		seccomp_release(*context);
}

/* The program behind ours. */
static int append(struct plan *p, scmp_filter_ctx context)
{
	_cleanup_(cleanup_close) int fd = memfd_create("toolring-filter", MFD_CLOEXEC);
	size_t room = (PLAN_FILTER_MAX - p->n_filter) * sizeof(p->filter[0]);
	ssize_t n;
	off_t end;
	int r;

	if (fd < 0)
		return -errno;
	r = seccomp_export_bpf(context, fd);
	if (r < 0)
		return r;
	end = lseek(fd, 0, SEEK_END);
	if (end < 0 || (size_t)end > room)
		return -E2BIG;
	n = pread(fd, &p->filter[p->n_filter], room, 0);
	if (n != end || n == 0 || (size_t)n % sizeof(p->filter[0]))
		return -EIO;
	p->n_filter += (uint32_t)((size_t)n / sizeof(p->filter[0]));
	return 0;
}

int seccomp_make(struct plan *p, char *error, size_t n_error)
{
	_cleanup_(release) scmp_filter_ctx context = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	int r = context ? 0 : -ENOMEM;

	p->n_filter = 0;
	emit_conditions(p);
	/* Calls of another architecture fail, and nothing but them. */
	if (r == 0)
		r = seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM));
	if (r == 0)
		r = seccomp_attr_set(context, SCMP_FLTATR_CTL_NNP, 0);
	if (r == 0)
		r = seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = add_calls(context);
	if (r == 0)
		r = append(p, context);
	if (r < 0)
		snprintf(error, n_error, "the filter of system calls cannot be made: %s",
			 r == -E2BIG ? "it is too large" : strerror(-r));
	return r;
}
