/* SPDX-License-Identifier: Apache-2.0 */
/* Slots of the local backend: how they come, go, are replaced, die, and outlive an executor. */
#include "local_world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../wire/pack.h"
#include "base/cleanup.h"
#include "base/clock.h"

/* A spare is there at once, and another is made in its place. */
static void test_spare(void **state)
{
	struct world *w = *state;
	struct backend_op op;

	w->options.n_slots_warm = 1;
	world_start(w);
	world_settle(w);
	assert_int_equal(w->n_makes, 1);
	world_op(&op, BACKEND_ACQUIRE, 0);
	w->backend->ops->acquire(w->backend, &op);
	assert_int_equal(op.state, BACKEND_OP_DONE);
	assert_int_equal(op.answer.verdict, TR_OK);
	world_take(w, &op);
	assert_true(world_bound(w, 0) < WORLD_SEATS);
	world_settle(w);
	assert_int_equal(w->n_makes, 2);
}

/* A spare that died, of which nobody has said so yet, is nobody's. */
static void test_dead_spare(void **state)
{
	struct world *w = *state;
	uint32_t dead;

	w->options.n_slots_warm = 1;
	world_start(w);
	world_settle(w);
	for (dead = 0; w->slots[dead] < 0; dead++)
		;
	fd_close(&w->slots[dead]);
	assert_int_not_equal(world_acquire(w, 0), dead);
	world_settle(w);
	assert_int_equal(w->n_drops, 1);
}

/* As many as wanted are made at the start, and of those as many warmed up. */
static void test_start(void **state)
{
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct slot_request q;
	uint32_t n_warm = 0;

	w->options.n_slots_min = 4;
	w->options.n_slots_warm = 2;
	world_start(w);
	world_settle(w);
	assert_int_equal(w->n_makes, 4);
	for (uint32_t i = 0; i < WORLD_SEATS; i++)
		if (w->slots[i] >= 0 && slot_next(w, i, &q, parts)) {
			assert_int_equal(q.op, SLOT_WARM);
			n_warm++;
		}
	assert_int_equal(n_warm, 2);
}

/* Without a spare one is made to order, and no call waits for more than that one. */
static void test_order(void **state)
{
	struct world *w = *state;
	struct backend_op ops[3];

	w->makes = false;
	world_start(w);
	for (uint32_t i = 0; i < 3; i++) {
		world_op(&ops[i], BACKEND_ACQUIRE, i);
		w->backend->ops->acquire(w->backend, &ops[i]);
		world_settle(w);
		assert_int_equal(ops[i].state, BACKEND_OP_TAKEN);
	}
	w->makes = true;
	for (uint32_t i = 0; i < 3; i++) {
		world_wait(w, &ops[i]);
		assert_int_equal(ops[i].answer.verdict, TR_OK);
		world_take(w, &ops[i]);
	}
	assert_int_equal(w->n_makes, 3);
	assert_int_not_equal(world_bound(w, 0), world_bound(w, 1));
	assert_int_not_equal(world_bound(w, 1), world_bound(w, 2));
}

/* A maker that cannot make one says why, and the health tells it until one could be made. */
static void test_failure(void **state)
{
	struct world *w = *state;
	struct backend_op op;
	char health[128];

	w->failure = "no more ids";
	world_start(w);
	world_op(&op, BACKEND_ACQUIRE, 0);
	w->backend->ops->acquire(w->backend, &op);
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_UNAVAILABLE);
	assert_text(op.answer.error, "no more ids");
	world_take(w, &op);
	assert_true(w->backend->ops->health(w->backend, health, sizeof(health)) < 0);
	assert_non_null(strstr(health, "no more ids"));
	w->failure = NULL;
	world_acquire(w, 0);
	assert_int_equal(w->backend->ops->health(w->backend, health, sizeof(health)), 0);
}

/* A spec's slot is made to it and not taken from the spares; it may not ask for more. */
static void test_spec(void **state)
{
	struct world *w = *state;
	struct backend_op op;
	size_t n;
	uint8_t *less = pack(&n, "m2 s i s s", "memory", 1000000, "network", "none");
	struct span less_span = span_of(less, n);
	uint8_t *more = pack(&n, "m1 s s", "network", "host");
	struct span more_span = span_of(more, n);

	w->options.n_slots_warm = 1;
	world_start(w);
	world_settle(w);
	world_op(&op, BACKEND_ACQUIRE, 0);
	op.arguments = less_span;
	w->backend->ops->acquire(w->backend, &op);
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_OK);
	world_take(w, &op);
	assert_int_equal(w->made_to[world_bound(w, 0)].memory_bytes, 1000000);
	assert_int_equal(w->made_to[world_bound(w, 0)].disk_bytes, 1 << 28);
	/* A reset leaves it what it is. */
	world_op(&op, BACKEND_RESET, 0);
	w->backend->ops->reset(w->backend, &op);
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_OK);
	world_take(w, &op);
	assert_int_equal(w->made_to[world_bound(w, 0)].memory_bytes, 1000000);
	world_op(&op, BACKEND_ACQUIRE, 1);
	op.arguments = more_span;
	w->backend->ops->acquire(w->backend, &op);
	assert_int_equal(op.state, BACKEND_OP_DONE);
	assert_int_equal(op.answer.verdict, TR_DENIED);
	world_take(w, &op);
	free(less);
	free(more);
}

static enum tr_verdict ask(struct world *w, uint32_t slot, const char *key, int number)
{
	struct backend_op op;
	enum tr_verdict verdict;
	size_t n;
	uint8_t *spec = pack(&n, "m1 s i", key, number);

	world_op(&op, BACKEND_ACQUIRE, slot);
	op.arguments = span_of(spec, n);
	w->backend->ops->acquire(w->backend, &op);
	world_wait(w, &op);
	verdict = op.answer.verdict;
	assert_true(verdict == TR_OK || (op.answer.error.n > 11 &&
					 memcmp(op.answer.error.data, "spec.memory", 11) == 0));
	world_take(w, &op);
	free(spec);
	return verdict;
}

/*
 * Without the layer that would keep it, a memory cap is neither promised nor claimed; pids, which an
 * rlimit keeps as well, are. The twin: with the layer both are.
 */
static void test_no_memory_layer(void **state)
{
	struct world *w = *state;
	struct buf stats;
	struct span memory;
	uint8_t *map;

	for (int has = 0; has < 2; has++) {
		w->plan.layers = (1u << PLAN_N_LAYERS) - 1;
		if (!has)
			w->plan.layers &= ~(1u << PLAN_MEMORY | 1u << PLAN_PIDS);
		world_start(w);
		assert_int_equal(ask(w, 0, "memory", 1000000), has ? TR_OK : TR_DENIED);
		assert_int_equal(ask(w, 1, "pids", 50), TR_OK);
		world_acquire(w, 2);
		buf_init(&stats, 1 << 16);
		/* Its members, and a map's header before them. */
		assert_int_equal(buf_append(&stats, "\xde\0\0", 3), 0);
		stats.data[2] = (uint8_t)w->backend->ops->stats(w->backend, &stats);
		map = stats.data;
		memory = meta_member(span_of(map, stats.n), "memory_bytes");
		assert_true(memory.n > 0);
		assert_int_equal(memory.data[0] == 0xc0, !has);
		buf_deinit(&stats);
		world_stop(w);
	}
}

/* Where every seat is taken one that is given back serves who waits, of another sort too. */
static void test_seats_run_out(void **state)
{
	struct world *w = *state;
	struct backend_op op;
	size_t n;
	uint8_t *less = pack(&n, "m1 s i", "pids", 50);

	w->options.n_slots_warm = WORLD_SEATS;
	world_start(w);
	world_settle(w);
	assert_int_equal(w->n_makes, WORLD_SEATS);
	world_op(&op, BACKEND_ACQUIRE, 0);
	op.arguments = span_of(less, n);
	w->backend->ops->acquire(w->backend, &op);
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_OK);
	world_take(w, &op);
	assert_int_equal(w->made_to[world_bound(w, 0)].n_pids, 50);
	assert_int_equal(w->n_drops, 1);
	free(less);
}

/* A slot that is given back is answered for when it is gone, and its seat is killed. */
static void test_release(void **state)
{
	struct world *w = *state;
	struct backend_op op;
	uint32_t seat;

	w->drops = false;
	w->options.gone_ns = 5 * NS_PER_S;
	world_start(w);
	seat = world_acquire(w, 0);
	world_op(&op, BACKEND_RELEASE, 0);
	w->backend->ops->release(w->backend, &op);
	world_settle(w);
	assert_int_equal(w->n_drops, 1);
	assert_int_equal(w->state[seat], STORE_DROP);
	assert_int_equal(world_bound(w, 0), UINT32_MAX);
	assert_int_equal(op.state, BACKEND_OP_TAKEN);
	world_send(w, STORE_GONE, seat, NULL);
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_OK);
	world_take(w, &op);
}

/* One that does not die does not hold up its number; its seat is not used until it is gone. */
static void test_stuck(void **state)
{
	struct world *w = *state;
	struct backend_op op;
	char health[128];
	uint32_t seat;

	w->drops = false;
	world_start(w);
	seat = world_acquire(w, 0);
	world_op(&op, BACKEND_RELEASE, 0);
	w->backend->ops->release(w->backend, &op);
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_OK);
	world_take(w, &op);
	assert_true(w->backend->ops->health(w->backend, health, sizeof(health)) < 0);
	/* All the other seats are used before it. */
	for (uint32_t i = 0; i < WORLD_SLOTS; i++)
		assert_int_not_equal(world_acquire(w, i), seat);
	fd_close(&w->slots[seat]);
	w->state[seat] = 0;
	world_send(w, STORE_GONE, seat, NULL);
	world_settle(w);
	assert_int_equal(w->backend->ops->health(w->backend, health, sizeof(health)), 0);
}

/* A reset puts a fresh seat in the place of the old one, and waits for the end of that. */
static void test_reset(void **state)
{
	struct world *w = *state;
	struct backend_op op;
	uint32_t old;

	w->options.n_slots_warm = 1;
	w->options.gone_ns = 5 * NS_PER_S;
	w->drops = false;
	world_start(w);
	old = world_acquire(w, 0);
	world_settle(w);
	world_op(&op, BACKEND_RESET, 0);
	w->backend->ops->reset(w->backend, &op);
	world_settle(w);
	assert_int_equal(op.state, BACKEND_OP_TAKEN);
	assert_int_not_equal(world_bound(w, 0), old);
	assert_int_equal(w->state[old], STORE_DROP);
	/* The next spare does not stand in the way of that. */
	assert_int_equal(w->n_makes, 2);
	world_send(w, STORE_GONE, old, NULL);
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_OK);
	assert_false(op.answer.slot_lost);
	world_take(w, &op);
	world_settle(w);
	assert_int_equal(w->n_makes, 3);
}

/* A reset for which no slot can be made says that the old one is gone as well. */
static void test_reset_fails(void **state)
{
	struct world *w = *state;
	struct backend_op op;

	world_start(w);
	world_acquire(w, 0);
	w->failure = "no memory";
	world_op(&op, BACKEND_RESET, 0);
	w->backend->ops->reset(w->backend, &op);
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_UNAVAILABLE);
	assert_true(op.answer.slot_lost);
	world_take(w, &op);
	w->failure = NULL;
	world_settle(w);
	world_acquire(w, 0);
}

/* A reset that is cancelled while no slot is there for it is answered soon. */
static void test_reset_cancelled(void **state)
{
	struct world *w = *state;
	struct backend_op op;

	world_start(w);
	world_acquire(w, 0);
	w->makes = false;
	world_op(&op, BACKEND_RESET, 0);
	w->backend->ops->reset(w->backend, &op);
	world_settle(w);
	w->backend->ops->cancel(w->backend, &op);
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_CANCELLED);
	assert_true(op.answer.slot_lost);
	world_take(w, &op);
}

/* A slot that dies while nothing runs: the next call is told and did not begin. */
static void test_idle_death(void **state)
{
	struct world *w = *state;
	struct backend_op op;
	size_t n;
	uint8_t *arguments = pack(&n, "m1 s s", "command", "true");
	uint32_t seat;

	world_start(w);
	seat = world_acquire(w, 0);
	fd_close(&w->slots[seat]);
	world_settle(w);
	assert_int_equal(w->n_drops, 1);
	world_execute(w, &op, 0, "bash", span_of(arguments, n));
	assert_int_equal(op.state, BACKEND_OP_DONE);
	assert_int_equal(op.answer.verdict, TR_NOT_STARTED);
	assert_true(op.answer.slot_lost);
	world_take(w, &op);
	/* The number is as good as new. */
	world_acquire(w, 0);
	free(arguments);
}

/* The maker's word of a death counts as much as a hang-up, and a parked slot is told of it too. */
static void test_parked_death(void **state)
{
	struct world *w = *state;
	struct backend_op op;
	uint32_t seat;

	world_start(w);
	seat = world_acquire(w, 0);
	world_op(&op, BACKEND_RELEASE, 0);
	op.reset = false;
	w->backend->ops->release(w->backend, &op);
	assert_int_equal(op.answer.verdict, TR_OK);
	world_take(w, &op);
	assert_int_equal(world_bound(w, 0), seat);
	w->state[seat] = 0;
	fd_close(&w->control[seat]);
	world_send(w, STORE_GONE, seat, NULL);
	world_settle(w);
	assert_int_equal(w->n_drops, 0);
	world_op(&op, BACKEND_RELEASE, 0);
	op.reset = false;
	w->backend->ops->release(w->backend, &op);
	assert_int_equal(op.answer.verdict, TR_NOT_STARTED);
	assert_true(op.answer.slot_lost);
	world_take(w, &op);
}

/* The next executor finds slots by its notes, tells them to end what runs, and keeps spares. */
static void test_adoption(void **state)
{
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct slot_request q;
	uint32_t kept, forgotten;

	w->options.n_slots_warm = 1;
	world_start(w);
	kept = world_acquire(w, 0);
	forgotten = world_acquire(w, 1);
	world_settle(w);
	world_stop(w);
	w->n_makes = 0;
	world_start(w);
	assert_true(w->backend->ops->adopt(w->backend, 0));
	assert_int_equal(world_bound(w, 0), kept);
	slot_expect(w, kept, SLOT_ABORT, &q, parts);
	world_settle(w);
	/* Who was used and is nobody's is not given to anybody else; who was never used is. */
	assert_int_equal(w->n_drops, 1);
	assert_int_equal(w->slots[forgotten], -1);
	assert_int_equal(w->n_makes, 0);
	world_acquire(w, 2);
	world_settle(w);
	assert_int_equal(w->n_makes, 1);
}

/* A slot that died between two executors: its trajectory is told all the same. */
static void test_adoption_of_the_dead(void **state)
{
	struct world *w = *state;
	struct backend_op op;
	uint32_t seat;

	world_start(w);
	seat = world_acquire(w, 0);
	world_stop(w);
	fd_close(&w->control[seat]);
	fd_close(&w->slots[seat]);
	w->state[seat] = 0;
	world_start(w);
	assert_true(w->backend->ops->adopt(w->backend, 0));
	world_execute(w, &op, 0, "bash", span_of(NULL, 0));
	assert_int_equal(op.answer.verdict, TR_NOT_STARTED);
	assert_true(op.answer.slot_lost);
	world_take(w, &op);
	assert_int_equal(world_bound(w, 0), UINT32_MAX);
}

/* A keeper that does not listen for a while loses nothing that is to be said to it. */
static void test_busy_keeper(void **state)
{
	struct world *w = *state;
	struct backend_op op;
	char filler[sizeof(struct store_message)] = {0};
	uint32_t n_filled = 0;

	world_start(w);
	w->makes = false;
	while (send(w->options.store, filler, sizeof(filler), MSG_DONTWAIT) > 0)
		n_filled++;
	assert_true(n_filled > 0);
	world_op(&op, BACKEND_ACQUIRE, 0);
	w->backend->ops->acquire(w->backend, &op);
	world_turn(w);
	assert_int_equal(op.state, BACKEND_OP_TAKEN);
	while (n_filled--)
		assert_true(recv(w->keeper, filler, sizeof(filler), 0) > 0);
	w->makes = true;
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_OK);
	world_take(w, &op);
}

/* Too many spares go again after a while: here those that somebody did not wait for. */
static void test_shrink(void **state)
{
	struct world *w = *state;
	uint64_t until = now_ns() + 10 * NS_PER_S;
	struct backend_op op;

	world_start(w);
	world_acquire(w, 0);
	w->makes = false;
	world_op(&op, BACKEND_RESET, 0);
	w->backend->ops->reset(w->backend, &op);
	w->backend->ops->cancel(w->backend, &op);
	w->makes = true;
	world_wait(w, &op);
	world_take(w, &op);
	world_settle(w);
	assert_int_equal(w->n_makes, 2);
	while (w->n_drops < 2) {
		assert_true(now_ns() < until);
		loop_sleep(&w->loop, timers_next(&w->loop.timers));
		world_turn(w);
	}
}

/* Stopping answers everything, and drops what there is. */
static void test_stop(void **state)
{
	struct world *w = *state;
	struct backend_op waits, runs, more;
	size_t n;
	uint8_t *arguments = pack(&n, "m1 s s", "command", "sleep 9");

	world_start(w);
	world_acquire(w, 0);
	world_execute(w, &runs, 0, "bash", span_of(arguments, n));
	w->makes = false;
	world_op(&waits, BACKEND_ACQUIRE, 1);
	w->backend->ops->acquire(w->backend, &waits);
	w->backend->ops->stop(w->backend, true);
	assert_int_equal(waits.answer.verdict, TR_UNAVAILABLE);
	assert_int_equal(runs.answer.verdict, TR_CANCELLED);
	world_take(w, &waits);
	world_take(w, &runs);
	world_op(&more, BACKEND_RELEASE, 0);
	w->backend->ops->release(w->backend, &more);
	assert_int_equal(more.answer.verdict, TR_OK);
	world_take(w, &more);
	w->makes = true;
	world_settle(w);
	for (int i = 0; i < WORLD_SEATS; i++)
		assert_int_equal(w->slots[i], -1);
	free(arguments);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_spare),
		TEST(test_dead_spare),
		TEST(test_start),
		TEST(test_order),
		TEST(test_failure),
		TEST(test_spec),
		TEST(test_no_memory_layer),
		TEST(test_seats_run_out),
		TEST(test_release),
		TEST(test_stuck),
		TEST(test_reset),
		TEST(test_reset_fails),
		TEST(test_reset_cancelled),
		TEST(test_idle_death),
		TEST(test_parked_death),
		TEST(test_adoption),
		TEST(test_adoption_of_the_dead),
		TEST(test_busy_keeper),
		TEST(test_shrink),
		TEST(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
