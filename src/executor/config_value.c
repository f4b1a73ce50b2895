/* SPDX-License-Identifier: Apache-2.0 */

/* Text into values and back, one pair for each type of option. */

#include "executor/config_table.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "wire/call.h"

#define SWITCH_ALLOWED "1, true, yes, y, on or 0, false, no, n, off"
#define UID_MOST       (UINT32_MAX - 1) /* the one above stands for "none" */

/* Where a parser says what it would have taken. */
struct allowed {
	char *text;
	size_t n;
};

#define refuse(allowed, ...) (snprintf((allowed).text, (allowed).n, __VA_ARGS__), -EINVAL)

static void *member(const struct config *c, const struct option *o)
{
	return (char *)(uintptr_t)c + o->offset;
}

/* Digits and nothing else; returns what follows them, NULL if there are none or too many. */
static const char *read_number(const char *text, uint64_t *ret_value)
{
	uint64_t value = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			return NULL;
	if (p == text)
		return NULL;
	*ret_value = value;
	return p;
}

static bool parse_number(const char *text, uint64_t max, uint64_t *ret_value)
{
	uint64_t value;
	const char *rest = read_number(text, &value);

	if (!rest || *rest || value > max)
		return false;
	*ret_value = value;
	return true;
}

/* 4096, 64K, 64KiB */
static bool parse_bytes(const char *text, uint64_t *ret_value)
{
	static const char units[] = "kmg";
	uint64_t value;
	const char *rest = read_number(text, &value);
	const char *unit;

	if (!rest)
		return false;
	if (*rest) {
		unit = strchr(units, *rest | 0x20);
		if (!unit || (rest[1] && strcasecmp(rest + 1, "iB")))
			return false;
		if (__builtin_mul_overflow(value, UINT64_C(1) << (10 * (unit - units + 1)), &value))
			return false;
	}
	*ret_value = value;
	return true;
}

static bool parse_bool(const char *text, bool *ret_value)
{
	static const char *const words[] = {"0", "false", "no",  "n", "off",
					    "1", "true",  "yes", "y", "on"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!strcasecmp(text, words[i])) {
			*ret_value = i >= 5;
			return true;
		}
	}
	return false;
}

static int parse_name(char **member, const char *text, struct allowed allowed)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-";
	size_t n = strlen(text);

	/* As for clients, which look at the same variable: a name with a slash is the socket's path. */
	if (!strchr(text, '/') && (n < 1 || n > 64 || strspn(text, letters) != n))
		return refuse(allowed, "1 to 64 letters, digits, '.', '_' and '-', or the path of "
				       "the control socket");
	*member = strdup(text);
	return *member ? 0 : -ENOMEM;
}

static int parse_u32(uint32_t *member, const struct option *o, const char *text,
		     struct allowed allowed)
{
	uint64_t value;

	if (!parse_number(text, o->max, &value) || value < o->min)
		return refuse(allowed, "a whole number from %" PRIu64 " to %" PRIu64, o->min,
			      o->max);
	*member = (uint32_t)value;
	return 0;
}

static int parse_size(uint64_t *member, const struct option *o, const char *text,
		      struct allowed allowed)
{
	uint64_t value;

	if (!parse_bytes(text, &value) || value < o->min || value > o->max)
		return refuse(allowed,
			      "a number of bytes from %" PRIu64 " to %" PRIu64
			      ", also with K, M or G",
			      o->min, o->max);
	*member = value;
	return 0;
}

static int parse_fd(int *member, const char *text, struct allowed allowed)
{
	uint64_t value;

	if (!strcmp(text, "-1")) {
		*member = -1;
		return 0;
	}
	if (!parse_number(text, INT_MAX, &value) || fcntl((int)value, F_GETFD) < 0)
		return refuse(allowed, "the number of an open descriptor, or -1");
	*member = (int)value;
	return 0;
}

static int parse_duration(uint64_t *member, const struct option *o, const char *text,
			  struct allowed allowed)
{
	double scale = (double)o->scale;
	size_t n = strlen(text);
	double value;
	char *end;

	if (n > 0 && n < 32 && strspn(text, "0123456789.") == n) {
		value = strtod(text, &end) * scale + 0.5;
		if (!*end && end != text && value < (double)o->max + 1.0 &&
		    value >= (double)o->min) {
			*member = (uint64_t)value;
			return 0;
		}
	}
	return refuse(allowed, "a number from %.10g to %.10g", (double)o->min / scale,
		      (double)o->max / scale);
}

static void join_choices(const struct option *o, const char *last, struct allowed allowed)
{
	size_t n = 0;

	for (size_t i = 0; o->choices[i] && n < allowed.n; i++)
		if (*o->choices[i])
			n += (size_t)snprintf(allowed.text + n, allowed.n - n, "%s%s",
					      n ? ", " : "", o->choices[i]);
	if (last && n < allowed.n)
		snprintf(allowed.text + n, allowed.n - n, ", %s", last);
}

static bool find_choice(const struct option *o, const char *text, unsigned int *ret_choice)
{
	for (unsigned int i = 0; o->choices[i]; i++) {
		if (!strcmp(o->choices[i], text)) {
			*ret_choice = i;
			return true;
		}
	}
	return false;
}

static int parse_choice(void *member, const struct option *o, const char *text,
			struct allowed allowed)
{
	unsigned int choice;

	if (!find_choice(o, text, &choice)) {
		join_choices(o, NULL, allowed);
		return -EINVAL;
	}
	memcpy(member, &choice, sizeof(choice));
	return 0;
}

/* Next word of a list with commas, without the space around it; NULL at the end; cuts *at up. */
static char *next_word(char **at)
{
	while (*at) {
		char *word = strsep(at, ",");
		size_t n;

		word += strspn(word, " \t");
		n = strlen(word);
		while (n > 0 && (word[n - 1] == ' ' || word[n - 1] == '\t'))
			word[--n] = '\0';
		if (n > 0)
			return word;
	}
	return NULL;
}

static int parse_bits(uint32_t *member, const struct option *o, const char *text,
		      struct allowed allowed)
{
	_cleanup_(cleanup_free) char *copy = strdup(text);
	char *at = copy, *word;
	uint32_t bits = 0;
	unsigned int choice;

	if (!copy)
		return -ENOMEM;
	while ((word = next_word(&at))) {
		if (!o->each_by_name && !strcmp(word, "all")) {
			for (size_t i = 0; o->choices[i]; i++)
				bits |= UINT32_C(1) << i;
		} else if (find_choice(o, word, &choice)) {
			bits |= UINT32_C(1) << choice;
		} else {
			join_choices(o,
				     o->each_by_name ? "separated by commas"
						     : "or all, separated by commas",
				     allowed);
			return -EINVAL;
		}
	}
	*member = bits;
	return 0;
}

static bool find_user(const char *word, uid_t *ret_uid, gid_t *ret_gid)
{
	struct passwd *user;
	uint64_t value;

	if (parse_number(word, UID_MOST, &value)) {
		user = getpwuid((uid_t)value);
		*ret_uid = (uid_t)value;
		*ret_gid = user ? user->pw_gid : (gid_t)value;
		return true;
	}
	user = getpwnam(word);
	if (!user)
		return false;
	*ret_uid = user->pw_uid;
	*ret_gid = user->pw_gid;
	return true;
}

static void add_uid(struct config *c, uid_t uid)
{
	for (size_t i = 0; i < c->n_allow_uids; i++)
		if (c->allow_uids[i] == uid)
			return;
	c->allow_uids[c->n_allow_uids++] = uid;
}

static int parse_uids(struct config *c, const char *text, struct allowed allowed)
{
	_cleanup_(cleanup_free) char *copy = strdup(text ? text : "");
	char *at = copy, *word;
	uid_t uid;
	gid_t gid;

	if (!copy)
		return -ENOMEM;
	/* Each word but the last costs two bytes; two for the default. */
	c->allow_uids = calloc(strlen(copy) / 2 + 2, sizeof(*c->allow_uids));
	if (!c->allow_uids)
		return -ENOMEM;
	if (!text) {
		add_uid(c, geteuid());
		add_uid(c, 0);
		return 0;
	}
	while ((word = next_word(&at))) {
		if (!find_user(word, &uid, &gid))
			return refuse(allowed, "user ids and names of users that exist, separated "
					       "by commas");
		add_uid(c, uid);
	}
	if (c->n_allow_uids == 0)
		return refuse(allowed, "at least one user id or name");
	return 0;
}

/* The name need not exist where it is not used: where somebody else than root starts toolringd. */
static int parse_user(struct config *c, const char *text, struct allowed allowed)
{
	bool used = geteuid() == 0;
	uid_t uid = 0;
	gid_t gid = 0;
	bool known = find_user(text, &uid, &gid);

	if (!*text || (used && !known))
		return refuse(allowed, "the name or id of a user that exists, but not root");
	if (known && uid == 0)
		return refuse(allowed, "any user but root: the executor reads what clients write");
	c->user = strdup(text);
	if (!c->user)
		return -ENOMEM;
	c->user_uid = uid;
	c->user_gid = gid;
	return 0;
}

/* One block: the pointers, then the text they point to. */
static int parse_names(struct config *c, const char *text, struct allowed allowed)
{
	size_t n = strlen(text), n_max = n / 2 + 1;
	char *at, *word;

	c->external_tools = malloc(n_max * sizeof(char *) + n + 1);
	if (!c->external_tools)
		return -ENOMEM;
	at = (char *)&c->external_tools[n_max];
	memcpy(at, text, n + 1);
	while ((word = next_word(&at))) {
		if (strlen(word) > WIRE_TOOL_NAME_MAX)
			return refuse(allowed, "names of up to %d bytes, separated by commas",
				      WIRE_TOOL_NAME_MAX);
		c->external_tools[c->n_external_tools++] = word;
	}
	return 0;
}

/* One block, as above. Only the separator parts items: in a value spaces may mean something. */
static int parse_list(struct config_list *member, const struct option *o, const char *text)
{
	const char separators[] = {o->separator, '\0'};
	size_t n = strlen(text), n_max = n / 2 + 1;
	char *at, *item;

	member->items = malloc(n_max * sizeof(char *) + n + 1);
	if (!member->items)
		return -ENOMEM;
	at = (char *)&member->items[n_max];
	memcpy(at, text, n + 1);
	while ((item = strsep(&at, separators)))
		if (*item)
			member->items[member->n++] = item;
	return 0;
}

int option_parse_compat(struct config *c, const struct option *o, const char *text,
			char *ret_allowed, size_t n_allowed)
{
	struct allowed allowed = {.text = ret_allowed, .n = n_allowed};
	unsigned int choice;
	bool yes;

	if (!o->compat_is_switch)
		return option_parse(c, o, text, ret_allowed, n_allowed);
	if (!parse_bool(text, &yes))
		return refuse(allowed, SWITCH_ALLOWED);
	choice = yes;
	memcpy(member(c, o), &choice, sizeof(choice));
	return 0;
}

int option_parse(struct config *c, const struct option *o, const char *text, char *ret_allowed,
		 size_t n_allowed)
{
	struct allowed allowed = {.text = ret_allowed, .n = n_allowed};
	bool unset = !text;

	if (!text)
		text = o->value;
	switch (o->type) {
	case OPTION_NAME:
		return parse_name(member(c, o), text, allowed);
	case OPTION_STRING:
		*(char **)member(c, o) = strdup(text);
		return *(char **)member(c, o) ? 0 : -ENOMEM;
	case OPTION_U32:
		return parse_u32(member(c, o), o, text, allowed);
	case OPTION_BYTES:
		return parse_size(member(c, o), o, text, allowed);
	case OPTION_LIST:
		return parse_list(member(c, o), o, text);
	case OPTION_FD:
		return parse_fd(member(c, o), text, allowed);
	case OPTION_DURATION:
		if (!text) {
			*(uint64_t *)member(c, o) = CONFIG_NS_UNSET;
			return 0;
		}
		return parse_duration(member(c, o), o, text, allowed);
	case OPTION_CHOICE:
		return parse_choice(member(c, o), o, text, allowed);
	case OPTION_BITS:
		return parse_bits(member(c, o), o, text, allowed);
	case OPTION_UIDS:
		return parse_uids(c, unset ? NULL : text, allowed);
	case OPTION_USER:
		return parse_user(c, text, allowed);
	case OPTION_NAMES:
		return parse_names(c, text, allowed);
	case OPTION_SWITCH:
		return parse_bool(text, member(c, o)) ? 0 : refuse(allowed, SWITCH_ALLOWED);
	case OPTION_ACTION:
	case OPTION_LIMITS:
	case OPTION_LIMIT:
		break;
	}
	return 0; /* these hold no value of their own */
}

static uint64_t *limit_member(const struct config *c, enum limit limit)
{
	return (uint64_t *)(void *)((char *)(uintptr_t)&c->limits + config_limits[limit].offset);
}

uint64_t limit_value(const struct config *c, enum limit limit)
{
	return *limit_member(c, limit);
}

void limit_set(struct config *c, enum limit limit, uint64_t value)
{
	*limit_member(c, limit) = value;
}

int limit_parse(struct config *c, enum limit limit, const char *text, char *ret_allowed,
		size_t n_allowed)
{
	const struct limit_row *row = &config_limits[limit];
	bool bytes = !strcmp(row->unit, "bytes");
	uint64_t value = row->value;
	bool good = true;

	if (text)
		good = bytes ? parse_bytes(text, &value) : parse_number(text, row->max, &value);
	if (!good || value < row->min || value > row->max) {
		snprintf(ret_allowed, n_allowed,
			 "a whole number of %s from %" PRIu64 " to %" PRIu64 "%s", row->unit,
			 row->min, row->max, bytes ? ", also with K, M or G" : "");
		return -EINVAL;
	}
	limit_set(c, limit, value);
	return 0;
}

static void print_list(const struct config *c, const struct option *o, FILE *out)
{
	const char *comma = "";

	fputc('[', out);
	if (o->type == OPTION_UIDS) {
		for (size_t i = 0; i < c->n_allow_uids; i++, comma = ",")
			fprintf(out, "%s%u", comma, (unsigned int)c->allow_uids[i]);
	} else if (o->type == OPTION_NAMES) {
		for (size_t i = 0; i < c->n_external_tools; i++, comma = ",")
			fprintf(out, "%s%s", comma, c->external_tools[i]);
	} else if (o->type == OPTION_LIST) {
		const struct config_list *list = member(c, o);

		for (size_t i = 0; i < list->n; i++, comma = ",")
			fprintf(out, "%s%s", comma, list->items[i]);
	} else {
		uint32_t bits = *(uint32_t *)member(c, o);

		for (size_t i = 0; o->choices[i]; i++) {
			if (bits & (UINT32_C(1) << i)) {
				fprintf(out, "%s%s", comma, o->choices[i]);
				comma = ",";
			}
		}
	}
	fputc(']', out);
}

static void print_duration(uint64_t ns, const struct option *o, FILE *out)
{
	if (ns == CONFIG_NS_UNSET)
		fputs("unset", out);
	else
		fprintf(out, "%.10g", (double)ns / (double)o->scale);
}

void option_print(const struct config *c, const struct option *o, FILE *out)
{
	unsigned int choice;

	switch (o->type) {
	case OPTION_NAME:
	case OPTION_STRING:
	case OPTION_USER:
		fprintf(out, "\"%s\"", *(char **)member(c, o));
		break;
	case OPTION_U32:
		fprintf(out, "%" PRIu32, *(uint32_t *)member(c, o));
		break;
	case OPTION_BYTES:
		fprintf(out, "%" PRIu64, *(uint64_t *)member(c, o));
		break;
	case OPTION_FD:
		fprintf(out, "%d", *(int *)member(c, o));
		break;
	case OPTION_DURATION:
		print_duration(*(uint64_t *)member(c, o), o, out);
		break;
	case OPTION_CHOICE:
		memcpy(&choice, member(c, o), sizeof(choice));
		fputs(o->choices[choice], out);
		break;
	case OPTION_BITS:
	case OPTION_UIDS:
	case OPTION_NAMES:
	case OPTION_LIST:
		print_list(c, o, out);
		break;
	case OPTION_SWITCH:
		fputs(*(bool *)member(c, o) ? "yes" : "no", out);
		break;
	case OPTION_LIMIT:
		fprintf(out, "%" PRIu64, limit_value(c, (enum limit)o->min));
		break;
	case OPTION_ACTION:
	case OPTION_LIMITS:
		break;
	}
}
