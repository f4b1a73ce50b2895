/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOL_TOOL_H
#define TOOL_TOOL_H

/* The list of tools: what a name means and where it runs. What a tool does is its backend's. */

#include <stddef.h>

#include "base/span.h"

enum tool_place {
	TOOL_IN_SLOT,
	TOOL_EXTERNAL, /* on the tool server */
};

struct tool {
	const char *name;      /* as called */
	const char *canonical; /* as the backend knows it */
	enum tool_place place;
	const char
		*background_refusal; /* the error if arguments.background is true; NULL: allowed */
};

/* The built-in tool of that name, or NULL. */
const struct tool *tool_find(struct span name);

/* The built-in tools, for listings; NULL past the last. */
const struct tool *tool_at(size_t index);

#endif
