/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The toolring command: one file per sub-command, on the public headers alone. Here is only the
 * table of them.
 */
#include <stdio.h>
#include <string.h>

#include "cli.h"

static const struct command *const commands[] = {
	&command_ping,    &command_call,  &command_exec,    &command_artifact, &command_status,
	&command_acquire, &command_reset, &command_release, &command_doctor,   &command_bench,
};

static void print_help(void)
{
	printf("usage: toolring COMMAND [OPTIONS] [ARGUMENTS]\n\n"
	       "Talks to toolringd over its ring.\n\n");
	cli_print_commands(commands, N_ELEMENTS(commands));
	printf("  %-12s %s\n  %-12s %s\n\n", "help", "this text, or: help COMMAND", "--version",
	       "the version of this program and of the library");
	printf("Exit codes: 0 ok, 1 answered but no success, 2 wrong usage, 3 no answer or an\n"
	       "infrastructure fault (exec and bench have their own, see their --help).\n");
}

static int help(int argc, char **argv)
{
	char word[] = "--help";
	const struct command *command;

	if (argc < 2) {
		print_help();
		return CLI_OK;
	}
	command = cli_find(commands, N_ELEMENTS(commands), argv[1]);
	if (!command)
		return cli_unknown_command("toolring", commands, N_ELEMENTS(commands), argv[1]);
	/* "help bench ring" asks for "bench ring --help". */
	if (argc > 2 && argc < 4)
		return command->run(3, (char *[]){argv[1], argv[2], word, NULL});
	return command->run(2, (char *[]){argv[1], word, NULL});
}

int main(int argc, char **argv)
{
	const struct command *command;
	const char *name = argc > 1 ? argv[1] : "";

	if (argc < 2) {
		fprintf(stderr, "toolring: no command given. See: toolring --help\n");
		return CLI_USAGE;
	}
	if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		return help(argc - 1, argv + 1);
	if (strcmp(name, "--version") == 0) {
		printf("toolring %s, libtoolring %s, layout %d\n", TR_VERSION, tr_version(),
		       TR_LAYOUT_VERSION);
		return CLI_OK;
	}
	if (name[0] == '-') {
		fprintf(stderr,
			"toolring: unknown option %s; before a command, --help and "
			"--version are allowed\n",
			name);
		return CLI_USAGE;
	}
	command = cli_find(commands, N_ELEMENTS(commands), name);
	if (!command)
		return cli_unknown_command("toolring", commands, N_ELEMENTS(commands), name);
	return command->run(argc - 1, argv + 1);
}
