/* SPDX-License-Identifier: Apache-2.0 */

/* The texts of --check-config and --help, both made from the tables. */

#include "executor/config_table.h"

#include <inttypes.h>
#include <string.h>

#define COLUMNS 92

/* Prints text indented, in lines that fit a terminal. */
static void print_wrapped(FILE *out, int indent, const char *text)
{
	int column = 0;

	while (*text) {
		int n = (int)strcspn(text, " ");

		if (column > 0 && column + 1 + n > COLUMNS) {
			fputc('\n', out);
			column = 0;
		}
		column += fprintf(out, "%*s%.*s", column > 0 ? 1 : indent, "", n, text);
		text += n;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

static void print_origin(const struct config *c, const struct config_origin *origin, FILE *out)
{
	switch (origin->source) {
	case CONFIG_FROM_DEFAULT:
		fputs("default", out);
		break;
	case CONFIG_FROM_ENV_FILE:
		fprintf(out, "%s line %u, %s", c->env_file_path, origin->line, origin->name);
		break;
	case CONFIG_FROM_ENVIRONMENT:
		fprintf(out, "environment, %s", origin->name);
		break;
	case CONFIG_FROM_FLAG:
		fprintf(out, "flag, %s", origin->name);
		break;
	}
}

static bool has_value(const struct option *o)
{
	return o->type != OPTION_ACTION && o->type != OPTION_LIMITS && o->type != OPTION_SWITCH;
}

void config_print(const struct config *c, FILE *out)
{
	char path[256];

	if (config_socket_path(c, path, sizeof(path)) == 0)
		fprintf(out, "control socket: %s\n", path);
	else
		fputs("control socket: its path is too long for a Unix socket; see --socket\n",
		      out);
	for (size_t i = 0; i < n_config_options; i++) {
		const struct option *o = &config_options[i];

		if (!has_value(o))
			continue;
		fprintf(out, "%s = ", o->flag);
		option_print(c, o, out);
		fputs("  (", out);
		print_origin(c, &c->option_origins[i], out);
		fputs(")\n", out);
		print_wrapped(out, 8, o->help);
	}
	for (unsigned int i = 0; i < N_LIMITS; i++) {
		const struct limit_row *row = &config_limits[i];

		fprintf(out, "limit %s = %" PRIu64 " %s  (", row->name,
			limit_value(c, (enum limit)i), row->unit);
		print_origin(c, &c->limit_origins[i], out);
		fprintf(out, "; from %" PRIu64 " to %" PRIu64 ")\n", row->min, row->max);
		print_wrapped(out, 8, row->reason);
	}
}

static void help_option(const struct option *o, FILE *out)
{
	char variable[80];

	fprintf(out, "  --%s%s%s\n", o->flag, o->metavar ? " " : "", o->metavar ? o->metavar : "");
	print_wrapped(out, 8, o->help);
	if (!has_value(o))
		return;
	fputs("        Default: ", out);
	if (o->type == OPTION_LIMIT)
		fprintf(out, "%" PRIu64, config_limits[o->min].value);
	else
		fputs(!o->value ? "as above" : *o->value ? o->value : "none", out);
	if (option_has_variable(o)) {
		config_variable("TOOLRING_", o->flag, variable, sizeof(variable));
		fprintf(out, ". Environment: %s", variable);
	}
	if (o->compat)
		fprintf(out, ", TOOL_EXECUTOR_%s", o->compat);
	fputc('\n', out);
}

void config_help(FILE *out)
{
	fputs("Usage: toolringd [OPTION]...\n\n"
	      "Runs the executor of toolring: clients put tool calls into rings in shared memory,\n"
	      "and it runs them in slots and answers. It stays in the foreground; SIGTERM lets\n"
	      "what runs end first, a second one stops at once.\n\n"
	      "Exit codes: 0 stopped as it was told; 1 it cannot run here, and says why; 2 wrong usage.\n\n"
	      "A flag counts before an environment variable, that before a line in ./.env, and\n"
	      "that before the default. A value stands after the flag, or after '='.\n\n"
	      "Options:\n",
	      out);
	for (size_t i = 0; i < n_config_options; i++)
		help_option(&config_options[i], out);
	fputs("\nLimits, with default and range; --check-config gives the reason for each. In the\n"
	      "environment NAME is TOOLRING_LIMIT_NAME, in capitals. Bytes may be said with K, M\n"
	      "or G.\n",
	      out);
	for (size_t i = 0; i < N_LIMITS; i++) {
		const struct limit_row *row = &config_limits[i];

		fprintf(out, "  %-30s %10" PRIu64 " %-12s  %" PRIu64 " to %" PRIu64 "\n", row->name,
			row->value, row->unit, row->min, row->max);
	}
}
