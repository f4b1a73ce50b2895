/* SPDX-License-Identifier: Apache-2.0 */

/* How a plan is settled: what slots see, what is refused and in which words, and how it is printed. */

#include "plan_case.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <jansson.h>

#include "backend/local/carry_out.h"

static char directory[] = "/tmp/toolring-test-plan-XXXXXX";

/* Each row's place stands in a row before it, and nothing of the host shows but what is listed. */
static void test_mounts(void **state)
{
	static const char *const seen[] = {"/usr", "/etc",   "/bin",   "/sbin",
					   "/lib", "/lib32", "/lib64", "/libx32"};
	struct plan_options o = options_init();
	char parent[PLAN_PATH_MAX];

	(void)state;
	make_good(&o);
	for (uint32_t i = 0; i < plan.n_mounts; i++) {
		const struct plan_mount *m = &plan.mounts[i];
		const struct plan_mount *over;
		bool listed = false;

		snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(m->target, '/') - m->target),
			 m->target);
		over = row_of(parent, PLAN_TEMPLATE);
		assert_true(!*parent || (over && over < m && over->kind == PLAN_DIRECTORY));
		for (size_t k = 0; k < sizeof(seen) / sizeof(*seen); k++)
			listed = listed || !strcmp(m->target, seen[k]);
		if (m->kind == PLAN_BIND)
			assert_true(listed);
		if (m->kind == PLAN_TMPFS || m->kind == PLAN_PROCFS || m->kind == PLAN_DEVPTS)
			assert_int_equal(row_of(m->target, PLAN_TEMPLATE)->kind, PLAN_DIRECTORY);
	}
	assert_int_equal(row_of("/root", PLAN_TEMPLATE)->mode, 0700);
	assert_int_equal(row_of("/workspace", PLAN_SLOT)->guest_owned, 1);
	assert_int_equal(row_of("/tmp", PLAN_ROOM)->mode, 01777);
	assert_int_equal(row_of("/dev/pts", PLAN_ROOM_LATE)->kind, PLAN_DEVPTS);
	assert_null(row_of("/dev/kmsg", PLAN_TEMPLATE));
	assert_false(plan.has_zygote);
}

/* Without the layer for /proc there is none, neither the host's. */
static void test_no_proc(void **state)
{
	struct plan_options o = options_init();

	(void)state;
	found.rows[PLAN_PROC].works = false;
	o.accept_missing = 1u << PLAN_PROC;
	make_good(&o);
	assert_null(row_of("/proc", PLAN_SLOT));
	assert_null(row_of("/proc", PLAN_ROOM));
	assert_non_null(row_of("/proc", PLAN_TEMPLATE));
}

/* What is missing is refused with its remedy, unless it is accepted by name. */
static void test_layers(void **state)
{
	struct plan_options o = options_init();

	(void)state;
	make_good(&o);
	assert_int_equal(plan.layers, (1u << PLAN_N_LAYERS) - 1);
	assert_int_equal(plan.accepted, 0);
	for (int i = 0; i < PLAN_N_LAYERS; i++) {
		bool needed = i == PLAN_USER || i == PLAN_PID || i == PLAN_MOUNT;
		char text[64];

		o = options_init();
		found.rows[i].works = false;
		strcpy(found.rows[i].detail, "it is not there");
		strcpy(found.rows[i].remedy, "buy one");
		if (i == PLAN_CPU) {
			make_good(&o);
			assert_int_equal(plan.accepted, 0);
			continue;
		}
		snprintf(text, sizeof(text), "%s: it is not there; remedy: buy one",
			 plan_layer_name((enum plan_layer)i));
		make_wrong(&o, -EPERM, text);
		assert_true(needed == !strstr(error, "--accept-missing"));
		o.accept_missing = 1u << i;
		if (needed) {
			make_wrong(&o, -EINVAL, "--accept-missing");
			continue;
		}
		make_good(&o);
		assert_int_equal(plan.accepted, 1u << i);
		assert_false(plan_has(&plan, (enum plan_layer)i));
		assert_true(plan_is_sound(&plan, sizeof(plan)));
	}
	/* What to say instead names all of them, those that were named before too. */
	o = options_init();
	found.rows[PLAN_MEMORY].works = found.rows[PLAN_PIDS].works = false;
	found.rows[PLAN_IPC].works = false;
	o.accept_missing = 1u << PLAN_IPC;
	make_wrong(&o, -EPERM, "--accept-missing=ipc,memory,pids");
	/* A layer that is there stays, though it might be missing. */
	o = options_init();
	o.accept_missing = 1u << PLAN_SECCOMP;
	make_good(&o);
	assert_true(plan_has(&plan, PLAN_SECCOMP));
	assert_int_equal(plan.accepted, 0);
}

/* As root each slot has ids nobody else has; whoever else starts us shares his own. */
static void test_ids(void **state)
{
	struct plan_options o = options_init();

	(void)state;
	found.is_root = true;
	o.uid_base = 65535;
	make_wrong(&o, -EINVAL, "--uid-base 65535");
	o.uid_base = UINT32_MAX - 10 * 65536;
	make_wrong(&o, -EINVAL, "--uid-base");
	found.is_root = false;
	make_good(&o);
	assert_int_equal(plan.n_ids, 1);
	assert_int_equal(plan.outer_uid, geteuid());
	assert_int_equal(plan.guest_uid, 1000);
	o.n_seats = PLAN_SEATS_MAX + 1;
	make_wrong(&o, -EINVAL, "--slots-max");
}

static const char *variable(const char *name)
{
	size_t n = strlen(name);

	for (uint32_t at = 0; at < plan.n_env_bytes; at += (uint32_t)strlen(plan.env + at) + 1)
		if (!strncmp(plan.env + at, name, n) && plan.env[at + n] == '=')
			return plan.env + at + n + 1;
	return NULL;
}

/* The clean environment, and what the operator adds or puts in its place; of doubles the last. */
static void test_environment(void **state)
{
	static const char *const added[] = {"A=1", "TERM=xterm", "B=x=y", "A=2", "E="};
	static const char *const wrong[] = {"A", "=1", "1A=1", "A B=1", ""};
	struct plan_options o = options_init();
	char *large = malloc(PLAN_ENV_MAX + 1);

	(void)state;
	assert_non_null(large);
	setenv("TOOLRING_TEST_SECRET", "1", 1);
	o.env = added;
	o.n_env = sizeof(added) / sizeof(*added);
	make_good(&o);
	assert_string_equal(variable("HOME"), "/workspace");
	assert_string_equal(variable("LANG"), "C.UTF-8");
	assert_string_equal(variable("USER"), "user");
	assert_string_equal(variable("TERM"), "xterm");
	assert_string_equal(variable("A"), "2");
	assert_string_equal(variable("B"), "x=y");
	assert_string_equal(variable("E"), "");
	assert_null(variable("TOOLRING_TEST_SECRET"));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		o.env = &wrong[i];
		o.n_env = 1;
		make_wrong(&o, -EINVAL, "NAME=VALUE");
	}
	memset(large, 'x', PLAN_ENV_MAX);
	large[PLAN_ENV_MAX] = '\0';
	large[1] = '=';
	o.env = (const char *const *)&large;
	make_wrong(&o, -EINVAL, "--slot-env");
	free(large);
}

/* A bind shows where it should, with the folders that lead there; what makes no sense is refused. */
static void test_binds(void **state)
{
	static const struct {
		const char *target;
		const char *text;
	} wrong[] = {
		{"relative", "absolute path"},  {"/", "absolute path"},
		{"/a/../b", "absolute path"},   {"/a//b", "absolute path"},
		{"/a/", "absolute path"},       {"/tmp", "slot's own"},
		{"/proc/x", "slot's own"},      {"/dev/x", "slot's own"},
		{"/workspace/x", "slot's own"}, {"/etc/no such place", "read-only"},
		{"", "absolute path"},          {"/var/tmp/x", "link"},
	};
	struct plan_options o = options_init();
	struct plan_bind_option bind = {.source = directory, .target = "/data/models/one"};

	(void)state;
	o.binds = &bind;
	o.n_binds = 1;
	make_good(&o);
	assert_int_equal(row_of("/data", PLAN_TEMPLATE)->kind, PLAN_DIRECTORY);
	assert_int_equal(row_of("/data/models", PLAN_TEMPLATE)->kind, PLAN_DIRECTORY);
	assert_int_equal(row_of("/data/models/one", PLAN_TEMPLATE)->kind, PLAN_BIND);
	assert_string_equal(row_of("/data/models/one", PLAN_TEMPLATE)->source, directory);
	assert_true(plan_is_sound(&plan, sizeof(plan)));
	bind.target = "/usr/share";
	make_good(&o);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		bind.target = wrong[i].target;
		make_wrong(&o, -EINVAL, wrong[i].text);
	}
	bind = (struct plan_bind_option){"/no/such/place", "/data"};
	make_wrong(&o, -EINVAL, "/no/such/place");
	bind.source = ".";
	make_wrong(&o, -EINVAL, "absolute");
}

/* The shell has to be one that slots can run; whether it loads the object is found out by trying. */
static void test_shell(void **state)
{
	struct plan_bind_option bind = {.source = directory, .target = "/tools"};
	struct plan_options o = options_init();
	char path[128];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/shell", directory);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
	assert_true(fd >= 0);
	close(fd);
	o.shell = path;
	make_wrong(&o, -EINVAL, "--shell");
	o.shell = "/tools/shell";
	make_wrong(&o, -EINVAL, "--shell");
	o.binds = &bind;
	o.n_binds = 1;
	make_good(&o);
	assert_string_equal(plan.shell, "/tools/shell");
	assert_int_equal(chmod(path, 0644), 0);
	make_wrong(&o, -EINVAL, "--shell");
	o.shell = "/usr/../bin/sh";
	make_wrong(&o, -EINVAL, "--shell");
	o.shell = "/bin/sh";
	o.zygote = "/etc/passwd"; /* no object */
	make_good(&o);
	assert_false(plan.has_zygote);
	assert_string_equal(plan.zygote_path, "");
	unlink(path);
}

static int limits_hold(const void *context)
{
	const char *step;
	struct rlimit l, own;

	(void)context;
	/* We cannot give what we do not have. */
	if (getrlimit(RLIMIT_CORE, &own) < 0)
		return 5;
	if (own.rlim_max > 1)
		own.rlim_max = 1;
	if (rlimit_enter(&plan, &step) < 0)
		return 1;
	if (getrlimit(RLIMIT_CORE, &l) < 0 || l.rlim_cur != own.rlim_max ||
	    l.rlim_max != own.rlim_max)
		return 2;
	if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur != 1024 || l.rlim_max > 4096)
		return 3;
	if (getrlimit(RLIMIT_MSGQUEUE, &l) < 0 || l.rlim_max != 0)
		return 4;
	return 0;
}

/* The limits can be entered; processes are counted by one only where no cgroup does. */
static void test_rlimits(void **state)
{
	struct plan_options o = options_init();
	bool counted = false;

	(void)state;
	make_good(&o);
	assert_int_equal(in_child(limits_hold, NULL), 0);
	for (uint32_t i = 0; i < plan.n_rlimits; i++)
		assert_int_not_equal(plan.rlimits[i].resource, RLIMIT_NPROC);
	found.rows[PLAN_PIDS].works = false;
	o.accept_missing = 1u << PLAN_PIDS;
	make_good(&o);
	for (uint32_t i = 0; i < plan.n_rlimits; i++)
		counted = counted || plan.rlimits[i].resource == RLIMIT_NPROC;
	assert_true(counted);
}

/* ---- descriptors in flight ------------------------------------------------------------------------ */

#define OWN_MAX     1024 /* of who stands for toolringd */
#define AT_ONCE     253  /* what the kernel takes in one message */
#define NOBODYS_UID 64997

/* Sends n descriptors that nobody receives; 0 or an errno. */
static int send_descriptors(int socket, int fd, size_t n)
{
	union {
		char bytes[CMSG_SPACE(AT_ONCE * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec data = {(char[]){'x'}, 1};
	struct msghdr m = {.msg_iov = &data,
			   .msg_iovlen = 1,
			   .msg_control = control.bytes,
			   .msg_controllen = CMSG_SPACE(n * sizeof(int))};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	for (size_t i = 0; i < n; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(int));
	return sendmsg(socket, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno : 0;
}

/* A guest's process that asks for all descriptors it may, and sends until it is stopped. */
static void send_all(uint64_t limit, int told)
{
	struct rlimit l = {limit, limit};
	int pair[2], r = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (setrlimit(RLIMIT_NOFILE, &l) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		_exit(1);
	for (size_t n = 0; r == 0 && n < 4 * OWN_MAX; n += AT_ONCE)
		r = send_descriptors(pair[0], told, AT_ONCE);
	if (r != ETOOMANYREFS || write(told, "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* With whose limit the guest sends. The exit code is what became of toolringd's own descriptor. */
static int passes(const void *context)
{
	const bool *ours = context;
	struct plan_options o = options_init();
	struct rlimit own = {OWN_MAX, OWN_MAX};
	uint64_t limit = OWN_MAX;
	int pipes[2], pair[2], r;
	char byte;
	pid_t pid;

	if ((geteuid() == 0 && (setresgid(NOBODYS_UID, NOBODYS_UID, NOBODYS_UID) < 0 ||
				setresuid(NOBODYS_UID, NOBODYS_UID, NOBODYS_UID) < 0)) ||
	    setrlimit(RLIMIT_NOFILE, &own) < 0)
		return 255;
	found.is_root = false;
	if (plan_make(&plan, &o, &found, error, sizeof(error)) < 0)
		return 254;
	for (uint32_t i = 0; i < plan.n_rlimits && !*ours; i++)
		if (plan.rlimits[i].resource == RLIMIT_NOFILE)
			limit = plan.rlimits[i].hard;
	if (pipe(pipes) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return 253;
	pid = fork();
	if (pid == 0)
		send_all(limit, pipes[1]);
	close(pipes[1]);
	r = pid > 0 && read(pipes[0], &byte, 1) == 1 ? send_descriptors(pair[0], pair[1], 1) : 252;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return r;
}

/* A guest that is the same user as toolringd, with as many descriptors in flight as it is allowed,
 * does not keep that from passing its own; with toolringd's limit, the twin, it does. */
static void test_descriptors_in_flight(void **state)
{
	bool ours = false;

	(void)state;
	assert_int_equal(in_child(passes, &ours), 0);
	ours = true;
	assert_int_equal(in_child(passes, &ours), ETOOMANYREFS);
}

/* What --plan prints is JSON, with every row, whatever stands in the operator's values. */
static void test_print(void **state)
{
	static const char *const env[] = {"A=\"\\\n\x01\xff\xc3\xa9"};
	struct plan_options o = options_init();
	json_t *root, *mounts, *rules;
	json_error_t wrong;
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	(void)state;
	assert_non_null(f);
	o.env = env;
	o.n_env = 1;
	make_good(&o);
	plan_print(&plan, f);
	fclose(f);
	root = json_loads(text, JSON_REJECT_DUPLICATES, &wrong);
	if (!root)
		fail_msg("line %d: %s\n%s", wrong.line, wrong.text, text);
	assert_string_equal(json_string_value(json_object_get(json_object_get(root, "env"), "A")),
			    "\"\\\n\x01\xef\xbf\xbd\xc3\xa9");
	mounts = json_object_get(root, "mounts");
	assert_int_equal(json_array_size(mounts), plan.n_mounts);
	for (uint32_t i = 0; i < plan.n_mounts; i++)
		assert_string_equal(
			json_string_value(json_object_get(json_array_get(mounts, i), "target")),
			plan.mounts[i].target);
	rules = json_object_get(json_object_get(root, "landlock"), "rules");
	assert_int_equal(json_array_size(rules), plan.n_rules);
	assert_int_equal(json_object_size(json_object_get(root, "rlimits")), plan.n_rlimits);
	assert_int_equal(json_array_size(json_object_get(root, "layers")), PLAN_N_LAYERS);
	assert_true(json_array_size(json_object_get(json_object_get(root, "seccomp"), "denied")) >
		    40);
	assert_string_equal(json_string_value(json_object_get(root, "shell")), plan.shell);
	json_decref(root);
	free(text);
}

static int set_up(void **state)
{
	(void)state;
	return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mounts),      cmocka_unit_test(test_no_proc),
		cmocka_unit_test(test_layers),      cmocka_unit_test(test_ids),
		cmocka_unit_test(test_environment), cmocka_unit_test(test_binds),
		cmocka_unit_test(test_shell),       cmocka_unit_test(test_rlimits),
		cmocka_unit_test(test_print),       cmocka_unit_test(test_descriptors_in_flight),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
