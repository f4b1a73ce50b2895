/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static void print_option(const struct cli_option *o)
{
	char left[64];

	snprintf(left, sizeof(left), "%c%c%s --%s%s%s", o->letter ? '-' : ' ',
		 o->letter ? o->letter : ' ', o->letter ? "," : " ", o->name,
		 o->argument ? " " : "", o->argument ? o->argument : "");
	printf("  %-26s %s\n", left, o->help);
}

static void print_help(const struct cli_spec *spec)
{
	const struct command *c = spec->command;

	printf("usage: toolring %s%s%s\n\n%s\n\n", c->name, *c->synopsis ? " " : "", c->synopsis,
	       c->summary);
	for (size_t i = 0; i < spec->n_options; i++)
		print_option(&spec->options[i]);
	printf("  %-26s %s\n", "-h, --help", "this text");
	if (c->text)
		printf("\n%s", c->text);
}

int cli_usage(const struct command *command, const char *format, ...)
{
	va_list args;

	fputs("toolring: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nSee: toolring %s --help\n", command->name);
	return CLI_USAGE;
}

int cli_error(const char *format, ...)
{
	va_list args;

	fputs("toolring: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return CLI_INFRASTRUCTURE;
}

static _Noreturn void unknown_option(const struct cli_spec *spec, const char *option)
{
	fprintf(stderr, "toolring: unknown option %s; toolring %s takes", option,
		spec->command->name);
	for (size_t i = 0; i < spec->n_options; i++)
		fprintf(stderr, " --%s%s%s", spec->options[i].name,
			spec->options[i].argument ? " " : "",
			spec->options[i].argument ? spec->options[i].argument : "");
	fputs(" --help\n", stderr);
	exit(CLI_USAGE);
}

static _Noreturn void wrong_value(const struct cli_spec *spec, const struct cli_option *o,
				  const char *value)
{
	exit(cli_usage(spec->command, "--%s %s: a%s number from %.15g to %.15g is allowed", o->name,
		       value, o->type == CLI_TYPE_NUMBER ? " whole" : "", o->min, o->max));
}

static void store(const struct cli_spec *spec, const struct cli_option *o, const char *value)
{
	char *end;
	double real;

	if (o->type == CLI_TYPE_STRING) {
		*o->ret.string = value;
		return;
	}
	errno = 0;
	real = strtod(value, &end);
	/* The negation also catches what is not a number. */
	if (errno || end == value || *end || !(real >= o->min && real <= o->max))
		wrong_value(spec, o, value);
	if (o->type == CLI_TYPE_REAL) {
		*o->ret.real = real;
		return;
	}
	if (real != floor(real))
		wrong_value(spec, o, value);
	*o->ret.number = (uint64_t)real;
}

static const struct cli_option *find_long(const struct cli_spec *spec, const char *name, size_t n)
{
	for (size_t i = 0; i < spec->n_options; i++)
		if (strlen(spec->options[i].name) == n &&
		    strncmp(spec->options[i].name, name, n) == 0)
			return &spec->options[i];
	return NULL;
}

static const struct cli_option *find_letter(const struct cli_spec *spec, char letter)
{
	for (size_t i = 0; i < spec->n_options; i++)
		if (spec->options[i].letter == letter)
			return &spec->options[i];
	return NULL;
}

/* Reads the option at argv[i]; returns how many words it took. */
static int parse_option(const struct cli_spec *spec, int argc, char **argv, int i)
{
	const char *word = argv[i];
	const struct cli_option *o;
	const char *value = NULL;

	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
		print_help(spec);
		exit(CLI_OK);
	}
	if (word[1] == '-') {
		size_t n = strcspn(word + 2, "=");

		o = find_long(spec, word + 2, n);
		value = word[2 + n] ? word + 2 + n + 1 : NULL;
	} else {
		o = find_letter(spec, word[1]);
		value = word[2] ? word + 2 : NULL;
	}
	if (!o)
		unknown_option(spec, word);
	if (o->type == CLI_TYPE_FLAG) {
		if (value)
			exit(cli_usage(spec->command, "--%s takes no value", o->name));
		*o->ret.flag = true;
		return 1;
	}
	if (value) {
		store(spec, o, value);
		return 1;
	}
	if (i + 1 == argc)
		exit(cli_usage(spec->command, "--%s needs a value: %s", o->name, o->argument));
	store(spec, o, argv[i + 1]);
	return 2;
}

size_t cli_parse(const struct cli_spec *spec, int argc, char **argv)
{
	size_t n = 0;

	for (int i = 1; i < argc;) {
		if (strcmp(argv[i], "--") == 0) {
			for (i++; i < argc; i++)
				argv[n++] = argv[i];
		} else if (argv[i][0] == '-' && argv[i][1]) {
			i += parse_option(spec, argc, argv, i);
		} else {
			argv[n++] = argv[i++];
			while (spec->stop_at_argument && i < argc)
				argv[n++] = argv[i++];
		}
	}
	if (n < spec->n_arguments_min)
		exit(cli_usage(spec->command, "%s: too few arguments; it takes %s",
			       spec->command->name, spec->command->synopsis));
	if (n > spec->n_arguments_max)
		exit(cli_usage(spec->command, "%s: unexpected argument: %s", spec->command->name,
			       argv[spec->n_arguments_max]));
	return n;
}

const struct command *cli_find(const struct command *const *commands, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		const char *space = strrchr(commands[i]->name, ' ');

		if (strcmp(space ? space + 1 : commands[i]->name, name) == 0)
			return commands[i];
	}
	return NULL;
}

int cli_unknown_command(const char *parent, const struct command *const *commands, size_t n,
			const char *name)
{
	fprintf(stderr, "toolring: unknown command %s; %s has", name, parent);
	for (size_t i = 0; i < n; i++) {
		const char *space = strrchr(commands[i]->name, ' ');

		fprintf(stderr, " %s", space ? space + 1 : commands[i]->name);
	}
	fputc('\n', stderr);
	return CLI_USAGE;
}

void cli_print_commands(const struct command *const *commands, size_t n)
{
	size_t width = 12;

	for (size_t i = 0; i < n; i++)
		if (strlen(commands[i]->name) >= width)
			width = strlen(commands[i]->name) + 1;
	for (size_t i = 0; i < n; i++)
		printf("  %-*s %s\n", (int)width, commands[i]->name, commands[i]->summary);
}

int cli_open(struct tr_client **ret_client, const char *name)
{
	char message[256] = "";
	struct tr_options options = {
		.size = sizeof(options),
		.name = name,
		.label = "toolring",
		.message = message,
		.n_message = sizeof(message),
	};
	int r = tr_open_with(ret_client, &options);

	if (r < 0)
		return cli_error("no session with toolringd: %s (%s)",
				 message[0] ? message : "cannot open", strerror(-r));
	return 0;
}

int cli_exit_of(enum tr_verdict verdict)
{
	switch (verdict) {
	case TR_OK:
		return CLI_OK;
	case TR_UNAVAILABLE:
	case TR_CANCELLED:
	case TR_NOT_STARTED:
	case TR_UNKNOWN:
		return CLI_INFRASTRUCTURE;
	default:
		return CLI_FAILED;
	}
}

int cli_timeout_ms(double timeout_s)
{
	/*
	 * Beyond the run itself: the usual wait for a slot (30 s), and some for the way. Without a
	 * timeout of its own a call runs as long as its arguments or the operator say, 600 s at most.
	 */
	double ms = (timeout_s > 0 ? timeout_s : 600) * 1000 + 45000;

	return ms < 2e9 ? (int)ms : -1;
}
