/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"

#include <math.h>

/* What is packed is parsed back the same: every type, nested, empty, and the limits of integers. */
static void test_round_trip(void **state)
{
	struct tr_value items[] = {tr_int(INT64_MIN),
				   tr_int(INT64_MAX),
				   tr_float(-1.5),
				   tr_bool(true),
				   (struct tr_value){.type = TR_NIL},
				   tr_string_n("a\0b", 3),
				   tr_binary("\xff\x00", 2),
				   tr_array(NULL, 0),
				   tr_map(NULL, 0)};
	struct tr_value large = {.type = TR_UINT, .u.natural = UINT64_MAX};
	struct tr_member members[] = {
		{.key = "items", .value = tr_array(items, 9)},
		{.key = "large", .value = large},
		{.key = "none", .value = tr_string(NULL)},
		{.key = "", .value = tr_string("empty key")},
	};
	struct tr_value map = tr_map(members, 4);
	const struct tr_value *a;
	struct tr_value *v;
	void *data;
	size_t n;

	(void)state;
	assert_int_equal(tr_value_pack(&map, &data, &n), 0);
	assert_int_equal(tr_value_parse(data, n, &v), 0);
	free(data);
	assert_int_equal(v->type, TR_MAP);
	assert_int_equal(v->n, 4);
	a = tr_value_get(v, "items");
	assert_non_null(a);
	assert_int_equal(a->n, 9);
	assert_true(a->u.items[0].u.integer == INT64_MIN);
	assert_true(a->u.items[1].u.integer == INT64_MAX);
	assert_true(a->u.items[2].u.real == -1.5);
	assert_true(a->u.items[3].u.boolean);
	assert_int_equal(a->u.items[4].type, TR_NIL);
	assert_int_equal(a->u.items[5].n, 3);
	assert_memory_equal(a->u.items[5].u.string, "a\0b", 4);
	assert_int_equal(a->u.items[6].type, TR_BINARY);
	assert_memory_equal(a->u.items[6].u.binary, "\xff\x00", 2);
	assert_int_equal(a->u.items[7].type, TR_ARRAY);
	assert_int_equal(a->u.items[8].type, TR_MAP);
	assert_true(tr_value_get(v, "large")->u.natural == UINT64_MAX);
	assert_int_equal(tr_value_get(v, "none")->type, TR_NIL);
	assert_string_equal(tr_value_get(v, "")->u.string, "empty key");
	assert_null(tr_value_get(v, "missing"));
	assert_null(tr_value_get(a, "items"));
	assert_null(tr_value_get(NULL, "items"));
	tr_value_free(v);
}

/* 64 levels pass both ways, 65 do not. */
static void test_depth(void **state)
{
	struct tr_value levels[66];
	struct tr_value *v;
	uint8_t deep[66];
	void *data;
	size_t n;

	(void)state;
	levels[0] = tr_int(1);
	for (size_t i = 1; i < 66; i++)
		levels[i] = tr_array(&levels[i - 1], 1);
	assert_int_equal(tr_value_pack(&levels[65], &data, &n), -EINVAL);
	assert_int_equal(tr_value_pack(&levels[64], &data, &n), 0);
	assert_int_equal(tr_value_parse(data, n, &v), 0);
	tr_value_free(v);
	free(data);
	memset(deep, 0x91, sizeof(deep));
	deep[65] = 1;
	assert_int_equal(tr_value_parse(deep, sizeof(deep), &v), -EBADMSG);
	assert_int_equal(tr_value_parse(deep + 1, sizeof(deep) - 1, &v), 0);
	tr_value_free(v);
}

/* Malformed input is refused, and no length is believed: the last ones claim 4 Gi of items. */
static void test_malformed(void **state)
{
	static const struct {
		uint8_t bytes[8];
		size_t n;
	} bad[] = {
		{{0}, 0},
		{{0xc1}, 1},                         /* reserved */
		{{0x01, 0x01}, 2},                   /* trailing */
		{{0xa5, 'a'}, 2},                    /* short string */
		{{0x81, 0x01, 0x01}, 3},             /* key is no string */
		{{0x81, 0xa1, 0x00, 0x01}, 4},       /* key with a NUL */
		{{0x81, 0xa1, 'k'}, 3},              /* no value */
		{{0x92, 0x01}, 2},                   /* one item short */
		{{0xd4, 0x01, 0x00}, 3},             /* extension */
		{{0xdd, 0xff, 0xff, 0xff, 0xff}, 5}, /* array */
		{{0xdf, 0xff, 0xff, 0xff, 0xff}, 5}, /* map */
		{{0xdb, 0xff, 0xff, 0xff, 0xff}, 5}, /* string */
	};
	struct tr_value *v;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		/* A heap block of just this size: the sanitizer sees a read beyond it. */
		uint8_t *copy = malloc(bad[i].n + 1);

		memcpy(copy, bad[i].bytes, bad[i].n);
		copy = realloc(copy, bad[i].n ? bad[i].n : 1);
		assert_int_equal(tr_value_parse(copy, bad[i].n, &v), -EBADMSG);
		free(copy);
	}
}

/* Arguments that make no sense are refused. */
static void test_invalid(void **state)
{
	struct tr_member no_key = {.value = tr_int(1)};
	struct tr_value map = tr_map(&no_key, 1);
	struct tr_value odd = {.type = (enum tr_type)99};
	void *data;
	size_t n;

	(void)state;
	assert_int_equal(tr_value_pack(&map, &data, &n), -EINVAL);
	assert_int_equal(tr_value_pack(&odd, &data, &n), -EINVAL);
	assert_int_equal(tr_value_pack(NULL, &data, &n), -EINVAL);
	assert_string_equal(tr_verdict_name(TR_NOT_STARTED), "not_started");
	assert_null(tr_verdict_name((enum tr_verdict)99));
	assert_string_equal(tr_kind_name(TR_KIND_EXECUTE), "EXECUTE");
	assert_null(tr_kind_name((enum tr_kind)99));
	assert_string_equal(tr_version(), TR_VERSION);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_invalid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
