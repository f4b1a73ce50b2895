/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ARTIFACT_*: the options of each kind. The payload is read whole, so what every call has stands in each
 * form too, and was taken before. A cap above the operator's is the operator's: what it cut off is said
 * by the answer.
 */
#include <errno.h>
#include <stdio.h>

#include "backend/local_form.h"
#include "base/utf8.h"

static int take_nothing(struct local_parse *p, struct local_value *v)
{
	(void)p;
	(void)v;
	return 0;
}

/* ---- names ---------------------------------------------------------------------------------------- */

struct name {
	const char *text;
	uint32_t value;
};

static const struct name encodings[] = {
	{"text", SLOT_TEXT},
	{"base64", SLOT_BASE64},
	{"bytes", SLOT_BYTES},
	{NULL, 0},
};

/* What an archive can be in is less. */
static const struct name byte_encodings[] = {
	{"base64", SLOT_BASE64},
	{"bytes", SLOT_BYTES},
	{NULL, 0},
};

static const struct name formats[] = {
	{"tar.gz", SLOT_TAR_GZ},
	{"tgz", SLOT_TAR_GZ},
	{"tar.zst", SLOT_TAR_ZST},
	{"tar", SLOT_TAR},
	{NULL, 0},
};

static int take_name(struct local_parse *p, struct local_value *v, const struct name *names,
		     const char *refusal, uint32_t *ret)
{
	struct span s = span_of(v->t.u.bytes, v->t.n);
	char shown[41];

	if (v->t.type != WIRE_STRING) {
		snprintf(p->error, p->n_error, "%s must be a string", v->member->name);
		return -EINVAL;
	}
	for (; names->text; names++) {
		if (span_is(s, names->text)) {
			*ret = names->value;
			return 0;
		}
	}
	snprintf(p->error, p->n_error, "%s: %s", refusal, utf8_show(s, shown, sizeof(shown)));
	return -EINVAL;
}

static int take_encoding(struct local_parse *p, struct local_value *v)
{
	return take_name(p, v, encodings, "Unsupported encoding", &p->q->header.encoding);
}

static int take_byte_encoding(struct local_parse *p, struct local_value *v)
{
	return take_name(p, v, byte_encodings, "Unsupported encoding", &p->q->header.encoding);
}

static int take_format(struct local_parse *p, struct local_value *v)
{
	return take_name(p, v, formats, "Unsupported archive format", &p->q->header.format);
}

static int take_archive(struct local_parse *p, struct local_value *v)
{
	return v->t.type == WIRE_BINARY ? local_take_bytes(p, v) : -EINVAL;
}

/* ---- kinds ---------------------------------------------------------------------------------------- */

#define MEMBERS_OF_ALL                                                                             \
	{.name = "trajectory_id", .take = take_nothing}, {.name = "path", .take = take_nothing},   \
		{.name = "timeout_s", .take = take_nothing},                                       \
	{                                                                                          \
		.name = "anywhere", .take = local_take_flag, .which = SLOT_ANYWHERE,               \
		.must_be = "true or false",                                                        \
	}
#define BYTES_MEMBER                                                                               \
	{                                                                                          \
		.name = "max_bytes", .take = local_take_bytes_max,                                 \
		.must_be = "a number of bytes above 0",                                            \
	}
#define ENTRIES_MEMBER                                                                             \
	{                                                                                          \
		.name = "max_entries", .take = local_take_entries_max,                             \
		.must_be = "a number above 0",                                                     \
	}

static const struct local_member of_read[] = {
	MEMBERS_OF_ALL,
	{.name = "encoding", .take = take_encoding},
	BYTES_MEMBER,
	{
		.name = "include_sha256",
		.take = local_take_flag,
		.which = SLOT_SHA256,
		.must_be = "true or false",
	},
};
static const struct local_member of_list[] = {
	MEMBERS_OF_ALL,
	{
		.name = "recursive",
		.take = local_take_flag,
		.which = SLOT_ALL,
		.must_be = "true or false",
	},
	ENTRIES_MEMBER,
};
static const struct local_member of_archive[] = {
	MEMBERS_OF_ALL,
	{.name = "format", .take = take_format},
	{.name = "encoding", .take = take_byte_encoding},
	BYTES_MEMBER,
	ENTRIES_MEMBER,
};
static const struct local_member of_write[] = {
	MEMBERS_OF_ALL,
	{
		.name = "content",
		.take = local_take_bytes,
		.which = SLOT_STDIN,
		.must_be = "a string or binary",
		.required = true,
	},
};
static const struct local_member of_unpack[] = {
	MEMBERS_OF_ALL,
	{
		.name = "archive",
		.take = take_archive,
		.which = SLOT_STDIN,
		.must_be = "binary",
		.required = true,
	},
	{.name = "format", .take = take_format},
	BYTES_MEMBER,
	ENTRIES_MEMBER,
};

#define FORM(kind, table)                                                                          \
	{                                                                                          \
		.name = "ARTIFACT_" kind, .prefix = "", LOCAL_MEMBERS(table), .strict = true       \
	}

static const struct kind {
	enum tr_kind kind;
	enum slot_op op;
	uint32_t encoding; /* unless the call says another ... */
	uint32_t format;   /* ... and this */
	struct local_form form;
} kinds[] = {
	{
		.kind = TR_KIND_ARTIFACT_READ,
		.op = SLOT_ARTIFACT_READ,
		.encoding = SLOT_TEXT,
		.form = FORM("READ", of_read),
	},
	{
		.kind = TR_KIND_ARTIFACT_LIST,
		.op = SLOT_ARTIFACT_LIST,
		.form = FORM("LIST", of_list),
	},
	{
		.kind = TR_KIND_ARTIFACT_ARCHIVE,
		.op = SLOT_ARTIFACT_ARCHIVE,
		.encoding = SLOT_BASE64,
		.format = SLOT_TAR_GZ,
		.form = FORM("ARCHIVE", of_archive),
	},
	{
		.kind = TR_KIND_ARTIFACT_WRITE,
		.op = SLOT_ARTIFACT_WRITE,
		.form = FORM("WRITE", of_write),
	},
	{
		.kind = TR_KIND_ARTIFACT_UNPACK,
		.op = SLOT_ARTIFACT_UNPACK,
		.form = FORM("UNPACK", of_unpack),
	},
};

static uint64_t cap_of(uint64_t given, uint64_t most)
{
	return given && given < most ? given : most;
}

static int set_caps(struct local_parse *p)
{
	const struct local_caps *caps = p->caps;
	struct slot_request *q = &p->q->header;
	uint64_t n_bytes = caps->artifact_bytes_max, n_entries = caps->artifact_entries_max;
	bool anywhere = q->flags & SLOT_ANYWHERE;

	/* It is never less than without. */
	if (anywhere && caps->anywhere_bytes_max > n_bytes)
		n_bytes = caps->anywhere_bytes_max;
	if (anywhere && caps->anywhere_entries_max > n_entries)
		n_entries = caps->anywhere_entries_max;
	if (p->q->parts[SLOT_STDIN].n > n_bytes) {
		snprintf(p->error, p->n_error, "Content too large: %zu bytes (max %llu, limit %s)",
			 p->q->parts[SLOT_STDIN].n, (unsigned long long)n_bytes,
			 anywhere ? "anywhere_bytes_max" : "artifact_bytes_max");
		return TR_LIMIT;
	}
	q->stdout_max = cap_of(p->n_bytes_max, n_bytes);
	q->n_entries_max = cap_of(p->n_entries_max, n_entries);
	return 0;
}

int local_artifact_read(struct local_parse *p, const struct backend_op *op)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		const struct kind *kind = &kinds[i];
		int r;

		if (kind->kind != op->artifact)
			continue;
		p->q->header.op = kind->op;
		p->q->header.encoding = kind->encoding;
		p->q->header.format = kind->format;
		p->q->parts[SLOT_PATH] = op->path;
		r = local_form_read(p, &kind->form, op->arguments, NULL);
		if (r < 0)
			return r == -EINVAL ? TR_INVALID : r;
		return set_caps(p);
	}
	snprintf(p->error, p->n_error, "artifacts of this kind are not available here");
	return TR_INVALID;
}
