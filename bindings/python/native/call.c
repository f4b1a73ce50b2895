/* SPDX-License-Identifier: Apache-2.0 */
/* What Python gives for a call, and the payload that it becomes. */
#include "native.h"

/* The count, and that the first, the result's class, is one that can be filled. */
static bool arguments_are(const struct state *state, PyObject *const *arguments, Py_ssize_t n,
			  Py_ssize_t expected)
{
	if (n != expected) {
		PyErr_Format(PyExc_TypeError, "%zd arguments expected, not %zd", expected, n);
		return false;
	}
	if (!PyType_Check(arguments[0]) ||
	    !PyType_IsSubtype((PyTypeObject *)arguments[0], (PyTypeObject *)state->result_class)) {
		PyErr_SetString(PyExc_TypeError, "a class derived from Result expected");
		return false;
	}
	return true;
}

int call_read_execute(const struct state *state, struct call_arguments *call,
		      PyObject *const *arguments, Py_ssize_t n)
{
	if (!arguments_are(state, arguments, n, 6))
		return -1;
	*call = (struct call_arguments){
		.kind = TR_KIND_EXECUTE,
		.class = arguments[0],
		.trajectory_id = arguments[1],
		.tool = arguments[2],
		.arguments = arguments[3],
		.timeout_s = arguments[4],
		.uniq_id = arguments[5],
	};
	return 0;
}

int call_read_request(const struct state *state, struct call_arguments *call,
		      PyObject *const *arguments, Py_ssize_t n)
{
	long kind;

	if (!arguments_are(state, arguments, n, 4))
		return -1;
	kind = PyLong_AsLong(arguments[1]);
	if (kind == -1 && PyErr_Occurred())
		return -1;
	/* An EXECUTE has more to it than members. */
	if (!tr_kind_name((enum tr_kind)kind) || (enum tr_kind)kind == TR_KIND_EXECUTE) {
		PyErr_Format(PyExc_ValueError, "there is no such kind of request: %ld", kind);
		return -1;
	}
	*call = (struct call_arguments){
		.kind = (enum tr_kind)kind,
		.class = arguments[0],
		.trajectory_id = arguments[2],
		.arguments = arguments[3],
	};
	return 0;
}

/* {trajectory_id, tool: {name, arguments, uniq_id?}, timeout_s?} */
static int pack_execute(const struct call_arguments *call, struct pack *p)
{
	bool has_timeout = call->timeout_s != Py_None, has_uniq_id = call->uniq_id != Py_None;

	if (pack_map(p, 2u + has_timeout) < 0 || pack_key(p, "trajectory_id") < 0 ||
	    pack_value(p, call->trajectory_id, "trajectory_id") < 0 || pack_key(p, "tool") < 0 ||
	    pack_map(p, 2u + has_uniq_id) < 0 || pack_key(p, "name") < 0 ||
	    pack_value(p, call->tool, "tool") < 0 || pack_key(p, "arguments") < 0 ||
	    pack_value(p, call->arguments, "arguments") < 0)
		return -1;
	if (has_uniq_id &&
	    (pack_key(p, "uniq_id") < 0 || pack_value(p, call->uniq_id, "uniq_id") < 0))
		return -1;
	if (has_timeout &&
	    (pack_key(p, "timeout_s") < 0 || pack_value(p, call->timeout_s, "timeout") < 0))
		return -1;
	return 0;
}

int call_pack(const struct call_arguments *call, struct pack *p)
{
	if (call->kind == TR_KIND_EXECUTE)
		return pack_execute(call, p);
	return pack_members(p, call->arguments, call->trajectory_id);
}
