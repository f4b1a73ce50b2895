/* SPDX-License-Identifier: Apache-2.0 */

/* The table of limits, and that each of them can be set by every way and to its bounds alone. */

#include "config_case.h"

#include <inttypes.h>

#include "executor/config_table.h"

/* The table of limits is sound: defaults within their range, each with a whole sentence. */
static void test_limit_table(void **state)
{
	struct limits limits = LIMITS_DEFAULT;

	(void)state;
	assert_int_equal(sizeof(limits), N_LIMITS * sizeof(uint64_t));
	assert_int_equal(limits.sessions_max, 1024);
	for (unsigned int i = 0; i < N_LIMITS; i++) {
		const struct limit_row *row = &config_limits[i];

		assert_true(row->min <= row->value && row->value <= row->max);
		assert_true(strlen(row->reason) > 20);
		assert_int_equal(row->reason[strlen(row->reason) - 1], '.');
		assert_true(strlen(row->unit) > 0);
	}
}

/* --max-batch-size and the limit of that meaning are one value, whichever name says it. */
static void test_batch_size_is_the_limit(void **state)
{
	struct config c;

	(void)state;
	parse_good(&c, ARGS("--max-batch-size", "5"), ENV("TOOLRING_LIMIT_BATCH_CALLS_MAX=6"),
		   NULL);
	assert_int_equal(c.limits.batch_calls_max, 5);
	config_deinit(&c);
	parse_good(&c, ARGS("--max-batch-size=5", "--limit", "batch_calls_max=6"), NONE, NULL);
	assert_int_equal(c.limits.batch_calls_max, 6);
	config_deinit(&c);
	parse_good(&c, ARGS(),
		   ENV("TOOL_EXECUTOR_MAX_BATCH_SIZE=3", "TOOLRING_LIMIT_BATCH_CALLS_MAX=6",
		       "TOOLRING_MAX_BATCH_SIZE=7"),
		   NULL);
	assert_int_equal(c.limits.batch_calls_max, 7);
	config_deinit(&c);
	assert_wrong(ARGS(), ENV("TOOL_EXECUTOR_MAX_BATCH_SIZE=0"), NULL,
		     "environment variable TOOL_EXECUTOR_MAX_BATCH_SIZE", "\"0\"", "1 to 65536");
}

/* Every limit is settable by flag and by variable, to its bounds and not beyond them. */
static void test_every_limit(void **state)
{
	char flag[128], variable[128], name[80];
	struct config c;

	(void)state;
	for (unsigned int i = 0; i < N_LIMITS; i++) {
		const struct limit_row *row = &config_limits[i];
		uint64_t above = row->max + 1;

		config_variable("TOOLRING_LIMIT_", row->name, name, sizeof(name));
		snprintf(flag, sizeof(flag), "%s=%" PRIu64, row->name, above);
		assert_wrong(ARGS("--limit", flag), NONE, NULL, "--limit ", row->name, row->unit);
		snprintf(variable, sizeof(variable), "%s=%" PRIu64, name, above);
		assert_wrong(ARGS(), ENV(variable), NULL, name, "is not allowed", row->unit);
		if (row->min > 0) {
			snprintf(variable, sizeof(variable), "%s=%" PRIu64, name, row->min - 1);
			assert_wrong(ARGS(), NONE, variable, "line 1, ", name, row->unit);
		}
		snprintf(flag, sizeof(flag), "--limit=%s=%" PRIu64, row->name, row->min);
		if (parse(&c, ARGS(flag), NONE, NULL) == 0) {
			assert_true(limit_value(&c, (enum limit)i) == row->min);
			config_deinit(&c);
		} else {
			fail_msg("%s: %s", flag, error);
		}
	}
}

static void test_unknown_limits(void **state)
{
	(void)state;
	assert_wrong(ARGS("--limit", "session_max=3"), NONE, NULL, "--limit session_max",
		     "did you mean", "sessions_max?");
	assert_wrong(ARGS("--limit", "sessions_max"), NONE, NULL, "--limit", "NAME=VALUE", "");
	assert_wrong(ARGS("--limit", "=3"), NONE, NULL, "--limit", "no such limit", "");
	assert_wrong(ARGS(), ENV("TOOLRING_LIMIT_SESSION_MAX=3"), NULL,
		     "environment variable TOOLRING_LIMIT_SESSION_MAX", "did you mean",
		     "sessions_max?");
	assert_wrong(ARGS(), NONE, "TOOLRING_LIMIT_X=3", ".env line 1, TOOLRING_LIMIT_X",
		     "no such limit", "");
	assert_wrong(ARGS(), ENV("TOOLRING_LIMIT_sessions_max=3"), NULL, "no such limit", "", "");
}

/* Bytes may be said with a unit; other limits may not, and an overflow is no small number. */
static void test_bytes(void **state)
{
	static const struct {
		const char *flag;
		uint64_t value;
	} good[] = {
		{"--limit=ring_bytes_max=1048576", 1048576},
		{"--limit=ring_bytes_max=1024K", 1048576},
		{"--limit=ring_bytes_max=1m", 1048576},
		{"--limit=ring_bytes_max=1MiB", 1048576},
		{"--limit=ring_bytes_max=1G", 1073741824},
	};
	static const char *const bad[] = {"1X", "1MB", "1 M", "M", "17179869184G", "1MiBx", ""};
	char flag[64];
	struct config c;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		parse_good(&c, ARGS(good[i].flag), NONE, NULL);
		assert_int_equal(c.limits.ring_bytes_max, good[i].value);
		config_deinit(&c);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(flag, sizeof(flag), "--limit=ring_bytes_max=%s", bad[i]);
		assert_wrong(ARGS(flag), NONE, NULL, "ring_bytes_max", bad[i], "with K, M or G");
	}
	assert_wrong(ARGS("--limit=sessions_max=1K"), NONE, NULL, "sessions_max", "\"1K\"",
		     "1 to 65536");
}

/* A default follows a most that was lowered; a value that was said does not. */
static void test_limits_fit(void **state)
{
	struct config c;

	(void)state;
	parse_good(&c, ARGS("--limit=ring_bytes_max=8K", "--limit=session_calls_max=32"), NONE,
		   NULL);
	assert_int_equal(c.limits.submission_bytes_default, 8192);
	assert_int_equal(c.limits.completion_bytes_default, 8192);
	assert_int_equal(c.limits.session_calls_default, 32);
	config_deinit(&c);
	assert_wrong(ARGS("--limit=ring_bytes_max=8K"),
		     ENV("TOOLRING_LIMIT_COMPLETION_BYTES_DEFAULT=16K"), NULL,
		     "TOOLRING_LIMIT_COMPLETION_BYTES_DEFAULT", "\"16K\"", "ring_bytes_max");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit_table), cmocka_unit_test(test_batch_size_is_the_limit),
		cmocka_unit_test(test_every_limit), cmocka_unit_test(test_unknown_limits),
		cmocka_unit_test(test_bytes),       cmocka_unit_test(test_limits_fit),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
