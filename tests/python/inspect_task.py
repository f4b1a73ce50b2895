# SPDX-License-Identifier: Apache-2.0
"""Tasks that test_inspect_eval.py runs: inspect eval inspect_task.py@count."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessage, ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver, use_tools
from inspect_ai.tool import bash, bash_session, python
from inspect_ai.util import sandbox

MODEL = "mockllm/model"
NUMBERS = [f"{n}\n" * n for n in (3, 5, 8)]

# What the model does, one step in each turn.
COUNT = [
    ("bash", {"command": "echo $(wc -l < numbers.txt) > /tmp/lines\n"
                         "(until [ -e stop ]; do sleep 0.1; done\n"
                         "echo heard > heard) &>/dev/null &"}),
    ("python", {"code": "total = sum(map(int, open('numbers.txt')))\n"
                        "open('answer.txt', 'w').write(f'{total}')\nprint(total)"}),
    ("bash", {"command": "echo $(<answer.txt) lines $(</tmp/lines) $(<made_by_setup) > answer.txt\n"
                         "touch stop; until [ -s heard ]; do sleep 0.1; done; cat heard"}),
    ("bash", {"command": "exit 3"}),
]
SESSION = [
    ("bash_session", {"action": "type_submit", "input": "cd /tmp && x=6"}),
    ("bash_session", {"action": "type_submit",
                      "input": "echo $PWD $((x*7)) > /workspace/answer.txt"}),
]
CRASH = [
    ("bash", {"command": "echo survived > answer.txt"}),
    ("bash", {"command": "cat answer.txt"}),
]

Step = tuple[str, dict[str, Any]]


def scripted(steps: Sequence[Step], last: Any = None) -> Any:
    """A model that takes these steps, whatever it is told; before the last it calls this."""

    def answer(messages: list[ChatMessage], *_: Any) -> ModelOutput:
        n = sum(message.role == "tool" for message in messages)
        if n == len(steps) - 1 and last is not None:
            last()
        if n < len(steps):
            output = ModelOutput.for_tool_call(MODEL, *steps[n])
        else:
            output = ModelOutput.from_content(MODEL, "done")
        # Else inspect_ai counts them with a vocabulary that it fetches from the network.
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output

    return get_model(MODEL, custom_outputs=answer, memoize=False)


@scorer(metrics=[accuracy()])
def file_says() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        found = await sandbox().read_file("answer.txt")
        return Score(value=found.strip() == target.text, answer=found)

    return score


@task
def count() -> Task:
    """Files and a setup script, background processes, and a scorer that reads from the sandbox."""
    samples = [Sample(input="Add them up.", target=f"{n * n} lines {n} ready",
                      files={"numbers.txt": numbers}, setup="echo ready > made_by_setup")
               for numbers in NUMBERS if (n := len(numbers.splitlines()))]
    return Task(dataset=samples,
                solver=[use_tools([bash(timeout=30), python(timeout=30)]), generate()],
                scorer=file_says(), sandbox="toolring", model=scripted(COUNT))


@solver
def two_at_a_time() -> Solver:
    """A command that waits for what another one does meanwhile."""
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        waiting = await sandbox().exec_remote(
            ["sh", "-c", "until [ -e /tmp/go ]; do sleep 0.1; done; echo gone"])
        await sandbox().exec(["touch", "/tmp/go"])
        said = [getattr(event, "data", "") async for event in waiting]
        assert "".join(said) == "gone\n"
        return state

    return solve


@task
def session() -> Task:
    """What inspect_ai does by a server of its own in the sandbox."""
    return Task(dataset=[Sample(input="Multiply.", target="/tmp 42")],
                solver=[two_at_a_time(), use_tools([bash_session(timeout=300)]), generate()],
                scorer=file_says(), sandbox="toolring", model=scripted(SESSION))


@task
def crash(kill: int = 0) -> Task:
    """Before the model's last step a process is killed, if one is named."""
    def fall() -> None:
        if kill:
            os.kill(kill, signal.SIGKILL)

    return Task(dataset=[Sample(input="Survive.", target="survived")],
                solver=[use_tools([bash(timeout=30)]), generate()], scorer=file_says(),
                sandbox="toolring", model=scripted(CRASH, fall))
