# SPDX-License-Identifier: Apache-2.0
"""
A drop-in for the tool backend and the tool executor of atropos agent environments.

    backend = ToolringBackend()                     # was NomadToolBackend(...)
    await backend.start()
    executor = ToolExecutor(backend=backend, tools=registry, config=config)
    await executor.start()
    result = await executor.execute(trajectory_id, call)

Nothing of the replaced system is imported: calls, registries, requests and configurations are
taken by what attributes they have, and what comes back has those of its classes. Its own
ToolExecutor runs over ToolringBackend as well.

There is one thing to know. The interface has one flag for all that goes wrong, success; toolring
tells apart what the model did and what the infrastructure did. Every result has
metadata["verdict"] and metadata["infrastructure_fault"]; a result with the latter is none of the
model's doing, and no reward should be made of it. ToolExecutor(..., faults="raise") raises such
faults instead, so that an environment that looks at success alone drops the rollout, where it would
else score it 0.
"""

from ._backend import ToolringBackend
from ._executor import ToolExecutor, ToolExecutorConfig
from ._types import (ArtifactArchiveResponse, ArtifactEntry, ArtifactListResponse,
                     ArtifactReadResponse, ExecutionResult, Slot, SlotState, ToolResult)

__all__ = ["ArtifactArchiveResponse", "ArtifactEntry", "ArtifactListResponse",
           "ArtifactReadResponse", "ExecutionResult", "Slot", "SlotState", "ToolExecutor",
           "ToolExecutorConfig", "ToolResult", "ToolringBackend"]
