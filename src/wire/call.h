/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_CALL_H
#define WIRE_CALL_H

/*
 * The payloads of calls (design section 4), both ways:
 *
 *   EXECUTE                     {trajectory_id, tool: {name, arguments, uniq_id}, timeout_s?}
 *   ACQUIRE                     {trajectory_id, spec?}
 *   RESET                       {trajectory_id}
 *   RELEASE                     {trajectory_id, reset_workspace?}
 *   STATUS                      {} or nothing
 *   ARTIFACT_*                  {trajectory_id, path, timeout_s?, ...}
 *
 * A key that is not known is refused, by name, but for ARTIFACT_*, whose further members are kept
 * for the backend, and inside arguments, which are the tool's.
 */

#include <stdbool.h>
#include <stdint.h>

#include <toolring/abi.h>

#include "base/buf.h"
#include "base/span.h"
#include "wire/reader.h"

#define WIRE_TRAJECTORY_ID_MAX 128 /* bytes; it stands in a slot's note, which has a fixed size */
#define WIRE_TOOL_NAME_MAX     128
#define WIRE_UNIQ_ID_MAX       256
#define WIRE_PATH_MAX          4096
#define WIRE_TIMEOUT_MIN_S     1.0
#define WIRE_TIMEOUT_MAX_S     600.0

/*
 * A decoded call. Spans point into the message. Strings of ours (ids, names) are valid UTF-8 without
 * NUL; what stands inside arguments is the tool's to check.
 */
struct wire_call {
	enum tr_kind kind;
	struct span trajectory_id;
	struct span tool;
	struct span uniq_id;   /* data NULL: absent */
	struct span arguments; /* EXECUTE: a packed map without the policy keys; n 0: absent */
	struct span command;   /* EXECUTE: arguments.command if it is a string */
	bool background;       /* EXECUTE: arguments.background is true */
	bool timeout_given;    /* by timeout_s, or else by a numeric arguments.timeout */
	double timeout_s;      /* clamped to WIRE_TIMEOUT_MIN_S..MAX_S */
	bool reset_workspace;  /* RELEASE: default true */
	struct span spec;      /* ACQUIRE: a packed map; n 0: absent */
	struct span path;      /* ARTIFACT_* */
	struct span options;   /* ARTIFACT_*: the whole payload, for the backend to read further */
};

struct wire_error {
	char text[256]; /* names the field and what is allowed; valid UTF-8 */
};

/*
 * Decodes a call in place: payload is ours alone, and policy keys (timeout, allow_network,
 * require_sandbox, require_stateful_sandbox) are cut out of tool.arguments there. On -EBADMSG the
 * error says what is wrong, and ret_call->uniq_id is set if it had been read by then, so that the
 * answer can carry it.
 */
int wire_call_decode(enum tr_kind kind, uint8_t *payload, size_t n, struct wire_call *ret_call,
		     struct wire_error *ret_error);

/*
 * Appends the payload of a call. members, for kinds but EXECUTE: a packed map whose pairs are added
 * (spec, path, ...); for EXECUTE: the tool's arguments. n 0: none. -EBADMSG: not one packed map.
 * tool, uniq_id and timeout_s are sent for EXECUTE alone.
 */
struct wire_call_fields {
	enum tr_kind kind;
	struct span trajectory_id; /* data NULL: absent */
	struct span tool;
	struct span uniq_id; /* data NULL: absent */
	struct span members;
	double timeout_s; /* 0: absent; anything else is sent as it is, for the executor to judge */
};
int wire_call_encode(struct buf *b, const struct wire_call_fields *call);

const char *wire_kind_name(enum tr_kind kind); /* "EXECUTE"; NULL if none */

#endif
