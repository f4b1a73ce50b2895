/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_TEXT_H
#define TOOLS_TEXT_H

/* Quantities for people: three significant digits and a unit. */

#include <stddef.h>
#include <stdint.h>

struct text {
	char s[32];
};

struct text text_ns(double ns);        /* "812 ns", "41.2 us", "1.50 ms", "2 s" */
struct text text_bytes(double bytes);  /* "512 B", "1.50 MiB" */
struct text text_count(double count);  /* "512", "3.40 M" */
struct text text_plain(double number); /* all digits of a whole number, else four */

#endif
