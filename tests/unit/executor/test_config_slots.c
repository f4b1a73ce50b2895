/* SPDX-License-Identifier: Apache-2.0 */

/* The options of slots on this machine: what each takes, and that what does not fit is refused. */

#include "config_case.h"

#include "backend/local/plan.h"
#include "executor/config_table.h"

/* Nothing said: what the documentation promises, and no list holds anything. */
static void test_defaults(void **state)
{
	struct config c;

	(void)state;
	parse_good(&c, ARGS(), NONE, NULL);
	assert_int_equal(c.backend, CONFIG_BACKEND_LOCAL);
	assert_int_equal(c.network, CONFIG_NETWORK_NONE);
	assert_int_equal(c.memory_bytes, UINT64_C(2) << 30);
	assert_int_equal(c.disk_bytes, UINT64_C(1) << 30);
	assert_int_equal(c.n_pids, 512);
	assert_int_equal(c.cpu_weight, 100);
	assert_int_equal(c.n_slots_min, 0);
	assert_int_equal(c.n_slots_warm, 2);
	assert_int_equal(c.accept_missing, 0);
	assert_int_equal(c.uid_base, 0x70000000);
	assert_string_equal(c.shell, "");
	assert_string_equal(c.slot_program, "");
	assert_int_equal(c.slot_env.n, 0);
	assert_int_equal(c.slot_binds.n, 0);
	config_deinit(&c);
}

/* Sizes take units; each option is settable from every source. */
static void test_values(void **state)
{
	struct config c;

	(void)state;
	parse_good(&c, ARGS("--memory", "512M", "--disk=3GiB", "--backend=fake", "--plan"),
		   ENV("TOOLRING_PIDS=64", "TOOLRING_SHELL=/bin/dash", "TOOLRING_MEMORY=1G",
		       "TOOLRING_SLOT_PROGRAM=/x"),
		   "TOOLRING_CPU_WEIGHT=10000\nTOOLRING_SLOTS_WARM=0\nTOOLRING_UID_BASE=100000\n");
	assert_int_equal(action, CONFIG_PLAN);
	assert_int_equal(c.backend, CONFIG_BACKEND_FAKE);
	assert_int_equal(c.memory_bytes, 512 << 20);
	assert_int_equal(c.disk_bytes, UINT64_C(3) << 30);
	assert_int_equal(c.n_pids, 64);
	assert_int_equal(c.cpu_weight, 10000);
	assert_int_equal(c.n_slots_warm, 0);
	assert_int_equal(c.uid_base, 100000);
	assert_string_equal(c.shell, "/bin/dash");
	assert_string_equal(c.slot_program, "/x");
	config_deinit(&c);
}

/* The network by its own name, or by the replaced system's yes or no, which gives way to it. */
static void test_network(void **state)
{
	static const struct {
		const char *variable;
		enum config_network network;
	} compat[] = {
		{"TOOL_EXECUTOR_ALLOW_NETWORK=1", CONFIG_NETWORK_HOST},
		{"TOOL_EXECUTOR_ALLOW_NETWORK=Yes", CONFIG_NETWORK_HOST},
		{"TOOL_EXECUTOR_ALLOW_NETWORK=off", CONFIG_NETWORK_NONE},
		{"TOOL_EXECUTOR_ALLOW_NETWORK=false", CONFIG_NETWORK_NONE},
	};
	struct config c;

	(void)state;
	for (size_t i = 0; i < sizeof(compat) / sizeof(*compat); i++) {
		parse_good(&c, ARGS(), ENV(compat[i].variable), NULL);
		assert_int_equal(c.network, compat[i].network);
		config_deinit(&c);
		parse_good(&c, ARGS(), NONE, compat[i].variable);
		assert_int_equal(c.network, compat[i].network);
		config_deinit(&c);
	}
	parse_good(&c, ARGS(), ENV("TOOL_EXECUTOR_ALLOW_NETWORK=1", "TOOLRING_NETWORK=none"), NULL);
	assert_int_equal(c.network, CONFIG_NETWORK_NONE);
	config_deinit(&c);
	parse_good(&c, ARGS("--network=host"), ENV("TOOL_EXECUTOR_ALLOW_NETWORK=0"), NULL);
	assert_int_equal(c.network, CONFIG_NETWORK_HOST);
	config_deinit(&c);
	assert_wrong(ARGS(), ENV("TOOL_EXECUTOR_ALLOW_NETWORK=host"), NULL,
		     "environment variable TOOL_EXECUTOR_ALLOW_NETWORK", "\"host\"", "true, yes");
	assert_wrong(ARGS("--network=yes"), NONE, NULL, "--network", "\"yes\"", "none, host");
}

/* Flags of a list add up and win together; what separates items depends on what they may hold. */
static void test_lists(void **state)
{
	struct config c;

	(void)state;
	parse_good(&c,
		   ARGS("--slot-env", "A=1,2 3", "--slot-bind", "/a:/b,/c",
			"--slot-env=B=", "--slot-bind=/d"),
		   ENV("TOOLRING_SLOT_ENV=HIDDEN=1"), NULL);
	assert_int_equal(c.slot_env.n, 2);
	assert_string_equal(c.slot_env.items[0], "A=1,2 3");
	assert_string_equal(c.slot_env.items[1], "B=");
	assert_int_equal(c.slot_binds.n, 3);
	assert_string_equal(c.slot_binds.items[0], "/a:/b");
	assert_string_equal(c.slot_binds.items[1], "/c");
	assert_string_equal(c.slot_binds.items[2], "/d");
	config_deinit(&c);
	parse_good(&c, ARGS(), ENV("TOOLRING_SLOT_ENV=A=1\nB=2\n"), "TOOLRING_SLOT_BIND=/a,/b\n");
	assert_int_equal(c.slot_env.n, 2);
	assert_string_equal(c.slot_env.items[1], "B=2");
	assert_int_equal(c.slot_binds.n, 2);
	config_deinit(&c);
}

/* Every layer that can be accepted missing has its bit, by name alone; the others have no name. */
static void test_layers(void **state)
{
	struct config c;
	char flag[64];

	(void)state;
	for (unsigned int i = 0; i < PLAN_N_LAYERS; i++) {
		const char *name = plan_layer_name((enum plan_layer)i);

		snprintf(flag, sizeof(flag), "--accept-missing=%s", name);
		if (i == PLAN_USER || i == PLAN_PID || i == PLAN_MOUNT) {
			assert_wrong(ARGS(flag), NONE, NULL, "--accept-missing", name,
				     "ipc, network");
			continue;
		}
		parse_good(&c, ARGS(flag), NONE, NULL);
		assert_int_equal(c.accept_missing, 1u << i);
		config_deinit(&c);
	}
	parse_good(&c, ARGS("--accept-missing", "memory, pids"), NONE, NULL);
	assert_int_equal(c.accept_missing, 1u << PLAN_MEMORY | 1u << PLAN_PIDS);
	config_deinit(&c);
	assert_wrong(ARGS("--accept-missing=all"), NONE, NULL, "--accept-missing", "\"all\"",
		     "ipc, network, proc, seccomp, landlock, memory, pids, cpu");
}

/* Each with its range; and numbers of slots that fit each other. */
static void test_wrong_values(void **state)
{
	static const struct {
		const char *flag;
		const char *value;
		const char *allowed;
	} wrong[] = {
		{"--memory", "1023K", "from 1048576 to"},
		{"--memory", "2 G", "K, M or G"},
		{"--memory", "-1", "K, M or G"},
		{"--disk", "0", "from 1048576 to"},
		{"--disk", "9999999G", "K, M or G"},
		{"--pids", "15", "16 to"},
		{"--cpu-weight", "0", "1 to 10000"},
		{"--cpu-weight", "10001", "1 to 10000"},
		{"--uid-base", "1000", "65536 to"},
		{"--slots-min", "4097", "--slots-max"},
		{"--slots-warm", "20000", "at most 16384"},
		{"--slots-max", "40000", "at most 32750"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		assert_wrong(ARGS(wrong[i].flag, wrong[i].value), NONE, NULL, wrong[i].flag,
			     wrong[i].value, wrong[i].allowed);
}

/* Another backend may have more slots. */
static void test_slots_of_others(void **state)
{
	struct config c;

	(void)state;
	parse_good(&c, ARGS("--backend=fake", "--slots-max=40000"), NONE, NULL);
	assert_int_equal(c.n_slots_max, 40000);
	config_deinit(&c);
}

/* What was said is shown as it would be said again. */
static void test_print(void **state)
{
	char *text = NULL;
	struct config c;
	size_t n = 0;
	FILE *f;

	(void)state;
	parse_good(&c, ARGS("--memory=1G", "--slot-bind=/a:/b", "--accept-missing=cpu,ipc"), NONE,
		   NULL);
	f = open_memstream(&text, &n);
	assert_non_null(f);
	config_print(&c, f);
	fclose(f);
	assert_non_null(strstr(text, "memory = 1073741824  (flag, --memory)"));
	assert_non_null(strstr(text, "slot-bind = [/a:/b]  (flag"));
	assert_non_null(strstr(text, "accept-missing = [ipc,cpu]  (flag"));
	assert_non_null(strstr(text, "network = none  (default)"));
	config_deinit(&c);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),        cmocka_unit_test(test_values),
		cmocka_unit_test(test_network),         cmocka_unit_test(test_lists),
		cmocka_unit_test(test_layers),          cmocka_unit_test(test_wrong_values),
		cmocka_unit_test(test_slots_of_others), cmocka_unit_test(test_print),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
