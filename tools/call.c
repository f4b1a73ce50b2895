/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "cli.h"
#include "json.h"

static int submit(struct tr_client *client, const struct tr_call *call, enum answer_form form)
{
	_cleanup_(cli_cleanup_result) struct tr_result result = {0};
	int r = tr_call_wait(client, call, &result, cli_timeout_ms(call->timeout_s));

	if (r < 0)
		return cli_error("no answer: %s", strerror(-r));
	r = answer_print(&result, form);
	return r < 0 ? cli_error("cannot print: %s", strerror(-r)) : cli_exit_of(result.verdict);
}

static int run(int argc, char **argv)
{
	const char *name = NULL;
	const char *trajectory = NULL;
	double timeout_s = 0;
	bool raw = false;
	bool json = false;
	const struct cli_option options[] = {
		CLI_OPTION_STRING('t', "trajectory", "ID", &trajectory,
				  "whose slot; by default one of this call alone"),
		CLI_OPTION_REAL(
			0, "timeout", "S", &timeout_s, 0.001, 1e6,
			"how long the tool may run; else the executor's default, 30 s unless set"),
		CLI_OPTION_FLAG(0, "raw", &raw, "print the output's bytes alone, errors to stderr"),
		CLI_OPTION_FLAG(0, "json", &json, "print the result as one line of JSON"),
		CLI_OPTION_INSTANCE(&name),
	};
	const struct cli_spec spec = {.command = &command_call,
				      .options = options,
				      .n_options = N_ELEMENTS(options),
				      .n_arguments_min = 1,
				      .n_arguments_max = 2};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	char alone[48];
	char error[256];
	json_t *source;
	struct tr_value arguments;
	size_t n;
	int r;

	n = cli_parse(&spec, argc, argv);
	if (raw && json)
		return cli_usage(&command_call, "--raw and --json exclude each other");
	r = json_value_parse(n > 1 ? argv[1] : "{}", &source, &arguments, error, sizeof(error));
	if (r == -EINVAL)
		return cli_usage(&command_call, "the arguments are %s", error);
	if (r < 0)
		return cli_error("%s", error);
	if (arguments.type != TR_MAP)
		r = cli_usage(&command_call, "the arguments must be a JSON object");
	else
		r = cli_open(&client, name);
	snprintf(alone, sizeof(alone), "toolring-call-%d", (int)getpid());
	if (r == 0)
		r = submit(client,
			   &(struct tr_call){.trajectory_id = trajectory ? trajectory : alone,
					     .tool = argv[0],
					     .uniq_id = "cli",
					     .arguments = arguments,
					     .timeout_s = timeout_s},
			   raw    ? ANSWER_RAW
			   : json ? ANSWER_LINE
				  : ANSWER_INDENTED);
	json_value_deinit(&arguments);
	json_decref(source);
	return r;
}

const struct command command_call = {
	.name = "call",
	.synopsis = "TOOL [JSON] [--trajectory ID] [--timeout S] [--raw | --json]",
	.summary = "call a tool with arguments given as a JSON object, print the result",
	.text = "Exit codes: 0 verdict ok; 1 failed, timeout, oom, limit, denied, invalid; 2 wrong\n"
		"usage; 3 no answer, or unavailable, cancelled, not_started, unknown.\n"
		"Bytes that are no text are written, in the arguments and the result, as\n"
		"{\"$base64\": \"...\"}.\n",
	.run = run,
};
