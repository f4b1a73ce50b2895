/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls for an event loop: nothing here waits. A call has a waiter, an asyncio.Future in general, in
 * which its result is set when the loop reaps. One thread, the loop's, uses all of this.
 */
#include "native.h"

#include <errno.h>

/* Results in one reap(); others of the loop want their turn. */
#define REAP_MAX 1024
/* A larger buffer of a result is given back once it has been read. */
#define BUFFER_KEPT (256u << 10)

/* ---- pending calls ------------------------------------------------------------------------------------- */

static struct pending *pending_new(struct session *s, PyObject *waiter, PyObject *class)
{
	struct pending *p = PyMem_Malloc(sizeof(*p));

	if (!p) {
		PyErr_NoMemory();
		return NULL;
	}
	*p = (struct pending){.waiter = Py_NewRef(waiter), .class = Py_XNewRef(class)};
	p->next = &s->first;
	p->previous = s->first.previous;
	p->previous->next = p;
	s->first.previous = p;
	s->n_pending++;
	return p;
}

/* Its waiter, which is the caller's now. */
static PyObject *pending_free(struct session *s, struct pending *p)
{
	PyObject *waiter = p->waiter;

	if (s->cancelled == p)
		s->cancelled = p->next;
	p->previous->next = p->next;
	p->next->previous = p->previous;
	s->n_pending--;
	Py_XDECREF(p->class);
	PyMem_Free(p);
	return waiter;
}

PyObject *loop_forget(struct session *s)
{
	PyObject *waiters = PyList_New(0);

	/* A result being made may run Python code (the garbage collector's) that closes the session. */
	while (!s->reaping && s->first.next != &s->first) {
		PyObject *waiter = pending_free(s, s->first.next);

		if (waiters && PyList_Append(waiters, waiter) < 0)
			Py_CLEAR(waiters);
		Py_DECREF(waiter);
	}
	return waiters;
}

/* ---- submitting ---------------------------------------------------------------------------------------- */

/* True; False: there is no room, or nobody to send it to, now. */
static PyObject *submit(PyObject *self, PyObject *waiter, PyObject *class, enum tr_kind kind,
			const struct pack *payload)
{
	const struct state *state = session_state(self);
	struct session *s = (struct session *)self;
	struct tr_client *client = session_enter(state, s);
	struct pending *p;
	int r = -ENOMEM;

	if (!client)
		return NULL;
	p = s->first.previous;
	if (p != &s->first && p->waiter == waiter) {
		/* Ctrl-C came between this one's submit and the caller's learning of it. */
		session_leave(s);
		Py_RETURN_TRUE;
	}
	p = pending_new(s, waiter, class);
	if (p) {
		p->since_ns = class ? 0 : session_now_ns();
		r = tr_submit_raw(client, kind, payload->data, payload->n, p, 0, &p->call_id);
		if (r < 0)
			Py_DECREF(pending_free(s, p));
	}
	session_leave(s);
	if (r == 0)
		Py_RETURN_TRUE;
	if (r == -EAGAIN || r == -ENOTCONN)
		Py_RETURN_FALSE;
	return session_raise(state, r);
}

static PyObject *call_submit(PyObject *self, PyObject *waiter, const struct call_arguments *call)
{
	PyObject *done = NULL;
	struct pack payload;

	pack_init(&payload, session_state(self));
	if (call_pack(call, &payload) == 0)
		done = submit(self, waiter, call->class, call->kind, &payload);
	pack_deinit(&payload);
	return done;
}

/* What the tuple holds in which a call comes, behind its waiter. How many, or -1. */
static Py_ssize_t unfold(PyObject *const *arguments, Py_ssize_t n,
			 PyObject *items[CALL_ARGUMENTS_MAX])
{
	Py_ssize_t n_items =
		n == 2 && PyTuple_Check(arguments[1]) ? PyTuple_Size(arguments[1]) : -1;

	if (n_items < 0 || n_items > CALL_ARGUMENTS_MAX) {
		PyErr_SetString(PyExc_TypeError, "a waiter and the tuple of a call expected");
		return -1;
	}
	for (Py_ssize_t i = 0; i < n_items; i++)
		items[i] = PyTuple_GetItem(arguments[1], i);
	return n_items;
}

PyObject *loop_execute(PyObject *self, PyObject *const *arguments, Py_ssize_t n)
{
	PyObject *items[CALL_ARGUMENTS_MAX];
	struct call_arguments call;

	n = unfold(arguments, n, items);
	return n < 0 || call_read_execute(session_state(self), &call, items, n) < 0
		       ? NULL
		       : call_submit(self, arguments[0], &call);
}

PyObject *loop_request(PyObject *self, PyObject *const *arguments, Py_ssize_t n)
{
	PyObject *items[CALL_ARGUMENTS_MAX];
	struct call_arguments call;

	n = unfold(arguments, n, items);
	return n < 0 || call_read_request(session_state(self), &call, items, n) < 0
		       ? NULL
		       : call_submit(self, arguments[0], &call);
}

PyObject *loop_ping(PyObject *self, PyObject *const *arguments, Py_ssize_t n)
{
	PyObject *items[CALL_ARGUMENTS_MAX];
	struct pack payload;
	PyObject *done;

	if (unfold(arguments, n, items) < 0)
		return NULL;
	pack_init(&payload, session_state(self));
	done = submit(self, arguments[0], NULL, TR_KIND_PING, &payload);
	pack_deinit(&payload);
	return done;
}

/* Many are cancelled in the order in which they were submitted: so the search goes on where it was. */
static struct pending *find(struct session *s, PyObject *waiter)
{
	struct pending *p = s->cancelled;

	for (size_t i = 0; i <= s->n_pending; i++) {
		if (p != &s->first && p->waiter == waiter) {
			s->cancelled = p->next;
			return p;
		}
		p = p->next;
	}
	return NULL;
}

PyObject *loop_cancel(PyObject *self, PyObject *waiter)
{
	const struct state *state = session_state(self);
	struct session *s = (struct session *)self;
	struct pending *p = find(s, waiter);
	struct tr_client *client;

	if (!p)
		Py_RETURN_FALSE;
	client = session_enter(state, s);
	if (!client)
		return NULL;
	tr_cancel(client, p->call_id);
	session_leave(s);
	Py_RETURN_TRUE;
}

PyObject *loop_cancel_all(PyObject *self, PyObject *unused)
{
	const struct state *state = session_state(self);
	struct session *s = (struct session *)self;
	PyObject *waiters = PyList_New(0);
	struct tr_client *client = waiters ? session_enter(state, s) : NULL;

	(void)unused;
	if (!client) {
		Py_XDECREF(waiters);
		return NULL;
	}
	for (struct pending *p = s->first.next; p != &s->first && waiters; p = p->next) {
		tr_cancel(client, p->call_id);
		if (PyList_Append(waiters, p->waiter) < 0)
			Py_CLEAR(waiters);
	}
	session_leave(s);
	return waiters;
}

/* ---- results ------------------------------------------------------------------------------------------- */

/* The exception that is set, as an object. */
static PyObject *exception_taken(void)
{
	PyObject *type, *error, *traceback;

	PyErr_Fetch(&type, &error, &traceback);
	PyErr_NormalizeException(&type, &error, &traceback);
	Py_XDECREF(type);
	Py_XDECREF(traceback);
	return error;
}

/* An exception is set that is nobody's result, but the loop's: KeyboardInterrupt, SystemExit. */
static bool is_interrupted(void)
{
	return PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception);
}

/* What the waiter gets; ret_raised: as an exception. */
static PyObject *outcome(const struct state *state, const struct pending *p,
			 const struct tr_result *result, bool *ret_raised)
{
	*ret_raised = false;
	if (!p->class && !state->raised[result->verdict])
		return PyLong_FromUnsignedLongLong(session_now_ns() - p->since_ns);
	return result_outcome(state, p->class ? p->class : state->result_class, result, ret_raised);
}

/* 0, or -1 with an exception set that is the loop's. */
static int hand_over(const struct state *state, PyObject *waiter, PyObject *value, bool raised)
{
	PyObject *done = PyObject_CallMethodObjArgs(waiter, state->names[NAME_DONE], NULL);
	PyObject *name = state->names[raised ? NAME_SET_EXCEPTION : NAME_SET_RESULT];
	PyObject *set = NULL;

	/* Who has been cancelled meanwhile wants nothing. */
	if (done == Py_False)
		set = PyObject_CallMethodObjArgs(waiter, name, value, NULL);
	if (PyErr_Occurred() && !is_interrupted())
		PyErr_WriteUnraisable(waiter);
	Py_XDECREF(set);
	Py_XDECREF(done);
	return PyErr_Occurred() ? -1 : 0;
}

/* 0, or -1 with an exception set that is the loop's. */
static int deliver(const struct state *state, struct session *s, struct tr_result *result)
{
	struct pending *p = result->user_data;
	bool raised;
	PyObject *value = outcome(state, p, result, &raised);
	PyObject *interrupt = NULL, *waiter;
	int r;

	if (!value && is_interrupted()) {
		interrupt = exception_taken();
		value = outcome(state, p, result, &raised);
	}
	if (!value) {
		value = exception_taken();
		raised = true;
	}
	if (result->buffer.size > BUFFER_KEPT)
		tr_result_deinit(result);
	waiter = pending_free(s, p);
	r = hand_over(state, waiter, value, raised);
	Py_DECREF(waiter);
	Py_XDECREF(value);
	if (!interrupt)
		return r;
	PyErr_Clear();
	PyErr_SetObject((PyObject *)Py_TYPE(interrupt), interrupt);
	Py_DECREF(interrupt);
	return -1;
}

/* All of them are handed over, whatever comes between. 0, or -1 with an exception set. */
static int deliver_all(const struct state *state, struct session *s, int n)
{
	PyObject *type = NULL, *error = NULL, *traceback = NULL;

	for (int i = 0; i < n; i++) {
		if (deliver(state, s, &s->results[i]) == 0)
			continue;
		if (type)
			PyErr_Clear();
		else
			PyErr_Fetch(&type, &error, &traceback);
	}
	if (!type)
		return 0;
	PyErr_Restore(type, error, traceback);
	return -1;
}

/* How many were handed over; -errno, or -1 with an exception set. */
static int reap_all(const struct state *state, struct session *s, struct tr_client *client)
{
	int n_all = 0;

	while (n_all < REAP_MAX && !session_is_closing(s)) {
		int n = tr_reap_many(client, s->results, REAP_MANY, 0);

		/* Nothing is there, or in flight, or connected: the last is found out by arming. */
		if (n == -EAGAIN || n == -ENOENT || n == -ENOTCONN)
			return n_all;
		if (n < 0)
			return n == -ENOMEM || n == -ECHILD ? n : n_all;
		if (deliver_all(state, s, n) < 0)
			return -1;
		n_all += n;
		if (n < REAP_MANY)
			return n_all;
	}
	return n_all;
}

PyObject *loop_reap(PyObject *self, PyObject *unused)
{
	const struct state *state = session_state(self);
	struct session *s = (struct session *)self;
	struct tr_client *client;
	int n = 0;

	(void)unused;
	if (s->reaping) {
		PyErr_SetString(PyExc_RuntimeError, "reap() is at work already");
		return NULL;
	}
	client = session_enter(state, s);
	if (!client)
		return NULL;
	s->reaping = true;
	n = reap_all(state, s, client);
	s->reaping = false;
	session_leave(s);
	if (PyErr_Occurred())
		return NULL;
	return n < 0 ? session_raise(state, n) : PyLong_FromLong(n);
}

PyObject *loop_arm(PyObject *self, PyObject *unused)
{
	const struct state *state = session_state(self);
	struct session *s = (struct session *)self;
	struct tr_client *client = session_enter(state, s);
	int r;

	(void)unused;
	if (!client)
		return NULL;
	r = tr_fd_arm(client);
	session_leave(s);
	if (r == -ECHILD)
		return session_raise(state, r);
	return PyLong_FromLong(r < 0 ? -1 : r);
}
