/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLOT_SCREEN_H
#define SLOT_SCREEN_H

/*
 * Between a slot's init and the process that keeps the terminal of its shell room, the screen: it owns
 * struct terminal, since what a guest writes is not parsed by the init, and what it may cost there is
 * no init's memory. It is started like a zygote and lives like one, outside the room's pid namespace.
 * One SEQPACKET socket (ZYGOTE_FD); a hang-up ends it.
 *
 * It reads the pseudo-terminal's master while it is ATTACHED, and nobody else does. In between the
 * init reads it (a stateful command runs, or nothing) and hands on what came (FEED).
 */

#include <stdint.h>

#include "wire/slot.h"

#define SCREEN_MAGIC       UINT32_C(0x6e726373)
#define SCREEN_MESSAGE_MAX 65536      /* bytes of one message, header and text */
#define SCREEN_PARTS_MAX   (1u << 20) /* bytes of a REQUEST's parts */

enum screen_kind {
	/* init -> screen */
	SCREEN_ATTACH = 1, /* with the master's descriptor, the first time; reading begins */
	SCREEN_DETACH,     /* reads what is there, ends reading; answered by DETACHED */
	SCREEN_FEED,       /* text: show this. No answer. */
	SCREEN_REQUEST, /* text: struct slot_request; its parts ARGV and COMMAND follow in MORE */
	SCREEN_SETTLED, /* answer to KEYS_SENT: the shell is at its prompt: read what is there, then
			    * the keys are done */
	SCREEN_CANCEL,  /* no answer to the request is wanted any more: answer DONE soon */
	/* screen -> init */
	SCREEN_DETACHED,
	SCREEN_KEYS_SENT, /* of a REQUEST with BLOCK: all are in the pseudo-terminal */
	SCREEN_DONE,      /* struct screen_done, then text: more of the output follows in MORE */
	/* both ways */
	SCREEN_MORE, /* text: until all parts, or n_output bytes, have come */
};

struct screen_message {
	uint32_t magic;
	uint32_t kind;
	uint64_t serial; /* of a REQUEST, and of what answers it: a late answer is known by it */
};

/* Behind the header of DONE; behind it the error, the title, and the beginning of the output. */
struct screen_done {
	uint32_t verdict; /* enum tr_verdict */
	uint32_t flags;   /* SLOT_TRUNCATED, SLOT_NOT_SEEN */
	uint64_t offset;
	uint64_t n_dropped;
	uint16_t n_columns, n_rows, cursor_column, cursor_row;
	uint32_t n_error;
	uint32_t n_title;
	uint64_t n_output;
};

/* The screen's whole life; what is its own is on ZYGOTE_FD. */
_Noreturn void screen_main(uint16_t n_columns, uint16_t n_rows);

#endif
