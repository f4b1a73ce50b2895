/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One session, and calls that block. A thread that waits has given up the GIL, and comes back every
 * SLICE_MS to see whether a signal came or the session was closed. Whoever uses the client is counted
 * in, and the last to leave a session that is closing closes it: no thread finds it gone.
 */
#include "native.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SLICE_MS      100
#define RECONNECT_MS  10000
#define OPEN_MS       5000
#define OPEN_SLICE_MS 1000   /* an attempt that is cut off starts anew */
#define CROWDED_NS    100000 /* where more threads call than calls may be in flight */

uint64_t session_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

const struct state *session_state(PyObject *self)
{
	return PyType_GetModuleState(Py_TYPE(self));
}

/* ---- errors ------------------------------------------------------------------------------------------- */

/* What -errno says of a call. */
static enum tr_verdict verdict_of(int r)
{
	return r == -E2BIG || r == -EINVAL || r == -ENAMETOOLONG ? TR_INVALID : TR_UNAVAILABLE;
}

static const char *words_of(int r)
{
	switch (r) {
	case -E2BIG:
		return "the call is larger than the executor takes (its limit call_bytes_max)";
	case -ENOTCONN:
		return "toolringd is gone, and did not come back in time";
	case -EPROTO:
		return "what answered is no toolringd";
	default:
		return strerrordesc_np(-r);
	}
}

PyObject *session_raise(const struct state *state, int r)
{
	if (r == -ENOMEM)
		return PyErr_NoMemory();
	if (r == -ECHILD) {
		PyErr_SetString(state->forked_class,
				"this session was opened by the process that forked this one: open "
				"another here");
		return NULL;
	}
	return result_raise(state, verdict_of(r), words_of(r));
}

/* Raises why opening failed, with its errno. */
static void raise_open(const struct state *state, int r, const char *message)
{
	PyObject *type, *error, *traceback, *number;

	result_raise(state, verdict_of(r), *message ? message : words_of(r));
	PyErr_Fetch(&type, &error, &traceback);
	PyErr_NormalizeException(&type, &error, &traceback);
	number = PyLong_FromLong(-r);
	if (!number || PyObject_SetAttrString(error, "errno", number) < 0)
		PyErr_Clear();
	Py_XDECREF(number);
	PyErr_Restore(type, error, traceback);
}

/* ---- being inside ------------------------------------------------------------------------------------- */

struct tr_client *session_enter(const struct state *state, struct session *s)
{
	struct tr_client *client = NULL;

	pthread_mutex_lock(&s->lock);
	if (!s->closing && s->client) {
		client = s->client;
		s->n_inside++;
	}
	pthread_mutex_unlock(&s->lock);
	if (!client)
		PyErr_SetString(state->closed_class, "the client is closed");
	return client;
}

void session_leave(struct session *s)
{
	struct tr_client *last = NULL;

	pthread_mutex_lock(&s->lock);
	if (--s->n_inside == 0 && s->closing) {
		last = s->client;
		s->client = NULL;
	}
	pthread_mutex_unlock(&s->lock);
	tr_close(last);
}

bool session_is_closing(struct session *s)
{
	bool closing;

	pthread_mutex_lock(&s->lock);
	closing = s->closing;
	pthread_mutex_unlock(&s->lock);
	return closing;
}

/* ---- calls that block --------------------------------------------------------------------------------- */

/* How one slice of waiting ended: whether to go on. */
struct patience {
	struct session *s;
	const struct state *state;
	uint64_t lost_ns; /* since when nothing is connected; 0: something is */
};

/* 0: wait on; -1: an exception is set. */
static int patience_slice(struct patience *p, int r)
{
	if (PyErr_CheckSignals() < 0)
		return -1;
	if (session_is_closing(p->s)) {
		result_raise(p->state, TR_UNKNOWN, "the client was closed during the call");
		return -1;
	}
	if (r != -ENOTCONN) {
		p->lost_ns = 0;
		return 0;
	}
	if (!p->lost_ns)
		p->lost_ns = session_now_ns();
	if (!p->s->reconnects || session_now_ns() - p->lost_ns >= p->s->reconnect_ns) {
		session_raise(p->state, r);
		return -1;
	}
	return 0;
}

static int submit(struct patience *p, struct tr_client *client, enum tr_kind kind,
		  const struct pack *payload, uint64_t *ret_id)
{
	int r;

	for (;;) {
		Py_BEGIN_ALLOW_THREADS
		r = tr_submit_raw(client, kind, payload->data, payload->n, NULL, SLICE_MS, ret_id);
		Py_END_ALLOW_THREADS
		if (r == 0)
			return 0;
		if (r == -ENOBUFS) {
			/* Their threads have yet to come and take the answers. */
			Py_BEGIN_ALLOW_THREADS
			nanosleep(&(struct timespec){.tv_nsec = CROWDED_NS}, NULL);
			Py_END_ALLOW_THREADS
		} else if (r != -ETIMEDOUT && r != -ENOTCONN) {
			session_raise(p->state, r);
			return -1;
		}
		if (patience_slice(p, r) < 0)
			return -1;
	}
}

static int wait_for(struct patience *p, struct tr_client *client, uint64_t id,
		    struct tr_result *result)
{
	int r;

	for (;;) {
		Py_BEGIN_ALLOW_THREADS
		r = tr_wait(client, id, result, SLICE_MS);
		Py_END_ALLOW_THREADS
		if (r == 0)
			return 0;
		if (r != -ETIMEDOUT && r != -ENOTCONN)
			session_raise(p->state, r);
		else if (patience_slice(p, r) == 0)
			continue;
		tr_abandon(client, id);
		return -1;
	}
}

static int call_wait(const struct state *state, struct session *s, enum tr_kind kind,
		     const struct pack *payload, struct tr_result *result)
{
	struct patience patience = {.s = s, .state = state};
	struct tr_client *client = session_enter(state, s);
	uint64_t id;
	int r;

	if (!client)
		return -1;
	r = submit(&patience, client, kind, payload, &id);
	if (r == 0)
		r = wait_for(&patience, client, id, result);
	session_leave(s);
	return r;
}

static PyObject *value_or_raise(const struct state *state, PyObject *class,
				const struct tr_result *result)
{
	bool raised;
	PyObject *value = result_outcome(state, class, result, &raised);

	if (!value || !raised)
		return value;
	result_throw(value);
	Py_DECREF(value);
	return NULL;
}

static PyObject *call_blocking(PyObject *self, const struct call_arguments *call)
{
	const struct state *state = session_state(self);
	struct tr_result result = {0};
	PyObject *value = NULL;
	struct pack payload;

	pack_init(&payload, state);
	if (call_pack(call, &payload) == 0 &&
	    call_wait(state, (struct session *)self, call->kind, &payload, &result) == 0)
		value = value_or_raise(state, call->class, &result);
	tr_result_deinit(&result);
	pack_deinit(&payload);
	return value;
}

static PyObject *session_call_execute(PyObject *self, PyObject *const *arguments, Py_ssize_t n)
{
	struct call_arguments call;

	return call_read_execute(session_state(self), &call, arguments, n) < 0
		       ? NULL
		       : call_blocking(self, &call);
}

static PyObject *session_call_request(PyObject *self, PyObject *const *arguments, Py_ssize_t n)
{
	struct call_arguments call;

	return call_read_request(session_state(self), &call, arguments, n) < 0
		       ? NULL
		       : call_blocking(self, &call);
}

static PyObject *session_call_ping(PyObject *self, PyObject *unused)
{
	const struct state *state = session_state(self);
	struct tr_result result = {0};
	PyObject *ns = NULL;
	struct pack payload;
	uint64_t since = session_now_ns();

	(void)unused;
	pack_init(&payload, state);
	if (call_wait(state, (struct session *)self, TR_KIND_PING, &payload, &result) == 0)
		ns = PyLong_FromUnsignedLongLong(session_now_ns() - since);
	tr_result_deinit(&result);
	pack_deinit(&payload);
	return ns;
}

/* ---- opening and closing ------------------------------------------------------------------------------- */

static PyObject *session_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
	allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
	struct session *s = (struct session *)alloc(type, 0);

	(void)arguments;
	(void)keywords;
	if (!s)
		return NULL;
	pthread_mutex_init(&s->lock, NULL);
	s->first.next = &s->first;
	s->first.previous = &s->first;
	s->cancelled = &s->first;
	return (PyObject *)s;
}

/* In attempts that are short enough for Ctrl-C. */
static int open_attempts(struct tr_client **client, struct tr_options *options)
{
	int left_ms = options->open_timeout_ms ? options->open_timeout_ms : OPEN_MS;
	int r;

	for (;;) {
		options->open_timeout_ms = left_ms < OPEN_SLICE_MS ? left_ms : OPEN_SLICE_MS;
		Py_BEGIN_ALLOW_THREADS
		r = tr_open_with(client, options);
		Py_END_ALLOW_THREADS
		left_ms -= options->open_timeout_ms;
		if (r != -ETIMEDOUT || left_ms <= 0)
			return r;
		if (PyErr_CheckSignals() < 0)
			return -EINTR;
	}
}

static int open_client(struct session *s, const struct state *state, struct tr_options *options)
{
	struct tr_client *client = NULL;
	char message[512] = "";
	int r;

	options->message = message;
	options->n_message = sizeof(message);
	r = open_attempts(&client, options);
	if (r == 0) {
		s->client = client;
		return 0;
	}
	if (PyErr_Occurred())
		return -1;
	/* Its words say whose memory it is. */
	raise_open(state, r == -ENOMEM ? -EUSERS : r, message);
	return -1;
}

static int session_init(PyObject *self, PyObject *arguments, PyObject *keywords)
{
	/* Python takes the names as it did before const. */
	static char *names[] = {(char *)"name",
				(char *)"flags",
				(char *)"open_timeout_ms",
				(char *)"reconnect_timeout_ms",
				(char *)"spin_us",
				(char *)"submission_bytes",
				(char *)"completion_bytes",
				(char *)"calls",
				(char *)"result_bytes_max",
				(char *)"label",
				NULL};
	struct session *s = (struct session *)self;
	struct tr_options options = {.size = sizeof(options)};
	unsigned flags = 0, submission = 0, completion = 0, calls = 0;
	unsigned long long result_bytes_max = 0;
	int reconnect_ms = RECONNECT_MS;

	if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|z$IiiiIIIKz:Session", names,
					 &options.name, &flags, &options.open_timeout_ms,
					 &reconnect_ms, &options.spin_us, &submission, &completion,
					 &calls, &result_bytes_max, &options.label))
		return -1;
	if (!session_state(self)->result_class || s->client || s->closing) {
		PyErr_SetString(PyExc_RuntimeError,
				"a session is opened once, after register() of this module");
		return -1;
	}
	options.flags = flags | TR_OPEN_IN_PLACE;
	options.submission_bytes = submission;
	options.completion_bytes = completion;
	options.n_calls = calls;
	options.result_bytes_max = result_bytes_max;
	s->reconnects = !(flags & TR_OPEN_NO_RECONNECT);
	s->reconnect_ns = (uint64_t)(reconnect_ms > 0 ? reconnect_ms : 0) * 1000000u;
	return open_client(s, session_state(self), &options);
}

PyDoc_STRVAR(close_doc, "close(): ends the session; a list of what waited for calls of it.");

static PyObject *session_close(PyObject *self, PyObject *unused)
{
	struct session *s = (struct session *)self;
	struct tr_client *client = NULL;

	(void)unused;
	pthread_mutex_lock(&s->lock);
	s->closing = true;
	/* In a forked child nobody is inside, whatever the count says: they stayed behind. */
	if (s->client && (s->n_inside == 0 || tr_fd(s->client) == -ECHILD)) {
		client = s->client;
		s->client = NULL;
	}
	pthread_mutex_unlock(&s->lock);
	tr_close(client);
	return loop_forget(s);
}

static int session_traverse(PyObject *self, visitproc visit, void *arg)
{
	struct session *s = (struct session *)self;

	Py_VISIT(Py_TYPE(self));
	for (struct pending *p = s->first.next; p != &s->first; p = p->next) {
		Py_VISIT(p->waiter);
		Py_VISIT(p->class);
	}
	return 0;
}

static int session_clear(PyObject *self)
{
	PyObject *closed = session_close(self, NULL);

	if (!closed)
		PyErr_Clear();
	Py_XDECREF(closed);
	return 0;
}

static void session_dealloc(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);
	freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
	struct session *s = (struct session *)self;
	PyObject *error_type, *error, *traceback;

	PyObject_GC_UnTrack(self);
	PyErr_Fetch(&error_type, &error, &traceback);
	session_clear(self);
	PyErr_Restore(error_type, error, traceback);
	for (size_t i = 0; i < REAP_MANY; i++)
		tr_result_deinit(&s->results[i]);
	pthread_mutex_destroy(&s->lock);
	free_object(self);
	Py_DECREF(type);
}

/* ---- about the session --------------------------------------------------------------------------------- */

static PyObject *session_fileno(PyObject *self, PyObject *unused)
{
	const struct state *state = session_state(self);
	struct session *s = (struct session *)self;
	struct tr_client *client = session_enter(state, s);
	int r;

	(void)unused;
	if (!client)
		return NULL;
	r = tr_fd(client);
	session_leave(s);
	return r < 0 ? session_raise(state, r) : PyLong_FromLong(r);
}

static PyObject *session_count(PyObject *self, void *unused)
{
	struct session *s = (struct session *)self;
	struct tr_client *client = session_enter(session_state(self), s);
	uint64_t n;

	(void)unused;
	if (!client)
		return NULL;
	n = tr_session_count(client);
	session_leave(s);
	return PyLong_FromUnsignedLongLong(n);
}

static PyObject *session_closed(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(session_is_closing((struct session *)self));
}

static PyObject *session_pending(PyObject *self, void *unused)
{
	(void)unused;
	return PyLong_FromSize_t(((struct session *)self)->n_pending);
}

static PyGetSetDef members[] = {
	{"closed", session_closed, NULL, "whether close() was called", NULL},
	{"count", session_count, NULL, "how many sessions there were, this one included", NULL},
	{"pending", session_pending, NULL, "calls of the loop's that have no result yet", NULL},
	{0},
};

static PyMethodDef methods[] = {
	{"call_execute", (PyCFunction)(void (*)(void))session_call_execute, METH_FASTCALL,
	 "call_execute(class, trajectory_id, tool, arguments, timeout_s, uniq_id): waits."},
	{"call_request", (PyCFunction)(void (*)(void))session_call_request, METH_FASTCALL,
	 "call_request(class, kind, trajectory_id, members): waits."},
	{"call_ping", session_call_ping, METH_NOARGS, "call_ping(): waits; nanoseconds."},
	{"execute", (PyCFunction)(void (*)(void))loop_execute, METH_FASTCALL,
	 "execute(waiter, call): the call being (class, trajectory_id, tool, arguments, timeout_s,\n"
	 "uniq_id); False if there is no room now."},
	{"request", (PyCFunction)(void (*)(void))loop_request, METH_FASTCALL,
	 "request(waiter, call): as execute(), of (class, kind, trajectory_id, members)."},
	{"ping", (PyCFunction)(void (*)(void))loop_ping, METH_FASTCALL,
	 "ping(waiter, call): as execute(), of ()."},
	{"reap", loop_reap, METH_NOARGS, "reap(): hands over what has come; how many."},
	{"arm", loop_arm, METH_NOARGS,
	 "arm(): 0, poll now; 1, look again first; -1, nothing is connected."},
	{"cancel", loop_cancel, METH_O, "cancel(waiter): asks for its call to be cancelled."},
	{"cancel_all", loop_cancel_all, METH_NOARGS,
	 "cancel_all(): the same for all; a list of their waiters."},
	{"fileno", session_fileno, METH_NOARGS, "fileno(): what to poll."},
	{"close", session_close, METH_NOARGS, close_doc},
	{0},
};

static PyType_Slot slots[] = {
	{Py_tp_doc, (void *)"One session with toolringd; use toolring.connect()."},
	{Py_tp_new, session_new},
	{Py_tp_init, session_init},
	{Py_tp_dealloc, session_dealloc},
	{Py_tp_traverse, session_traverse},
	{Py_tp_clear, session_clear},
	{Py_tp_methods, methods},
	{Py_tp_getset, members},
	{0, NULL},
};

PyType_Spec session_spec = {
	.name = "toolring._toolring.Session",
	.basicsize = sizeof(struct session),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
	.slots = slots,
};
