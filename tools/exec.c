/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a command in a slot as if it ran here: its bytes to our stdout and stderr, its exit code as
 * ours. What is not the command's doing exits with codes as env(1) and timeout(1) use them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "cli.h"
#include "json.h"

enum exec_exit {
	EXEC_TIMEOUT = 124,
	EXEC_INFRASTRUCTURE = 125,
	EXEC_SIGNAL = 128, /* and the signal's number */
};

static const struct tr_value *get_integer(const struct tr_value *metadata, const char *key)
{
	const struct tr_value *v = tr_value_get(metadata, key);

	return v && v->type == TR_INT ? v : NULL;
}

static int exit_code(const struct tr_result *result, const struct tr_value *metadata)
{
	const struct tr_value *code = get_integer(metadata, "exit_code");
	const struct tr_value *signal = get_integer(metadata, "signal");

	if (result->verdict == TR_TIMEOUT)
		return EXEC_TIMEOUT;
	if (signal && signal->u.integer > 0 && signal->u.integer < 128)
		return EXEC_SIGNAL + (int)signal->u.integer;
	if (code)
		return (int)(code->u.integer & 255);
	return result->verdict == TR_OK ? 0 : 1;
}

static bool is_infrastructure(enum tr_verdict verdict)
{
	return cli_exit_of(verdict) == CLI_INFRASTRUCTURE || verdict == TR_INVALID ||
	       verdict == TR_DENIED;
}

/* A command that failed by itself has said so; what was done to it, it cannot say. */
static bool needs_words(const struct tr_result *result, const struct tr_value *metadata)
{
	const struct tr_value *v = tr_value_get(metadata, "not_started");

	if (v && v->type == TR_BOOL && v->u.boolean)
		return true;
	return result->verdict != TR_OK && result->verdict != TR_FAILED;
}

static int print(const struct tr_result *result)
{
	_cleanup_(cli_cleanup_value) struct tr_value *whole = NULL;
	const struct tr_value *metadata;
	bool has_errors;

	tr_value_parse(result->raw.data, result->raw.n, &whole);
	metadata = tr_value_get(whole, "metadata");
	if (!answer_write_stream(whole, "stdout", stdout)) {
		fwrite(result->output.data, 1, result->output.n, stdout);
		fflush(stdout);
	}
	has_errors = answer_write_stream(whole, "stderr", stderr);
	if ((!has_errors && result->error.n > 0) || needs_words(result, metadata)) {
		const char *verdict = tr_verdict_name(result->verdict);

		fprintf(stderr, "toolring: %s: %.*s\n", verdict ? verdict : "?",
			(int)result->error.n, result->error.n ? result->error.data : "");
	}
	if (is_infrastructure(result->verdict) || ferror(stdout))
		return EXEC_INFRASTRUCTURE;
	return exit_code(result, metadata);
}

/* What the command line says of the call's arguments. */
struct words {
	char **argv;
	size_t n;
	bool keep;
	struct tr_value more; /* a map of further arguments, or nil */
};

static int submit(struct tr_client *client, struct tr_call *call, const struct words *w)
{
	_cleanup_(cli_cleanup_result) struct tr_result result = {0};
	struct tr_value *words = calloc(w->n, sizeof(*words));
	struct tr_member *members = calloc(2 + w->more.n, sizeof(*members));
	size_t n = 0;
	int r = -ENOMEM;

	if (words && members) {
		for (size_t i = 0; i < w->n; i++)
			words[i] = tr_string(w->argv[i]);
		members[n++] = (struct tr_member){"argv", tr_array(words, w->n)};
		if (w->keep)
			members[n++] = (struct tr_member){"keep", tr_bool(true)};
		for (size_t i = 0; i < w->more.n; i++)
			members[n++] = w->more.u.members[i];
		call->arguments = tr_map(members, n);
		r = tr_call_wait(client, call, &result, cli_timeout_ms(call->timeout_s));
	}
	free(words);
	free(members);
	return r < 0 ? r : print(&result);
}

/* Opens a session for the call and makes it; the exit code. */
static int open_and_submit(const char *name, struct tr_call *call, const struct words *w)
{
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	int r;

	if (cli_open(&client, name) != 0)
		return EXEC_INFRASTRUCTURE;
	r = submit(client, call, w);
	if (r < 0) {
		cli_error("no answer: %s", strerror(-r));
		return EXEC_INFRASTRUCTURE;
	}
	return r;
}

/* Reads --arguments. 0 or CLI_USAGE; the value borrows from *ret_source. */
static int parse_more(const char *text, json_t **ret_source, struct tr_value *ret_more)
{
	char error[256];

	if (json_value_parse(text, ret_source, ret_more, error, sizeof(error)) < 0)
		return cli_usage(&command_exec, "--arguments is %s", error);
	if (ret_more->type != TR_MAP)
		return cli_usage(&command_exec, "--arguments must be a JSON object");
	if (tr_value_get(ret_more, "argv") || tr_value_get(ret_more, "keep"))
		return cli_usage(&command_exec, "--arguments cannot set argv or keep");
	return 0;
}

static int run(int argc, char **argv)
{
	const char *name = NULL;
	const char *trajectory = NULL;
	const char *more = NULL;
	double timeout_s = 0;
	struct words w = {0};
	const struct cli_option options[] = {
		CLI_OPTION_STRING('t', "trajectory", "ID", &trajectory,
				  "whose slot; by default one of this command alone"),
		CLI_OPTION_REAL(
			0, "timeout", "S", &timeout_s, 0.001, 1e6,
			"how long it may run; else the executor's default, 30 s unless set"),
		CLI_OPTION_FLAG(0, "keep", &w.keep, "run it where processes and /tmp live on"),
		CLI_OPTION_STRING('a', "arguments", "JSON", &more,
				  "further arguments of the call: an object"),
		CLI_OPTION_INSTANCE(&name),
	};
	const struct cli_spec spec = {.command = &command_exec,
				      .options = options,
				      .n_options = N_ELEMENTS(options),
				      .n_arguments_min = 1,
				      .n_arguments_max = (size_t)argc,
				      .stop_at_argument = true};
	_cleanup_(json_cleanup) json_t *source = NULL;
	struct tr_call call = {.tool = "exec", .uniq_id = "cli"};
	char alone[48];
	int r = 0;

	w.n = cli_parse(&spec, argc, argv);
	w.argv = argv;
	if (more)
		r = parse_more(more, &source, &w.more);
	snprintf(alone, sizeof(alone), "toolring-exec-%d", (int)getpid());
	call.trajectory_id = trajectory ? trajectory : alone;
	call.timeout_s = timeout_s;
	if (r == 0)
		r = open_and_submit(name, &call, &w);
	json_value_deinit(&w.more);
	return r;
}

const struct command command_exec = {
	.name = "exec",
	.synopsis = "[--trajectory ID] [--timeout S] [--keep] [--arguments JSON] [--]\n"
		    "                     COMMAND [ARGUMENT...]",
	.summary = "run a command in a slot, with its output and exit code as ours",
	.text = "Exit codes: the command's own, 128 + N if signal N ended it; 124 it ran too long;\n"
		"125 toolring could not run it (a message says why), 127 there is no such program;\n"
		"2 wrong usage.\n",
	.run = run,
};
