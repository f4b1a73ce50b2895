/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLOT_SHELL_H
#define SLOT_SHELL_H

/*
 * Between a slot's init and the stateful shell: an interactive bash on a pseudo-terminal, with
 * toolring-zygote.so loaded. Where readline would wait for a key, that object waits for the init as
 * well (a SEQPACKET socket of its own, closed on exec), and runs the commands that come there in the
 * shell itself. So nothing of ours goes over the terminal: no marker, no prompt, no echo.
 *
 * Every order carries a number nobody can guess, which its report must bring back, from the shell's
 * own pid (SCM_CREDENTIALS): a child of the shell has neither, and the shell cannot be looked into (it
 * is not dumpable). Anything else that comes ends the shell.
 *
 *   PARKED    the shell waits for orders alone; the terminal is as commands find it. The init reads
 *             what comes out of it.
 *   ATTACHED  it is at its prompt, or runs what was typed there. The screen reads what comes out.
 */

#include <stdint.h>

#define SHELL_MAGIC       UINT32_C(0x6c656873)
#define SHELL_NONCE_BYTES 16
#define SHELL_ORDER_BYTES 65536 /* of one message, header and text */

/* The shell ends itself by this signal when it cannot report. */
#define SHELL_GIVES_UP 62 /* a real-time one, for which bash has no handler */

enum shell_kind {
	SHELL_PARK = 1, /* answered by the same, once it is at its prompt */
	SHELL_ATTACH,   /* answered by the same, before the prompt is shown */
	SHELL_COMMAND,  /* PARKED only: runs the text; answered by DONE */
	SHELL_TEXT,     /* more of a command's text. No answer. */
	SHELL_ASK, /* ATTACHED: answered by the same, once it waits for a key and none is there */
	SHELL_N_ORDERS,
	SHELL_DONE = SHELL_N_ORDERS,
	SHELL_EXITS, /* unasked, and of no number: what comes next is its end */
};

struct shell_order {
	uint32_t magic;
	uint32_t kind;
	uint8_t nonce[SHELL_NONCE_BYTES];
	uint64_t n_bytes; /* COMMAND: of all its text */
};

struct shell_report {
	uint32_t magic;
	uint32_t kind;
	uint8_t nonce[SHELL_NONCE_BYTES];
	int32_t status;           /* DONE: as $? */
	uint32_t memory_peak_kib; /* of the shell's largest child, ever */
	uint64_t user_ns;         /* of the shell and its children, since it was started */
	uint64_t system_ns;
};

#endif
