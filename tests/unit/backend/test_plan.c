/* SPDX-License-Identifier: Apache-2.0 */

/* A plan's arithmetic, and that one which is not sound is not taken. */

#include "plan_case.h"

#define KIB UINT64_C(1024)

/* A tmpfs has its share of the disk, always a cap, and inodes as its bytes allow. */
static void test_sizes(void **state)
{
	struct plan_params small = {.disk_bytes = 1}, one = {.disk_bytes = GIB};
	struct plan_params huge = {.disk_bytes = UINT64_C(1) << 50};
	struct plan_mount m = {.kind = PLAN_TMPFS, .size = PLAN_SIZE_DISK};

	(void)state;
	assert_int_equal(plan_mount_bytes(&m, &one), GIB);
	assert_int_equal(plan_mount_inodes(&m, &one), 65536);
	assert_int_equal(plan_mount_bytes(&m, &small), 4096);
	assert_int_equal(plan_mount_inodes(&m, &small), 1024);
	assert_int_equal(plan_mount_inodes(&m, &huge), 1 << 20);
	m.size = PLAN_SIZE_TMP;
	assert_int_equal(plan_mount_bytes(&m, &one), GIB / 2);
	m.size = PLAN_SIZE_SHM;
	assert_int_equal(plan_mount_bytes(&m, &one), GIB / 4);
	assert_int_equal(plan_mount_bytes(&m, &small), 4096);
	m = (struct plan_mount){.size = PLAN_SIZE_FIXED, .size_bytes = 8192, .n_inodes = 7};
	assert_int_equal(plan_mount_bytes(&m, &one), 8192);
	assert_int_equal(plan_mount_inodes(&m, &one), 7);
}

/* The memory cap holds the guest's memory, what our own init needs, and all its files with their inodes, in two rooms. */
static void test_memory_cap(void **state)
{
	struct plan_options o = options_init();
	struct plan_params p = o.params;
	uint64_t files = GIB + 2 * (GIB / 2 + GIB / 4);
	uint64_t inodes = 65536 + 2 * (32768 + 16384);

	(void)state;
	make_good(&o);
	assert_int_equal(plan_memory_cap(&plan, &p),
			 2 * GIB + PLAN_OWN_BYTES + files + inodes * 2 * KIB);
	p.memory_bytes = UINT64_MAX - 5;
	assert_true(plan_memory_cap(&plan, &p) == UINT64_MAX);
	p.memory_bytes = GIB;
	p.disk_bytes = UINT64_MAX - 5;
	assert_true(plan_memory_cap(&plan, &p) == UINT64_MAX);
}

/* Seats do not share ids; an ordinary user has but one. */
static void test_ids(void **state)
{
	struct plan p = {.uid_first = 1000000, .n_ids = 65536, .outer_uid = 7};

	(void)state;
	assert_int_equal(plan_outer_id(&p, 0, 0), 1000000);
	assert_int_equal(plan_outer_id(&p, 0, 65535) + 1, plan_outer_id(&p, 1, 0));
	assert_int_equal(plan_outer_id(&p, 3, 1000), 1000000 + 3 * 65536 + 1000);
	p.n_ids = 1;
	assert_int_equal(plan_outer_id(&p, 3, 1000), 7);
}

/* Every layer has a name of its own. */
static void test_names(void **state)
{
	(void)state;
	for (int i = 0; i < PLAN_N_LAYERS; i++)
		for (int k = 0; k < i; k++)
			assert_string_not_equal(plan_layer_name((enum plan_layer)i),
						plan_layer_name((enum plan_layer)k));
	assert_string_equal(plan_layer_name(PLAN_CPU), "cpu");
	assert_string_equal(plan_layer_name(PLAN_N_LAYERS), "?");
}

static void spoil_size(struct plan *p)
{
	p->size--;
}
static void spoil_magic(struct plan *p)
{
	p->magic++;
}
static void spoil_version(struct plan *p)
{
	p->version++;
}
static void spoil_mounts(struct plan *p)
{
	p->n_mounts = PLAN_MOUNTS_MAX + 1;
}
static void spoil_rules(struct plan *p)
{
	p->n_rules = PLAN_RULES_MAX + 1;
}
static void spoil_rule(struct plan *p)
{
	p->rules[0].access = ~UINT64_C(0);
}
static void spoil_no_rules(struct plan *p)
{
	p->n_rules = 0;
}
static void spoil_filter(struct plan *p)
{
	p->n_filter = PLAN_FILTER_MAX + 1;
}
static void spoil_no_filter(struct plan *p)
{
	p->n_filter = 0;
}
static void spoil_rlimits(struct plan *p)
{
	p->n_rlimits = PLAN_RLIMITS_MAX + 1;
}
static void spoil_env(struct plan *p)
{
	p->n_env_bytes = PLAN_ENV_MAX + 1;
}
static void spoil_env_end(struct plan *p)
{
	p->n_env_bytes--;
}
static void spoil_target(struct plan *p)
{
	memset(p->mounts[1].target, 'x', PLAN_PATH_MAX);
}
static void spoil_relative(struct plan *p)
{
	strcpy(p->mounts[1].target, "usr");
}
static void spoil_back(struct plan *p)
{
	strcpy(p->mounts[1].target, "/usr/../..");
}
static void spoil_source(struct plan *p)
{
	strcpy(p->mounts[0].source, "usr");
}
static void spoil_kind(struct plan *p)
{
	p->mounts[0].kind = 99;
}
static void spoil_stage(struct plan *p)
{
	p->mounts[0].stage = 99;
}
static void spoil_mode(struct plan *p)
{
	p->mounts[0].mode = 0100000;
}
static void spoil_shell(struct plan *p)
{
	strcpy(p->shell, "bash");
}
static void spoil_seats(struct plan *p)
{
	p->n_seats = PLAN_SEATS_MAX + 1;
}
static void spoil_root(struct plan *p)
{
	p->n_ids = 65536;
	p->uid_first = 0;
}
static void spoil_root_alone(struct plan *p)
{
	p->n_ids = 1;
	p->outer_uid = 0;
}
static void spoil_last_id(struct plan *p)
{
	p->n_ids = 65536;
	p->uid_first = UINT32_MAX - 65536;
}
static void spoil_guest(struct plan *p)
{
	p->n_ids = 1000;
}
static void spoil_prefix(struct plan *p)
{
	strcpy(p->cgroup.prefix, "../x");
}
static void spoil_layers(struct plan *p)
{
	p->layers |= 1u << PLAN_N_LAYERS;
}

/* One that was made is sound; whatever is spoilt in it, it no longer is. */
static void test_soundness(void **state)
{
	static void (*const spoil[])(struct plan *) = {
		spoil_size,   spoil_magic,    spoil_version,    spoil_mounts,    spoil_rules,
		spoil_rule,   spoil_no_rules, spoil_filter,     spoil_no_filter, spoil_rlimits,
		spoil_env,    spoil_env_end,  spoil_target,     spoil_relative,  spoil_back,
		spoil_source, spoil_kind,     spoil_stage,      spoil_mode,      spoil_shell,
		spoil_seats,  spoil_root,     spoil_root_alone, spoil_last_id,   spoil_guest,
		spoil_prefix, spoil_layers,
	};
	struct plan_options o = options_init();
	static struct plan spoilt;

	(void)state;
	make_good(&o);
	assert_true(plan_is_sound(&plan, sizeof(plan)));
	assert_false(plan_is_sound(&plan, sizeof(plan) - 1));
	for (size_t i = 0; i < sizeof(spoil) / sizeof(*spoil); i++) {
		spoilt = plan;
		spoil[i](&spoilt);
		if (plan_is_sound(&spoilt, sizeof(spoilt)))
			fail_msg("number %zu is taken", i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),     cmocka_unit_test(test_memory_cap),
		cmocka_unit_test(test_ids),       cmocka_unit_test(test_names),
		cmocka_unit_test(test_soundness),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
