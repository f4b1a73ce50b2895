/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/slot/base64.h"

#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* The bytes are moved to the end of the room first, and the text never catches up. */
void base64_encode(uint8_t *data, size_t n)
{
	uint8_t *in = data + BASE64_BYTES(n) - n, *out = data;

	memmove(in, data, n);
	for (; n >= 3; in += 3, n -= 3) {
		uint32_t bits = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];

		*out++ = (uint8_t)digits[bits >> 18];
		*out++ = (uint8_t)digits[bits >> 12 & 63];
		*out++ = (uint8_t)digits[bits >> 6 & 63];
		*out++ = (uint8_t)digits[bits & 63];
	}
	if (n) {
		uint32_t bits = (uint32_t)in[0] << 16 | (n > 1 ? (uint32_t)in[1] << 8 : 0);

		*out++ = (uint8_t)digits[bits >> 18];
		*out++ = (uint8_t)digits[bits >> 12 & 63];
		*out++ = (uint8_t)(n > 1 ? digits[bits >> 6 & 63] : '=');
		*out++ = '=';
	}
}
