/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KEEPER_STORE_H
#define KEEPER_STORE_H

/*
 * The store of slots' descriptors: what must outlive an executor of each seat (its control socket and
 * its pidfd), and the way between the executor, who may be anybody's by now, and the maker, who
 * believes us. Of what the executor asks only that is passed on which the plan allows. Nothing here
 * waits for the executor: what it does not take yet is queued, and until it has taken that nothing
 * more is read of it, which bounds the queue.
 */

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "backend/local/plan.h"
#include "backend/local/store.h"
#include "keeper/maker.h"

struct store_seat;

#define STORE_N_POLLED 2

struct store {
	const struct plan
		*plan; /* NULL: there are no slots, and every function here does nothing */
	const char *program;
	struct maker maker;
	bool maker_ready;
	int executor; /* our end of the executor's socket; -1: none */
	struct store_seat *seats;
	struct store_message *queue; /* to the executor, a ring */
	uint32_t queue_size;
	uint32_t queue_first;
	uint32_t n_queued;
	uint32_t *to_make; /* seats that the maker is still to be told of, a ring */
	uint32_t to_make_first;
	uint32_t n_to_make;
	uint32_t n_orphans; /* seats that are going, of a maker that is no more */
	bool retries;       /* the kernel is short of something: try again soon */
};

int store_init(struct store *s, const struct plan *plan, const char *program);

/*
 * Starts the maker and waits until it is ready. -errno: it is not, and that was logged; -ECANCELED: we
 * were told to stop meanwhile, by signal_fd or stop_fd.
 */
int store_start(struct store *s, int signal_fd, int stop_fd);
/* Starts another maker; its word comes to store_step(). */
int store_restart_maker(struct store *s);

/* Makes the socket of a new executor, who will be told of every seat. -1 in *ret_fd: no slots. */
int store_executor_begins(struct store *s, int *ret_fd);
void store_executor_ended(struct store *s);

void store_poll(const struct store *s, struct pollfd fds[STORE_N_POLLED]);
int store_poll_timeout_ms(const struct store *s);
/* Does what poll() found. -ENOEXEC: the maker cannot make slots, and that was logged. */
int store_step(struct store *s, const struct pollfd fds[STORE_N_POLLED]);

/* A child was reaped. true: it was the maker; its slots are killed. */
bool store_reaped(struct store *s, pid_t pid);

/* Ends all slots, then the maker. */
void store_deinit(struct store *s);

#endif
