/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_ANSWER_H
#define TOOLS_ANSWER_H

/* Printing a result. */

#include <toolring/toolring.h>

enum answer_form {
	ANSWER_INDENTED, /* JSON over several lines */
	ANSWER_LINE,     /* JSON on one */
	ANSWER_RAW,      /* output to stdout, error to stderr, byte by byte */
};

/* 0, -ENOMEM or -EIO. */
int answer_print(const struct tr_result *result, enum answer_form form);

#endif
