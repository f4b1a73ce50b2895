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
#define SLOT_FILE_MAX    (UINT64_C(224) << 20) /* three times what an artifact may be: bytes as text */
#define SLOT_MESSAGE_MAX (SLOT_INLINE_MAX + 256)
#define SLOT_TEXT_MAX    16384 /* bytes of a reply's ERROR or FILE */
#define SLOT_ENTRIES_MAX (1u << 20)
#define SLOT_COLUMNS_MIN 20 /* of a terminal */
#define SLOT_COLUMNS_MAX 500
#define SLOT_ROWS_MIN    10
#define SLOT_ROWS_MAX    200

enum slot_op {
	SLOT_BASH = 1,   /* COMMAND */
	SLOT_EXEC,       /* ARGV or COMMAND; STDIN, CWD, ENV */
	SLOT_READ_FILE,  /* PATH */
	SLOT_WRITE_FILE, /* PATH, STDIN as the content */
	SLOT_CANCEL,     /* the call of that id: answered soon. Has no reply of its own. */
	SLOT_WARM,       /* make the call room and its zygote now, for calls to come. No reply. */
	SLOT_ABORT,      /* end whatever runs; replied to once nothing does (kept processes stay) */
	SLOT_SHELL,      /* bash_stateful: COMMAND */
	SLOT_TERMINAL,   /* tmux: see enum slot_terminal */
	SLOT_ARTIFACT_READ,    /* PATH */
	SLOT_ARTIFACT_LIST,    /* PATH; OUTPUT is a row of struct slot_entry */
	SLOT_ARTIFACT_ARCHIVE, /* PATH; OUTPUT is the archive */
	SLOT_ARTIFACT_WRITE,   /* PATH, STDIN as the content */
	SLOT_ARTIFACT_UNPACK,  /* PATH, STDIN as the archive */
	SLOT_N_OPS
};

/* What SLOT_TERMINAL is to do. Each but STOP starts the shell and its terminal if there is none. */
enum slot_terminal {
	SLOT_TERMINAL_START = 1, /* at columns times rows; resizes a live one */
	SLOT_TERMINAL_RESIZE,
	SLOT_TERMINAL_KEYS,    /* ARGV: one string for each key or text */
	SLOT_TERMINAL_CAPTURE, /* ALL: with the history */
	SLOT_TERMINAL_WAIT,   /* COMMAND: text, or with REGEX an extended expression, to be shown */
	SLOT_TERMINAL_STREAM, /* RESET: from the beginning */
	SLOT_TERMINAL_STOP,
	SLOT_TERMINAL_N
};

enum slot_format {
	SLOT_TAR_GZ = 1,
	SLOT_TAR_ZST,
	SLOT_TAR,
	SLOT_N_FORMATS
};

enum slot_encoding {
	SLOT_TEXT = 1, /* valid UTF-8, as read_file's */
	SLOT_BASE64,
	SLOT_BYTES,
	SLOT_N_ENCODINGS
};

/* How the shell of a slot came to its end. */
enum slot_shell_end {
	SLOT_SHELL_LIVES,
	SLOT_SHELL_EXITED,   /* by exit, set -e, ... : its exit code is the call's */
	SLOT_SHELL_KILLED,   /* by a signal */
	SLOT_SHELL_REPLACED, /* by exec of another program */
	SLOT_SHELL_LIED,     /* a report was missing, doubled, or not its own */
	SLOT_SHELL_TIMEOUT,  /* its room was ended with the call that ran too long */
	SLOT_SHELL_CANCELLED,
	SLOT_SHELL_STOPPED,   /* by the terminal's stop */
	SLOT_SHELL_ROOM_LOST, /* its room was ended for another reason */
	SLOT_SHELL_N_ENDS
};

enum slot_flag {
	SLOT_IN_FILE = 1 << 0,   /* the parts are in the descriptor that came along */
	SLOT_KEEP = 1 << 1,      /* EXEC: in the shell room */
	SLOT_TIMED_OUT = 1 << 2, /* reply */
	SLOT_STUCK = 1 << 3, /* reply: not all could be proven dead: the slot is to be dropped */
	SLOT_ROOM_LOST = 1 << 4,   /* reply: the shell room was ended, with what was kept there */
	SLOT_NOT_STARTED = 1 << 5, /* reply to EXEC: the program is missing or not executable */
	SLOT_IDLE = 1 << 6,        /* reply, with TIMED_OUT: by idle_ns, not by timeout_ns */
	SLOT_BLOCK = 1 << 7,   /* KEYS: until the shell is at its prompt again, or max_wait_ns */
	SLOT_REGEX = 1 << 8,   /* WAIT, and KEYS with a COMMAND */
	SLOT_ALL = 1 << 9,     /* CAPTURE: history; LIST: recursive */
	SLOT_RESET = 1 << 10,  /* STREAM */
	SLOT_SHA256 = 1 << 11, /* ARTIFACT_READ */
	SLOT_ANYWHERE =
		1 << 12, /* ARTIFACT_*: any path of the shell room, with the guest's rights */
	SLOT_TRUNCATED = 1 << 13,     /* reply to ARTIFACT_*, STREAM, CAPTURE: there was more; to
				       * BASH, SHELL: of standard output */
	SLOT_SHELL_STARTED = 1 << 14, /* reply to SHELL, TERMINAL: by this call */
	SLOT_NOT_SEEN = 1 << 15, /* reply to WAIT, KEYS: what was waited for did not come in time */
	SLOT_NOT_FOUND = 1 << 16, /* reply to ARTIFACT_*: there is no such file */
	SLOT_MISUSED = 1 << 17,   /* reply to ARTIFACT_*: what was named is of a wrong kind */
	SLOT_STDERR_TRUNCATED = 1 << 18, /* reply to BASH, SHELL: there was more of it */
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
	SLOT_OUTPUT, /* EXEC: raw stdout; LIST: entries; READ, ARCHIVE: in the encoding that was
		      * asked for; else text, valid UTF-8 */
	SLOT_STDERR, /* EXEC: raw */
	SLOT_ERROR,  /* text */
	SLOT_FILE, /* READ_FILE, WRITE_FILE: the path as it is, e.g. "/workspace/a"; TERMINAL: title */
	SLOT_N_REPLY_PARTS
};

struct slot_request {
	uint32_t magic;
	uint32_t generation; /* of the executor; comes back in the reply */
	uint64_t id;         /* of the call, unique within a generation */
	uint32_t op;         /* enum slot_op */
	uint32_t flags;      /* enum slot_flag */
	uint64_t timeout_ns;
	uint64_t stdout_max; /* EXEC: bytes; BASH, SHELL: characters; READ_FILE, WRITE_FILE: bytes,
			     * characters; CAPTURE: bytes, the last ones are kept; STREAM: bytes;
			     * READ, WRITE, ARCHIVE, UNPACK: bytes of content, before its encoding */
	uint64_t stderr_max;
	uint64_t idle_ns;   /* BASH, EXEC, SHELL: no output for so long ends it; 0: any time */
	uint32_t action;    /* TERMINAL: enum slot_terminal */
	uint16_t n_columns; /* START, RESIZE; START: 0: as it is, or the default */
	uint16_t n_rows;
	uint64_t min_wait_ns; /* KEYS: before anything is answered */
	uint64_t
		max_wait_ns; /* KEYS with BLOCK or a COMMAND, WAIT; 0: as long as the call may run */
	uint64_t n_entries_max; /* LIST, ARCHIVE, UNPACK */
	uint32_t format;        /* ARCHIVE, UNPACK: enum slot_format; UNPACK: 0: whichever it is */
	uint32_t encoding; /* READ, ARCHIVE (never TEXT), made in the slot: enum slot_encoding */
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
	uint64_t size;       /* READ_FILE: bytes of the file; WRITE_FILE: characters written;
			* ARTIFACT_READ: bytes of the content before its encoding; WRITE: bytes
			* written; UNPACK: bytes unpacked; STREAM: the offset it goes on from */
	uint64_t file_size;  /* ARTIFACT_READ; STREAM: bytes dropped before what is given */
	uint64_t n_entries;  /* LIST, ARCHIVE, UNPACK */
	uint32_t shell_end;  /* SHELL, TERMINAL: how it ended in this call; enum slot_shell_end */
	uint32_t shell_lost; /* with SHELL_STARTED: how the one before had ended */
	uint16_t n_columns;  /* TERMINAL */
	uint16_t n_rows;
	uint16_t cursor_column;
	uint16_t cursor_row;
	uint8_t sha256[32]; /* ARTIFACT_READ with SHA256: of the content before its encoding */
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
/* The same of a reply that is OUTPUT alone, which stands in a file of memory already: not an empty one,
 * and without a hole. It is sealed. -EBUSY: somebody has it mapped for writing. */
int slot_reply_send_file(int socket, struct slot_reply *header, int file, int flags);

/* One entry of a LIST's output; the path, valid UTF-8, follows; the next stands right behind. */
struct slot_entry {
	uint64_t size;
	int64_t mtime_ns;
	uint16_t n_path;
	uint8_t is_dir;
	uint8_t reserved[5];
};

/*
 * Takes the next entry off a row of them. 1; 0: there is none; -EBADMSG: what stands there is none. A
 * reply that was received has sound ones only.
 */
int slot_entry_next(struct span *row, struct slot_entry *ret_entry, struct span *ret_path);

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

/* Is this reply, which was received, one to that request? What cannot be told without it is checked
 * here: its encoding, and how much it may bring. */
bool slot_reply_answers(const struct slot_reply *reply, const struct span parts[SLOT_N_REPLY_PARTS],
			const struct slot_request *request);

#endif
