/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "keeper/place.h"

/* Linux 5.1; glibc has it under another header than fcntl.h. */
#define SEAL_FUTURE_WRITE 0x0010

struct keeper {
	const struct keeper_options *options;
	int (*child)(const struct keeper_child *child, void *context);
	void *context;
	struct keeper_child given;
	int signal_fd;
	int pair;  /* our end of the executor's */
	pid_t pid; /* of the executor; 0: none */
	bool ready;
	unsigned n_stops; /* times we were told to stop */
	uint64_t kill_at_ns;
	uint64_t window_ns; /* when the present restart window began */
	uint64_t n_restarts;
};

/* ---- what outlives an executor -------------------------------------------------------------------- */

static int make_stats(struct keeper *k)
{
	_cleanup_(cleanup_close) int fd =
		memfd_create("toolring-stats", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char path[64];

	if (fd < 0 || ftruncate(fd, (off_t)k->options->stats_bytes) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return -errno;
	k->given.stats =
		mmap(NULL, k->options->stats_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (k->given.stats == MAP_FAILED) {
		k->given.stats = NULL;
		return -errno;
	}
	/* Our mapping stays writable; no other, however the client opens the file anew. */
	if (fcntl(fd, F_ADD_SEALS, SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	k->given.stats_fd = open(path, O_RDONLY | O_CLOEXEC);
	return k->given.stats_fd < 0 ? -errno : 0;
}

static int make_notes(struct keeper *k)
{
	void *notes = mmap(NULL, k->options->notes_bytes, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (notes == MAP_FAILED)
		return -errno;
	k->given.notes = notes;
	return 0;
}

static int make_signals(struct keeper *k)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	k->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return k->signal_fd < 0 ? -errno : 0;
}

/* Every session has a socket and a pidfd. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- the executor's process ----------------------------------------------------------------------- */

static int drop_privileges(const struct keeper_options *o)
{
	if (geteuid() == 0 &&
	    (setgroups(0, NULL) < 0 || setresgid(o->drop_gid, o->drop_gid, o->drop_gid) < 0 ||
	     setresuid(o->drop_uid, o->drop_uid, o->drop_uid) < 0 || setuid(0) == 0))
		return -EPERM;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

static int child_main(struct keeper *k)
{
	/* Its own group, so that a terminal's interrupt reaches it through us, once. */
	setpgid(0, 0);
	fd_close(&k->signal_fd);
	fd_close(&k->pair);
	if (k->options->ready_fd >= 0 && !k->ready)
		close(k->options->ready_fd);
	if (drop_privileges(k->options) < 0) {
		log_error("the executor cannot drop its privileges");
		return KEEPER_CHILD_CANNOT;
	}
	return k->child(&k->given, k->context);
}

static int start_executor(struct keeper *k)
{
	int pair[2];
	pid_t pid;

	place_sweep(k->options->shm_prefix);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	k->pair = pair[0];
	k->given.keeper = pair[1];
	k->given.generation++;
	pid = fork();
	if (pid == 0)
		exit(child_main(k));
	close(pair[1]);
	if (pid < 0)
		return -errno;
	k->pid = pid;
	return 0;
}

/* false: it dies too often. */
static bool may_restart(struct keeper *k)
{
	uint64_t now = now_ns();

	if (now - k->window_ns > k->options->restarts_window_ns) {
		k->window_ns = now;
		k->n_restarts = 0;
	}
	return k->n_restarts++ < k->options->restarts_max;
}

static void describe_end(int status)
{
	if (WIFSIGNALED(status))
		log_warning("the executor was killed by signal %d (%s)", WTERMSIG(status),
			    strsignal(WTERMSIG(status)));
	else
		log_warning("the executor left with exit code %d", WEXITSTATUS(status));
}

/* 1: go on; 0: done; -errno: give up. */
static int reap_executor(struct keeper *k)
{
	int status, r;

	if (!k->pid || waitpid(k->pid, &status, WNOHANG) != k->pid)
		return 1;
	k->pid = 0;
	fd_close(&k->pair);
	if (k->n_stops)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == KEEPER_CHILD_CANNOT)
		return -ENOEXEC;
	describe_end(status);
	if (!may_restart(k)) {
		log_error(
			"the executor died %llu times within %llu s: giving up (limit restarts_max)",
			(unsigned long long)k->n_restarts,
			(unsigned long long)(k->options->restarts_window_ns / NS_PER_S));
		return -ECHILD;
	}
	r = start_executor(k);
	return r < 0 ? r : 1;
}

/* ---- the keeper's own loop ------------------------------------------------------------------------ */

static void stop(struct keeper *k)
{
	/* Who asks again and again does not put off the end of an executor that is stuck. */
	if (++k->n_stops > 2)
		return;
	if (k->pair >= 0)
		send(k->pair, "s", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	k->kill_at_ns = now_ns() +
			(k->n_stops == 1 ? k->options->stop_grace_ns : k->options->kill_grace_ns);
}

static void read_signals(struct keeper *k)
{
	struct signalfd_siginfo info;

	while (read(k->signal_fd, &info, sizeof(info)) == sizeof(info))
		if (info.ssi_signo != SIGCHLD)
			stop(k);
}

static void read_ready(struct keeper *k)
{
	char byte;

	/* A hang-up is followed by SIGCHLD. */
	if (read(k->pair, &byte, 1) != 1 || k->ready)
		return;
	k->ready = true;
	log_info("serving at %s", k->options->socket_path);
	if (k->options->ready_fd >= 0) {
		if (write(k->options->ready_fd, "r", 1) != 1)
			log_warning("nobody reads the ready byte: %s", strerror(errno));
		close(k->options->ready_fd);
	}
}

static int poll_timeout_ms(const struct keeper *k)
{
	uint64_t now = now_ns();

	if (!k->n_stops)
		return -1;
	return k->kill_at_ns > now ? (int)((k->kill_at_ns - now) / NS_PER_MS) + 1 : 0;
}

static int keep(struct keeper *k)
{
	int r = start_executor(k);

	if (r == 0)
		r = 1;
	while (r > 0) {
		struct pollfd fds[] = {
			{.fd = k->signal_fd, .events = POLLIN},
			/* Once it has said that it is ready there is nothing more to hear. */
			{.fd = k->ready ? -1 : k->pair, .events = POLLIN},
		};

		if (poll(fds, 2, poll_timeout_ms(k)) < 0 && errno != EINTR)
			return -errno;
		read_signals(k);
		if (fds[1].revents & POLLIN)
			read_ready(k);
		r = reap_executor(k);
		if (r > 0 && k->n_stops && k->pid && now_ns() >= k->kill_at_ns) {
			log_warning("the executor does not stop: killing it");
			kill(k->pid, SIGKILL);
			k->kill_at_ns = now_ns() + NS_PER_S;
		}
	}
	return r;
}

static void keeper_deinit(struct keeper *k)
{
	if (k->pid) {
		kill(k->pid, SIGKILL);
		waitpid(k->pid, NULL, 0);
	}
	/* Before the socket is closed: the next start may then have names of its own there. */
	place_sweep(k->options->shm_prefix);
	unlink(k->options->socket_path);
	fd_close(&k->pair);
	fd_close(&k->given.listener);
	fd_close(&k->given.stats_fd);
	fd_close(&k->signal_fd);
	if (k->given.stats)
		munmap(k->given.stats, k->options->stats_bytes);
	if (k->given.notes)
		munmap(k->given.notes, k->options->notes_bytes);
}

int keeper_run(const struct keeper_options *options,
	       int (*child)(const struct keeper_child *child, void *context), void *context)
{
	struct keeper k = {
		.options = options,
		.child = child,
		.context = context,
		.signal_fd = -1,
		.pair = -1,
		.window_ns = now_ns(),
		.given = {.listener = -1, .stats_fd = -1, .keeper = -1},
	};
	char error[512] = "the start failed";
	int r;

	raise_descriptor_limit();
	r = place_listen(options->socket_path, options->own_directory, options->socket_is_open,
			 error, sizeof(error));
	if (r < 0) {
		log_error("%s", error);
		return EXIT_FAILURE;
	}
	k.given.listener = r;
	r = make_stats(&k);
	if (r == 0)
		r = make_notes(&k);
	if (r == 0)
		r = make_signals(&k);
	if (r < 0)
		log_error("cannot start: %s", strerror(-r));
	else
		r = keep(&k);
	keeper_deinit(&k);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
