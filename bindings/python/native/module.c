/* SPDX-License-Identifier: Apache-2.0 */
#include "native.h"

#include <string.h>

static const char *const name_texts[N_NAMES] = {
	[NAME_SUCCESS] = "success",
	[NAME_OUTPUT] = "output",
	[NAME_ERROR] = "error",
	[NAME_METADATA] = "metadata",
	[NAME_VERDICT] = "verdict",
	[NAME_TIMING] = "timing",
	[NAME_EXIT_CODE] = "exit_code",
	[NAME_TIMED_OUT] = "timed_out",
	[NAME_TRUNCATED] = "truncated",
	[NAME_UNIQ_ID] = "uniq_id",
	[NAME_SLOT_ID] = "slot_id",
	[NAME_STDOUT_TRUNCATED] = "stdout_truncated",
	[NAME_STDERR_TRUNCATED] = "stderr_truncated",
	[NAME_MORE] = "_MORE",
	[NAME_DONE] = "done",
	[NAME_SET_RESULT] = "set_result",
	[NAME_SET_EXCEPTION] = "set_exception",
	[NAME_KEYS] = "keys",
	[NAME_NAME] = "__name__",
};

/* Keys of results; one that is missing here only costs a string of its own each time. */
static const char *const key_texts[] = {
	"blocked",
	"bytes",
	"capture_entire",
	"content",
	"cpu_system_ns",
	"cpu_user_ns",
	"cursor_x",
	"cursor_y",
	"dropped_bytes",
	"encoding",
	"entries",
	"entry_count",
	"error",
	"exit_code",
	"file_size",
	"format",
	"idle_timeout",
	"is_dir",
	"kept_lost",
	"memory_peak_bytes",
	"metadata",
	"mime",
	"mtime",
	"network_isolated",
	"not_found",
	"not_started",
	"offset",
	"output",
	"pane_height",
	"pane_width",
	"path",
	"processes_killed",
	"processes_left",
	"queue_ns",
	"reply_ns",
	"run_ns",
	"sandboxed",
	"seen",
	"sha256",
	"shell_ended",
	"shell_lost",
	"shell_started",
	"signal",
	"size",
	"slot_id",
	"slot_wait_ns",
	"start_ns",
	"stateful",
	"stderr",
	"stderr_bytes",
	"stderr_truncated",
	"stdout",
	"stdout_bytes",
	"stdout_truncated",
	"stream",
	"success",
	"timeout",
	"timing",
	"title",
	"truncated",
	"uniq_id",
	"verdict",
	"zygote",
};

#define N_KEYS (sizeof(key_texts) / sizeof(*key_texts))

static_assert(N_KEYS < KEYS_SIZE / 2, "a table that is mostly empty is searched fast");

struct state *state_of(PyObject *module)
{
	return PyModule_GetState(module);
}

/* ---- keys that come often ------------------------------------------------------------------------------ */

static unsigned key_hash(const char *data, size_t n)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint8_t)data[i]) * 16777619u;
	return (h ^ h >> 16) % KEYS_SIZE;
}

PyObject *state_key(const struct state *state, const char *data, size_t n)
{
	for (unsigned i = key_hash(data, n); state->keys[i]; i = (i + 1) % KEYS_SIZE) {
		Py_ssize_t have;
		const char *text = PyUnicode_AsUTF8AndSize(state->keys[i], &have);

		if ((size_t)have == n && memcmp(text, data, n) == 0)
			return Py_NewRef(state->keys[i]);
	}
	return PyUnicode_DecodeUTF8(data, (Py_ssize_t)n, "replace");
}

static int make_keys(struct state *state)
{
	for (size_t k = 0; k < N_KEYS; k++) {
		unsigned i = key_hash(key_texts[k], strlen(key_texts[k]));

		while (state->keys[i])
			i = (i + 1) % KEYS_SIZE;
		state->keys[i] = PyUnicode_InternFromString(key_texts[k]);
		/* Its UTF-8 is made here, where it may fail, and lives as long as the string. */
		if (!state->keys[i] || !PyUnicode_AsUTF8AndSize(state->keys[i], NULL))
			return -1;
	}
	return 0;
}

/* ---- functions of the module ---------------------------------------------------------------------------- */

static int keep(PyObject **to, PyObject *from, const char *name)
{
	if (!PyType_Check(from)) {
		PyErr_Format(PyExc_TypeError, "register: %s must be a class", name);
		return -1;
	}
	Py_XDECREF(*to);
	*to = Py_NewRef(from);
	return 0;
}

PyDoc_STRVAR(
	register_doc,
	"register(result, timing, raised, forked, closed): the classes that this module makes instances\n"
	"of; raised maps a verdict to its exception.");

static PyObject *module_register(PyObject *module, PyObject *arguments)
{
	struct state *state = state_of(module);
	PyObject *result, *timing, *raised, *forked, *closed;

	if (!PyArg_ParseTuple(arguments, "OOO!OO:register", &result, &timing, &PyDict_Type, &raised,
			      &forked, &closed))
		return NULL;
	if (keep(&state->result_class, result, "result") < 0 ||
	    keep(&state->timing_class, timing, "timing") < 0 ||
	    keep(&state->forked_class, forked, "forked") < 0 ||
	    keep(&state->closed_class, closed, "closed") < 0)
		return NULL;
	for (size_t i = 0; i < TR_N_VERDICTS; i++) {
		PyObject *class = PyDict_GetItemWithError(raised, state->verdicts[i]);

		if (class && keep(&state->raised[i], class, "raised") < 0)
			return NULL;
	}
	if (!state->raised[TR_INVALID] || !state->raised[TR_UNAVAILABLE] ||
	    !state->raised[TR_UNKNOWN]) {
		PyErr_SetString(PyExc_TypeError,
				"register: raised must name invalid, unavailable and unknown");
		return NULL;
	}
	Py_RETURN_NONE;
}

static PyObject *module_pack(PyObject *module, PyObject *value)
{
	struct pack p;
	PyObject *bytes = NULL;

	pack_init(&p, state_of(module));
	if (pack_value(&p, value, "value") == 0)
		bytes = PyBytes_FromStringAndSize(p.data, (Py_ssize_t)p.n);
	pack_deinit(&p);
	return bytes;
}

static PyObject *module_unpack(PyObject *module, PyObject *data)
{
	Py_buffer view;
	PyObject *value;

	if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
		return NULL;
	value = unpack(state_of(module), view.buf, (size_t)view.len);
	PyBuffer_Release(&view);
	return value;
}

static PyMethodDef methods[] = {
	{"register", module_register, METH_VARARGS, register_doc},
	{"_pack", module_pack, METH_O, "_pack(value): msgpack, as calls are packed; for tests."},
	{"_unpack", module_unpack, METH_O, "_unpack(bytes): as results are read; for tests."},
	{0},
};

/* ---- the module ------------------------------------------------------------------------------------------ */

static int module_exec(PyObject *module)
{
	struct state *state = state_of(module);

	for (size_t i = 0; i < N_NAMES; i++) {
		state->names[i] = PyUnicode_InternFromString(name_texts[i]);
		if (!state->names[i])
			return -1;
	}
	for (size_t i = 0; i < TR_N_VERDICTS; i++) {
		state->verdicts[i] =
			PyUnicode_InternFromString(tr_verdict_name((enum tr_verdict)i));
		if (!state->verdicts[i])
			return -1;
	}
	state->empty_tuple = PyTuple_New(0);
	state->empty_text = PyUnicode_FromString("");
	state->session_type = PyType_FromModuleAndSpec(module, &session_spec, NULL);
	if (!state->empty_tuple || !state->empty_text || !state->session_type ||
	    make_keys(state) < 0)
		return -1;
	if (PyModule_AddObjectRef(module, "Session", state->session_type) < 0)
		return -1;
	return PyModule_AddStringConstant(module, "version", tr_version());
}

/* Every object that the state holds. */
static PyObject **held(struct state *state, size_t i)
{
	PyObject **const singles[] = {
		&state->empty_tuple,  &state->empty_text,   &state->session_type,
		&state->result_class, &state->timing_class, &state->forked_class,
		&state->closed_class,
	};
	const size_t n_singles = sizeof(singles) / sizeof(*singles);

	if (i < N_NAMES)
		return &state->names[i];
	i -= N_NAMES;
	if (i < KEYS_SIZE)
		return &state->keys[i];
	i -= KEYS_SIZE;
	if (i < TR_N_VERDICTS)
		return &state->verdicts[i];
	i -= TR_N_VERDICTS;
	if (i < TR_N_VERDICTS)
		return &state->raised[i];
	i -= TR_N_VERDICTS;
	return i < n_singles ? singles[i] : NULL;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
	struct state *state = state_of(module);
	PyObject **object;

	for (size_t i = 0; (object = held(state, i)); i++)
		Py_VISIT(*object);
	return 0;
}

static int module_clear(PyObject *module)
{
	struct state *state = state_of(module);
	PyObject **object;

	for (size_t i = 0; (object = held(state, i)); i++)
		Py_CLEAR(*object);
	return 0;
}

static void module_free(void *module)
{
	module_clear(module);
}

static PyModuleDef_Slot slots[] = {
	{Py_mod_exec, module_exec},
#ifdef Py_GIL_DISABLED
	{Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
	{0, NULL},
};

static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "toolring._toolring",
	.m_doc = "libtoolring for Python; use toolring.",
	.m_size = sizeof(struct state),
	.m_methods = methods,
	.m_slots = slots,
	.m_traverse = module_traverse,
	.m_clear = module_clear,
	.m_free = module_free,
};

PyMODINIT_FUNC PyInit__toolring(void);
PyMODINIT_FUNC PyInit__toolring(void)
{
	return PyModuleDef_Init(&definition);
}
