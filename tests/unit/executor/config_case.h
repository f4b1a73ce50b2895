/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONFIG_CASE_H
#define CONFIG_CASE_H

/* A configuration that is read from arguments, variables and a .env given in the test itself. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "executor/config.h"

#define ARGS(...) ((const char *[]){"toolringd", ##__VA_ARGS__, NULL})
#define ENV(...)  ((const char *[]){__VA_ARGS__, NULL})
#define NONE      ((const char *[]){NULL})

static char directory[] = "/tmp/toolring-test-config-XXXXXX";
static char env_path[64];
static char error[CONFIG_ERROR_BYTES];
static enum config_action action;

static inline int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(env_path, sizeof(env_path), "%s/.env", directory);
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	unlink(env_path);
	return rmdir(directory);
}

/* dotenv NULL: there is no file. */
static inline int parse(struct config *c, const char **args, const char **env, const char *dotenv)
{
	int argc = 0;

	error[0] = '\0';
	unlink(env_path);
	if (dotenv) {
		FILE *f = fopen(env_path, "we");

		assert_non_null(f);
		assert_true(fputs(dotenv, f) >= 0);
		assert_int_equal(fclose(f), 0);
	}
	while (args[argc])
		argc++;
	/* main() has these without const; nothing writes to them. */
	return config_parse(c, argc, (char **)(uintptr_t)args, (char **)(uintptr_t)env, env_path,
			    &action, error, sizeof(error));
}

static inline void parse_good(struct config *c, const char **args, const char **env,
			      const char *dotenv)
{
	int r = parse(c, args, env, dotenv);

	if (r < 0)
		print_error("%s\n", error);
	assert_int_equal(r, 0);
}

static inline void assert_says(const char *part)
{
	if (!strstr(error, part))
		fail_msg("\"%s\" does not say \"%s\"", error, part);
}

static inline void assert_wrong(const char **args, const char **env, const char *dotenv,
				const char *where, const char *value, const char *allowed)
{
	struct config c;

	assert_int_equal(parse(&c, args, env, dotenv), -EINVAL);
	assert_says(where);
	assert_says(value);
	assert_says(allowed);
	assert_null(strchr(error, '\n'));
}

#endif
