/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/slot/terminal_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tool/slot/terminal_regex.h"

struct terminal_pattern {
	struct regex *regex; /* NULL: text */
	size_t n;
	char text[];
};

static struct terminal_pattern *make_regex(struct terminal_pattern *p, struct span text,
					   const char **ret_error)
{
	p->regex = malloc(sizeof(*p->regex));
	if (!p->regex) {
		*ret_error = "Memory exhausted";
		return terminal_pattern_free(p);
	}
	if (!regex_compile(p->regex, text, ret_error))
		return terminal_pattern_free(p);
	return p;
}

struct terminal_pattern *terminal_pattern_new(struct span text, bool is_regex,
					      const char **ret_error)
{
	struct terminal_pattern *p = calloc(1, sizeof(*p) + text.n);

	if (!p) {
		*ret_error = "Memory exhausted";
		return NULL;
	}
	if (is_regex)
		return make_regex(p, text, ret_error);
	if (text.n)
		memcpy(p->text, text.data, text.n);
	p->n = text.n;
	return p;
}

struct terminal_pattern *terminal_pattern_free(struct terminal_pattern *p)
{
	if (p)
		free(p->regex);
	free(p);
	return NULL;
}

int terminal_shows(struct terminal *t, const struct terminal_pattern *p)
{
	struct buf screen;
	int r;

	buf_init(&screen, (size_t)t->n_rows * ((size_t)t->n_columns * CELL_TEXT_MAX + 1));
	r = terminal_capture(t, false, &screen);
	if (r == 0 && p->regex)
		r = regex_found(p->regex,
				span_of(screen.data, screen.n - 1)); /* no line behind it */
	else if (r == 0)
		r = memmem(screen.data, screen.n, p->text, p->n) != NULL;
	buf_deinit(&screen);
	return r;
}
