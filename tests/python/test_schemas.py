# SPDX-License-Identifier: Apache-2.0
"""
The definitions that toolring.schemas() shows a model say what the executor takes: each has the
form that its API wants; each parameter, at the edges of its range too, is accepted by a toolringd,
and a value that the definition forbids is refused; no tool for models and no parameter of the
executor's own tables is missing. And what models answer is understood, in both APIs' forms.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import re
from types import SimpleNamespace
from typing import Any

import pytest

import toolring
import toolring.sync

try:
    jsonschema: Any = importlib.import_module("jsonschema")
except ImportError:  # the structure alone is looked at
    jsonschema = None

ROOT = pathlib.Path(__file__).resolve().parents[2]
DESCRIPTION_MAX = 1024  # some models of OpenAI's refuse more
SHOWN = ("bash", "read_file", "write_file", "bash_stateful", "tmux")
ALIASES = {"terminal": "bash", "terminal_stateful": "bash_stateful"}
FOR_HARNESSES = {"exec"}

# Arguments that are fine, to which one more is added, by tool, and of tmux by action.
PLAIN: dict[str, dict[str, Any]] = {
    "bash": {"command": "true"},
    "bash_stateful": {"command": "true"},
    "read_file": {"path": "here.txt"},
    "write_file": {"path": "there.txt", "content": "x"},
    "tmux start": {"action": "start"},
    "tmux send_keys": {"action": "send_keys", "keys": ["true", "Enter"]},
    "tmux wait_for": {"action": "wait_for", "wait_for": "$"},  # stands in the prompt
    "tmux capture": {"action": "capture"},
    "tmux stream": {"action": "stream"},
    "tmux resize": {"action": "resize", "pane_width": 100, "pane_height": 30},
    "tmux stop": {"action": "stop"},
}
# A string that means something, where any would not do.
STRINGS = {"command": "true", "path": "here.txt", "wait_for": "$"}
WRONG_TYPE = {"string": 7, "boolean": "yes", "number": "long", "integer": 1.5}


def definitions() -> dict[str, dict[str, Any]]:
    """The JSON schema of each tool's arguments."""
    return {tool["name"]: tool["input_schema"]
            for tool in toolring.schemas("anthropic", tools=SHOWN + tuple(ALIASES))}


def source(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def tables(path: str) -> dict[str, set[str]]:
    """The members of each table of arguments in a C file: {"bash": {"command", ...}}."""
    found = {}
    for name, body in re.findall(r"struct local_member of_(\w+)\[\] = \{\n(.*?)\n\};", source(path),
                                 re.S):
        members = set(re.findall(r'\.name = "(\w+)"', body))
        found[name] = members | ({"idle_timeout_s"} if "IDLE_MEMBER" in body else set())
    return found


# ---- form ----------------------------------------------------------------------------------------

def assert_schema(schema: dict[str, Any]) -> None:
    assert set(schema) == {"type", "properties", "required", "additionalProperties"}
    assert schema["type"] == "object" and schema["additionalProperties"] is False
    assert set(schema["required"]) <= set(schema["properties"])
    for name, parameter in schema["properties"].items():
        assert re.fullmatch(r"\w{1,64}", name) and len(parameter["description"]) > 8, name
        assert parameter.get("type") in ("string", "number", "integer", "boolean") or \
            {kind["type"] for kind in parameter["anyOf"]} == {"string", "array"}, name
    if jsonschema:
        jsonschema.Draft202012Validator.check_schema(schema)


def test_openai_form() -> None:
    shown = toolring.schemas("openai")
    assert [tool["function"]["name"] for tool in shown] == list(SHOWN)
    for tool in shown:
        assert set(tool) == {"type", "function"} and tool["type"] == "function"
        assert set(tool["function"]) == {"name", "description", "parameters"}
        assert 80 < len(tool["function"]["description"]) <= DESCRIPTION_MAX
        assert_schema(tool["function"]["parameters"])
    json.dumps(shown)


def test_anthropic_form() -> None:
    shown = toolring.schemas("anthropic")
    assert [tool["name"] for tool in shown] == list(SHOWN)
    for tool in shown:
        assert set(tool) == {"name", "description", "input_schema"}
        assert_schema(tool["input_schema"])
    json.dumps(shown)


def test_both_say_the_same() -> None:
    said = [(f["name"], f["description"], f["parameters"])
            for f in (tool["function"] for tool in toolring.schemas("openai"))]
    assert said == [(t["name"], t["description"], t["input_schema"])
                    for t in toolring.schemas("anthropic")]


def test_tools_are_chosen_by_name() -> None:
    chosen = toolring.schemas("anthropic", tools=("tmux", "terminal", "terminal_stateful"))
    assert [tool["name"] for tool in chosen] == ["tmux", "terminal", "terminal_stateful"]
    for alias, name in ALIASES.items():
        assert definitions()[alias] == definitions()[name]
    assert [tool["name"] for tool in toolring.schemas("anthropic", tools="bash")] == ["bash"]
    assert toolring.schemas("anthropic", tools=()) == []


def test_timeout_can_be_left_out() -> None:
    for tool in toolring.schemas("anthropic", timeout=False):
        assert "timeout" not in tool["input_schema"]["properties"]
    assert "timeout" in definitions()["bash"]["properties"]


def test_what_is_not_known_is_refused_with_what_is() -> None:
    with pytest.raises(ValueError, match="openai, anthropic"):
        toolring.schemas("gemini")
    for name in ("exec", "no_such_tool"):
        with pytest.raises(ValueError, match="bash, read_file, write_file, bash_stateful, tmux"):
            toolring.schemas("openai", tools=(name,))


def test_each_call_gives_fresh_copies() -> None:
    first = toolring.schemas("openai")
    first[0]["function"]["parameters"]["properties"]["command"]["description"] = "spoilt"
    first[0]["function"]["parameters"]["properties"]["timeout"]["maximum"] = 5
    second = toolring.schemas("openai")
    assert "spoilt" not in json.dumps(second)
    assert second[3]["function"]["parameters"]["properties"]["timeout"]["maximum"] == 600


# ---- the executor's own tables -------------------------------------------------------------------

def test_every_tool_for_models_is_shown() -> None:
    tools = set(re.findall(r'\.name = "(\w+)"', source("src/tool/tool.c")))
    assert tools - FOR_HARNESSES == set(definitions())


def test_parameters_are_those_of_the_tables() -> None:
    of_tool, of_action = (tables("src/backend/local_request.c"),
                          tables("src/backend/local_request_terminal.c"))
    of_tool["bash_stateful"] = of_tool.pop("shell")
    of_tool["tmux"] = set().union(*of_action.values())
    for name, schema in definitions().items():
        shown = set(schema["properties"])
        assert shown - {"timeout"} == of_tool[ALIASES.get(name, name)], name
    actions = re.findall(r'\{\.name = "(\w+)", \.action', source(
        "src/backend/local_request_terminal.c"))
    assert definitions()["tmux"]["properties"]["action"]["enum"] == actions


# ---- a real toolringd ----------------------------------------------------------------------------

def edges(name: str, parameter: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Values that a parameter allows, at its edges, and such that it does not."""
    if "anyOf" in parameter:  # keys
        return ["x", ["x", "Enter"], []], [7, ["x", 7]]
    if "enum" in parameter:
        return parameter["enum"], ["no_such", 7]
    kind, good, bad = parameter["type"], [], [WRONG_TYPE[parameter["type"]]]
    if name == "timeout":  # beyond its range it is clamped, and what is no number is nothing
        return [parameter["minimum"], 1.5, parameter["maximum"]], [-1]
    if kind == "boolean":
        return [True, False], bad
    if kind == "string":
        good.append(STRINGS.get(name, "x"))
        if "minLength" in parameter:
            bad.append("")
        if "maxLength" in parameter:
            good.append("x" * parameter["maxLength"])
            bad.append("x" * (parameter["maxLength"] + 1))
        return good, bad
    if "exclusiveMinimum" in parameter:
        good.append(parameter["exclusiveMinimum"] + 1)
        bad.append(parameter["exclusiveMinimum"])
    if "minimum" in parameter:
        good.append(parameter["minimum"])
        bad.append(parameter["minimum"] - 1)
    if "maximum" in parameter:
        good.append(parameter["maximum"])
        bad.append(parameter["maximum"] + 1)
    return good, bad


def cases() -> list[tuple[str, str]]:
    """(which arguments are fine, the parameter to be tried with them)."""
    of_action = tables("src/backend/local_request_terminal.c")
    found = []
    for tool, schema in definitions().items():
        if tool != "tmux":
            found += [(tool, parameter) for parameter in schema["properties"]]
    for action in definitions()["tmux"]["properties"]["action"]["enum"]:
        found += [(f"tmux {action}", parameter)
                  for parameter in ["action", "timeout", *sorted(of_action.get(action, ()))]]
    return found


def outcome(t: Any, tool: str, arguments: dict[str, Any]) -> str:
    try:
        return str(t.call(tool, arguments).verdict)
    except toolring.InvalidCall as e:
        assert e.result is None or e.result.verdict == "invalid"
        return "invalid"


@pytest.fixture(scope="module")
def slot(local: Any) -> Any:
    with toolring.sync.connect(local) as client, client.trajectory(None) as t:
        assert t.write_file("here.txt", "text").success
        yield t


@pytest.mark.parametrize("plain, parameter", cases())
def test_a_parameter_is_accepted_and_out_of_its_range_refused(slot: Any, plain: str,
                                                              parameter: str) -> None:
    tool = plain.split()[0]
    schema = definitions()[tool]
    arguments = PLAIN[ALIASES.get(plain, plain)]
    good, bad = edges(parameter, schema["properties"][parameter])
    if parameter == "action":
        good = [arguments["action"]]
    for value in good:
        given = {**arguments, parameter: value}
        # Nothing may appear in so short a time: that it waited at all is what counts.
        assert outcome(slot, tool, given) in (("ok", "timeout") if parameter == "max_wait_s" else
                                              ("ok",)), (given, "must be accepted")
        assert_valid(schema, given, True)
    for value in bad:
        given = {**arguments, parameter: value}
        assert outcome(slot, tool, given) in ("invalid", "failed", "limit"), (given, "must not")
        assert_valid(schema, given, False)


def assert_valid(schema: dict[str, Any], arguments: dict[str, Any], valid: bool) -> None:
    if jsonschema:
        validator = jsonschema.Draft202012Validator(schema)
        assert validator.is_valid(arguments) == valid, (arguments, "by the definition")


@pytest.mark.parametrize("tool, parameter",
                         [(tool, parameter) for tool, schema in definitions().items()
                          for parameter in schema["required"]])
def test_a_required_parameter_is_required(slot: Any, tool: str, parameter: str) -> None:
    plain = PLAIN["tmux capture" if tool == "tmux" else ALIASES.get(tool, tool)]
    assert outcome(slot, tool, plain) == "ok"
    given = {name: value for name, value in plain.items() if name != parameter}
    assert outcome(slot, tool, given) in ("invalid", "failed")
    assert_valid(definitions()[tool], given, False)


def test_a_timeout_of_the_models_counts_unless_the_harness_gives_one(slot: Any) -> None:
    sleeps = {"command": "sleep 1.2; echo woke", "timeout": 1}
    assert slot.call("bash", sleeps).verdict == "timeout"
    assert slot.call("bash", sleeps, timeout=30).output == "woke"


# ---- what a model asks for, and is told ----------------------------------------------------------

def openai_call(name: str, arguments: str) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}


def anthropic_call(name: str, arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": "toolu_1", "name": name, "input": arguments}


def as_object(thing: Any) -> Any:
    """As the APIs' own libraries have it."""
    if not isinstance(thing, dict):
        return thing
    return SimpleNamespace(**{name: value if name == "input" else as_object(value)
                              for name, value in thing.items()})


@pytest.mark.parametrize("form", [lambda call: call, as_object], ids=["dict", "object"])
def test_tool_calls_are_read_and_answered(slot: Any, form: Any) -> None:
    for call in (form(openai_call("bash", '{"command": "echo hi; exit 3"}')),
                 form(anthropic_call("bash", {"command": "echo hi; exit 3"}))):
        name, arguments = toolring.tool_call(call)
        assert (name, arguments) == ("bash", {"command": "echo hi; exit 3"})
        answer = toolring.tool_answer(call, slot.call(name, arguments))
        assert answer["content"] == "hi\n[error] Exit code: 3"
        if "role" in answer:
            assert answer == {"role": "tool", "tool_call_id": "call_1",
                              "content": answer["content"]}
        else:
            assert answer == {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True,
                              "content": answer["content"]}


def test_an_answer_tells_the_verdict_and_says_when_there_is_no_output(slot: Any) -> None:
    call = anthropic_call("bash", {})
    silent = toolring.tool_answer(call, slot.bash("true"))
    assert silent["content"] == "(no output)" and silent["is_error"] is False
    outside = toolring.tool_answer(call, slot.read_file("/etc/shadow"))
    assert outside["content"].startswith("[denied] ") and outside["is_error"] is True


def test_a_model_is_told_of_its_bad_calls(slot: Any) -> None:
    for call, told in ((openai_call("bash", "{"), "no JSON"),
                       (openai_call("bash", "[" * 100_000), "no JSON"),
                       (openai_call("bash", "[]"), "an object"),
                       (openai_call("bash", ""), "command"),
                       (anthropic_call("bash", None), "command"),
                       (anthropic_call("bash", {"command": 7}), "command"),
                       (anthropic_call("no_such_tool", {}), "no_such_tool")):
        with pytest.raises(toolring.InvalidCall) as caught:
            name, arguments = toolring.tool_call(call)
            slot.call(name, arguments)
        answer = toolring.tool_answer(call, caught.value)
        assert answer["content"].startswith("[error] ") and told in answer["content"]
        assert answer.get("is_error", True)


def test_what_is_no_tool_call_is_refused() -> None:
    """A call whose arguments are where neither API has them is none: it must not run without."""
    things: list[Any] = [{}, {"function": {}}, {"type": "text", "text": "hi"}, None, 7,
                         {"type": "function_call", "name": "bash", "call_id": "call_1",
                          "arguments": '{"command": "ls"}'},
                         {"name": "bash", "args": {"command": "ls"}},
                         SimpleNamespace(name="bash", arguments={"command": "ls"})]
    for thing in things:
        with pytest.raises(toolring.InvalidCall):
            toolring.tool_call(thing)


async def test_a_call_runs_as_read_by_the_asynchronous_client_too(local: Any) -> None:
    async with toolring.connect(local) as client, client.trajectory() as t:
        call = openai_call("bash", '{"command": "echo hi"}')
        result = await t.call(*toolring.tool_call(call), timeout=10)
        assert toolring.tool_answer(call, result)["content"] == "hi"
