# SPDX-License-Identifier: Apache-2.0
"""
Shows that the answers which callers of the replaced system got are what they get through
toolring.atropos.ToolringBackend: the cases recorded from it, each on a slot of its own, as
tests/conformance/run holds the ring to them.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from private import Private

from toolring.atropos import ToolringBackend

CASES = Path(__file__).resolve().parent.parent / "conformance" / "tool-contract.jsonl"
AT_A_TIME = 8


def read_cases() -> list[dict[str, Any]]:
    return [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines() if line]


def gives_up_network(case: dict[str, Any]) -> bool:
    return any(step["request"].get("args", {}).get("allow_network") is False
               for step in case["steps"] if step["endpoint"] == "execute")


def filled_in(value: Any, slot_id: str) -> Any:
    return json.loads(json.dumps(value).replace("{slot_id}", slot_id))


def differences(expected: Any, came: Any, where: str = "") -> list[str]:
    """Where came does not hold all of expected."""
    if isinstance(expected, dict) and isinstance(came, dict):
        return [line for key, value in expected.items()
                for line in (differences(value, came[key], f"{where}.{key}") if key in came
                             else [f"{where}.{key} is not there"])]
    if isinstance(expected, list) and isinstance(came, list) and len(expected) == len(came):
        return [line for i, (e, c) in enumerate(zip(expected, came))
                for line in differences(e, c, f"{where}[{i}]")]
    if isinstance(expected, bool) == isinstance(came, bool) and expected == came:
        return []
    return [f"{where}: expected {expected!r:.300}, came {came!r:.300}"]


def members_of(answer: dict[str, Any]) -> list[list[str]]:
    data = io.BytesIO(base64.b64decode(answer["content"], validate=True))
    with tarfile.open(fileobj=data, mode="r:gz") as archive:
        files = [(m.name, archive.extractfile(m)) for m in archive if m.isfile()]
        return sorted([name, file.read().decode()] for name, file in files if file)


class Case:
    """One case, on a slot of its own."""

    def __init__(self, backend: ToolringBackend, name: str) -> None:
        self.backend, self.name = backend, name

    async def answer(self, endpoint: str, request: dict[str, Any]) -> dict[str, Any]:
        b, request = self.backend, dict(request)
        match endpoint:
            case "execute":
                [r] = await b.execute_batch([(self.slot, request["tool"], request["args"])],
                                            timeout_s=request.get("timeout"))
                return {"success": r.success, "output": r.output, "error": r.error,
                        "execution_id": r.execution_id, "metadata": r.metadata}
            case "artifacts/read":
                return await b.read_artifact(self.slot, **request)
            case "artifacts/list":
                return await b.list_artifacts(self.slot, **request)
            case "artifacts/archive":
                if "format" in request:
                    request["archive_format"] = request.pop("format")
                return await b.archive_artifacts(self.slot, **request)
        raise AssertionError(f"no such endpoint: {endpoint}")

    async def run(self, steps: list[dict[str, Any]]) -> list[str]:
        self.slot = await self.backend.acquire(self.name)
        try:
            for i, step in enumerate(steps):
                step = filled_in(step, self.slot.slot_id)
                if step["endpoint"] == "reset":
                    # The protocol has a reset in release alone.
                    await self.backend.release(self.slot, reset_workspace=True)
                    self.slot = await self.backend.acquire(self.name)
                    continue
                came = await self.answer(step["endpoint"], step["request"])
                if lines := self.wrong(step, came):
                    return [f"step {i + 1}: {step['request']!r:.300}", *lines]
        finally:
            await self.backend.release(self.slot, reset_workspace=True)
        return []

    @staticmethod
    def wrong(step: dict[str, Any], came: dict[str, Any]) -> list[str]:
        expected = dict(step.get("expect", {}))
        members = expected.pop("members", None)
        lines = differences(expected, came)
        if members is not None and not lines:
            lines = differences(sorted(members), members_of(came), "members")
        prefix = step.get("expect_error_prefix", "")
        if not came["error"].startswith(prefix):
            lines.append(f"error: expected {prefix!r} at its beginning, came {came['error']!r}")
        if step["status"] != came.get("http_status", 200):
            lines.append(f"http_status: expected {step['status']}, came {came['http_status']}")
        if came["metadata"]["infrastructure_fault"]:
            lines.append(f"a fault of the infrastructure: {came['error']}")
        return lines


async def run_all(daemon: Private) -> dict[str, list[str]]:
    """What is wrong with each case, by its group and name."""
    gate = asyncio.Semaphore(AT_A_TIME)
    async with ToolringBackend(daemon) as with_network, \
            ToolringBackend(daemon, spec={"network": "none"}) as without:
        async def run(number: int, case: dict[str, Any]) -> list[str]:
            async with gate:
                backend = without if gives_up_network(case) else with_network
                return await Case(backend, f"case-{number}").run(case["steps"])

        cases = read_cases()
        wrong = await asyncio.gather(*[run(i, c) for i, c in enumerate(cases)])
    return {f"{c['group']}-{c['name']}": w for c, w in zip(cases, wrong)}


@pytest.fixture(scope="module")
def wrong() -> Iterator[dict[str, list[str]]]:
    with Private("--network", "host", backend="local") as daemon:
        yield asyncio.run(run_all(daemon))


@pytest.mark.parametrize("name", [f"{c['group']}-{c['name']}" for c in read_cases()])
def test_contract(wrong: dict[str, list[str]], name: str) -> None:
    assert wrong[name] == []
