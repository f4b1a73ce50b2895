/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Decoding walks the payload once. What a kind takes stands in rules[]; each member has one function
 * that checks and takes it. A message that is refused costs no more than one that is not: nothing
 * is allocated, the number of objects is bounded, and the error's text is only made when there is one.
 */

#include "wire/call.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/utf8.h"

/*
 * Objects in one call: far more than any tool's arguments hold, and still decoded within about a
 * millisecond, which is how long one client may hold up the others with it.
 */
#define CALL_STEPS_MAX 100000

/* Members of one payload: known ones and options of ARTIFACT_*. Finding duplicates is quadratic. */
#define CALL_MEMBERS_MAX 32

/* How much of what a client sent is shown in an error, with the NUL. */
#define SHOWN_MAX 41

enum field {
	FIELD_TRAJECTORY_ID = 1,
	FIELD_TOOL = 2,
	FIELD_TIMEOUT_S = 4,
	FIELD_SPEC = 8,
	FIELD_RESET_WORKSPACE = 16,
	FIELD_PATH = 32,
	FIELD_OTHER = 64,
};

struct rule {
	const char *name;
	const char *allowed_text;
	unsigned allowed; /* enum field */
	unsigned required;
};

#define ARTIFACT_FIELDS                                                                            \
	"trajectory_id, path, timeout_s and options",                                              \
		FIELD_TRAJECTORY_ID | FIELD_PATH | FIELD_TIMEOUT_S | FIELD_OTHER,                  \
		FIELD_TRAJECTORY_ID | FIELD_PATH

/* Kinds without an entry in allowed_text carry no such payload. */
static const struct rule rules[TR_N_KINDS] = {
	[TR_KIND_PAD] = {"PAD", NULL, 0, 0},
	[TR_KIND_PING] = {"PING", NULL, 0, 0},
	[TR_KIND_ACQUIRE] = {"ACQUIRE", "trajectory_id, spec", FIELD_TRAJECTORY_ID | FIELD_SPEC,
			     FIELD_TRAJECTORY_ID},
	[TR_KIND_EXECUTE] = {"EXECUTE", "trajectory_id, tool, timeout_s",
			     FIELD_TRAJECTORY_ID | FIELD_TOOL | FIELD_TIMEOUT_S,
			     FIELD_TRAJECTORY_ID | FIELD_TOOL},
	[TR_KIND_CANCEL] = {"CANCEL", NULL, 0, 0},
	[TR_KIND_RESET] = {"RESET", "trajectory_id", FIELD_TRAJECTORY_ID, FIELD_TRAJECTORY_ID},
	[TR_KIND_RELEASE] = {"RELEASE", "trajectory_id, reset_workspace",
			     FIELD_TRAJECTORY_ID | FIELD_RESET_WORKSPACE, FIELD_TRAJECTORY_ID},
	[TR_KIND_STATUS] = {"STATUS", "none", 0, 0},
	[TR_KIND_ARTIFACT_READ] = {"ARTIFACT_READ", ARTIFACT_FIELDS},
	[TR_KIND_ARTIFACT_LIST] = {"ARTIFACT_LIST", ARTIFACT_FIELDS},
	[TR_KIND_ARTIFACT_ARCHIVE] = {"ARTIFACT_ARCHIVE", ARTIFACT_FIELDS},
	[TR_KIND_ARTIFACT_WRITE] = {"ARTIFACT_WRITE", ARTIFACT_FIELDS},
	[TR_KIND_ARTIFACT_UNPACK] = {"ARTIFACT_UNPACK", ARTIFACT_FIELDS},
	[TR_KIND_FORK] = {"FORK", NULL, 0, 0},
	[TR_KIND_PROGRESS] = {"PROGRESS", NULL, 0, 0},
	[TR_KIND_INPUT] = {"INPUT", NULL, 0, 0},
};

const char *wire_kind_name(enum tr_kind kind)
{
	return (unsigned)kind < TR_N_KINDS ? rules[kind].name : NULL;
}

struct decoder {
	struct wire_reader reader;
	struct wire_call *call;
	struct wire_error *error;
	/* The first timeout that counts, as it was given. */
	struct wire_token timeout;
	struct wire_token arguments_timeout;
};

__attribute__((format(printf, 2, 3), cold, noinline)) static int refuse(struct decoder *d,
									const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(d->error->text, sizeof(d->error->text), format, args);
	va_end(args);
	return -EBADMSG;
}

__attribute__((cold, noinline)) static int refuse_fault(struct decoder *d, const char *field)
{
	return refuse(d, "%s cannot be read: %s", field, wire_fault_text(d->reader.fault));
}

__attribute__((cold, noinline)) static int refuse_type(struct decoder *d, const char *field,
						       const char *allowed, enum wire_type type)
{
	return refuse(d, "%s must be %s, not %s", field, allowed, wire_type_text(type));
}

__attribute__((cold, noinline)) static int refuse_key(struct decoder *d, const char *where,
						      struct span key, const char *allowed)
{
	char shown[SHOWN_MAX];

	return refuse(d, "unknown key \"%s\" in %s; allowed: %s",
		      utf8_show(key, shown, sizeof(shown)), where, allowed);
}

__attribute__((cold, noinline)) static int refuse_duplicate(struct decoder *d, const char *where,
							    struct span key)
{
	char shown[SHOWN_MAX];

	return refuse(d, "key \"%s\" stands twice in %s", utf8_show(key, shown, sizeof(shown)),
		      where);
}

static inline int read_value(struct decoder *d, const char *field, struct wire_token *ret_token)
{
	return wire_read(&d->reader, ret_token) < 0 ? refuse_fault(d, field) : 0;
}

static int skip_value(struct decoder *d, const char *field, struct span *ret_object)
{
	return wire_skip(&d->reader, ret_object) < 0 ? refuse_fault(d, field) : 0;
}

/* A key of the map that is called field. */
static inline int read_key(struct decoder *d, const char *field, struct span *ret_key)
{
	struct wire_token t;
	int r = wire_read_key(&d->reader, ret_key, &t);

	if (r < 0)
		return refuse_fault(d, field);
	if (r > 0)
		return refuse(d, "%s has a key that is %s; keys must be strings", field,
			      wire_type_text(t.type));
	return 0;
}

/* A string of ours: an id, a name, a path. */
static int take_text(struct decoder *d, const char *field, const struct wire_token *t, size_t n_min,
		     size_t n_max, struct span *ret_text)
{
	struct span s;

	if (t->type != WIRE_STRING)
		return refuse_type(d, field, "a string", t->type);
	s = span_of(t->u.bytes, t->n);
	if (s.n < n_min)
		return refuse(d, "%s must not be empty", field);
	if (s.n > n_max)
		return refuse(d, "%s must be at most %zu bytes long, not %zu", field, n_max, s.n);
	if (!utf8_valid(s))
		return refuse(d, "%s must be valid UTF-8", field);
	if (s.n && memchr(s.data, 0, s.n))
		return refuse(d, "%s must not contain NUL", field);
	*ret_text = s;
	return 0;
}

static bool is_number(const struct wire_token *t)
{
	return t->type == WIRE_INT || t->type == WIRE_UINT || t->type == WIRE_FLOAT;
}

static double as_double(const struct wire_token *t)
{
	if (t->type == WIRE_INT)
		return (double)t->u.integer;
	return t->type == WIRE_UINT ? (double)t->u.natural : t->u.real;
}

/* Both sources of a timeout have been read: the call's own goes before the model's. */
static int decide_timeout(struct decoder *d)
{
	bool own = is_number(&d->timeout);
	const char *field = own ? "timeout_s" : "tool.arguments.timeout";
	double s;

	if (!own && !is_number(&d->arguments_timeout))
		return 0;
	s = as_double(own ? &d->timeout : &d->arguments_timeout);
	if (isnan(s))
		return refuse(d, "%s must be a number of seconds, not NaN", field);
	if (s < 0)
		return refuse(d, "%s must not be negative", field);
	if (s < WIRE_TIMEOUT_MIN_S)
		s = WIRE_TIMEOUT_MIN_S;
	if (s > WIRE_TIMEOUT_MAX_S)
		s = WIRE_TIMEOUT_MAX_S;
	d->call->timeout_given = true;
	d->call->timeout_s = s;
	return 0;
}

/* ---- tool.arguments ------------------------------------------------------------------------------ */

enum argument {
	ARGUMENT_COMMAND = 1,
	ARGUMENT_BACKGROUND = 2,
	ARGUMENT_TIMEOUT = 4,
	ARGUMENT_ALLOW_NETWORK = 8,
	ARGUMENT_REQUIRE_SANDBOX = 16,
	ARGUMENT_REQUIRE_STATEFUL_SANDBOX = 32,
	/* What the model may not decide. */
	ARGUMENTS_CUT = ARGUMENT_TIMEOUT | ARGUMENT_ALLOW_NETWORK | ARGUMENT_REQUIRE_SANDBOX |
			ARGUMENT_REQUIRE_STATEFUL_SANDBOX,
};

static inline unsigned argument_of(struct span key)
{
	switch (key.n) {
	case 7:
		return span_is(key, "command")   ? ARGUMENT_COMMAND
		       : span_is(key, "timeout") ? ARGUMENT_TIMEOUT
						 : 0;
	case 10:
		return span_is(key, "background") ? ARGUMENT_BACKGROUND : 0;
	case 13:
		return span_is(key, "allow_network") ? ARGUMENT_ALLOW_NETWORK : 0;
	case 15:
		return span_is(key, "require_sandbox") ? ARGUMENT_REQUIRE_SANDBOX : 0;
	case 24:
		return span_is(key, "require_stateful_sandbox") ? ARGUMENT_REQUIRE_STATEFUL_SANDBOX
								: 0;
	default:
		return 0;
	}
}

/* Pairs are cut out by moving each run of pairs that stay down to the end of those before it. */
struct cutter {
	uint8_t *to;
	const uint8_t *run;
	uint32_t n_cut;
};

static void cutter_flush(struct cutter *c, const uint8_t *run_end, struct span *command)
{
	size_t n = (size_t)(run_end - c->run);

	if (c->to != c->run && n) {
		memmove(c->to, c->run, n);
		if (command->data > c->run && command->data <= run_end)
			command->data -= c->run - c->to;
	}
	c->to += n;
}

/* Writes another count into the header of a packed map, which keeps its form and size. */
static void rewrite_map_header(uint8_t *header, uint32_t n)
{
	if (header[0] == 0xdf) {
		header[1] = (uint8_t)(n >> 24);
		header[2] = (uint8_t)(n >> 16);
		header[3] = (uint8_t)(n >> 8);
		header[4] = (uint8_t)n;
	} else if (header[0] == 0xde) {
		header[1] = (uint8_t)(n >> 8);
		header[2] = (uint8_t)n;
	} else {
		header[0] = (uint8_t)(0x80 | n);
	}
}

/* One argument that the executor looks at itself; what the others mean is not known here. */
static int take_argument(struct decoder *d, unsigned argument)
{
	struct wire_reader back = d->reader;
	struct wire_token t;

	if (!argument)
		return skip_value(d, "tool.arguments", NULL);
	if (read_value(d, "tool.arguments", &t) < 0)
		return -EBADMSG;
	if (t.type == WIRE_ARRAY || t.type == WIRE_MAP) {
		d->reader = back;
		return skip_value(d, "tool.arguments", NULL);
	}
	if (argument == ARGUMENT_COMMAND && t.type == WIRE_STRING)
		d->call->command = span_of(t.u.bytes, t.n);
	else if (argument == ARGUMENT_BACKGROUND && t.type == WIRE_BOOL)
		d->call->background = t.u.boolean;
	else if (argument == ARGUMENT_TIMEOUT)
		d->arguments_timeout = t;
	return 0;
}

static int take_arguments(struct decoder *d, uint8_t *header, const struct wire_token *t)
{
	struct cutter cutter = {.to = header, .run = header};
	unsigned seen = 0;

	if (t->type == WIRE_NIL)
		return 0;
	if (t->type != WIRE_MAP)
		return refuse_type(d, "tool.arguments", "a map", t->type);
	d->reader.depth++;
	for (uint32_t i = 0; i < t->n; i++) {
		const uint8_t *pair = d->reader.at;
		struct span key;
		unsigned argument;

		if (read_key(d, "tool.arguments", &key) < 0)
			return -EBADMSG;
		argument = argument_of(key);
		if (seen & argument)
			return refuse_duplicate(d, "tool.arguments", key);
		seen |= argument;
		if (take_argument(d, argument) < 0)
			return -EBADMSG;
		if (argument & ARGUMENTS_CUT) {
			cutter_flush(&cutter, pair, &d->call->command);
			cutter.run = d->reader.at;
			cutter.n_cut++;
		}
	}
	d->reader.depth--;
	cutter_flush(&cutter, d->reader.at, &d->call->command);
	if (cutter.n_cut)
		rewrite_map_header(header, t->n - cutter.n_cut);
	d->call->arguments = span_of(header, (size_t)(cutter.to - header));
	return 0;
}

/* ---- tool ---------------------------------------------------------------------------------------- */

enum tool_field {
	TOOL_NAME = 1,
	TOOL_ARGUMENTS = 2,
	TOOL_UNIQ_ID = 4,
};

static inline unsigned tool_field_of(struct span key)
{
	if (span_is(key, "name"))
		return TOOL_NAME;
	if (span_is(key, "arguments"))
		return TOOL_ARGUMENTS;
	return span_is(key, "uniq_id") ? TOOL_UNIQ_ID : 0;
}

static int take_tool_field(struct decoder *d, unsigned field)
{
	uint8_t *at =
		(uint8_t *)d->reader.at; /* the payload is ours to write, see wire_call_decode */
	struct wire_token t;

	switch (field) {
	case TOOL_NAME:
		if (read_value(d, "tool.name", &t) < 0)
			return -EBADMSG;
		return take_text(d, "tool.name", &t, 1, WIRE_TOOL_NAME_MAX, &d->call->tool);
	case TOOL_ARGUMENTS:
		if (read_value(d, "tool.arguments", &t) < 0)
			return -EBADMSG;
		return take_arguments(d, at, &t);
	default:
		if (read_value(d, "tool.uniq_id", &t) < 0)
			return -EBADMSG;
		if (t.type == WIRE_NIL)
			return 0;
		return take_text(d, "tool.uniq_id", &t, 0, WIRE_UNIQ_ID_MAX, &d->call->uniq_id);
	}
}

static int take_tool(struct decoder *d, const struct wire_token *t)
{
	unsigned seen = 0;

	if (t->type != WIRE_MAP)
		return refuse_type(d, "tool", "a map", t->type);
	d->reader.depth++;
	for (uint32_t i = 0; i < t->n; i++) {
		struct span key;
		unsigned field;

		if (read_key(d, "tool", &key) < 0)
			return -EBADMSG;
		field = tool_field_of(key);
		if (!field)
			return refuse_key(d, "tool", key, "name, arguments, uniq_id");
		if (seen & field)
			return refuse_duplicate(d, "tool", key);
		seen |= field;
		if (take_tool_field(d, field) < 0)
			return -EBADMSG;
	}
	d->reader.depth--;
	return seen & TOOL_NAME ? 0 : refuse(d, "tool.name is missing");
}

/* ---- the payload --------------------------------------------------------------------------------- */

static inline unsigned field_of(struct span key)
{
	if (span_is(key, "trajectory_id"))
		return FIELD_TRAJECTORY_ID;
	if (span_is(key, "tool"))
		return FIELD_TOOL;
	if (span_is(key, "timeout_s"))
		return FIELD_TIMEOUT_S;
	if (span_is(key, "path"))
		return FIELD_PATH;
	if (span_is(key, "spec"))
		return FIELD_SPEC;
	return span_is(key, "reset_workspace") ? FIELD_RESET_WORKSPACE : FIELD_OTHER;
}

static int take_trajectory_id(struct decoder *d)
{
	struct wire_token t;

	if (read_value(d, "trajectory_id", &t) < 0)
		return -EBADMSG;
	return take_text(d, "trajectory_id", &t, 1, WIRE_TRAJECTORY_ID_MAX,
			 &d->call->trajectory_id);
}

static int take_path(struct decoder *d)
{
	struct wire_token t;

	if (read_value(d, "path", &t) < 0)
		return -EBADMSG;
	return take_text(d, "path", &t, 1, WIRE_PATH_MAX, &d->call->path);
}

static int take_timeout(struct decoder *d)
{
	if (read_value(d, "timeout_s", &d->timeout) < 0)
		return -EBADMSG;
	if (d->timeout.type != WIRE_NIL && !is_number(&d->timeout))
		return refuse_type(d, "timeout_s", "a number of seconds", d->timeout.type);
	return 0;
}

static int take_reset_workspace(struct decoder *d)
{
	struct wire_token t;

	if (read_value(d, "reset_workspace", &t) < 0)
		return -EBADMSG;
	if (t.type == WIRE_NIL)
		return 0;
	if (t.type != WIRE_BOOL)
		return refuse_type(d, "reset_workspace", "a boolean", t.type);
	d->call->reset_workspace = t.u.boolean;
	return 0;
}

static int take_spec(struct decoder *d)
{
	enum wire_type type = WIRE_NIL;
	struct span spec;

	wire_peek_type(&d->reader, &type);
	if (skip_value(d, "spec", &spec) < 0)
		return -EBADMSG;
	if (type == WIRE_NIL)
		return 0;
	if (type != WIRE_MAP)
		return refuse_type(d, "spec", "a map", type);
	d->call->spec = spec;
	return 0;
}

static int take_field(struct decoder *d, enum field field)
{
	struct wire_token t;

	switch (field) {
	case FIELD_TRAJECTORY_ID:
		return take_trajectory_id(d);
	case FIELD_TOOL:
		if (read_value(d, "tool", &t) < 0)
			return -EBADMSG;
		return take_tool(d, &t);
	case FIELD_TIMEOUT_S:
		return take_timeout(d);
	case FIELD_SPEC:
		return take_spec(d);
	case FIELD_RESET_WORKSPACE:
		return take_reset_workspace(d);
	case FIELD_PATH:
		return take_path(d);
	default:
		return skip_value(d, "payload", NULL);
	}
}

static int take_payload(struct decoder *d, const struct rule *rule, uint32_t n_members)
{
	struct span keys[CALL_MEMBERS_MAX];
	unsigned seen = 0;

	d->reader.depth++;
	for (uint32_t i = 0; i < n_members; i++) {
		unsigned field;

		if (i == CALL_MEMBERS_MAX)
			return refuse(d, "payload has more than %d members", CALL_MEMBERS_MAX);
		if (read_key(d, "payload", &keys[i]) < 0)
			return -EBADMSG;
		field = field_of(keys[i]);
		if (!(rule->allowed & field)) {
			if (!(rule->allowed & FIELD_OTHER))
				return refuse_key(d, rule->name, keys[i], rule->allowed_text);
			field = FIELD_OTHER;
		}
		for (uint32_t j = 0; j < i; j++)
			if (span_equal(keys[j], keys[i]))
				return refuse_duplicate(d, "payload", keys[i]);
		seen |= field;
		if (take_field(d, (enum field)field) < 0)
			return -EBADMSG;
	}
	if (rule->required & ~seen & FIELD_TRAJECTORY_ID)
		return refuse(d, "trajectory_id is missing");
	if (rule->required & ~seen & FIELD_TOOL)
		return refuse(d, "tool is missing");
	if (rule->required & ~seen & FIELD_PATH)
		return refuse(d, "path is missing");
	return 0;
}

int wire_call_decode(enum tr_kind kind, uint8_t *payload, size_t n, struct wire_call *ret_call,
		     struct wire_error *ret_error)
{
	struct decoder d = {.call = ret_call,
			    .error = ret_error,
			    .timeout = {.type = WIRE_NIL},
			    .arguments_timeout = {.type = WIRE_NIL}};
	const struct rule *rule;
	struct wire_token t;

	*ret_call = (struct wire_call){.kind = kind, .reset_workspace = true};
	if ((unsigned)kind >= TR_N_KINDS || !rules[kind].allowed_text)
		return refuse(&d, "kind %u is none that can be called", (unsigned)kind);
	rule = &rules[kind];
	if (n == 0)
		return kind == TR_KIND_STATUS ? 0 : refuse(&d, "payload must be a map, not empty");
	wire_reader_init(&d.reader, payload, n, CALL_STEPS_MAX);
	if (read_value(&d, "payload", &t) < 0)
		return -EBADMSG;
	if (t.type != WIRE_MAP)
		return refuse_type(&d, "payload", "a map", t.type);
	if (take_payload(&d, rule, t.n) < 0)
		return -EBADMSG;
	if (d.reader.at != d.reader.end) {
		d.reader.fault = WIRE_TRAILING;
		return refuse_fault(&d, "payload");
	}
	if (rule->allowed & FIELD_OTHER)
		ret_call->options = span_of(payload, n);
	return decide_timeout(&d);
}
