/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which numbers, flags and texts a message may bring, each op by its row of a table. The slot's side is
 * where guests run: whoever got hold of one could say anything, so what is not expected drops the slot.
 */
#include "wire/slot_sound.h"

#include <errno.h>
#include <string.h>

#include "base/utf8.h"

#define N_KILLED_MAX  (1 << 22) /* the kernel has no larger pid */
#define FLAGS_ALWAYS  (SLOT_IN_FILE | SLOT_STUCK)
#define FLAGS_RUN     (SLOT_TIMED_OUT | SLOT_ROOM_LOST)
#define FLAGS_CUT     (SLOT_TRUNCATED | SLOT_STDERR_TRUNCATED)
#define FLAGS_MISSING (SLOT_NOT_FOUND | SLOT_MISUSED)

struct row {
	uint32_t request; /* flags, besides SLOT_IN_FILE */
	uint32_t reply;   /* flags, besides FLAGS_ALWAYS */
	bool is_raw;      /* its OUTPUT is no text, or is none until it is known what was asked */
};

static const struct row rows[SLOT_N_OPS] = {
	[SLOT_BASH] = {.reply = FLAGS_RUN | FLAGS_CUT | SLOT_IDLE},
	[SLOT_EXEC] = {.request = SLOT_KEEP,
		       .reply = FLAGS_RUN | SLOT_IDLE | SLOT_NOT_STARTED,
		       .is_raw = true},
	[SLOT_SHELL] = {.reply = FLAGS_RUN | FLAGS_CUT | SLOT_IDLE | SLOT_SHELL_STARTED},
	[SLOT_TERMINAL] = {.request = SLOT_BLOCK | SLOT_REGEX | SLOT_ALL | SLOT_RESET,
			   .reply =
				   FLAGS_RUN | SLOT_SHELL_STARTED | SLOT_TRUNCATED | SLOT_NOT_SEEN},
	[SLOT_ARTIFACT_READ] = {.request = SLOT_SHA256 | SLOT_ANYWHERE,
				.reply = FLAGS_RUN | FLAGS_MISSING | SLOT_TRUNCATED,
				.is_raw = true},
	[SLOT_ARTIFACT_LIST] = {.request = SLOT_ALL | SLOT_ANYWHERE,
				.reply = FLAGS_RUN | FLAGS_MISSING | SLOT_TRUNCATED,
				.is_raw = true},
	[SLOT_ARTIFACT_ARCHIVE] = {.request = SLOT_ANYWHERE,
				   .reply = FLAGS_RUN | FLAGS_MISSING | SLOT_TRUNCATED,
				   .is_raw = true},
	[SLOT_ARTIFACT_WRITE] = {.request = SLOT_ANYWHERE, .reply = FLAGS_RUN | FLAGS_MISSING},
	[SLOT_ARTIFACT_UNPACK] = {.request = SLOT_ANYWHERE,
				  .reply = FLAGS_RUN | FLAGS_MISSING | SLOT_TRUNCATED},
};

static bool op_is_known(uint32_t op)
{
	return op >= SLOT_BASH && op < SLOT_N_OPS;
}

static bool is_artifact(uint32_t op)
{
	return op >= SLOT_ARTIFACT_READ && op <= SLOT_ARTIFACT_UNPACK;
}

/* Both are 0, or both are those of a terminal. */
static bool size_is_sound(uint16_t n_columns, uint16_t n_rows)
{
	if (!n_columns && !n_rows)
		return true;
	return n_columns >= SLOT_COLUMNS_MIN && n_columns <= SLOT_COLUMNS_MAX &&
	       n_rows >= SLOT_ROWS_MIN && n_rows <= SLOT_ROWS_MAX;
}

/* ---- requests ------------------------------------------------------------------------------------- */

static bool action_is_sound(const struct slot_request *q)
{
	bool fits_columns = !q->n_columns || size_is_sound(q->n_columns, SLOT_ROWS_MIN);
	bool fits_rows = !q->n_rows || size_is_sound(SLOT_COLUMNS_MIN, q->n_rows);

	if (!fits_columns || !fits_rows)
		return false;
	if (q->op != SLOT_TERMINAL)
		return q->action == 0;
	if (q->action == SLOT_TERMINAL_RESIZE && (!q->n_columns || !q->n_rows))
		return false;
	return q->action >= SLOT_TERMINAL_START && q->action < SLOT_TERMINAL_N;
}

/* What an artifact is to be made of is said where it has to be. */
static bool form_is_sound(const struct slot_request *q)
{
	if (q->op == SLOT_ARTIFACT_READ && q->encoding == 0)
		return false;
	if (q->op == SLOT_ARTIFACT_ARCHIVE &&
	    (q->format == 0 || (q->encoding != SLOT_BASE64 && q->encoding != SLOT_BYTES)))
		return false;
	return q->format < SLOT_N_FORMATS && q->encoding < SLOT_N_ENCODINGS;
}

bool slot_request_is_sound(const struct slot_request *q)
{
	return q->magic == SLOT_MAGIC && op_is_known(q->op) &&
	       !(q->flags & ~(SLOT_IN_FILE | rows[q->op].request)) && action_is_sound(q) &&
	       form_is_sound(q);
}

static bool strings_are_ended(struct span strings)
{
	return strings.n == 0 || strings.data[strings.n - 1] == 0;
}

bool slot_request_parts_are_sound(const struct span parts[SLOT_N_REQUEST_PARTS])
{
	return strings_are_ended(parts[SLOT_ARGV]) && strings_are_ended(parts[SLOT_ENV]);
}

/* ---- replies -------------------------------------------------------------------------------------- */

static bool end_is_sound(const struct slot_reply *p)
{
	return p->verdict < TR_N_VERDICTS && p->exit_code >= -1 && p->exit_code <= 255 &&
	       p->signal >= 0 && p->signal <= 64 && p->n_killed <= N_KILLED_MAX &&
	       p->n_left <= N_KILLED_MAX && (p->n_left == 0 || (p->flags & SLOT_STUCK)) &&
	       p->had_zygote <= 2 && p->ended_ns >= p->started_ns;
}

static bool terminal_is_sound(const struct slot_reply *p)
{
	return p->shell_end < SLOT_SHELL_N_ENDS && p->shell_lost < SLOT_SHELL_N_ENDS &&
	       size_is_sound(p->n_columns, p->n_rows) && p->cursor_column <= p->n_columns &&
	       p->cursor_row <= p->n_rows;
}

bool slot_reply_is_sound(const struct slot_reply *p)
{
	return p->magic == SLOT_MAGIC && op_is_known(p->op) &&
	       !(p->flags & ~(FLAGS_ALWAYS | rows[p->op].reply)) &&
	       !((p->flags & SLOT_IDLE) && !(p->flags & SLOT_TIMED_OUT)) && end_is_sound(p) &&
	       terminal_is_sound(p) && (!is_artifact(p->op) || p->n_entries <= SLOT_ENTRIES_MAX) &&
	       p->n[SLOT_ERROR] <= SLOT_TEXT_MAX && p->n[SLOT_FILE] <= SLOT_TEXT_MAX &&
	       (p->op == SLOT_EXEC || p->n[SLOT_STDERR] == 0);
}

int slot_entry_next(struct span *row, struct slot_entry *ret_entry, struct span *ret_path)
{
	static const uint8_t none[sizeof(ret_entry->reserved)];
	struct slot_entry e;
	struct span path;

	if (row->n == 0)
		return 0;
	if (row->n < sizeof(e))
		return -EBADMSG;
	memcpy(&e, row->data, sizeof(e));
	if (e.n_path == 0 || e.n_path > row->n - sizeof(e) || e.is_dir > 1 ||
	    memcmp(e.reserved, none, sizeof(none)) != 0)
		return -EBADMSG;
	path = span_of(row->data + sizeof(e), e.n_path);
	*row = span_of(path.data + path.n, row->n - sizeof(e) - path.n);
	*ret_entry = e;
	*ret_path = path;
	return 1;
}

/* Entries of a LIST, each with a path that is text. */
static bool entries_are_sound(struct span row)
{
	struct slot_entry entry;
	struct span path;
	size_t n = 0;
	int r;

	while ((r = slot_entry_next(&row, &entry, &path)) == 1)
		if (++n > SLOT_ENTRIES_MAX || !utf8_valid(path) || memchr(path.data, 0, path.n))
			return false;
	return r == 0;
}

bool slot_reply_parts_are_sound(const struct slot_reply *p,
				const struct span parts[SLOT_N_REPLY_PARTS])
{
	if (!utf8_valid(parts[SLOT_ERROR]) || !utf8_valid(parts[SLOT_FILE]))
		return false;
	if (p->op == SLOT_ARTIFACT_LIST)
		return entries_are_sound(parts[SLOT_OUTPUT]);
	return rows[p->op].is_raw || utf8_valid(parts[SLOT_OUTPUT]);
}

/* ---- both ----------------------------------------------------------------------------------------- */

/* The most that content of so many bytes can be in an encoding. */
static uint64_t encoded_max(uint64_t n, uint32_t encoding)
{
	if (n > SLOT_FILE_MAX)
		return SLOT_FILE_MAX;
	switch ((enum slot_encoding)encoding) {
	case SLOT_TEXT:
		return 3 * n; /* each byte may be shown as U+FFFD */
	case SLOT_BASE64:
		return (n + 2) / 3 * 4;
	default:
		return n;
	}
}

static bool content_answers(struct span content, const struct slot_request *q)
{
	if (content.n > encoded_max(q->stdout_max, q->encoding))
		return false;
	/* Of base64 no more is of interest to us: its reader decodes it. */
	return q->encoding == SLOT_BYTES || utf8_valid(content);
}

bool slot_reply_answers(const struct slot_reply *reply, const struct span parts[SLOT_N_REPLY_PARTS],
			const struct slot_request *request)
{
	struct span row = parts[SLOT_OUTPUT], path;
	struct slot_entry entry;
	uint64_t n = 0;

	if (reply->op != request->op)
		return false;
	switch ((enum slot_op)request->op) {
	case SLOT_ARTIFACT_READ:
	case SLOT_ARTIFACT_ARCHIVE:
		return content_answers(parts[SLOT_OUTPUT], request);
	case SLOT_ARTIFACT_LIST:
		while (slot_entry_next(&row, &entry, &path) == 1)
			n++;
		return n <= request->n_entries_max;
	default:
		return true;
	}
}
