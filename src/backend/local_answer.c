/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/local_answer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/local_answer_parts.h"
#include "base/clock.h"
#include "wire/writer.h"

/* Both streams of exec, or a list of paths, and what packing adds. */
#define MORE_BYTES_MAX (2 * SLOT_FILE_MAX)
#define BYTES_KEPT     16384
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

static bool op_is_artifact(uint32_t op)
{
	return op >= SLOT_ARTIFACT_READ && op <= SLOT_ARTIFACT_UNPACK;
}

/* The error of what ran, where the slot said none. */
static void write_error(const struct backend_op *op, const struct slot_request *asked,
			const struct slot_reply *reply, char *text, size_t n)
{
	bool is_idle = reply->flags & SLOT_IDLE;
	char seconds[32];

	text[0] = '\0';
	switch ((enum tr_verdict)reply->verdict) {
	case TR_OK:
		break;
	case TR_FAILED:
		snprintf(text, n, "Exit code: %d", reply->exit_code);
		break;
	case TR_TIMEOUT:
		write_seconds(is_idle ? asked->idle_ns : op->timeout_ns, seconds, sizeof(seconds));
		if (is_idle)
			snprintf(text, n, "Command timed out: no output for %ss", seconds);
		else if (op_is_artifact(reply->op))
			snprintf(text, n, "timed out after %ss", seconds);
		else
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

static int set_texts(struct local_answer *a, struct backend_op *op,
		     const struct slot_request *asked, const struct slot_reply *reply,
		     struct span output, struct span error)
{
	bool stuck = reply->flags & SLOT_STUCK;
	char own[160];
	int r;

	if (!error.n) {
		write_error(op, asked, reply, own, sizeof(own));
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

/* ---- the whole ------------------------------------------------------------------------------------ */

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
		      struct backend_op *op, const struct slot_request *asked,
		      const struct slot_reply *reply, const struct span parts[SLOT_N_REPLY_PARTS],
		      struct slot_message *m, bool network_isolated)
{
	/* Elsewhere it stands beside the output, and was written by then. */
	bool is_text = reply->op != SLOT_EXEC && !op_is_artifact(reply->op);
	int r;

	a->message = *m;
	m->map = NULL;
	op->answer.verdict = (enum tr_verdict)reply->verdict;
	op->answer.slot_lost = reply->flags & SLOT_STUCK;
	set_times(op, reply);
	r = local_answer_more(a, op, asked, reply, parts);
	if (r == 0)
		r = set_texts(a, op, asked, reply, is_text ? parts[SLOT_OUTPUT] : span_of(NULL, 0),
			      parts[SLOT_ERROR]);
	if (r == 0)
		r = local_answer_metadata(a, facts, op, asked, reply, parts, network_isolated);
	/* Twice in memory is enough. */
	if (reply->op == SLOT_EXEC || reply->op == SLOT_ARTIFACT_LIST)
		slot_message_done(&a->message);
	return r;
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
