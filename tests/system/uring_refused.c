/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that toolringd says what is wrong and what to do where io_uring is refused, as a container's
 * seccomp profile does it, and that it works without each of the features it would like to use.
 */
#include "world.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned refused = SYS_io_uring_setup;
static int refusal; /* the errno it gets */

static void filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refused, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)refusal),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(*code), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(125);
}

static void refused_with(struct world *w, int error, const char *const *texts)
{
	const char *const none[] = {NULL};
	char *said;
	int end;

	refusal = error;
	assert_false(world_try_start(w, none, filter, &end));
	assert_true(WIFEXITED(end));
	assert_int_equal(WEXITSTATUS(end), 1);
	said = world_said(w);
	for (; *texts; texts++) {
		if (!strstr(said, *texts))
			fputs(said, stderr);
		assert_non_null(strstr(said, *texts));
	}
	free(said);
	assert_int_not_equal(access(w->socket, F_OK), 0);
}

/* EPERM, as docker's default profile gives it: names seccomp and the calls to allow. */
static void eperm_is_explained(void **state)
{
	const char *const texts[] = {"io_uring is ", "io_uring_", "0", NULL};
	const char *const seccomp_texts[] = {"io_uring is refused", "seccomp", "io_uring_setup",
					     NULL};
	FILE *f = fopen("/proc/sys/kernel/io_uring_disabled", "re");
	int disabled = 0;

	/* Where it is switched off besides, that is what there is to be done. */
	if (f && fscanf(f, "%d", &disabled) != 1)
		disabled = 0;
	if (f)
		fclose(f);
	refused_with(*state, EPERM, disabled ? texts : seccomp_texts);
}

/* ENOSYS, as an old kernel or another profile gives it: names the version and the calls. */
static void enosys_is_explained(void **state)
{
	const char *const texts[] = {"no io_uring", "5.15", "io_uring_setup", "seccomp", NULL};

	refused_with(*state, ENOSYS, texts);
}

/* ENOMEM: names the limit on locked memory. */
static void enomem_is_explained(void **state)
{
	const char *const texts[] = {"no memory", "ulimit -l", NULL};

	refused_with(*state, ENOMEM, texts);
}

/* The twin: under a filter that refuses something else it starts. */
static void other_filter_is_no_matter(void **state)
{
	struct world *w = *state;
	const char *const none[] = {NULL};
	bool starts;
	int end;

	refused = SYS_swapoff;
	refusal = EPERM;
	starts = world_try_start(w, none, filter, &end);
	refused = SYS_io_uring_setup;
	assert_true(starts);
	expect(world_client(w), "a", NULL, TR_OK);
}

static void works_without(struct world *w, const char *feature)
{
	struct tr_client *c;
	struct tr_value *all;
	const struct tr_value *left;

	world_start(w, "--io-disable", feature, NULL);
	c = world_client(w);
	all = status_ask(c);
	left = tr_value_get(all, "io_features");
	assert_non_null(left);
	for (size_t i = 0; i < left->n; i++)
		assert_string_not_equal(left->u.items[i].u.string, feature);
	if (strcmp(feature, "all") == 0)
		assert_int_equal(left->n, 0);
	tr_value_free(all);
	for (int i = 0; i < 100; i++) {
		taken_in(c);
		expect(c, "a", NULL, TR_OK);
	}
	expect(c, "b", &(struct script){.wait_s = 0.01}, TR_OK);
	world_close(w, c);
}

static void single_issuer(void **state)
{
	works_without(*state, "single_issuer");
}

static void defer_taskrun(void **state)
{
	works_without(*state, "defer_taskrun");
}

static void coop_taskrun(void **state)
{
	works_without(*state, "coop_taskrun");
}

static void both_taskruns(void **state)
{
	works_without(*state, "coop_taskrun,defer_taskrun");
}

static void futex(void **state)
{
	works_without(*state, "futex");
}

static void registered_ring(void **state)
{
	works_without(*state, "registered_ring");
}

static void all(void **state)
{
	works_without(*state, "all");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		world_test(eperm_is_explained),
		world_test(enosys_is_explained),
		world_test(enomem_is_explained),
		world_test(other_filter_is_no_matter),
		world_test(single_issuer),
		world_test(defer_taskrun),
		world_test(coop_taskrun),
		world_test(both_taskruns),
		world_test(futex),
		world_test(registered_ring),
		world_test(all),
	};

	world_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
