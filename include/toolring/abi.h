/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLRING_ABI_H
#define TOOLRING_ABI_H

/*
 * The toolring segment, version 1: everything two processes share, and nothing else.
 *
 * This text alone is enough to map a session from any language. All integers are little-endian and
 * naturally aligned; offsets are bytes; every struct below is pinned by static asserts and by
 * tests/abi. "Load" and "store" of a shared word are atomic, with the memory order that is named.
 *
 * 1. Handshake
 *
 *   Connect a SOCK_STREAM Unix socket to the control socket: $XDG_RUNTIME_DIR/toolring/NAME.sock if
 *   XDG_RUNTIME_DIR is set, else /run/toolring/NAME.sock for root and
 *   /tmp/toolring-UID/NAME.sock for others; NAME is "default" unless one is given. Send one
 *   struct tr_hello. Receive one struct tr_welcome, whose first byte carries, as SCM_RIGHTS, the
 *   file descriptors in the order of enum tr_welcome_fd when its status is TR_WELCOME_OK. Any
 *   other status is a refusal and message says why, in English, NUL-terminated. The first 16 bytes
 *   of both structs never change, in any version; a longer struct from a newer peer is read to its
 *   declared length and its tail ignored.
 *
 *   mmap segment_bytes of the segment descriptor, shared, read and write. Check that fstat gives at
 *   least segment_bytes; load layout_version with acquire (it is stored last, with release, and is
 *   the ready flag); check magic, that segment_bytes is what the welcome said, that both rings' data
 *   areas and the table of calls lie inside the segment and after header_bytes, and that their sizes
 *   are powers of two (a data area has 4096 bytes to 2^31, at an offset that is a multiple of 128).
 *   Copy what you need once and never read it again: the other side is not to be trusted. In a new
 *   segment all positions are 0, all wait words TR_AWAKE and the table is 0.
 *
 *   The socket stays open for the life of the session. Its hang-up is the other side's death. After
 *   the handshake the only bytes on it are wake-ups (section 4), each without meaning beyond "look
 *   again"; read and drop them. Tens of thousands that nobody asked for end the session, as does
 *   closing it. A hello is at most 4096 bytes long and has to have come within seconds.
 *
 * 2. Rings
 *
 *   There are two: submission (client produces, executor consumes) and completion (the reverse).
 *   Each has a control block (struct tr_ring) and a data area of a power of two bytes. tail counts
 *   all bytes ever produced, head all bytes ever consumed; both run free over 64 bits, are multiples
 *   of 8, and are masked with (bytes - 1) to give an offset in the data area. tail - head is what is
 *   in the ring and never exceeds bytes. Only the producer stores tail, only the consumer head.
 *
 *   To produce: load head (acquire); check the space; write the record; store tail (release).
 *   To consume: load tail (acquire); read the record; store head (release).
 *   A side that finds the other's position unaligned, behind its own, or more than bytes away ends
 *   the session.
 *
 * 3. Records
 *
 *   A record is a struct tr_record, then length payload bytes, then zero to seven bytes of padding
 *   so that the next record is 8-byte aligned. It never wraps: where it would not fit before the end
 *   of the data area, the producer first writes a pad record there (only its first 8 bytes, kind
 *   TR_KIND_PAD, length whatever is left minus 8) and starts anew at offset 0. header plus payload
 *   plus padding is at most a quarter of the data area.
 *
 *   A message that does not fit one record travels as fragments: records of the same kind and call
 *   id, one after another with no other record (pads aside) between them. All but the last have
 *   TR_RECORD_MORE set. The first also has TR_RECORD_FIRST set, and its payload starts with the
 *   message's total size as a 64-bit integer, which is not part of the message. Each fragment has at
 *   least one byte of the message. A producer that runs out of room publishes the fragments that it
 *   has written and goes on when there is room again.
 *
 *   The client chooses call ids. (id % n_calls) must differ between calls in flight: it is the
 *   call's row in the table of calls. The completion of a call has the call's kind and id. CANCEL
 *   names the id of the call to cancel, carries nothing and is not answered itself. PING is answered
 *   with the payload it carried. All other payloads are msgpack maps (wire/ in the source, README).
 *
 * 4. Sleeping and waking
 *
 *   consumer_wait belongs to a ring's consumer, which sleeps while the ring is empty; producer_wait
 *   to its producer, which sleeps while the ring is too full. Both follow one protocol:
 *
 *     sleeper: store TR_WAIT_FUTEX (relaxed); full fence; load the other side's position again
 *              (acquire); if there is something to do now, store TR_AWAKE (relaxed) and go on;
 *              else futex(FUTEX_WAIT, &word, TR_WAIT_FUTEX) with a bound (not FUTEX_PRIVATE), and
 *              look again.
 *     waker:   store its position (release); full fence; load the word (relaxed); if it is not
 *              TR_AWAKE, exchange it with TR_AWAKE (relaxed); if the old value was TR_WAIT_FUTEX,
 *              futex(FUTEX_WAKE, &word, 1); if TR_WAIT_SOCKET, send one byte on the socket without
 *              blocking, and ignore EAGAIN (a byte is there already). A language without atomic
 *              exchange may store TR_AWAKE instead and then wake in both ways, since the word may
 *              have become the other in between.
 *
 *   A sleeper that has an event loop stores TR_WAIT_SOCKET instead and polls the socket. The bound
 *   on sleeping lets a side see that the other died (socket hang-up, pidfd).
 *
 * 5. The table of calls in flight
 *
 *   n_calls 64-bit words, written by the executor alone. Before the first byte of a call can reach a
 *   slot, the executor stores the call's id in word (id % n_calls) with release. So when the
 *   executor is gone, a call without a completion whose word holds its id may have run (verdict
 *   "unknown"); one whose word holds anything else never began ("not_started"). Ids are never
 *   used twice in a session and never 0.
 *
 * 6. What changes the version
 *
 *   TR_LAYOUT_VERSION is raised when the offset, size or meaning of anything above changes. It is
 *   not raised when: a reserved field gets a meaning that a feature bit announces and both sides
 *   agreed on; a kind, flag, refusal status or descriptor is added that a side unaware of it never
 *   meets without such a bit; tr_hello, tr_welcome or tr_stats grow at the end (their length says
 *   so). Versions are not ranges: both sides must name the same one. It is apart from the release
 *   version.
 */

#include <stddef.h>
#include <stdint.h>

#define TR_MAGIC          UINT64_C(0x676e69726c6f6f74) /* "toolring" */
#define TR_LAYOUT_VERSION 1

/* Two lines: the adjacent-line prefetcher makes one of a pair drag in the other. */
#define TR_LINE 128

#define TR_RECORD_ALIGN 8

enum tr_kind {
	TR_KIND_PAD = 0,
	TR_KIND_PING = 1,
	TR_KIND_ACQUIRE = 2,
	TR_KIND_EXECUTE = 3,
	TR_KIND_CANCEL = 4,
	TR_KIND_RESET = 5,
	TR_KIND_RELEASE = 6,
	TR_KIND_STATUS = 7,
	TR_KIND_ARTIFACT_READ = 8,
	TR_KIND_ARTIFACT_LIST = 9,
	TR_KIND_ARTIFACT_ARCHIVE = 10,
	TR_KIND_ARTIFACT_WRITE = 11,
	TR_KIND_ARTIFACT_UNPACK = 12,
	TR_KIND_FORK = 13,     /* kept free */
	TR_KIND_PROGRESS = 14, /* kept free */
	TR_KIND_INPUT = 15,    /* kept free */
	TR_N_KINDS
};

enum tr_record_flag {
	TR_RECORD_MORE = 1,
	TR_RECORD_FIRST = 2,
};

struct tr_record {
	uint32_t length; /* payload bytes, without padding */
	uint16_t kind;   /* enum tr_kind */
	uint16_t flags;  /* enum tr_record_flag; other bits are 0 */
	uint64_t call_id;
};

enum tr_wait {
	TR_AWAKE = 0,
	TR_WAIT_FUTEX = 1,
	TR_WAIT_SOCKET = 2,
};

/* Control block of one ring; each word on lines of its own, each with one habitual writer. */
struct tr_ring {
	uint64_t tail; /* producer */
	uint8_t reserved0[TR_LINE - 8];
	uint64_t head; /* consumer */
	uint8_t reserved1[TR_LINE - 8];
	uint32_t consumer_wait; /* enum tr_wait */
	uint8_t reserved2[TR_LINE - 4];
	uint32_t producer_wait; /* enum tr_wait */
	uint8_t reserved3[TR_LINE - 4];
};

/* Where a ring's data area lies. */
struct tr_area {
	uint64_t offset;
	uint64_t bytes; /* a power of two */
};

/* Offset 0 of the segment. Written by the executor before layout_version, never after. */
struct tr_segment {
	uint64_t magic;
	uint32_t layout_version; /* stored last: the ready flag */
	uint32_t header_bytes;   /* sizeof(struct tr_segment) */
	uint64_t segment_bytes;
	uint64_t features;   /* those both sides agreed on */
	uint64_t session_id; /* names the session in logs and status */
	uint64_t generation; /* counts the executor's starts under one keeper, from 1 */
	struct tr_area submission;
	struct tr_area completion;
	uint64_t calls_offset;     /* the table of calls in flight: n_calls 64-bit words */
	uint32_t n_calls;          /* a power of two */
	uint32_t executor_pid;     /* as the executor sees itself; for people, not for decisions */
	uint64_t call_bytes_max;   /* largest message the executor takes */
	uint64_t result_bytes_max; /* largest message it sends */
	uint8_t reserved[512 - 112];
	struct tr_ring submission_ring; /* offset 512 */
	struct tr_ring completion_ring; /* offset 1024 */
};

/* Feature bits: none yet; a hello may require only bits that are listed here. */
#define TR_FEATURES UINT64_C(0)

struct tr_hello {
	uint64_t magic;
	uint32_t bytes; /* sizeof(struct tr_hello) */
	uint32_t layout_version;
	uint64_t features_wanted;
	uint64_t features_required;
	/* wishes, rounded up to a power of two; 0: the executor's default */
	uint32_t submission_bytes;
	uint32_t completion_bytes;
	uint32_t n_calls;
	uint32_t reserved;
	char label[32]; /* shown in status; need not be terminated */
};

enum tr_welcome_status {
	TR_WELCOME_OK = 0,
	TR_WELCOME_VERSION = 1,   /* another layout version; layout_version names ours */
	TR_WELCOME_FEATURE = 2,   /* a required feature is not there */
	TR_WELCOME_FORBIDDEN = 3, /* this uid is not admitted */
	TR_WELCOME_FULL = 4,      /* no more sessions */
	TR_WELCOME_SIZE = 5,      /* a size that was asked for is over the limit */
	TR_WELCOME_MALFORMED = 6, /* the hello makes no sense */
	TR_WELCOME_STOPPING = 7,  /* the executor is shutting down */
	TR_WELCOME_NO_MEMORY = 8, /* the segment could not be made */
};

enum tr_welcome_fd {
	TR_FD_SEGMENT = 0,
	TR_FD_EXECUTOR = 1, /* pidfd of the executor */
	TR_FD_STATS = 2,    /* struct tr_stats, to be mapped read-only */
	TR_N_WELCOME_FDS
};

struct tr_welcome {
	uint64_t magic;
	uint32_t bytes; /* sizeof(struct tr_welcome) */
	uint32_t layout_version;
	uint32_t status; /* enum tr_welcome_status */
	uint32_t reserved;
	uint64_t features; /* those that hold */
	uint64_t segment_bytes;
	char message[216];
};

/*
 * Why a call ended as it did. On the wire it is the lower-case name; here it also numbers rows of
 * the statistics.
 */
enum tr_verdict {
	TR_OK = 0,
	TR_FAILED = 1, /* it ran and failed: the model's doing */
	TR_TIMEOUT = 2,
	TR_OOM = 3,
	TR_LIMIT = 4,       /* pids, disk, output refusal */
	TR_DENIED = 5,      /* path or policy */
	TR_INVALID = 6,     /* bad call */
	TR_UNAVAILABLE = 7, /* no slot in time, overload, backend down */
	TR_CANCELLED = 8,
	TR_NOT_STARTED = 9, /* the executor or slot died before it began */
	TR_UNKNOWN = 10,    /* the executor or slot died; it may have run */
	TR_N_VERDICTS
};

/* The stages of a call's life that are timed. */
enum tr_phase {
	TR_PHASE_QUEUE = 0, /* from intake until it is its turn in its trajectory */
	TR_PHASE_SLOT_WAIT = 1,
	TR_PHASE_START = 2, /* from having a slot until the backend has begun */
	TR_PHASE_RUN = 3,
	TR_PHASE_REPLY = 4, /* from the backend's answer until its result is made */
	TR_N_PHASES
};

/*
 * Statistics: one block of memory per toolringd, shared read-only with every client, so that
 * reading it costs the executor nothing. Every word is a counter or a gauge that the executor
 * alone writes (relaxed); words are consistent one by one, not among each other.
 *
 * A histogram's bucket for v nanoseconds: v itself below 8; else, with e = floor(log2 v),
 * (e - 2) * 8 + ((v >> (e - 3)) & 7), and the last bucket for all that is more.
 */
#define TR_HISTOGRAM_BUCKETS 328
#define TR_STATS_TOOLS       24
#define TR_STATS_VERSION     1

struct tr_histogram {
	uint64_t count;
	uint64_t sum_ns;
	uint64_t max_ns;
	uint64_t buckets[TR_HISTOGRAM_BUCKETS];
};

struct tr_stats_tool {
	/* "" ends the list; a kind that is no tool stands as its own name, e.g. "RESET" */
	char name[24];
	uint64_t verdicts[TR_N_VERDICTS];
	struct tr_histogram phases[TR_N_PHASES];
};

struct tr_stats {
	uint64_t magic;
	uint32_t version;             /* TR_STATS_VERSION */
	uint32_t bytes;               /* sizeof(struct tr_stats) */
	uint64_t started_ns;          /* CLOCK_REALTIME at the start of toolringd */
	uint64_t executor_started_ns; /* CLOCK_REALTIME at the start of this executor */
	uint64_t generation;
	/* gauges */
	uint64_t sessions;
	uint64_t trajectories;
	uint64_t slots; /* numbers that were in use at some time */
	uint64_t slots_used;
	uint64_t calls_queued;
	uint64_t calls_running;
	/* counters, since the start of toolringd */
	uint64_t sessions_total;
	uint64_t sessions_lost_total; /* ended by us, for what their clients did */
	uint64_t records_total;
	uint64_t record_bytes_total;
	uint64_t pings_total;
	uint64_t calls_total;
	uint64_t results_total;
	uint64_t result_bytes_total;
	uint64_t batches_total;
	uint64_t turns_total;
	uint64_t sleeps_total;
	uint64_t wakes_total; /* clients woken */
	uint64_t reserved[11];
	struct tr_histogram verdict_total[TR_N_VERDICTS]; /* intake to reply */
	struct tr_stats_tool tools[TR_STATS_TOOLS];
};

#ifdef __cplusplus
#define TR_ASSERT_(e, text) static_assert(e, text)
#else
#define TR_ASSERT_(e, text) _Static_assert(e, text)
#endif
TR_ASSERT_(sizeof(struct tr_record) == 16, "record");
TR_ASSERT_(sizeof(struct tr_ring) == 512, "ring");
TR_ASSERT_(offsetof(struct tr_ring, head) == 128, "ring head");
TR_ASSERT_(offsetof(struct tr_ring, consumer_wait) == 256, "ring consumer_wait");
TR_ASSERT_(offsetof(struct tr_ring, producer_wait) == 384, "ring producer_wait");
TR_ASSERT_(offsetof(struct tr_segment, submission_ring) == 512, "submission ring");
TR_ASSERT_(offsetof(struct tr_segment, completion_ring) == 1024, "completion ring");
TR_ASSERT_(sizeof(struct tr_segment) == 1536, "segment");
TR_ASSERT_(sizeof(struct tr_hello) == 80, "hello");
TR_ASSERT_(sizeof(struct tr_welcome) == 256, "welcome");
TR_ASSERT_(sizeof(struct tr_histogram) == 2648, "histogram");
#undef TR_ASSERT_

#endif
