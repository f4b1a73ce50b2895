/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_TMUX_H
#define TOOLS_BENCH_TMUX_H

/*
 * What the terminal is measured against: a tmux server of its own, with one pane in which a cat runs,
 * spoken to by tmux processes.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "bench_spawn.h"

struct bench_tmux {
	pid_t server; /* 0: none */
	char program[256];
	char socket[100];
	struct bench_words send;
	struct bench_words clear;
	struct bench_spawn_read capture;
	char screen[16384];
};

/* -ENOENT: tmux is not installed. */
int bench_tmux_start(struct bench_tmux *t, const char *dir, const char *key);
void bench_tmux_stop(struct bench_tmux *t);

/* The screen, into t->screen. */
int bench_tmux_capture(struct bench_tmux *t);

#endif
