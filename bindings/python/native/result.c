/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A result as Python has it. The library has read what every result holds (struct tr_result, whose
 * pieces lie in the payload, TR_OPEN_IN_PLACE); what a class has beyond that is read from the whole
 * payload. Instances are made without their __init__, and filled past the __setattr__ that makes them
 * unchangeable for everybody else.
 */
#include "native.h"

#include <string.h>

/* ---- the pieces --------------------------------------------------------------------------------------- */

static PyObject *text_of(const struct state *state, struct tr_slice slice)
{
	if (!slice.n)
		return Py_NewRef(state->empty_text);
	return PyUnicode_DecodeUTF8(slice.data, (Py_ssize_t)slice.n, "replace");
}

/* Of numbers alone, so the garbage collector need not look at it. */
static PyObject *timing_of(const struct state *state, const struct tr_timing *timing)
{
	PyTypeObject *class = (PyTypeObject *)state->timing_class;
	allocfunc alloc = (allocfunc)PyType_GetSlot(class, Py_tp_alloc);
	PyObject *made = alloc(class, TR_N_PHASES);

	if (made)
		PyObject_GC_UnTrack(made);
	for (Py_ssize_t i = 0; i < TR_N_PHASES && made; i++) {
		PyObject *ns = PyLong_FromUnsignedLongLong(timing->ns[i]);

		if (!ns || PyTuple_SetItem(made, i, ns) < 0)
			Py_CLEAR(made);
	}
	return made;
}

static PyObject *metadata_of(const struct state *state, struct tr_slice slice)
{
	PyObject *metadata = slice.n ? unpack(state, slice.data, slice.n) : PyDict_New();

	if (metadata && !PyDict_Check(metadata)) {
		Py_DECREF(metadata);
		PyErr_SetString(PyExc_ValueError, "malformed msgpack");
		return NULL;
	}
	return metadata;
}

/* ---- filling an instance ------------------------------------------------------------------------------ */

/* Takes the reference to value, which may be NULL: an exception is set. */
static int set(PyObject *object, PyObject *name, PyObject *value)
{
	int r = value ? PyObject_GenericSetAttr(object, name, value) : -1;

	Py_XDECREF(value);
	return r;
}

static PyObject *truth(bool b)
{
	return Py_NewRef(b ? Py_True : Py_False);
}

static bool is_true(PyObject *dict, PyObject *key)
{
	return PyDict_GetItemWithError(dict, key) == Py_True;
}

static int set_from_metadata(const struct state *state, PyObject *object, PyObject *metadata)
{
	PyObject *const *names = state->names;
	PyObject *exit_code = PyDict_GetItemWithError(metadata, names[NAME_EXIT_CODE]);
	bool truncated = is_true(metadata, names[NAME_TRUNCATED]) ||
			 is_true(metadata, names[NAME_STDOUT_TRUNCATED]) ||
			 is_true(metadata, names[NAME_STDERR_TRUNCATED]);

	if (!exit_code || !PyLong_Check(exit_code))
		exit_code = Py_None;
	if (set(object, names[NAME_EXIT_CODE], Py_NewRef(exit_code)) < 0 ||
	    set(object, names[NAME_TRUNCATED], truth(truncated)) < 0)
		return -1;
	return set(object, names[NAME_METADATA], Py_NewRef(metadata));
}

/* One of the class's own: (key in the payload, name of the field, default). */
static int set_more_one(PyObject *object, PyObject *payload, PyObject *row)
{
	PyObject *value;

	if (!PyTuple_Check(row) || PyTuple_Size(row) != 3) {
		PyErr_SetString(PyExc_TypeError, "_MORE must have rows of three");
		return -1;
	}
	value = PyDict_GetItemWithError(payload, PyTuple_GetItem(row, 0));
	if (!value)
		value = PyTuple_GetItem(row, 2);
	return set(object, PyTuple_GetItem(row, 1), Py_NewRef(value));
}

static int set_more(const struct state *state, PyObject *object, PyObject *class,
		    struct tr_slice raw)
{
	PyObject *rows = PyObject_GetAttr(class, state->names[NAME_MORE]);
	PyObject *payload = NULL;
	Py_ssize_t n = rows ? PyTuple_Size(rows) : -1;
	int r = n < 0 ? -1 : 0;

	if (n > 0) {
		/* A result that the library made itself has no payload. */
		payload = raw.n ? unpack(state, raw.data, raw.n) : PyDict_New();
		if (!payload || !PyDict_Check(payload))
			r = -1;
		else if (is_true(payload, state->names[NAME_TRUNCATED]))
			r = set(object, state->names[NAME_TRUNCATED], truth(true));
	}
	for (Py_ssize_t i = 0; i < n && r == 0; i++)
		r = set_more_one(object, payload, PyTuple_GetItem(rows, i));
	Py_XDECREF(payload);
	Py_XDECREF(rows);
	return r;
}

static int fill(const struct state *state, PyObject *object, PyObject *class,
		const struct tr_result *result)
{
	PyObject *const *names = state->names;
	PyObject *metadata = metadata_of(state, result->metadata);
	int r = metadata ? set_from_metadata(state, object, metadata) : -1;

	Py_XDECREF(metadata);
	if (r < 0 || set(object, names[NAME_SUCCESS], truth(result->success)) < 0 ||
	    set(object, names[NAME_OUTPUT], text_of(state, result->output)) < 0 ||
	    set(object, names[NAME_ERROR], text_of(state, result->error)) < 0 ||
	    set(object, names[NAME_VERDICT], Py_NewRef(state->verdicts[result->verdict])) < 0 ||
	    set(object, names[NAME_TIMED_OUT], truth(result->verdict == TR_TIMEOUT)) < 0 ||
	    set(object, names[NAME_TIMING], timing_of(state, &result->timing)) < 0 ||
	    set(object, names[NAME_UNIQ_ID], text_of(state, result->uniq_id)) < 0 ||
	    set(object, names[NAME_SLOT_ID], text_of(state, result->slot_id)) < 0)
		return -1;
	return set_more(state, object, class, result->raw);
}

PyObject *result_make(const struct state *state, PyObject *class, const struct tr_result *result)
{
	newfunc new = (newfunc)PyType_GetSlot((PyTypeObject *)class, Py_tp_new);
	PyObject *object = new ((PyTypeObject *)class, state->empty_tuple, NULL);

	if (object && fill(state, object, class, result) < 0)
		Py_CLEAR(object);
	if (!object && PyErr_ExceptionMatches(PyExc_ValueError)) {
		PyErr_Clear();
		result_raise(state, TR_UNKNOWN, "the result that came cannot be read");
	}
	return object;
}

/* ---- what is raised ------------------------------------------------------------------------------------ */

static PyObject *exception_of(const struct state *state, PyObject *raised, PyObject *result)
{
	PyObject *error = PyObject_GetAttr(result, state->names[NAME_ERROR]);
	PyObject *exception;

	if (!error)
		return NULL;
	exception = PyObject_CallFunctionObjArgs(raised, error, result, NULL);
	Py_DECREF(error);
	return exception;
}

PyObject *result_outcome(const struct state *state, PyObject *class, const struct tr_result *result,
			 bool *ret_raised)
{
	PyObject *raised = state->raised[result->verdict];
	PyObject *value = result_make(state, class, result);
	PyObject *exception;

	*ret_raised = value && raised;
	if (!*ret_raised)
		return value;
	exception = exception_of(state, raised, value);
	Py_DECREF(value);
	return exception;
}

void result_throw(PyObject *exception)
{
	PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
}

PyObject *result_own(const struct state *state, enum tr_verdict verdict, const char *message)
{
	struct tr_result result = {
		.verdict = verdict,
		.error = {.data = message, .n = strlen(message)},
	};

	if (!state->result_class) {
		PyErr_SetString(PyExc_RuntimeError, "register() of this module comes first");
		return NULL;
	}
	return result_make(state, state->result_class, &result);
}

PyObject *result_raise(const struct state *state, enum tr_verdict verdict, const char *message)
{
	PyObject *result = result_own(state, verdict, message);
	PyObject *exception = result ? exception_of(state, state->raised[verdict], result) : NULL;

	if (exception)
		result_throw(exception);
	Py_XDECREF(exception);
	Py_XDECREF(result);
	return NULL;
}
