/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_DECIMAL_H
#define BASE_DECIMAL_H

/* Numbers as text, for programs that do without stdio. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Appends number to the string in text, which has n bytes; these must be enough. */
static inline void decimal_append(char *text, size_t n, uint64_t number)
{
	char digits[21], *p = digits + sizeof(digits) - 1;
	size_t at = strlen(text);

	*p = '\0';
	do {
		*--p = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	assert(at + strlen(p) < n);
	memcpy(text + at, p, strlen(p) + 1);
}

#endif
