/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this machine allows. Everything is found out by toolringd, as the user who asks (toolringd
 * --probe --json, which also takes TOOLRING_* variables and .env into account); here it is only shown.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "json.h"
#include "program.h"
#include "text.h"

#define CANNOT_RUN 127
#define LINE_WIDTH 100
#define REMEDY_AT  20

static void cleanup_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

/* ---- asking toolringd ----------------------------------------------------------------------------- */

static _Noreturn void become_toolringd(const char *program, int out)
{
	const char *const words[] = {"toolringd", "--probe", "--json", NULL};

	if (dup2(out, STDOUT_FILENO) >= 0)
		execvp(program, (char *const *)(uintptr_t)words);
	fprintf(stderr, "toolring: cannot run %s: %s\n", program, strerror(errno));
	_exit(CANNOT_RUN);
}

/* CLI_OK with what it said and how it ended, or a reason why there is nothing to show. */
static int ask(const char *program, json_t **ret_said, int *ret_status)
{
	_cleanup_(cleanup_file) FILE *in = NULL;
	json_error_t error;
	json_t *said;
	int fds[2], status;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return cli_error("no pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0)
		become_toolringd(program, fds[1]);
	close(fds[1]);
	in = fdopen(fds[0], "re");
	if (pid < 0 || !in)
		return cli_error("cannot start toolringd: %s", strerror(errno));
	said = json_loadf(in, JSON_DISABLE_EOF_CHECK, &error);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return cli_error("toolringd is lost: %s", strerror(errno));
	*ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	if (!json_is_object(said)) {
		json_decref(said);
		return *ret_status == CANNOT_RUN
			       ? CLI_INFRASTRUCTURE
			       : cli_error("%s --probe --json did not say what there is", program);
	}
	*ret_said = said;
	return CLI_OK;
}

/* ---- showing it ----------------------------------------------------------------------------------- */

/* Breaks text at spaces: lines of LINE_WIDTH, the further ones indented. */
static void print_wrapped(const char *text, int indent)
{
	int at = indent;

	while (*text) {
		int n = (int)strcspn(text, " ");

		if (at > indent && at + 1 + n > LINE_WIDTH) {
			printf("\n%*s", indent, "");
			at = indent;
		} else if (at > indent) {
			putchar(' ');
			at++;
		}
		printf("%.*s", n, text);
		at += n;
		text += n;
		text += strspn(text, " ");
	}
	putchar('\n');
}

static const char *string_of(json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "";
}

static bool print_row(const char *name, json_t *row)
{
	bool works = json_is_true(json_object_get(row, "works"));
	const char *remedy = string_of(row, "remedy");

	printf("  %-10s %-7s ", name, works ? "yes" : "MISSING");
	print_wrapped(string_of(row, "detail"), REMEDY_AT);
	if (*remedy) {
		/* Whole and on a line of its own, to be copied. */
		printf("%*s-> %s\n", REMEDY_AT, "", remedy);
	}
	return works;
}

/* more: what is to be said of a cap beside its number. */
static void print_bytes(const char *name, json_t *value, const char *more)
{
	if (json_is_integer(value))
		printf("  %-10s %s%s\n", name, text_bytes((double)json_integer_value(value)).s,
		       more);
	else
		printf("  %-10s no cap\n", name);
}

/* All that is missing; or of that what toolringd has to be told to do without. */
static void print_names(json_t *missing, const char *between, bool only_needed)
{
	size_t i, n = 0;
	json_t *value;

	json_array_foreach(missing, i, value)
	{
		const char *name = json_string_value(value);

		if (!name || (only_needed && strcmp(name, "cpu") == 0))
			continue;
		printf("%s%s", n++ ? between : "", name);
	}
}

static void print_slot(json_t *slot)
{
	json_t *missing = json_object_get(slot, "missing");

	if (json_object_get(slot, "error")) {
		printf("\nNo slot can be made\n  ");
		print_wrapped(string_of(slot, "error"), 2);
		return;
	}
	printf("\nOne slot would have\n");
	print_bytes("memory", json_object_get(slot, "memory"),
		    "; what its files take comes on top");
	print_bytes("disk", json_object_get(slot, "disk"), "");
	printf("  %-10s %lld at most\n", "processes",
	       (long long)json_integer_value(json_object_get(slot, "pids")));
	printf("  %-10s %s\n", "network",
	       strcmp(string_of(slot, "network"), "host") == 0 ? "the host's" : "none");
	printf("  %-10s %s%s\n", "shell", string_of(slot, "shell"),
	       json_is_true(json_object_get(slot, "zygote")) ? ", loaded and waiting (zygote)"
							     : ", started for each call");
	if (json_array_size(missing) == 0)
		return;
	printf("  %-10s ", "but not");
	print_names(missing, ", ", false);
	putchar('\n');
}

/* What to tell toolringd, if it is to start all the same. */
static void print_way_out(json_t *slot)
{
	if (json_object_get(slot, "error"))
		return;
	printf("To start without: toolringd --accept-missing=");
	print_names(json_object_get(slot, "missing"), ",", true);
	putchar('\n');
}

/* io_uring is no part of a slot; nothing goes without it. */
static void print(json_t *said, bool works)
{
	const char *name;
	size_t n_missing;
	bool has_ring;
	json_t *row;

	printf("This machine\n");
	has_ring = print_row("io_uring", json_object_get(said, "io_uring"));
	n_missing = !has_ring;
	json_object_foreach(json_object_get(said, "layers"), name, row) n_missing +=
		!print_row(name, row);
	print_slot(json_object_get(said, "slot"));
	if (works) {
		printf("\nAll that is needed is there.\n");
		return;
	}
	printf("\nMissing: %zu of this.\n", n_missing);
	if (has_ring)
		print_way_out(json_object_get(said, "slot"));
}

static int run(int argc, char **argv)
{
	const char *toolringd = NULL;
	bool json = false;
	const struct cli_option options[] = {
		CLI_OPTION_FLAG(0, "json", &json, "print one JSON object"),
		CLI_OPTION_STRING(0, "toolringd", "PATH", &toolringd,
				  "the toolringd to ask (else $TOOLRINGD, the one beside this)"),
	};
	const struct cli_spec spec = {
		.command = &command_doctor, .options = options, .n_options = N_ELEMENTS(options)};
	_cleanup_(json_cleanup) json_t *said = NULL;
	char program[PATH_MAX];
	int r, status = 0;

	cli_parse(&spec, argc, argv);
	program_find_daemon(toolringd, program, sizeof(program));
	r = ask(program, &said, &status);
	if (r != CLI_OK)
		return r;
	if (!json)
		print(said, status == 0);
	else if (json_dumpf(said, stdout, JSON_INDENT(2)) < 0 || putchar('\n') < 0)
		return cli_error("cannot print it");
	return status == 0 ? CLI_OK : CLI_FAILED;
}

const struct command command_doctor = {
	.name = "doctor",
	.synopsis = "[--json] [--toolringd PATH]",
	.summary = "what this machine allows, layer by layer, and what to do about the rest",
	.text = "Asks toolringd --probe, which tries everything for real as this user and leaves\n"
		"nothing behind. Exit code 0: all that is needed is there; 1: something is missing.\n",
	.run = run,
};
