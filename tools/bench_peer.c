/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_peer.h"
#include "bench_system.h"

#define END UINT32_MAX

/* One word for each direction, on lines of their own (pairs of them: see TR_LINE). */
struct bench_lines {
	alignas(128) uint32_t ping;
	alignas(128) uint32_t pong;
};

static uint32_t load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void store(uint32_t *word, uint32_t v)
{
	__atomic_store_n(word, v, __ATOMIC_RELEASE);
}

static void futex_wait(uint32_t *word, uint32_t old)
{
	syscall(SYS_futex, word, FUTEX_WAIT, old, NULL, NULL, 0);
}

static void futex_wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/*
 * Without a pause instruction in the loop: it makes the answer later (by 40 to 140 cycles, by
 * machine), and the baseline is to be the fastest there is.
 */
static void answer_spin(struct bench_peer *peer)
{
	uint32_t seen = 0;

	for (;;) {
		uint32_t v = load(&peer->lines->ping);

		if (v == END)
			return;
		if (v != seen) {
			seen = v;
			store(&peer->lines->pong, v);
		}
	}
}

static void answer_futex(struct bench_peer *peer)
{
	uint32_t seen = 0;

	for (;;) {
		uint32_t v = load(&peer->lines->ping);

		if (v == END)
			return;
		if (v == seen) {
			futex_wait(&peer->lines->ping, seen);
			continue;
		}
		seen = v;
		store(&peer->lines->pong, v);
		futex_wake(&peer->lines->pong);
	}
}

static void answer_socket(struct bench_peer *peer)
{
	char byte;

	while (recv(peer->socket, &byte, 1, 0) == 1)
		if (send(peer->socket, &byte, 1, MSG_NOSIGNAL) != 1)
			return;
}

static int start(struct bench_peer *peer, int core, void (*answer)(struct bench_peer *), int other)
{
	pid_t us = getpid();

	peer->pid = fork();
	if (peer->pid < 0) {
		int r = -errno;

		peer->pid = 0;
		bench_peer_stop(peer);
		return r;
	}
	if (peer->pid > 0)
		return 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != us)
		_exit(1);
	if (core >= 0)
		bench_pin(core);
	/* Holding our own end open, it would never see the other one close. */
	if (peer->socket >= 0)
		close(peer->socket);
	peer->socket = other;
	answer(peer);
	_exit(0);
}

static int map_lines(struct bench_peer *peer)
{
	void *p = mmap(NULL, sizeof(struct bench_lines), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	*peer = BENCH_PEER_NULL;
	peer->lines = p;
	return 0;
}

int bench_peer_start_spin(struct bench_peer *peer, int core)
{
	int r = map_lines(peer);

	return r < 0 ? r : start(peer, core, answer_spin, -1);
}

int bench_peer_start_futex(struct bench_peer *peer, int core)
{
	int r = map_lines(peer);

	return r < 0 ? r : start(peer, core, answer_futex, -1);
}

int bench_peer_start_socket(struct bench_peer *peer, int core)
{
	int pair[2];
	int r;

	*peer = BENCH_PEER_NULL;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	peer->socket = pair[0];
	r = start(peer, core, answer_socket, pair[1]);
	close(pair[1]);
	return r;
}

void bench_peer_stop(struct bench_peer *peer)
{
	if (peer->socket >= 0)
		close(peer->socket);
	if (peer->lines) {
		store(&peer->lines->ping, END);
		futex_wake(&peer->lines->ping);
	}
	if (peer->pid > 0)
		waitpid(peer->pid, NULL, 0);
	if (peer->lines)
		munmap(peer->lines, sizeof(*peer->lines));
	*peer = BENCH_PEER_NULL;
}

void bench_peer_spin(struct bench_peer *peer, uint32_t *ret_ticks, size_t n)
{
	struct bench_lines *lines = peer->lines;
	uint32_t sequence = peer->sequence;
	uint64_t before = bench_ticks();

	for (size_t i = 0; i < n; i++) {
		uint64_t now;

		store(&lines->ping, ++sequence);
		while (load(&lines->pong) != sequence)
			;
		now = bench_ticks();
		ret_ticks[i] = now - before < UINT32_MAX ? (uint32_t)(now - before) : UINT32_MAX;
		before = now;
	}
	peer->sequence = sequence;
}

int bench_peer_futex(struct bench_peer *peer)
{
	uint32_t sequence = ++peer->sequence;

	store(&peer->lines->ping, sequence);
	futex_wake(&peer->lines->ping);
	while (load(&peer->lines->pong) != sequence)
		futex_wait(&peer->lines->pong, sequence - 1);
	return 0;
}

int bench_peer_socket(struct bench_peer *peer)
{
	char byte = 1;

	if (send(peer->socket, &byte, 1, MSG_NOSIGNAL) != 1 || recv(peer->socket, &byte, 1, 0) != 1)
		return -EPIPE;
	return 0;
}
