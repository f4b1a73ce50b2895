/* SPDX-License-Identifier: Apache-2.0 */
/* A slot that says what it should not, or nothing, costs itself and nobody else. */
#include "local_world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../wire/pack.h"
#include "base/cleanup.h"
#include "base/clock.h"

/* Answers to what nobody waits for are dropped, also those of an earlier executor's calls. */
static void test_stray_replies(void **state)
{
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct backend_op op;
	struct slot_request q;
	struct slot_reply reply;
	uint32_t seat = world_begin(w);
	uint8_t *arguments = world_call(w, &op, "bash", "m1 s s", "command", "x");

	slot_expect(w, seat, SLOT_BASH, &q, parts);
	reply = slot_reply_to(&q);
	reply.generation--;
	slot_answer(w, seat, reply, "of the executor before", "");
	reply = slot_reply_to(&q);
	reply.id++;
	slot_answer(w, seat, reply, "of another call", "");
	world_settle(w);
	assert_int_equal(op.state, BACKEND_OP_TAKEN);
	slot_answer(w, seat, slot_reply_to(&q), "its own", "");
	world_wait(w, &op);
	assert_text(op.answer.output, "its own");
	world_take(w, &op);
	/* Twice answered is one answer. */
	slot_answer(w, seat, slot_reply_to(&q), "its own", "");
	world_settle(w);
	world_check(w, seat);
	free(arguments);
}

/* Without an end, though, they cost the slot. */
static void test_flood_of_replies(void **state)
{
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct backend_op op;
	struct slot_request q;
	struct slot_reply reply;
	uint32_t seat = world_begin(w);
	uint8_t *arguments = world_call(w, &op, "bash", "m1 s s", "command", "x");

	slot_expect(w, seat, SLOT_BASH, &q, parts);
	reply = slot_reply_to(&q);
	reply.id = 77;
	for (int i = 0; i < 30; i++)
		slot_answer(w, seat, reply, "", "");
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_UNKNOWN);
	assert_true(op.answer.slot_lost);
	world_take(w, &op);
	world_settle(w);
	assert_int_equal(w->n_drops, 1);
	free(arguments);
}

enum hostile {
	HANGS_UP,
	SAYS_NOTHING_SHORT,
	SAYS_RUBBISH,
	ANSWERS_ANOTHER_OP,
	LIES_ABOUT_LENGTHS,
	SAYS_A_WRONG_VERDICT,
	SAYS_WHAT_IS_NO_TEXT,
	N_HOSTILE
};

static void be_hostile(struct world *w, uint32_t seat, const struct slot_request *q,
		       enum hostile how)
{
	struct slot_reply reply = slot_reply_to(q);
	int fd = w->slots[seat];

	reply.magic = SLOT_MAGIC;
	switch (how) {
	case HANGS_UP:
		fd_close(&w->slots[seat]);
		break;
	case SAYS_NOTHING_SHORT:
		assert_int_equal(send(fd, &reply, sizeof(reply) - 1, 0), sizeof(reply) - 1);
		break;
	case SAYS_RUBBISH:
		memset(&reply, 0x5a, sizeof(reply));
		assert_int_equal(send(fd, &reply, sizeof(reply), 0), sizeof(reply));
		break;
	case ANSWERS_ANOTHER_OP:
		reply.op = SLOT_READ_FILE;
		slot_answer(w, seat, reply, "", "");
		break;
	case LIES_ABOUT_LENGTHS:
		reply.n[SLOT_OUTPUT] = UINT64_MAX;
		assert_int_equal(send(fd, &reply, sizeof(reply), 0), sizeof(reply));
		break;
	case SAYS_A_WRONG_VERDICT:
		reply.verdict = TR_N_VERDICTS;
		slot_answer(w, seat, reply, "", "");
		break;
	default:
		slot_answer(w, seat, reply, "\xff", "");
		break;
	}
}

/* Whatever breaks the protocol costs the slot: its call may have run. The next slot is well. */
static void test_hostile_slots(void **state)
{
	struct world *w = *state;

	world_start(w);
	for (int how = 0; how < N_HOSTILE; how++) {
		struct span parts[SLOT_N_REQUEST_PARTS];
		struct backend_op op;
		struct slot_request q;
		uint32_t seat = world_acquire(w, 0);
		uint8_t *arguments = world_call(w, &op, "bash", "m1 s s", "command", "x");

		slot_expect(w, seat, SLOT_BASH, &q, parts);
		be_hostile(w, seat, &q, (enum hostile)how);
		world_wait(w, &op);
		assert_int_equal(op.answer.verdict, TR_UNKNOWN);
		assert_true(op.answer.slot_lost);
		assert_text(op.answer.error,
			    "the slot died; its files are gone; the call may have run");
		world_take(w, &op);
		world_settle(w);
		assert_int_equal(w->n_drops, how + 1);
		free(arguments);
	}
	world_check(w, world_acquire(w, 0));
}

/* A slot that cannot prove its processes dead is dropped behind its answer, which says so. */
static void test_stuck_call(void **state)
{
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct backend_op op;
	struct slot_request q;
	struct slot_reply reply;
	uint32_t seat = world_begin(w);
	uint8_t *arguments = world_call(w, &op, "bash", "m1 s s", "command", "x");

	slot_expect(w, seat, SLOT_BASH, &q, parts);
	reply = slot_reply_to(&q);
	reply.verdict = TR_TIMEOUT;
	reply.flags = SLOT_STUCK;
	reply.n_left = 1;
	slot_answer(w, seat, reply, "early", "");
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_TIMEOUT);
	assert_text(op.answer.output, "early");
	assert_true(op.answer.slot_lost);
	assert_non_null(memmem(op.answer.error.data, op.answer.error.n, "proven dead", 11));
	assert_int_equal(meta_int(op.answer.metadata, "processes_left"), 1);
	world_take(w, &op);
	world_settle(w);
	assert_int_equal(w->n_drops, 1);
	world_check(w, world_acquire(w, 0));
	free(arguments);
}

/* A slot that does not answer in time is given up, and the call has its verdict. */
static void test_silence(void **state)
{
	struct world *w = *state;
	struct backend_op op, *ops[] = {&op};
	size_t n;
	uint8_t *arguments = pack(&n, "m1 s s", "command", "sleep 99");

	world_begin(w);
	world_op(&op, BACKEND_EXECUTE, 0);
	op.tool = span_string("bash");
	op.arguments = span_of(arguments, n);
	op.timeout_ns = NS_PER_MS;
	w->backend->ops->execute_batch(w->backend, ops, 1);
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_TIMEOUT);
	assert_true(op.answer.slot_lost);
	world_take(w, &op);
	free(arguments);
}

/* A cancel reaches the slot, whose answer counts; without one the slot is given up. */
static void test_cancel(void **state)
{
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct backend_op op;
	struct slot_request q, cancel;
	struct slot_reply reply;
	uint32_t seat;
	uint8_t *arguments;

	w->options.grace_ns = 5 * NS_PER_S;
	seat = world_begin(w);
	arguments = world_call(w, &op, "bash", "m1 s s", "command", "sleep 99");
	slot_expect(w, seat, SLOT_BASH, &q, parts);
	w->backend->ops->cancel(w->backend, &op);
	slot_expect(w, seat, SLOT_CANCEL, &cancel, parts);
	assert_int_equal(cancel.id, q.id);
	reply = slot_reply_to(&q);
	reply.verdict = TR_CANCELLED;
	reply.exit_code = 137;
	slot_answer(w, seat, reply, "", "");
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_CANCELLED);
	assert_false(op.answer.slot_lost);
	world_take(w, &op);
	free(arguments);
	world_check(w, seat);
}

static void test_cancel_unheeded(void **state)
{
	struct world *w = *state;
	struct backend_op op;
	uint8_t *arguments;

	world_begin(w);
	arguments = world_call(w, &op, "bash", "m1 s s", "command", "sleep 99");
	w->backend->ops->cancel(w->backend, &op);
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_CANCELLED);
	assert_true(op.answer.slot_lost);
	world_take(w, &op);
	free(arguments);
}

/* A request that does not fit the socket is sent when it does; meanwhile it can be cancelled. */
static void test_full_socket(void **state)
{
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct backend_op op;
	struct slot_request q;
	char filler[4096] = {0};
	uint32_t seat = world_begin(w), n_filled = 0;
	uint8_t *arguments;

	while (send(w->control[seat], filler, sizeof(filler), MSG_DONTWAIT) > 0)
		n_filled++;
	while (send(w->control[seat], filler, 1, MSG_DONTWAIT) > 0)
		n_filled++;
	arguments = world_call(w, &op, "bash", "m1 s s", "command", "x");
	world_turn(w);
	assert_int_equal(op.state, BACKEND_OP_TAKEN);
	w->backend->ops->cancel(w->backend, &op);
	assert_int_equal(op.state, BACKEND_OP_DONE);
	assert_int_equal(op.answer.verdict, TR_CANCELLED);
	assert_false(op.answer.slot_lost);
	world_take(w, &op);
	free(arguments);
	arguments = world_call(w, &op, "bash", "m1 s s", "command", "y");
	while (n_filled--)
		assert_true(recv(w->slots[seat], filler, sizeof(filler), 0) > 0);
	while (!slot_next(w, seat, &q, parts))
		world_turn(w);
	assert_text(parts[SLOT_COMMAND], "y");
	slot_answer(w, seat, slot_reply_to(&q), "late", "");
	world_wait(w, &op);
	assert_text(op.answer.output, "late");
	world_take(w, &op);
	free(arguments);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_stray_replies),   TEST(test_flood_of_replies), TEST(test_hostile_slots),
		TEST(test_stuck_call),      TEST(test_silence),          TEST(test_cancel),
		TEST(test_cancel_unheeded), TEST(test_full_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
