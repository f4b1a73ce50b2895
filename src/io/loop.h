/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IO_LOOP_H
#define IO_LOOP_H

/*
 * The only io_uring. It waits: for descriptors to become readable, for futexes in segments, for time
 * to pass. The data itself moves through shared memory, so there is nothing to read or write
 * asynchronously here; registered buffers and files would pay for nothing. What pays is asked of the
 * kernel and probed one by one (enum loop_feature), each with a fallback down to Linux 5.15.
 *
 * A completion calls the op's function, which marks state and queues, no more.
 */

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/timer.h"

enum loop_feature {
	LOOP_SINGLE_ISSUER = 1 << 0, /* 6.0: no lock around submission */
	LOOP_DEFER_TASKRUN = 1 << 1, /* 6.1: completions only when we look, no interrupts */
	LOOP_COOP_TASKRUN = 1 << 2,  /* 5.19: the next best */
	LOOP_FUTEX = 1 << 3,         /* 6.7: clients wake us by futex, else by a byte on a socket */
	LOOP_REGISTERED_RING = 1 << 4, /* 5.18: no fd lookup for each enter */
};
#define LOOP_FEATURES_ALL 31u

struct loop_op {
	/* Called from loop_reap(). result as the kernel's: >= 0, or -errno. */
	void (*complete)(struct loop_op *op, int result);
	bool armed; /* submitted and not yet completed; its memory must stay */
};

struct loop {
	struct io_uring ring;
	struct timers timers;
	uint32_t features;
	uint64_t now_ns; /* of this turn */
	bool is_open;
};

/*
 * disabled: features not to use even if they are there. -errno with the cause and the remedy in
 * error.
 */
int loop_init(struct loop *l, uint32_t disabled, char *error, size_t n_error);
void loop_deinit(struct loop *l);

/* Completes once fd is readable or hung up (level-triggered). No-op while armed. */
void loop_poll_in(struct loop *l, struct loop_op *op, int fd);
/* Completes once *word is not value, or it is woken. Needs LOOP_FUTEX. No-op while armed. */
void loop_futex_wait(struct loop *l, struct loop_op *op, uint32_t *word, uint32_t value);
/* Completes an armed op soon, with -ECANCELED unless it was done. */
void loop_cancel(struct loop *l, struct loop_op *op);

/* Submits what is staged, takes what is ready; no system call where there is neither. */
size_t loop_reap(struct loop *l);
/* Is there anything to reap? Reads memory only. */
bool loop_ready(const struct loop *l);
/* Submits and sleeps until a completion or until_ns (UINT64_MAX: no bound). -errno is fatal. */
int loop_sleep(struct loop *l, uint64_t until_ns);

/* "single_issuer" and so on; NULL past the last. */
const char *loop_feature_name(unsigned index);

#endif
