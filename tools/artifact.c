/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of a slot, out and in: the kinds ARTIFACT_*. Content travels as bytes, and goes to a file only
 * once all of it is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "answer.h"
#include "cli.h"

#define INPUT_MAX     (UINT64_C(1) << 30) /* toolringd takes far less */
#define MEMBERS_MAX   8
#define BYTES_MAX_MAX 1e12

struct ask {
	const struct command *command;
	const char *name;
	const char *trajectory;
	const char *path;
	const char *out;      /* NULL: stdout */
	const char *format;   /* NULL: the default */
	const char *when_cut; /* what is said of an answer that is not all there is */
	uint64_t n_bytes_max;
	uint64_t n_entries_max;
	double timeout_s;
	bool recursive;
	bool anywhere;
	bool json;
	struct tr_member members[MEMBERS_MAX];
	size_t n_members;
};

static void add(struct ask *a, const char *key, struct tr_value value)
{
	a->members[a->n_members++] = (struct tr_member){.key = key, .value = value};
}

/* What was asked for on the command line; the rest is toolringd's to settle. */
static struct tr_value options_of(struct ask *a)
{
	if (a->n_bytes_max)
		add(a, "max_bytes", tr_int((int64_t)a->n_bytes_max));
	if (a->n_entries_max)
		add(a, "max_entries", tr_int((int64_t)a->n_entries_max));
	if (a->format)
		add(a, "format", tr_string(a->format));
	if (a->timeout_s > 0)
		add(a, "timeout_s", tr_float(a->timeout_s));
	if (a->recursive)
		add(a, "recursive", tr_bool(true));
	if (a->anywhere)
		add(a, "anywhere", tr_bool(true));
	return tr_map(a->members, a->n_members);
}

#define OPTION_TRAJECTORY(a)                                                                       \
	CLI_OPTION_STRING('t', "trajectory", "ID", &(a).trajectory, "whose slot; must be given")
#define OPTION_OUT(a)                                                                              \
	CLI_OPTION_STRING('o', "output", "FILE", &(a).out, "write it there, not to stdout")
#define OPTION_BYTES_MAX(a, help)                                                                  \
	CLI_OPTION_NUMBER(0, "max-bytes", "N", &(a).n_bytes_max, 1, BYTES_MAX_MAX, help)
#define OPTION_ENTRIES_MAX(a, help)                                                                \
	CLI_OPTION_NUMBER(0, "max-entries", "N", &(a).n_entries_max, 1, 1e9, help)
#define OPTION_ANYWHERE(a)                                                                         \
	CLI_OPTION_FLAG(0, "anywhere", &(a).anywhere,                                              \
			"any path the slot's commands see, with their rights")
#define OPTION_TIMEOUT(a)                                                                          \
	CLI_OPTION_REAL(0, "timeout", "S", &(a).timeout_s, 0.001, 1e6,                             \
			"how long it may take; else the executor's default, 30 s unless set")
#define OPTION_JSON(a) CLI_OPTION_FLAG(0, "json", &(a).json, "print the result as one line of JSON")

/* Reads the command line; its words are moved to the front of argv. Returns how many. */
static size_t parse(struct ask *a, const struct cli_option *options, size_t n_options, size_t n_min,
		    size_t n_max, int argc, char **argv)
{
	const struct cli_spec spec = {.command = a->command,
				      .options = options,
				      .n_options = n_options,
				      .n_arguments_min = n_min,
				      .n_arguments_max = n_max};
	size_t n = cli_parse(&spec, argc, argv);

	if (!a->trajectory)
		exit(cli_usage(a->command, "%s: --trajectory is missing: it says whose slot",
			       a->command->name));
	a->path = n ? argv[0] : ".";
	return n;
}

/* ---- answers -------------------------------------------------------------------------------------- */

/* Says what went wrong, if something did. The exit code. */
static int judge(const struct tr_result *result)
{
	const char *verdict = tr_verdict_name(result->verdict);

	if (result->verdict != TR_OK)
		fprintf(stderr, "toolring: %s: %.*s\n", verdict ? verdict : "?",
			(int)result->error.n, result->error.n ? result->error.data : "");
	return cli_exit_of(result->verdict);
}

static bool is_true(const struct tr_value *v)
{
	return v && v->type == TR_BOOL && v->u.boolean;
}

static int64_t integer_of(const struct tr_value *v)
{
	return v && v->type == TR_INT ? v->u.integer : 0;
}

static int no_answer(int r)
{
	return cli_error(r == -E2BIG ? "larger than toolringd takes (its limit call_bytes_max): %s"
				     : "no answer: %s",
			 strerror(-r));
}

static int print_json(const struct tr_result *result)
{
	int r = answer_print(result, ANSWER_LINE);

	return r < 0 ? cli_error("cannot print: %s", strerror(-r)) : cli_exit_of(result->verdict);
}

/* 0 or -errno. */
static int write_all(int fd, const char *data, size_t n)
{
	while (n) {
		ssize_t done = write(fd, data, n);

		if (done < 0 && errno != EINTR)
			return -errno;
		if (done > 0) {
			data += done;
			n -= (size_t)done;
		}
	}
	return 0;
}

static int put_out(const struct ask *a, const char *data, size_t n)
{
	int fd = a->out ? open(a->out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)
			: STDOUT_FILENO;
	int r = fd < 0 ? -errno : write_all(fd, data, n);

	if (a->out && fd >= 0 && close(fd) < 0 && r == 0)
		r = -errno;
	if (r < 0)
		return cli_error("cannot write to %s: %s", a->out ? a->out : "standard output",
				 strerror(-r));
	return CLI_OK;
}

/* The content of a read or an archive, to where it is wanted. */
static int deliver(const struct ask *a, const struct tr_result *result)
{
	_cleanup_(cli_cleanup_value) struct tr_value *whole = NULL;
	const struct tr_value *content;
	int r = judge(result);

	if (r != CLI_OK)
		return r;
	tr_value_parse(result->raw.data, result->raw.n, &whole);
	content = tr_value_get(whole, "content");
	if (!content || (content->type != TR_BINARY && content->type != TR_STRING))
		return cli_error("the answer has no content");
	r = put_out(
		a, content->type == TR_BINARY ? (const char *)content->u.binary : content->u.string,
		content->n);
	if (r == CLI_OK && is_true(tr_value_get(whole, "truncated"))) {
		fprintf(stderr, "toolring: truncated: %s\n", a->when_cut);
		r = CLI_FAILED;
	}
	return r;
}

/* Names are the guest's: none is to move the cursor of whoever reads them. */
static void print_name(const char *name, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c < ' ' || c == 0x7f)
			printf("\\x%02x", c);
		else if (c == 0xc2 && i + 1 < n && (unsigned char)name[i + 1] < 0xa0)
			printf("\\x%02x", (unsigned char)name[++i]);
		else if (c == '\\')
			fputs("\\\\", stdout);
		else
			putchar(c);
	}
}

static void print_entries(const struct tr_value *entries)
{
	for (size_t i = 0; i < entries->n; i++) {
		const struct tr_value *entry = &entries->u.items[i];
		const struct tr_value *path = tr_value_get(entry, "path");
		bool is_dir = is_true(tr_value_get(entry, "is_dir"));

		if (is_dir)
			printf("%12s  ", "-");
		else
			printf("%12lld  ", (long long)integer_of(tr_value_get(entry, "size")));
		if (path && path->type == TR_STRING)
			print_name(path->u.string, path->n);
		puts(is_dir ? "/" : "");
	}
}

static int print_list(const struct tr_result *result)
{
	_cleanup_(cli_cleanup_value) struct tr_value *whole = NULL;
	const struct tr_value *entries;
	int r = judge(result);

	if (r != CLI_OK)
		return r;
	tr_value_parse(result->raw.data, result->raw.n, &whole);
	entries = tr_value_get(whole, "entries");
	if (!entries || entries->type != TR_ARRAY)
		return cli_error("the answer has no entries");
	print_entries(entries);
	if (fflush(stdout) != 0)
		return cli_error("cannot print: %s", strerror(errno));
	if (is_true(tr_value_get(whole, "truncated"))) {
		fprintf(stderr, "toolring: truncated: there are more entries; see --max-entries\n");
		return CLI_FAILED;
	}
	return CLI_OK;
}

/* ---- out ------------------------------------------------------------------------------------------ */

static int run_read(int argc, char **argv)
{
	struct ask a = {.command = &command_artifact_read,
			.when_cut = "the file has more bytes; see --max-bytes"};
	const struct cli_option options[] = {
		OPTION_TRAJECTORY(a),
		OPTION_OUT(a),
		OPTION_BYTES_MAX(a, "most of it; what is cut off is said, with exit code 1"),
		OPTION_ANYWHERE(a),
		OPTION_TIMEOUT(a),
		CLI_OPTION_INSTANCE(&a.name),
	};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(cli_cleanup_result) struct tr_result result = {0};
	struct tr_value more;
	int r;

	parse(&a, options, N_ELEMENTS(options), 1, 1, argc, argv);
	add(&a, "encoding", tr_string("bytes"));
	more = options_of(&a);
	r = cli_open(&client, a.name);
	if (r != 0)
		return r;
	r = tr_artifact_read(client, a.trajectory, a.path, &more, &result,
			     cli_timeout_ms(a.timeout_s));
	return r < 0 ? no_answer(r) : deliver(&a, &result);
}

static int run_list(int argc, char **argv)
{
	struct ask a = {.command = &command_artifact_list};
	const struct cli_option options[] = {
		OPTION_TRAJECTORY(a),
		CLI_OPTION_FLAG('r', "recursive", &a.recursive, "with all that is below"),
		OPTION_ENTRIES_MAX(a,
				   "most of them; that there are more is said, with exit code 1"),
		OPTION_ANYWHERE(a),
		OPTION_TIMEOUT(a),
		OPTION_JSON(a),
		CLI_OPTION_INSTANCE(&a.name),
	};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(cli_cleanup_result) struct tr_result result = {0};
	struct tr_value more;
	int r;

	parse(&a, options, N_ELEMENTS(options), 0, 1, argc, argv);
	more = options_of(&a);
	r = cli_open(&client, a.name);
	if (r != 0)
		return r;
	r = tr_artifact_list(client, a.trajectory, a.path, &more, &result,
			     cli_timeout_ms(a.timeout_s));
	if (r < 0)
		return no_answer(r);
	return a.json ? print_json(&result) : print_list(&result);
}

static int run_archive(int argc, char **argv)
{
	struct ask a = {.command = &command_artifact_archive,
			.when_cut = "there are more files; see --max-entries"};
	const struct cli_option options[] = {
		OPTION_TRAJECTORY(a),
		OPTION_OUT(a),
		CLI_OPTION_STRING('f', "format", "FORMAT", &a.format,
				  "tar.gz (the default), tgz, tar.zst or tar"),
		OPTION_BYTES_MAX(a, "a larger archive is refused"),
		OPTION_ENTRIES_MAX(a, "files in it; what is left out is said, with exit code 1"),
		OPTION_ANYWHERE(a),
		OPTION_TIMEOUT(a),
		CLI_OPTION_INSTANCE(&a.name),
	};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(cli_cleanup_result) struct tr_result result = {0};
	struct tr_value more;
	int r;

	parse(&a, options, N_ELEMENTS(options), 0, 1, argc, argv);
	if (!a.out && isatty(STDOUT_FILENO))
		return cli_usage(a.command, "an archive is not for a terminal; see --output");
	add(&a, "encoding", tr_string("bytes"));
	more = options_of(&a);
	r = cli_open(&client, a.name);
	if (r != 0)
		return r;
	r = tr_artifact_archive(client, a.trajectory, a.path, &more, &result,
				cli_timeout_ms(a.timeout_s));
	return r < 0 ? no_answer(r) : deliver(&a, &result);
}

/* ---- in ------------------------------------------------------------------------------------------- */

struct content {
	char *data;
	size_t n;
};

static void cleanup_content(struct content *c)
{
	free(c->data);
}

/* All that a descriptor gives. -errno. */
static int read_all(int fd, struct content *c)
{
	size_t size = 0;

	for (;;) {
		ssize_t n;

		if (c->n == size) {
			char *data;

			if (size >= INPUT_MAX)
				return -EFBIG;
			size = size ? 2 * size : 65536;
			data = realloc(c->data, size);
			if (!data)
				return -ENOMEM;
			c->data = data;
		}
		n = read(fd, c->data + c->n, size - c->n);
		if (n == 0)
			return 0;
		if (n > 0)
			c->n += (size_t)n;
		else if (errno != EINTR)
			return -errno;
	}
}

/* From a file, or stdin if file is NULL or "-". 0 or an exit code. */
static int take_in(const char *file, struct content *c)
{
	bool is_stdin = !file || strcmp(file, "-") == 0;
	int fd = is_stdin ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : read_all(fd, c);

	if (!is_stdin && fd >= 0)
		close(fd);
	return r < 0 ? cli_error("cannot read %s: %s", is_stdin ? "standard input" : file,
				 strerror(-r))
		     : 0;
}

static int run_write(int argc, char **argv)
{
	struct ask a = {.command = &command_artifact_write};
	const struct cli_option options[] = {
		OPTION_TRAJECTORY(a), OPTION_ANYWHERE(a),           OPTION_TIMEOUT(a),
		OPTION_JSON(a),       CLI_OPTION_INSTANCE(&a.name),
	};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(cli_cleanup_result) struct tr_result result = {0};
	_cleanup_(cleanup_content) struct content content = {0};
	size_t n = parse(&a, options, N_ELEMENTS(options), 1, 2, argc, argv);
	struct tr_value more = options_of(&a);
	int r = take_in(n > 1 ? argv[1] : NULL, &content);

	if (r == 0)
		r = cli_open(&client, a.name);
	if (r != 0)
		return r;
	r = tr_artifact_write(client, a.trajectory, a.path, content.data, content.n, &more, &result,
			      cli_timeout_ms(a.timeout_s));
	if (r < 0)
		return no_answer(r);
	return a.json ? print_json(&result) : judge(&result);
}

static int run_unpack(int argc, char **argv)
{
	struct ask a = {.command = &command_artifact_unpack};
	const struct cli_option options[] = {
		OPTION_TRAJECTORY(a),
		CLI_OPTION_STRING('f', "format", "FORMAT", &a.format,
				  "tar.gz, tgz, tar.zst or tar; found out unless given"),
		OPTION_BYTES_MAX(a, "of all files together"),
		OPTION_ENTRIES_MAX(a, "an archive of more is refused"),
		OPTION_ANYWHERE(a),
		OPTION_TIMEOUT(a),
		OPTION_JSON(a),
		CLI_OPTION_INSTANCE(&a.name),
	};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(cli_cleanup_result) struct tr_result result = {0};
	_cleanup_(cleanup_content) struct content archive = {0};
	size_t n = parse(&a, options, N_ELEMENTS(options), 1, 2, argc, argv);
	struct tr_value more = options_of(&a);
	int r = take_in(n > 1 ? argv[1] : NULL, &archive);

	if (r == 0)
		r = cli_open(&client, a.name);
	if (r != 0)
		return r;
	r = tr_artifact_unpack(client, a.trajectory, a.path, archive.data, archive.n, &more,
			       &result, cli_timeout_ms(a.timeout_s));
	if (r < 0)
		return no_answer(r);
	return a.json ? print_json(&result) : judge(&result);
}

/* ---- the commands --------------------------------------------------------------------------------- */

static const struct command *const artifact_commands[] = {
	&command_artifact_read,  &command_artifact_list,   &command_artifact_archive,
	&command_artifact_write, &command_artifact_unpack,
};

static int run(int argc, char **argv)
{
	const struct command *command;

	if (argc < 2)
		return cli_usage(&command_artifact, "artifact: what? There are: read, list, "
						    "archive, write, unpack");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		printf("usage: toolring artifact %s\n\n%s\n\n", command_artifact.synopsis,
		       command_artifact.summary);
		cli_print_commands(artifact_commands, N_ELEMENTS(artifact_commands));
		printf("\n%s", command_artifact.text);
		return CLI_OK;
	}
	command = cli_find(artifact_commands, N_ELEMENTS(artifact_commands), argv[1]);
	if (!command)
		return cli_unknown_command("toolring artifact", artifact_commands,
					   N_ELEMENTS(artifact_commands), argv[1]);
	return command->run(argc - 1, argv + 1);
}

const struct command command_artifact = {
	.name = "artifact",
	.synopsis = "read|list|archive|write|unpack --trajectory ID [OPTIONS] PATH",
	.summary = "files of a slot, out and in",
	.text = "PATH is one of the workspace, absolute (\"/workspace/a\") or from there (\"a\"). The slot\n"
		"is given back when the last session that used the trajectory ends.\n",
	.run = run,
};

const struct command command_artifact_read = {
	.name = "artifact read",
	.synopsis = "--trajectory ID [-o FILE] [--max-bytes N] [--anywhere] PATH",
	.summary = "print a file of a slot",
	.run = run_read,
};

const struct command command_artifact_list = {
	.name = "artifact list",
	.synopsis = "--trajectory ID [--recursive] [--max-entries N] [--anywhere] [--json] [PATH]",
	.summary = "list a folder of a slot, with sizes in bytes",
	.text = "Control characters and backslashes in names are printed as \\x1b and \\\\; --json has\n"
		"names as they are.\n",
	.run = run_list,
};

const struct command command_artifact_archive = {
	.name = "artifact archive",
	.synopsis = "--trajectory ID [-o FILE] [--format FORMAT] [--max-bytes N]\n"
		    "                                 [--max-entries N] [--anywhere] [PATH]",
	.summary = "pack a file or folder of a slot into an archive",
	.run = run_archive,
};

const struct command command_artifact_write = {
	.name = "artifact write",
	.synopsis = "--trajectory ID [--anywhere] [--json] PATH [FILE]",
	.summary = "write FILE, or stdin, to a file of a slot",
	.run = run_write,
};

const struct command command_artifact_unpack = {
	.name = "artifact unpack",
	.synopsis = "--trajectory ID [--format FORMAT] [--max-bytes N] [--max-entries N]\n"
		    "                                [--anywhere] [--json] PATH [FILE]",
	.summary = "unpack FILE, or stdin, into a folder of a slot",
	.text = "Absolute names, \"..\", links out, devices and setuid members are refused by name.\n",
	.run = run_unpack,
};
