"""Tools where they run: the desk, the growing catalog, arguments, and calls that are given up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson
import pytest

from caxton.agents.behaviour import ToolResult
from caxton.errors import Timeout
from caxton.links.questions import Questions
from caxton.links.wire import Notice, Query
from caxton.tools.arguments import wrong_arguments
from caxton.tools.catalog import ToolCatalog, ToolSpec, specs_from, specs_to
from caxton.tools.desk import ToolDesk
from caxton.tools.runner import RemoteToolRunner
from caxton.views import ToolServerView

HERE = ToolSpec("here", "In the sandbox", {"type": "object"})
THERE = ToolSpec("srv__there", "Elsewhere", {"type": "object"}, source="mcp:srv", sandboxed=False)


class Runner:
    def __init__(self, said: str) -> None:
        self.said = said

    async def call(
        self, tool: ToolSpec, arguments: Mapping[str, Any], *, permissions: Mapping[str, Any],
        timeout_ms: int, owner: str = "",
    ) -> ToolResult:  # fmt: skip
        return ToolResult(True, f"{self.said} {tool.name} {dict(arguments)} {timeout_ms}")


class Servers(Runner):
    def views(self) -> list[ToolServerView]:
        return [ToolServerView("srv", "stdio", "connected", 1)]


def question(tool: str) -> dict[str, Any]:
    called = {"tool": tool, "arguments": orjson.dumps({"a": 1}), "owner": "Analyst"}
    return {**called, "permissions": {}, "timeout_ms": 5}


async def test_a_tool_runs_where_it_belongs() -> None:
    """Sandboxed ones in the sandbox, those of a server at the server; nobody there is a result."""
    desk = ToolDesk(ToolCatalog([HERE, THERE]), Runner("sandbox"))
    assert (await desk.answer("tool", question("here")))["content"] == "sandbox here {'a': 1} 5"
    assert (await desk.answer("tool", question("srv__there")))["reason"] == "missing"
    desk.attach(Servers("server"))
    found = await desk.answer("tool", question("mcp__srv__there"))
    assert found["content"] == "server srv__there {'a': 1} 5"
    assert (await desk.answer("tool", question("none")))["reason"] == "missing"
    assert (await desk.answer("other", question("here")))["ok"] is False


def test_news_are_what_others_do_not_know() -> None:
    """Tools that did not come with Caxton, and the servers; they survive the way over a link."""
    desk = ToolDesk(ToolCatalog([HERE, THERE]), Runner(""))
    desk.attach(Servers(""))
    news = msgspec.msgpack.decode(msgspec.msgpack.encode(desk.news()))
    assert specs_from(news["tools"]) == (THERE,)
    assert msgspec.convert(news["servers"], tuple[ToolServerView, ...])[0].sandboxed is False
    assert specs_from(specs_to(ToolCatalog.builtin().specs)) == ToolCatalog.builtin().specs


def test_a_catalog_grows_and_shrinks() -> None:
    """Sources are put as a whole; who watches is told of changes only; the older source wins."""
    catalog = ToolCatalog([HERE], expected=["srv", "late"])
    told: list[int] = []
    catalog.watch(lambda: told.append(catalog.revision))
    assert catalog.put("mcp:srv", [THERE]) is True
    assert catalog.put("mcp:srv", [THERE]) is False
    other = ToolSpec("here", "Another", {}, source="x")
    catalog.put("x", [other])
    assert catalog.get("here") is HERE
    assert catalog.names == ("here", "srv__there")
    assert len(told) == 2
    found, missing = catalog.available(["mcp__srv", "srv__*", "late__x", "srv__no", "here"])
    assert found == (THERE, HERE)
    assert missing == {
        "late__x": "the MCP server `late` is not connected",
        "srv__no": "the MCP server `srv` has no tool of this name",
    }
    assert catalog.may_come("late__x")
    assert not catalog.may_come("other__x")
    catalog.put("mcp:srv", ())
    assert catalog.get("srv__there") is None
    assert ToolCatalog.live().names == ToolCatalog.builtin().names
    assert ToolCatalog.live() is not ToolCatalog.builtin()


@pytest.mark.parametrize(
    ("schema", "arguments", "told"),
    [
        ({"type": "object", "required": ["a"]}, {}, "'a' is a required property"),
        ({"properties": {"a": {"type": "integer"}}}, {"a": "x"}, "a: 'x' is not of type"),
        ({"$ref": "http://127.0.0.1:1/schema.json"}, {"a": 1}, "not usable"),
        ({"$ref": "#"}, {"a": 1}, "not usable"),
        ({"type": 5}, {"a": 1}, "not usable"),
        ({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 60 + "!"}, ""),
        ({"properties": {"pattern": {"type": "integer"}}}, {"pattern": "x"}, "pattern: 'x'"),
    ],
)
def test_arguments_of_a_foreign_tool_are_checked_without_its_traps(
    schema: dict[str, Any], arguments: dict[str, Any], told: str
) -> None:
    """No reference is fetched, no recursion without end, no regular expression of a stranger's."""
    found = wrong_arguments(ToolSpec("t", "", schema, sandboxed=False), arguments)
    assert (told in found) if told else found == ""


def test_a_pattern_of_our_own_tools_holds() -> None:
    """Sandboxed tools' schemas are trusted, regular expressions too."""
    spec = ToolSpec("t", "", {"properties": {"a": {"pattern": "^x$"}}})
    assert "does not match" in wrong_arguments(spec, {"a": "y"})


async def test_a_call_that_is_given_up_is_cancelled_over_the_link() -> None:
    """When the caller is cancelled or its time is over, the other process is told."""
    sent: list[Any] = []
    asked = asyncio.Event()

    def send(sentence: Any) -> None:
        sent.append(sentence)
        asked.set()

    questions = Questions(send, "tools")
    runner = RemoteToolRunner(questions)
    calling = asyncio.create_task(runner.call(HERE, {}, permissions={}, timeout_ms=1_000))
    await asyncio.wait_for(asked.wait(), 10)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    query, notice = sent
    assert isinstance(query, Query)
    assert notice == Notice("cancel", query.reference)
    sent.clear()
    with pytest.raises(Timeout):
        await questions.ask("x", {}, 0.001, cancels=True)
    assert isinstance(sent[-1], Notice)
    sent.clear()
    with pytest.raises(Timeout):
        await questions.ask("x", {}, 0.001)
    assert len(sent) == 1
