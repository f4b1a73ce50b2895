/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_ANSWER_H
#define TOOLS_ANSWER_H

/* Printing a result. */

#include <stdbool.h>
#include <stdio.h>

#include <toolring/toolring.h>

enum answer_form {
	ANSWER_INDENTED, /* JSON over several lines */
	ANSWER_LINE,     /* JSON on one */
	ANSWER_RAW,      /* output to stdout, error to stderr, byte by byte */
};

/*
 * Writes one stream of a command, stdout or stderr, that stands beside the other parts of the result
 * or in its metadata. whole: the result's payload. false: it has none.
 */
bool answer_write_stream(const struct tr_value *whole, const char *key, FILE *file);

/* 0, -ENOMEM or -EIO. */
int answer_print(const struct tr_result *result, enum answer_form form);

#endif
