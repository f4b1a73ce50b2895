/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLRING_H
#define TOOLRING_H

/*
 * libtoolring: put tool calls into toolringd's ring, get results out.
 *
 * Every call returns 0 (or a count) or a negative errno; nothing is printed, no signal is touched,
 * nothing aborts. A handle may be used by any number of threads; threads that want to share nothing
 * open one each. A handle belongs to the process that opened it: a forked child gets -ECHILD from
 * every call but tr_close(), which there only frees the child's copy.
 *
 * Errors that any call may return: -ECHILD (forked, see above), -EINVAL (an argument makes no
 * sense), -ENOMEM, -ENOTCONN (the executor is gone and not yet back; try again), -EPROTO (what
 * answered is no toolringd), and those tr_open_with() names, when a lost session is opened anew.
 *
 * Timeouts are in milliseconds: 0 never waits, negative waits for ever. They bound how long the
 * caller waits for the ring; how long a tool may run is the call's own timeout_s.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <toolring/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TR_VERSION "0.1.0"

/* ---- values: what msgpack can say ------------------------------------------------------------ */

enum tr_type {
	TR_NIL,
	TR_BOOL,
	TR_INT,  /* fits int64_t */
	TR_UINT, /* only what is above INT64_MAX */
	TR_FLOAT,
	TR_STRING, /* not terminated; parsed ones are, beyond their length */
	TR_BINARY,
	TR_ARRAY,
	TR_MAP, /* string keys */
};

struct tr_member;

struct tr_value {
	enum tr_type type;
	size_t n; /* bytes of a string or binary, items of an array, members of a map */
	union {
		bool boolean;
		int64_t integer;
		uint64_t natural;
		double real;
		const char *string;
		const void *binary;
		const struct tr_value *items;
		const struct tr_member *members;
	} u;
};

struct tr_member {
	const char *key; /* NUL-terminated */
	struct tr_value value;
};

/* Values that borrow what they are made of: it must live until they have been packed or submitted. */

/* Value of a C string; NULL is nil. */
struct tr_value tr_string(const char *s);
/* A string of n bytes, which need not be terminated. */
struct tr_value tr_string_n(const char *s, size_t n);
/* Bytes that are no text. */
struct tr_value tr_binary(const void *data, size_t n);
/* A whole number. */
struct tr_value tr_int(int64_t i);
/* A number of double precision. */
struct tr_value tr_float(double d);
/* True or false. */
struct tr_value tr_bool(bool b);
/* An array of n values. */
struct tr_value tr_array(const struct tr_value *items, size_t n);
/* A map of n members; {} if n is 0. */
struct tr_value tr_map(const struct tr_member *members, size_t n);

/*
 * Packs a value as msgpack into a new buffer, for free(). -EINVAL: a map key is NULL, or it nests
 * deeper than 64.
 */
int tr_value_pack(const struct tr_value *value, void **ret_data, size_t *ret_n);

/*
 * Parses one msgpack object, all of data. The tree is one block that also holds a copy of every
 * string, for tr_value_free(). -EBADMSG: malformed, trailing bytes, a key that is not a string,
 * nested deeper than 64.
 */
int tr_value_parse(const void *data, size_t n, struct tr_value **ret_value);

/* Frees what tr_value_parse() returned, and nothing else; NULL is fine. */
void tr_value_free(struct tr_value *value);

/* Member of a map by key, or NULL (also if value is NULL or no map). */
const struct tr_value *tr_value_get(const struct tr_value *value, const char *key);

/* ---- calls and results ------------------------------------------------------------------------ */

/* One call, as it is given. Absent strings are NULL. Nothing of it is kept after the submit. */
struct tr_call {
	enum tr_kind kind; /* 0: TR_KIND_EXECUTE */
	const char *trajectory_id;
	const char *tool;    /* EXECUTE only */
	const char *uniq_id; /* EXECUTE only: comes back with the result */
	/*
	 * EXECUTE: the tool's arguments. Other kinds: the payload's further members ("spec", "path",
	 * "reset_workspace", ...). A map, or zeroed for none.
	 */
	struct tr_value arguments;
	/* The same as msgpack, if you have it: used instead of arguments when not NULL. */
	const void *arguments_packed;
	size_t n_arguments_packed;
	/*
	 * EXECUTE: 0 leaves it to the executor: arguments.timeout, then the executor's default, 30 s
	 * unless set.
	 */
	double timeout_s;
	void *user_data; /* comes back with the result */
};

/* A piece of a result: not terminated within n, but the byte after it is NUL (see TR_OPEN_IN_PLACE). */
struct tr_slice {
	const char *data;
	size_t n;
};

struct tr_timing {
	uint64_t ns[TR_N_PHASES]; /* by enum tr_phase */
};

/*
 * One result. Zero it before its first use; what it points to lives until it is used again or
 * deinitialised, so one that is used again and again stops allocating.
 */
struct tr_result {
	uint64_t call_id;
	void *user_data;
	enum tr_kind kind;
	enum tr_verdict verdict;
	bool success;
	struct tr_slice output;
	struct tr_slice error;
	struct tr_slice uniq_id;
	struct tr_slice slot_id;  /* ACQUIRE */
	struct tr_slice metadata; /* a msgpack map, or empty: tr_value_parse() */
	struct tr_timing timing;
	struct tr_slice raw; /* the whole payload as it came: a msgpack map, or a PING's bytes */
	struct {
		void *data;
		size_t size;
	} buffer; /* the library's */
};

/* Frees what a result points to and zeroes it; a zeroed one is fine. */
void tr_result_deinit(struct tr_result *result);

/* "ok", "failed", ...; NULL for a number that is none. */
const char *tr_verdict_name(enum tr_verdict verdict);
/* "PING", "EXECUTE", ...; NULL for a number that is none. */
const char *tr_kind_name(enum tr_kind kind);

/* ---- sessions ---------------------------------------------------------------------------------- */

struct tr_client;

enum tr_open_flag {
	/* Calls in flight that never began when the executor died are submitted again, not ended. */
	TR_OPEN_RESUBMIT = 1,
	/* A lost session stays lost: what would open it anew returns -ENOTCONN. */
	TR_OPEN_NO_RECONNECT = 2,
	/*
	 * Results are not copied: output, error, uniq_id, slot_id and metadata point into raw, where
	 * no NUL follows them (one still follows raw). What the library says itself lies elsewhere.
	 */
	TR_OPEN_IN_PLACE = 4,
};

/* Zero is the default for every member. */
struct tr_options {
	size_t size; /* sizeof(struct tr_options) */
	const char
		*name;  /* instance; a name with a slash is the socket's path; NULL: $TOOLRING_NAME,
	                     else "default" */
	uint32_t flags; /* enum tr_open_flag */
	int32_t open_timeout_ms; /* 0: 5000 */
	int32_t spin_us;         /* longest spin before sleeping; 0: 50 (0 on one core); -1: none */
	uint32_t submission_bytes; /* 0: the executor's default */
	uint32_t completion_bytes;
	uint32_t n_calls;          /* most calls in flight */
	uint64_t result_bytes_max; /* a larger result ends the session; 0: 256 MiB */
	const char *label;         /* up to 31 bytes, shown in status */
	char *message;             /* if not NULL: why opening failed, in words */
	size_t n_message;
};

/*
 * Opens a session. -ENOENT or -ECONNREFUSED: no toolringd there. -EPROTONOSUPPORT: it speaks another
 * layout version, or lacks a required feature. -EACCES: our uid is not admitted. -EUSERS: it is
 * full. -E2BIG: a size asked for is over its limit. -ESHUTDOWN: it is stopping. -ETIMEDOUT.
 */
int tr_open(struct tr_client **ret_client, const char *name);

/* The same with options; NULL is fine. */
int tr_open_with(struct tr_client **ret_client, const struct tr_options *options);

/* Ends the session; calls in flight are cancelled by the executor. NULL is fine. Returns NULL. */
struct tr_client *tr_close(struct tr_client *client);

/*
 * Puts one call into the ring and returns. -EAGAIN: the ring is full, or as many calls as the session
 * may have are in flight: reap, then try again. -E2BIG: larger than the executor takes.
 * A call too large for one record (over a quarter of the ring) is kept and passed on piece by piece,
 * by later calls of any function of this handle; -EAGAIN then means that not even its first piece
 * fits.
 */
int tr_submit(struct tr_client *client, const struct tr_call *call, uint64_t *ret_id);

/*
 * The same, but waits for room. -ETIMEDOUT: none in time. -ENOBUFS: every call in flight has been
 * answered and none was reaped, so waiting could never end.
 */
int tr_submit_wait(struct tr_client *client, const struct tr_call *call, int timeout_ms,
		   uint64_t *ret_id);

/* For those who bring their own msgpack: payload is the whole message of that kind. */
int tr_submit_raw(struct tr_client *client, enum tr_kind kind, const void *payload, size_t n,
		  void *user_data, int timeout_ms, uint64_t *ret_id);

/*
 * Takes one result of any call that nobody waits for by tr_wait() or tr_call_wait(). -EAGAIN: there
 * is none (timeout 0). -ETIMEDOUT: none came in time. -ENOENT: nothing is in flight.
 */
int tr_reap(struct tr_client *client, struct tr_result *result, int timeout_ms);

/* Takes between 1 and n results, waiting only for the first. Returns how many, or as tr_reap(). */
int tr_reap_many(struct tr_client *client, struct tr_result *results, size_t n, int timeout_ms);

/* Takes the result of one call. -ENOENT: no such call is in flight. -ETIMEDOUT: it goes on. */
int tr_wait(struct tr_client *client, uint64_t call_id, struct tr_result *result, int timeout_ms);

/*
 * Submits and waits for the result. -ETIMEDOUT: not answered in time; the call is then cancelled
 * and its result dropped when it comes.
 */
int tr_call_wait(struct tr_client *client, const struct tr_call *call, struct tr_result *result,
		 int timeout_ms);

/*
 * Asks the executor to cancel a call in flight; its result still comes, with verdict "cancelled" or
 * whatever it was if it ended first. -ENOENT: no such call is in flight.
 */
int tr_cancel(struct tr_client *client, uint64_t call_id);

/*
 * Cancels a call and drops its result when it comes. -ENOENT: no such call is in flight. -EINVAL: a
 * thread waits for it.
 */
int tr_abandon(struct tr_client *client, uint64_t call_id);

/* Round trip through both rings. ret_ns may be NULL. */
int tr_ping(struct tr_client *client, int timeout_ms, uint64_t *ret_ns);

/*
 * Calls of the other kinds, submitted and waited for as by tr_call_wait(). spec and the artifact
 * options are maps of further members, or NULL. The result is filled like any other; what is
 * particular to a kind (entries, content, sha256, ...) stands in result->raw. Each artifact call takes
 * anywhere (any path of the slot, with its guest's rights, and larger caps) and timeout_s.
 */

/* Gets the trajectory a slot ahead of its first call; result->slot_id names it. */
int tr_acquire(struct tr_client *client, const char *trajectory_id, const struct tr_value *spec,
	       struct tr_result *result, int timeout_ms);
/* Makes the trajectory's slot as new. */
int tr_reset(struct tr_client *client, const char *trajectory_id, struct tr_result *result,
	     int timeout_ms);
/* Gives the trajectory's slot back, with its workspace cleared or kept for it. */
int tr_release(struct tr_client *client, const char *trajectory_id, bool reset_workspace,
	       struct tr_result *result, int timeout_ms);
/* Reads a file of the slot: encoding ("text", "base64", "bytes"), max_bytes, include_sha256. */
int tr_artifact_read(struct tr_client *client, const char *trajectory_id, const char *path,
		     const struct tr_value *options, struct tr_result *result, int timeout_ms);
/* Lists a directory of the slot: recursive, max_entries. */
int tr_artifact_list(struct tr_client *client, const char *trajectory_id, const char *path,
		     const struct tr_value *options, struct tr_result *result, int timeout_ms);
/* Packs a file or directory of the slot into an archive: format ("tar.gz", "tgz", "tar.zst", "tar"),
 * encoding ("base64", "bytes"), max_bytes, max_entries. */
int tr_artifact_archive(struct tr_client *client, const char *trajectory_id, const char *path,
			const struct tr_value *options, struct tr_result *result, int timeout_ms);
/* Writes content to a file of the slot. */
int tr_artifact_write(struct tr_client *client, const char *trajectory_id, const char *path,
		      const void *content, size_t n_content, const struct tr_value *options,
		      struct tr_result *result, int timeout_ms);
/* Unpacks an archive into a directory of the slot: format, max_bytes and max_entries of all of it. */
int tr_artifact_unpack(struct tr_client *client, const char *trajectory_id, const char *path,
		       const void *archive, size_t n_archive, const struct tr_value *options,
		       struct tr_result *result, int timeout_ms);

/* What the executor says of itself: result->metadata. Cheap; asks its loop. */
int tr_status(struct tr_client *client, struct tr_result *result, int timeout_ms);

/*
 * The statistics in shared memory, without asking the loop; mapped until tr_close(). NULL if the
 * executor gave none, or in a forked child.
 */
const struct tr_stats *tr_stats(struct tr_client *client);

/* ---- event loops -------------------------------------------------------------------------------- */

/*
 * The descriptor to poll for input (the session's socket). It keeps its number over a lost and
 * reopened session, but is then another file: with epoll, add it again when tr_session_count()
 * has changed.
 */
int tr_fd(struct tr_client *client);

/*
 * Call before each poll. 1: do not poll, there is something to reap (or room to submit, if the last
 * submit said -EAGAIN or -ENOTCONN; or a lost session was just opened anew); 0: the descriptor will
 * become readable when there is. Then call tr_reap() with timeout 0 until it fails. -ENOTCONN: there is
 * no executor to hear from, and the descriptor, which is hung up, tells nothing: call again in a
 * while, some 20 ms.
 */
int tr_fd_arm(struct tr_client *client);

/* ---- about the session -------------------------------------------------------------------------- */

/* How many calls are in flight or answered and not yet reaped. */
size_t tr_n_in_flight(struct tr_client *client);
/* How many sessions this handle has had: 1, and one more for each time it was opened anew. */
uint64_t tr_session_count(struct tr_client *client);
/* Version of the library, TR_VERSION at its build. */
const char *tr_version(void);

#ifdef __cplusplus
}
#endif

#endif
