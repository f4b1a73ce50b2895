/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/local_request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/local_form.h"
#include "base/utf8.h"

/* ---- members -------------------------------------------------------------------------------------- */

static int take_content(struct local_parse *p, struct local_value *v)
{
	struct span s = span_of(v->t.u.bytes, v->t.n);

	if (v->t.type != WIRE_STRING || !utf8_valid(s))
		return -EINVAL;
	p->q->parts[SLOT_STDIN] = s;
	return 0;
}

static int take_argv(struct local_parse *p, struct local_value *v)
{
	int r = local_take_argv(p, v);

	return r < 0 ? r : p->n_argv ? 0 : -EINVAL;
}

static int take_env(struct local_parse *p, struct local_value *v)
{
	size_t at = p->text->n;

	if (v->t.type != WIRE_MAP)
		return -EINVAL;
	for (uint32_t i = 0; i < v->t.n; i++) {
		struct wire_token key, value;
		struct span name, text;
		int r;

		if (wire_read(&v->inner, &key) < 0 || local_read_string(&key, &name) < 0 ||
		    !name.n || memchr(name.data, '=', name.n) || wire_read(&v->inner, &value) < 0 ||
		    local_read_string(&value, &text) < 0)
			return -EINVAL;
		r = buf_append(p->text, name.data, name.n);
		if (r == 0)
			r = buf_append(p->text, "=", 1);
		if (r == 0)
			r = local_append_string(p->text, text);
		if (r < 0)
			return r;
	}
	p->env_at = at;
	p->n_env = p->text->n - at;
	return 0;
}

static int take_cap(struct local_parse *p, struct local_value *v, uint64_t *ret)
{
	uint64_t max = p->caps->exec_output_bytes_max;

	if (local_read_natural(&v->t, 0, max, ret) == 0)
		return 0;
	snprintf(p->error, p->n_error,
		 "arguments.%s must be a number of bytes from 0 to %llu (limit "
		 "exec_output_bytes_max)",
		 v->member->name, (unsigned long long)max);
	return -EINVAL;
}

static int take_stdout_max(struct local_parse *p, struct local_value *v)
{
	return take_cap(p, v, &p->q->header.stdout_max);
}

static int take_stderr_max(struct local_parse *p, struct local_value *v)
{
	return take_cap(p, v, &p->q->header.stderr_max);
}

static int take_idle(struct local_parse *p, struct local_value *v)
{
	uint64_t ns = 0;

	/* 0 is no time to be idle for, and would mean any. */
	if (local_read_seconds(&v->t, &ns) < 0 || ns == 0)
		return -EINVAL;
	p->q->header.idle_ns = ns;
	return 0;
}

/* ---- tools ---------------------------------------------------------------------------------------- */

#define COMMAND_TEXT "a string without NUL"
#define PATH_TEXT    "a string of valid UTF-8 without NUL"
#define IDLE_MEMBER                                                                                \
	{                                                                                          \
		.name = "idle_timeout_s", .take = take_idle,                                       \
		.must_be = "a number of seconds above 0",                                          \
	}

static const struct local_member of_bash[] = {
	{.name = "command",
	 .take = local_take_string,
	 .which = SLOT_COMMAND,
	 .must_be = COMMAND_TEXT,
	 .required = true},
	IDLE_MEMBER,
};

/* What the command must be is checked when all is read: its error is the contract's. */
static const struct local_member of_shell[] = {
	{.name = "command",
	 .take = local_take_string,
	 .which = SLOT_COMMAND,
	 .must_be = COMMAND_TEXT},
	IDLE_MEMBER,
};

static const struct local_member of_read_file[] = {
	{.name = "path",
	 .take = local_take_text,
	 .which = SLOT_PATH,
	 .must_be = PATH_TEXT,
	 .required = true},
};

static const struct local_member of_write_file[] = {
	{.name = "path",
	 .take = local_take_text,
	 .which = SLOT_PATH,
	 .must_be = PATH_TEXT,
	 .required = true},
	{
		.name = "content",
		.take = take_content,
		.must_be = "a string of valid UTF-8",
		.required = true,
	},
};

static const struct local_member of_exec[] = {
	{.name = "command",
	 .take = local_take_string,
	 .which = SLOT_COMMAND,
	 .must_be = COMMAND_TEXT},
	{
		.name = "argv",
		.take = take_argv,
		.must_be = "an array of one or more strings without NUL",
	},
	{.name = "stdin",
	 .take = local_take_bytes,
	 .which = SLOT_STDIN,
	 .must_be = "a string or binary"},
	{.name = "cwd", .take = local_take_text, .which = SLOT_CWD, .must_be = PATH_TEXT},
	{
		.name = "env",
		.take = take_env,
		.must_be = "a map of names without '=' to strings, both without NUL",
	},
	{.name = "stdout_max", .take = take_stdout_max},
	{.name = "stderr_max", .take = take_stderr_max},
	{.name = "keep", .take = local_take_flag, .which = SLOT_KEEP, .must_be = "true or false"},
	IDLE_MEMBER,
};

/* The first two members of exec. */
#define EXEC_COMMAND (1u << 0)
#define EXEC_ARGV    (1u << 1)

#define FORM(tool, table)                                                                          \
	{                                                                                          \
		.name = "arguments of " tool, .prefix = "arguments.", LOCAL_MEMBERS(table)         \
	}

static const struct local_tool {
	const char *name;
	enum slot_op op;
	struct local_form form;
} tools[] = {
	{.name = "bash", .op = SLOT_BASH, .form = FORM("bash", of_bash)},
	{.name = "bash_stateful", .op = SLOT_SHELL, .form = FORM("bash_stateful", of_shell)},
	{.name = "read_file", .op = SLOT_READ_FILE, .form = FORM("read_file", of_read_file)},
	{.name = "write_file", .op = SLOT_WRITE_FILE, .form = FORM("write_file", of_write_file)},
	{
		.name = "exec",
		.op = SLOT_EXEC,
		.form = {.name = "arguments of exec",
			 .prefix = "arguments.",
			 LOCAL_MEMBERS(of_exec),
			 .strict = true},
	},
};

static void set_caps(struct local_parse *p, enum slot_op op)
{
	uint64_t cap = p->caps->file_chars;

	if (op == SLOT_BASH || op == SLOT_SHELL)
		cap = p->caps->output_chars;
	else if (op == SLOT_EXEC)
		cap = p->caps->exec_output_bytes_max;
	p->q->header.stdout_max = p->q->header.stderr_max = cap;
}

static bool is_blank(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!memchr(" \t\n\v\f\r", s.data[i], 6))
			return false;
	return true;
}

static int read_tool(struct local_parse *p, const struct local_tool *tool, struct span arguments)
{
	uint32_t given;
	int r;

	p->q->header.op = tool->op;
	set_caps(p, tool->op);
	r = local_form_read(p, &tool->form, arguments, &given);
	if (r < 0)
		return r == -EINVAL ? TR_INVALID : r;
	if (tool->op == SLOT_SHELL && is_blank(p->q->parts[SLOT_COMMAND])) {
		snprintf(p->error, p->n_error, "Missing command");
		return TR_FAILED;
	}
	if (tool->op == SLOT_EXEC && !(given & EXEC_ARGV) == !(given & EXEC_COMMAND)) {
		snprintf(p->error, p->n_error,
			 "arguments must have either argv, an array of strings, or command, a "
			 "string");
		return TR_INVALID;
	}
	return 0;
}

static int read_execute(struct local_parse *p, const struct backend_op *op)
{
	for (size_t i = 0; i < sizeof(tools) / sizeof(*tools); i++)
		if (span_is(op->tool, tools[i].name))
			return read_tool(p, &tools[i], op->arguments);
	if (span_is(op->tool, "tmux"))
		return local_terminal_read(p, op);
	snprintf(p->error, p->n_error, "Unknown tool: %.*s", (int)op->tool.n,
		 (const char *)op->tool.data);
	return TR_INVALID;
}

int local_request_read(struct local_request *q, const struct backend_op *op,
		       const struct local_caps *caps, struct buf *text, char *error, size_t n_error)
{
	struct local_parse p = {
		.q = q, .caps = caps, .text = text, .error = error, .n_error = n_error};
	int r;

	*q = (struct local_request){.header = {.timeout_ns = op->timeout_ns}};
	buf_clear(text);
	snprintf(error, n_error, "arguments are malformed");
	r = op->kind == BACKEND_ARTIFACT ? local_artifact_read(&p, op) : read_execute(&p, op);
	if (r != 0)
		return r;
	if (p.n_argv)
		q->parts[SLOT_ARGV] = span_of(text->data + p.argv_at, p.n_argv);
	if (p.n_env)
		q->parts[SLOT_ENV] = span_of(text->data + p.env_at, p.n_env);
	return 0;
}
