/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The configuration: which source wins, what each option takes, and that a wrong value is refused
 * with a text that names where it was said, the value and what is allowed.
 */

#include "config_case.h"

#include <sys/un.h>

#include "backend/local/plan.h"
#include "executor/config_table.h"
#include "io/loop.h"

/* Nothing said: every value is the documented one, and runs. */
static void test_defaults(void **state)
{
	struct config c;

	(void)state;
	parse_good(&c, ARGS(), NONE, NULL);
	assert_int_equal(action, CONFIG_RUN);
	assert_string_equal(c.name, "default");
	assert_string_equal(c.socket, "");
	assert_int_equal(c.backend, CONFIG_BACKEND_LOCAL);
	assert_string_equal(c.fake, "");
	assert_int_equal(c.n_slots_max, 4096);
	assert_int_equal(c.acquire_timeout_ns, 30000000000);
	assert_int_equal(c.idle_ttl_ns, 600000000000);
	assert_int_equal(c.default_timeout_ns, CONFIG_NS_UNSET);
	assert_true(c.batch_window_ns == CONFIG_NS_UNSET);
	assert_int_equal(c.limits.batch_calls_max, 200);
	assert_int_equal(c.spin_ns, 50000);
	assert_string_equal(c.user, "nobody");
	assert_int_equal(c.n_external_tools, 0);
	assert_int_equal(c.io_disable, 0);
	assert_int_equal(c.log_level, LOG_INFO);
	assert_int_equal(c.ready_fd, -1);
	assert_int_equal(c.allow_uids[0], geteuid());
	assert_int_equal(c.n_allow_uids, geteuid() == 0 ? 1 : 2);
	assert_int_equal(c.allow_uids[c.n_allow_uids - 1], 0);
	assert_false(c.json);
	for (unsigned int i = 0; i < N_LIMITS; i++)
		assert_true(limit_value(&c, (enum limit)i) == config_limits[i].value);
	config_deinit(&c);
}

/* A flag wins over the environment, that over .env, that over the default. */
static void test_precedence(void **state)
{
	struct config c;

	(void)state;
	parse_good(&c, ARGS("--slots-max=1"), ENV("TOOLRING_SLOTS_MAX=2"), "TOOLRING_SLOTS_MAX=3");
	assert_int_equal(c.n_slots_max, 1);
	config_deinit(&c);
	parse_good(&c, ARGS(), ENV("TOOLRING_SLOTS_MAX=2"), "TOOLRING_SLOTS_MAX=3");
	assert_int_equal(c.n_slots_max, 2);
	config_deinit(&c);
	parse_good(&c, ARGS(), NONE, "TOOLRING_SLOTS_MAX=3");
	assert_int_equal(c.n_slots_max, 3);
	config_deinit(&c);
	/* The same for limits; of flags, the last one counts. */
	parse_good(&c, ARGS("--limit", "sessions_max=1", "--limit=sessions_max=4"),
		   ENV("TOOLRING_LIMIT_SESSIONS_MAX=2"), "TOOLRING_LIMIT_SESSIONS_MAX=3");
	assert_int_equal(c.limits.sessions_max, 4);
	config_deinit(&c);
	parse_good(&c, ARGS(), ENV("TOOLRING_LIMIT_SESSIONS_MAX=2"),
		   "TOOLRING_LIMIT_SESSIONS_MAX=3");
	assert_int_equal(c.limits.sessions_max, 2);
	config_deinit(&c);
	/* Of equal names the environment's first counts, as with getenv(), and the file's last. */
	parse_good(&c, ARGS(), ENV("TOOLRING_SLOTS_MAX=2", "TOOLRING_SLOTS_MAX=9"),
		   "TOOLRING_SPIN_US=3\nTOOLRING_SPIN_US=4\n");
	assert_int_equal(c.n_slots_max, 2);
	assert_int_equal(c.spin_ns, 4000);
	config_deinit(&c);
	/* What a stronger source hides may be anything. */
	parse_good(&c, ARGS("--slots-max", "7"), ENV("TOOLRING_SLOTS_MAX=x"), NULL);
	assert_int_equal(c.n_slots_max, 7);
	config_deinit(&c);
}

/* The replaced system's names work, below ours in the same source, in whatever order they stand. */
static void test_compat_names(void **state)
{
	struct config c;

	(void)state;
	parse_good(&c, ARGS(),
		   ENV("TOOL_EXECUTOR_SLOTS=8", "TOOL_EXECUTOR_ACQUIRE_TIMEOUT_S=1.5",
		       "TOOL_EXECUTOR_BATCH_WINDOW_MS=20", "TOOL_EXECUTOR_MAX_BATCH_SIZE=64"),
		   NULL);
	assert_int_equal(c.n_slots_max, 8);
	assert_int_equal(c.acquire_timeout_ns, 1500000000);
	assert_int_equal(c.batch_window_ns, 20000000);
	assert_int_equal(c.limits.batch_calls_max, 64);
	config_deinit(&c);
	parse_good(&c, ARGS(), ENV("TOOL_EXECUTOR_SLOTS=8", "TOOLRING_SLOTS_MAX=9"), NULL);
	assert_int_equal(c.n_slots_max, 9);
	config_deinit(&c);
	parse_good(&c, ARGS(), ENV("TOOLRING_SLOTS_MAX=9", "TOOL_EXECUTOR_SLOTS=8"), NULL);
	assert_int_equal(c.n_slots_max, 9);
	config_deinit(&c);
	parse_good(&c, ARGS(), ENV("TOOL_EXECUTOR_SLOTS=8"), "TOOLRING_SLOTS_MAX=9");
	assert_int_equal(c.n_slots_max, 8);
	config_deinit(&c);
}

/* Variables of later parts, of the replaced system and of others are left alone. */
static void test_foreign_variables(void **state)
{
	struct config c;

	(void)state;
	parse_good(&c, ARGS(),
		   ENV("TOOL_EXECUTOR_NOMAD_ADDRESS=http://x", "TOOL_EXECUTOR_PRIVILEGED=maybe",
		       "TOOL_EXECUTOR_TOKEN=", "TOOLRING_WHATEVER=1", "TOOLRING_READY_FD=77",
		       "TOOLRING_CHECK_CONFIG=1", "=x", "no equals sign", "SLOTS=x"),
		   "TOOL_EXECUTOR_IMAGE='a b'\nPATH=/x\nTOOLRING_OTHER=1\n");
	assert_int_equal(action, CONFIG_RUN);
	assert_int_equal(c.ready_fd, -1);
	config_deinit(&c);
}

/* The words for yes and no, in any case, and nothing else. */
static void test_booleans(void **state)
{
	static const char *const yes[] = {"1", "true", "yes", "y", "on", "TRUE", "Yes", "oN"};
	static const char *const no[] = {"0", "false", "no", "n", "off", "FALSE", "No", "oFF"};
	struct config c;
	char flag[32];

	(void)state;
	for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++) {
		snprintf(flag, sizeof(flag), "--json=%s", yes[i]);
		parse_good(&c, ARGS("--probe", flag), NONE, NULL);
		assert_true(c.json);
		config_deinit(&c);
		snprintf(flag, sizeof(flag), "--json=%s", no[i]);
		parse_good(&c, ARGS("--probe", flag), NONE, NULL);
		assert_false(c.json);
		config_deinit(&c);
	}
	assert_wrong(ARGS("--probe", "--json=2"), NONE, NULL, "--json", "\"2\"",
		     "true, yes, y, on");
	assert_wrong(ARGS("--probe", "--json="), NONE, NULL, "--json", "\"\"", "false, no, n, off");
}

/* Each flag that is an action gives its action; --help and --version look at nothing else. */
static void test_actions(void **state)
{
	struct config c;

	(void)state;
	parse_good(&c, ARGS("--check-config"), NONE, NULL);
	assert_int_equal(action, CONFIG_CHECK);
	config_deinit(&c);
	parse_good(&c, ARGS("--probe", "--json"), NONE, NULL);
	assert_int_equal(action, CONFIG_PROBE);
	assert_true(c.json);
	config_deinit(&c);
	parse_good(&c, ARGS("--help", "--nonsense"), ENV("TOOLRING_SLOTS_MAX=x"), "?");
	assert_int_equal(action, CONFIG_HELP);
	config_deinit(&c);
	parse_good(&c, ARGS("-h"), NONE, NULL);
	assert_int_equal(action, CONFIG_HELP);
	config_deinit(&c);
	parse_good(&c, ARGS("--version"), ENV("TOOLRING_SLOTS_MAX=x"), NULL);
	assert_int_equal(action, CONFIG_VERSION);
	config_deinit(&c);
	assert_wrong(ARGS("--json"), NONE, NULL, "--json", "--probe", "");
	assert_wrong(ARGS("--help=1"), NONE, NULL, "--help", "takes no value", "");
}

/* A wrong value is refused for every type, from every source, with place, value and remedy. */
static void test_wrong_values(void **state)
{
	static const struct {
		const char *variable;
		const char *flag;
		const char *value;
		const char *allowed;
	} wrong[] = {
		{"TOOLRING_NAME", "--name", "a b", "1 to 64 letters"},
		{"TOOLRING_NAME", "--name", "", "1 to 64 letters"},
		{"TOOLRING_BACKEND", "--backend", "remote", "allowed: local, fake"},
		{"TOOLRING_SLOTS_MAX", "--slots-max", "0", "1 to 1048576"},
		{"TOOLRING_SLOTS_MAX", "--slots-max", "1048577", "1 to 1048576"},
		{"TOOLRING_SLOTS_MAX", "--slots-max", "-1", "1 to 1048576"},
		{"TOOLRING_SLOTS_MAX", "--slots-max", "+1", "1 to 1048576"},
		{"TOOLRING_SLOTS_MAX", "--slots-max", "1x", "1 to 1048576"},
		{"TOOLRING_SLOTS_MAX", "--slots-max", "0x10", "1 to 1048576"},
		{"TOOLRING_SLOTS_MAX", "--slots-max", "", "1 to 1048576"},
		{"TOOLRING_SLOTS_MAX", "--slots-max", "18446744073709551617", "1 to 1048576"},
		{"TOOLRING_ACQUIRE_TIMEOUT_S", "--acquire-timeout-s", "86401", "0 to 86400"},
		{"TOOLRING_ACQUIRE_TIMEOUT_S", "--acquire-timeout-s", "nan", "0 to 86400"},
		{"TOOLRING_ACQUIRE_TIMEOUT_S", "--acquire-timeout-s", "inf", "0 to 86400"},
		{"TOOLRING_ACQUIRE_TIMEOUT_S", "--acquire-timeout-s", ".", "0 to 86400"},
		{"TOOLRING_ACQUIRE_TIMEOUT_S", "--acquire-timeout-s", "1.2.3", "0 to 86400"},
		{"TOOLRING_IDLE_TTL_S", "--idle-ttl-s", "0", "0.001 to 31536000"},
		{"TOOLRING_DEFAULT_TIMEOUT_S", "--default-timeout-s", "601", "1 to 600"},
		{"TOOLRING_DEFAULT_TIMEOUT_S", "--default-timeout-s", "0.9", "1 to 600"},
		{"TOOLRING_BATCH_WINDOW_MS", "--batch-window-ms", "60001", "0 to 60000"},
		{"TOOLRING_SPIN_US", "--spin-us", "1000001", "0 to 1000000"},
		{"TOOLRING_ALLOW_UID", "--allow-uid", "no such user", "user ids and names"},
		{"TOOLRING_ALLOW_UID", "--allow-uid", "4294967295", "user ids and names"},
		{"TOOLRING_ALLOW_UID", "--allow-uid", " , ", "at least one"},
		{"TOOLRING_USER", "--user", "root", "but root"},
		{"TOOLRING_USER", "--user", "0", "but root"},
		{"TOOLRING_USER", "--user", "", "but not root"},
		{"TOOLRING_IO_DISABLE", "--io-disable", "futex,fast", "single_issuer, defer"},
		{"TOOLRING_LOG_LEVEL", "--log-level", "loud", "error, warning, info, debug"},
	};
	char text[160], quoted[64];

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		const char *value = wrong[i].value;

		snprintf(quoted, sizeof(quoted), "\"%s\"", value);
		assert_wrong(ARGS(wrong[i].flag, value), NONE, NULL, wrong[i].flag, quoted,
			     wrong[i].allowed);
		snprintf(text, sizeof(text), "%s=%s", wrong[i].variable, value);
		assert_wrong(ARGS(), ENV(text), NULL, "environment variable ", quoted,
			     wrong[i].allowed);
		assert_says(wrong[i].variable);
		snprintf(text, sizeof(text), "\n\n%s='%s'\n", wrong[i].variable, value);
		assert_wrong(ARGS(), NONE, text, "/.env line 3, ", quoted, wrong[i].allowed);
		assert_says(wrong[i].variable);
	}
}

/* What is no option at all is named, with the one that was probably meant. */
static void test_unknown_flags(void **state)
{
	(void)state;
	assert_wrong(ARGS("--slot-max", "3"), NONE, NULL, "\"--slot-max\"", "did you mean",
		     "--slots-max?");
	assert_wrong(ARGS("--socket-path=x"), NONE, NULL, "\"--socket-path=x\"", "no such option",
		     "--help");
	assert_wrong(ARGS("--"), NONE, NULL, "\"--\"", "no such option", "");
	assert_wrong(ARGS("file"), NONE, NULL, "\"file\"", "options alone", "");
	assert_wrong(ARGS("-x"), NONE, NULL, "\"-x\"", "options alone", "");
	assert_wrong(ARGS(""), NONE, NULL, "\"\"", "options alone", "");
	assert_wrong(ARGS("--name"), NONE, NULL, "--name", "needs a value", "");
	/* What came from outside cannot put control characters or pages of text into a log. */
	assert_wrong(ARGS("--name=\033[2J\n"), NONE, NULL, "\"?[2J?\"", "", "");
	memset(error, 'x', sizeof(error));
	error[sizeof(error) - 1] = '\0';
	assert_wrong(ARGS("--slots-max", strdupa(error)), NONE, NULL, "xxx...\"", "1048576", "");
}

static void test_durations(void **state)
{
	struct config c;

	(void)state;
	parse_good(&c,
		   ARGS("--acquire-timeout-s", "0", "--idle-ttl-s=0.001", "--batch-window-ms=0",
			"--spin-us", "0.5", "--default-timeout-s=600"),
		   NONE, NULL);
	assert_int_equal(c.acquire_timeout_ns, 0);
	assert_int_equal(c.idle_ttl_ns, 1000000);
	assert_int_equal(c.batch_window_ns, 0);
	assert_int_equal(c.spin_ns, 500);
	assert_int_equal(c.default_timeout_ns, 600000000000);
	config_deinit(&c);
}

/* Lists: commas, spaces around words, empty words, doubles. */
static void test_lists(void **state)
{
	struct config c;

	(void)state;
	parse_good(&c,
		   ARGS("--allow-uid", " 1000,root , 1000,,4294967294", "--external-tools",
			"search, image_gen,,x", "--io-disable", "futex,defer_taskrun"),
		   NONE, NULL);
	assert_int_equal(c.n_allow_uids, 3);
	assert_int_equal(c.allow_uids[0], 1000);
	assert_int_equal(c.allow_uids[1], 0);
	assert_int_equal(c.allow_uids[2], 4294967294);
	assert_int_equal(c.n_external_tools, 3);
	assert_string_equal(c.external_tools[0], "search");
	assert_string_equal(c.external_tools[1], "image_gen");
	assert_string_equal(c.external_tools[2], "x");
	assert_int_equal(c.io_disable, LOOP_FUTEX | LOOP_DEFER_TASKRUN);
	config_deinit(&c);
	parse_good(&c, ARGS("--io-disable=all", "--external-tools="), NONE, NULL);
	assert_int_equal(c.io_disable, LOOP_FEATURES_ALL);
	assert_int_equal(c.n_external_tools, 0);
	config_deinit(&c);
}

/* The executor never becomes root; a number will do for a name where root starts it. */
static void test_user(void **state)
{
	struct config c;

	(void)state;
	parse_good(&c, ARGS("--user", "61234"), NONE, NULL);
	assert_string_equal(c.user, "61234");
	assert_int_equal(c.user_uid, 61234);
	assert_int_equal(c.user_gid, 61234);
	config_deinit(&c);
	if (geteuid() != 0)
		return;
	parse_good(&c, ARGS(), NONE, NULL);
	assert_int_not_equal(c.user_uid, 0);
	config_deinit(&c);
	assert_wrong(ARGS("--user=no-such-user"), NONE, NULL, "--user", "\"no-such-user\"",
		     "that exists");
}

/* A descriptor has to be open. */
static void test_ready_fd(void **state)
{
	struct config c;
	char flag[32];
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	snprintf(flag, sizeof(flag), "--ready-fd=%d", fds[1]);
	parse_good(&c, ARGS(flag), NONE, NULL);
	assert_int_equal(c.ready_fd, fds[1]);
	assert_int_equal(c.stop_fd, -1);
	config_deinit(&c);
	snprintf(flag, sizeof(flag), "--stop-fd=%d", fds[1]);
	parse_good(&c, ARGS(flag), NONE, NULL);
	assert_int_equal(c.stop_fd, fds[1]);
	config_deinit(&c);
	parse_good(&c, ARGS("--ready-fd", "-1"), NONE, NULL);
	assert_int_equal(c.ready_fd, -1);
	config_deinit(&c);
	close(fds[0]);
	close(fds[1]);
	assert_wrong(ARGS(flag), NONE, NULL, "--stop-fd", "is not allowed", "open descriptor");
	snprintf(flag, sizeof(flag), "--ready-fd=%d", fds[1]);
	assert_wrong(ARGS(flag), NONE, NULL, "--ready-fd", "is not allowed", "open descriptor");
	assert_wrong(ARGS("--ready-fd=-2"), NONE, NULL, "--ready-fd", "\"-2\"", "or -1");
}

/* Where the socket lies: as said, else under $XDG_RUNTIME_DIR, else by user. */
static void test_socket_path(void **state)
{
	char path[256], expected[256], longest[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
	char flag[sizeof(longest) + 16];
	struct config c;

	(void)state;
	parse_good(&c, ARGS("--name=a.b"), ENV("XDG_RUNTIME_DIR=/run/user/7"), NULL);
	assert_int_equal(config_socket_path(&c, path, sizeof(path)), 0);
	assert_string_equal(path, "/run/user/7/toolring/a.b.sock");
	assert_int_equal(config_socket_path(&c, path, strlen("/run/user/7/toolring/a.b.sock")),
			 -ENAMETOOLONG);
	config_deinit(&c);

	parse_good(&c, ARGS("--name=a"), ENV("XDG_RUNTIME_DIR="), NULL);
	if (geteuid() == 0)
		snprintf(expected, sizeof(expected), "/run/toolring/a.sock");
	else
		snprintf(expected, sizeof(expected), "/tmp/toolring-%u/a.sock", geteuid());
	assert_int_equal(config_socket_path(&c, path, sizeof(path)), 0);
	assert_string_equal(path, expected);
	config_deinit(&c);

	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 2] = '\0';
	snprintf(flag, sizeof(flag), "--socket=%s", longest);
	parse_good(&c, ARGS(flag), ENV("XDG_RUNTIME_DIR=/run/user/7"), NULL);
	assert_int_equal(config_socket_path(&c, path, sizeof(path)), 0);
	assert_string_equal(path, longest);
	config_deinit(&c);
	longest[sizeof(longest) - 2] = 'x';
	longest[sizeof(longest) - 1] = '\0';
	snprintf(flag, sizeof(flag), "--socket=%s", longest);
	parse_good(&c, ARGS(flag), NONE, NULL);
	assert_int_equal(config_socket_path(&c, path, sizeof(path)), -ENAMETOOLONG);
	config_deinit(&c);
}

/* A .env that is there but wrong is an error with its place, also for lines that are not ours. */
static void test_env_file_errors(void **state)
{
	(void)state;
	assert_wrong(ARGS(), NONE, "A=1\nwhat is this\n", ".env line 2", "KEY=VALUE", "");
	assert_wrong(ARGS(), NONE, "A=\"x\n", ".env line 1", "quote", "");
}

/* --check-config shows every option and limit, its value, its source and its reason. */
static void test_print(void **state)
{
	struct config c;
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	(void)state;
	assert_non_null(f);
	parse_good(&c, ARGS("--limit=sessions_max=7", "--allow-uid=1,2", "--spin-us=1.5"),
		   ENV("TOOLRING_SLOTS_MAX=12", "TOOL_EXECUTOR_MAX_BATCH_SIZE=9",
		       "XDG_RUNTIME_DIR=/x"),
		   "\nTOOLRING_IO_DISABLE=futex,single_issuer\nTOOLRING_FAKE=''");
	config_print(&c, f);
	fclose(f);
	assert_non_null(strstr(text, "control socket: /x/toolring/default.sock\n"));
	assert_non_null(strstr(text, "name = \"default\"  (default)\n"));
	assert_non_null(strstr(text, "slots-max = 12  (environment, TOOLRING_SLOTS_MAX)\n"));
	assert_non_null(strstr(text, "spin-us = 1.5  (flag, --spin-us)\n"));
	assert_non_null(strstr(text, "allow-uid = [1,2]  (flag, --allow-uid)\n"));
	assert_non_null(strstr(text, "io-disable = [single_issuer,futex]  ("));
	assert_non_null(strstr(text, "/.env line 2, TOOLRING_IO_DISABLE)\n"));
	assert_non_null(strstr(text, "batch-window-ms = unset  (default)\n"));
	assert_non_null(
		strstr(text, "max-batch-size = 9  (environment, TOOL_EXECUTOR_MAX_BATCH_SIZE)\n"));
	assert_non_null(strstr(text, "limit sessions_max = 7 sessions  (flag, --limit "
				     "sessions_max; from 1 to 65536)\n"));
	for (unsigned int i = 0; i < N_LIMITS; i++) {
		char start[33];

		assert_non_null(strstr(text, config_limits[i].name));
		snprintf(start, sizeof(start), "%s", config_limits[i].reason);
		assert_non_null(strstr(text, start));
	}
	config_deinit(&c);
	free(text);
}

/* --help names every flag, variable and limit, in lines that fit a terminal. */
static void test_help(void **state)
{
	char *text = NULL, name[96];
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	(void)state;
	assert_non_null(f);
	config_help(f);
	fclose(f);
	for (size_t i = 0; i < n_config_options; i++) {
		snprintf(name, sizeof(name), "  --%s", config_options[i].flag);
		assert_non_null(strstr(text, name));
		config_variable("TOOLRING_", config_options[i].flag, name, sizeof(name));
		if (option_has_variable(&config_options[i]))
			assert_non_null(strstr(text, name));
	}
	for (unsigned int i = 0; i < N_LIMITS; i++)
		assert_non_null(strstr(text, config_limits[i].name));
	/* What may be missing, each by the name it is given leave by: all but the first three. */
	for (unsigned int i = PLAN_MOUNT + 1; i < PLAN_N_LAYERS; i++) {
		const char *at = strstr(text, "  --accept-missing");

		assert_non_null(at);
		assert_in_range(strstr(at, plan_layer_name((enum plan_layer)i)) - at, 1, 300);
	}
	for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
		assert_true(strcspn(line, "\n") <= 100);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),     cmocka_unit_test(test_precedence),
		cmocka_unit_test(test_compat_names), cmocka_unit_test(test_foreign_variables),
		cmocka_unit_test(test_booleans),     cmocka_unit_test(test_actions),
		cmocka_unit_test(test_wrong_values), cmocka_unit_test(test_unknown_flags),
		cmocka_unit_test(test_durations),    cmocka_unit_test(test_lists),
		cmocka_unit_test(test_user),         cmocka_unit_test(test_ready_fd),
		cmocka_unit_test(test_socket_path),  cmocka_unit_test(test_env_file_errors),
		cmocka_unit_test(test_print),        cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
