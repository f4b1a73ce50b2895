/* SPDX-License-Identifier: Apache-2.0 */

/* The filter of system calls as a program: run by hand, for every call there could be. */

#include "plan_case.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <seccomp.h>

#define HIGH     (UINT64_C(1) << 32)
#define CALL_MAX 1024

static uint32_t verdict_of(const struct seccomp_data *data)
{
	const uint8_t *bytes = (const uint8_t *)data;
	uint32_t a = 0;

	for (uint32_t pc = 0; pc < plan.n_filter; pc++) {
		const struct sock_filter *f = &plan.filter[pc];

		switch (f->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			assert_true(f->k + sizeof(a) <= sizeof(*data));
			memcpy(&a, bytes + f->k, sizeof(a));
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= f->k;
			break;
		case BPF_JMP | BPF_JA:
			pc += f->k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			pc += a == f->k ? f->jt : f->jf;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			pc += a > f->k ? f->jt : f->jf;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			pc += a >= f->k ? f->jt : f->jf;
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			pc += a & f->k ? f->jt : f->jf;
			break;
		case BPF_RET | BPF_K:
			return f->k;
		default:
			fail_msg("instruction %u: code %x", pc, f->code);
		}
	}
	fail_msg("the program runs over its end");
	return 0;
}

static uint32_t verdict3(int number, uint64_t a0, uint64_t a1, uint64_t a2)
{
	struct seccomp_data data = {
		.nr = number, .arch = seccomp_arch_native(), .args = {a0, a1, a2}};

	return verdict_of(&data);
}

static uint32_t verdict(int number, uint64_t a0, uint64_t a1)
{
	struct seccomp_data data = {.nr = number, .arch = seccomp_arch_native(), .args = {a0, a1}};

	return verdict_of(&data);
}

#define DENIED(error) (SECCOMP_RET_ERRNO | (error))

/* Every call that is listed as denied is; whatever else libseccomp knows is allowed; no other is. */
static void test_every_call(void **state)
{
	bool denied[CALL_MAX] = {false};
	uint32_t n_allowed = 0, n_denied = 0;
	const char *name;

	(void)state;
	for (size_t i = 0; (name = seccomp_denied(i)); i++) {
		int number = seccomp_syscall_resolve_name(name);

		if (number < 0 || !strcmp(name, "clone3"))
			continue;
		denied[number] = true;
		n_denied++;
		assert_int_equal(verdict(number, 0, 0), DENIED(EPERM));
	}
	for (int number = 0; number < CALL_MAX; number++) {
		char *known = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
		/* socket and its like need a family, personality none of 32 bits, prlimit64 itself */
		bool zero = number == SYS_personality || number == SYS_prlimit64;
		uint32_t got = verdict(number, zero ? 0 : AF_UNIX, 0);

		if (!known)
			assert_true(got == DENIED(ENOSYS) || number > 440);
		else if (!strcmp(known, "clone3"))
			assert_int_equal(got, DENIED(ENOSYS));
		else if (!denied[number] && got != SECCOMP_RET_ALLOW)
			fail_msg("%s is not allowed", known);
		n_allowed += got == SECCOMP_RET_ALLOW;
		free(known);
	}
	assert_true(n_denied > 35);
	assert_true(n_allowed > 250);
	assert_true(plan.n_filter <= PLAN_FILTER_MAX);
}

/* Arguments decide by the bits that the kernel looks at, whatever stands in the others. */
static void test_arguments(void **state)
{
	static const uint64_t flags[] = {CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNS,    CLONE_NEWIPC,
					 CLONE_NEWUTS,  CLONE_NEWNET, CLONE_NEWCGROUP};
	static const uint64_t good[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

	(void)state;
	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		assert_int_equal(verdict(SYS_clone, flags[i] | SIGCHLD, 0), DENIED(EPERM));
		assert_int_equal(verdict(SYS_clone, flags[i] | CLONE_VM | HIGH, 0), DENIED(EPERM));
		assert_int_equal(verdict(SYS_unshare, flags[i] | HIGH, 0), DENIED(EPERM));
	}
	assert_int_equal(verdict(SYS_unshare, 0x80, 0), DENIED(EPERM)); /* time */
	assert_int_equal(verdict(SYS_clone, CLONE_PARENT | SIGCHLD, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(verdict(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0),
			 SECCOMP_RET_ALLOW);
	assert_int_equal(verdict(SYS_unshare, CLONE_FILES | CLONE_FS, 0), SECCOMP_RET_ALLOW);
	for (uint64_t family = 0; family < 64; family++) {
		bool allowed = false;

		for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
			allowed = allowed || family == good[i];
		assert_int_equal(verdict(SYS_socket, family | HIGH, 0),
				 allowed ? SECCOMP_RET_ALLOW : DENIED(EPERM));
		assert_int_equal(verdict(SYS_socketpair, family, 0),
				 family == AF_UNIX ? SECCOMP_RET_ALLOW : DENIED(EPERM));
	}
	assert_int_equal(verdict(SYS_ioctl, 0, TIOCSTI), DENIED(EPERM));
	assert_int_equal(verdict(SYS_ioctl, 0, TIOCSTI | HIGH), DENIED(EPERM));
	assert_int_equal(verdict(SYS_ioctl, 0, TIOCLINUX), DENIED(EPERM));
	assert_int_equal(verdict(SYS_ioctl, TIOCSTI, TIOCGWINSZ), SECCOMP_RET_ALLOW);
	assert_int_equal(verdict(SYS_personality, PER_LINUX32 | HIGH, 0), DENIED(EPERM));
	assert_int_equal(verdict(SYS_personality, ADDR_NO_RANDOMIZE, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(verdict(SYS_personality, 0xffffffff, 0), SECCOMP_RET_ALLOW);
}

/* A new limit on dumps is passed over, wherever its pointer leads; reading it is not, nor are others. */
static void test_core_limit(void **state)
{
	static const uint64_t pointers[] = {1, HIGH, HIGH | 1, UINT64_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(pointers) / sizeof(*pointers); i++) {
		assert_int_equal(verdict3(SYS_prlimit64, 0, RLIMIT_CORE, pointers[i]), DENIED(0));
		assert_int_equal(verdict3(SYS_prlimit64, 9, RLIMIT_CORE | HIGH, pointers[i]),
				 DENIED(0));
		assert_int_equal(verdict3(SYS_prlimit64, 0, RLIMIT_NOFILE, pointers[i]),
				 SECCOMP_RET_ALLOW);
	}
	assert_int_equal(verdict3(SYS_prlimit64, 0, RLIMIT_CORE, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(verdict(SYS_setrlimit, RLIMIT_CORE | HIGH, 1), DENIED(0));
	assert_int_equal(verdict(SYS_setrlimit, RLIMIT_NOFILE, 1), SECCOMP_RET_ALLOW);
}

/* Where a room's init is the guest's own user there, limits are one's own alone; else, the twin, all
 * that the kernel lets have. */
static void test_limits_of_others(void **state)
{
	struct plan_options o = options_init();

	(void)state;
	for (int is_root = 0; is_root < 2; is_root++) {
		plan.n_ids = is_root ? 65536 : 1;
		assert_int_equal(seccomp_make(&plan, error, sizeof(error)), 0);
		for (uint64_t pid = 1; pid < 3; pid++)
			assert_int_equal(verdict3(SYS_prlimit64, pid, RLIMIT_CPU, 1),
					 is_root ? SECCOMP_RET_ALLOW : DENIED(EPERM));
		assert_int_equal(verdict3(SYS_prlimit64, HIGH | 1, RLIMIT_CORE, 0),
				 is_root ? SECCOMP_RET_ALLOW : DENIED(EPERM));
		assert_int_equal(verdict3(SYS_prlimit64, 0, RLIMIT_CPU, 1), SECCOMP_RET_ALLOW);
		assert_int_equal(verdict(SYS_getpid, 0, 0), SECCOMP_RET_ALLOW);
	}
	make_good(&o);
}

/* No call of another architecture passes, whatever its number. */
static void test_other_architectures(void **state)
{
	static const uint32_t others[] = {AUDIT_ARCH_I386, AUDIT_ARCH_ARM, AUDIT_ARCH_MIPS64, 0};

	(void)state;
	for (int number = 0; number < CALL_MAX; number++) {
		struct seccomp_data data = {.nr = number};

		for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
			data.arch = others[i];
			assert_int_equal(verdict_of(&data), DENIED(EPERM));
		}
#ifdef __x86_64__
		assert_int_equal(verdict(0x40000000 | number, AF_UNIX, 0), DENIED(EPERM));
#endif
	}
}

static int set_up(void **state)
{
	struct plan_options o = options_init();

	(void)state;
	make_good(&o);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_call),          cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_core_limit),          cmocka_unit_test(test_limits_of_others),
		cmocka_unit_test(test_other_architectures),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
