/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_SEAT_H
#define BACKEND_LOCAL_SEAT_H

/* What happens to one seat of the pool: its state, its socket, what is said of it to the keeper. */

#include "backend/local/store.h"
#include "backend/local_pool.h"

uint32_t local_seat_index(const struct local_pool *p, const struct local_seat *seat);
/* The one that is in a state for longest; NULL: none is. */
struct local_seat *local_seat_first(struct local_pool *p, enum local_seat_state state);
void local_seat_set(struct local_pool *p, struct local_seat *seat, enum local_seat_state state);
/* Nothing is left of what was there. */
void local_seat_empty(struct local_pool *p, struct local_seat *seat);
/* It has been killed: from now on it is waited for, for some time. */
void local_seat_going(struct local_pool *p, struct local_seat *seat);
void local_seat_arm_gone_timer(struct local_pool *p);

/* Makes ahead what is missing (local_pool.c). */
void local_pool_balance(struct local_pool *p);

/* Asks the keeper for something about it, now or as soon as that listens. */
void local_seat_say(struct local_pool *p, struct local_seat *seat, enum store_kind kind);

void local_seat_on_poll(struct loop_op *op, int result);
void local_seat_on_send_timer(struct timer *timer, void *context);
void local_seat_on_gone_timer(struct timer *timer, void *context);

#endif
