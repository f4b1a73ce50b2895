/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

/* UTF-8 as the Unicode standard has it: no surrogates, no overlong forms, nothing past U+10FFFF. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

/* Bytes of the character that s begins with, 1 to 4; 0 if that is none, or n cuts it off. */
size_t utf8_character(const uint8_t *s, size_t n);

bool utf8_valid(struct span s);

/*
 * Makes untrusted bytes fit to be shown: at most n - 1 bytes and a NUL, always valid UTF-8, with '?'
 * for each control character and each byte that is no UTF-8, and "..." at the end of what was cut.
 * n is at least 4. Returns ret_text.
 */
char *utf8_show(struct span s, char *ret_text, size_t n);

#endif
