/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/local_request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "wire/reader.h"

/* The call's own limits on objects were kept when it was taken in. */
#define STEPS_MAX UINT32_MAX

enum field {
	FIELD_COMMAND,
	FIELD_PATH,
	FIELD_CONTENT,
	FIELD_ARGV,
	FIELD_STDIN,
	FIELD_CWD,
	FIELD_ENV,
	FIELD_STDOUT_MAX,
	FIELD_STDERR_MAX,
	FIELD_KEEP,
	N_FIELDS
};

#define BIT(field) (1u << (field))

struct row {
	const char *tool;
	enum slot_op op;
	uint32_t allowed;
	uint32_t required;
	bool strict; /* other keys are refused: it is programs that call it, and not models */
};

static const struct row rows[] = {
	{
		.tool = "bash",
		.op = SLOT_BASH,
		.allowed = BIT(FIELD_COMMAND),
		.required = BIT(FIELD_COMMAND),
	},
	{
		.tool = "read_file",
		.op = SLOT_READ_FILE,
		.allowed = BIT(FIELD_PATH),
		.required = BIT(FIELD_PATH),
	},
	{
		.tool = "write_file",
		.op = SLOT_WRITE_FILE,
		.allowed = BIT(FIELD_PATH) | BIT(FIELD_CONTENT),
		.required = BIT(FIELD_PATH) | BIT(FIELD_CONTENT),
	},
	{
		.tool = "exec",
		.op = SLOT_EXEC,
		.allowed = BIT(FIELD_COMMAND) | BIT(FIELD_ARGV) | BIT(FIELD_STDIN) |
			   BIT(FIELD_CWD) | BIT(FIELD_ENV) | BIT(FIELD_STDOUT_MAX) |
			   BIT(FIELD_STDERR_MAX) | BIT(FIELD_KEEP),
		.strict = true,
	},
};

struct parse {
	struct local_request *q;
	const struct local_caps *caps;
	struct buf *text;
	const char *tool;
	size_t argv_at, n_argv; /* in text, which may move while it grows */
	size_t env_at, n_env;
	char *error;
	size_t n_error;
};

/* ---- fields --------------------------------------------------------------------------------------- */

static bool has_nul(struct span s)
{
	return s.n && memchr(s.data, 0, s.n);
}

/* What the kernel takes as a string ends at a NUL: what stands behind one would be dropped. */
static int take_string(const struct wire_token *t, struct span *ret)
{
	struct span s = span_of(t->u.bytes, t->n);

	if (t->type != WIRE_STRING || has_nul(s))
		return -EINVAL;
	*ret = s;
	return 0;
}

/* One that may come back in a text of the slot's. */
static int take_text(const struct wire_token *t, struct span *ret)
{
	if (t->type != WIRE_STRING || !utf8_valid(span_of(t->u.bytes, t->n)))
		return -EINVAL;
	return take_string(t, ret);
}

static int take_content(const struct wire_token *t, struct span *ret)
{
	struct span s = span_of(t->u.bytes, t->n);

	if (t->type != WIRE_STRING || !utf8_valid(s))
		return -EINVAL;
	*ret = s;
	return 0;
}

static int take_bytes(const struct wire_token *t, struct span *ret)
{
	if (t->type != WIRE_STRING && t->type != WIRE_BINARY)
		return -EINVAL;
	*ret = span_of(t->u.bytes, t->n);
	return 0;
}

static int take_cap(const struct wire_token *t, uint64_t max, uint64_t *ret)
{
	if (t->type != WIRE_INT || t->u.integer < 0 || (uint64_t)t->u.integer > max)
		return -EINVAL;
	*ret = (uint64_t)t->u.integer;
	return 0;
}

static int append_string(struct buf *b, struct span s)
{
	int r = buf_append(b, s.data, s.n);

	return r < 0 ? r : buf_append(b, "", 1);
}

static int take_argv(struct parse *p, struct wire_reader *r, uint32_t n)
{
	size_t at = p->text->n;

	for (uint32_t i = 0; i < n; i++) {
		struct wire_token t;
		struct span s;
		int e;

		if (wire_read(r, &t) < 0 || take_string(&t, &s) < 0)
			return -EINVAL;
		e = append_string(p->text, s);
		if (e < 0)
			return e;
	}
	p->argv_at = at;
	p->n_argv = p->text->n - at;
	return n ? 0 : -EINVAL;
}

static int take_env(struct parse *p, struct wire_reader *r, uint32_t n)
{
	size_t at = p->text->n;

	for (uint32_t i = 0; i < n; i++) {
		struct wire_token key, value;
		struct span k, v;
		int e;

		if (wire_read(r, &key) < 0 || take_string(&key, &k) < 0 || !k.n ||
		    memchr(k.data, '=', k.n) || wire_read(r, &value) < 0 ||
		    take_string(&value, &v) < 0)
			return -EINVAL;
		e = buf_append(p->text, k.data, k.n);
		if (e == 0)
			e = buf_append(p->text, "=", 1);
		if (e == 0)
			e = append_string(p->text, v);
		if (e < 0)
			return e;
	}
	p->env_at = at;
	p->n_env = p->text->n - at;
	return 0;
}

static const struct {
	const char *name;
	const char *must_be;
} fields[N_FIELDS] = {
	[FIELD_COMMAND] = {"command", "a string without NUL"},
	[FIELD_PATH] = {"path", "a string of valid UTF-8 without NUL"},
	[FIELD_CONTENT] = {"content", "a string of valid UTF-8"},
	[FIELD_ARGV] = {"argv", "an array of one or more strings without NUL"},
	[FIELD_STDIN] = {"stdin", "a string or binary"},
	[FIELD_CWD] = {"cwd", "a string of valid UTF-8 without NUL"},
	[FIELD_ENV] = {"env", "a map of names without '=' to strings, both without NUL"},
	[FIELD_STDOUT_MAX] = {"stdout_max", NULL},
	[FIELD_STDERR_MAX] = {"stderr_max", NULL},
	[FIELD_KEEP] = {"keep", "true or false"},
};

static int take_field(struct parse *p, enum field field, struct wire_reader *r,
		      const struct wire_token *t)
{
	struct span *parts = p->q->parts;

	switch (field) {
	case FIELD_COMMAND:
		return take_string(t, &parts[SLOT_COMMAND]);
	case FIELD_PATH:
		return take_text(t, &parts[SLOT_PATH]);
	case FIELD_CONTENT:
		return take_content(t, &parts[SLOT_STDIN]);
	case FIELD_ARGV:
		return t->type == WIRE_ARRAY ? take_argv(p, r, t->n) : -EINVAL;
	case FIELD_STDIN:
		return take_bytes(t, &parts[SLOT_STDIN]);
	case FIELD_CWD:
		return take_text(t, &parts[SLOT_CWD]);
	case FIELD_ENV:
		return t->type == WIRE_MAP ? take_env(p, r, t->n) : -EINVAL;
	case FIELD_STDOUT_MAX:
		return take_cap(t, p->caps->exec_output_bytes_max, &p->q->header.stdout_max);
	case FIELD_STDERR_MAX:
		return take_cap(t, p->caps->exec_output_bytes_max, &p->q->header.stderr_max);
	case FIELD_KEEP:
		if (t->type != WIRE_BOOL)
			return -EINVAL;
		p->q->header.flags = t->u.boolean ? SLOT_KEEP : 0;
		return 0;
	default:
		return -EINVAL;
	}
}

/* ---- the whole ------------------------------------------------------------------------------------ */

static int wrong_field(struct parse *p, enum field field)
{
	if (fields[field].must_be)
		snprintf(p->error, p->n_error, "arguments.%s must be %s", fields[field].name,
			 fields[field].must_be);
	else
		snprintf(p->error, p->n_error,
			 "arguments.%s must be a number of bytes from 0 to "
			 "%llu (limit exec_output_bytes_max)",
			 fields[field].name, (unsigned long long)p->caps->exec_output_bytes_max);
	return -EINVAL;
}

static int unknown_key(struct parse *p, const struct row *row, struct span key)
{
	char shown[41];
	int n = snprintf(p->error, p->n_error, "unknown key \"%s\" in arguments of %s; allowed:",
			 utf8_show(key, shown, sizeof(shown)), row->tool);

	for (int i = 0; i < N_FIELDS; i++)
		if (row->allowed & BIT(i) && (size_t)n < p->n_error)
			n += snprintf(p->error + n, p->n_error - (size_t)n, " %s", fields[i].name);
	return -EINVAL;
}

static int field_of(const struct row *row, struct span key)
{
	for (int i = 0; i < N_FIELDS; i++)
		if (row->allowed & BIT(i) && span_is(key, fields[i].name))
			return i;
	return -1;
}

static int take_member(struct parse *p, const struct row *row, struct wire_reader *r,
		       uint32_t *given)
{
	struct wire_token t;
	struct span key;
	int field, e;

	if (wire_read_key(r, &key, &t) != 0) {
		snprintf(p->error, p->n_error, "the keys of arguments must be strings");
		return -EINVAL;
	}
	field = field_of(row, key);
	if (field < 0 && row->strict)
		return unknown_key(p, row, key);
	if (field < 0)
		return wire_skip(r, NULL) < 0 ? -EINVAL : 0;
	if (wire_read(r, &t) < 0)
		return wrong_field(p, (enum field)field);
	/* As callers have it that name every field always. */
	if (t.type == WIRE_NIL && !(row->required & BIT(field)))
		return 0;
	e = take_field(p, (enum field)field, r, &t);
	if (e == -EINVAL)
		return wrong_field(p, (enum field)field);
	*given |= BIT(field);
	return e;
}

static int take_members(struct parse *p, const struct row *row, struct span arguments)
{
	struct wire_reader r;
	struct wire_token t = {.type = WIRE_MAP};
	uint32_t given = 0;

	wire_reader_init(&r, arguments.data, arguments.n, STEPS_MAX);
	if (arguments.n && (wire_read(&r, &t) < 0 || t.type != WIRE_MAP)) {
		snprintf(p->error, p->n_error, "arguments must be a map");
		return -EINVAL;
	}
	for (uint32_t i = 0; i < t.n; i++) {
		int e = take_member(p, row, &r, &given);

		if (e < 0)
			return e;
	}
	for (int i = 0; i < N_FIELDS; i++)
		if (row->required & ~given & BIT(i))
			return wrong_field(p, (enum field)i);
	if (row->op == SLOT_EXEC && !(given & BIT(FIELD_ARGV)) == !(given & BIT(FIELD_COMMAND))) {
		snprintf(p->error, p->n_error,
			 "arguments must have either argv, an array of strings, or command, a "
			 "string");
		return -EINVAL;
	}
	return 0;
}

static void set_caps(struct local_request *q, enum slot_op op, const struct local_caps *caps)
{
	uint64_t cap = caps->file_chars;

	if (op == SLOT_BASH)
		cap = caps->output_chars;
	else if (op == SLOT_EXEC)
		cap = caps->exec_output_bytes_max;
	q->header.stdout_max = q->header.stderr_max = cap;
}

int local_request_read(struct local_request *q, const struct backend_op *op,
		       const struct local_caps *caps, struct buf *text, char *error, size_t n_error)
{
	struct parse p = {.q = q, .caps = caps, .text = text, .error = error, .n_error = n_error};
	const struct row *row = NULL;
	int r;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows) && !row; i++)
		if (span_is(op->tool, rows[i].tool))
			row = &rows[i];
	if (!row) {
		snprintf(error, n_error, "Unknown tool: %.*s", (int)op->tool.n,
			 (const char *)op->tool.data);
		return -EINVAL;
	}
	*q = (struct local_request){.header = {.op = row->op, .timeout_ns = op->timeout_ns}};
	set_caps(q, row->op, caps);
	buf_clear(text);
	snprintf(error, n_error, "arguments are malformed");
	r = take_members(&p, row, op->arguments);
	if (r < 0)
		return r;
	if (p.n_argv)
		q->parts[SLOT_ARGV] = span_of(text->data + p.argv_at, p.n_argv);
	if (p.n_env)
		q->parts[SLOT_ENV] = span_of(text->data + p.env_at, p.n_env);
	return 0;
}

/* ---- what a slot is to be ------------------------------------------------------------------------- */

static int read_spec(struct span spec, struct plan_params *params)
{
	struct wire_reader r;
	struct wire_token map, t;

	wire_reader_init(&r, spec.data, spec.n, STEPS_MAX);
	if (wire_read(&r, &map) < 0 || map.type != WIRE_MAP)
		return -EINVAL;
	for (uint32_t i = 0; i < map.n; i++) {
		struct span key;

		if (wire_read_key(&r, &key, &t) != 0 || wire_read(&r, &t) < 0)
			return -EINVAL;
		if (span_is(key, "memory") && t.type == WIRE_INT)
			params->memory_bytes = t.u.natural;
		else if (span_is(key, "disk") && t.type == WIRE_INT)
			params->disk_bytes = t.u.natural;
		else if (span_is(key, "pids") && t.type == WIRE_INT)
			params->n_pids = (uint32_t)t.u.natural;
		else if (span_is(key, "network") && t.type == WIRE_STRING)
			params->network = span_is(span_of(t.u.bytes, t.n), "host")
						  ? PLAN_NETWORK_HOST
						  : PLAN_NETWORK_NONE;
	}
	return 0;
}

static int too_much(char *error, size_t n_error, const char *what, uint64_t most)
{
	snprintf(error, n_error, "spec.%s may be at most %llu here", what,
		 (unsigned long long)most);
	return -EPERM;
}

int local_spec_read(struct span spec, const struct plan *plan, struct plan_params *ret_params,
		    char *error, size_t n_error)
{
	const struct plan_params *most = &plan->params;
	struct plan_params p = *most;
	uint32_t asked;

	p.network = 0;
	p.memory_bytes = 0;
	if (spec.n && read_spec(spec, &p) < 0) {
		snprintf(error, n_error, "spec is malformed");
		return -EINVAL;
	}
	if (p.memory_bytes && !plan_has(plan, PLAN_MEMORY)) {
		snprintf(error, n_error,
			 "spec.memory: this machine's memory cgroup is missing (accepted by the "
			 "operator), so no memory cap can be had");
		return -EPERM;
	}
	if (!p.memory_bytes)
		p.memory_bytes = most->memory_bytes;
	asked = p.network;
	if (!asked)
		p.network = most->network;
	if (p.memory_bytes > most->memory_bytes)
		return too_much(error, n_error, "memory", most->memory_bytes);
	if (p.disk_bytes > most->disk_bytes)
		return too_much(error, n_error, "disk", most->disk_bytes);
	if (p.n_pids > most->n_pids)
		return too_much(error, n_error, "pids", most->n_pids);
	if (asked == PLAN_NETWORK_HOST && most->network != PLAN_NETWORK_HOST) {
		snprintf(error, n_error, "spec.network must be \"none\" here");
		return -EPERM;
	}
	if (asked == PLAN_NETWORK_NONE && !plan_has(plan, PLAN_NETWORK)) {
		snprintf(error, n_error,
			 "spec.network cannot be \"none\": this machine cannot shut slots off");
		return -EPERM;
	}
	*ret_params = p;
	return 0;
}
