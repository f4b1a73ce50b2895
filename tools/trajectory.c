/* SPDX-License-Identifier: Apache-2.0 */
/* acquire, reset and release: the calls about a trajectory's slot itself. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "cli.h"
#include "json.h"

#define TIMEOUT_MS 60000

static int print(int r, const struct tr_result *result, bool json)
{
	if (r == 0)
		r = answer_print(result, json ? ANSWER_LINE : ANSWER_INDENTED);
	return r < 0 ? cli_error("no answer: %s", strerror(-r)) : cli_exit_of(result->verdict);
}

static int run_acquire(int argc, char **argv)
{
	const char *name = NULL;
	const char *spec_text = NULL;
	bool json = false, hold = false;
	const struct cli_option options[] = {
		CLI_OPTION_STRING(0, "spec", "JSON", &spec_text,
				  "what the slot must be: an object"),
		CLI_OPTION_FLAG(0, "json", &json, "print the result as one line of JSON"),
		CLI_OPTION_FLAG(0, "hold", &hold,
				"do not end, so that the slot stays, until killed"),
		CLI_OPTION_INSTANCE(&name),
	};
	const struct cli_spec spec = {.command = &command_acquire,
				      .options = options,
				      .n_options = N_ELEMENTS(options),
				      .n_arguments_min = 1,
				      .n_arguments_max = 1};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(cli_cleanup_result) struct tr_result result = {0};
	_cleanup_(json_cleanup) json_t *source = NULL;
	struct tr_value value = {0};
	char error[256];
	int r;

	cli_parse(&spec, argc, argv);
	r = spec_text ? json_value_parse(spec_text, &source, &value, error, sizeof(error)) : 0;
	if (r < 0)
		return cli_usage(&command_acquire, "--spec is %s", error);
	if (spec_text && value.type != TR_MAP)
		r = cli_usage(&command_acquire, "--spec must be a JSON object");
	else
		r = cli_open(&client, name);
	if (r == 0) {
		r = tr_acquire(client, argv[0], spec_text ? &value : NULL, &result, TIMEOUT_MS);
		r = print(r, &result, json);
	}
	json_value_deinit(&value);
	fflush(stdout);
	while (r == 0 && hold)
		pause();
	return r;
}

static int run_reset(int argc, char **argv)
{
	const char *name = NULL;
	bool json = false;
	const struct cli_option options[] = {
		CLI_OPTION_FLAG(0, "json", &json, "print the result as one line of JSON"),
		CLI_OPTION_INSTANCE(&name),
	};
	const struct cli_spec spec = {.command = &command_reset,
				      .options = options,
				      .n_options = N_ELEMENTS(options),
				      .n_arguments_min = 1,
				      .n_arguments_max = 1};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(cli_cleanup_result) struct tr_result result = {0};
	int r;

	cli_parse(&spec, argc, argv);
	r = cli_open(&client, name);
	if (r != 0)
		return r;
	r = tr_reset(client, argv[0], &result, TIMEOUT_MS);
	return print(r, &result, json);
}

static int run_release(int argc, char **argv)
{
	const char *name = NULL;
	bool keep = false;
	bool json = false;
	const struct cli_option options[] = {
		CLI_OPTION_FLAG(0, "keep-files", &keep, "keep the workspace for this trajectory"),
		CLI_OPTION_FLAG(0, "json", &json, "print the result as one line of JSON"),
		CLI_OPTION_INSTANCE(&name),
	};
	const struct cli_spec spec = {.command = &command_release,
				      .options = options,
				      .n_options = N_ELEMENTS(options),
				      .n_arguments_min = 1,
				      .n_arguments_max = 1};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(cli_cleanup_result) struct tr_result result = {0};
	int r;

	cli_parse(&spec, argc, argv);
	r = cli_open(&client, name);
	if (r != 0)
		return r;
	r = tr_release(client, argv[0], !keep, &result, TIMEOUT_MS);
	return print(r, &result, json);
}

const struct command command_acquire = {
	.name = "acquire",
	.synopsis = "TRAJECTORY [--spec JSON] [--hold] [--json]",
	.summary = "get a slot for a trajectory ahead of its first call",
	.text = "The slot is given back when the last session that used the trajectory ends: with\n"
		"nobody else holding it, that is at the end of this command, unless --hold.\n",
	.run = run_acquire,
};

const struct command command_reset = {
	.name = "reset",
	.synopsis = "TRAJECTORY [--json]",
	.summary = "make a trajectory's slot as new",
	.run = run_reset,
};

const struct command command_release = {
	.name = "release",
	.synopsis = "TRAJECTORY [--keep-files] [--json]",
	.summary = "give a trajectory's slot back",
	.run = run_release,
};
