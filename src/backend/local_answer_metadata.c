/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata of answers: what was measured, and how things stand afterwards. */
#include "backend/local_answer_parts.h"

#include "backend/local_pairs.h"

/* The packed keys and numbers of one metadata; missing layers, path and title aside. */
#define METADATA_BYTES 1024
/* A map's header, which is written when its pairs are counted. */
#define HEADER_BYTES 3

static const char *const ends[SLOT_SHELL_N_ENDS] = {
	[SLOT_SHELL_LIVES] = NULL,
	[SLOT_SHELL_EXITED] = "exited",
	[SLOT_SHELL_KILLED] = "killed",
	[SLOT_SHELL_REPLACED] = "replaced",
	[SLOT_SHELL_LIED] = "untrusted",
	[SLOT_SHELL_TIMEOUT] = "timeout",
	[SLOT_SHELL_CANCELLED] = "cancelled",
	[SLOT_SHELL_STOPPED] = "stopped",
	[SLOT_SHELL_ROOM_LOST] = "room_lost",
};

/* Room for all of it, so that nothing below can fail. */
static int begin(struct local_answer *a, const struct local_facts *facts, size_t n_more,
		 struct local_pairs *pairs)
{
	int r;

	buf_clear(&a->metadata);
	local_pairs_init(pairs, &a->metadata);
	r = wire_reserve(&a->metadata, HEADER_BYTES + METADATA_BYTES + facts->missing.n + n_more);
	if (r < 0)
		return r;
	a->metadata.n = HEADER_BYTES;
	if (facts->n_missing) {
		wire_write_packed(&a->metadata, span_of(facts->missing.data, facts->missing.n));
		pairs->n++;
	}
	return 0;
}

static struct span finish(struct local_pairs *pairs)
{
	struct buf *b = pairs->b;
	size_t n_header = pairs->n < 16 ? 1 : 3;
	uint8_t *header = b->data + HEADER_BYTES - n_header;

	if (n_header == 1) {
		header[0] = (uint8_t)(0x80 | pairs->n);
	} else {
		header[0] = 0xde;
		header[1] = (uint8_t)(pairs->n >> 8);
		header[2] = (uint8_t)pairs->n;
	}
	return span_of(header, b->n - (size_t)(header - b->data));
}

/* ---- what ran ------------------------------------------------------------------------------------- */

static void write_costs(struct local_pairs *pairs, const struct slot_reply *reply)
{
	local_pair_uint(pairs, "cpu_user_ns", reply->cpu_user_ns);
	local_pair_uint(pairs, "cpu_system_ns", reply->cpu_system_ns);
	local_pair_uint(pairs, "memory_peak_bytes", reply->memory_peak_bytes);
	local_pair_uint(pairs, "processes_killed", reply->n_killed);
	local_pair_uint(pairs, "processes_left", reply->n_left);
}

static void write_place(struct local_pairs *pairs, const struct slot_reply *reply,
			bool network_isolated)
{
	local_pair_bool(pairs, "sandboxed", true);
	local_pair_bool(pairs, "network_isolated", network_isolated);
	if (reply->flags & SLOT_TIMED_OUT || reply->verdict == TR_TIMEOUT)
		local_pair_bool(pairs, "timeout", true);
	if (reply->flags & SLOT_IDLE)
		local_pair_bool(pairs, "idle_timeout", true);
	if (reply->flags & SLOT_ROOM_LOST)
		local_pair_bool(pairs, "kept_lost", true);
}

static void write_ran(struct local_pairs *pairs, const struct slot_reply *reply)
{
	local_pair_int(pairs, "exit_code", reply->verdict == TR_TIMEOUT ? -1 : reply->exit_code);
	local_pair_int(pairs, "signal", reply->signal);
	write_costs(pairs, reply);
	local_pair_uint(pairs, "stdout_bytes", reply->stdout_bytes);
	local_pair_uint(pairs, "stderr_bytes", reply->stderr_bytes);
	local_pair_uint(pairs, "zygote", reply->had_zygote);
}

/* Of what is shown as text, the slot tells which of it was cut. */
static void write_cut(struct local_pairs *pairs, const struct slot_reply *reply)
{
	local_pair_bool(pairs, "stdout_truncated", reply->flags & SLOT_TRUNCATED);
	local_pair_bool(pairs, "stderr_truncated", reply->flags & SLOT_STDERR_TRUNCATED);
}

static void write_exec(struct local_pairs *pairs, const struct slot_reply *reply,
		       const struct span parts[SLOT_N_REPLY_PARTS])
{
	local_pair_bool(pairs, "not_started", reply->flags & SLOT_NOT_STARTED);
	local_pair_bool(pairs, "stdout_truncated", reply->stdout_bytes > parts[SLOT_OUTPUT].n);
	local_pair_bool(pairs, "stderr_truncated", reply->stderr_bytes > parts[SLOT_STDERR].n);
}

static void write_file(struct local_pairs *pairs, const struct slot_reply *reply,
		       const struct span parts[SLOT_N_REPLY_PARTS])
{
	if (reply->verdict != TR_OK)
		return;
	local_pair_span(pairs, "path", parts[SLOT_FILE]);
	local_pair_uint(pairs, "size", reply->size);
}

/* ---- the stateful shell --------------------------------------------------------------------------- */

/* Nil is a shell that lives, or none that was lost. */
static void write_shell(struct local_pairs *pairs, const struct slot_reply *reply)
{
	bool started = reply->flags & SLOT_SHELL_STARTED;

	local_pair_bool(pairs, "stateful", true);
	local_pair_bool(pairs, "shell_started", started);
	local_pair_text(pairs, "shell_ended", ends[reply->shell_end]);
	local_pair_text(pairs, "shell_lost", started ? ends[reply->shell_lost] : NULL);
}

static void write_action(struct local_pairs *pairs, const struct slot_request *asked,
			 const struct slot_reply *reply, const struct span *parts)
{
	bool truncated = reply->flags & SLOT_TRUNCATED;
	bool seen = reply->verdict == TR_OK && !(reply->flags & SLOT_NOT_SEEN);

	switch ((enum slot_terminal)asked->action) {
	case SLOT_TERMINAL_KEYS:
		local_pair_bool(pairs, "blocked", asked->flags & SLOT_BLOCK);
		if (asked->flags & SLOT_BLOCK || asked->n[SLOT_COMMAND])
			local_pair_bool(pairs, "seen", seen);
		break;
	case SLOT_TERMINAL_WAIT:
		local_pair_bool(pairs, "seen", seen);
		break;
	case SLOT_TERMINAL_CAPTURE:
		local_pair_bool(pairs, "capture_entire", asked->flags & SLOT_ALL);
		local_pair_bool(pairs, "truncated", truncated);
		break;
	case SLOT_TERMINAL_STREAM:
		local_pair_bool(pairs, "stream", true);
		local_pair_bool(pairs, "truncated", truncated);
		local_pair_uint(pairs, "offset", reply->size);
		local_pair_uint(pairs, "dropped_bytes", reply->file_size);
		break;
	default:
		break;
	}
	if (!reply->n_columns)
		return;
	local_pair_uint(pairs, "pane_width", reply->n_columns);
	local_pair_uint(pairs, "pane_height", reply->n_rows);
	local_pair_uint(pairs, "cursor_x", reply->cursor_column);
	local_pair_uint(pairs, "cursor_y", reply->cursor_row);
	local_pair_span(pairs, "title", parts[SLOT_FILE]);
}

/* ---- the whole ------------------------------------------------------------------------------------ */

int local_answer_metadata(struct local_answer *a, const struct local_facts *facts,
			  struct backend_op *op, const struct slot_request *asked,
			  const struct slot_reply *reply,
			  const struct span parts[SLOT_N_REPLY_PARTS], bool network_isolated)
{
	struct local_pairs pairs;
	int r = begin(a, facts, parts[SLOT_FILE].n, &pairs);

	if (r < 0)
		return r;
	switch ((enum slot_op)reply->op) {
	case SLOT_READ_FILE:
	case SLOT_WRITE_FILE:
		write_file(&pairs, reply, parts);
		break;
	case SLOT_SHELL:
		write_place(&pairs, reply, network_isolated);
		write_ran(&pairs, reply);
		write_cut(&pairs, reply);
		write_shell(&pairs, reply);
		break;
	case SLOT_TERMINAL:
		write_place(&pairs, reply, network_isolated);
		write_shell(&pairs, reply);
		write_action(&pairs, asked, reply, parts);
		break;
	case SLOT_ARTIFACT_READ:
	case SLOT_ARTIFACT_LIST:
	case SLOT_ARTIFACT_ARCHIVE:
	case SLOT_ARTIFACT_WRITE:
	case SLOT_ARTIFACT_UNPACK:
		write_place(&pairs, reply, network_isolated);
		write_costs(&pairs, reply);
		if (reply->flags & SLOT_NOT_FOUND)
			local_pair_bool(&pairs, "not_found", true);
		break;
	case SLOT_EXEC:
		write_place(&pairs, reply, network_isolated);
		write_ran(&pairs, reply);
		write_exec(&pairs, reply, parts);
		break;
	default:
		write_place(&pairs, reply, network_isolated);
		write_ran(&pairs, reply);
		write_cut(&pairs, reply);
		break;
	}
	op->answer.metadata = finish(&pairs);
	return 0;
}

void local_answer_facts(struct local_answer *a, const struct local_facts *facts,
			struct backend_op *op)
{
	struct local_pairs pairs;

	if (facts->n_missing && begin(a, facts, 0, &pairs) == 0)
		op->answer.metadata = finish(&pairs);
}
