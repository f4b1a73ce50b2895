/* SPDX-License-Identifier: Apache-2.0 */
#include "executor/env_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"

/* One line that is being read. */
struct env_line {
	const char *at;
	const char *end;
	const char *wrong; /* NULL: nothing */
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static bool is_key(char c, bool first)
{
	if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_')
		return true;
	return !first && ((c >= '0' && c <= '9') || c == '.' || c == '-');
}

static void skip_space(struct env_line *l)
{
	while (l->at < l->end && is_space(*l->at))
		l->at++;
}

static void skip_export(struct env_line *l)
{
	static const char word[] = "export";
	size_t n = sizeof(word) - 1;

	if ((size_t)(l->end - l->at) <= n || memcmp(l->at, word, n) || !is_space(l->at[n]))
		return;
	l->at += n;
	skip_space(l);
}

/* The character a backslash stands for; '\0': none. */
static char unescape(char c)
{
	switch (c) {
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	case '\\':
	case '"':
	case '\'':
	case '$':
	case '`':
		return c;
	default:
		return '\0';
	}
}

/* Both write the value, which is never longer than its text, and return its length. */
static size_t read_quoted(struct env_line *l, char *value)
{
	char quote = *l->at++;
	size_t n = 0;

	for (; l->at < l->end && *l->at != quote; l->at++) {
		char c = *l->at;

		if (quote == '"' && c == '\\') {
			l->at++;
			c = l->at < l->end ? unescape(*l->at) : '\0';
			if (!c) {
				l->wrong = "an unknown escape in double quotes";
				return 0;
			}
		}
		value[n++] = c;
	}
	if (l->at == l->end) {
		l->wrong = "a quote that is not closed on its line";
		return 0;
	}
	l->at++;
	if (l->at < l->end && !is_space(*l->at)) {
		l->wrong = "text after the closing quote";
		return 0;
	}
	skip_space(l);
	if (l->at < l->end && *l->at != '#')
		l->wrong = "text after the closing quote";
	return n;
}

static size_t read_bare(struct env_line *l, char *value)
{
	size_t n = 0;

	for (; l->at < l->end; l->at++) {
		if (*l->at == '#' && is_space(l->at[-1]))
			break;
		value[n++] = *l->at;
	}
	while (n > 0 && is_space(value[n - 1]))
		n--;
	return n;
}

static int add_entry(struct env_file *f, const char *key, size_t n_key, char *value,
		     unsigned int line)
{
	struct env_entry *entries;
	char *key_copy = strndup(key, n_key);
	char *value_copy = strdup(value);

	entries = reallocarray(f->entries, f->n_entries + 1, sizeof(*entries));
	if (entries)
		f->entries = entries;
	if (!entries || !key_copy || !value_copy) {
		free(key_copy);
		free(value_copy);
		return -ENOMEM;
	}
	entries[f->n_entries++] =
		(struct env_entry){.key = key_copy, .value = value_copy, .line = line};
	return 0;
}

/* value: room for a whole line. 0; -EINVAL with l->wrong set; -ENOMEM. */
static int read_line(struct env_file *f, struct env_line *l, unsigned int number, char *value)
{
	const char *key;
	size_t n, n_key;

	skip_space(l);
	if (l->at == l->end || *l->at == '#')
		return 0;
	skip_export(l);
	key = l->at;
	while (l->at < l->end && is_key(*l->at, l->at == key))
		l->at++;
	n_key = (size_t)(l->at - key);
	skip_space(l);
	if (n_key == 0 || l->at == l->end || *l->at != '=') {
		l->wrong = "not KEY=VALUE";
		return -EINVAL;
	}
	l->at++;
	skip_space(l);
	if (l->at < l->end && (*l->at == '"' || *l->at == '\''))
		n = read_quoted(l, value);
	else
		n = read_bare(l, value);
	if (l->wrong)
		return -EINVAL;
	value[n] = '\0';
	return add_entry(f, key, n_key, value, number);
}

__attribute__((format(printf, 4, 5))) static int fail(struct env_file *f, char *ret_error,
						      size_t n_error, const char *format, ...)
{
	va_list args;

	env_file_deinit(f);
	va_start(args, format);
	vsnprintf(ret_error, n_error, format, args);
	va_end(args);
	return -EINVAL;
}

static int fail_memory(struct env_file *f, const char *path, char *ret_error, size_t n_error)
{
	fail(f, ret_error, n_error, "%s: out of memory", path);
	return -ENOMEM;
}

int env_file_parse(struct env_file *f, const char *path, const char *text, size_t n,
		   char *ret_error, size_t n_error)
{
	static const char mark[] = "\xef\xbb\xbf";
	_cleanup_(cleanup_free) char *value = malloc(n + 1);
	const char *at = text, *end = text + n;
	unsigned int number = 1;
	int r;

	*f = ENV_FILE_NULL;
	if (!value)
		return fail_memory(f, path, ret_error, n_error);
	if (n >= 3 && !memcmp(at, mark, 3)) /* some editors put a byte order mark first */
		at += 3;
	for (; at < end; number++) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		struct env_line line = {.at = at, .end = stop ? stop : end};

		if (memchr(at, '\0', (size_t)(line.end - at)))
			return fail(f, ret_error, n_error, "%s line %u: a NUL byte", path, number);
		r = read_line(f, &line, number, value);
		if (r == -ENOMEM)
			return fail_memory(f, path, ret_error, n_error);
		if (r < 0)
			return fail(f, ret_error, n_error, "%s line %u: %s", path, number,
				    line.wrong);
		at = stop ? stop + 1 : end;
	}
	return 0;
}

/* Reads at most n bytes; returns how many, or -errno. */
static ssize_t read_all(int fd, char *data, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = read(fd, data + done, n - done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

int env_file_read(struct env_file *f, const char *path, char *ret_error, size_t n_error)
{
	_cleanup_(cleanup_free) char *text = NULL;
	_cleanup_(cleanup_close) int fd = -1;
	struct stat st;
	ssize_t n;

	*f = ENV_FILE_NULL;
	/* Not blocking: what stands there may be a FIFO. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return fail(f, ret_error, n_error, "%s: cannot be read: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(f, ret_error, n_error, "%s: not a regular file", path);
	text = malloc(ENV_FILE_BYTES_MAX + 1);
	if (!text)
		return fail_memory(f, path, ret_error, n_error);
	n = read_all(fd, text, ENV_FILE_BYTES_MAX + 1);
	if (n < 0)
		return fail(f, ret_error, n_error, "%s: cannot be read: %s", path,
			    strerror((int)-n));
	if (n > ENV_FILE_BYTES_MAX)
		return fail(f, ret_error, n_error, "%s: larger than %d bytes", path,
			    ENV_FILE_BYTES_MAX);
	return env_file_parse(f, path, text, (size_t)n, ret_error, n_error);
}

void env_file_deinit(struct env_file *f)
{
	for (size_t i = 0; i < f->n_entries; i++) {
		free(f->entries[i].key);
		free(f->entries[i].value);
	}
	free(f->entries);
	*f = ENV_FILE_NULL;
}

const struct env_entry *env_file_find(const struct env_file *f, const char *key)
{
	for (size_t i = f->n_entries; i > 0; i--)
		if (!strcmp(f->entries[i - 1].key, key))
			return &f->entries[i - 1];
	return NULL;
}
