/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of the API: from a struct tr_call to a message and, where asked for, to its result. */
#include "client/client.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "wire/call.h"

/* What a wrapper adds in front of a call's arguments. */
struct extra {
	const struct tr_member *members;
	size_t n;
};

static bool kind_may_be_submitted(enum tr_kind kind)
{
	return (unsigned)kind <= TR_KIND_ARTIFACT_UNPACK && kind != TR_KIND_PAD &&
	       kind != TR_KIND_CANCEL;
}

/* The arguments as one packed map, or n 0 for none; they may lie in c->arguments. */
static int arguments_pack(struct tr_client *c, const struct tr_call *call,
			  const struct extra *extra, struct span *ret_arguments)
{
	int r;

	if (call->arguments_packed) {
		*ret_arguments = span_of(call->arguments_packed, call->n_arguments_packed);
		return 0;
	}
	if (call->arguments.type != TR_NIL && call->arguments.type != TR_MAP)
		return -EINVAL;
	*ret_arguments = (struct span){.data = NULL};
	if (!extra->n && !call->arguments.n)
		return 0;
	buf_clear(&c->arguments);
	r = value_pack_members(&c->arguments, extra->members, extra->n, &call->arguments);
	if (r < 0)
		return r;
	*ret_arguments = span_of(c->arguments.data, c->arguments.n);
	return 0;
}

/* Appends the call's payload. */
static int call_encode(struct tr_client *c, enum tr_kind kind, const struct tr_call *call,
		       const struct extra *extra, struct buf *payload)
{
	struct wire_call_fields fields = {.kind = kind, .timeout_s = call->timeout_s};
	int r = arguments_pack(c, call, extra, &fields.members);

	if (r < 0)
		return r;
	if (kind == TR_KIND_PING)
		return buf_append(payload, fields.members.data, fields.members.n);
	if (kind == TR_KIND_STATUS && !fields.members.n && !call->trajectory_id)
		return 0;
	fields.trajectory_id = span_string(call->trajectory_id);
	fields.tool = span_string(call->tool);
	fields.uniq_id = span_string(call->uniq_id);
	r = wire_call_encode(payload, &fields);
	return r == -EBADMSG ? -EINVAL : r;
}

/* With the lock held, which may be given up meanwhile: so the payload is ours until it is sent. */
static int call_submit(struct tr_client *c, const struct tr_call *call, const struct extra *extra,
		       struct deadline *deadline, struct row **ret_row)
{
	enum tr_kind kind = call->kind ? call->kind : TR_KIND_EXECUTE;
	struct buf payload = c->scratch;
	int r;

	if (!kind_may_be_submitted(kind))
		return -EINVAL;
	buf_init(&c->scratch, CLIENT_BUF_MAX);
	buf_clear(&payload);
	r = call_encode(c, kind, call, extra, &payload);
	if (r == 0)
		r = client_submit(c, kind, payload.data, payload.n, call->user_data, deadline,
				  ret_row);
	if (c->scratch.data)
		buf_deinit(&payload);
	else
		c->scratch = payload;
	return r;
}

/* ---- submitting ------------------------------------------------------------------------------------ */

int tr_submit_wait(struct tr_client *c, const struct tr_call *call, int timeout_ms,
		   uint64_t *ret_id)
{
	static const struct extra none;
	struct deadline deadline = {.timeout_ms = timeout_ms};
	struct row *row;
	int r;

	if (!call)
		return -EINVAL;
	r = client_enter(c);
	if (r < 0)
		return r;
	r = call_submit(c, call, &none, &deadline, &row);
	if (r == 0 && ret_id)
		*ret_id = row->id;
	client_leave(c);
	return r;
}

int tr_submit(struct tr_client *c, const struct tr_call *call, uint64_t *ret_id)
{
	return tr_submit_wait(c, call, 0, ret_id);
}

int tr_submit_raw(struct tr_client *c, enum tr_kind kind, const void *payload, size_t n,
		  void *user_data, int timeout_ms, uint64_t *ret_id)
{
	struct deadline deadline = {.timeout_ms = timeout_ms};
	struct row *row;
	int r;

	if (!kind_may_be_submitted(kind) || (n && !payload))
		return -EINVAL;
	r = client_enter(c);
	if (r < 0)
		return r;
	r = client_submit(c, kind, payload, n, user_data, &deadline, &row);
	if (r == 0 && ret_id)
		*ret_id = row->id;
	client_leave(c);
	return r;
}

int tr_cancel(struct tr_client *c, uint64_t call_id)
{
	struct row *row;
	int r = client_enter(c);

	if (r < 0)
		return r;
	row = row_find(c, call_id);
	if (!row || row->abandoned || row->state == ROW_DONE)
		r = -ENOENT;
	else
		client_cancel(c, row);
	client_leave(c);
	return r;
}

/* ---- submitting and waiting ------------------------------------------------------------------------ */

static int row_await(struct tr_client *c, struct row *row, struct tr_result *result,
		     struct deadline *deadline)
{
	uint64_t call_id = row->id;
	int r = client_await(c, row, result, deadline);

	row = row_find(c, call_id);
	if (r < 0 && row)
		client_abandon(c, row);
	return r;
}

static int call_wait(struct tr_client *c, const struct tr_call *call, const struct extra *extra,
		     struct tr_result *result, int timeout_ms)
{
	struct deadline deadline = {.timeout_ms = timeout_ms};
	struct row *row;
	int r;

	if (!call || !result)
		return -EINVAL;
	r = client_enter(c);
	if (r < 0)
		return r;
	r = call_submit(c, call, extra, &deadline, &row);
	if (r == 0)
		r = row_await(c, row, result, &deadline);
	client_leave(c);
	return r;
}

int tr_call_wait(struct tr_client *c, const struct tr_call *call, struct tr_result *result,
		 int timeout_ms)
{
	static const struct extra none;

	return call_wait(c, call, &none, result, timeout_ms);
}

int tr_ping(struct tr_client *c, int timeout_ms, uint64_t *ret_ns)
{
	struct deadline deadline = {.timeout_ms = timeout_ms};
	uint64_t start = ret_ns ? now_ns() : 0;
	struct row *row;
	int r = client_enter(c);

	if (r < 0)
		return r;
	r = client_submit(c, TR_KIND_PING, NULL, 0, NULL, &deadline, &row);
	if (r == 0)
		r = row_await(c, row, NULL, &deadline);
	client_leave(c);
	if (r == 0 && ret_ns)
		*ret_ns = now_ns() - start;
	return r;
}

/* A call that is no EXECUTE: members of its own, then the options'. */
static int other_wait(struct tr_client *c, enum tr_kind kind, const char *trajectory_id,
		      const struct tr_member *members, size_t n_members,
		      const struct tr_value *options, struct tr_result *result, int timeout_ms)
{
	struct extra extra = {.members = members, .n = n_members};
	struct tr_call call = {.kind = kind, .trajectory_id = trajectory_id};

	if (options && options->type != TR_NIL && options->type != TR_MAP)
		return -EINVAL;
	if (options)
		call.arguments = *options;
	return call_wait(c, &call, &extra, result, timeout_ms);
}

int tr_acquire(struct tr_client *c, const char *trajectory_id, const struct tr_value *spec,
	       struct tr_result *result, int timeout_ms)
{
	struct tr_member members[1] = {{.key = "spec"}};
	bool given = spec && spec->type != TR_NIL;

	if (given && spec->type != TR_MAP)
		return -EINVAL;
	if (given)
		members[0].value = *spec;
	return other_wait(c, TR_KIND_ACQUIRE, trajectory_id, members, given ? 1 : 0, NULL, result,
			  timeout_ms);
}

int tr_reset(struct tr_client *c, const char *trajectory_id, struct tr_result *result,
	     int timeout_ms)
{
	return other_wait(c, TR_KIND_RESET, trajectory_id, NULL, 0, NULL, result, timeout_ms);
}

int tr_release(struct tr_client *c, const char *trajectory_id, bool reset_workspace,
	       struct tr_result *result, int timeout_ms)
{
	struct tr_member members[] = {
		{.key = "reset_workspace", .value = tr_bool(reset_workspace)},
	};

	return other_wait(c, TR_KIND_RELEASE, trajectory_id, members, 1, NULL, result, timeout_ms);
}

static int artifact_wait(struct tr_client *c, enum tr_kind kind, const char *trajectory_id,
			 const char *path, const struct tr_member *content,
			 const struct tr_value *options, struct tr_result *result, int timeout_ms)
{
	struct tr_member members[2];
	size_t n = 0;

	if (path)
		members[n++] = (struct tr_member){.key = "path", .value = tr_string(path)};
	if (content)
		members[n++] = *content;
	return other_wait(c, kind, trajectory_id, members, n, options, result, timeout_ms);
}

int tr_artifact_read(struct tr_client *c, const char *trajectory_id, const char *path,
		     const struct tr_value *options, struct tr_result *result, int timeout_ms)
{
	return artifact_wait(c, TR_KIND_ARTIFACT_READ, trajectory_id, path, NULL, options, result,
			     timeout_ms);
}

int tr_artifact_list(struct tr_client *c, const char *trajectory_id, const char *path,
		     const struct tr_value *options, struct tr_result *result, int timeout_ms)
{
	return artifact_wait(c, TR_KIND_ARTIFACT_LIST, trajectory_id, path, NULL, options, result,
			     timeout_ms);
}

int tr_artifact_archive(struct tr_client *c, const char *trajectory_id, const char *path,
			const struct tr_value *options, struct tr_result *result, int timeout_ms)
{
	return artifact_wait(c, TR_KIND_ARTIFACT_ARCHIVE, trajectory_id, path, NULL, options,
			     result, timeout_ms);
}

int tr_artifact_write(struct tr_client *c, const char *trajectory_id, const char *path,
		      const void *content, size_t n_content, const struct tr_value *options,
		      struct tr_result *result, int timeout_ms)
{
	struct tr_member member = {.key = "content", .value = tr_binary(content, n_content)};

	return artifact_wait(c, TR_KIND_ARTIFACT_WRITE, trajectory_id, path, &member, options,
			     result, timeout_ms);
}

int tr_artifact_unpack(struct tr_client *c, const char *trajectory_id, const char *path,
		       const void *archive, size_t n_archive, const struct tr_value *options,
		       struct tr_result *result, int timeout_ms)
{
	struct tr_member member = {.key = "archive", .value = tr_binary(archive, n_archive)};

	return artifact_wait(c, TR_KIND_ARTIFACT_UNPACK, trajectory_id, path, &member, options,
			     result, timeout_ms);
}

int tr_status(struct tr_client *c, struct tr_result *result, int timeout_ms)
{
	return other_wait(c, TR_KIND_STATUS, NULL, NULL, 0, NULL, result, timeout_ms);
}
