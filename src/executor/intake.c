/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intake: records become calls. Every hot session has the same share of a turn, in records and in
 * bytes, and the one that begins changes with the turn. A record is copied out of the segment before
 * it is looked at.
 */
#include <stdio.h>

#include "base/clock.h"
#include "executor/executor.h"
#include "tool/tool.h"

static void refuse(struct executor *e, struct call *call, enum tr_verdict verdict,
		   const char *before, struct span name, const char *after)
{
	char text[WIRE_TOOL_NAME_MAX + 128];

	snprintf(text, sizeof(text), "%s%.*s%s", before, (int)name.n, (const char *)name.data,
		 after);
	reply_error(e, call, verdict, text);
}

static bool is_external(const struct config *c, struct span name)
{
	for (size_t i = 0; i < c->n_external_tools; i++)
		if (span_is(name, c->external_tools[i]))
			return true;
	return false;
}

/* Finds the tool of an EXECUTE. false: answered. */
static bool choose_tool(struct executor *e, struct call *call)
{
	struct span name = call->wire.tool;
	const struct tool *tool = tool_find(name);

	if (!tool && is_external(e->config, name)) {
		call->row = STATS_EXTERNAL;
		refuse(e, call, TR_INVALID,
		       "External tool not available (ToolServer not configured): ", name, "");
		return false;
	}
	if (!tool) {
		refuse(e, call, TR_INVALID, "Unknown tool: ", name, "");
		return false;
	}
	call->row = stats_row_of_tool(tool);
	if (tool->background_refusal && call->wire.background) {
		reply_error(e, call, TR_INVALID, tool->background_refusal);
		return false;
	}
	call->op.tool = span_string(tool->canonical);
	return true;
}

/* A whole message is in call->data: from here on the call is always answered. */
static void take_call(struct executor *e, struct session *s, struct call *call, enum tr_kind kind,
		      uint64_t id)
{
	uint32_t row = (uint32_t)id & (s->segment.sizes.n_calls - 1);
	struct wire_error error;
	struct slot_spec spec;
	int r, policy = 0;

	if (id == 0 || s->calls[row]) {
		session_lose(s, "it used a call id whose row of the table of calls is taken");
		call_free(&e->calls, call);
		return;
	}
	call->session = s;
	call->id = id;
	call->state = CALL_ARRIVED;
	call->row = stats_row_of_kind(kind);
	call->at_ns[TR_PHASE_QUEUE] = e->loop.now_ns;
	s->calls[row] = call;
	s->n_calls++;
	call->n_bytes = call->data.n;
	s->n_call_bytes += call->n_bytes;
	stats_add(&e->stats.shared->calls_total, 1);
	r = wire_call_decode(kind, call->data.data, call->data.n, &call->wire, &error);
	call->wire.kind = kind;
	if (r == 0 && kind == TR_KIND_ACQUIRE)
		r = slot_spec_read(call->wire.spec, &spec, error.text, sizeof(error.text));
	if (r == 0 && kind == TR_KIND_ACQUIRE)
		policy = slot_spec_permit(e->config, &spec, error.text, sizeof(error.text));
	if (r < 0) {
		reply_error(e, call, TR_INVALID, error.text);
	} else if (policy < 0) {
		reply_error(e, call, TR_DENIED, error.text);
	} else if (e->stop != EXECUTOR_RUNS) {
		reply_error(e, call, TR_UNAVAILABLE, "toolringd is stopping");
	} else if (e->calls.n_queued >= e->limits->calls_queued_max && kind != TR_KIND_RELEASE) {
		/* A RELEASE may be what those who wait are waiting for. */
		reply_error(e, call, TR_UNAVAILABLE,
			    "too many calls are waiting (limit calls_queued_max)");
	} else if (kind != TR_KIND_EXECUTE || choose_tool(e, call)) {
		call->hash = affinity_hash(&e->affinity, s->uid, call->wire.trajectory_id);
		affinity_prefetch(&e->affinity, call->hash);
		e->calls.n_queued++;
		list_push_back(&e->arrived, &call->link);
	}
}

static void take_cancel(struct executor *e, struct session *s, uint64_t id)
{
	struct call *call = s->calls[(uint32_t)id & (s->segment.sizes.n_calls - 1)];

	/* It may have been answered meanwhile: then there is nothing to say. */
	if (call && call->id == id)
		dispatch_cancel(e, call);
}

static void take_status(struct executor *e, struct session *s, uint64_t id, struct buf *data)
{
	struct wire_call call;
	struct wire_error error;
	int r = wire_call_decode(TR_KIND_STATUS, data->data, data->n, &call, &error);

	reply_status(e, s, id, r < 0 ? error.text : NULL);
}

/* A message in memory of ours. data: taken over where a call is made of it. */
static void take_message(struct executor *e, struct session *s, enum tr_kind kind, uint64_t id,
			 struct buf *data)
{
	struct call *call;
	struct buf own;

	switch (kind) {
	case TR_KIND_PING:
		stats_add(&e->stats.shared->pings_total, 1);
		reply_bytes(e, s, kind, id, data->data, data->n);
		return;
	case TR_KIND_CANCEL:
		take_cancel(e, s, id);
		return;
	case TR_KIND_STATUS:
		take_status(e, s, id, data);
		return;
	case TR_KIND_PAD:
	case TR_N_KINDS:
		session_lose(s, "it sent a record of a kind that does not exist");
		return;
	default:
		break;
	}
	call = call_new(&e->calls, e->limits->call_bytes_max, e->limits->result_bytes_max);
	if (!call) {
		session_lose(s, "there is no memory for its call");
		return;
	}
	own = call->data;
	call->data = *data;
	*data = own;
	take_call(e, s, call, kind, id);
}

static int take_fragment(struct executor *e, struct session *s, const struct ring_record *record)
{
	struct message_assembly *a = &s->assembly;
	int r = message_assembly_feed(a, &s->rx, record);

	if (r > 0)
		take_message(e, s, (enum tr_kind)a->kind, a->call_id, &a->data);
	/* What a large message needed is not kept for the small ones that follow. */
	if (r > 0)
		buf_trim(&a->data, 0);
	return r < 0 ? r : 0;
}

static int take_record(struct executor *e, struct session *s, const struct ring_record *record)
{
	int r;

	if (record->kind >= TR_N_KINDS)
		return -EBADMSG;
	if (record->flags || s->assembly.active)
		return take_fragment(e, s, record);
	buf_clear(&e->intake);
	r = buf_reserve(&e->intake, record->length);
	if (r < 0)
		return r;
	ring_rx_copy(&s->rx, record, 0, e->intake.data, record->length);
	e->intake.n = record->length;
	take_message(e, s, (enum tr_kind)record->kind, record->call_id, &e->intake);
	return 0;
}

static void intake_session(struct executor *e, struct session *s)
{
	uint64_t n_bytes = 0, n_records = 0;
	struct ring_record record;
	int r = 0;

	if (!list_empty(&s->backlog) && ring_tx_moved(&s->tx))
		session_dirty(s);
	while (n_records < e->limits->intake_records_per_turn &&
	       n_bytes < e->limits->intake_bytes_per_turn && session_may_take(s)) {
		r = ring_rx_next(&s->rx, &record);
		if (r <= 0)
			break;
		r = take_record(e, s, &record);
		if (r < 0)
			break;
		ring_rx_consume(&s->rx, &record);
		n_records++;
		n_bytes += record.length;
	}
	if (r < 0)
		session_lose(s, "it wrote what is no record");
	if (!n_records)
		return;
	s->busy_turn = e->turn;
	e->did_work = true;
	session_dirty(s);
	stats_add(&e->stats.shared->records_total, n_records);
	stats_add(&e->stats.shared->record_bytes_total, n_bytes);
}

void intake_step(struct executor *e)
{
	struct list *first = e->sessions.hot.next;

	list_for_each (l, &e->sessions.hot)
		intake_session(e, container_of(l, struct session, hot_link));
	/* Who began goes to the end. */
	if (first != &e->sessions.hot && first->next != &e->sessions.hot) {
		list_remove(first);
		list_push_back(&e->sessions.hot, first);
	}
}
