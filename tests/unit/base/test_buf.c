/* SPDX-License-Identifier: Apache-2.0 */
/* The byte buffer: what goes in comes out, and the limit holds whatever is asked. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/buf.h"

/* Bytes appended in pieces of every size stand one after another; memory never passes the limit. */
static void test_append(void **state)
{
	uint8_t piece[64];
	size_t total = 0;
	struct buf b;

	(void)state;
	buf_init(&b, 100000);
	for (size_t n = 0; n < 64; n++) {
		memset(piece, (int)n, n);
		assert_int_equal(buf_append(&b, piece, n), 0);
		total += n;
		assert_int_equal(b.n, total);
		assert_true(b.size <= b.n_max);
	}
	for (size_t n = 0, at = 0; n < 64; n++)
		for (size_t i = 0; i < n; i++)
			assert_int_equal(b.data[at++], n);
	buf_deinit(&b);
	assert_null(b.data);
	assert_int_equal(b.n_max, 100000);
}

/* All of the limit can be used and not a byte more; a refusal leaves the content as it was. */
static void test_limit(void **state)
{
	static const size_t limits[] = {0, 1, 255, 256, 257, 1000, 4096};
	static const uint8_t bytes[5000];

	(void)state;
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		size_t n_max = limits[i];
		struct buf b;

		buf_init(&b, n_max);
		assert_int_equal(buf_append(&b, bytes, n_max + 1), -E2BIG);
		assert_int_equal(b.n, 0);
		assert_int_equal(buf_append(&b, bytes, n_max), 0);
		assert_int_equal(b.n, n_max);
		assert_true(b.size <= n_max);
		assert_int_equal(buf_append(&b, bytes, 1), -E2BIG);
		assert_int_equal(buf_reserve(&b, SIZE_MAX), -E2BIG);
		assert_int_equal(buf_append(&b, bytes, 0), 0);
		assert_int_equal(b.n, n_max);
		buf_deinit(&b);
	}
}

/* Sizes at which doubling would overflow end in an error, not in a loop. */
static void test_huge(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, SIZE_MAX);
	assert_int_equal(buf_reserve(&b, SIZE_MAX / 2 + 2), -ENOMEM);
	assert_int_equal(buf_append(&b, "x", 1), 0);
	assert_int_equal(buf_reserve(&b, SIZE_MAX), -E2BIG);
	assert_int_equal(buf_reserve(&b, SIZE_MAX - 1), -ENOMEM);
	assert_int_equal(b.n, 1);
	assert_int_equal(b.data[0], 'x');
	buf_deinit(&b);
}

/* What was reserved is kept when it is cleared, and given back when it is more than may stay. */
static void test_keep_and_trim(void **state)
{
	struct buf b;
	uint8_t *data;

	(void)state;
	buf_init(&b, 1 << 20);
	assert_int_equal(buf_reserve(&b, 50000), 0);
	data = b.data;
	assert_int_equal(b.n, 0);
	buf_clear(&b);
	assert_int_equal(buf_reserve(&b, 50000), 0);
	assert_ptr_equal(b.data, data);
	b.n = 10;
	buf_trim(&b, b.size);
	assert_ptr_equal(b.data, data);
	assert_int_equal(b.n, 0);
	buf_trim(&b, b.size - 1);
	assert_null(b.data);
	assert_int_equal(b.size, 0);
	assert_int_equal(buf_append(&b, "again", 5), 0);
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_huge),
		cmocka_unit_test(test_keep_and_trim),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
