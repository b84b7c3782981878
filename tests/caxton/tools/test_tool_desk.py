"""The desk in front of the tools: who runs what, what is counted, and where large results go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from caxton.agents.behaviour import ToolResult
from caxton.errors import StorageFull
from caxton.tools import desk, usage
from caxton.tools.catalog import ToolCatalog, ToolSpec
from caxton.tools.desk import ToolDesk
from caxton.tools.usage import OTHER, ToolUsage
from caxton.views import ToolsView


class Runner:
    """Gives what the test says."""

    def __init__(self, *results: ToolResult) -> None:
        self.results = list(results)
        self.owners: list[str] = []

    async def call(
        self,
        tool: ToolSpec,
        arguments: Mapping[str, Any],
        *,
        permissions: Mapping[str, Any],
        timeout_ms: int,
        owner: str = "",
    ) -> ToolResult:
        self.owners.append(owner)
        return self.results.pop(0)


def spec(name: str) -> ToolSpec:
    """A tool of the sandbox."""
    return ToolSpec(name, "", {"type": "object"}, Path("x.wasm"), "0" * 64)


async def call(of: ToolDesk, name: str = "t", owner: str = "analyst") -> ToolResult:
    """One call."""
    return await of.call(spec(name), {}, permissions={}, timeout_ms=1_000, owner=owner)


async def test_calls_are_counted_by_tool_and_outcome() -> None:
    """With how long they took; the owner goes with them."""
    runner = Runner(
        ToolResult(True, "1", "", 2.0),
        ToolResult(False, "no", "timeout", 30.0),
        ToolResult(False, "no", "", 1.0),
        ToolResult(True, "2", "", 4.0),
    )
    made = ToolDesk(ToolCatalog.builtin(), runner)
    for _ in range(3):
        await call(made)
    await call(made, "other_tool", "someone")
    view = made.usage.view(workers=2, busy=1, waiting=3, waiting_limit=64)
    assert (view.workers, view.busy, view.waiting, view.waiting_limit) == (2, 1, 3, 64)
    other, mine = view.tools
    assert (other.name, other.outcomes) == ("other_tool", {"ok": 1})
    assert (mine.name, mine.outcomes) == ("t", {"ok": 1, "timeout": 1, "failed": 1})
    assert (mine.calls, mine.took.count, mine.took.total_us) == (3, 3, 33_000)
    assert runner.owners == ["analyst"] * 3 + ["someone"]


def test_ever_new_tools_are_counted_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the metrics have a bound."""
    monkeypatch.setattr(usage, "MOST", 2)
    counted = ToolUsage()
    for name in ("a", "b", "c", "d", "a"):
        counted.called(name, ToolResult(True, ""))
    view: ToolsView = counted.view(workers=0, busy=0, waiting=0, waiting_limit=0)
    assert {one.name: one.calls for one in view.tools} == {"a": 2, "b": 1, OTHER: 2}


async def test_a_large_result_is_kept_by_its_hash() -> None:
    """What is passed on says where, how large, and how it begins."""
    kept: list[str] = []

    async def keep(result: str) -> str:
        kept.append(result)
        return "ab" * 32

    large = "é" * (desk.RESULT_CHARACTERS + 1)
    made = ToolDesk(ToolCatalog.builtin(), Runner(ToolResult(True, large, "", 1.0)), keep)
    result = await call(made)
    assert result.ok
    told = json.loads(result.content)
    assert told["kept"] == "sha256:" + "ab" * 32
    assert told["read"] == "GET /api/v1/content/" + "ab" * 32
    assert told["characters"] == len(large)
    assert told["begins"] == "é" * desk.BEGINNING
    assert kept == [large]


async def test_a_large_result_that_is_not_kept_is_an_error() -> None:
    """Because there is no store, because it is full, or because it is an error anyway."""

    async def full(result: str) -> str:
        raise StorageFull(store="content", reason="the disk is full")

    large = "x" * (desk.RESULT_CHARACTERS + 1)
    for keep, ok, why in ((None, True, "at most"), (full, True, "full"), (full, False, "at most")):
        made = ToolDesk(ToolCatalog.builtin(), Runner(ToolResult(ok, large, "", 1.0)), keep)
        result = await call(made)
        assert (result.ok, result.reason) == (False, "reply_too_large")
        assert why in result.content
        assert len(result.content) < 500
