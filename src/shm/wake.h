/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHM_WAKE_H
#define SHM_WAKE_H

/* The system calls of the wake protocol, and how long to spin before making one. */

#include <stdint.h>

/*
 * Sleeps while *word is value, up to timeout_ns. 0: woken, or it was another value; -ETIMEDOUT;
 * -EINTR; -EFAULT.
 */
int wake_wait(uint32_t *word, uint32_t value, uint64_t timeout_ns);

/* Carries out what ring_tx_wake() or ring_rx_wake() returned. Never blocks. 1 if it woke, else 0. */
int wake_send(uint32_t how, uint32_t *word, int socket);

/*
 * Adaptive spinning. A spin that was rewarded doubles the next, one that was not halves it down to
 * nothing, and now and then the longest is tried again, since a side that never spins never learns
 * that it should.
 */
struct spin {
	uint32_t ns_max;
	uint32_t ns;
	uint32_t n_idle; /* sleeps since the last try */
};

void spin_init(struct spin *s, uint32_t ns_max);
/* How long to spin this time. */
uint32_t spin_begin(struct spin *s);
void spin_end(struct spin *s, uint32_t spun_ns, int rewarded);

static inline void spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

#endif
