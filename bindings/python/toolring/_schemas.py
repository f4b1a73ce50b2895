# SPDX-License-Identifier: Apache-2.0
"""
The tools as a model is shown them, and what a model asks for and is told in return.

Each parameter here is one that the executor takes, with the range it takes (src/backend/
local_request*.c); a test holds both against each other. What a model may not decide is not shown.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ._errors import InvalidCall
from ._result import Result

# ---- parameters ----------------------------------------------------------------------------------

_TIMEOUT = {
    "type": "number", "minimum": 1, "maximum": 600,
    "description": "Seconds that it may take. 30 unless given.",
}
_IDLE_TIMEOUT = {
    "type": "number", "exclusiveMinimum": 0,
    "description": "Seconds for which the command may write nothing before it is ended, as by a "
                   "timeout. No such limit unless given.",
}
_PATH = "Path of the file, relative to /workspace or absolute. It must lie in /workspace."


def _object(required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required,
            "additionalProperties": False}


# ---- tools ---------------------------------------------------------------------------------------

_BASH = {
    "description":
        "Runs a command with bash -c in a sandbox, in the folder /workspace, and returns what it "
        "wrote to standard output and standard error, the latter after a line [stderr] if there is "
        "both. "
        "Files in /workspace persist from one call to the next. Nothing else does: each call has a "
        "fresh shell, environment and /tmp, and every process that the command started, in the "
        "background too, is ended when it returns. Standard input is empty. Of each stream up to "
        "50,000 characters are returned; the rest is left out, which the output then says.",
    "parameters": _object(
        ["command"],
        command={"type": "string", "description": "The command: any bash script, of several lines "
                                                  "if need be."},
        timeout=_TIMEOUT, idle_timeout_s=_IDLE_TIMEOUT),
}

_BASH_STATEFUL = {
    "description":
        "Runs a command in one bash that lives on between calls: variables, functions, the current "
        "folder, options and background jobs persist, as do files in /workspace, where it starts. "
        "Returns what the command wrote, standard output and error together, up to 50,000 "
        "characters. Standard input is at its end: for a program that is to be typed into, use the "
        "tool tmux, which shows the same shell. A command that runs into its timeout takes the "
        "shell and all of its background jobs with it, and so does exit; the next call then starts "
        "a new shell, without what the old one knew.",
    "parameters": _object(
        ["command"],
        command={"type": "string", "minLength": 1,
                 "description": "The command: any bash script, of several lines if need be."},
        timeout=_TIMEOUT, idle_timeout_s=_IDLE_TIMEOUT),
}

_READ_FILE = {
    "description":
        "Returns the text of a file in /workspace, exactly as it is. A file of more than 100,000 "
        "characters is refused; read it in parts with a command. Bytes that are not UTF-8 read as "
        "U+FFFD.",
    "parameters": _object(["path"], path={"type": "string", "description": _PATH}),
}

_WRITE_FILE = {
    "description":
        "Writes a file in /workspace, with its parent folders. A file that exists is replaced "
        "whole.",
    "parameters": _object(
        ["path", "content"],
        path={"type": "string", "description": _PATH},
        content={"type": "string", "maxLength": 100_000,
                 "description": "The whole new content, written exactly as it is; up to 100,000 "
                                "characters."}),
}

_TMUX = {
    "description":
        "Types into a terminal and shows its screen, for programs that are used interactively "
        "(editors, debuggers, prompts, full-screen programs). The terminal is that of the one bash "
        "that bash_stateful uses, and lives on between calls; it is started when first used. "
        "Usually: send_keys, with block or wait_for to wait until what was typed is done, then "
        "capture to see the screen. Waiting that takes too long is a timeout, after which the "
        "terminal is as it was and what runs in it goes on. Actions: start (starts the shell, at "
        "pane_width and pane_height), send_keys (types keys), wait_for (waits until the screen "
        "shows a text), capture (returns the screen as text), stream (returns what the terminal "
        "has shown since the last stream, with escape sequences, as lines of asciicast v2), resize "
        "(changes the size; needs both pane_width and pane_height), stop (ends the shell and what "
        "runs in it).",
    "parameters": _object(
        ["action"],
        action={"type": "string",
                "enum": ["start", "send_keys", "wait_for", "capture", "stream", "resize", "stop"],
                "description": "What to do."},
        keys={"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
              "description":
                  "For send_keys, which needs it: a string, or a list of them. Each is either the "
                  "name of a key as tmux has them (Enter, Escape, Tab, Space, BSpace, Up, Down, "
                  "Left, Right, Home, End, PageUp, PageDown, F1, C-c for Control and c, M-x for "
                  "Alt and x) or text to type. A line is run by Enter: [\"ls -l\", \"Enter\"]."},
        block={"type": "boolean",
               "description": "For send_keys: wait until the shell is at its prompt again. Not "
                              "unless given."},
        wait_for={"type": "string", "minLength": 1,
                  "description": "For wait_for, which needs it, and for send_keys: the text that "
                                 "the screen must show."},
        regex={"type": "boolean",
               "description": "With wait_for: the text is a POSIX extended regular expression, "
                              "matched line by line. Not unless given."},
        min_wait_s={"type": "number", "minimum": 0,
                    "description": "For send_keys: return no sooner than this many seconds after "
                                   "the keys were typed. 0 unless given."},
        max_wait_s={"type": "number", "minimum": 0,
                    "description": "For send_keys and wait_for: the most seconds to wait. Up to "
                                   "the timeout unless given."},
        capture_entire={"type": "boolean",
                        "description": "For capture: what has scrolled off the screen too, up to "
                                       "20,000 lines. Not unless given."},
        reset={"type": "boolean",
               "description": "For stream: from the terminal's start again. Not unless given."},
        max_bytes={"type": "integer", "minimum": 1,
                   "description": "For capture and stream: return no more than this."},
        pane_width={"type": "integer", "minimum": 20, "maximum": 500,
                    "description": "For start and resize: columns. 160 unless given at the start."},
        pane_height={"type": "integer", "minimum": 10, "maximum": 200,
                     "description": "For start and resize: rows. 40 unless given at the start."},
        timeout=_TIMEOUT),
}

_TOOLS: dict[str, dict[str, Any]] = {
    "bash": _BASH,
    "read_file": _READ_FILE,
    "write_file": _WRITE_FILE,
    "bash_stateful": _BASH_STATEFUL,
    "tmux": _TMUX,
    # Other names of two of them, which some models were taught.
    "terminal": _BASH,
    "terminal_stateful": _BASH_STATEFUL,
}
_DEFAULT = ("bash", "read_file", "write_file", "bash_stateful", "tmux")


def _openai(name: str, tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **tool}}


def _anthropic(name: str, tool: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "description": tool["description"], "input_schema": tool["parameters"]}


_FORMS = {"openai": _openai, "anthropic": _anthropic}


def schemas(api: str, *, tools: Iterable[str] = _DEFAULT,
            timeout: bool = True) -> list[dict[str, Any]]:
    """
    The definitions of tools to show a model, as the API takes them for its `tools`: "openai" (chat
    completions, and what is compatible with it) or "anthropic" (messages). They are the caller's
    own, to be changed at will.

    tools: bash, read_file, write_file, bash_stateful and tmux unless given; terminal and
    terminal_stateful are other names of bash and bash_stateful. timeout: false leaves the parameter
    of that name out, for who gives each call a timeout, before which the model's does not count.
    """
    form = _FORMS.get(api)
    if form is None:
        raise ValueError(f"no API {api!r}; allowed: {', '.join(_FORMS)}")
    names = [tools] if isinstance(tools, str) else list(tools)
    shown = []
    for name in names:
        if name not in _TOOLS:
            raise ValueError(f"no tool {name!r} for models; allowed: {', '.join(_TOOLS)}")
        tool = copy.deepcopy(_TOOLS[name])
        if not timeout:
            tool["parameters"]["properties"].pop("timeout", None)
        shown.append(form(name, tool))
    return shown


# ---- what a model asks for, and is told ----------------------------------------------------------

def _member(thing: object, name: str) -> Any:
    """thing.name or thing["name"], else None: the APIs' libraries have objects, JSON has not."""
    if isinstance(thing, Mapping):
        return thing.get(name)
    return getattr(thing, name, None)


def _has(thing: object, name: str) -> bool:
    return name in thing if isinstance(thing, Mapping) else hasattr(thing, name)


def tool_call(call: object) -> tuple[str, dict[str, Any]]:
    """
    The name and the arguments of a tool call as a model's answer has it: an item of OpenAI's
    `tool_calls` or a `tool_use` block of Anthropic's `content`, as an object or a dict. They are
    what t.call() takes. Arguments that are no JSON object raise InvalidCall: the model's doing.
    """
    function = _member(call, "function")
    name = _member(call if function is None else function, "name")
    arguments = _member(call, "input") if function is None else _member(function, "arguments")
    # Other APIs have the arguments elsewhere: not to be taken for a call without any.
    if not isinstance(name, str) or function is None and not _has(call, "input"):
        raise InvalidCall("this is no tool call: it must have function.name and "
                          "function.arguments, or name and input")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except (ValueError, RecursionError) as e:
            raise InvalidCall(f"the arguments of {name} are no JSON: {e}") from e
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        raise InvalidCall(f"the arguments of {name} must be an object")
    return name, dict(arguments)


def _text_for_model(outcome: Result | InvalidCall) -> str:
    if isinstance(outcome, InvalidCall):
        return f"[error] {outcome}"
    parts = [outcome.output] if outcome.output else []
    if not outcome.success:
        parts.append(f"[{'error' if outcome.verdict == 'failed' else outcome.verdict}] "
                     f"{outcome.error}".rstrip())
    return "\n".join(parts) or "(no output)"


def tool_answer(call: object, outcome: Result | InvalidCall) -> dict[str, Any]:
    """
    What the model is told: for a call of OpenAI's the message to append, for one of Anthropic's
    the `tool_result` block to put into the next user message. outcome: the call's result, or the
    InvalidCall that it raised.
    """
    text = _text_for_model(outcome)
    call_id = _member(call, "id")
    if _member(call, "function") is not None:
        return {"role": "tool", "tool_call_id": call_id, "content": text}
    failed = isinstance(outcome, InvalidCall) or not outcome.success
    return {"type": "tool_result", "tool_use_id": call_id, "content": text, "is_error": failed}
