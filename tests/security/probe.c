/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe NAME [ARGUMENT]: tries one thing that a guest must not be able to do, and says how it went:
 * "ok", or the number of the error. Static, so that it runs in a slot as well as outside, where it
 * shows that the same thing would work. Each attempt is harmless where it works, if it is run in a
 * mount namespace of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

/* What they are on every architecture, where the C library does not name them yet. */
#define NR_OPEN_TREE     428
#define NR_MOVE_MOUNT    429
#define NR_FSOPEN        430
#define NR_FSCONFIG      431
#define NR_FSMOUNT       432
#define NR_FSPICK        433
#define NR_PIDFD_OPEN    434
#define NR_CLONE3        435
#define NR_PIDFD_GETFD   438
#define NR_MOUNT_SETATTR 442

static int of(long r)
{
	return r < 0 ? -errno : 0;
}

static int number(const char *text)
{
	return text ? atoi(text) : 0;
}

/* ---- the kernel's larger doors -------------------------------------------------------------------- */

static int try_bpf(const char *argument)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};

	(void)argument;
	return of(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)));
}

static int try_perf(const char *argument)
{
	struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
				       .size = sizeof(attr),
				       .config = PERF_COUNT_SW_TASK_CLOCK,
				       .exclude_kernel = 1,
				       .exclude_hv = 1};

	(void)argument;
	return of(syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
}

static int try_keyctl(const char *argument)
{
	(void)argument;
	return of(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 1));
}

static int try_add_key(const char *argument)
{
	(void)argument;
	return of(syscall(SYS_add_key, "user", "toolring-test", "x", (size_t)1,
			  KEY_SPEC_PROCESS_KEYRING));
}

static int try_request_key(const char *argument)
{
	int r;

	(void)argument;
	r = of(syscall(SYS_request_key, "user", "toolring-test", NULL, KEY_SPEC_PROCESS_KEYRING));
	return r == -ENOKEY ? 0 : r; /* it looked */
}

static int try_userfaultfd(const char *argument)
{
	(void)argument;
	return of(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY));
}

static int try_init_module(const char *argument)
{
	int r;

	(void)argument;
	r = of(syscall(SYS_init_module, "no module", (unsigned long)9, ""));
	return r == -ENOEXEC ? 0 : r; /* it was read */
}

static int try_finit_module(const char *argument)
{
	int r;

	(void)argument;
	r = of(syscall(SYS_finit_module, -1, "", 0));
	return r == -EBADF ? 0 : r;
}

static int try_delete_module(const char *argument)
{
	int r;

	(void)argument;
	r = of(syscall(SYS_delete_module, "toolring_no_such_module", O_NONBLOCK));
	return r == -ENOENT ? 0 : r;
}

static int try_kexec(const char *argument)
{
	int r;

	(void)argument;
	r = of(syscall(SYS_kexec_load, 0ul, 1ul << 20, NULL, 0ul));
	return r == -EINVAL ? 0 : r;
}

/* ---- processes and namespaces --------------------------------------------------------------------- */

/* A child does it and ends at once; its exit code is not looked at. */
static int raw_clone(unsigned long flags)
{
	long pid = syscall(SYS_clone, flags, 0, 0, 0, 0);
	int error = errno;

	if (pid == 0)
		_exit(0);
	if (pid > 0 && !(flags & CLONE_PARENT))
		waitpid((pid_t)pid, NULL, __WALL);
	return pid < 0 ? -error : 0;
}

static int try_clone_parent(const char *argument)
{
	pid_t pid = fork();
	int status;

	(void)argument;
	/* From a child of ours, so that its sibling is ours to reap. */
	if (pid == 0)
		_exit(-raw_clone(CLONE_PARENT | SIGCHLD) & 255);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -errno;
	while (waitpid(-1, NULL, 0) > 0)
		;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
}

static int try_clone3(const char *argument)
{
	struct clone_args args = {.exit_signal = SIGCHLD};
	long pid = syscall(NR_CLONE3, &args, sizeof(args));
	int error = errno;

	(void)argument;
	if (pid == 0)
		_exit(0);
	if (pid > 0)
		waitpid((pid_t)pid, NULL, 0);
	return pid < 0 ? -error : 0;
}

/* argument: a namespace's name. */
static unsigned long namespace_flag(const char *argument)
{
	static const struct {
		const char *name;
		unsigned long flag;
	} all[] = {{"user", CLONE_NEWUSER}, {"mnt", CLONE_NEWNS},  {"pid", CLONE_NEWPID},
		   {"net", CLONE_NEWNET},   {"ipc", CLONE_NEWIPC}, {"uts", CLONE_NEWUTS},
		   {"cgroup", 0x02000000},  {"time", 0x00000080}};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (argument && !strcmp(all[i].name, argument))
			return all[i].flag;
	fprintf(stderr, "probe: there is no such namespace\n");
	exit(2);
}

static int try_unshare(const char *argument)
{
	return of(syscall(SYS_unshare, namespace_flag(argument)));
}

static int try_clone_new(const char *argument)
{
	return raw_clone(namespace_flag(argument) | SIGCHLD);
}

static int try_setns(const char *argument)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/ns/%s", argument);
	fd = open(path, O_RDONLY);
	return fd < 0 ? -errno : of(syscall(SYS_setns, fd, 0));
}

static int try_ptrace(const char *argument)
{
	return of(ptrace(PTRACE_SEIZE, number(argument), NULL, NULL));
}

static int try_vm_read(const char *argument)
{
	char byte;
	struct iovec local = {&byte, 1}, remote = {(void *)(uintptr_t)0x400000, 1};
	int r = of(process_vm_readv(number(argument), &local, 1, &remote, 1, 0));

	return r == -EFAULT ? 0 : r; /* it was let in, and nothing is there */
}

static int try_mem(const char *argument)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/mem", argument);
	return of(open(path, O_RDWR | O_CLOEXEC));
}

static int try_getfd(const char *argument)
{
	int pidfd = (int)syscall(NR_PIDFD_OPEN, number(argument), 0);

	return pidfd < 0 ? -errno : of(syscall(NR_PIDFD_GETFD, pidfd, 0, 0));
}

/* A child that waits, for those that need somebody to aim at. */
static int on_child(int (*attempt)(const char *), const char *argument)
{
	char name[16];
	pid_t pid = fork();
	int r;

	(void)argument;
	if (pid == 0) {
		for (;;)
			pause();
	}
	if (pid < 0)
		return -errno;
	snprintf(name, sizeof(name), "%d", (int)pid);
	r = attempt(name);
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	return r;
}

static int try_ptrace_child(const char *argument)
{
	return on_child(try_ptrace, argument);
}

static int try_vm_read_child(const char *argument)
{
	return on_child(try_vm_read, argument);
}

static int try_mem_child(const char *argument)
{
	return on_child(try_mem, argument);
}

static int try_getfd_child(const char *argument)
{
	return on_child(try_getfd, argument);
}

static int try_prlimit_child(const char *argument)
{
	return on_child(probe_prlimit, argument);
}

/* ---- mounts --------------------------------------------------------------------------------------- */

static int try_mount(const char *argument)
{
	return of(mount("none", argument ? argument : "/tmp", "tmpfs", 0, NULL));
}

static int try_remount(const char *argument)
{
	(void)argument;
	return of(mount(NULL, "/proc", NULL, MS_REMOUNT | MS_BIND, NULL));
}

static int try_umount(const char *argument)
{
	(void)argument;
	return of(umount2("/proc", MNT_DETACH));
}

static int try_pivot_root(const char *argument)
{
	int r;

	(void)argument;
	r = of(syscall(SYS_pivot_root, "/proc", "/proc"));
	return r == -EINVAL || r == -EBUSY ? 0 : r;
}

static int try_chroot(const char *argument)
{
	(void)argument;
	return of(chroot("."));
}

static int try_open_tree(const char *argument)
{
	(void)argument;
	return of(syscall(NR_OPEN_TREE, AT_FDCWD, "/proc", 1 /* OPEN_TREE_CLONE */));
}

static int try_move_mount(const char *argument)
{
	int r;

	(void)argument;
	r = of(syscall(NR_MOVE_MOUNT, -1, "", -1, "", 4 | 64 /* empty paths */));
	return r == -EBADF ? 0 : r;
}

static int try_fsopen(const char *argument)
{
	(void)argument;
	return of(syscall(NR_FSOPEN, "tmpfs", 0));
}

static int try_fsconfig(const char *argument)
{
	int r;

	(void)argument;
	r = of(syscall(NR_FSCONFIG, -1, 6 /* create */, NULL, NULL, 0));
	return r == -EBADF || r == -EINVAL ? 0 : r;
}

static int try_fsmount(const char *argument)
{
	int r;

	(void)argument;
	r = of(syscall(NR_FSMOUNT, -1, 0, 0));
	return r == -EBADF ? 0 : r;
}

static int try_fspick(const char *argument)
{
	(void)argument;
	return of(syscall(NR_FSPICK, AT_FDCWD, "/proc", 0));
}

static int try_mount_setattr(const char *argument)
{
	uint64_t attr[4] = {0};

	(void)argument;
	return of(syscall(NR_MOUNT_SETATTR, AT_FDCWD, "/proc", 0, attr, sizeof(attr)));
}

static int try_mknod(const char *argument)
{
	const char *path = argument ? argument : "toolring-test-node";
	int r = of(mknod(path, S_IFCHR | 0666, makedev(1, 3)));

	unlink(path);
	return r;
}

static int try_handle(const char *argument)
{
	struct {
		struct file_handle handle;
		unsigned char bytes[128];
	} h = {.handle.handle_bytes = 128};
	int mount_id, fd = open("/", O_RDONLY | O_DIRECTORY), r;

	(void)argument;
	if (name_to_handle_at(AT_FDCWD, "/usr", &h.handle, &mount_id, 0) < 0)
		return -errno;
	r = of(open_by_handle_at(fd, &h.handle, O_RDONLY));
	return r == -ESTALE ? 0 : r;
}

/* ---- sockets, terminals, other doors into the kernel ---------------------------------------------- */

static int try_vsock(const char *argument)
{
	(void)argument;
	return of(socket(AF_VSOCK, SOCK_STREAM, 0));
}

static int try_packet(const char *argument)
{
	(void)argument;
	return of(socket(AF_PACKET, SOCK_RAW, 0));
}

static int try_alg(const char *argument)
{
	(void)argument;
	return of(socket(AF_ALG, SOCK_SEQPACKET, 0));
}

static int try_raw(const char *argument)
{
	(void)argument;
	return of(socket(AF_INET, SOCK_RAW, 1));
}

static int try_tiocsti(const char *argument)
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY), terminal;
	int number = 0, unlock = 0;
	char path[32];

	(void)argument;
	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0 ||
	    ioctl(master, TIOCGPTN, &number) < 0)
		return -errno;
	if (setsid() < 0 && getpid() != getsid(0))
		return -errno;
	snprintf(path, sizeof(path), "/dev/pts/%d", number);
	terminal = open(path, O_RDWR);
	if (terminal < 0)
		return -errno;
	ioctl(terminal, TIOCSCTTY, 0);
	return of(ioctl(terminal, TIOCSTI, "x"));
}

#ifdef __x86_64__
static int try_int80(const char *argument)
{
	long r;

	(void)argument;
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(20l) : "memory", "r8", "r9", "r10", "r11");
	return r < 0 ? (int)r : 0;
}

static int try_x32(const char *argument)
{
	(void)argument;
	return of(syscall(0x40000000 | SYS_getpid));
}
#endif

static int try_setuid(const char *argument)
{
	int id = number(argument);

	if (setresgid((gid_t)id, (gid_t)id, (gid_t)id) < 0)
		return -errno;
	return of(setresuid((uid_t)id, (uid_t)id, (uid_t)id));
}

static int try_sethostname(const char *argument)
{
	(void)argument;
	return of(sethostname("x", 1));
}

static int try_reboot(const char *argument)
{
	int r;

	(void)argument;
	r = of(syscall(SYS_reboot, 0, 0, 0, NULL)); /* wrong magic */
	return r == -EINVAL ? 0 : r;
}

/* Opens a file for writing, and writes nothing. */
static int try_writing(const char *argument)
{
	return of(open(argument, O_WRONLY | O_CLOEXEC));
}

static const struct {
	const char *name;
	int (*attempt)(const char *argument);
} attempts[] = {
	{"bpf", try_bpf},
	{"perf", try_perf},
	{"keyctl", try_keyctl},
	{"add_key", try_add_key},
	{"request_key", try_request_key},
	{"io_uring", probe_io_uring},
	{"userfaultfd", try_userfaultfd},
	{"init_module", try_init_module},
	{"finit_module", try_finit_module},
	{"delete_module", try_delete_module},
	{"kexec", try_kexec},
	{"clone_parent", try_clone_parent},
	{"clone3", try_clone3},
	{"unshare", try_unshare},
	{"clone_new", try_clone_new},
	{"setns", try_setns},
	{"ptrace", try_ptrace},
	{"vm_read", try_vm_read},
	{"mem", try_mem},
	{"getfd", try_getfd},
	{"ptrace_child", try_ptrace_child},
	{"vm_read_child", try_vm_read_child},
	{"mem_child", try_mem_child},
	{"getfd_child", try_getfd_child},
	{"prlimit", probe_prlimit},
	{"prlimit_child", try_prlimit_child},
	{"core_limit", probe_core_limit},
	{"aio", probe_aio},
	{"mount", try_mount},
	{"remount", try_remount},
	{"umount", try_umount},
	{"pivot_root", try_pivot_root},
	{"chroot", try_chroot},
	{"open_tree", try_open_tree},
	{"move_mount", try_move_mount},
	{"fsopen", try_fsopen},
	{"fsconfig", try_fsconfig},
	{"fsmount", try_fsmount},
	{"fspick", try_fspick},
	{"mount_setattr", try_mount_setattr},
	{"mknod", try_mknod},
	{"handle", try_handle},
	{"vsock", try_vsock},
	{"packet", try_packet},
	{"alg", try_alg},
	{"raw", try_raw},
	{"tiocsti", try_tiocsti},
#ifdef __x86_64__
	{"int80", try_int80},
	{"x32", try_x32},
#endif
	{"setuid", try_setuid},
	{"sethostname", try_sethostname},
	{"reboot", try_reboot},
	{"writing", try_writing},
	{"abstract_connect", probe_abstract_connect},
	{"abstract_listen", probe_abstract_listen},
	{"path_connect", probe_path_connect},
	{"shm_make", probe_shm_make},
	{"shm_find", probe_shm_find},
	{"sem_make", probe_sem_make},
	{"sem_find", probe_sem_find},
	{"msg_make", probe_msg_make},
	{"msg_find", probe_msg_find},
	{"mq_make", probe_mq_make},
	{"mq_find", probe_mq_find},
	{"swap", probe_swap},
	{"terminal_make", probe_terminal_make},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		int r;

		if (strcmp(attempts[i].name, argv[1]) != 0)
			continue;
		r = attempts[i].attempt(argc > 2 ? argv[2] : NULL);
		if (r < 0)
			printf("%d\n", -r);
		else
			printf("ok\n");
		return 0;
	}
	fprintf(stderr, "probe: there is no such attempt\n");
	return 2;
}
