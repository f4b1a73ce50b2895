/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXECUTOR_SESSION_H
#define EXECUTOR_SESSION_H

/*
 * Sessions: one attachment of a client each, from accept to the last completion of its io.
 *
 *   HELLO --welcome--> OPEN --hang-up, death, or what it did--> ENDING --all io completed--> freed
 *
 * An open session is hot (its ring is looked at every turn) or parked (its consumer_wait word says
 * that we sleep, and the client wakes us). A session parks when it has been quiet for a while, and
 * all do when the executor sleeps; a wake-up makes it hot again.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <toolring/abi.h>

#include "base/list.h"
#include "io/loop.h"
#include "shm/message.h"
#include "shm/ring.h"
#include "shm/segment.h"

struct call;
struct executor;

enum session_state {
	SESSION_HELLO,
	SESSION_OPEN,
	SESSION_ENDING,
};

struct session {
	struct list link;       /* all sessions */
	struct list hot_link;   /* OPEN and hot */
	struct list dirty_link; /* something to publish at the end of this turn */
	struct list event_link; /* something happened: socket_ready, is_dead or woken is set */
	struct executor *executor;
	enum session_state state;
	int socket;
	int pidfd;
	uid_t uid;
	pid_t pid;
	uint64_t id;
	char label[33];
	struct tr_hello hello;
	size_t n_hello;
	struct timer handshake;
	struct loop_op socket_op;
	struct loop_op death_op;
	struct loop_op futex_op;
	bool socket_ready; /* set by completions, handled in the session step */
	bool is_dead;
	bool woken;
	const char *lost; /* why we end it; NULL: it went by itself */
	struct segment segment;
	int guard;
	struct ring_rx rx;
	struct ring_tx tx;
	struct message_assembly assembly;
	bool hot;
	uint64_t busy_turn;    /* last turn with a record */
	uint64_t n_asked;      /* wake-up bytes we asked for on the socket */
	uint64_t n_wake_bytes; /* that came */
	struct call **calls;   /* those in flight, by row */
	uint32_t n_calls;
	size_t n_call_bytes; /* of those in flight, as they came */
	struct list backlog; /* answered calls whose results wait for room */
	size_t n_backlog_bytes;
	bool wants_room; /* producer_wait is set */
	struct list holds;
	uint32_t n_holds;
	struct list waiters; /* trajectories that want a slot */
	struct list waiting_link;
};

struct sessions {
	struct list all;
	struct list hot;
	struct list dirty;
	struct list events;
	struct list ending;
	size_t n_sessions; /* in whatever state */
	size_t n_open;
	uint64_t opened_turn; /* the last in which one was opened */
	uint64_t n_total;
	struct loop_op accept_op;
	bool accept_ready;
	bool accept_paused;    /* out of descriptors: tried again when a session ends */
	unsigned n_guard_hits; /* seen */
};

void sessions_init(struct sessions *all);
/* From here on clients are accepted. */
int sessions_start(struct executor *e);
/* Ends them all, so that nothing of theirs is left in trajectories and batches. */
void sessions_end_all(struct executor *e);
void sessions_deinit(struct executor *e);

/* A step of the turn: new connections, hellos, hang-ups, wake-ups, and ends. */
void sessions_step(struct executor *e);

/* Ends a session for what its client did; why is shown in the log. */
void session_lose(struct session *s, const char *why);
/* Puts it on the list of those to flush at the end of the turn. */
void session_dirty(struct session *s);
void session_heat(struct session *s);
/* May another record of it be taken in, or has it enough of ours? */
bool session_may_take(const struct session *s);

/* A step of the turn: publishes and releases positions, passes on backlog, wakes. */
void sessions_flush(struct executor *e);

/* Parks every hot session. false: one of them has something to take, and nothing may sleep. */
bool sessions_park_all(struct executor *e);
/* Parks hot sessions that have been quiet. */
void sessions_park_quiet(struct executor *e);
/* Does any hot session have something to take? Reads shared memory, nothing else. */
bool sessions_have_work(const struct executor *e);

#endif
