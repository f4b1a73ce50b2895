/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a slot's init is to its zygotes, as little of it as a test of them needs.
 *
 *   zygote_host OBJECT BASH          runs commands for zygote.py
 *   zygote_host OBJECT BASH bench N  says what N commands cost, forked and started by exec
 *   zygote_host clone-parent         tries to make a child of its parent's parent (run by a command)
 *
 * There are two zygotes, of the same protocol: bash with OBJECT loaded, and a process here whose
 * children exec `bash -c COMMAND`, which is what the first is compared to. Both have their children in
 * one pid and mount namespace, the room, with a /tmp of its own, whose first process kills what is left
 * of a command and has the kernel count process ids from the same number again, so that `$!` and each
 * fork that bash makes can be compared too.
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "slot/zygote.h"
#include "zygote_host.h"

#define EXIT_SKIP 77

const char *const host_env[] = {
	"PATH=/tmp/bin:/usr/local/bin:/usr/bin:/bin",
	"HOME=/tmp/w",
	"LANG=C.UTF-8",
	"TERM=dumb",
	"USER=user",
	NULL,
};

static _Noreturn void skip(const char *what)
{
	bool must = getenv("TOOLRING_MUST_WORK") != NULL;

	fprintf(stderr, "zygote_host: %s: %s\n", what, strerror(errno));
	exit(must ? 1 : EXIT_SKIP);
}

_Noreturn void host_die(const char *what)
{
	fprintf(stderr, "zygote_host: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		skip(path);
	close(fd);
}

/* ---- The room's first process ------------------------------------------------------------------ */

static void copy_file(int from, const char *to)
{
	char buffer[65536];
	ssize_t n;
	int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	if (fd < 0)
		host_die(to);
	while ((n = read(from, buffer, sizeof(buffer))) > 0)
		if (write(fd, buffer, (size_t)n) != n)
			host_die(to);
	fchmod(fd, 0755);
	close(fd);
	close(from);
}

static void room_make(int object, int bash, int self)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") < 0 ||
	    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		skip("mounts of a namespace");
	mkdir("/tmp/bin", 0755);
	copy_file(object, "/tmp/toolring-zygote.so");
	copy_file(bash, "/tmp/bin/bash");
	copy_file(self, "/tmp/bin/zygote_host");
	mkdir("/tmp/w", 0755);
	if (geteuid() == 0 && chown("/tmp/w", HOST_GUEST, HOST_GUEST) < 0 && errno != EINVAL)
		host_die("chown");
}

/* Ends what is left of a command and makes its directory new. */
static void room_clean(void)
{
	pid_t pid;
	int status;

	do {
		kill(-1, SIGKILL);
		pid = waitpid(-1, NULL, 0); /* SIGCHLD is ignored: returns once none is left */
	} while (pid >= 0 || errno == EINTR);
	pid = fork();
	if (pid == 0) {
		signal(SIGCHLD, SIG_DFL);
		execl("/bin/sh", "sh", "-c",
		      "chmod -R u+rwx /tmp/w 2>/dev/null; cd /tmp/w && "
		      "find . -mindepth 1 -delete; chmod 755 .; cd /tmp && "
		      "find . -mindepth 1 -maxdepth 1 ! -name w ! -name bin ! -name '*.so' "
		      "-exec rm -rf {} +",
		      (char *)NULL);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
}

static _Noreturn void room_main(int control, int object, int bash, int self)
{
	char op;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGCHLD, SIG_IGN);
	room_make(object, bash, self);
	if (write(control, "R", 1) != 1)
		_exit(1);
	while (read(control, &op, 1) == 1) {
		if (op == 'C')
			room_clean();
		if (op == 'P')
			write_file("/proc/sys/kernel/ns_last_pid", "1000");
		if (op == 'H')
			unlink("/tmp/toolring-zygote.so");
		if (write(control, &op, 1) != 1)
			break;
	}
	_exit(0);
}

void host_room(struct host *h, char op)
{
	char answer = 0;

	if (write(h->room_control, &op, 1) != 1 || read(h->room_control, &answer, 1) != 1 ||
	    answer != op)
		host_die("the room's first process");
}

/* ---- The zygotes ------------------------------------------------------------------------------- */

static void enter_namespace(pid_t room, const char *name, int type)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", room, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, type) < 0)
		host_die(path);
	close(fd);
}

/* As an init would settle it before either kind of zygote. */
static void become_guest(const struct host *h, int fd)
{
	const struct rlimit no_core = {0, 0};
	int null;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	enter_namespace(h->room, "pid", CLONE_NEWPID);
	enter_namespace(h->room, "mnt", CLONE_NEWNS);
	if (h->is_root &&
	    (setgroups(0, NULL) < 0 || setresgid(HOST_GUEST, HOST_GUEST, HOST_GUEST) < 0 ||
	     setresuid(HOST_GUEST, HOST_GUEST, HOST_GUEST) < 0))
		host_die("ids");
	setrlimit(RLIMIT_CORE, &no_core);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	umask(022);
	if (chdir("/tmp/w") < 0)
		host_die("/tmp/w");
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (dup2(fd, ZYGOTE_FD) < 0)
		host_die("dup2");
	for (int i = 0; i < (getenv("ZYGOTE_HOST_STDERR") ? 2 : 3); i++)
		dup2(null, i);
	close_range(ZYGOTE_FD + 1, UINT_MAX, 0);
}

static void exec_child(const int fds[ZYGOTE_N_FDS])
{
	struct zygote_command command;
	size_t n = 0;
	char *text;

	if (setsid() < 0)
		_exit(127);
	for (int i = 0; i < 3; i++)
		dup2(fds[i], i);
	if (recv(fds[ZYGOTE_COMMAND], &command, sizeof(command), MSG_WAITALL) != sizeof(command))
		_exit(0);
	text = calloc(1, command.n_bytes + 1);
	while (text && n < command.n_bytes) {
		ssize_t r = read(fds[ZYGOTE_COMMAND], text + n, command.n_bytes - n);

		if (r <= 0)
			_exit(0);
		n += (size_t)r;
	}
	close_range(ZYGOTE_FD, UINT_MAX, 0);
	host_deny_clone_parent();
	char *const argv[] = {(char *)(uintptr_t) "bash", (char *)(uintptr_t) "-c", text, NULL};

	execve("/tmp/bin/bash", argv, (char *const *)(uintptr_t)host_env);
	_exit(127);
}

static _Noreturn void exec_zygote(void)
{
	for (;;) {
		struct zygote_fork request;
		struct iovec iov = {&request, sizeof(request)};
		_Alignas(struct cmsghdr) char control[CMSG_SPACE(ZYGOTE_N_FDS * sizeof(int))];
		struct msghdr message = {.msg_iov = &iov,
					 .msg_iovlen = 1,
					 .msg_control = control,
					 .msg_controllen = sizeof(control)};
		int fds[ZYGOTE_N_FDS];
		int32_t pid;

		if (recvmsg(ZYGOTE_FD, &message, 0) != sizeof(request))
			_exit(0);
		memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fds));
		pid = (int32_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
		if (pid == 0)
			exec_child(fds);
		for (int i = 0; i < ZYGOTE_N_FDS; i++)
			close(fds[i]);
		if (write(ZYGOTE_FD, &pid, sizeof(pid)) != sizeof(pid))
			_exit(0);
	}
}

void host_start_zygote(struct host *h, enum host_side side)
{
	int pair[2];
	char ready = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		host_die("socketpair");
	h->zygote_pid[side] = fork();
	if (h->zygote_pid[side] == 0) {
		become_guest(h, pair[1]);
		if (side == HOST_EXEC) {
			if (write(ZYGOTE_FD, "R", 1) == 1)
				exec_zygote();
			_exit(1);
		}
		execle("/tmp/bin/bash", "bash", "--norc", "-c",
		       "enable -f /tmp/toolring-zygote.so toolring_zygote; toolring_zygote 3",
		       (char *)NULL, host_env);
		_exit(127);
	}
	close(pair[1]);
	h->zygote[side] = pair[0];
	if (read(pair[0], &ready, 1) != 1 || ready != ZYGOTE_READY) {
		fprintf(stderr, "zygote_host: zygote %d did not start\n", (int)side);
		exit(1);
	}
}

int host_fork(struct host *h, enum host_side side, const int fds[ZYGOTE_N_FDS])
{
	struct zygote_fork request = {.magic = ZYGOTE_MAGIC};
	struct iovec iov = {&request, sizeof(request)};
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(ZYGOTE_N_FDS * sizeof(int))] = {0};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	int32_t pid;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(ZYGOTE_N_FDS * sizeof(int));
	memcpy(CMSG_DATA(c), fds, ZYGOTE_N_FDS * sizeof(int));
	if (sendmsg(h->zygote[side], &message, MSG_NOSIGNAL) < 0 ||
	    read(h->zygote[side], &pid, sizeof(pid)) != sizeof(pid))
		host_die("fork request");
	return pid;
}

bool host_send_command(int socket, const char *text, size_t n)
{
	struct zygote_command command = {.magic = ZYGOTE_MAGIC, .n_bytes = n};
	struct iovec iov[2] = {{&command, sizeof(command)}, {(char *)(uintptr_t)text, n}};
	ssize_t sent = writev(socket, iov, 2);
	size_t at;

	if (sent < (ssize_t)sizeof(command))
		return false;
	for (at = (size_t)sent - sizeof(command); at < n; at += (size_t)sent) {
		sent = write(socket, text + at, n - at);
		if (sent <= 0)
			return false;
	}
	return true;
}

/* ---- Start ------------------------------------------------------------------------------------- */

void host_deny_clone_parent(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_PARENT, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(127);
}

static int open_or_die(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		host_die(path);
	return fd;
}

static void become_own_root(void)
{
	char map[64];
	uid_t uid = getuid();
	gid_t gid = getgid();

	if (unshare(CLONE_NEWUSER) < 0)
		skip("user namespace");
	snprintf(map, sizeof(map), "%d %u 1\n", HOST_GUEST, uid);
	write_file("/proc/self/uid_map", map);
	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "%d %u 1\n", HOST_GUEST, gid);
	write_file("/proc/self/gid_map", map);
}

void host_start(struct host *h, const char *object, const char *bash)
{
	int object_fd = open_or_die(object);
	int bash_fd = open_or_die(bash);
	int self_fd = open_or_die("/proc/self/exe");
	int pair[2];
	char ready;

	h->is_root = geteuid() == 0;
	if (!h->is_root)
		become_own_root();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		host_die("socketpair");
	h->room = (pid_t)syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);
	if (h->room < 0)
		skip("pid namespace");
	if (h->room == 0) {
		close(pair[0]);
		room_main(pair[1], object_fd, bash_fd, self_fd);
	}
	close(pair[1]);
	close(object_fd);
	close(bash_fd);
	close(self_fd);
	h->room_control = pair[0];
	if (read(h->room_control, &ready, 1) != 1) {
		int status = 0;

		waitpid(h->room, &status, 0);
		exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
	}
	host_start_zygote(h, HOST_ZYGOTE);
	host_start_zygote(h, HOST_EXEC);
	host_room(h, 'H');
}

void host_stop(struct host *h)
{
	close(h->zygote[HOST_ZYGOTE]);
	close(h->zygote[HOST_EXEC]);
	close(h->room_control);
	while (waitpid(-1, NULL, 0) > 0)
		;
}
