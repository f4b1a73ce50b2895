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

#include "backend/local/plan.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "keeper/place.h"
#include "keeper/store.h"

/* Linux 5.1; glibc has it under another header than fcntl.h. */
#define SEAL_FUTURE_WRITE 0x0010
/* Descriptors but those of seats: generous. */
#define DESCRIPTORS 4096

/* How often something was started anew of late. */
struct restarts {
	uint64_t window_ns; /* when the present window began */
	uint64_t n;
};

struct keeper {
	const struct keeper_options *options;
	int (*child)(const struct keeper_child *child, void *context);
	void *context;
	struct keeper_child given;
	int signal_fd;
	int stop_fd; /* the options', until it was readable */
	int pair;    /* our end of the executor's */
	pid_t pid;   /* of the executor; 0: none */
	bool ready;
	unsigned n_stops; /* times we were told to stop */
	uint64_t kill_at_ns;
	struct restarts executor_restarts;
	struct restarts maker_restarts;
	struct store store;
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

static int make_notes(size_t n_bytes, void **ret_notes)
{
	void *notes;

	if (!n_bytes)
		return 0;
	notes = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (notes == MAP_FAILED)
		return -errno;
	*ret_notes = notes;
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
	/* Who started us may have it ignored, and we would inherit that and hear of no child's end. */
	signal(SIGCHLD, SIG_DFL);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	k->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return k->signal_fd < 0 ? -errno : 0;
}

/* Every session has a socket and a pidfd, and so has every seat. */
static void raise_descriptor_limit(const struct keeper_options *o)
{
	struct rlimit limit, more;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	more.rlim_cur = more.rlim_max = DESCRIPTORS + (o->plan ? 2 * o->plan->n_seats : 0);
	if (limit.rlim_max < more.rlim_max && setrlimit(RLIMIT_NOFILE, &more) == 0)
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

static int compare_ints(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* What is ours (slots' pidfds, the maker's socket) is not the executor's. */
static void close_others(const struct keeper_child *given)
{
	int kept[] = {-1,
		      STDIN_FILENO,
		      STDOUT_FILENO,
		      STDERR_FILENO,
		      given->listener,
		      given->keeper,
		      given->stats_fd,
		      given->store};
	size_t n = sizeof(kept) / sizeof(*kept);

	qsort(kept, n, sizeof(*kept), compare_ints);
	for (size_t i = 0; i < n; i++) {
		unsigned last = i + 1 < n ? (unsigned)kept[i + 1] - 1 : ~0u;

		if (i + 1 == n || kept[i + 1] - kept[i] > 1)
			close_range((unsigned)(kept[i] + 1), last, 0);
	}
}

static int child_main(struct keeper *k)
{
	/* Its own group, so that a terminal's interrupt reaches it through us, once. */
	setpgid(0, 0);
	close_others(&k->given);
	if (drop_privileges(k->options) < 0) {
		log_error("the executor cannot drop its privileges");
		return KEEPER_CHILD_CANNOT;
	}
	return k->child(&k->given, k->context);
}

static int start_executor(struct keeper *k)
{
	int pair[2], r;
	pid_t pid;

	place_sweep(k->options->shm_prefix);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	k->pair = pair[0];
	k->given.keeper = pair[1];
	r = store_executor_begins(&k->store, &k->given.store);
	if (r < 0)
		return r;
	k->given.generation++;
	pid = fork();
	if (pid == 0)
		exit(child_main(k));
	fd_close(&k->given.keeper);
	fd_close(&k->given.store);
	if (pid < 0)
		return -errno;
	k->pid = pid;
	return 0;
}

/* false: it dies too often. */
static bool may_restart(const struct keeper *k, struct restarts *r, const char *who)
{
	uint64_t now = now_ns();

	if (now - r->window_ns > k->options->restarts_window_ns) {
		r->window_ns = now;
		r->n = 0;
	}
	if (r->n++ < k->options->restarts_max)
		return true;
	log_error("%s died %llu times within %llu s: giving up (limit restarts_max)", who,
		  (unsigned long long)r->n,
		  (unsigned long long)(k->options->restarts_window_ns / NS_PER_S));
	return false;
}

static void describe_end(const char *who, int status)
{
	if (WIFSIGNALED(status))
		log_warning("%s was killed by signal %d (%s)", who, WTERMSIG(status),
			    strsignal(WTERMSIG(status)));
	else
		log_warning("%s left with exit code %d", who, WEXITSTATUS(status));
}

/* 1: go on; 0: done; -errno: give up. */
static int executor_ended(struct keeper *k, int status)
{
	int r;

	k->pid = 0;
	fd_close(&k->pair);
	store_executor_ended(&k->store);
	if (k->n_stops)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == KEEPER_CHILD_CANNOT)
		return -ENOEXEC;
	describe_end("the executor", status);
	if (!may_restart(k, &k->executor_restarts, "the executor"))
		return -ECHILD;
	r = start_executor(k);
	return r < 0 ? r : 1;
}

static int maker_ended(struct keeper *k, int status)
{
	int r;

	if (k->n_stops)
		return 1;
	describe_end("the maker of slots", status);
	log_warning("all slots are lost with it, and their files");
	if (!may_restart(k, &k->maker_restarts, "the maker of slots"))
		return -ECHILD;
	r = store_restart_maker(&k->store);
	return r < 0 ? r : 1;
}

/* Our own two, and what a maker that died left of its children. 1, 0, -errno as above. */
static int reap(struct keeper *k)
{
	int status, r = 1;
	pid_t pid;

	while (r > 0 && (pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == k->pid)
			r = executor_ended(k, status);
		else if (store_reaped(&k->store, pid))
			r = maker_ended(k, status);
	}
	return r;
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

/* Nobody is left whose calls were worth waiting for: they are cancelled at once. */
static void read_stop_fd(struct keeper *k)
{
	log_info("who started this has ended: stopping");
	k->stop_fd = -1;
	stop(k);
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
		return store_poll_timeout_ms(&k->store);
	return k->kill_at_ns > now ? (int)((k->kill_at_ns - now) / NS_PER_MS) + 1 : 0;
}

static int keep(struct keeper *k)
{
	int r = start_executor(k);

	if (r == 0)
		r = 1;
	while (r > 0) {
		struct pollfd fds[3 + STORE_N_POLLED] = {
			{.fd = k->signal_fd, .events = POLLIN},
			{.fd = k->stop_fd, .events = POLLIN},
			/* Once it has said that it is ready there is nothing more to hear. */
			{.fd = k->ready ? -1 : k->pair, .events = POLLIN},
		};

		store_poll(&k->store, fds + 3);
		if (poll(fds, 3 + STORE_N_POLLED, poll_timeout_ms(k)) < 0) {
			if (errno != EINTR)
				return -errno;
			continue;
		}
		read_signals(k);
		if (fds[1].revents)
			read_stop_fd(k);
		if (fds[2].revents & POLLIN)
			read_ready(k);
		r = store_step(&k->store, fds + 3);
		if (r == 0)
			r = reap(k);
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
	store_deinit(&k->store);
	/* Before the socket is closed: the next start may then have names of its own there. */
	place_sweep(k->options->shm_prefix);
	unlink(k->options->socket_path);
	if (k->options->removes_directory)
		place_remove_directory(k->options->socket_path);
	fd_close(&k->pair);
	fd_close(&k->given.listener);
	fd_close(&k->given.stats_fd);
	fd_close(&k->signal_fd);
	if (k->given.stats)
		munmap(k->given.stats, k->options->stats_bytes);
	if (k->given.notes)
		munmap(k->given.notes, k->options->notes_bytes);
	if (k->given.backend_notes)
		munmap(k->given.backend_notes, k->options->backend_notes_bytes);
}

/* Everything but the children. */
static int keeper_init(struct keeper *k, const struct keeper_options *options)
{
	int r = make_stats(k);

	if (options->stop_fd >= 0)
		fcntl(options->stop_fd, F_SETFD, FD_CLOEXEC);
	if (r == 0)
		r = make_notes(options->notes_bytes, &k->given.notes);
	if (r == 0)
		r = make_notes(options->backend_notes_bytes, &k->given.backend_notes);
	if (r == 0)
		r = make_signals(k);
	if (r == 0)
		r = store_init(&k->store, options->plan, options->slot_program);
	/* Slots whose maker is gone are ours to reap. */
	if (r == 0 && options->plan && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		r = -errno;
	if (r < 0)
		log_error("cannot start: %s", strerror(-r));
	return r;
}

int keeper_run(const struct keeper_options *options,
	       int (*child)(const struct keeper_child *child, void *context), void *context)
{
	struct keeper k = {
		.options = options,
		.child = child,
		.context = context,
		.signal_fd = -1,
		.stop_fd = options->stop_fd,
		.pair = -1,
		.executor_restarts = {.window_ns = now_ns()},
		.maker_restarts = {.window_ns = now_ns()},
		.given = {.listener = -1, .stats_fd = -1, .keeper = -1, .store = -1},
		.store = {.executor = -1},
	};
	char error[512] = "the start failed";
	int r;

	raise_descriptor_limit(options);
	r = place_listen(options->socket_path, options->own_directory, options->socket_is_open,
			 error, sizeof(error));
	if (r < 0) {
		log_error("%s", error);
		if (options->removes_directory)
			place_remove_directory(options->socket_path);
		return EXIT_FAILURE;
	}
	k.given.listener = r;
	r = keeper_init(&k, options);
	/* Only now that nobody else runs at our place: it removes what an earlier run left there. */
	if (r == 0)
		r = store_start(&k.store, k.signal_fd, k.stop_fd);
	if (r == 0)
		r = keep(&k);
	keeper_deinit(&k);
	/* Told to stop before there was anything to stop. */
	return r < 0 && r != -ECANCELED ? EXIT_FAILURE : EXIT_SUCCESS;
}
