/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_ORDER_H
#define MODEL_ORDER_H

/*
 * src/shm/order.h again, name by name, over Relacy's atomics instead of the compiler's. It takes
 * the real one's include guard, so that src/shm/ring.h compiles against it unchanged.
 *
 * The data area is made of cells that Relacy watches for races: a payload read or overwritten
 * without a happens-before edge is an error even where its value would come out right.
 */

#define SHM_ORDER_H

#include <cstdint>
#include <cstring>

#include <relacy/relacy.hpp>

typedef rl::atomic<uint64_t> shm_u64;
typedef rl::atomic<int> shm_u32; /* int, because Relacy's futex takes no other */
typedef rl::var<uint64_t> shm_bytes;

/* The site that is weakened in this run, 0 is none, and what its order becomes. */
extern uint32_t model_weakened;
extern rl::memory_order model_weakened_to;

constexpr uint32_t model_hash(const char *name)
{
	uint32_t h = 2166136261u;

	for (; *name; name++)
		h = (h ^ static_cast<unsigned char>(*name)) * 16777619u;
	return h;
}

#define SITE(name, order) (model_weakened == model_hash(#name) ? model_weakened_to : (order))

#define SHM_RELAXED rl::mo_relaxed
#define SHM_ACQUIRE rl::mo_acquire
#define SHM_RELEASE rl::mo_release
#define SHM_SEQ_CST rl::mo_seq_cst

#define shm_load(word, order)         (word)->load(order, RL_INFO)
#define shm_store(word, value, order) (word)->store(value, order, RL_INFO)
#define shm_exchange(word, value, order)                                                           \
	static_cast<uint32_t>((word)->exchange(value, order, RL_INFO))
#define shm_fence(order) model_fence(order, RL_INFO)

/* A relaxed fence is none. */
static inline void model_fence(rl::memory_order order, rl::debug_info_param info)
{
	if (order != rl::mo_relaxed)
		rl::atomic_thread_fence(order, info);
}

static inline void shm_write(shm_bytes *area, uint64_t at, const void *from, size_t n)
{
	for (size_t i = 0; i < n; i += 8) {
		uint64_t cell = 0;

		memcpy(&cell, static_cast<const char *>(from) + i, n - i < 8 ? n - i : 8);
		area[(at + i) / 8](RL_INFO).store(cell);
	}
}

static inline void shm_read(const shm_bytes *area, uint64_t at, void *to, size_t n)
{
	for (size_t i = 0; i < n; i += 8) {
		uint64_t cell = area[(at + i) / 8](RL_INFO).load();

		memcpy(static_cast<char *>(to) + i, &cell, n - i < 8 ? n - i : 8);
	}
}

static inline uint64_t shm_read_word(const shm_bytes *area, uint64_t at)
{
	return area[at / 8](RL_INFO).load();
}

static inline void shm_prefetch(const shm_bytes *, uint64_t)
{
}

#endif
