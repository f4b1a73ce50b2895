/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BACKEND_LOCAL_WORLD_H
#define TESTS_UNIT_BACKEND_LOCAL_WORLD_H

/*
 * The local backend with everything around it played by the test, in one thread: the keeper on the
 * other end of the store's socket, the slots on the other ends of their control sockets, and the
 * executor that hands over ops.
 */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "backend/local.h"
#include "backend/local/store.h"
#include "io/loop.h"
#include "wire/slot.h"

#define WORLD_SLOTS 4
#define WORLD_SEATS 7

struct world {
	struct loop loop;
	struct plan plan;
	struct local_options options;
	struct backend *backend;
	int keeper;               /* the keeper's end */
	int slots[WORLD_SEATS];   /* by seat: the slot's end; -1 */
	int control[WORLD_SEATS]; /* the executor's end, as the keeper keeps it; -1 */
	struct plan_params made_to[WORLD_SEATS];
	uint32_t state[WORLD_SEATS]; /* 0, or the last kind that was asked for */
	uint32_t n_makes;
	uint32_t n_drops;
	bool makes; /* MAKE and DROP are answered at once ... */
	bool drops;
	const char *failure; /* ... the former with this, unless NULL */
	uint8_t buffer[SLOT_MESSAGE_MAX] __attribute__((aligned(8)));
	struct slot_message message; /* of what a slot received last */
};

/* A world whose keeper does as it is told; the backend is started by world_start(). */
int world_set_up(void **state);
int world_tear_down(void **state);
void world_start(struct world *w);
/* The executor is gone: its backend, and its end of the store's socket. The slots are not. */
void world_stop(struct world *w);

/* One turn of the loop and of the keeper. */
void world_turn(struct world *w);
/* Turns until op is answered; fails after ten seconds. */
void world_wait(struct world *w, struct backend_op *op);
/* Turns until nothing happens any more at once. */
void world_settle(struct world *w);

void world_send(struct world *w, enum store_kind kind, uint32_t seat, const char *text);

void world_op(struct backend_op *op, enum backend_op_kind kind, uint32_t slot);
/* Acquires a slot and returns its seat. */
uint32_t world_acquire(struct world *w, uint32_t slot);
/* The seat that a slot is bound to, as the notes have it; UINT32_MAX: none. */
uint32_t world_bound(const struct world *w, uint32_t slot);
/* An EXECUTE; arguments as pack() makes them, which stay the caller's. */
void world_execute(struct world *w, struct backend_op *op, uint32_t slot, const char *tool,
		   struct span arguments);
/* Takes the answer of an op and gives its memory back. */
void world_take(struct world *w, struct backend_op *op);

/* Starts, acquires slot 0 and returns its seat. */
uint32_t world_begin(struct world *w);
/* An EXECUTE on slot 0 whose arguments are made by pack(); they are returned for free(). */
uint8_t *world_call(struct world *w, struct backend_op *op, const char *tool, const char *form,
		    ...);
/* The same for an artifact; the map is its options alone. */
uint8_t *world_artifact(struct world *w, struct backend_op *op, enum tr_kind kind, const char *path,
			const char *form, ...);
/* A call on slot 0, that has this seat, goes well. */
void world_check(struct world *w, uint32_t seat);

/* The next request of a seat; false: there is none. */
bool slot_next(struct world *w, uint32_t seat, struct slot_request *ret_request,
	       struct span parts[SLOT_N_REQUEST_PARTS]);
/* The same, which must be there and be that. */
void slot_expect(struct world *w, uint32_t seat, enum slot_op op, struct slot_request *ret_request,
		 struct span parts[SLOT_N_REQUEST_PARTS]);
/* A reply that all is well, to be changed. */
struct slot_reply slot_reply_to(const struct slot_request *request);
void slot_answer(struct world *w, uint32_t seat, struct slot_reply reply, const char *output,
		 const char *error);

/* A member of a packed map, by its name: its packed object. n 0: it is not there. */
struct span meta_member(struct span map, const char *name);
/* The further pairs of an answer as a map, which lives until the next call of this. */
struct span more_map(const struct backend_op *op);
int64_t meta_int(struct span map, const char *name);
bool meta_is_true(struct span map, const char *name);

void assert_text(struct span span, const char *text);

#endif
