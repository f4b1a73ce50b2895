/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXECUTOR_LIMITS_H
#define EXECUTOR_LIMITS_H

/*
 * Everything has a limit that is known at the start, and this is the table of them. Each row is
 *
 *   X(name, default, min, max, unit, reason)
 *
 * and is settable as --limit NAME=VALUE and as TOOLRING_LIMIT_NAME; the reason is what
 * --check-config prints. Rows that must fit each other are checked in config.c. What the format of
 * messages fixes for both sides (lengths of ids and names, nesting, objects in a call) stands with
 * it, in wire/call.h and wire/reader.h.
 */

#include <stdint.h>

#define LIMITS_KIB (UINT64_C(1) << 10)
#define LIMITS_MIB (UINT64_C(1) << 20)
#define LIMITS_GIB (UINT64_C(1) << 30)

/* clang-format off */
#define LIMITS_SESSIONS(X)                                                                         \
	X(sessions_max, 1024, 1, 65536, "sessions",                                                \
	  "A session costs a segment of about half a MiB and two descriptors, so their "           \
	  "number bounds both.")                                                                   \
	X(sessions_per_uid_max, 1024, 1, 65536, "sessions",                                        \
	  "Lower it where several users share one toolringd, so that none of them can "            \
	  "take every session.")                                                                   \
	X(session_calls_default, 1024, 16, 1048576, "calls",                                       \
	  "Rows of the table of calls in flight for a client that names no number; enough"         \
	  " to keep a deep pipeline busy.")                                                        \
	X(session_calls_max, 8192, 16, 1048576, "calls",                                           \
	  "The most rows a client may ask for; each is a call whose state the executor "           \
	  "keeps.")                                                                                \
	X(submission_bytes_default, 256 * LIMITS_KIB, 4096, LIMITS_GIB, "bytes",                   \
	  "Fits the second-level cache and about a thousand ordinary calls; larger ones "          \
	  "go in fragments.")                                                                      \
	X(completion_bytes_default, 256 * LIMITS_KIB, 4096, LIMITS_GIB, "bytes",                   \
	  "Fits the second-level cache and about a thousand ordinary results; larger ones"         \
	  " go in fragments.")                                                                     \
	X(ring_bytes_max, 4 * LIMITS_MIB, 4096, LIMITS_GIB, "bytes",                              \
	  "The most a client may ask for one ring; all of it is allocated at once and "            \
	  "stays so.")                                                                             \
	X(handshake_ms, 2000, 1, 600000, "ms",                                                     \
	  "A client sends its hello at once; one that does not would hold a descriptor "           \
	  "for ever.")                                                                             \
	X(hellos_max, 64, 1, 65536, "connections",                                                 \
	  "Connections that have not said hello cost descriptors; beyond this number more "        \
	  "wait to be accepted.")                                                                  \
	X(hellos_stranger_max, 16, 1, 65536, "connections",                                        \
	  "Users who are not admitted are owed a word of refusal, but not all places of "          \
	  "those who are.")                                                                        \
	X(wake_bytes_max, 65536, 1, LIMITS_GIB, "bytes",                                           \
	  "Wake-ups are one byte each and only when asked for; a session that floods its "         \
	  "socket unasked is ended.")

#define LIMITS_CALLS(X)                                                                            \
	X(call_bytes_max, 16 * LIMITS_MIB, 4096, LIMITS_GIB, "bytes",                              \
	  "The largest message to the executor, which assembles it in memory of its own "          \
	  "before it reads it.")                                                                   \
	X(result_bytes_max, 256 * LIMITS_MIB, 4096, 2 * LIMITS_GIB, "bytes",                       \
	  "The largest message to a client; leaves room for harness output of 64 MiB per "         \
	  "stream.")                                                                               \
	X(session_call_bytes_max, 64 * LIMITS_MIB, 4096, 16 * LIMITS_GIB, "bytes",                 \
	  "Calls wait in our memory for their turn: above this nothing more of the session is "    \
	  "taken in, a cancel neither, until some have ended.")                                    \
	X(session_backlog_bytes_max, 64 * LIMITS_MIB, 4096, 16 * LIMITS_GIB, "bytes",              \
	  "Results a client does not take wait in our memory: above this no more of its "          \
	  "calls are taken in, at four times it the session ends.")                                \
	X(calls_queued_max, 65536, 1, 16777216, "calls",                                           \
	  "Calls of all clients that wait for their turn or a slot; above it new ones are"         \
	  " answered unavailable.")                                                                \
	X(intake_records_per_turn, 64, 1, 65536, "records",                                        \
	  "How many records one session may have taken in before it is the next one's "            \
	  "turn.")                                                                                 \
	X(intake_bytes_per_turn, LIMITS_MIB, 4096, LIMITS_GIB, "bytes",                            \
	  "How many bytes one session may have taken in before it is the next one's turn;"         \
	  " large calls must not delay small ones.")                                               \
	X(batch_calls_max, 200, 1, 65536, "calls",                                                 \
	  "The most calls handed to one target of a backend at once; also settable as "            \
	  "--max-batch-size.")                                                                     \
	X(cancel_grace_ms, 2000, 1, 600000, "ms",                                                  \
	  "How long past a call's timeout its backend may take to answer before the slot "         \
	  "is taken out of use.")

#define LIMITS_TRAJECTORIES(X)                                                                     \
	X(trajectories_max, 262144, 1, 16777216, "trajectories",                                   \
	  "Each trajectory that is known costs a few hundred bytes; well above the number"         \
	  " of slots, as they may wait.")                                                          \
	X(trajectories_per_session_max, 131072, 1, 16777216, "trajectories",                       \
	  "How many one session may hold, so that one client cannot use up the table.")            \
	X(trajectory_calls_max, 4096, 1, 1048576, "calls",                                         \
	  "Calls queued for one trajectory, which run one after another; above it new "            \
	  "ones are answered unavailable.")                                                        \
	X(slot_ready_ms, 30000, 1, 3600000, "ms",                                                  \
	  "How long a backend may take to make a slot ready where the acquire timeout is 0, "      \
	  "which is about waiting for a free one.")                                                \
	X(trajectory_holders_max, 256, 1, 65536, "sessions",                                       \
	  "How many sessions may hold one trajectory; rollouts share one between a few "           \
	  "processes.")

#define LIMITS_SLOTS(X)                                                                            \
	X(output_chars, 50000, 1, 8 * LIMITS_MIB, "characters",                                    \
	  "How much of each stream of bash a result carries; more than a model reads would "      \
	  "only crowd its context.")                                                               \
	X(file_chars, 100000, 1, 16 * LIMITS_MIB, "characters",                                    \
	  "The largest file read_file and write_file take, for the same reason; larger ones "      \
	  "are artifacts.")                                                                        \
	X(exec_output_bytes_max, 64 * LIMITS_MIB, 0, 72 * LIMITS_MIB, "bytes",                     \
	  "How much of each stream of exec a result carries, unless the call wants less: what "    \
	  "harnesses need, and what fits result_bytes_max twice.")                                 \
	X(artifact_bytes_max, 5000000, 1, 72 * LIMITS_MIB, "bytes",                                \
	  "The most of a file that an artifact carries, in or out, the most an archive may "       \
	  "come to, and what one may unpack to: what a rollout leaves to be looked at.")           \
	X(artifact_entries_max, 5000, 1, 250000, "entries",                                        \
	  "The most entries of a list or an archive of artifacts.")                                \
	X(anywhere_bytes_max, 64 * LIMITS_MIB, 1, 72 * LIMITS_MIB, "bytes",                        \
	  "The same as artifact_bytes_max for calls that say anywhere, which are harnesses'; "     \
	  "bytes shown as text come to three times as many, which fits result_bytes_max. What "    \
	  "a call brings is bounded by call_bytes_max as well.")                                   \
	X(anywhere_entries_max, 50000, 1, 250000, "entries",                                       \
	  "The same as artifact_entries_max for calls that say anywhere; a client can take no "    \
	  "more than a few million objects in one result.")                                        \
	X(slot_grace_ms, 1500, 1, 600000, "ms",                                                    \
	  "How long past a call's timeout its slot may take to answer before it is dropped; "      \
	  "shorter than cancel_grace_ms, so that the slot's number need not go out of use.")       \
	X(slot_gone_ms, 1000, 1, 600000, "ms",                                                     \
	  "How long a slot that was killed may take to be gone; after that somebody in it hangs "  \
	  "in the kernel, and its place stays out of use until that ends.")

#define LIMITS_PROCESS(X)                                                                          \
	X(stop_grace_ms, 10000, 0, 3600000, "ms",                                                  \
	  "How long a stop lets running calls end by themselves before it cancels them.")          \
	X(recovery_grace_ms, 10000, 0, 600000, "ms",                                               \
	  "How long slots wait for their client to come back after the executor was "              \
	  "restarted.")                                                                            \
	X(restarts_max, 10, 0, 1000000, "restarts",                                                \
	  "An executor that dies more often than this within restarts_window_ms will not "         \
	  "get well by another start: toolringd stops.")                                           \
	X(restarts_window_ms, 60000, 1, 86400000, "ms",                                            \
	  "The time over which restarts_max counts.")

#define LIMITS(X)                                                                                  \
	LIMITS_SESSIONS(X)                                                                         \
	LIMITS_CALLS(X)                                                                            \
	LIMITS_TRAJECTORIES(X)                                                                     \
	LIMITS_SLOTS(X)                                                                            \
	LIMITS_PROCESS(X)
/* clang-format on */

struct limits {
#define LIMITS_FIELD(name, value, min, max, unit, reason) uint64_t name;
	LIMITS(LIMITS_FIELD)
#undef LIMITS_FIELD
};

enum limit {
#define LIMITS_ENUM(name, value, min, max, unit, reason) LIMIT_##name,
	LIMITS(LIMITS_ENUM)
#undef LIMITS_ENUM
	N_LIMITS
};

#define LIMITS_VALUE(name, value, min, max, unit, reason) .name = (value),
#define LIMITS_DEFAULT                                    ((struct limits){LIMITS(LIMITS_VALUE)})

#endif
