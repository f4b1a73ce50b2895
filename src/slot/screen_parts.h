/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLOT_SCREEN_PARTS_H
#define SLOT_SCREEN_PARTS_H

/* What screen.c and screen_wait.c share: the screen's process, and what it was asked for. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "slot/screen.h"
#include "tool/slot/terminal.h"

#define REST_BYTES_MAX (256 << 10) /* a pseudo-terminal holds less */
#define BYTES_KEPT     16384
#define ERROR_MAX      512

struct asked {
	bool is_active;
	uint64_t serial;
	struct slot_request request;
	struct buf parts; /* ARGV and COMMAND, as far as they have come */
	uint64_t n_parts; /* that are to come */
	bool is_begun;    /* they are all there */
	uint64_t begun_ns;
	uint64_t sent_ns; /* when the last key was written; 0: not yet */
	bool is_sending;  /* keys are in the queue, from here to there */
	size_t keys_from, keys_to;
	bool is_settled; /* the shell is at its prompt */
	bool is_cancelled;
	struct terminal_pattern *pattern;
};

struct screen {
	struct terminal *terminal;
	int master; /* -1: it never came */
	bool is_attached;
	struct buf queue; /* what is to be written to the master, from n_written on */
	size_t n_written;
	struct asked asked;
	struct buf output;
};

/* ---- screen.c -------------------------------------------------------------------------------------- */

void screen_say(uint32_t kind, uint64_t serial, const struct iovec *texts, size_t n_texts);
/* Shows what there is on the master, up to about n_max bytes. */
void screen_read_master(struct screen *s, size_t n_max);
/* What waits to be written to it is not written. */
void screen_drop_queue(struct screen *s);

/* ---- screen_wait.c --------------------------------------------------------------------------------- */

/* Moves the request on as far as that can be done now. */
void screen_step(struct screen *s);
/* In so many nanoseconds that is to be done again, though nothing happens; UINT64_MAX: never. */
uint64_t screen_next_step(const struct screen *s, uint64_t now);
/* The request is over, with these words alone. */
void screen_finish(struct screen *s, enum tr_verdict verdict, const char *error);
void screen_append(char *text, const char *more);
/* The request's COMMAND. */
struct span screen_pattern_text(const struct asked *a);

#endif
