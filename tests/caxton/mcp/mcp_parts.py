"""A node's parts as ``/mcp`` needs them, without a node."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from fake_entry import SPACE, FakeEntry, agent_id

from caxton.agents.agent_file import parse_agent_file
from caxton.agents.behaviour import ToolResult
from caxton.agents.directory import Directory
from caxton.mcp.local_offer import LocalOffer, Parts
from caxton.storage.registry import AgentRecord, ReloadRecord
from caxton.tools.catalog import ToolCatalog, ToolSpec

ADD = ToolSpec(
    "add",
    "Add two numbers",
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
)
FOREIGN = ToolSpec(
    "files__read", "Read a file", {"type": "object"}, source="mcp:files", sandboxed=False,
    hints={"read_only": True},
)  # fmt: skip


class FakeRunner:
    """Takes notes of calls and answers with ``results`` in turn; the last one stays."""

    def __init__(self, *results: ToolResult) -> None:
        self.results = list(results) or [ToolResult(True, '{"sum":3}')]
        self.calls: list[tuple[str, dict[str, Any], dict[str, Any], int]] = []
        self.owners: set[str] = set()
        self.hold: asyncio.Event | None = None
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def call(
        self, tool: ToolSpec, arguments: Mapping[str, Any], *, permissions: Mapping[str, Any],
        timeout_ms: int, owner: str = "",
    ) -> ToolResult:  # fmt: skip
        self.owners.add(owner)
        self.calls.append((tool.name, dict(arguments), dict(permissions), timeout_ms))
        self.begun.set()
        if self.hold is not None:
            try:
                await self.hold.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return self.results.pop(0) if len(self.results) > 1 else self.results[0]


def record(name: str, revision: int, *, removed: bool = False, **fields: str) -> AgentRecord:
    """An agent of the directory."""
    lines = "".join(f"{key}: {value}\n" for key, value in fields.items())
    text = f"---\nname: {name}\n{lines}---\nSay hello.\n"
    definition = parse_agent_file(text.encode(), f"{name}.md").definition
    identity = agent_id(name)
    return AgentRecord(
        identity, name, revision, f"{name}.md", definition, "", ReloadRecord(), removed
    )


def parts(**more: Any) -> Parts:
    """Parts with two tools, one of another server, and two agents."""
    directory = Directory(SPACE, 1)
    directory.apply(
        [
            record("Greeter", 1, capabilities="[greeting]", description="Greets people"),
            record("Analyst", 2, capabilities="[data-analysis]"),
        ]
    )
    given: dict[str, Any] = {
        "entry": FakeEntry(),
        "directory": directory,
        "catalog": ToolCatalog([ADD, FOREIGN]),
        "runner": FakeRunner(),
        "timeout_ms": 20_000,
    }
    return Parts(**(given | more))


def offer(**more: Any) -> LocalOffer:
    """An offer of such parts."""
    return LocalOffer(parts(**more))
