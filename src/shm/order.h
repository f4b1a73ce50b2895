/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHM_ORDER_H
#define SHM_ORDER_H

/*
 * How the words of the rings, their data areas and the table of calls are accessed, and in which
 * memory orders. (One word of a segment is ordered elsewhere: layout_version, in segment.c.) ring.h is
 * written against the names below and nothing else, so that tests/model can put Relacy's atomics
 * under the very code that ships; SITE() names a place whose order matters. To show that it does, the
 * model takes each order away in turn, and weakens each seq_cst fence also to acq_rel.
 */

#include <stdint.h>
#include <string.h>

typedef uint64_t shm_u64;
typedef uint32_t shm_u32;
typedef uint8_t shm_bytes; /* a ring's data area */

#define SITE(name, order) order

#define SHM_RELAXED __ATOMIC_RELAXED
#define SHM_ACQUIRE __ATOMIC_ACQUIRE
#define SHM_RELEASE __ATOMIC_RELEASE
#define SHM_SEQ_CST __ATOMIC_SEQ_CST

#define shm_load(word, order)            __atomic_load_n(word, order)
#define shm_store(word, value, order)    __atomic_store_n(word, value, order)
#define shm_exchange(word, value, order) __atomic_exchange_n(word, value, order)
#define shm_fence(order)                 __atomic_thread_fence(order)

/* The data area: plain memory, ordered by the positions. at is a multiple of 8. */
static inline void shm_write(shm_bytes *area, uint64_t at, const void *from, size_t n)
{
	memcpy(area + at, from, n);
}

/*
 * What is read stays shared and the other side may be changing it. The empty asm keeps the compiler
 * from reading the area a second time where it finds that cheaper than keeping the copy.
 */
static inline void shm_read(const shm_bytes *area, uint64_t at, void *to, size_t n)
{
	memcpy(to, area + at, n);
	__asm__ volatile("" : : "r"(to) : "memory");
}

/* Eight bytes, read exactly once, for what is checked and then used. */
static inline uint64_t shm_read_word(const shm_bytes *area, uint64_t at)
{
	return __atomic_load_n((const uint64_t *)(const void *)(area + at), __ATOMIC_RELAXED);
}

static inline void shm_prefetch(const shm_bytes *area, uint64_t at)
{
	__builtin_prefetch(area + at, 0, 3);
}

#endif
