/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msgpack to Python objects. Nothing is allocated on the word of a header alone: a container grows
 * with what is really there. What a length or a count promises must fit what is left, nesting has a
 * bound, and each value takes a byte at least, so the work is bounded by the size of the payload.
 */
#include "native.h"

#include <string.h>

#define DEPTH_MAX 64

struct unpack {
	const struct state *state;
	const uint8_t *at;
	const uint8_t *end;
	unsigned depth;
};

static PyObject *value(struct unpack *u);

static PyObject *malformed(void)
{
	if (!PyErr_Occurred())
		PyErr_SetString(PyExc_ValueError, "malformed msgpack");
	return NULL;
}

static size_t left(const struct unpack *u)
{
	return (size_t)(u->end - u->at);
}

/* A big-endian number of n bytes. false: they are not there. */
static bool number(struct unpack *u, unsigned n, uint64_t *ret)
{
	uint64_t v = 0;

	if (left(u) < n)
		return false;
	for (unsigned i = 0; i < n; i++)
		v = v << 8 | *u->at++;
	*ret = v;
	return true;
}

static PyObject *unsigned_number(struct unpack *u, unsigned n)
{
	uint64_t v;

	return number(u, n, &v) ? PyLong_FromUnsignedLongLong(v) : malformed();
}

static PyObject *signed_number(struct unpack *u, unsigned n)
{
	uint64_t v, sign = UINT64_C(1) << (8 * n - 1);

	if (!number(u, n, &v))
		return malformed();
	return PyLong_FromLongLong((int64_t)((v ^ sign) - sign));
}

static PyObject *real(struct unpack *u, unsigned n)
{
	uint64_t v;
	uint32_t small;
	double d;
	float f;

	if (!number(u, n, &v))
		return malformed();
	if (n == 8) {
		memcpy(&d, &v, sizeof(d));
		return PyFloat_FromDouble(d);
	}
	small = (uint32_t)v;
	memcpy(&f, &small, sizeof(f));
	return PyFloat_FromDouble((double)f);
}

/* Text that is none, which toolringd never sends, reads with U+FFFD, as everything does there. */
static PyObject *text(struct unpack *u, uint64_t n)
{
	const char *data = (const char *)u->at;

	if (n > left(u))
		return malformed();
	u->at += n;
	return PyUnicode_DecodeUTF8(data, (Py_ssize_t)n, "replace");
}

static PyObject *bytes(struct unpack *u, uint64_t n)
{
	const char *data = (const char *)u->at;

	if (n > left(u))
		return malformed();
	u->at += n;
	return PyBytes_FromStringAndSize(data, (Py_ssize_t)n);
}

static PyObject *array(struct unpack *u, uint64_t n)
{
	PyObject *list;

	if (n > left(u) || u->depth == DEPTH_MAX)
		return malformed();
	list = PyList_New(0);
	u->depth++;
	for (uint64_t i = 0; i < n && list; i++) {
		PyObject *item = value(u);

		if (!item || PyList_Append(list, item) < 0)
			Py_CLEAR(list);
		Py_XDECREF(item);
	}
	u->depth--;
	return list;
}

/* A map's key: a string. */
static PyObject *map_key(struct unpack *u)
{
	uint64_t n;
	uint8_t head;
	PyObject *key;

	if (u->at == u->end)
		return malformed();
	head = *u->at++;
	if ((head & 0xe0) == 0xa0)
		n = head & 0x1f;
	else if (head < 0xd9 || head > 0xdb || !number(u, 1u << (head - 0xd9), &n))
		return malformed();
	if (n > left(u))
		return malformed();
	if (n > KEYS_BYTES_MAX)
		return text(u, n);
	key = state_key(u->state, (const char *)u->at, (size_t)n);
	u->at += n;
	return key;
}

static PyObject *map(struct unpack *u, uint64_t n)
{
	PyObject *dict;

	if (n > left(u) / 2 || u->depth == DEPTH_MAX)
		return malformed();
	dict = PyDict_New();
	u->depth++;
	for (uint64_t i = 0; i < n && dict; i++) {
		PyObject *key = map_key(u);
		PyObject *item = key ? value(u) : NULL;

		if (!item || PyDict_SetItem(dict, key, item) < 0)
			Py_CLEAR(dict);
		Py_XDECREF(key);
		Py_XDECREF(item);
	}
	u->depth--;
	return dict;
}

/* What has its length in n bytes behind the head. */
static PyObject *sized(struct unpack *u, unsigned n, PyObject *(*read)(struct unpack *, uint64_t))
{
	uint64_t size;

	return number(u, n, &size) ? read(u, size) : malformed();
}

static PyObject *value(struct unpack *u)
{
	uint8_t head;

	if (u->at == u->end)
		return malformed();
	head = *u->at++;
	if (head < 0x80)
		return PyLong_FromLong(head);
	if (head < 0x90)
		return map(u, head & 0x0f);
	if (head < 0xa0)
		return array(u, head & 0x0f);
	if (head < 0xc0)
		return text(u, head & 0x1f);
	if (head >= 0xe0)
		return PyLong_FromLong((int8_t)head);
	switch (head) {
	case 0xc0:
		return Py_NewRef(Py_None);
	case 0xc2:
		return Py_NewRef(Py_False);
	case 0xc3:
		return Py_NewRef(Py_True);
	case 0xc4: /* binary of 8, 16, 32 bits of length */
	case 0xc5:
	case 0xc6:
		return sized(u, 1u << (head - 0xc4), bytes);
	case 0xca:
	case 0xcb:
		return real(u, head == 0xca ? 4 : 8);
	case 0xcc:
	case 0xcd:
	case 0xce:
	case 0xcf:
		return unsigned_number(u, 1u << (head - 0xcc));
	case 0xd0:
	case 0xd1:
	case 0xd2:
	case 0xd3:
		return signed_number(u, 1u << (head - 0xd0));
	case 0xd9:
	case 0xda:
	case 0xdb:
		return sized(u, 1u << (head - 0xd9), text);
	case 0xdc:
	case 0xdd:
		return sized(u, head == 0xdc ? 2 : 4, array);
	case 0xde:
	case 0xdf:
		return sized(u, head == 0xde ? 2 : 4, map);
	default: /* 0xc1 is never used; extension types mean nothing here */
		return malformed();
	}
}

PyObject *unpack(const struct state *state, const void *data, size_t n)
{
	struct unpack u = {.state = state, .at = data, .end = (const uint8_t *)data + n};
	PyObject *object = value(&u);

	if (object && u.at != u.end) {
		Py_DECREF(object);
		return malformed();
	}
	return object;
}
