/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For text_oracle.py: reads cases from standard input, each four 32-bit numbers (limit; flags: 1 and 2
 * for more of the one and the other stream; bytes of each) and the bytes, and writes for each what
 * they are shown as, what they both decode to, and how many characters that is.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "tool/slot/text.h"

struct head {
	uint32_t n_max, flags, n_standard, n_errors;
};

static void put(const struct buf *out)
{
	uint32_t n = (uint32_t)out->n;

	fwrite(&n, sizeof(n), 1, stdout);
	if (n)
		fwrite(out->data, 1, n, stdout);
}

static int answer(const struct head *h, const uint8_t *bytes)
{
	struct text_stream streams[2] = {
		{.bytes = span_of(bytes, h->n_standard), .more = h->flags & 1},
		{.bytes = span_of(bytes + h->n_standard, h->n_errors), .more = h->flags & 2},
	};
	struct span all = span_of(bytes, (size_t)h->n_standard + h->n_errors);
	struct buf shown, decoded;
	uint64_t n = text_count(all);
	int r;

	buf_init(&shown, 8 * (size_t)h->n_max + 64);
	buf_init(&decoded, TEXT_BYTES_MAX(all.n));
	r = text_show(&shown, &streams[0], &streams[1], h->n_max);
	if (r == 0)
		r = text_decode(&decoded, all);
	if (r == 0) {
		put(&shown);
		put(&decoded);
		fwrite(&n, sizeof(n), 1, stdout);
	}
	buf_deinit(&shown);
	buf_deinit(&decoded);
	return r;
}

int main(void)
{
	struct head h;

	while (fread(&h, sizeof(h), 1, stdin) == 1) {
		size_t n = (size_t)h.n_standard + h.n_errors;
		uint8_t *bytes = malloc(n ? n : 1);
		int r;

		if (!bytes || fread(bytes, 1, n, stdin) != n)
			return 1;
		r = answer(&h, bytes);
		free(bytes);
		if (r < 0)
			return 1;
	}
	return fflush(stdout) ? 1 : 0;
}
