/* SPDX-License-Identifier: Apache-2.0 */

/* Processes that enter the filter of system calls and set limits, of themselves and of others. */

#include "plan_case.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "backend/local/carry_out.h"

static int enter(void)
{
	const char *step;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return filter_enter(&plan, &step);
}

static void make_plan(bool is_root)
{
	struct plan_options o = options_init();

	found.is_root = is_root;
	if (geteuid() == 0 || !is_root) {
		make_good(&o);
		return;
	}
	/* No ordinary user's machine has the ids, which the filter does not need. */
	found.is_root = false;
	make_good(&o);
	plan.n_ids = 65536;
	assert_int_equal(seccomp_make(&plan, error, sizeof(error)), 0);
}

/* ---- another's limits ----------------------------------------------------------------------------- */

/* 0 or an errno */
static int limit_of(pid_t pid)
{
	struct rlimit l = {100, 100};

	return prlimit(pid, RLIMIT_CPU, &l, NULL) < 0 ? errno : 0;
}

static int limit_child(const void *context)
{
	pid_t pid;
	int r;

	(void)context;
	if (enter() < 0)
		return 255;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	r = pid < 0 ? 254 : limit_of(pid);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return r;
}

static int limit_self(const void *context)
{
	(void)context;
	return enter() < 0 ? 255 : limit_of(0);
}

/* Where slots share an id no process sets another's limits; with ids of their own, the twin, it may. */
static void test_limits_of_others(void **state)
{
	(void)state;
	make_plan(false);
	assert_int_equal(in_child(limit_child, NULL), EPERM);
	assert_int_equal(in_child(limit_self, NULL), 0);
	make_plan(true);
	assert_int_equal(in_child(limit_child, NULL), 0);
	assert_int_equal(in_child(limit_self, NULL), 0);
}

/* ---- dumps ---------------------------------------------------------------------------------------- */

/* Wants no dumps, in all ways there are; the limit that this leaves. *context: with the filter */
static int limit_dumps(const void *context)
{
	const bool *filter = context;
	struct rlimit none = {0, 0}, l;
	const char *step;

	if (rlimit_enter(&plan, &step) < 0 || (*filter && enter() < 0))
		return 255;
	if (setrlimit(RLIMIT_CORE, &none) < 0 || prlimit(0, RLIMIT_CORE, &none, NULL) < 0)
		return 254;
#ifdef SYS_setrlimit
	if (syscall(SYS_setrlimit, RLIMIT_CORE, &none) < 0)
		return 253;
#endif
	return getrlimit(RLIMIT_CORE, &l) < 0 || l.rlim_cur != l.rlim_max ? 252 : (int)l.rlim_cur;
}

/* Whoever sets a limit on dumps is told that it went well, and it stays 1, with which the kernel dumps
 * nothing; without the filter, the twin, it comes to be 0, with which a pipe gets dumps. */
static void test_limit_on_dumps(void **state)
{
	bool filter = true;
	struct rlimit own;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_CORE, &own), 0);
	if (own.rlim_max < 1) {
		print_message("skipped: there is no limit to give\n");
		return;
	}
	for (int is_root = 0; is_root < 2; is_root++) {
		make_plan(is_root);
		filter = true;
		assert_int_equal(in_child(limit_dumps, &filter), 1);
		filter = false;
		assert_int_equal(in_child(limit_dumps, &filter), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits_of_others),
		cmocka_unit_test(test_limit_on_dumps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
