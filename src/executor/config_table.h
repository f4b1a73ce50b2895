/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXECUTOR_CONFIG_TABLE_H
#define EXECUTOR_CONFIG_TABLE_H

/*
 * The table of options, shared by the files of the configuration: config.c reads what was said,
 * config_value.c turns text into values and back, config_print.c shows them. --help, --check-config
 * and every error are made from these tables.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "executor/config.h"

enum option_type {
	OPTION_ACTION, /* min: enum config_action */
	OPTION_LIMITS, /* --limit NAME=VALUE */
	OPTION_LIMIT,  /* another name of one limit; min: enum limit */
	OPTION_SWITCH, /* bool; by flag alone it is true */
	OPTION_NAME,   /* of an instance */
	OPTION_STRING,
	OPTION_U32,
	OPTION_BYTES, /* uint64_t; also with K, M or G */
	OPTION_FD,
	OPTION_DURATION, /* nanoseconds; said in units of scale, with a fraction if so wished */
	OPTION_CHOICE,   /* an enum whose values run from 0 as choices do */
	OPTION_BITS,     /* a list of choices, of which the nth is bit n; "" is none to choose */
	OPTION_UIDS,
	OPTION_USER,
	OPTION_NAMES, /* of tools */
	OPTION_LIST,  /* struct config_list; flags add up, and separator stands between its items */
};

struct option {
	const char *flag;   /* without its dashes; TOOLRING_ and this in capitals is the variable */
	const char *compat; /* the variable TOOL_EXECUTOR_ and this; NULL: none */
	enum option_type type;
	size_t offset; /* in struct config */
	uint64_t min;  /* as stored */
	uint64_t max;
	uint64_t scale;
	const char *const *choices; /* NULL ends them */
	bool compat_is_switch;      /* there it is a yes or no, for the second or first choice */
	bool each_by_name;          /* bits: "all" is not taken */
	char separator;
	const char *metavar;
	const char *value; /* the default; NULL: the help says what holds */
	const char *help;
};

struct limit_row {
	const char *name;
	uint64_t value;
	uint64_t min;
	uint64_t max;
	const char *unit;
	const char *reason;
	size_t offset; /* in struct limits */
};

extern const struct option config_options[];
extern const size_t n_config_options;
extern const struct limit_row config_limits[N_LIMITS];

/* Whether it may stand in the environment and .env. */
bool option_has_variable(const struct option *o);
/* "TOOLRING_LIMIT_SESSIONS_MAX" of prefix "TOOLRING_LIMIT_" and name "sessions_max". */
void config_variable(const char *prefix, const char *name, char *ret_variable, size_t n);

/* Keeps in *ret_name the name closest to what was said, if it is closer than *best edits, and that in
 * *best. */
void config_suggest(const char *said, const char *name, size_t *best, const char **ret_name);

/*
 * Reads a value into its member of c; text NULL: the default. -EINVAL: not allowed, and ret_allowed
 * says what is; -ENOMEM.
 */
int option_parse(struct config *c, const struct option *o, const char *text, char *ret_allowed,
		 size_t n_allowed);
/* The same for what was said by the compatible name. */
int option_parse_compat(struct config *c, const struct option *o, const char *text,
			char *ret_allowed, size_t n_allowed);
int limit_parse(struct config *c, enum limit limit, const char *text, char *ret_allowed,
		size_t n_allowed);
uint64_t limit_value(const struct config *c, enum limit limit);
void limit_set(struct config *c, enum limit limit, uint64_t value);

/* Writes the value as one would say it. */
void option_print(const struct config *c, const struct option *o, FILE *out);

#endif
