/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The second wall: what its rules allow goes on, what they do not is refused though modes and mounts
 * would allow it, which the same try without it shows.
 */

#include "plan_case.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "backend/local/carry_out.h"
#include "backend/local/landlock_abi.h"

static char directory[] = "/tmp/toolring-test-landlock-XXXXXX";
static char open_path[64], shut_path[64];
static struct plan_params params = {.network = PLAN_NETWORK_NONE};

static int enter(void)
{
	const char *step = "?";

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return landlock_enter(&plan, &params, &step);
}

static int try_file(const char *folder, const char *name, int flags)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, flags | O_CLOEXEC, 0600);
	return fd < 0 ? errno : close(fd);
}

static int try_make(void)
{
	return try_file(shut_path, "new", O_CREAT | O_WRONLY);
}
static int try_write(void)
{
	return try_file(shut_path, "file", O_WRONLY);
}
static int try_truncate(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/file", shut_path);
	return truncate(path, 0) < 0 ? errno : 0;
}
static int try_directory(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/made", shut_path);
	return mkdir(path, 0700) < 0 ? errno : rmdir(path);
}
/* Into a place that may be written, from one that may not. */
static int try_rename(void)
{
	char from[128], to[128];

	snprintf(from, sizeof(from), "%s/file", shut_path);
	snprintf(to, sizeof(to), "%s/file", open_path);
	return rename(from, to) < 0 ? errno : rename(to, from);
}

static int (*const denied[])(void) = {try_make, try_write, try_directory, try_rename};

static int run_with(const void *context)
{
	int (*const *act)(void) = context;

	return enter() < 0 ? 255 : (*act)();
}

static int run_without(const void *context)
{
	int (*const *act)(void) = context;

	return (*act)();
}

/* Writing, making and taking away are refused where no rule allows them. */
static void test_denied(void **state)
{
	static int (*const truncates)(void) = try_truncate;

	(void)state;
	for (size_t i = 0; i < sizeof(denied) / sizeof(*denied); i++) {
		int with = in_child(run_with, &denied[i]);

		/* Between folders without the right to link there, a rename tells of another device. */
		if (with != EACCES && with != EXDEV)
			fail_msg("number %zu came to %d", i, with);
		assert_int_equal(in_child(run_without, &denied[i]), 0);
	}
	if (plan.landlock_abi >= 3)
		assert_int_equal(in_child(run_with, &truncates), EACCES);
	assert_int_equal(in_child(run_without, &truncates), 0);
}

static int works(const void *context)
{
	char path[128], other[128];

	(void)context;
	if (enter() < 0)
		return 1;
	if (try_file(shut_path, "file", O_RDONLY) != 0)
		return 2;
	if (try_file(open_path, "new", O_CREAT | O_RDWR | O_TRUNC) != 0)
		return 3;
	snprintf(path, sizeof(path), "%s/new", open_path);
	snprintf(other, sizeof(other), "%s/folder", open_path);
	if (mkdir(other, 0700) < 0)
		return 4;
	strcat(other, "/renamed");
	if (rename(path, other) < 0 || symlink("x", path) < 0)
		return 5;
	if (unlink(path) < 0 || unlink(other) < 0)
		return 6;
	*strrchr(other, '/') = '\0';
	if (rmdir(other) < 0)
		return 7;
	if (try_file("/dev", "null", O_RDWR) != 0)
		return 8;
	if (try_file("/proc/self", "oom_score_adj", O_WRONLY | O_TRUNC) != 0)
		return 9;
	return system("/bin/true") == 0 ? 0 : 10;
}

/* The twin of all: what is allowed works, in the open folder and for programs. */
static void test_allowed(void **state)
{
	(void)state;
	assert_int_equal(in_child(works, NULL), 0);
}

static int signals_parent(const void *context)
{
	(void)context;
	if (enter() < 0)
		return 255;
	return kill(getppid(), 0) < 0 ? errno : 0;
}

static int connects(const void *context)
{
	const struct sockaddr_un *address = context;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (enter() < 0)
		return 255;
	return connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? errno : 0;
}

/* With the host's network its abstract sockets and its processes are shut off; else namespaces do. */
static void test_scopes(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	if (plan.landlock_abi < 6) {
		print_message("skipped: Landlock has no scopes here\n");
		close(listener);
		return;
	}
	snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "%s", directory);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 4), 0);
	params.network = PLAN_NETWORK_HOST;
	assert_int_equal(in_child(signals_parent, NULL), EPERM);
	assert_int_equal(in_child(connects, &address), EPERM);
	params.network = PLAN_NETWORK_NONE;
	assert_int_equal(in_child(signals_parent, NULL), 0);
	assert_int_equal(in_child(connects, &address), 0);
	close(listener);
}

static int enters_nowhere(const void *context)
{
	const char *step = NULL;

	(void)context;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (landlock_enter(&plan, &params, &step) != -ENOENT)
		return 1;
	return strcmp(step, "/no such place") == 0 ? 0 : 2;
}

/* A rule that cannot be made lets nobody in, and says which it was. */
static void test_missing_path(void **state)
{
	struct plan_rule kept = plan.rules[0];

	(void)state;
	strcpy(plan.rules[0].path, "/no such place");
	assert_int_equal(in_child(enters_nowhere, NULL), 0);
	plan.rules[0] = kept;
}

/* The plan's own rules, with the open folder in the place of the workspace. */
static int set_up(void **state)
{
	struct plan_options o = options_init();
	uint32_t n = 0;

	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(open_path, sizeof(open_path), "%s/open", directory);
	snprintf(shut_path, sizeof(shut_path), "%s/shut", directory);
	if (mkdir(open_path, 0700) < 0 || mkdir(shut_path, 0700) < 0 ||
	    try_file(shut_path, "file", O_CREAT | O_WRONLY) != 0)
		return -1;
	make_good(&o);
	for (uint32_t i = 0; i < plan.n_rules; i++) {
		if (!strcmp(plan.rules[i].path, "/tmp"))
			continue;
		plan.rules[n] = plan.rules[i];
		if (!strcmp(plan.rules[n].path, "/workspace"))
			strcpy(plan.rules[n].path, open_path);
		n++;
	}
	plan.n_rules = n;
	return 0;
}

static int tear_down(void **state)
{
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/new", shut_path);
	unlink(path);
	snprintf(path, sizeof(path), "%s/file", shut_path);
	unlink(path);
	return rmdir(open_path) < 0 || rmdir(shut_path) < 0 || rmdir(directory) < 0 ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_denied),
		cmocka_unit_test(test_allowed),
		cmocka_unit_test(test_scopes),
		cmocka_unit_test(test_missing_path),
	};

	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 2) {
		print_message("skipped: this kernel has no Landlock of ABI 2 or later\n");
		return getenv("TOOLRING_MUST_WORK") ? 1 : 77;
	}
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
