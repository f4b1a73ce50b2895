/* SPDX-License-Identifier: Apache-2.0 */
#include "local_world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../wire/pack.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "wire/reader.h"

#define WAIT_NS (10 * NS_PER_S)

static void make_plan(struct plan *p)
{
	*p = (struct plan){
		.n_seats = WORLD_SEATS,
		.layers = (1u << PLAN_N_LAYERS) - 1,
		.params =
			{
				.memory_bytes = 1 << 30,
				.disk_bytes = 1 << 28,
				.n_pids = 100,
				.network = PLAN_NETWORK_NONE,
			},
		.has_zygote = 1,
		.shell = "/bin/bash",
	};
}

int world_set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	char error[256];

	assert_non_null(w);
	*state = w;
	make_plan(&w->plan);
	w->makes = w->drops = true;
	for (int i = 0; i < WORLD_SEATS; i++)
		w->slots[i] = w->control[i] = -1;
	if (loop_init(&w->loop, 0, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	w->options = (struct local_options){
		.plan = &w->plan,
		.notes = calloc(1, local_notes_bytes(WORLD_SLOTS, &w->plan)),
		.output_chars = 50000,
		.file_chars = 100000,
		.exec_output_bytes_max = 1 << 20,
		.artifact_bytes_max = 5000000,
		.artifact_entries_max = 5000,
		.anywhere_bytes_max = 64 << 20,
		.anywhere_entries_max = 50000,
		.grace_ns = 50 * NS_PER_MS,
		.gone_ns = 50 * NS_PER_MS,
	};
	assert_non_null(w->options.notes);
	return 0;
}

int world_tear_down(void **state)
{
	struct world *w = *state;

	slot_message_done(&w->message);
	if (w->backend)
		world_stop(w);
	for (int i = 0; i < WORLD_SEATS; i++) {
		fd_close(&w->slots[i]);
		fd_close(&w->control[i]);
	}
	loop_deinit(&w->loop);
	free(w->options.notes);
	free(w);
	return 0;
}

void world_start(struct world *w)
{
	char error[256];
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	w->keeper = pair[0];
	w->options.store = pair[1];
	w->options.generation++;
	for (uint32_t i = 0; i < WORLD_SEATS; i++) {
		if (w->control[i] >= 0)
			world_send(w, STORE_HAVE, i, NULL);
		else if (w->state[i])
			world_send(w, STORE_GOING, i, NULL);
	}
	world_send(w, STORE_ALL, 0, NULL);
	assert_int_equal(
		local_new(&w->backend, &w->loop, WORLD_SLOTS, &w->options, error, sizeof(error)),
		0);
	assert_int_equal(w->backend->ops->start(w->backend), 0);
}

void world_stop(struct world *w)
{
	char error[256];

	/* As when it is killed: nothing is said, and what the loop waited for is gone with it. */
	loop_deinit(&w->loop);
	w->backend = local_free(w->backend);
	fd_close(&w->options.store);
	fd_close(&w->keeper);
	assert_int_equal(loop_init(&w->loop, 0, error, sizeof(error)), 0);
}

/* ---- the keeper ----------------------------------------------------------------------------------- */

void world_send(struct world *w, enum store_kind kind, uint32_t seat, const char *text)
{
	struct store_message m = {.kind = kind, .seat = seat, .params = w->made_to[seat]};
	bool has_fd = kind == STORE_MADE || kind == STORE_HAVE;

	if (text)
		strncpy(m.text, text, sizeof(m.text) - 1);
	assert_int_equal(fdpass_send(w->keeper, &m, sizeof(m), &w->control[seat], has_fd, 0),
			 sizeof(m));
}

static void keeper_make(struct world *w, const struct store_message *m)
{
	int pair[2];

	w->n_makes++;
	assert_int_equal(w->state[m->seat], 0);
	w->made_to[m->seat] = m->params;
	if (w->failure) {
		world_send(w, STORE_FAILED, m->seat, w->failure);
		return;
	}
	w->state[m->seat] = STORE_MAKE;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	w->control[m->seat] = pair[0];
	w->slots[m->seat] = pair[1];
	world_send(w, STORE_MADE, m->seat, NULL);
}

static void keeper_drop(struct world *w, uint32_t seat)
{
	w->n_drops++;
	w->state[seat] = STORE_DROP;
	fd_close(&w->control[seat]);
	if (!w->drops)
		return;
	fd_close(&w->slots[seat]);
	w->state[seat] = 0;
	world_send(w, STORE_GONE, seat, NULL);
}

static bool keeper_turn(struct world *w)
{
	struct store_message m;
	bool any = false;

	while (w->makes && recv(w->keeper, &m, sizeof(m), MSG_DONTWAIT) == sizeof(m)) {
		any = true;
		assert_true(m.seat < WORLD_SEATS);
		if (m.kind == STORE_MAKE)
			keeper_make(w, &m);
		else if (m.kind == STORE_DROP)
			keeper_drop(w, m.seat);
		else
			fail_msg("the backend said %u", m.kind);
	}
	return any;
}

/* ---- turns ---------------------------------------------------------------------------------------- */

static bool turn(struct world *w)
{
	bool any;

	w->loop.now_ns = now_ns();
	any = loop_reap(&w->loop) > 0;
	any |= timers_fire(&w->loop.timers, w->loop.now_ns, NULL, 100) > 0;
	return keeper_turn(w) || any;
}

void world_turn(struct world *w)
{
	turn(w);
}

void world_settle(struct world *w)
{
	/* A message takes one turn to be sent, and another to be read. */
	for (int n_quiet = 0; n_quiet < 3;)
		n_quiet = turn(w) ? 0 : n_quiet + 1;
}

void world_wait(struct world *w, struct backend_op *op)
{
	uint64_t until = now_ns() + WAIT_NS;

	while (op->state != BACKEND_OP_DONE) {
		uint64_t next = timers_next(&w->loop.timers);

		if (now_ns() > until)
			fail_msg("the op is not answered");
		if (!turn(w) && op->state != BACKEND_OP_DONE)
			loop_sleep(&w->loop, next < until ? next : until);
	}
}

/* ---- the executor --------------------------------------------------------------------------------- */

void world_op(struct backend_op *op, enum backend_op_kind kind, uint32_t slot)
{
	*op = (struct backend_op){
		.kind = kind, .slot = slot, .reset = true, .timeout_ns = 5 * NS_PER_S};
	list_init(&op->link);
}

void world_take(struct world *w, struct backend_op *op)
{
	assert_int_equal(op->state, BACKEND_OP_DONE);
	list_remove(&op->link);
	w->backend->ops->answer_taken(w->backend, op);
	op->state = BACKEND_OP_IDLE;
}

uint32_t world_acquire(struct world *w, uint32_t slot)
{
	struct backend_op op;

	world_op(&op, BACKEND_ACQUIRE, slot);
	w->backend->ops->acquire(w->backend, &op);
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_OK);
	world_take(w, &op);
	return world_bound(w, slot);
}

uint32_t world_bound(const struct world *w, uint32_t slot)
{
	return w->options.notes[slot] - 1;
}

void world_execute(struct world *w, struct backend_op *op, uint32_t slot, const char *tool,
		   struct span arguments)
{
	world_op(op, BACKEND_EXECUTE, slot);
	op->tool = span_string(tool);
	op->arguments = arguments;
	w->backend->ops->execute_batch(w->backend, &op, 1);
}

/* ---- slots ---------------------------------------------------------------------------------------- */

bool slot_next(struct world *w, uint32_t seat, struct slot_request *ret_request,
	       struct span parts[SLOT_N_REQUEST_PARTS])
{
	int r;

	slot_message_done(&w->message);
	r = slot_request_receive(w->slots[seat], w->buffer, ret_request, parts, &w->message,
				 MSG_DONTWAIT);
	assert_true(r == 1 || r == -EAGAIN || r == 0);
	return r == 1;
}

void slot_expect(struct world *w, uint32_t seat, enum slot_op op, struct slot_request *ret_request,
		 struct span parts[SLOT_N_REQUEST_PARTS])
{
	bool is_there = slot_next(w, seat, ret_request, parts);

	/* A spare may have been told to warm up before it was bound. */
	if (is_there && ret_request->op == SLOT_WARM && op != SLOT_WARM)
		is_there = slot_next(w, seat, ret_request, parts);
	assert_true(is_there);
	assert_int_equal(ret_request->op, op);
	assert_int_equal(ret_request->generation, w->options.generation);
}

struct slot_reply slot_reply_to(const struct slot_request *request)
{
	uint64_t now = now_ns();

	return (struct slot_reply){
		.generation = request->generation,
		.id = request->id,
		.op = request->op,
		.verdict = TR_OK,
		.started_ns = now - 1000,
		.ended_ns = now,
	};
}

void slot_answer(struct world *w, uint32_t seat, struct slot_reply reply, const char *output,
		 const char *error)
{
	struct span parts[SLOT_N_REPLY_PARTS] = {
		[SLOT_OUTPUT] = span_string(output), [SLOT_ERROR] = span_string(error)};

	assert_int_equal(slot_reply_send(w->slots[seat], &reply, parts, 0), 0);
}

uint32_t world_begin(struct world *w)
{
	world_start(w);
	return world_acquire(w, 0);
}

uint8_t *world_artifact(struct world *w, struct backend_op *op, enum tr_kind kind, const char *path,
			const char *form, ...)
{
	msgpack_sbuffer out;
	va_list args;

	msgpack_sbuffer_init(&out);
	va_start(args, form);
	pack_va(&out, form, args);
	va_end(args);
	world_op(op, BACKEND_ARTIFACT, 0);
	op->artifact = kind;
	op->path = span_string(path);
	op->arguments = span_of(out.data, out.size);
	w->backend->ops->execute_batch(w->backend, &op, 1);
	return (uint8_t *)msgpack_sbuffer_release(&out);
}

uint8_t *world_call(struct world *w, struct backend_op *op, const char *tool, const char *form, ...)
{
	msgpack_sbuffer out;
	va_list args;

	msgpack_sbuffer_init(&out);
	va_start(args, form);
	pack_va(&out, form, args);
	va_end(args);
	world_execute(w, op, 0, tool, span_of(out.data, out.size));
	return (uint8_t *)msgpack_sbuffer_release(&out);
}

void world_check(struct world *w, uint32_t seat)
{
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct slot_request q;
	struct backend_op op;
	uint8_t *arguments = world_call(w, &op, "bash", "m1 s s", "command", "true");

	slot_expect(w, seat, SLOT_BASH, &q, parts);
	slot_answer(w, seat, slot_reply_to(&q), "well", "");
	world_wait(w, &op);
	assert_int_equal(op.answer.verdict, TR_OK);
	assert_text(op.answer.output, "well");
	world_take(w, &op);
	free(arguments);
}

/* ---- packed maps ---------------------------------------------------------------------------------- */

struct span meta_member(struct span map, const char *name)
{
	struct wire_reader r;
	struct wire_token t;
	struct span key = {0}, value = {0};

	wire_reader_init(&r, map.data, map.n, 1000);
	assert_int_equal(wire_read(&r, &t), 0);
	assert_int_equal(t.type, WIRE_MAP);
	for (uint32_t i = t.n; i; i--) {
		struct wire_token token;

		assert_int_equal(wire_read_key(&r, &key, &token), 0);
		assert_int_equal(wire_skip(&r, &value), 0);
		if (span_is(key, name))
			return value;
	}
	/* The map is just as long as it says. */
	assert_ptr_equal(r.at, r.end);
	return span_of(NULL, 0);
}

struct span more_map(const struct backend_op *op)
{
	static uint8_t map[1 << 20];
	size_t n = op->answer.more.n, n_body = op->answer.body.n;

	assert_true(op->answer.n_more < 16 && 1 + n + n_body <= sizeof(map));
	map[0] = (uint8_t)(0x80 | op->answer.n_more);
	if (n)
		memcpy(map + 1, op->answer.more.data, n);
	if (n_body)
		memcpy(map + 1 + n, op->answer.body.data, n_body);
	return span_of(map, 1 + n + n_body);
}

static struct wire_token token_of(struct span map, const char *name)
{
	struct span value = meta_member(map, name);
	struct wire_reader r;
	struct wire_token t;

	assert_true(value.n > 0);
	wire_reader_init(&r, value.data, value.n, 1000);
	assert_int_equal(wire_read(&r, &t), 0);
	return t;
}

int64_t meta_int(struct span map, const char *name)
{
	struct wire_token t = token_of(map, name);

	assert_int_equal(t.type, WIRE_INT);
	return t.u.integer;
}

bool meta_is_true(struct span map, const char *name)
{
	struct wire_token t = token_of(map, name);

	assert_int_equal(t.type, WIRE_BOOL);
	return t.u.boolean;
}

void assert_text(struct span span, const char *text)
{
	if (!span_is(span, text))
		fail_msg("\"%.*s\" and not \"%s\"", (int)span.n, (const char *)span.data, text);
}
