/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Python objects to msgpack, by msgpack-c's packer into a buffer that begins on the stack. A value
 * that cannot be sent is named by where it stands: the path is put together on the way out.
 */
#include "native.h"

#include <stdio.h>
#include <string.h>

#include <msgpack/pack.h>

#define DEPTH_MAX 64 /* what the executor takes */

#define KEY_SHOWN 64 /* bytes of a key in a path */

#define WHY_TYPE                                                                                   \
	"cannot be sent; None, bool, int, float, str, bytes, list, tuple and dict with str keys can"

void pack_init(struct pack *p, const struct state *state)
{
	p->state = state;
	p->data = p->small;
	p->n = 0;
	p->size = sizeof(p->small);
	p->depth = 0;
	p->why = NULL;
	p->path[0] = '\0';
}

void pack_deinit(struct pack *p)
{
	if (p->data != p->small)
		PyMem_Free(p->data);
}

static int grow(struct pack *p, size_t n)
{
	size_t size = p->size;
	char *data;

	while (size - p->n < n) {
		if (size > PY_SSIZE_T_MAX / 2)
			return -1;
		size *= 2;
	}
	data = PyMem_Realloc(p->data == p->small ? NULL : p->data, size);
	if (!data)
		return -1;
	if (p->data == p->small)
		memcpy(data, p->small, p->n);
	p->data = data;
	p->size = size;
	return 0;
}

static int write_bytes(void *context, const char *bytes, size_t n)
{
	struct pack *p = context;

	if (n > p->size - p->n && grow(p, n) < 0) {
		PyErr_NoMemory();
		return -1;
	}
	memcpy(p->data + p->n, bytes, n);
	p->n += n;
	return 0;
}

static msgpack_packer packer(struct pack *p)
{
	return (msgpack_packer){.data = p, .callback = write_bytes};
}

/* ---- what cannot be sent ----------------------------------------------------------------------------- */

/* How much of a text is at most n bytes without a character cut in two. */
static int cut(const char *text, size_t n)
{
	size_t length = strlen(text);

	if (length <= n)
		return (int)length;
	while (n > 0 && ((uint8_t)text[n] & 0xc0) == 0x80)
		n--;
	return (int)n;
}

static int refuse(struct pack *p, PyObject *value, const char *why)
{
	PyObject *name = PyObject_GetAttr((PyObject *)Py_TYPE(value), p->state->names[NAME_NAME]);
	const char *text = name ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;

	snprintf(p->kind, sizeof(p->kind), "%.*s", cut(text ? text : "?", sizeof(p->kind) - 1),
		 text ? text : "?");
	Py_XDECREF(name);
	PyErr_Clear();
	p->why = why;
	return -1;
}

/* The same in place of the exception that is set, unless that is nothing of the value's. */
static int refuse_instead(struct pack *p, PyObject *value, const char *why)
{
	if (!PyErr_ExceptionMatches(PyExc_Exception) || PyErr_ExceptionMatches(PyExc_MemoryError))
		return -1;
	PyErr_Clear();
	return refuse(p, value, why);
}

/* Puts where it stood in front of the path. Of one that is too long the outer end stays. */
static int within(struct pack *p, const char *step)
{
	char path[2 * sizeof(p->path)];
	int n = snprintf(path, sizeof(path), "%s%s", step, p->path);

	if (n < (int)sizeof(p->path))
		memcpy(p->path, path, (size_t)n + 1);
	else
		snprintf(p->path, sizeof(p->path), "%.*s...", cut(path, sizeof(p->path) - 4), path);
	return -1;
}

static int within_index(struct pack *p, Py_ssize_t i)
{
	char step[32];

	snprintf(step, sizeof(step), "[%zd]", i);
	return within(p, step);
}

static int within_key(struct pack *p, PyObject *key)
{
	char step[KEY_SHOWN + 2];
	const char *text;

	if (!p->why)
		return -1; /* not the value's fault */
	text = PyUnicode_Check(key) ? PyUnicode_AsUTF8AndSize(key, NULL) : NULL;
	PyErr_Clear();
	if (!text)
		text = "?";
	snprintf(step, sizeof(step), ".%.*s", cut(text, KEY_SHOWN), text);
	return within(p, step);
}

/* ---- one value --------------------------------------------------------------------------------------- */

static int pack_any(struct pack *p, PyObject *value);

static int pack_text(struct pack *p, PyObject *value)
{
	msgpack_packer to = packer(p);
	Py_ssize_t n;
	const char *text = PyUnicode_AsUTF8AndSize(value, &n);

	if (!text) {
		if (!PyErr_ExceptionMatches(PyExc_UnicodeError))
			return -1;
		PyErr_Clear();
		return refuse(p, value, "is no valid text: it has a lone surrogate");
	}
	return msgpack_pack_str(&to, (size_t)n) < 0 ||
			       msgpack_pack_str_body(&to, text, (size_t)n) < 0
		       ? -1
		       : 0;
}

/* A buffer of no dimensions is one value, as NumPy's: its bytes are not what is meant. */
static int pack_scalar(struct pack *p, PyObject *value, const Py_buffer *view)
{
	const char *format = view->format ? view->format : "";
	msgpack_packer to = packer(p);
	double d;

	if (strcmp(format, "?") == 0 && view->len == 1)
		return *(const char *)view->buf ? msgpack_pack_true(&to) : msgpack_pack_false(&to);
	/* "Zd" is complex, and can be made a float as well. */
	if (strlen(format) != 1 || !strchr("efdg", *format))
		return refuse(p, value, WHY_TYPE);
	d = PyFloat_AsDouble(value);
	if (d == -1 && PyErr_Occurred())
		return refuse_instead(p, value, WHY_TYPE);
	return msgpack_pack_double(&to, d);
}

static int pack_view(struct pack *p, PyObject *value, const Py_buffer *view)
{
	msgpack_packer to = packer(p);

	if (view->ndim == 0)
		return pack_scalar(p, value, view);
	if (view->itemsize != 1)
		return refuse(p, value,
			      "has items of more than a byte; tobytes() or tolist() say "
			      "which is meant");
	if ((size_t)view->len > UINT32_MAX)
		return refuse(p, value, "is longer than 4 GiB");
	return msgpack_pack_bin(&to, (size_t)view->len) < 0 ||
			       msgpack_pack_bin_body(&to, view->buf, (size_t)view->len) < 0
		       ? -1
		       : 0;
}

static int pack_bytes(struct pack *p, PyObject *value)
{
	Py_buffer view;
	int r;

	if (PyObject_GetBuffer(value, &view, PyBUF_ND | PyBUF_FORMAT) < 0)
		return refuse_instead(p, value, "is no run of bytes without gaps");
	r = pack_view(p, value, &view);
	PyBuffer_Release(&view);
	return r;
}

static int pack_integer(struct pack *p, PyObject *value)
{
	msgpack_packer to = packer(p);
	int overflow;
	long long i = PyLong_AsLongLongAndOverflow(value, &overflow);
	unsigned long long u;

	if (!overflow)
		return i == -1 && PyErr_Occurred() ? -1 : msgpack_pack_int64(&to, i);
	u = overflow > 0 ? PyLong_AsUnsignedLongLong(value) : ULLONG_MAX;
	if (overflow < 0 || (u == ULLONG_MAX && PyErr_Occurred())) {
		PyErr_Clear();
		return refuse(p, value, "does not fit 64 bits");
	}
	return msgpack_pack_uint64(&to, u);
}

/* What counts as a whole number by __index__, as NumPy's do. 1: it does not. */
static int pack_index(struct pack *p, PyObject *value)
{
	PyObject *integer;
	int r;

	if (!PyIndex_Check(value))
		return 1;
	integer = PyNumber_Index(value);
	if (!integer && PyErr_ExceptionMatches(PyExc_TypeError)) {
		PyErr_Clear();
		return 1;
	}
	r = integer ? pack_integer(p, integer) : -1;
	Py_XDECREF(integer);
	return r;
}

static int enter(struct pack *p, PyObject *value)
{
	if (p->depth == DEPTH_MAX)
		return refuse(p, value, "is nested deeper than 64, or contains itself");
	p->depth++;
	return 0;
}

static int pack_sequence(struct pack *p, PyObject *value)
{
	msgpack_packer to = packer(p);
	Py_ssize_t n = PySequence_Size(value);
	int r = n < 0 ? -1 : enter(p, value);

	if (r < 0)
		return -1;
	r = msgpack_pack_array(&to, (size_t)n);
	for (Py_ssize_t i = 0; i < n && r == 0; i++) {
		PyObject *item = PySequence_GetItem(value, i);

		if (!item && PyErr_ExceptionMatches(PyExc_IndexError)) {
			PyErr_Clear();
			return refuse(p, value, "changed while it was packed");
		}
		if (!item)
			return -1;
		r = pack_any(p, item);
		Py_DECREF(item);
		if (r < 0 && p->why)
			within_index(p, i);
	}
	p->depth--;
	return r;
}

static int pack_pair(struct pack *p, PyObject *key, PyObject *value)
{
	int r;

	if (!PyUnicode_Check(key)) {
		refuse(p, key, "is a key that is no str");
		return within_key(p, key);
	}
	r = pack_text(p, key);
	if (r == 0)
		r = pack_any(p, value);
	return r < 0 ? within_key(p, key) : 0;
}

/* A list of pairs, from a mapping that is no dict or for want of a lock around one that is. */
static int pack_items(struct pack *p, PyObject *items)
{
	Py_ssize_t n = PyList_Size(items);
	int r = 0;

	for (Py_ssize_t i = 0; i < n && r == 0; i++) {
		PyObject *pair = PyList_GetItem(items, i);
		PyObject *key = PyTuple_Check(pair) && PyTuple_Size(pair) == 2
					? PyTuple_GetItem(pair, 0)
					: NULL;

		r = key ? pack_pair(p, key, PyTuple_GetItem(pair, 1))
			: refuse(p, pair, "is what items() gave, and no pair");
	}
	return r;
}

#ifdef Py_GIL_DISABLED
/* Another thread may change the dict meanwhile: a list of its items is ours. */
static int pack_dict_pairs(struct pack *p, PyObject *dict, Py_ssize_t n_more)
{
	PyObject *items = PyDict_Items(dict);
	msgpack_packer to = packer(p);
	int r = items ? msgpack_pack_map(&to, (size_t)(PyList_Size(items) + n_more)) : -1;

	if (r == 0)
		r = pack_items(p, items);
	Py_XDECREF(items);
	return r;
}
#else
static int pack_dict_pairs(struct pack *p, PyObject *dict, Py_ssize_t n_more)
{
	msgpack_packer to = packer(p);
	Py_ssize_t n = PyDict_Size(dict), at = 0, n_done = 0;
	PyObject *key, *value;
	int r = msgpack_pack_map(&to, (size_t)(n + n_more));

	while (r == 0 && n_done <= n && PyDict_Next(dict, &at, &key, &value)) {
		/* A value's own code (__index__, a buffer's) may change the dict. */
		Py_INCREF(key);
		Py_INCREF(value);
		r = pack_pair(p, key, value);
		Py_DECREF(key);
		Py_DECREF(value);
		n_done++;
	}
	if (r == 0 && n_done != n)
		r = refuse(p, dict, "changed while it was packed");
	return r;
}
#endif

static int pack_mapping_pairs(struct pack *p, PyObject *mapping, Py_ssize_t n_more)
{
	msgpack_packer to = packer(p);
	PyObject *items;
	int r;

	if (PyDict_Check(mapping))
		return pack_dict_pairs(p, mapping, n_more);
	items = PyMapping_Items(mapping);
	if (!items)
		return -1;
	r = msgpack_pack_map(&to, (size_t)(PyList_Size(items) + n_more));
	if (r == 0)
		r = pack_items(p, items);
	Py_DECREF(items);
	return r;
}

static int pack_mapping(struct pack *p, PyObject *value)
{
	int r = enter(p, value);

	if (r == 0) {
		r = pack_mapping_pairs(p, value, 0);
		p->depth--;
	}
	return r;
}

static bool is_mapping(const struct pack *p, PyObject *value)
{
	return PyDict_Check(value) ||
	       (PyMapping_Check(value) && PyObject_HasAttr(value, p->state->names[NAME_KEYS]));
}

/* What is none of Python's own, but behaves like one of them. */
static int pack_other(struct pack *p, PyObject *value)
{
	int r;

	if (is_mapping(p, value))
		return pack_mapping(p, value);
	r = pack_index(p, value);
	if (r <= 0)
		return r;
	return PyObject_CheckBuffer(value) ? pack_bytes(p, value) : refuse(p, value, WHY_TYPE);
}

static int pack_any(struct pack *p, PyObject *value)
{
	msgpack_packer to = packer(p);

	if (PyUnicode_Check(value))
		return pack_text(p, value);
	if (value == Py_None)
		return msgpack_pack_nil(&to);
	if (PyBool_Check(value))
		return value == Py_True ? msgpack_pack_true(&to) : msgpack_pack_false(&to);
	if (PyLong_Check(value))
		return pack_integer(p, value);
	if (PyFloat_Check(value))
		return msgpack_pack_double(&to, PyFloat_AsDouble(value));
	if (PyBytes_Check(value) || PyByteArray_Check(value))
		return pack_bytes(p, value);
	if (PyList_Check(value) || PyTuple_Check(value))
		return pack_sequence(p, value);
	return pack_other(p, value);
}

/* ---- from outside ------------------------------------------------------------------------------------ */

static int raise_refusal(struct pack *p, const char *root)
{
	char text[512];

	if (!p->why)
		return -1; /* an exception is set */
	snprintf(text, sizeof(text), "%s%s: %s %s", root, p->path, p->kind, p->why);
	result_raise(p->state, TR_INVALID, text);
	return -1;
}

int pack_map(struct pack *p, size_t n)
{
	msgpack_packer to = packer(p);

	return msgpack_pack_map(&to, n);
}

int pack_key(struct pack *p, const char *key)
{
	msgpack_packer to = packer(p);
	size_t n = strlen(key);

	return msgpack_pack_str(&to, n) < 0 ? -1 : msgpack_pack_str_body(&to, key, n);
}

int pack_value(struct pack *p, PyObject *value, const char *root)
{
	return pack_any(p, value) < 0 ? raise_refusal(p, root) : 0;
}

int pack_members(struct pack *p, PyObject *mapping, PyObject *trajectory_id)
{
	int r = 0;

	if (!is_mapping(p, mapping))
		r = refuse(p, mapping, "is no mapping of members");
	p->depth = 1;
	if (r == 0)
		r = pack_mapping_pairs(p, mapping, trajectory_id != Py_None);
	if (r < 0)
		return raise_refusal(p, "call");
	if (trajectory_id == Py_None)
		return 0;
	if (pack_key(p, "trajectory_id") < 0)
		return -1;
	return pack_value(p, trajectory_id, "trajectory_id");
}
