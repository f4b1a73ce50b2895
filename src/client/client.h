/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

/*
 * Inside of a handle. One lock guards all of it; whoever holds the lock may produce, consume and
 * settle calls for every thread. Nobody sleeps or spins with the lock held.
 *
 * A call occupies a row of a table from its submit until its result is handed over:
 *
 *   FREE --submit--> QUEUED --all of it in the ring--> SENT --answered--> DONE --reaped--> FREE
 *                      |                                 |
 *                      |                                 '--answered, somebody waits for it--> FREE
 *                      '-- executor gone: settled as not_started, or sent again (still QUEUED)
 *
 * Waiting (wait.c) is leader and followers: one thread, the leader, watches the rings without the
 * lock; the others sleep each on a word of their own and are woken when what they want is there or
 * when somebody must lead.
 *
 *   open.c     options, tr_open(), tr_close()      session.c  connecting, the welcome, the end
 *   place.c    where the control socket is         submit.c   rows, calls into the ring
 *   reap.c     results out of the ring             result.c   a payload becomes a tr_result
 *   wait.c     spinning, sleeping, waking          event.c    event loops
 */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <toolring/toolring.h>

#include "base/buf.h"
#include "base/fdpass.h"
#include "base/list.h"
#include "shm/message.h"
#include "shm/ring.h"
#include "shm/segment.h"
#include "shm/wake.h"

#define CLIENT_ROW_NONE    UINT32_MAX
#define CLIENT_ROWS_MAX    65536u /* unless the user asks for more */
#define CLIENT_PATH_MAX    108    /* sun_path */
#define CLIENT_MESSAGE_MAX 512
#define CLIENT_RETRY_MS    20 /* between attempts to reconnect */
#define CLIENT_SLEEP_MS    50 /* longest sleep without looking whether the executor lives */
#define CLIENT_STASH_IDLE  (16u << 20) /* bytes kept in buffers of stashes that are not in use */
#define CLIENT_BUF_MAX     ((size_t)UINT32_MAX)

enum session_state {
	SESSION_NONE,      /* not connected; the next attempt is due at next_try_ns */
	SESSION_HANDSHAKE, /* hello sent, welcome awaited */
	SESSION_OPEN,
};

enum row_state {
	ROW_FREE,
	ROW_QUEUED, /* not, or not wholly, in the ring */
	ROW_SENT,
	ROW_DONE, /* its result lies in its stash */
};

/* Row i holds the calls whose id is i modulo n_rows; each use adds n_rows to the id. */
struct row {
	uint64_t id;
	void *user_data;
	struct waiter *waiter; /* who gets the result directly, or NULL */
	uint64_t order;        /* of submission */
	uint32_t next;         /* in the free list or the list to send again */
	uint32_t cancel_next;
	uint16_t kind;
	uint8_t state;  /* enum row_state */
	bool abandoned; /* the result is dropped when it comes */
	bool cancel;    /* is in the list of cancellations to send */
};

/* A result that was drained before anybody asked for it. Stash i belongs to row i. */
struct stash {
	struct list link; /* in tr_client.done */
	struct tr_result result;
};

enum wants {
	WANT_CALL = 1,  /* the result of one call */
	WANT_ANY = 2,   /* any result */
	WANT_ROOM = 4,  /* space in the submission ring */
	WANT_ROW = 8,   /* a free row */
	WANT_OPEN = 16, /* a session */
};

/* One thread that waits; lives on its stack. */
struct waiter {
	struct list link;         /* in tr_client.followers while it sleeps there */
	uint32_t word;            /* its futex: 0 asleep, 1 woken */
	unsigned wants;           /* enum wants */
	struct tr_result *result; /* WANT_CALL: where to; NULL: nowhere */
	bool done;                /* WANT_CALL: it is there */
	bool lost;                /* it ended unanswered, and result is NULL */
};

/* How long a caller waits; its end is computed when it first has to. */
struct deadline {
	int timeout_ms;
	uint64_t at_ns;
};

/* Where a reaper wants results. */
struct sink {
	struct tr_result *results;
	size_t n;
	size_t n_done;
};

/* How the leader sleeps. */
enum asleep {
	ASLEEP_NOT,
	ASLEEP_FUTEX, /* on the completion ring's consumer_wait */
	ASLEEP_POLL,  /* on the socket */
	ASLEEP_BRIEFLY,
};

struct handshake {
	int fd;
	int fds[FDPASS_MAX];
	uint64_t deadline_ns;
	size_t n; /* bytes of the welcome that are there */
	struct tr_welcome welcome;
};

/* A message of which only a part fitted. */
struct pending {
	bool active;
	uint32_t row;
	const void *data; /* in pending_buf or in the row's copy */
	size_t n;
	size_t n_done;
};

struct tr_client {
	/* 1 in the process that opened it; the page reads 0 in a forked child (MADV_WIPEONFORK). */
	const volatile uint32_t *alive;
	pthread_mutex_t lock;

	enum session_state state;
	struct ring_tx tx;
	struct ring_rx rx;
	struct segment segment;
	int fd; /* the socket; its number stays */
	int executor_fd;
	int stats_fd;
	bool ring_watched; /* a leader looks at the segment without the lock */

	struct row *rows;
	struct stash *stashes;
	struct buf *copies; /* TR_OPEN_RESUBMIT: payloads by row; else NULL */
	uint32_t n_rows;
	uint32_t free_row; /* head of the free list */
	uint32_t n_used;   /* rows that are not free */
	uint32_t n_waited; /* of these: have a waiter */
	uint32_t n_abandoned;
	uint32_t n_done;
	uint64_t n_submitted;
	struct list done; /* stashes, in the order of completion */
	size_t stash_idle;

	bool unsent; /* something of the next three waits for room */
	struct pending pending;
	uint32_t resend_first; /* rows to send again, in order; CLIENT_ROW_NONE */
	uint32_t cancel_first;
	struct buf pending_buf;
	struct buf scratch;   /* a call being encoded */
	struct buf arguments; /* its arguments */
	struct message_assembly assembly;
	bool assembled; /* a whole message lies in there, not yet handed on */

	struct waiter *leader;
	struct list followers;
	enum asleep asleep;
	int kick_fd; /* an eventfd beside the socket in ASLEEP_POLL; made at the first such sleep */
	uint32_t n_want_room; /* threads in client_wait() that want it */
	uint32_t n_want_row;
	struct spin spin;
	uint64_t checked_ns; /* when it was last looked whether the executor lives */

	bool armed;      /* an event loop relies on consumer_wait being TR_WAIT_SOCKET */
	bool owed;       /* a byte for the event loop may lie in the socket */
	bool room_asked; /* the last submit lacked room for this many bytes, or a session */
	size_t room_bytes;

	char path[CLIENT_PATH_MAX];
	struct tr_hello hello;
	uint32_t flags;
	uint64_t open_timeout_ns;
	uint64_t result_bytes_max;
	struct handshake handshake;
	uint64_t next_try_ns;
	int error; /* why the last attempt failed */
	uint64_t n_sessions;
	char message[CLIENT_MESSAGE_MAX]; /* the same in words */
	struct tr_stats *stats;
	bool stats_fresh; /* stats shows this session's executor */
};

/* ---- entering and leaving ------------------------------------------------------------------------ */

void client_baton(struct tr_client *c);

/* Takes the lock. -EINVAL, -ECHILD. */
static inline int client_enter(struct tr_client *c)
{
	if (!c)
		return -EINVAL;
	if (!*c->alive)
		return -ECHILD;
	pthread_mutex_lock(&c->lock);
	return 0;
}

/* Releases the lock; somebody must lead as long as anybody waits. */
static inline void client_leave(struct tr_client *c)
{
	if (!list_empty(&c->followers))
		client_baton(c);
	pthread_mutex_unlock(&c->lock);
}

/* ---- place.c -------------------------------------------------------------------------------------- */

/* Path of the control socket of an instance. -EINVAL, -ENAMETOOLONG, -EACCES; message says why. */
int client_place(const char *name, char ret_path[CLIENT_PATH_MAX], char *message, size_t n_message);

/* ---- session.c ------------------------------------------------------------------------------------ */

/*
 * Moves connecting on as far as it goes without waiting. 0: the session is open; -EINPROGRESS: the
 * answer is awaited; or why the last attempt failed.
 */
int session_step(struct tr_client *c);

/*
 * The same for a session that was lost: -ENOTCONN for all that may pass by itself. Does nothing
 * while it is open.
 */
int session_reopen(struct tr_client *c);

/*
 * The session is over: settles every call by the table of calls in flight. executor_gone: what it
 * left in the ring is still good; else it broke the protocol and is not believed any more.
 */
void session_lost(struct tr_client *c, bool executor_gone);

void session_close(struct tr_client *c);

/* ---- submit.c ------------------------------------------------------------------------------------- */

void row_free(struct tr_client *c, struct row *row);
/* The row of a call that is not over, or NULL. */
struct row *row_find(struct tr_client *c, uint64_t call_id);
/* Passes on what waits for room. On a protocol violation the session is lost. */
void client_flush(struct tr_client *c);
/* Asks for a call to be cancelled, now or when there is room. */
void client_cancel(struct tr_client *c, struct row *row);
/* With the lock held. Waits as the deadline says. */
int client_submit(struct tr_client *c, enum tr_kind kind, const void *payload, size_t n,
		  void *user_data, struct deadline *deadline, struct row **ret_row);

/* ---- value.c -------------------------------------------------------------------------------------- */

/* Appends one value. -EINVAL, -E2BIG, -ENOMEM. */
int value_pack(struct buf *b, const struct tr_value *value);
/* Appends one map of first's members and, unless NULL or nil, the map more's. */
int value_pack_members(struct buf *b, const struct tr_member *first, size_t n_first,
		       const struct tr_value *more);

/* ---- result.c ------------------------------------------------------------------------------------- */

/* Room for a payload of n bytes and what belongs to it. in_place: TR_OPEN_IN_PLACE. */
int result_reserve(struct tr_result *result, size_t n, bool in_place);
/* The payload, n bytes, lies at the start of the buffer, which has room for one more. */
int result_decode(struct tr_result *result, const struct row *row, size_t n, bool in_place);
/* What the library itself says of a call. error: a literal. */
void result_settle(struct tr_result *result, const struct row *row, enum tr_verdict verdict,
		   const char *error);
/* Moves a result; to's buffer goes the other way. */
void result_swap(struct tr_result *to, struct tr_result *from);

/* ---- reap.c --------------------------------------------------------------------------------------- */

/*
 * Takes completions out of the ring until it is empty, the sink (may be NULL) is full or w (may be
 * NULL) is done. What nobody waits for goes to the sink or to its stash. On a protocol violation the
 * session is lost. 0 or -ENOMEM.
 */
int client_drain(struct tr_client *c, struct sink *sink, const struct waiter *w);
/* The same without ending the session: 0 or -errno. */
int client_consume(struct tr_client *c, struct sink *sink, const struct waiter *w);
/* Ends a call without an answer. */
void client_settle(struct tr_client *c, struct row *row, enum tr_verdict verdict,
		   const char *error);
/* Waits for the result of a call that was submitted. -ETIMEDOUT: it goes on. */
int client_await(struct tr_client *c, struct row *row, struct tr_result *result,
		 struct deadline *deadline);
/* Nobody wants the result of this call any more. */
void client_abandon(struct tr_client *c, struct row *row);

/* ---- wait.c --------------------------------------------------------------------------------------- */

void waiter_init(struct waiter *w, unsigned wants);
/*
 * Waits once, the lock given up meanwhile. 0: look again; -ETIMEDOUT; or why a lost session
 * cannot be opened anew.
 */
int client_wait(struct tr_client *c, struct waiter *w, struct deadline *deadline);
/* Looks at the socket and the pidfd; a system call. */
bool client_executor_gone(struct tr_client *c);
/* The same, but not more often than every CLIENT_SLEEP_MS; true: it was gone, all is settled. */
bool client_check(struct tr_client *c);
/* Reads and drops wake-up bytes. Ends the session on a hang-up. */
void client_drop_bytes(struct tr_client *c);
/* Wakes the followers that want one of these. */
void followers_wake(struct tr_client *c, unsigned wants);
void follower_wake(struct waiter *w);
/* Makes a sleeping leader look again. */
void leader_kick(struct tr_client *c);
/* Who waits for any result must learn when none can come any more. */
void reapers_check(struct tr_client *c);

#endif
