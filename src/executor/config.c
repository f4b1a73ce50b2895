/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading the configuration goes in two steps. First everything that was said is gathered, as text,
 * and for each option and limit the strongest source wins: a flag over the environment over .env.
 * Then each is read into its value, which is where errors come up; what a stronger source hides is
 * not looked at.
 */

#include "executor/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "executor/config_table.h"
#include "executor/env_file.h"

#define LIMIT_PREFIX  "TOOLRING_LIMIT_"
#define PREFIX        "TOOLRING_"
#define COMPAT_PREFIX "TOOL_EXECUTOR_"

/* What was said about one option or limit; text NULL: nothing. */
struct said {
	const char *text;
	unsigned int rank;
	bool by_compat;
	struct config_origin origin;
};

struct parse {
	struct config *c;
	char *const *envp;
	struct env_file env_file;
	struct said options[CONFIG_N_OPTIONS_MAX];
	struct said limits[N_LIMITS];
	char *lists[CONFIG_N_OPTIONS_MAX]; /* texts of several flags in one */
	enum config_action action;
	char *error;
	size_t n_error;
};

__attribute__((format(printf, 2, 3))) static int fail(struct parse *p, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(p->error, p->n_error, format, args);
	va_end(args);
	return -EINVAL;
}

static int fail_memory(struct parse *p)
{
	fail(p, "out of memory");
	return -ENOMEM;
}

static char harmless(char c)
{
	return (c >= '\0' && c < ' ') || c == 0x7f ? '?' : c;
}

/* What stands in an error is cut and made harmless: it came from anywhere. */
static void quote(const char *text, char *ret_quoted, size_t n)
{
	size_t i, length = strnlen(text, n - 6);

	ret_quoted[0] = '"';
	for (i = 0; i < length; i++)
		ret_quoted[i + 1] = harmless(text[i]);
	snprintf(ret_quoted + i + 1, n - i - 1, "%s", text[i] ? "...\"" : "\"");
}

/* Says where something was said, e.g. "environment variable TOOLRING_NAME". */
static void describe(struct parse *p, const struct config_origin *origin, char *ret_where, size_t n)
{
	switch (origin->source) {
	case CONFIG_FROM_DEFAULT:
	case CONFIG_FROM_FLAG:
		snprintf(ret_where, n, "%s", origin->name);
		break;
	case CONFIG_FROM_ENVIRONMENT:
		snprintf(ret_where, n, "environment variable %s", origin->name);
		break;
	case CONFIG_FROM_ENV_FILE:
		snprintf(ret_where, n, "%.96s line %u, %s", p->c->env_file_path, origin->line,
			 origin->name);
		break;
	}
}

static int fail_value(struct parse *p, const struct said *said, const char *name,
		      const char *allowed)
{
	char quoted[96], where[192];

	if (!said->text)
		return fail(p,
			    "--%s has to be given: its default is not possible here; allowed: %s",
			    name, allowed);
	describe(p, &said->origin, where, sizeof(where));
	quote(said->text, quoted, sizeof(quoted));
	return fail(p, "%s: %s is not allowed; allowed: %s", where, quoted, allowed);
}

static int fail_flag(struct parse *p, const char *argument)
{
	char name[65], quoted[96];
	const char *close = NULL;
	size_t best = 4;

	quote(argument, quoted, sizeof(quoted));
	if (strncmp(argument, "--", 2))
		return fail(p, "%s: toolringd takes options alone; see --help", quoted);
	snprintf(name, sizeof(name), "%s", argument + 2);
	name[strcspn(name, "=")] = '\0';
	for (size_t i = 0; i < n_config_options; i++)
		config_suggest(name, config_options[i].flag, &best, &close);
	if (close)
		return fail(p, "%s: there is no such option; did you mean --%s?", quoted, close);
	return fail(p, "%s: there is no such option; see --help", quoted);
}

static int find_limit(struct parse *p, const char *name, const struct config_origin *origin,
		      enum limit *ret_limit)
{
	const char *close = NULL;
	char where[192];
	size_t best = 6;

	for (unsigned int i = 0; i < N_LIMITS; i++) {
		if (!strcmp(config_limits[i].name, name)) {
			*ret_limit = (enum limit)i;
			return 0;
		}
		config_suggest(name, config_limits[i].name, &best, &close);
	}
	describe(p, origin, where, sizeof(where));
	if (close)
		return fail(p, "%s: there is no such limit; did you mean %s?", where, close);
	return fail(p, "%s: there is no such limit; see --help", where);
}

/* Where what is said about an option belongs: one that names a limit shares the limit's place. */
static struct said *said_of(struct parse *p, size_t option)
{
	const struct option *o = &config_options[option];

	return o->type == OPTION_LIMIT ? &p->limits[o->min] : &p->options[option];
}

/* Of what the same source says twice, this decides; of two flags the later one. */
enum precedence {
	BY_COMPAT_NAME,
	BY_LIMIT_NAME,
	BY_OPTION_NAME,
	N_PRECEDENCES,
};

static void say(struct said *said, const char *text, const struct config_origin *origin,
		enum precedence precedence)
{
	bool flag = origin->source == CONFIG_FROM_FLAG;
	unsigned int rank = (unsigned int)origin->source * N_PRECEDENCES + precedence;

	if (flag)
		rank = CONFIG_FROM_FLAG * N_PRECEDENCES;
	if (said->text && (said->rank > rank || (said->rank == rank && !flag)))
		return;
	said->text = text;
	said->rank = rank;
	said->by_compat = !flag && precedence == BY_COMPAT_NAME;
	said->origin = *origin;
}

static void origin_init(struct config_origin *origin, enum config_source source, unsigned int line,
			const char *name)
{
	*origin = (struct config_origin){.source = source, .line = line};
	for (size_t i = 0; name[i] && i < sizeof(origin->name) - 1; i++)
		origin->name[i] = harmless(name[i]);
}

/* NAME=VALUE */
static int say_limit_flag(struct parse *p, const char *text)
{
	const char *equals = strchr(text, '=');
	struct config_origin origin;
	char name[65], flag[80];
	enum limit limit;
	int r;

	if (!equals)
		return fail(p, "--limit: needs NAME=VALUE");
	snprintf(name, sizeof(name), "%.*s", (int)(equals - text < 64 ? equals - text : 64), text);
	snprintf(flag, sizeof(flag), "--limit %s", name);
	origin_init(&origin, CONFIG_FROM_FLAG, 0, flag);
	r = find_limit(p, name, &origin, &limit);
	if (r < 0)
		return r;
	say(&p->limits[limit], equals + 1, &origin, BY_LIMIT_NAME);
	return 0;
}

static int say_limit_variable(struct parse *p, const char *variable, const char *text,
			      const struct config_origin *origin)
{
	enum limit limit;
	char name[65];
	int r;

	snprintf(name, sizeof(name), "%s", variable + strlen(LIMIT_PREFIX));
	for (char *c = name; *c; c++)
		*c = *c >= 'A' && *c <= 'Z'   ? (char)(*c - 'A' + 'a')
		     : *c >= 'a' && *c <= 'z' ? '?'
					      : *c;
	r = find_limit(p, name, origin, &limit);
	if (r < 0)
		return r;
	say(&p->limits[limit], text, origin, BY_LIMIT_NAME);
	return 0;
}

/* In the environment TOOLRING_* may also be meant for clients; in our .env it is meant for us. */
static void note_unread(struct config *c, const char *variable, enum config_source source)
{
	size_t n = strlen(c->unread);

	if (strncmp(variable, COMPAT_PREFIX, strlen(COMPAT_PREFIX)) &&
	    (source != CONFIG_FROM_ENV_FILE || strncmp(variable, PREFIX, strlen(PREFIX))))
		return;
	snprintf(c->unread + n, sizeof(c->unread) - n, "%s%s", n ? ", " : "", variable);
}

/* A variable of ours or of the replaced system; any other is not our business. */
static int say_variable(struct parse *p, const char *variable, const char *text,
			enum config_source source, unsigned int line)
{
	struct config_origin origin;
	bool known = false;
	char name[80];

	origin_init(&origin, source, line, variable);
	if (!strncmp(variable, LIMIT_PREFIX, strlen(LIMIT_PREFIX)))
		return say_limit_variable(p, variable, text, &origin);
	for (size_t i = 0; i < n_config_options; i++) {
		const struct option *o = &config_options[i];

		if (!option_has_variable(o))
			continue;
		config_variable(PREFIX, o->flag, name, sizeof(name));
		if (!strcmp(variable, name)) {
			say(said_of(p, i), text, &origin, BY_OPTION_NAME);
			known = true;
		}
		if (!o->compat)
			continue;
		config_variable(COMPAT_PREFIX, o->compat, name, sizeof(name));
		if (!strcmp(variable, name)) {
			say(said_of(p, i), text, &origin, BY_COMPAT_NAME);
			known = true;
		}
	}
	if (!known)
		note_unread(p->c, variable, source);
	return 0;
}

/* As getenv() has it, the first of two equal names counts. */
static int gather_environment(struct parse *p)
{
	for (char *const *e = p->envp; e && *e; e++) {
		const char *equals = strchr(*e, '=');
		char name[128]; /* longer than any of ours */
		int r;

		if (!equals)
			continue;
		snprintf(name, sizeof(name), "%.*s",
			 (int)(equals - *e < (int)sizeof(name) ? equals - *e : (int)sizeof(name)),
			 *e);
		r = say_variable(p, name, equals + 1, CONFIG_FROM_ENVIRONMENT, 0);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Of two equal names the last counts. */
static int gather_env_file(struct parse *p)
{
	for (size_t i = p->env_file.n_entries; i > 0; i--) {
		const struct env_entry *e = &p->env_file.entries[i - 1];
		int r = say_variable(p, e->key, e->value, CONFIG_FROM_ENV_FILE, e->line);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Finds the option of an argument "--flag" or "--flag=value". */
static bool find_option(const char *argument, size_t *ret_option)
{
	size_t n;

	if (!strcmp(argument, "-h"))
		argument = "--help";
	if (strncmp(argument, "--", 2))
		return false;
	argument += 2;
	n = strcspn(argument, "=");
	for (size_t i = 0; i < n_config_options; i++) {
		const char *flag = config_options[i].flag;

		if (strlen(flag) == n && !memcmp(flag, argument, n)) {
			*ret_option = i;
			return true;
		}
	}
	return false;
}

/* Flags of a list add up. */
static int say_list_flag(struct parse *p, size_t index, const char *text,
			 const struct config_origin *origin)
{
	struct said *said = said_of(p, index);
	char *joined = NULL;

	if (said->text &&
	    asprintf(&joined, "%s%c%s", said->text, config_options[index].separator, text) < 0)
		return fail_memory(p);
	if (joined) {
		free(p->lists[index]);
		p->lists[index] = joined;
	}
	say(said, joined ? joined : text, origin, BY_OPTION_NAME);
	return 0;
}

/* Takes one flag, and the argument after it if that is its value. */
static int gather_flag(struct parse *p, char **argv, int argc, int *i)
{
	const char *argument = argv[*i], *value = strchr(argument, '=');
	struct config_origin origin;
	const struct option *o;
	char flag[56];
	size_t index;

	if (!find_option(argument, &index))
		return fail_flag(p, argument);
	o = &config_options[index];
	if (value)
		value++;
	if (o->type == OPTION_ACTION) {
		if (value)
			return fail(p, "--%s: takes no value", o->flag);
		p->action = (enum config_action)o->min;
		return 0;
	}
	if (!value && o->type == OPTION_SWITCH)
		value = "yes";
	if (!value && *i + 1 < argc)
		value = argv[++*i];
	if (!value)
		return fail(p, "--%s: needs a value", o->flag);
	if (o->type == OPTION_LIMITS)
		return say_limit_flag(p, value);
	snprintf(flag, sizeof(flag), "--%s", o->flag);
	origin_init(&origin, CONFIG_FROM_FLAG, 0, flag);
	if (o->type == OPTION_LIST)
		return say_list_flag(p, index, value, &origin);
	say(said_of(p, index), value, &origin, BY_OPTION_NAME);
	return 0;
}

static int gather(struct parse *p, int argc, char **argv, const char *env_file_path)
{
	int r;

	for (int i = 1; i < argc; i++) {
		r = gather_flag(p, argv, argc, &i);
		if (r < 0)
			return r;
		if (p->action == CONFIG_HELP || p->action == CONFIG_VERSION)
			return 0;
	}
	r = gather_environment(p);
	if (r < 0 || !env_file_path)
		return r;
	r = env_file_read(&p->env_file, env_file_path, p->error, p->n_error);
	if (r < 0)
		return r;
	return gather_env_file(p);
}

static int apply_option(struct parse *p, size_t index)
{
	const struct option *o = &config_options[index];
	const struct said *said = said_of(p, index);
	char allowed[256] = "";
	int r;

	p->c->option_origins[index] = said->origin;
	if (said->text && said->by_compat)
		r = option_parse_compat(p->c, o, said->text, allowed, sizeof(allowed));
	else
		r = option_parse(p->c, o, said->text, allowed, sizeof(allowed));
	if (r == -EINVAL)
		return fail_value(p, said, o->flag, allowed);
	return r < 0 ? fail_memory(p) : 0;
}

static int apply_limit(struct parse *p, enum limit limit)
{
	const struct said *said = &p->limits[limit];
	char allowed[256] = "";

	p->c->limit_origins[limit] = said->origin;
	if (limit_parse(p->c, limit, said->text, allowed, sizeof(allowed)) < 0)
		return fail_value(p, said, config_limits[limit].name, allowed);
	return 0;
}

/* What a client gets that asks for nothing may not be more than what it could ask for. */
static int fit_limits(struct parse *p)
{
	static const struct {
		enum limit value;
		enum limit most;
	} pairs[] = {
		{LIMIT_session_calls_default, LIMIT_session_calls_max},
		{LIMIT_submission_bytes_default, LIMIT_ring_bytes_max},
		{LIMIT_completion_bytes_default, LIMIT_ring_bytes_max},
	};
	char allowed[128];

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		enum limit value = pairs[i].value, most = pairs[i].most;

		if (limit_value(p->c, value) <= limit_value(p->c, most))
			continue;
		snprintf(allowed, sizeof(allowed), "at most limit %s, which is %" PRIu64,
			 config_limits[most].name, limit_value(p->c, most));
		if (p->limits[value].text)
			return fail_value(p, &p->limits[value], config_limits[value].name, allowed);
		limit_set(p->c, value, limit_value(p->c, most));
	}
	return 0;
}

static int fit_option(struct parse *p, const char *flag, uint64_t value, uint64_t max,
		      const char *why)
{
	char allowed[128];

	if (value <= max)
		return 0;
	snprintf(allowed, sizeof(allowed), "at most %" PRIu64 ", %s", max, why);
	for (size_t i = 0; i < n_config_options; i++)
		if (!strcmp(config_options[i].flag, flag))
			return fail_value(p, &p->options[i], flag, allowed);
	return -EINVAL;
}

static int fit_slots(struct parse *p)
{
	const struct config *c = p->c;
	int r;

	r = fit_option(p, "slots-min", c->n_slots_min, c->n_slots_max, "which --slots-max is");
	if (r < 0 || c->backend != CONFIG_BACKEND_LOCAL)
		return r;
	r = fit_option(p, "slots-warm", c->n_slots_warm, CONFIG_SEATS_MAX / 2,
		       "half of what the local backend has places for");
	if (r < 0)
		return r;
	return fit_option(p, "slots-max", c->n_slots_max,
			  CONFIG_SEATS_MAX - CONFIG_SEATS_GOING - c->n_slots_warm,
			  "which is what the local backend has places for beside --slots-warm");
}

static int apply(struct parse *p)
{
	int r = 0;

	for (size_t i = 0; i < n_config_options && r == 0; i++)
		r = apply_option(p, i);
	for (unsigned int i = 0; i < N_LIMITS && r == 0; i++)
		r = apply_limit(p, (enum limit)i);
	if (r == 0)
		r = fit_limits(p);
	if (r == 0)
		r = fit_slots(p);
	if (r == 0 && p->c->json && p->action != CONFIG_PROBE && p->action != CONFIG_PLAN)
		r = fail(p, "--json: goes with --probe alone");
	return r;
}

static const char *find_variable(char *const *envp, const char *name)
{
	size_t n = strlen(name);

	for (char *const *e = envp; e && *e; e++)
		if (!strncmp(*e, name, n) && (*e)[n] == '=')
			return *e + n + 1;
	return "";
}

int config_parse(struct config *c, int argc, char **argv, char *const *envp,
		 const char *env_file_path, enum config_action *ret_action, char *ret_error,
		 size_t n_error)
{
	struct parse p = {.c = c, .envp = envp, .error = ret_error, .n_error = n_error};
	int r;

	*c = (struct config){.ready_fd = -1};
	c->runtime_dir = strdup(find_variable(envp, "XDG_RUNTIME_DIR"));
	c->env_file_path = strdup(env_file_path ? env_file_path : "");
	if (!c->runtime_dir || !c->env_file_path)
		r = fail_memory(&p);
	else
		r = gather(&p, argc, argv, env_file_path);
	if (r == 0 && p.action != CONFIG_HELP && p.action != CONFIG_VERSION)
		r = apply(&p);
	env_file_deinit(&p.env_file);
	for (size_t i = 0; i < CONFIG_N_OPTIONS_MAX; i++)
		free(p.lists[i]);
	if (r < 0) {
		config_deinit(c);
		return r;
	}
	*ret_action = p.action;
	return 0;
}

void config_deinit(struct config *c)
{
	free(c->name);
	free(c->socket);
	free(c->runtime_dir);
	free(c->fake);
	free(c->allow_uids);
	free(c->user);
	free(c->shell);
	free(c->slot_env.items);
	free(c->slot_binds.items);
	free(c->slot_program);
	free(c->external_tools);
	free(c->env_file_path);
	*c = (struct config){.ready_fd = -1};
}

int config_socket_path(const struct config *c, char *ret_path, size_t n)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int length;

	if (*c->socket)
		length = snprintf(path, sizeof(path), "%s", c->socket);
	else if (strchr(c->name, '/'))
		length = snprintf(path, sizeof(path), "%s", c->name);
	else if (*c->runtime_dir)
		length = snprintf(path, sizeof(path), "%s/toolring/%s.sock", c->runtime_dir,
				  c->name);
	else if (geteuid() == 0)
		length = snprintf(path, sizeof(path), "/run/toolring/%s.sock", c->name);
	else
		length = snprintf(path, sizeof(path), "/tmp/toolring-%u/%s.sock",
				  (unsigned int)geteuid(), c->name);
	if ((size_t)length >= sizeof(path) || (size_t)length >= n)
		return -ENAMETOOLONG;
	memcpy(ret_path, path, (size_t)length + 1);
	return 0;
}
