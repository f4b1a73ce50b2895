/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/tool.h"

static const struct tool tools[] = {
	{.name = "bash", .canonical = "bash"},
	{.name = "read_file", .canonical = "read_file"},
	{.name = "write_file", .canonical = "write_file"},
	{
		.name = "terminal",
		.canonical = "bash",
		.background_refusal = "terminal background execution is not supported in sandbox",
	},
	{.name = "exec", .canonical = "exec"},
	{.name = "bash_stateful", .canonical = "bash_stateful"},
	{.name = "terminal_stateful", .canonical = "bash_stateful"},
	{.name = "tmux", .canonical = "tmux"},
};

#define N_TOOLS (sizeof(tools) / sizeof(*tools))

const struct tool *tool_find(struct span name)
{
	for (size_t i = 0; i < N_TOOLS; i++)
		if (span_is(name, tools[i].name))
			return &tools[i];
	return NULL;
}

const struct tool *tool_at(size_t index)
{
	return index < N_TOOLS ? &tools[index] : NULL;
}
