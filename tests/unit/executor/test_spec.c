/* SPDX-License-Identifier: Apache-2.0 */
/* What a slot is asked to be, as numbers and packed. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "executor/executor.h"

static const struct slot_spec specs[] = {
	{.network = SLOT_NETWORK_NONE},
	{.network = SLOT_NETWORK_HOST},
	{.memory_bytes = 1},
	{.disk_bytes = INT64_MAX},
	{.n_pids = UINT32_MAX},
	{
		.network = SLOT_NETWORK_NONE,
		.memory_bytes = INT64_MAX,
		.disk_bytes = INT64_MAX,
		.n_pids = UINT32_MAX,
	},
};

/* What is packed is read as what it was, alone or all together at its largest. */
static void test_comes_back(void **state)
{
	char error[128] = "";

	(void)state;
	for (size_t i = 0; i < sizeof(specs) / sizeof(*specs); i++) {
		struct slot_spec back = {0};
		struct buf b;

		buf_init(&b, 256);
		assert_int_equal(slot_spec_write(&specs[i], &b), 0);
		assert_int_equal(slot_spec_read(span_of(b.data, b.n), &back, error, sizeof(error)),
				 0);
		assert_memory_equal(&back, &specs[i], sizeof(back));
		assert_false(slot_spec_is_plain(&back));
		buf_deinit(&b);
	}
}

/* An idle time is no slot in particular, and is not packed. */
static void test_plain(void **state)
{
	const struct slot_spec idle = {.idle_ttl_ns = 1}, nothing = {0};
	struct slot_spec back = {.n_pids = 1};
	struct buf b;

	(void)state;
	assert_true(slot_spec_is_plain(&nothing));
	assert_true(slot_spec_is_plain(&idle));
	buf_init(&b, 256);
	assert_int_equal(slot_spec_write(&idle, &b), 0);
	assert_int_equal(slot_spec_read(span_of(b.data, b.n), &back, NULL, 0), 0);
	assert_memory_equal(&back, &nothing, sizeof(back));
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_comes_back),
		cmocka_unit_test(test_plain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
