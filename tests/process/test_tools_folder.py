"""A node with tools of its own: found, called by an agent, rebuilt while it runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest_process import RunningNode, serving_llm, until
from stub_llm import Reply

from sandbox.testing import agent, wat

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

Start = Callable[..., RunningNode]

AGENT = """---
name: Teller
tools: [version]
---
You tell the version.
"""
ROUNDS = 200
"""More calls than the waiting below takes."""


def answering(text: str) -> bytes:
    """A tool of the agent ABI that gives this text back."""
    escaped = text.replace('"', '\\"')
    return wat(
        agent(
            f"(i64.or (i64.shl (i64.const 16) (i64.const 32)) (i64.const {len(text)}))",
            extra=f'(data (i32.const 16) "{escaped}")',
        )
    )


def put(folder: Path, module: bytes) -> None:
    """Put a module in place as a build does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tool.json").write_text(
        json.dumps({"description": "Tells the version.", "inputSchema": {"type": "object"}})
    )
    (folder / "part").write_bytes(module)
    (folder / "part").replace(folder / "version.wasm")


def test_an_agent_calls_a_tool_that_comes_changes_breaks_and_goes(
    start_node: Start, tmp_path: Path
) -> None:
    """Without a restart; a broken build keeps the version before and shows why."""
    replies = [Reply(calls=[("version", {})], finish="tool_calls"), "told"] * ROUNDS
    place = tmp_path / "tools" / "version"
    with serving_llm(*replies) as (url, requests):
        node = start_node("--shards", "1", OPENAI_BASE_URL=url, OPENAI_API_KEY="sk-secret-1234")
        (node.agents / "Teller.md").write_text(AGENT)

        def tool() -> dict[str, Any]:
            listed = node.caxton("--json", "--url", node.url, "tool", "ls").stdout
            rows = {row["name"]: row for row in json.loads(listed)["items"]}
            return rows.get("version", {})

        def told() -> str:
            """What the model is told by the tool."""
            node.caxton("send", "--to", "Teller", "which version?")
            return json.dumps(requests[-1]).replace("\\", "").replace(" ", "")

        until(
            lambda: "Teller" in node.caxton("agent", "ls", "-o", "name").stdout,
            "the agent to be there",
        )
        assert tool() == {}
        put(place, answering('{"v":1}'))
        row = until(tool, "the tool to be there")
        assert isinstance(row, dict)
        assert (row["source"], row["sandboxed"], row["state"]) == ("folder", True, "ok")
        until(lambda: '{"v":1}' in told(), "its answer")
        until(lambda: (tool()["calls"] or 0) >= 1, "its calls to be counted")

        put(place, answering('{"v":2}'))
        until(lambda: '{"v":2}' in told(), "the answer of the new version")

        put(place, b"\0asm\1\0\0\0junk")
        until(lambda: "compile_failed" in tool()["state"], "the reason to show")
        assert '{"v":2}' in told()

        shutil.rmtree(place)
        until(lambda: tool() == {}, "it to be gone")
        assert '{"v":' not in told().rpartition('"role":"user"')[2]
        assert node.end() == 0
