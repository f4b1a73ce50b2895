/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NATIVE_NATIVE_H
#define NATIVE_NATIVE_H

/*
 * The extension toolring._toolring: libtoolring for Python, linked into it. Arguments are packed
 * straight from Python objects, results are made straight from the payload; everything that is not
 * on that path is Python's, in toolring/.
 *
 *   module.c   what the module holds, and how Python's classes come into it
 *   pack.c     Python objects to msgpack        unpack.c   and back
 *   result.c   a result, or what it is raised as
 *   call.c     a call's arguments, and its payload
 *   session.c  one session; the blocking half of its calls
 *   loop.c     its other half, for event loops
 *
 * Written for the stable ABI of Python 3.11. A free-threaded Python has none: there it is built for
 * the one version.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <toolring/toolring.h>

/* ---- module.c -------------------------------------------------------------------------------------- */

/* Attributes of results and methods of futures, by name. */
enum name {
	NAME_SUCCESS,
	NAME_OUTPUT,
	NAME_ERROR,
	NAME_METADATA,
	NAME_VERDICT,
	NAME_TIMING,
	NAME_EXIT_CODE,
	NAME_TIMED_OUT,
	NAME_TRUNCATED,
	NAME_UNIQ_ID,
	NAME_SLOT_ID,
	NAME_STDOUT_TRUNCATED,
	NAME_STDERR_TRUNCATED,
	NAME_MORE, /* "_MORE" */
	NAME_DONE,
	NAME_SET_RESULT,
	NAME_SET_EXCEPTION,
	NAME_KEYS,
	NAME_NAME, /* "__name__" */
	N_NAMES
};

/* Keys of maps that come often have one string each, made once. */
#define KEYS_BYTES_MAX 24
#define KEYS_SIZE      256

struct state {
	PyObject *names[N_NAMES];
	PyObject *keys[KEYS_SIZE]; /* by hash; not changed after the module was made */
	PyObject *verdicts[TR_N_VERDICTS];
	PyObject *empty_tuple;
	PyObject *empty_text;
	PyObject *session_type;
	/* What toolring._errors and toolring._result register. */
	PyObject *raised[TR_N_VERDICTS]; /* NULL: it is a value */
	PyObject *result_class;
	PyObject *timing_class;
	PyObject *forked_class;
	PyObject *closed_class;
};

struct state *state_of(PyObject *module);
/* A key's string: a kept one, or a new one. New reference. */
PyObject *state_key(const struct state *state, const char *data, size_t n);

/* ---- pack.c ---------------------------------------------------------------------------------------- */

#define PACK_SMALL 512

/* A message being packed. */
struct pack {
	const struct state *state;
	char *data;
	size_t n;
	size_t size;
	unsigned depth;
	const char *why; /* what is wrong with the value that cannot be packed */
	char kind[64];   /* its type */
	char path[256];  /* and where it stands */
	char small[PACK_SMALL];
};

void pack_init(struct pack *p, const struct state *state);
void pack_deinit(struct pack *p);
/* 0, or -1 with MemoryError set. */
int pack_map(struct pack *p, size_t n);
int pack_key(struct pack *p, const char *key);
/* root names it in errors; 0 or -1 with the exception set, InvalidCall if it cannot be sent. */
int pack_value(struct pack *p, PyObject *value, const char *root);
/* A whole map: the members, and trajectory_id unless None. 0 or -1 with the exception set. */
int pack_members(struct pack *p, PyObject *members, PyObject *trajectory_id);

/* ---- unpack.c -------------------------------------------------------------------------------------- */

/* One msgpack value that is all of data. ValueError: it is malformed. */
PyObject *unpack(const struct state *state, const void *data, size_t n);

/* ---- result.c -------------------------------------------------------------------------------------- */

/* An instance of the class, of Python's Result or derived from it. */
PyObject *result_make(const struct state *state, PyObject *class, const struct tr_result *result);
/* The same, or the exception that its verdict is raised as, which carries it: then ret_raised. */
PyObject *result_outcome(const struct state *state, PyObject *class, const struct tr_result *result,
			 bool *ret_raised);
/* Raises such an exception, which is the caller's still. */
void result_throw(PyObject *exception);
/* The result of a call that never got to the executor. message may be NULL: an exception is set. */
PyObject *result_own(const struct state *state, enum tr_verdict verdict, const char *message);
/* Raises what such a result is raised as. Returns NULL. */
PyObject *result_raise(const struct state *state, enum tr_verdict verdict, const char *message);

/* ---- call.c ----------------------------------------------------------------------------------------- */

#define CALL_ARGUMENTS_MAX 6

/* What a call is, as Python gives it. */
struct call_arguments {
	enum tr_kind kind;
	PyObject *class;
	PyObject *trajectory_id;
	PyObject *tool;
	PyObject *arguments; /* or the members of a kind that is not EXECUTE */
	PyObject *timeout_s;
	PyObject *uniq_id;
};

/* Reads a method's arguments: (class, trajectory_id, tool, arguments, timeout_s, uniq_id). */
int call_read_execute(const struct state *state, struct call_arguments *call,
		      PyObject *const *arguments, Py_ssize_t n);
/* And (class, kind, trajectory_id, members). */
int call_read_request(const struct state *state, struct call_arguments *call,
		      PyObject *const *arguments, Py_ssize_t n);
int call_pack(const struct call_arguments *call, struct pack *p);

/* ---- session.c ------------------------------------------------------------------------------------- */

#define REAP_MANY 32

/* A call of an event loop's, from its submit until its result is handed over. */
struct pending {
	struct pending *next;
	struct pending *previous;
	PyObject *waiter; /* an asyncio.Future or what behaves like one */
	PyObject *class;  /* of the result; NULL: the round trip's duration in nanoseconds (PING) */
	uint64_t call_id;
	uint64_t since_ns; /* PING */
};

struct session {
	PyObject_HEAD
		/* Held for a few instructions at a time, never while Python code runs. */
		pthread_mutex_t lock;
	struct tr_client *client; /* NULL: closed */
	unsigned n_inside;        /* threads that use client */
	bool closing;             /* the last of them closes it */
	bool reaping;
	bool reconnects;
	uint64_t reconnect_ns;
	struct pending first;      /* head of the circle of pending calls */
	struct pending *cancelled; /* where the search for the next to cancel begins */
	size_t n_pending;
	struct tr_result results[REAP_MANY]; /* the loop's */
};

/* The client, kept open until session_leave(); NULL with an exception. */
struct tr_client *session_enter(const struct state *state, struct session *s);
void session_leave(struct session *s);
bool session_is_closing(struct session *s);
/* Raises what a function of the library returned. Returns NULL. */
PyObject *session_raise(const struct state *state, int r);
const struct state *session_state(PyObject *self);
uint64_t session_now_ns(void);

extern PyType_Spec session_spec;

/* ---- loop.c ---------------------------------------------------------------------------------------- */

PyObject *loop_execute(PyObject *self, PyObject *const *arguments, Py_ssize_t n);
PyObject *loop_request(PyObject *self, PyObject *const *arguments, Py_ssize_t n);
PyObject *loop_ping(PyObject *self, PyObject *const *arguments, Py_ssize_t n);
PyObject *loop_reap(PyObject *self, PyObject *unused);
PyObject *loop_arm(PyObject *self, PyObject *unused);
PyObject *loop_cancel(PyObject *self, PyObject *waiter);
PyObject *loop_cancel_all(PyObject *self, PyObject *unused);
/* Forgets all pending calls; a list of their waiters. Empty while reap() is at work on them. */
PyObject *loop_forget(struct session *s);

#endif
