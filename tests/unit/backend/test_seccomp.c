/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Processes that enter the filter of system calls: each denied operation is tried twice, in a process
 * with the filter, where it must fail, and in one without, its twin, where it must get further. A twin
 * that this kernel or the rights of this user stop as well is told and counts as skipped.
 */

#include "plan_case.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>

#include "backend/local/carry_out.h"

#define BAD  ((void *)1) /* no memory is there */
#define HIGH (UINT64_C(1) << 32)

/* ---- denied operations, each with its twin ------------------------------------------------------------ */

static int ended(long r)
{
	return r < 0 ? errno : 0;
}

static int try_mount(void)
{
	return ended(mount("none", "/tmp", "tmpfs", 0, NULL));
}
static int try_umount(void)
{
	return ended(umount2("/no such place", 0));
}
static int try_pivot_root(void)
{
	return ended(syscall(SYS_pivot_root, BAD, BAD));
}
static int try_chroot(void)
{
	return ended(chroot("/"));
}
static int try_open_tree(void)
{
	return ended(syscall(428, AT_FDCWD, "/", 0));
}
static int try_move_mount(void)
{
	return ended(syscall(429, -1, "", -1, "", 0));
}
static int try_fsopen(void)
{
	return ended(syscall(430, "tmpfs", 0));
}
static int try_fsconfig(void)
{
	return ended(syscall(431, -1, 0, NULL, NULL, 0));
}
static int try_fsmount(void)
{
	return ended(syscall(432, -1, 0, 0));
}
static int try_fspick(void)
{
	return ended(syscall(433, AT_FDCWD, "/no such place", 0));
}
static int try_mount_setattr(void)
{
	return ended(syscall(442, AT_FDCWD, "/", 0, BAD, 32));
}
static int try_statmount(void)
{
	return ended(syscall(457, BAD, BAD, 0, 0));
}
static int try_listmount(void)
{
	return ended(syscall(458, BAD, BAD, 0, 0));
}
static int try_open_tree_attr(void)
{
	return ended(syscall(467, AT_FDCWD, "/", 0, BAD, 32));
}
static int try_quotactl(void)
{
	return ended(syscall(SYS_quotactl, -1, NULL, 0, NULL));
}
static int try_swapon(void)
{
	return ended(syscall(SYS_swapon, BAD, 0));
}
static int try_setns(void)
{
	return ended(setns(open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC), 0));
}
static int try_unshare_user(void)
{
	return ended(unshare(CLONE_NEWUSER));
}
static int try_unshare_mount(void)
{
	return ended(unshare(CLONE_NEWNS));
}
static int try_clone_user(void)
{
	long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid == 0)
		_exit(0);
	return ended(pid);
}
static int try_clone3(void)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	} args = {.exit_signal = SIGCHLD};
	long pid = syscall(435, &args, sizeof(args));

	if (pid == 0)
		_exit(0);
	return ended(pid);
}
static int try_bpf(void)
{
	return ended(syscall(SYS_bpf, 0, BAD, 64));
}
static int try_perf(void)
{
	return ended(syscall(SYS_perf_event_open, BAD, 0, -1, -1, 0));
}
static int try_userfaultfd(void)
{
	return ended(syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* of user mode alone */));
}
static int try_uring_setup(void)
{
	uint8_t params[120] = {0};

	return ended(syscall(425, 1, params));
}
static int try_uring_enter(void)
{
	return ended(syscall(426, -1, 0, 0, 0, NULL, 0));
}
static int try_uring_register(void)
{
	return ended(syscall(427, -1, 0, NULL, 0));
}
static int try_aio(void)
{
	unsigned long context = 0;

	return ended(syscall(SYS_io_setup, 1, &context));
}
static int try_keyctl(void)
{
	return ended(syscall(SYS_keyctl, 0 /* GET_KEYRING_ID */, -2, 0));
}
static int try_add_key(void)
{
	return ended(syscall(SYS_add_key, "user", "toolring", "x", 1, -1 /* the thread's */));
}
static int try_request_key(void)
{
	return ended(syscall(SYS_request_key, "user", "toolring: none", NULL, 0));
}
static int try_fanotify(void)
{
	return ended(syscall(SYS_fanotify_init, 0x200 /* FAN_REPORT_FID */, O_RDONLY));
}
static int try_name_to_handle(void)
{
	uint64_t handle[32] = {0};
	int id;

	return ended(syscall(SYS_name_to_handle_at, AT_FDCWD, "/", handle, &id, 0));
}
static int try_open_by_handle(void)
{
	return ended(syscall(SYS_open_by_handle_at, -1, BAD, 0));
}
static int try_init_module(void)
{
	return ended(syscall(SYS_init_module, BAD, 0, ""));
}
static int try_finit_module(void)
{
	return ended(syscall(SYS_finit_module, -1, "", 0));
}
static int try_delete_module(void)
{
	return ended(syscall(SYS_delete_module, BAD, 0));
}
static int try_kexec(void)
{
	return ended(syscall(SYS_kexec_load, 0, 0, NULL, 0xffff));
}
static int try_reboot(void)
{
	return ended(syscall(SYS_reboot, 0, 0, 0, NULL)); /* lacks the magic numbers */
}
static int try_settimeofday(void)
{
	return ended(syscall(SYS_settimeofday, BAD, NULL));
}
static int try_clock_settime(void)
{
	return ended(syscall(SYS_clock_settime, 0, BAD));
}
static int try_syslog(void)
{
	return ended(syscall(SYS_syslog, 9 /* how much is unread */, NULL, 0));
}
static int try_acct(void)
{
	return ended(syscall(SYS_acct, BAD));
}
static int try_vhangup(void)
{
	setsid(); /* away from a terminal there is nothing to hang up */
	return ended(syscall(SYS_vhangup));
}
static int try_socket_vsock(void)
{
	return ended(socket(AF_VSOCK, SOCK_STREAM, 0));
}
static int try_socket_packet(void)
{
	return ended(socket(AF_PACKET, SOCK_RAW, 0));
}
static int try_socket_alg(void)
{
	return ended(socket(38 /* AF_ALG */, SOCK_SEQPACKET, 0));
}
static int try_personality(void)
{
	return ended(personality(PER_LINUX32));
}

/* On a terminal of our own, as the one that controls us. */
static int on_terminal(unsigned long request)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave;

	if (setsid() < 0 || master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		return -1;
	slave = open(ptsname(master), O_RDWR | O_CLOEXEC);
	return slave < 0 ? -1 : ended(syscall(SYS_ioctl, slave, request, "x"));
}
static int try_tiocsti(void)
{
	return on_terminal(TIOCSTI);
}
static int try_tiocsti_high(void)
{
	return on_terminal(TIOCSTI | HIGH);
}
static int try_tioclinux(void)
{
	return on_terminal(TIOCLINUX);
}

#ifdef __x86_64__
static int try_iopl(void)
{
	return ended(syscall(SYS_iopl, 0));
}
static int try_ioperm(void)
{
	return ended(syscall(SYS_ioperm, 0, 0, 0));
}
static int try_modify_ldt(void)
{
	return ended(syscall(SYS_modify_ldt, 0, NULL, 0));
}
/* getpid as a 32-bit program would */
static int try_32_bit(void)
{
	long r;

	__asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
	return r < 0 ? (int)-r : 0;
}
static int try_x32(void)
{
	return ended(syscall(0x40000000 | SYS_getpid));
}
#endif

static const struct attempt {
	const char *name;
	int (*run)(void); /* 0 or an errno */
	int error;        /* under the filter; 0: EPERM */
} attempts[] = {
	{"mount", try_mount, 0},
	{"umount2", try_umount, 0},
	{"pivot_root", try_pivot_root, 0},
	{"chroot", try_chroot, 0},
	{"open_tree", try_open_tree, 0},
	{"move_mount", try_move_mount, 0},
	{"fsopen", try_fsopen, 0},
	{"fsconfig", try_fsconfig, 0},
	{"fsmount", try_fsmount, 0},
	{"fspick", try_fspick, 0},
	{"mount_setattr", try_mount_setattr, 0},
	{"statmount", try_statmount, 0},
	{"listmount", try_listmount, 0},
	{"open_tree_attr", try_open_tree_attr, 0},
	{"quotactl", try_quotactl, 0},
	{"swapon", try_swapon, 0},
	{"setns", try_setns, 0},
	{"unshare of a user namespace", try_unshare_user, 0},
	{"unshare of a mount namespace", try_unshare_mount, 0},
	{"clone of a user namespace", try_clone_user, 0},
	{"clone3", try_clone3, ENOSYS},
	{"bpf", try_bpf, 0},
	{"perf_event_open", try_perf, 0},
	{"userfaultfd", try_userfaultfd, 0},
	{"io_uring_setup", try_uring_setup, 0},
	{"io_uring_enter", try_uring_enter, 0},
	{"io_uring_register", try_uring_register, 0},
	{"io_setup", try_aio, 0},
	{"keyctl", try_keyctl, 0},
	{"add_key", try_add_key, 0},
	{"request_key", try_request_key, 0},
	{"fanotify_init", try_fanotify, 0},
	{"name_to_handle_at", try_name_to_handle, 0},
	{"open_by_handle_at", try_open_by_handle, 0},
	{"init_module", try_init_module, 0},
	{"finit_module", try_finit_module, 0},
	{"delete_module", try_delete_module, 0},
	{"kexec_load", try_kexec, 0},
	{"reboot", try_reboot, 0},
	{"settimeofday", try_settimeofday, 0},
	{"clock_settime", try_clock_settime, 0},
	{"syslog", try_syslog, 0},
	{"acct", try_acct, 0},
	{"vhangup", try_vhangup, 0},
	{"AF_VSOCK", try_socket_vsock, 0},
	{"AF_PACKET", try_socket_packet, 0},
	{"AF_ALG", try_socket_alg, 0},
	{"personality of 32 bits", try_personality, 0},
	{"TIOCSTI", try_tiocsti, 0},
	{"TIOCSTI with higher bits", try_tiocsti_high, 0},
	{"TIOCLINUX", try_tioclinux, 0},
#ifdef __x86_64__
	{"iopl", try_iopl, 0},
	{"ioperm", try_ioperm, 0},
	{"modify_ldt", try_modify_ldt, 0},
	{"a 32-bit call", try_32_bit, 0},
	{"an x32 call", try_x32, 0},
#endif
};

static void write_map(const char *path, unsigned int id)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && dprintf(fd, "0 %u 1", id) < 0)
		perror(path);
	close(fd);
}

/* Mounts that a twin makes are seen by nobody else. Without privileges it is root among its own. */
static void set_apart(void)
{
	unsigned int uid = geteuid(), gid = getegid();
	int fd;

	if (unshare(CLONE_NEWNS) < 0) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
			return;
		fd = open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC);
		if (fd >= 0 && write(fd, "deny", 4) < 0)
			perror("setgroups");
		close(fd);
		write_map("/proc/self/uid_map", uid);
		write_map("/proc/self/gid_map", gid);
	}
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static int enter(void)
{
	const char *step;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return filter_enter(&plan, &step);
}

static int run_with(const void *context)
{
	const struct attempt *a = context;

	set_apart();
	return enter() < 0 ? 255 : a->run();
}

static int run_without(const void *context)
{
	const struct attempt *a = context;

	set_apart();
	return a->run();
}

static void test_denied(void **state)
{
	uint32_t n_shown = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(attempts) / sizeof(*attempts); i++) {
		const struct attempt *a = &attempts[i];
		int expected = a->error ? a->error : EPERM;
		int with = in_child(run_with, a), without = in_child(run_without, a);

		if (with != expected)
			fail_msg("%s: under the filter it came to %d (%s)", a->name, with,
				 strerror(with));
		if (without == expected || without == ENOSYS || without > 255) {
			bool lacks = without == ENOSYS || without > 255;

			print_message("skipped: %s: stopped here without the filter too: %s\n",
				      a->name, without > 255 ? "killed" : strerror(without));
			assert_true(lacks || geteuid() != 0 || !getenv("TOOLRING_MUST_WORK"));
		} else {
			n_shown++;
		}
	}
	/* Most can be shown anywhere; as root nearly all. */
	assert_true(n_shown >= (geteuid() == 0 ? 40 : 20));
}

/* ---- what goes on working ----------------------------------------------------------------------------- */

static void *count(void *context)
{
	++*(int *)context;
	return NULL;
}

static int threads(const void *context)
{
	pthread_t thread;
	int n = 0;

	(void)context;
	if (enter() < 0)
		return 1;
	for (int i = 0; i < 10; i++)
		if (pthread_create(&thread, NULL, count, &n) != 0 ||
		    pthread_join(thread, NULL) != 0)
			return 2;
	return n == 10 ? 0 : 3;
}

static int spawns(const void *context)
{
	char shell[] = "sh", flag[] = "-c", script[] = "exit 7";
	char *argv[] = {shell, flag, script, NULL};
	char line[32] = "";
	int status;
	pid_t pid;
	FILE *f;

	(void)context;
	if (enter() < 0)
		return 1;
	if (posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) != 0 ||
	    waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 7)
		return 2;
	f = popen("echo a pipe | cat", "re");
	if (!f || !fgets(line, sizeof(line), f) || strcmp(line, "a pipe\n") != 0 || pclose(f) != 0)
		return 3;
	pid = vfork();
	if (pid == 0)
		_exit(9);
	return waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 9 ? 0 : 4;
}

/* A debugger's ways: it traces, reads memory, and turns randomised addresses off. */
static int traces(const void *context)
{
	int status;
	pid_t pid;

	(void)context;
	if (enter() < 0 || personality(ADDR_NO_RANDOMIZE) < 0)
		return 1;
	pid = fork();
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(3);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return 2;
	if (ptrace(PTRACE_CONT, pid, NULL, NULL) < 0)
		return 3;
	return waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 3 ? 0 : 4;
}

static int talks(const void *context)
{
	int pair[2];

	(void)context;
	if (enter() < 0)
		return 1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return 2;
	if (socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) < 0)
		return 3;
	return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0) < 0 ? 4 : 0;
}

/* The zygote makes its children so; a filter of their own denies it to them. */
static int hands_over(const void *context)
{
	int status;
	pid_t pid = fork();

	(void)context;
	if (pid == 0) {
		if (enter() < 0)
			_exit(1);
		pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
		_exit(pid == 0 ? 5 : pid < 0 ? 2 : 6);
	}
	for (int n = 0, sum = 0; n < 2; n++) {
		if (wait(&status) < 0)
			return 3;
		sum += WEXITSTATUS(status);
		if (n == 1 && sum != 11)
			return 4;
	}
	return 0;
}

static int programs(const void *context)
{
	const char *command = context;

	if (enter() < 0)
		return 1;
	return system(command) == 0 ? 0 : 2;
}

static void test_allowed(void **state)
{
	(void)state;
	assert_int_equal(in_child(threads, NULL), 0);
	assert_int_equal(in_child(spawns, NULL), 0);
	assert_int_equal(in_child(traces, NULL), 0);
	assert_int_equal(in_child(talks, NULL), 0);
	assert_int_equal(in_child(hands_over, NULL), 0);
	if (access("/usr/bin/strace", X_OK) == 0)
		assert_int_equal(in_child(programs, "strace -f -o /dev/null sh -c 'true; true'"),
				 0);
	else
		print_message("skipped: no strace\n");
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
		cmocka_unit_test(test_denied),
		cmocka_unit_test(test_allowed),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
