/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_BASH_H
#define TOOLS_BENCH_BASH_H

/*
 * What the stateful shell is measured against: a bash and nothing else, not interactive, that reads its
 * commands from one pipe and writes to another.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct bench_bash {
	pid_t pid; /* 0: none */
	int to;
	int from;
	const char *command; /* of bench_bash_step() */
	size_t n_output;     /* bytes that it writes, before the line with $? */
	char tail[8];        /* the end of what was read */
};

/* core: to run on; -1: any. spins: its answers are not slept for, but looked for again and again. */
int bench_bash_start(struct bench_bash *b, int core, bool spins);
void bench_bash_stop(struct bench_bash *b);
/* A step (bench_turns.h): the command, then printf of $?, and all they write. -EPROTO: not that. */
int bench_bash_step(void *data);

#endif
