/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_CLI_H
#define TOOLS_CLI_H

/*
 * What every sub-command shares: its description, its options (one table gives the parser, the help
 * text and the error messages), exit codes and opening a session.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <toolring/toolring.h>

#define N_ELEMENTS(a) (sizeof(a) / sizeof((a)[0]))

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,         /* it was answered, and the answer is no success */
	CLI_USAGE = 2,          /* the command line makes no sense */
	CLI_INFRASTRUCTURE = 3, /* no answer, or one that says toolring itself could not do it */
};

struct command {
	const char *name;                  /* "ping"; "bench ring" */
	const char *synopsis;              /* what follows the name */
	const char *summary;               /* one line */
	const char *text;                  /* more for --help, or NULL */
	int (*run)(int argc, char **argv); /* argv[0] is the command's own name */
};

extern const struct command command_acquire;
extern const struct command command_artifact;
extern const struct command command_artifact_archive;
extern const struct command command_artifact_list;
extern const struct command command_artifact_read;
extern const struct command command_artifact_unpack;
extern const struct command command_artifact_write;
extern const struct command command_bench;
extern const struct command command_bench_alloc_client;
extern const struct command command_bench_load;
extern const struct command command_bench_ring;
extern const struct command command_bench_shells;
extern const struct command command_bench_slots;
extern const struct command command_call;
extern const struct command command_doctor;
extern const struct command command_exec;
extern const struct command command_ping;
extern const struct command command_release;
extern const struct command command_reset;
extern const struct command command_status;

enum cli_type {
	CLI_TYPE_FLAG,
	CLI_TYPE_STRING,
	CLI_TYPE_NUMBER,
	CLI_TYPE_REAL,
};

struct cli_option {
	char letter; /* 0: none */
	const char *name;
	const char *argument; /* how the help calls it */
	enum cli_type type;
	union {
		bool *flag;
		const char **string;
		uint64_t *number;
		double *real;
	} ret;
	double min;
	double max;
	const char *help;
};

#define CLI_OPTION_FLAG(letter_, name_, ret_, help_)                                               \
	{                                                                                          \
		.letter = letter_, .name = name_, .type = CLI_TYPE_FLAG, .ret.flag = ret_,         \
		.help = help_                                                                      \
	}
#define CLI_OPTION_STRING(letter_, name_, argument_, ret_, help_)                                  \
	{                                                                                          \
		.letter = letter_, .name = name_, .argument = argument_, .type = CLI_TYPE_STRING,  \
		.ret.string = ret_, .help = help_                                                  \
	}
#define CLI_OPTION_NUMBER(letter_, name_, argument_, ret_, min_, max_, help_)                      \
	{                                                                                          \
		.letter = letter_, .name = name_, .argument = argument_, .type = CLI_TYPE_NUMBER,  \
		.ret.number = ret_, .min = min_, .max = max_, .help = help_                        \
	}
#define CLI_OPTION_REAL(letter_, name_, argument_, ret_, min_, max_, help_)                        \
	{                                                                                          \
		.letter = letter_, .name = name_, .argument = argument_, .type = CLI_TYPE_REAL,    \
		.ret.real = ret_, .min = min_, .max = max_, .help = help_                          \
	}
#define CLI_OPTION_INSTANCE(ret_)                                                                  \
	CLI_OPTION_STRING(                                                                         \
		'n', "name", "NAME", ret_,                                                         \
		"instance, or the path of its socket ($TOOLRING_NAME, else \"default\")")

struct cli_spec {
	const struct command *command;
	const struct cli_option *options;
	size_t n_options;
	size_t n_arguments_min;
	size_t n_arguments_max;
	bool stop_at_argument; /* what follows the first argument is not ours to read */
};

/*
 * Reads the options and moves the arguments to the front of argv (from argv[0] on). Returns how many
 * there are. --help and mistakes end the program.
 */
size_t cli_parse(const struct cli_spec *spec, int argc, char **argv);

/* The command with that name, or NULL. */
const struct command *cli_find(const struct command *const *commands, size_t n, const char *name);
/* Says that there is no such command, and which there are. */
int cli_unknown_command(const char *parent, const struct command *const *commands, size_t n,
			const char *name);
void cli_print_commands(const struct command *const *commands, size_t n);

/* Prints "toolring: ..." and a pointer to the command's help. Returns CLI_USAGE. */
int cli_usage(const struct command *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Prints "toolring: ...". Returns CLI_INFRASTRUCTURE. */
int cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Opens a session, or says why not. 0 or CLI_INFRASTRUCTURE. */
int cli_open(struct tr_client **ret_client, const char *name);
/* Exit code for an answered call. */
int cli_exit_of(enum tr_verdict verdict);
/* Timeout in milliseconds of a call that may run timeout_s: the tool's own limit comes first. */
int cli_timeout_ms(double timeout_s);

static inline void cli_cleanup_client(struct tr_client **client)
{
	tr_close(*client);
}

static inline void cli_cleanup_result(struct tr_result *result)
{
	tr_result_deinit(result);
}

static inline void cli_cleanup_value(struct tr_value **value)
{
	tr_value_free(*value);
}

#define _cleanup_(f) __attribute__((cleanup(f)))

#endif
