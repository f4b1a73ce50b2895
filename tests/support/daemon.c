/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* No step of a test takes this long, not on a slow machine with sanitizers either. */
#define PATIENCE_NS UINT64_C(60000000000)
#define SHORT_LOOKS 200 /* before it sleeps in between */
#define LOG_SHOWN   8192

/* For the end that nobody planned. */
static struct daemon *running;
static pid_t owner;

/* ---- ends that nobody planned ---------------------------------------------------------------------- */

/* Safe inside a signal handler. The executor follows its keeper by itself. */
static void clean_up(void)
{
	struct daemon *d = running;

	if (!d || getpid() != owner)
		return;
	running = NULL;
	if (d->keeper > 0)
		kill(d->keeper, SIGKILL);
	unlink(d->socket);
	unlink(d->log);
	rmdir(d->folder);
}

static void on_signal(int number)
{
	clean_up();
	_exit(128 + number);
}

static void show_log(const struct daemon *d)
{
	char text[LOG_SHOWN];
	FILE *f = fopen(d->log, "r");
	size_t n;

	if (!f)
		return;
	if (fseek(f, -(long)sizeof(text), SEEK_END) < 0)
		rewind(f);
	n = fread(text, 1, sizeof(text), f);
	fclose(f);
	fprintf(stderr, "---- the end of its log:\n%.*s----\n", (int)n, text);
}

void check_failed(const char *file, int line, const char *what, const char *format, ...)
{
	int error = errno;
	va_list args;

	fprintf(stderr, "%s:%d: pid %d: not so: %s: ", file, line, (int)getpid(), what);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, " (errno: %s)\n", strerror(error));
	if (running && getpid() == owner)
		show_log(running);
	clean_up();
	_exit(1);
}

/* ---- small things ---------------------------------------------------------------------------------- */

uint64_t test_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

unsigned long test_number(const char *variable, unsigned long otherwise)
{
	const char *text = getenv(variable);
	char *end;
	unsigned long n;

	if (!text || !*text)
		return otherwise;
	n = strtoul(text, &end, 0);
	check(!*end, "%s is '%s'", variable, text);
	return n;
}

bool patience_look_again(struct patience *p)
{
	struct timespec moment = {.tv_nsec = 5000000};
	uint64_t now = test_now_ns();

	if (!p->until_ns)
		p->until_ns = now + PATIENCE_NS;
	if (now >= p->until_ns)
		return false;
	if (p->n_looks++ < SHORT_LOOKS)
		sched_yield();
	else
		nanosleep(&moment, NULL);
	return true;
}

uint64_t dice_roll(struct dice *d)
{
	d->state ^= d->state >> 12;
	d->state ^= d->state << 25;
	d->state ^= d->state >> 27;
	return d->state * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t dice_below(struct dice *d, uint64_t n)
{
	return (dice_roll(d) >> 11) % n;
}

uint64_t dice_size(struct dice *d, uint64_t max)
{
	unsigned n_bits = 64 - (unsigned)__builtin_clzll(max | 1);
	uint64_t size = dice_below(d, UINT64_C(1) << dice_below(d, n_bits + 1));

	return size < max ? size : max;
}

void dice_fill(struct dice *d, void *data, size_t n)
{
	uint64_t word;

	for (size_t i = 0; i < n; i += sizeof(word)) {
		word = dice_roll(d);
		memcpy((uint8_t *)data + i, &word, n - i < sizeof(word) ? n - i : sizeof(word));
	}
}

struct dice dice_new(void)
{
	unsigned long seed = test_number("TOOLRING_SEED", test_now_ns() / 1000);
	struct dice d = {.state = (uint64_t)seed * 2 + 1};

	printf("seed: TOOLRING_SEED=%lu\n", seed);
	fflush(stdout);
	dice_roll(&d);
	return d;
}

/* ---- processes ------------------------------------------------------------------------------------- */

int64_t process_n_fds(pid_t pid)
{
	char path[64];
	int64_t n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	if (!d)
		return -1;
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* Sum of the lines that begin with any of these keys, in the file's unit; -1: it cannot be read. */
static int64_t sum_lines(pid_t pid, const char *file, const char *const *keys)
{
	char path[64], line[256];
	int64_t sum = -1;
	long n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	f = fopen(path, "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		for (const char *const *key = keys; *key; key++)
			if (strncmp(line, *key, strlen(*key)) == 0 &&
			    sscanf(line + strlen(*key), "%ld", &n) == 1)
				sum = (sum < 0 ? 0 : sum) + n;
	fclose(f);
	return sum;
}

int64_t process_private_bytes(pid_t pid)
{
	static const char *const keys[] = {"Private_Clean:", "Private_Dirty:", "Swap:", NULL};
	int64_t n = sum_lines(pid, "smaps_rollup", keys);

	return n < 0 ? n : n * 1024;
}

bool process_is_sanitized(pid_t pid)
{
	static const char *const keys[] = {"VmSize:", NULL};

	/* Shadow memory is address space by the terabyte. */
	return sum_lines(pid, "status", keys) > INT64_C(1) << 30;
}

static pid_t parent_of(pid_t pid)
{
	static const char *const keys[] = {"PPid:", NULL};

	return (pid_t)sum_lines(pid, "status", keys);
}

pid_t child_fork(void)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	check(pid >= 0, "fork");
	if (pid == 0) {
		signal(SIGTERM, SIG_DFL);
		signal(SIGINT, SIG_DFL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
	}
	return pid;
}

int child_wait(pid_t pid, unsigned seconds_max)
{
	struct patience p = {.until_ns = test_now_ns() + seconds_max * UINT64_C(1000000000)};
	int status;
	pid_t r;

	while ((r = waitpid(pid, &status, WNOHANG)) == 0)
		check(patience_look_again(&p), "process %d does not end", (int)pid);
	check(r == pid, "process %d is no child", (int)pid);
	return status;
}

void process_is_gone(pid_t pid)
{
	struct patience p = {0};

	/* It may have come to us when its parent went. */
	while (waitpid(pid, NULL, WNOHANG) == 0 || kill(pid, 0) == 0)
		check(patience_look_again(&p), "process %d is still there", (int)pid);
}

/* ---- starting -------------------------------------------------------------------------------------- */

const char *daemon_program(int argc, char **argv)
{
	const char *program = argc > 1 ? argv[1] : getenv("TOOLRINGD");
	static char path[4096];

	check(program, "usage: %s TOOLRINGD", argv[0]);
	check(realpath(program, path), "%s", program);
	return path;
}

static void run(const struct daemon *d, int ready_fd)
{
	const char *argv[DAEMON_FLAGS_MAX + 16];
	char fd[16];
	size_t n = 0;
	int log;

	snprintf(fd, sizeof(fd), "%d", ready_fd);
	argv[n++] = d->program;
	argv[n++] = "--backend";
	argv[n++] = "fake";
	argv[n++] = "--socket";
	argv[n++] = d->socket;
	argv[n++] = "--ready-fd";
	argv[n++] = fd;
	for (size_t i = 0; i < d->n_flags; i++)
		argv[n++] = d->flags[i];
	argv[n] = NULL;
	log = open(d->log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (log < 0 || dup2(log, STDERR_FILENO) < 0 || fcntl(ready_fd, F_SETFD, 0) < 0)
		_exit(126);
	execv(d->program, (char *const *)argv);
	_exit(127);
}

void daemon_start_again(struct daemon *d)
{
	struct pollfd p = {.events = POLLIN};
	char byte;
	int fds[2];

	check(!d->keeper, "it still runs");
	check(pipe2(fds, O_CLOEXEC) == 0, "pipe");
	d->keeper = child_fork();
	if (!d->keeper)
		run(d, fds[1]);
	close(fds[1]);
	p.fd = fds[0];
	check(poll(&p, 1, (int)(PATIENCE_NS / 1000000)) == 1, "toolringd is not ready in time");
	check(read(fds[0], &byte, 1) == 1, "toolringd did not start");
	close(fds[0]);
	daemon_executor(d, 0);
}

void daemon_start(struct daemon *d, const char *program, ...)
{
	static const int ends[] = {SIGTERM, SIGINT, SIGHUP};
	const char *flag;
	va_list args;

	*d = (struct daemon){.program = program, .folder = "/tmp/toolring-fault-XXXXXX"};
	check(mkdtemp(d->folder), "mkdtemp");
	snprintf(d->socket, sizeof(d->socket), "%s/sock", d->folder);
	snprintf(d->log, sizeof(d->log), "%s/log", d->folder);
	va_start(args, program);
	while ((flag = va_arg(args, const char *))) {
		check(d->n_flags < DAEMON_FLAGS_MAX, "too many flags");
		d->flags[d->n_flags++] = flag;
	}
	va_end(args);
	owner = getpid();
	running = d;
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
		signal(ends[i], on_signal);
	/* An executor whose keeper was killed comes to us, so that its end can be seen. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	daemon_start_again(d);
}

/* ---- the executor ---------------------------------------------------------------------------------- */

static bool is_zombie(pid_t pid)
{
	static const char *const keys[] = {"VmSize:", NULL};

	return sum_lines(pid, "status", keys) < 0;
}

static pid_t find_child(pid_t parent, pid_t not )
{
	DIR *d = opendir("/proc");
	pid_t found = 0;

	check(d, "/proc");
	for (struct dirent *e; !found && (e = readdir(d));) {
		pid_t pid = (pid_t)atoi(e->d_name);

		if (pid > 0 && pid != not &&parent_of(pid) == parent && !is_zombie(pid))
			found = pid;
	}
	closedir(d);
	return found;
}

pid_t daemon_executor(struct daemon *d, pid_t not )
{
	struct patience p = {0};
	pid_t pid;

	while (!(pid = find_child(d->keeper, not )))
		check(patience_look_again(&p), "there is no executor");
	d->executor = pid;
	return pid;
}

pid_t daemon_kill_executor(struct daemon *d)
{
	pid_t pid = daemon_executor(d, 0);

	check(kill(pid, SIGKILL) == 0, "kill %d", (int)pid);
	return daemon_executor(d, pid);
}

/* ---- the end --------------------------------------------------------------------------------------- */

bool daemon_said(const struct daemon *d, const char *text)
{
	char line[1024];
	bool found = false;
	FILE *f = fopen(d->log, "r");

	check(f, "%s", d->log);
	while (!found && fgets(line, sizeof(line), f))
		found = strstr(line, text);
	fclose(f);
	return found;
}

/* As toolringd makes it from the socket's path; tests/fault/executor_death.c shows that it does. */
void daemon_shm_prefix(const struct daemon *d, char *ret_prefix, size_t n)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (const char *c = d->socket; *c; c++)
		h = (h ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
	snprintf(ret_prefix, n, "toolring-%u-%016llx-", (unsigned)geteuid(), (unsigned long long)h);
}

size_t daemon_n_shm(const struct daemon *d)
{
	char prefix[64];
	size_t n = 0;
	DIR *dir = opendir("/dev/shm");

	check(dir, "/dev/shm");
	daemon_shm_prefix(d, prefix, sizeof(prefix));
	for (struct dirent *e; (e = readdir(dir));)
		n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
	closedir(dir);
	return n;
}

static void nothing_is_left(struct daemon *d)
{
	check(daemon_n_shm(d) == 0, "%zu names left in /dev/shm", daemon_n_shm(d));
	check(access(d->socket, F_OK) < 0, "the socket is left");
	check(!daemon_said(d, "Sanitizer") && !daemon_said(d, "runtime error"),
	      "a sanitizer complained");
	check(unlink(d->log) == 0, "its log");
	check(rmdir(d->folder) == 0, "something is left in %s", d->folder);
	running = NULL;
}

void daemon_ends(struct daemon *d, int code)
{
	int status = child_wait(d->keeper, 120);

	d->keeper = 0;
	check(WIFEXITED(status) && WEXITSTATUS(status) == code, "toolringd ended with status 0x%x",
	      (unsigned)status);
	process_is_gone(d->executor);
	nothing_is_left(d);
}

void daemon_stop(struct daemon *d)
{
	daemon_executor(d, 0);
	check(kill(d->keeper, SIGTERM) == 0, "kill");
	daemon_ends(d, 0);
}

void daemon_kill_keeper(struct daemon *d)
{
	daemon_executor(d, 0);
	check(kill(d->keeper, SIGKILL) == 0, "kill");
	child_wait(d->keeper, 60);
	d->keeper = 0;
}
