/* SPDX-License-Identifier: Apache-2.0 */
#include "executor/handshake.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "executor/executor.h"
#include "shm/guard.h"

/* Linux 6.5; Debian 12's headers do not have it. */
#define PEER_PIDFD 77

#define HELLO_FIXED_BYTES 16
#define HELLO_BYTES_MAX   4096

int handshake_peer(struct session *s, int socket)
{
	struct ucred peer;
	socklen_t n = sizeof(peer);
	int pidfd = -1;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
		return -errno;
	n = sizeof(pidfd);
	if (getsockopt(socket, SOL_SOCKET, PEER_PIDFD, &pidfd, &n) < 0)
		pidfd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
	if (pidfd < 0)
		return -errno;
	s->uid = peer.uid;
	s->pid = peer.pid;
	s->pidfd = pidfd;
	return 0;
}

static int __attribute__((format(printf, 3, 4)))
refuse(struct session *s, enum tr_welcome_status status, const char *format, ...)
{
	struct tr_welcome w = {
		.magic = TR_MAGIC,
		.bytes = sizeof(w),
		.layout_version = TR_LAYOUT_VERSION,
		.status = status,
	};
	va_list args;

	va_start(args, format);
	vsnprintf(w.message, sizeof(w.message), format, args);
	va_end(args);
	log_info("refused pid %d, uid %u: %s", (int)s->pid, (unsigned)s->uid, w.message);
	fdpass_send(s->socket, &w, sizeof(w), NULL, 0, MSG_DONTWAIT);
	return -ECONNREFUSED;
}

bool handshake_admits(const struct executor *e, uid_t uid)
{
	const struct config *c = e->config;

	for (size_t i = 0; i < c->n_allow_uids; i++)
		if (c->allow_uids[i] == uid)
			return true;
	return false;
}

static size_t sessions_of(const struct executor *e, uid_t uid)
{
	size_t n = 0;

	list_for_each (l, &e->sessions.all)
		n += container_of(l, struct session, link)->state == SESSION_OPEN &&
		     container_of(l, struct session, link)->uid == uid;
	return n;
}

static int check_hello(struct session *s)
{
	const struct executor *e = s->executor;
	const struct tr_hello *h = &s->hello;

	if (!handshake_admits(e, s->uid))
		return refuse(
			s, TR_WELCOME_FORBIDDEN,
			"uid %u is not admitted here; the operator can add it with --allow-uid",
			(unsigned)s->uid);
	if (e->stop != EXECUTOR_RUNS)
		return refuse(s, TR_WELCOME_STOPPING, "toolringd is stopping");
	if (h->features_required & ~TR_FEATURES)
		return refuse(s, TR_WELCOME_FEATURE,
			      "a required feature is not there: asked for 0x%llx, there are 0x%llx",
			      (unsigned long long)h->features_required,
			      (unsigned long long)TR_FEATURES);
	if (e->sessions.n_open >= e->limits->sessions_max)
		return refuse(s, TR_WELCOME_FULL,
			      "there are %llu sessions, and no more are allowed "
			      "(limit sessions_max)",
			      (unsigned long long)e->limits->sessions_max);
	if (sessions_of(e, s->uid) >= e->limits->sessions_per_uid_max)
		return refuse(s, TR_WELCOME_FULL,
			      "uid %u has %llu sessions, and no more are allowed "
			      "(limit sessions_per_uid_max)",
			      (unsigned)s->uid,
			      (unsigned long long)e->limits->sessions_per_uid_max);
	return 0;
}

static int check_size(struct session *s, const char *what, uint64_t wish, uint64_t otherwise,
		      uint64_t min, uint64_t max, uint32_t *ret_size)
{
	if (!wish)
		wish = otherwise;
	if (wish < min)
		wish = min;
	if (wish > max || segment_round_up((uint32_t)wish) > max)
		return refuse(s, TR_WELCOME_SIZE, "%s of %llu is over the limit of %llu", what,
			      (unsigned long long)wish, (unsigned long long)max);
	*ret_size = segment_round_up((uint32_t)wish);
	return 0;
}

static int choose_sizes(struct session *s, struct segment_sizes *sizes)
{
	const struct limits *l = s->executor->limits;
	const struct tr_hello *h = &s->hello;
	int r;

	r = check_size(s, "a submission ring", h->submission_bytes, l->submission_bytes_default,
		       SEGMENT_RING_MIN, l->ring_bytes_max, &sizes->submission_bytes);
	if (r == 0)
		r = check_size(s, "a completion ring", h->completion_bytes,
			       l->completion_bytes_default, SEGMENT_RING_MIN, l->ring_bytes_max,
			       &sizes->completion_bytes);
	if (r == 0)
		r = check_size(s, "a table of calls", h->n_calls, l->session_calls_default,
			       SEGMENT_CALLS_MIN, l->session_calls_max, &sizes->n_calls);
	return r;
}

static int make_segment(struct session *s)
{
	struct executor *e = s->executor;
	struct segment_identity identity = {
		.features = s->hello.features_wanted & TR_FEATURES,
		.session_id = s->id,
		.generation = e->start.generation,
		.executor_pid = (uint32_t)getpid(),
		.call_bytes_max = e->limits->call_bytes_max,
		.result_bytes_max = e->limits->result_bytes_max,
	};
	struct segment_sizes sizes;
	int r = choose_sizes(s, &sizes);

	if (r < 0)
		return r;
	r = segment_create(&s->segment, e->start.shm_prefix, &sizes, &identity);
	if (r == 0) {
		s->calls = calloc(sizes.n_calls, sizeof(struct call *));
		s->guard = guard_add(s->segment.base, s->segment.bytes);
	}
	if (r < 0 || !s->calls || s->guard < 0)
		return refuse(s, TR_WELCOME_NO_MEMORY, "the segment cannot be made: %s",
			      strerror(r < 0 ? -r : ENOMEM));
	segment_executor_rings(&s->segment, &s->tx, &s->rx);
	return 0;
}

static int welcome(struct session *s)
{
	struct executor *e = s->executor;
	struct tr_welcome w = {
		.magic = TR_MAGIC,
		.bytes = sizeof(w),
		.layout_version = TR_LAYOUT_VERSION,
		.status = TR_WELCOME_OK,
		.features = s->hello.features_wanted & TR_FEATURES,
		.segment_bytes = s->segment.bytes,
	};
	int fds[TR_N_WELCOME_FDS] = {
		[TR_FD_SEGMENT] = s->segment.fd,
		[TR_FD_EXECUTOR] = e->pidfd,
		[TR_FD_STATS] = e->start.stats_fd,
	};
	ssize_t r = fdpass_send(s->socket, &w, sizeof(w), fds, TR_N_WELCOME_FDS, MSG_DONTWAIT);

	/* The socket is fresh: all of it fits, unless the client is gone. */
	if (r != sizeof(w))
		return r < 0 ? (int)r : -EPIPE;
	fd_close(&s->segment.fd);
	return 0;
}

static int open_session(struct session *s)
{
	int r = check_hello(s);

	if (r == 0)
		r = make_segment(s);
	if (r == 0)
		r = welcome(s);
	if (r < 0)
		return r;
	memcpy(s->label, s->hello.label, sizeof(s->hello.label));
	for (char *c = s->label; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return 1;
}

int handshake_read(struct session *s)
{
	uint8_t *hello = (uint8_t *)&s->hello;
	uint8_t ignored[256];

	for (;;) {
		size_t want = s->n_hello < HELLO_FIXED_BYTES ? HELLO_FIXED_BYTES : s->hello.bytes;
		bool keep = s->n_hello < sizeof(s->hello);
		size_t n = want - s->n_hello;
		ssize_t r;

		if (keep && want > sizeof(s->hello))
			n = sizeof(s->hello) - s->n_hello;
		if (!keep && n > sizeof(ignored))
			n = sizeof(ignored);
		r = recv(s->socket, keep ? hello + s->n_hello : ignored, n, MSG_DONTWAIT);
		if (r < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		if (r == 0)
			return -ECONNRESET;
		s->n_hello += (size_t)r;
		if (s->n_hello < HELLO_FIXED_BYTES)
			continue;
		if (s->hello.magic != TR_MAGIC || s->hello.bytes < HELLO_FIXED_BYTES ||
		    s->hello.bytes > HELLO_BYTES_MAX)
			return refuse(s, TR_WELCOME_MALFORMED, "that is no hello of toolring's");
		if (s->hello.layout_version != TR_LAYOUT_VERSION)
			return refuse(
				s, TR_WELCOME_VERSION,
				"layout version %u is not spoken here: this toolringd speaks %d",
				s->hello.layout_version, TR_LAYOUT_VERSION);
		if (s->n_hello == s->hello.bytes)
			return open_session(s);
	}
}
