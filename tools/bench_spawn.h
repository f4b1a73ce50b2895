/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_SPAWN_H
#define TOOLS_BENCH_SPAWN_H

/* Programs started the plain way, and in bubblewrap: what slots are measured against. */

#include <stdbool.h>
#include <stddef.h>

#define BENCH_N_WORDS 56

struct bench_words {
	const char *words[BENCH_N_WORDS]; /* the first is a path; NULL at the end */
	size_t n;
};

/* Steps (bench_turns.h): -EPROTO if the program does not exit with 0. */

/* data: struct bench_words. posix_spawn and wait. */
int bench_spawn(void *data);

struct bench_spawn_read {
	struct bench_words words;
	const char *cwd; /* NULL: ours */
	char *output;    /* NULL: nobody wants it */
	size_t n_output_max;
	size_t n_output; /* of the last step */
};
/*
 * data: struct bench_spawn_read. The same, and its output is read through a pipe to its end; what fits
 * is kept.
 */
int bench_spawn_read(void *data);

/* No data. A process in new namespaces, the same as a slot's, that exits at once. */
int bench_bare_namespaces(void *data);

/* The path of a program in PATH. */
bool bench_find_program(const char *name, char *ret_path, size_t n);
void bench_words_add(struct bench_words *words, const char *const *more);
/*
 * bubblewrap with the namespaces and the root that a slot has, up to the program. false, after saying
 * so on standard error: it is not here, or does not work.
 */
bool bench_bwrap_words(struct bench_words *ret_words);

#endif
