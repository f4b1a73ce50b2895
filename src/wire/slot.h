/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_SLOT_H
#define WIRE_SLOT_H

/*
 * Between the executor and a slot's init, over its control socket (SEQPACKET): one message a request,
 * one a reply; a header of fixed layout and then its parts, one after another. Both sides are of one
 * build. Parts that do not fit travel in a sealed file of memory that comes along (SLOT_IN_FILE).
 * What a slot says is hostile input: slot_reply_read() checks it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <toolring/abi.h>

#include "base/span.h"

#define SLOT_MAGIC       UINT32_C(0x746f6c73) /* "slot" */
#define SLOT_INLINE_MAX  57344 /* bytes of parts in the message itself: any answer of 50,000 ASCII */
#define SLOT_FILE_MAX    (UINT64_C(160) << 20)
#define SLOT_MESSAGE_MAX (SLOT_INLINE_MAX + 256)
#define SLOT_TEXT_MAX    16384 /* bytes of a reply's ERROR or FILE */

enum slot_op {
	SLOT_BASH = 1,   /* COMMAND */
	SLOT_EXEC,       /* ARGV or COMMAND; STDIN, CWD, ENV */
	SLOT_READ_FILE,  /* PATH */
	SLOT_WRITE_FILE, /* PATH, STDIN as the content */
	SLOT_CANCEL,     /* the call of that id: answered soon. Has no reply of its own. */
	SLOT_WARM,       /* make the call room and its zygote now, for calls to come. No reply. */
	SLOT_ABORT,      /* end whatever runs; replied to once nothing does (kept processes stay) */
};

enum slot_flag {
	SLOT_IN_FILE = 1 << 0,   /* the parts are in the descriptor that came along */
	SLOT_KEEP = 1 << 1,      /* EXEC: in the shell room */
	SLOT_TIMED_OUT = 1 << 2, /* reply */
	SLOT_STUCK = 1 << 3, /* reply: not all could be proven dead: the slot is to be dropped */
	SLOT_ROOM_LOST = 1 << 4,   /* reply: the shell room was ended, with what was kept there */
	SLOT_NOT_STARTED = 1 << 5, /* reply to EXEC: the program is missing or not executable */
};

enum slot_request_part {
	SLOT_COMMAND,
	SLOT_ARGV, /* strings, each ended by NUL */
	SLOT_PATH,
	SLOT_STDIN,
	SLOT_CWD,
	SLOT_ENV, /* NAME=VALUE strings, each ended by NUL */
	SLOT_N_REQUEST_PARTS
};

enum slot_reply_part {
	SLOT_OUTPUT, /* EXEC: raw stdout; else text, valid UTF-8 */
	SLOT_STDERR, /* EXEC: raw */
	SLOT_ERROR,  /* text */
	SLOT_FILE,   /* READ_FILE, WRITE_FILE: the path as it is, e.g. "/workspace/a" */
	SLOT_N_REPLY_PARTS
};

struct slot_request {
	uint32_t magic;
	uint32_t generation; /* of the executor; comes back in the reply */
	uint64_t id;         /* of the call, unique within a generation */
	uint32_t op;         /* enum slot_op */
	uint32_t flags;      /* enum slot_flag */
	uint64_t timeout_ns;
	uint64_t
		stdout_max; /* EXEC: bytes; BASH: characters; READ_FILE, WRITE_FILE: bytes, characters */
	uint64_t stderr_max;
	uint64_t n[SLOT_N_REQUEST_PARTS];
};

struct slot_reply {
	uint32_t magic;
	uint32_t generation;
	uint64_t id;
	uint32_t op;
	uint32_t flags;
	uint32_t verdict;  /* enum tr_verdict: ok, failed, timeout, oom, limit, denied, invalid,
			   * cancelled, unavailable, not_started, unknown */
	int32_t exit_code; /* of what ran; 128 + signal; -1: none */
	int32_t signal;    /* that ended it; 0 */
	uint32_t n_killed; /* processes that were still there at the end */
	uint32_t n_left;   /* after that: 0 is proven, SLOT_STUCK if not */
	uint32_t
		had_zygote; /* 1: forked by the shell itself, 2: its child was made ahead, 0: by exec */
	uint64_t started_ns; /* CLOCK_MONOTONIC */
	uint64_t ended_ns;
	uint64_t cpu_user_ns;
	uint64_t cpu_system_ns;
	uint64_t memory_peak_bytes; /* of the largest process */
	uint64_t stdout_bytes;      /* before anything was cut off */
	uint64_t stderr_bytes;
	uint64_t size; /* READ_FILE: bytes of the file; WRITE_FILE: characters written */
	uint64_t n[SLOT_N_REPLY_PARTS];
};

/*
 * Sends the header with its parts (n of each is set from them); -EAGAIN where the socket is full
 * (MSG_DONTWAIT) and other -errno. What is too large goes by a file.
 */
int slot_request_send(int socket, struct slot_request *header,
		      const struct span parts[SLOT_N_REQUEST_PARTS], int flags);
int slot_reply_send(int socket, struct slot_reply *header,
		    const struct span parts[SLOT_N_REPLY_PARTS], int flags);

/* A message that came in: its parts lie in the caller's buffer, or in a file mapped at map. */
struct slot_message {
	void *map; /* munmap'ed by slot_message_done() */
	size_t n_map;
};

/*
 * Receive one message into buffer (SLOT_MESSAGE_MAX bytes, aligned to 8). 1: *ret_header and parts
 * are filled; 0: the other side is gone; -EAGAIN; -EBADMSG: what came is not well-formed; other
 * -errno. After 1 slot_message_done() must follow. flags as recvmsg. A reply is only well-formed if
 * its numbers are in range and its texts valid UTF-8; a file must be sealed against change.
 */
int slot_request_receive(int socket, void *buffer, struct slot_request *ret_header,
			 struct span parts[SLOT_N_REQUEST_PARTS], struct slot_message *m,
			 int flags);
int slot_reply_receive(int socket, void *buffer, struct slot_reply *ret_header,
		       struct span parts[SLOT_N_REPLY_PARTS], struct slot_message *m, int flags);
void slot_message_done(struct slot_message *m);

#endif
