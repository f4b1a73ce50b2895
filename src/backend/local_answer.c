/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/local_answer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "wire/writer.h"

/* Both streams of exec, and what packing adds. */
#define MORE_BYTES_MAX (SLOT_FILE_MAX + 64)
#define BYTES_KEPT     16384
/* The packed keys and numbers of one metadata, missing layers and path aside. */
#define METADATA_BYTES 768
#define STUCK_TEXT                                                                                 \
	"the slot was dropped with its files: not all of its processes could be proven dead"

int local_facts_init(struct local_facts *f, const struct plan *plan)
{
	msgpack_packer p;
	int r = 0;

	*f = (struct local_facts){0};
	buf_init(&f->missing, 1024);
	f->n_missing = (uint32_t)__builtin_popcount(plan->accepted);
	if (!f->n_missing)
		return 0;
	wire_writer_init(&p, &f->missing);
	wire_write_string(&p, "missing_layers");
	msgpack_pack_array(&p, f->n_missing);
	for (int i = 0; r == 0 && i < PLAN_N_LAYERS; i++)
		if (plan->accepted >> i & 1)
			r = wire_write_string(&p, plan_layer_name((enum plan_layer)i));
	return r;
}

void local_facts_deinit(struct local_facts *f)
{
	buf_deinit(&f->missing);
}

void local_answer_init(struct local_answer *a)
{
	*a = (struct local_answer){0};
	buf_init(&a->text, 4 * SLOT_INLINE_MAX);
	buf_init(&a->metadata, 4 * SLOT_INLINE_MAX);
	buf_init(&a->more, MORE_BYTES_MAX);
}

void local_answer_deinit(struct local_answer *a)
{
	slot_message_done(&a->message);
	buf_deinit(&a->text);
	buf_deinit(&a->metadata);
	buf_deinit(&a->more);
}

void local_answer_clear(struct local_answer *a)
{
	slot_message_done(&a->message);
	buf_trim(&a->text, BYTES_KEPT);
	buf_trim(&a->metadata, BYTES_KEPT);
	buf_trim(&a->more, BYTES_KEPT);
}

/* ---- texts ---------------------------------------------------------------------------------------- */

/* As Python writes a float: "1.0", "2.5". */
static void write_seconds(uint64_t ns, char *text, size_t n)
{
	/* A timeout comes as a float: its last digits are noise. */
	uint64_t us = (ns + 500) / NS_PER_US;
	int at = snprintf(text, n, "%llu.%06llu", (unsigned long long)(us / 1000000),
			  (unsigned long long)(us % 1000000));

	while (at > 2 && text[at - 1] == '0' && text[at - 2] != '.')
		text[--at] = '\0';
}

/* The error of what ran, where the slot said none. */
static void write_error(const struct backend_op *op, const struct slot_reply *reply, char *text,
			size_t n)
{
	char seconds[32];

	text[0] = '\0';
	switch ((enum tr_verdict)reply->verdict) {
	case TR_OK:
		break;
	case TR_FAILED:
		snprintf(text, n, "Exit code: %d", reply->exit_code);
		break;
	case TR_TIMEOUT:
		write_seconds(op->timeout_ns, seconds, sizeof(seconds));
		snprintf(text, n, "Command timed out after %ss", seconds);
		break;
	case TR_OOM:
		snprintf(text, n, "out of memory: the slot's cap was reached (exit code: %d)",
			 reply->exit_code);
		break;
	case TR_LIMIT:
		snprintf(text, n, "a limit of the slot was reached (exit code: %d)",
			 reply->exit_code);
		break;
	case TR_CANCELLED:
		snprintf(text, n, "the call was cancelled");
		break;
	default:
		snprintf(text, n, "the slot could not run the call");
		break;
	}
}

/* Copies into text, which has room. */
static struct span keep(struct local_answer *a, struct span s)
{
	size_t at = a->text.n;

	wire_write_packed(&a->text, s);
	return span_of(a->text.data + at, s.n);
}

static int set_texts(struct local_answer *a, struct backend_op *op, const struct slot_reply *reply,
		     struct span output, struct span error)
{
	bool stuck = reply->flags & SLOT_STUCK;
	char own[160];
	int r;

	if (!error.n) {
		write_error(op, reply, own, sizeof(own));
		error = span_string(own);
	}
	buf_clear(&a->text);
	/* What came in a file stays there. */
	r = buf_reserve(&a->text,
			(a->message.map ? 0 : output.n) + error.n + sizeof(STUCK_TEXT) + 2);
	if (r < 0)
		return r;
	op->answer.output = a->message.map ? output : keep(a, output);
	op->answer.error = keep(a, error);
	if (stuck) {
		if (error.n)
			keep(a, span_string("; "));
		keep(a, span_string(STUCK_TEXT));
		op->answer.error.n = (size_t)(a->text.data + a->text.n - op->answer.error.data);
	}
	return 0;
}

/* ---- metadata ------------------------------------------------------------------------------------- */

static void pack_bool(msgpack_packer *p, bool value)
{
	if (value)
		msgpack_pack_true(p);
	else
		msgpack_pack_false(p);
}

static void write_missing(const struct local_facts *facts, struct buf *b)
{
	wire_write_packed(b, span_of(facts->missing.data, facts->missing.n));
}

/* Room for all of it, so that nothing below can fail. */
static int begin_metadata(struct local_answer *a, const struct local_facts *facts, size_t n_more,
			  msgpack_packer *p)
{
	buf_clear(&a->metadata);
	wire_writer_init_reserved(p, &a->metadata);
	return wire_reserve(&a->metadata, METADATA_BYTES + facts->missing.n + n_more);
}

/* What is told of everything that ran. */
#define RAN_PAIRS 12

static void write_ran(msgpack_packer *p, struct buf *b, const struct slot_reply *reply,
		      bool network_isolated)
{
	wire_write_key(b, "exit_code");
	msgpack_pack_int32(p, reply->verdict == TR_TIMEOUT ? -1 : reply->exit_code);
	wire_write_key(b, "signal");
	msgpack_pack_int32(p, reply->signal);
	wire_write_key(b, "sandboxed");
	pack_bool(p, true);
	wire_write_key(b, "network_isolated");
	pack_bool(p, network_isolated);
	wire_write_key(b, "cpu_user_ns");
	msgpack_pack_uint64(p, reply->cpu_user_ns);
	wire_write_key(b, "cpu_system_ns");
	msgpack_pack_uint64(p, reply->cpu_system_ns);
	wire_write_key(b, "memory_peak_bytes");
	msgpack_pack_uint64(p, reply->memory_peak_bytes);
	wire_write_key(b, "processes_killed");
	msgpack_pack_uint32(p, reply->n_killed);
	wire_write_key(b, "processes_left");
	msgpack_pack_uint32(p, reply->n_left);
	wire_write_key(b, "stdout_bytes");
	msgpack_pack_uint64(p, reply->stdout_bytes);
	wire_write_key(b, "stderr_bytes");
	msgpack_pack_uint64(p, reply->stderr_bytes);
	wire_write_key(b, "zygote");
	msgpack_pack_uint32(p, reply->had_zygote);
}

static int write_metadata(struct local_answer *a, const struct local_facts *facts,
			  struct backend_op *op, const struct slot_reply *reply,
			  const struct span parts[SLOT_N_REPLY_PARTS], bool network_isolated)
{
	bool is_file = reply->op == SLOT_READ_FILE || reply->op == SLOT_WRITE_FILE;
	bool tells_file = is_file && reply->verdict == TR_OK;
	bool timed_out = reply->flags & SLOT_TIMED_OUT || reply->verdict == TR_TIMEOUT;
	bool is_exec = reply->op == SLOT_EXEC;
	bool room_lost = reply->flags & SLOT_ROOM_LOST;
	struct buf *b = &a->metadata;
	msgpack_packer p;
	size_t n = facts->n_missing != 0;
	int r = begin_metadata(a, facts, parts[SLOT_FILE].n, &p);

	if (r < 0)
		return r;
	if (tells_file)
		n += 2;
	else if (!is_file)
		n += RAN_PAIRS + (timed_out ? 1u : 0) + (room_lost ? 1u : 0) + (is_exec ? 3u : 0);
	msgpack_pack_map(&p, n);
	write_missing(facts, b);
	if (tells_file) {
		wire_write_key(b, "path");
		wire_write_span(&p, parts[SLOT_FILE]);
		wire_write_key(b, "size");
		msgpack_pack_uint64(&p, reply->size);
	} else if (!is_file) {
		write_ran(&p, b, reply, network_isolated);
		if (timed_out) {
			wire_write_key(b, "timeout");
			pack_bool(&p, true);
		}
		if (room_lost) {
			wire_write_key(b, "kept_lost");
			pack_bool(&p, true);
		}
	}
	if (is_exec) {
		wire_write_key(b, "not_started");
		pack_bool(&p, reply->flags & SLOT_NOT_STARTED);
		wire_write_key(b, "stdout_truncated");
		pack_bool(&p, reply->stdout_bytes > parts[SLOT_OUTPUT].n);
		wire_write_key(b, "stderr_truncated");
		pack_bool(&p, reply->stderr_bytes > parts[SLOT_STDERR].n);
	}
	op->answer.metadata = span_of(b->data, b->n);
	return 0;
}

/* ---- the whole ------------------------------------------------------------------------------------ */

/* exec's streams, as bytes, each apart. */
static int set_streams(struct local_answer *a, struct backend_op *op,
		       const struct span parts[SLOT_N_REPLY_PARTS])
{
	struct buf *b = &a->more;
	msgpack_packer p;
	int r;

	buf_clear(b);
	r = wire_reserve(b, parts[SLOT_OUTPUT].n + parts[SLOT_STDERR].n + 32);
	if (r < 0)
		return r;
	wire_writer_init_reserved(&p, b);
	wire_write_key(b, "stdout");
	msgpack_pack_bin(&p, parts[SLOT_OUTPUT].n);
	wire_write_packed(b, parts[SLOT_OUTPUT]);
	wire_write_key(b, "stderr");
	msgpack_pack_bin(&p, parts[SLOT_STDERR].n);
	wire_write_packed(b, parts[SLOT_STDERR]);
	op->answer.more = span_of(b->data, b->n);
	op->answer.n_more = 2;
	return 0;
}

/* The slot's clock is ours, but what it says of it need not be true. */
static void set_times(struct backend_op *op, const struct slot_reply *reply)
{
	uint64_t now = now_ns();

	if (reply->started_ns > op->started_ns && reply->started_ns <= now)
		op->started_ns = reply->started_ns;
	op->ended_ns = now;
	if (reply->ended_ns >= op->started_ns && reply->ended_ns <= now)
		op->ended_ns = reply->ended_ns;
}

int local_answer_make(struct local_answer *a, const struct local_facts *facts,
		      struct backend_op *op, const struct slot_reply *reply,
		      const struct span parts[SLOT_N_REPLY_PARTS], struct slot_message *m,
		      bool network_isolated)
{
	bool is_exec = reply->op == SLOT_EXEC;
	int r = 0;

	a->message = *m;
	m->map = NULL;
	op->answer.verdict = (enum tr_verdict)reply->verdict;
	op->answer.slot_lost = reply->flags & SLOT_STUCK;
	set_times(op, reply);
	if (is_exec)
		r = set_streams(a, op, parts);
	if (r == 0)
		r = set_texts(a, op, reply, is_exec ? span_of(NULL, 0) : parts[SLOT_OUTPUT],
			      parts[SLOT_ERROR]);
	if (r == 0)
		r = write_metadata(a, facts, op, reply, parts, network_isolated);
	/* Twice in memory is enough. */
	if (is_exec)
		slot_message_done(&a->message);
	return r;
}

void local_answer_facts(struct local_answer *a, const struct local_facts *facts,
			struct backend_op *op)
{
	msgpack_packer p;

	if (!facts->n_missing || begin_metadata(a, facts, 0, &p) < 0)
		return;
	msgpack_pack_map(&p, 1);
	write_missing(facts, &a->metadata);
	op->answer.metadata = span_of(a->metadata.data, a->metadata.n);
}

void local_answer_fail(struct local_answer *a, const struct local_facts *facts,
		       struct backend_op *op, enum tr_verdict verdict, const char *error)
{
	op->answer = (struct backend_answer){
		.verdict = verdict, .slot_lost = op->answer.slot_lost, .n_more = 0};
	if (!op->ended_ns && op->started_ns)
		op->ended_ns = now_ns();
	buf_clear(&a->text);
	/* Without memory it goes out without its text. */
	if (buf_append(&a->text, error, strlen(error)) == 0)
		op->answer.error = span_of(a->text.data, a->text.n);
	local_answer_facts(a, facts, op);
}
