/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_FORM_H
#define BACKEND_LOCAL_FORM_H

/*
 * Forms: what a map of a call's may hold, member by member, as a table; and the functions that take a
 * member's value into the request. Shared by the files that make requests (local_request*.c).
 */

#include "backend/local_request.h"
#include "wire/reader.h"

/* The call's own limits on objects were kept when it was taken in. */
#define LOCAL_STEPS_MAX UINT32_MAX

struct local_member;

/* A request in the making. */
struct local_parse {
	struct local_request *q;
	const struct local_caps *caps;
	struct buf *text;
	size_t argv_at, n_argv; /* in text, which may move while it grows */
	size_t env_at, n_env;
	uint64_t n_bytes_max; /* ARTIFACT_*, tmux: as given */
	uint64_t n_entries_max;
	struct span action; /* tmux */
	char *error;
	size_t n_error;
};

/* What a member was given. */
struct local_value {
	const struct local_member *member;
	struct wire_token t;      /* its first token ... */
	struct wire_reader inner; /* ... and what is behind it, if that is a container */
};

struct local_member {
	const char *name;
	/* -EINVAL: it is not what it must be, or, where no text below says what that is, error does;
	 * other -errno. */
	int (*take)(struct local_parse *p, struct local_value *v);
	uint32_t which;      /* for take: enum slot_request_part, or enum slot_flag */
	const char *must_be; /* "a string" */
	const char *refusal; /* the whole error instead */
	bool required;       /* else nil stands for nothing */
};

struct local_form {
	const char *name;   /* of the map: "arguments of exec" */
	const char *prefix; /* of its members in errors: "arguments." */
	const struct local_member *members;
	size_t n_members; /* up to 32 */
	bool strict;      /* other members are refused: it is programs that call, and not models */
};

#define LOCAL_MEMBERS(table) .members = (table), .n_members = sizeof(table) / sizeof(*(table))

/*
 * Reads the map (n 0: an empty one). ret_given (may be NULL): a bit for each member of the table that
 * was there. -EINVAL: error says what is wrong; -ENOMEM, -E2BIG.
 */
int local_form_read(struct local_parse *p, const struct local_form *form, struct span map,
		    uint32_t *ret_given);

/* Takers. Into the part of that name: a string; what the kernel takes as one ends at a NUL, and what
 * stands behind that would be dropped: it is refused. */
int local_take_string(struct local_parse *p, struct local_value *v);
/* One that may come back in a text of the slot's. */
int local_take_text(struct local_parse *p, struct local_value *v);
int local_take_bytes(struct local_parse *p, struct local_value *v);
/* true or false: the flag of that name. */
int local_take_flag(struct local_parse *p, struct local_value *v);
/* An array of strings: they are argv. */
int local_take_argv(struct local_parse *p, struct local_value *v);
/* One above what the operator allows is that. */
int local_take_bytes_max(struct local_parse *p, struct local_value *v);
int local_take_entries_max(struct local_parse *p, struct local_value *v);

/* What takers are made of. */
int local_read_string(const struct wire_token *t, struct span *ret);
/* A whole number, also one that came as a float. */
int local_read_natural(const struct wire_token *t, uint64_t min, uint64_t max, uint64_t *ret);
/* Seconds, from 0 on. What is beyond all timeouts is cut off. */
int local_read_seconds(const struct wire_token *t, uint64_t *ret_ns);
/* A string into p->text, with its NUL. */
int local_append_string(struct buf *b, struct span s);

/*
 * The requests of the tmux tool, and of ARTIFACT_*. 0; an enum tr_verdict that refuses the call, with
 * the error; -ENOMEM, -E2BIG.
 */
int local_terminal_read(struct local_parse *p, const struct backend_op *op);
int local_artifact_read(struct local_parse *p, const struct backend_op *op);

#endif
