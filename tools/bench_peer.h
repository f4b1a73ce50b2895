/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_PEER_H
#define TOOLS_BENCH_PEER_H

/*
 * The bare ping-pongs that the ring is measured against: a second process that answers, over shared
 * cache lines (both spin), futexes or a Unix socket (both sleep), and nothing else.
 */

#include <stdint.h>
#include <sys/types.h>

struct bench_lines;

struct bench_peer {
	pid_t pid; /* 0: none */
	struct bench_lines *lines;
	int socket; /* -1: none */
	uint32_t sequence;
};

#define BENCH_PEER_NULL ((struct bench_peer){.socket = -1})

/* Starts a peer on a core (-1: any). It dies with us. -errno. */
int bench_peer_start_spin(struct bench_peer *peer, int core);
int bench_peer_start_futex(struct bench_peer *peer, int core);
int bench_peer_start_socket(struct bench_peer *peer, int core);
void bench_peer_stop(struct bench_peer *peer);

/* n round trips over cache lines; ret_ticks[i]: how long the i-th took, in bench_ticks(). */
void bench_peer_spin(struct bench_peer *peer, uint32_t *ret_ticks, size_t n);
/* One round trip with both sides asleep in between. 0 or -errno. */
int bench_peer_futex(struct bench_peer *peer);
int bench_peer_socket(struct bench_peer *peer);

#endif
