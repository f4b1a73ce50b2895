/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_SLOTS_H
#define TOOLS_BENCH_SLOTS_H

/*
 * toolring bench slots: what its parts share. toolringd and its slots run on whatever cores the
 * kernel gives them, and so do the baselines, but where so little is measured that the placement
 * would decide: there, as in bench ring, we run on one core and whatever answers on another.
 */

#include "bench_spawn.h"
#include "bench_suite.h"

/* bubblewrap up to the program (bench_spawn.h), or NULL, after saying so once: there is none. */
const struct bench_words *bench_slots_bwrap(void);
/* Adds a row, if it is wanted; where bubblewrap is missing it says so instead of being judged. */
void bench_slots_add_bwrap(struct bench_suite *suite, const struct bench_row *row);

/* The parts (bench_suite.h). */
int bench_slots_bash(struct bench_suite *suite);
int bench_slots_ls(struct bench_suite *suite);
int bench_slots_bash_rate(struct bench_suite *suite);
int bench_slots_read(struct bench_suite *suite);
int bench_slots_read_rate(struct bench_suite *suite);
int bench_slots_make(struct bench_suite *suite);
int bench_slots_rate(struct bench_suite *suite);
int bench_slots_reset(struct bench_suite *suite);
int bench_slots_many(struct bench_suite *suite);
int bench_slots_output(struct bench_suite *suite);
int bench_slots_abuse(struct bench_suite *suite);

#endif
