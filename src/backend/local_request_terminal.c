/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tmux tool: each action has a form of its own, since models give what another action takes as well.
 * Whatever is wrong has failed, and is not a bad call: it is the model that named it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/local_form.h"
#include "base/utf8.h"

#define STRINGIFY_(x) #x
#define STRINGIFY(x)  STRINGIFY_(x)

static int take_action(struct local_parse *p, struct local_value *v)
{
	return local_read_string(&v->t, &p->action);
}

static int take_columns(struct local_parse *p, struct local_value *v)
{
	uint64_t n = 0;
	int r = local_read_natural(&v->t, SLOT_COLUMNS_MIN, SLOT_COLUMNS_MAX, &n);

	p->q->header.n_columns = (uint16_t)n;
	return r;
}

static int take_rows(struct local_parse *p, struct local_value *v)
{
	uint64_t n = 0;
	int r = local_read_natural(&v->t, SLOT_ROWS_MIN, SLOT_ROWS_MAX, &n);

	p->q->header.n_rows = (uint16_t)n;
	return r;
}

static int take_keys(struct local_parse *p, struct local_value *v)
{
	size_t at = p->text->n;
	struct span key;
	int r;

	if (v->t.type == WIRE_ARRAY)
		return local_take_argv(p, v);
	if (local_read_string(&v->t, &key) < 0)
		return -EINVAL;
	r = local_append_string(p->text, key);
	if (r < 0)
		return r;
	p->argv_at = at;
	p->n_argv = p->text->n - at;
	return 0;
}

static int take_min_wait(struct local_parse *p, struct local_value *v)
{
	return local_read_seconds(&v->t, &p->q->header.min_wait_ns);
}

static int take_max_wait(struct local_parse *p, struct local_value *v)
{
	uint64_t *ns = &p->q->header.max_wait_ns;
	int r = local_read_seconds(&v->t, ns);

	/* 0 would mean as long as may be, and not that one look is enough. */
	if (r == 0 && *ns == 0)
		*ns = 1;
	return r;
}

static int take_wait_for(struct local_parse *p, struct local_value *v)
{
	return v->t.n ? local_take_text(p, v) : -EINVAL;
}

/* ---- actions -------------------------------------------------------------------------------------- */

#define COLUMNS_TEXT "a number from " STRINGIFY(SLOT_COLUMNS_MIN) " to " STRINGIFY(SLOT_COLUMNS_MAX)
#define ROWS_TEXT    "a number from " STRINGIFY(SLOT_ROWS_MIN) " to " STRINGIFY(SLOT_ROWS_MAX)
#define SECONDS_TEXT "a number of seconds, not negative"
#define KEYS_REFUSAL "tmux send_keys requires 'keys' as string or list[string]"

static const struct local_member of_any[] = {
	{.name = "action", .take = take_action},
};
static const struct local_member of_start[] = {
	{.name = "pane_width", .take = take_columns, .must_be = COLUMNS_TEXT},
	{.name = "pane_height", .take = take_rows, .must_be = ROWS_TEXT},
};
static const struct local_member of_resize[] = {
	{.name = "pane_width", .take = take_columns, .must_be = COLUMNS_TEXT, .required = true},
	{.name = "pane_height", .take = take_rows, .must_be = ROWS_TEXT, .required = true},
};
static const struct local_member of_send_keys[] = {
	{.name = "keys", .take = take_keys, .refusal = KEYS_REFUSAL, .required = true},
	{.name = "block", .take = local_take_flag, .which = SLOT_BLOCK, .must_be = "true or false"},
	{.name = "min_wait_s", .take = take_min_wait, .must_be = SECONDS_TEXT},
	{.name = "max_wait_s", .take = take_max_wait, .must_be = SECONDS_TEXT},
	{.name = "wait_for",
	 .take = take_wait_for,
	 .which = SLOT_COMMAND,
	 .must_be = "a string, not empty"},
	{.name = "regex", .take = local_take_flag, .which = SLOT_REGEX, .must_be = "true or false"},
};
static const struct local_member of_wait_for[] = {
	{
		.name = "wait_for",
		.take = take_wait_for,
		.which = SLOT_COMMAND,
		.refusal = "tmux wait_for requires 'wait_for' as string, not empty",
		.required = true,
	},
	{.name = "regex", .take = local_take_flag, .which = SLOT_REGEX, .must_be = "true or false"},
	{.name = "max_wait_s", .take = take_max_wait, .must_be = SECONDS_TEXT},
};
static const struct local_member of_capture[] = {
	{.name = "capture_entire",
	 .take = local_take_flag,
	 .which = SLOT_ALL,
	 .must_be = "true or false"},
	{.name = "max_bytes", .take = local_take_bytes_max, .must_be = "a number above 0"},
};
static const struct local_member of_stream[] = {
	{.name = "reset", .take = local_take_flag, .which = SLOT_RESET, .must_be = "true or false"},
	{.name = "max_bytes", .take = local_take_bytes_max, .must_be = "a number above 0"},
};

#define FORM(table)                                                                                \
	{                                                                                          \
		.name = "arguments of tmux", .prefix = "arguments.", LOCAL_MEMBERS(table)          \
	}

static const struct local_form any = FORM(of_any);

static const struct {
	const char *name;
	enum slot_terminal action;
	struct local_form form;
} actions[] = {
	{.name = "start", .action = SLOT_TERMINAL_START, .form = FORM(of_start)},
	{.name = "send_keys", .action = SLOT_TERMINAL_KEYS, .form = FORM(of_send_keys)},
	{.name = "wait_for", .action = SLOT_TERMINAL_WAIT, .form = FORM(of_wait_for)},
	{.name = "capture", .action = SLOT_TERMINAL_CAPTURE, .form = FORM(of_capture)},
	{.name = "stream", .action = SLOT_TERMINAL_STREAM, .form = FORM(of_stream)},
	{.name = "resize", .action = SLOT_TERMINAL_RESIZE, .form = FORM(of_resize)},
	{.name = "stop", .action = SLOT_TERMINAL_STOP, .form = FORM(of_any)},
};

/* A history is asked for to be had whole, and is bounded itself; a stream is taken piece by piece. */
static void set_bytes_max(struct local_parse *p)
{
	struct slot_request *q = &p->q->header;

	q->stdout_max = p->caps->anywhere_bytes_max;
	if (q->action == SLOT_TERMINAL_STREAM && p->caps->output_chars < q->stdout_max)
		q->stdout_max = p->caps->output_chars;
	if (p->n_bytes_max)
		q->stdout_max = p->n_bytes_max < p->caps->anywhere_bytes_max
					? p->n_bytes_max
					: p->caps->anywhere_bytes_max;
}

int local_terminal_read(struct local_parse *p, const struct backend_op *op)
{
	char shown[41];
	int r = local_form_read(p, &any, op->arguments, NULL);

	if (r < 0 && r != -EINVAL)
		return r;
	for (size_t i = 0; r == 0 && i < sizeof(actions) / sizeof(*actions); i++) {
		if (!span_is(p->action, actions[i].name))
			continue;
		p->q->header.op = SLOT_TERMINAL;
		p->q->header.action = actions[i].action;
		r = local_form_read(p, &actions[i].form, op->arguments, NULL);
		set_bytes_max(p);
		return r == -EINVAL ? TR_FAILED : r;
	}
	if (r == -EINVAL || !p->action.n)
		snprintf(p->error, p->n_error,
			 "tmux requires 'action': start, send_keys, wait_for, capture, stream, "
			 "resize or stop");
	else
		snprintf(p->error, p->n_error, "Unknown tmux action: %s",
			 utf8_show(p->action, shown, sizeof(shown)));
	return TR_FAILED;
}
