/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/local_form.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"

/* Far beyond every timeout, and still exact enough as a double. */
#define SECONDS_MAX 1e6

/* ---- values --------------------------------------------------------------------------------------- */

int local_read_string(const struct wire_token *t, struct span *ret)
{
	struct span s = span_of(t->u.bytes, t->n);

	if (t->type != WIRE_STRING || (s.n && memchr(s.data, 0, s.n)))
		return -EINVAL;
	*ret = s;
	return 0;
}

int local_read_natural(const struct wire_token *t, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t n;

	if (t->type == WIRE_INT && t->u.integer >= 0)
		n = (uint64_t)t->u.integer;
	else if (t->type == WIRE_UINT)
		n = t->u.natural;
	else if (t->type == WIRE_FLOAT && t->u.real >= 0 && t->u.real < 0x1p53)
		n = (uint64_t)t->u.real;
	else
		return -EINVAL;
	if (t->type == WIRE_FLOAT && (double)n != t->u.real)
		return -EINVAL;
	if (n < min || n > max)
		return -EINVAL;
	*ret = n;
	return 0;
}

int local_read_seconds(const struct wire_token *t, uint64_t *ret_ns)
{
	double s;

	if (t->type == WIRE_INT)
		s = (double)t->u.integer;
	else if (t->type == WIRE_UINT)
		s = (double)t->u.natural;
	else if (t->type == WIRE_FLOAT)
		s = t->u.real;
	else
		return -EINVAL;
	/* Not so for NaN either. */
	if (!(s >= 0))
		return -EINVAL;
	if (s > SECONDS_MAX)
		s = SECONDS_MAX;
	*ret_ns = (uint64_t)(s * (double)NS_PER_S);
	return 0;
}

int local_append_string(struct buf *b, struct span s)
{
	int r = buf_append(b, s.data, s.n);

	return r < 0 ? r : buf_append(b, "", 1);
}

/* ---- takers --------------------------------------------------------------------------------------- */

int local_take_string(struct local_parse *p, struct local_value *v)
{
	return local_read_string(&v->t, &p->q->parts[v->member->which]);
}

int local_take_text(struct local_parse *p, struct local_value *v)
{
	if (v->t.type != WIRE_STRING || !utf8_valid(span_of(v->t.u.bytes, v->t.n)))
		return -EINVAL;
	return local_take_string(p, v);
}

int local_take_bytes(struct local_parse *p, struct local_value *v)
{
	if (v->t.type != WIRE_STRING && v->t.type != WIRE_BINARY)
		return -EINVAL;
	p->q->parts[v->member->which] = span_of(v->t.u.bytes, v->t.n);
	return 0;
}

int local_take_flag(struct local_parse *p, struct local_value *v)
{
	if (v->t.type != WIRE_BOOL)
		return -EINVAL;
	p->q->header.flags &= ~v->member->which;
	if (v->t.u.boolean)
		p->q->header.flags |= v->member->which;
	return 0;
}

int local_take_argv(struct local_parse *p, struct local_value *v)
{
	size_t at = p->text->n;

	if (v->t.type != WIRE_ARRAY)
		return -EINVAL;
	for (uint32_t i = 0; i < v->t.n; i++) {
		struct wire_token item;
		struct span s;
		int r;

		if (wire_read(&v->inner, &item) < 0 || local_read_string(&item, &s) < 0)
			return -EINVAL;
		r = local_append_string(p->text, s);
		if (r < 0)
			return r;
	}
	p->argv_at = at;
	p->n_argv = p->text->n - at;
	return 0;
}

int local_take_bytes_max(struct local_parse *p, struct local_value *v)
{
	return local_read_natural(&v->t, 1, UINT64_MAX, &p->n_bytes_max);
}

int local_take_entries_max(struct local_parse *p, struct local_value *v)
{
	return local_read_natural(&v->t, 1, UINT64_MAX, &p->n_entries_max);
}

/* ---- forms ---------------------------------------------------------------------------------------- */

static int wrong_member(struct local_parse *p, const struct local_form *form,
			const struct local_member *m)
{
	if (m->refusal)
		snprintf(p->error, p->n_error, "%s", m->refusal);
	else if (m->must_be)
		snprintf(p->error, p->n_error, "%s%s must be %s", form->prefix, m->name,
			 m->must_be);
	return -EINVAL;
}

static int unknown_key(struct local_parse *p, const struct local_form *form, struct span key)
{
	char shown[41];
	int n = snprintf(p->error, p->n_error,
			 "unknown key \"%s\" in %s; allowed:", utf8_show(key, shown, sizeof(shown)),
			 form->name);

	for (size_t i = 0; i < form->n_members && (size_t)n < p->n_error; i++)
		n += snprintf(p->error + n, p->n_error - (size_t)n, " %s", form->members[i].name);
	return -EINVAL;
}

static const struct local_member *find_member(const struct local_form *form, struct span key)
{
	for (size_t i = 0; i < form->n_members; i++)
		if (span_is(key, form->members[i].name))
			return &form->members[i];
	return NULL;
}

static int take_member(struct local_parse *p, const struct local_form *form, struct wire_reader *r,
		       uint32_t *given)
{
	const struct local_member *m;
	struct span key, object;
	struct local_value v;
	int e;

	if (wire_read_key(r, &key, &v.t) != 0) {
		snprintf(p->error, p->n_error, "the keys of %s must be strings", form->name);
		return -EINVAL;
	}
	m = find_member(form, key);
	if (!m && form->strict)
		return unknown_key(p, form, key);
	if (wire_skip(r, &object) < 0)
		return -EINVAL;
	if (!m)
		return 0;
	v.member = m;
	wire_reader_init(&v.inner, object.data, object.n, LOCAL_STEPS_MAX);
	if (wire_read(&v.inner, &v.t) < 0)
		return -EINVAL;
	/* As callers have it that name every member always. */
	if (v.t.type == WIRE_NIL && !m->required)
		return 0;
	e = m->take(p, &v);
	if (e == -EINVAL)
		return wrong_member(p, form, m);
	*given |= 1u << (m - form->members);
	return e;
}

int local_form_read(struct local_parse *p, const struct local_form *form, struct span map,
		    uint32_t *ret_given)
{
	struct wire_reader r;
	struct wire_token t = {.type = WIRE_MAP};
	uint32_t given = 0;

	assert(form->n_members <= 32);
	wire_reader_init(&r, map.data, map.n, LOCAL_STEPS_MAX);
	if (map.n && (wire_read(&r, &t) < 0 || t.type != WIRE_MAP)) {
		snprintf(p->error, p->n_error, "%s must be a map", form->name);
		return -EINVAL;
	}
	for (uint32_t i = 0; i < t.n; i++) {
		int e = take_member(p, form, &r, &given);

		if (e < 0)
			return e;
	}
	for (size_t i = 0; i < form->n_members; i++)
		if (form->members[i].required && !(given & 1u << i))
			return wrong_member(p, form, &form->members[i]);
	if (ret_given)
		*ret_given = given;
	return 0;
}
