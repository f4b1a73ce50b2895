/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOL_SLOT_BASE64_H
#define TOOL_SLOT_BASE64_H

#include <stddef.h>
#include <stdint.h>

/* How long the text of n bytes is. */
#define BASE64_BYTES(n) (((n) + 2) / 3 * 4)

/* Makes the n bytes at data their text, which is to have room there. */
void base64_encode(uint8_t *data, size_t n);

#endif
