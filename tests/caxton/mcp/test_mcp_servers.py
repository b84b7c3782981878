"""Other MCP servers as tools: connecting, calling, dying and coming back, bounds, secrets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import mcp_types as types
import psutil
import pytest
from mcp import Client
from mcp.server.lowlevel import Server

from caxton.mcp.foreign_tools import foreign_specs, result_of, tool_name
from caxton.mcp.server_file import ServerEntry
from caxton.mcp.servers import ServerSet
from caxton.tools.catalog import ToolCatalog, ToolSpec

TINY = Path(__file__).parents[2] / "mcp" / "mcp_tiny_server.py"
SECRET = "hunter2-hunter2"


def tiny(**env: str) -> ServerEntry:
    given = {"SECRET": SECRET, **env}
    return ServerEntry(
        "tiny", "stdio", sys.executable, (str(TINY),), given, str(TINY.parent),
        secrets=frozenset({SECRET}),
    )  # fmt: skip


class Watched:
    """A set of servers, and a way to wait for what becomes of it."""

    def __init__(self, *entries: ServerEntry, **options: Any) -> None:
        self.catalog = ToolCatalog()
        self.events: list[tuple[str, str, str]] = []
        self._changed = asyncio.Event()
        self.servers = ServerSet(
            entries, self.catalog, self._changed.set, lambda *event: self.events.append(event),
            **{"pause_s": (0.01, 0.02), **options},
        )  # fmt: skip

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until what changes fulfils the condition."""
        async with asyncio.timeout(30):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def tool(self, name: str) -> ToolSpec:
        spec = self.catalog.get(name)
        assert spec is not None
        return spec

    async def call(self, tool: str, /, timeout_ms: int = 20_000, **arguments: Any) -> Any:
        return await self.servers.call(
            self.tool(tool), arguments, permissions={}, timeout_ms=timeout_ms
        )

    @property
    def state(self) -> str:
        return self.servers.views()[0].state


@contextlib.asynccontextmanager
async def watched(*entries: ServerEntry, **options: Any) -> AsyncIterator[Watched]:
    made = Watched(*entries, **options)
    made.servers.start()
    try:
        yield made
    finally:
        await made.servers.close()


# --- a real child ----------------------------------------------------------------------------


async def test_a_child_is_called_and_ended_with_what_it_started() -> None:
    """Its tools are there by our names, not sandboxed; at the end its whole group is gone."""
    async with watched(tiny()) as found:
        await found.until(lambda: found.state == "connected")
        names = found.catalog.names
        assert "tiny__show_env" in names
        spec = found.tool("mcp__tiny__show_env")
        assert (spec.sandboxed, spec.source) == (False, "mcp:tiny")
        assert found.servers.views()[0].sandboxed is False
        assert (await found.call("tiny__show_env", name="SECRET")).content == SECRET
        grandchild = psutil.Process(int((await found.call("tiny__spawn")).content))
        assert grandchild.is_running()
    gone, alive = psutil.wait_procs([grandchild], timeout=10)
    assert (len(gone), alive) == (1, [])


async def test_a_child_does_not_get_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of this process stay here; what the file gives is there."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-others")
    async with watched(tiny(MORE="1")) as found:
        await found.until(lambda: found.state == "connected")
        assert (await found.call("tiny__show_env", name="OPENAI_API_KEY")).content == "not set"
        assert (await found.call("tiny__show_env", name="MORE")).content == "1"


@pytest.mark.parametrize(
    ("tool", "reason"), [("tiny__die", "exit code 3"), ("tiny__flood", "8,388,608 bytes")]
)
async def test_a_child_that_ends_or_floods_comes_back(tool: str, reason: str) -> None:
    """The call says that nobody knows what it did; the next call goes to a new child."""
    async with watched(tiny()) as found:
        await found.until(lambda: found.state == "connected")
        result = await found.call(tool)
        assert (result.ok, result.reason) == (False, "lost")
        assert "not known" in result.content
        again = await found.call("tiny__show_env", name="SECRET")
        assert again.content == SECRET
        assert any(kind == "mcp.waiting" and reason in text for kind, _, text in found.events)
        assert found.servers.views()[0].restarts == 1


async def test_a_call_without_an_answer_ends_in_time_and_is_cancelled(tmp_path: Path) -> None:
    """At its deadline, or when nobody waits any more, the server is told."""
    mark = tmp_path / "mark"
    async with watched(tiny(MARK=str(mark))) as found:
        await found.until(lambda: found.state == "connected")
        late = await found.call("tiny__silence", timeout_ms=100)
        assert (late.ok, late.reason) == (False, "timeout")
        # The answer to a later call comes after the server has read what came before.
        assert (await found.call("tiny__show_env", name="MARK")).ok
        assert mark.read_text() == "cancelled"


async def test_a_list_that_is_wrong_is_the_reason_that_is_told() -> None:
    """Not the end of the child, which only follows from it."""
    async with watched(tiny(ODD="1")) as found:
        await found.until(lambda: found.state == "waiting")
        assert "inputSchema" in found.servers.views()[0].detail


async def test_secrets_are_in_no_log_and_no_event(caplog: pytest.LogCaptureFixture) -> None:
    """What the child writes on standard error is logged without them."""
    with caplog.at_level(logging.DEBUG):
        async with watched(tiny()) as found:
            await found.until(lambda: "started with ***" in caplog.text)
            await found.until(lambda: found.state == "connected")
            await found.call("tiny__die")
    assert SECRET not in caplog.text
    assert SECRET not in str(found.events)


async def test_what_is_not_installed_is_told_once_and_tried_with_growing_pauses() -> None:
    """No hot loop: a few tries, one event; the state says why."""
    entry = ServerEntry("none", "stdio", "no-such-program-here", cwd=os.getcwd())
    async with watched(entry, pause_s=(0.01, 0.02)) as found:
        await found.until(lambda: found.servers.views()[0].restarts >= 3)
        await found.until(lambda: found.state == "waiting")
        view = found.servers.views()[0]
        assert "`no-such-program-here` is not installed" in view.detail
        assert [kind for kind, _, _ in found.events] == ["mcp.waiting"]
    assert found.state == "stopped"


# --- without a child -------------------------------------------------------------------------


def offering(*names: str) -> Server[Any]:
    """A server in this process with these tools."""

    async def list_tools(_ctx: Any, _params: Any) -> types.ListToolsResult:
        schema: dict[str, Any] = {"type": "object"}
        return types.ListToolsResult(
            tools=[types.Tool(name=one, description=one, input_schema=schema) for one in names]
        )

    async def call_tool(_ctx: Any, params: Any) -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(type="text", text=params.name)])

    return Server("inside", on_list_tools=list_tools, on_call_tool=call_tool)


async def test_a_changed_list_is_read_again() -> None:
    """What a server says has changed is asked for; agents see the new tools."""
    given = ["one"]
    told: list[Callable[[], None]] = []

    @contextlib.asynccontextmanager
    async def connect(_entry: Any, _redact: Any, _ended: Any, changed: Any) -> AsyncIterator[Any]:
        told.append(changed)

        async def list_tools(_ctx: Any, _params: Any) -> types.ListToolsResult:
            tools = [types.Tool(name=one, input_schema={"type": "object"}) for one in given]
            return types.ListToolsResult(tools=tools)

        async with Client(Server("inside", on_list_tools=list_tools), cache=None) as client:
            yield client

    async with watched(ServerEntry("a", "stdio", "x"), connect=connect) as found:
        await found.until(lambda: found.state == "connected")
        assert found.catalog.names == ("a__one",)
        given.append("two")
        told[-1]()
        await found.until(lambda: "a__two" in found.catalog.names)
        assert found.servers.views()[0].tools == 2


async def test_tools_go_after_some_failed_starts_and_come_back() -> None:
    """A short absence keeps them; a long one takes them away; a call meanwhile says so."""
    ends: list[Callable[[str], None]] = []
    broken = asyncio.Event()

    @contextlib.asynccontextmanager
    async def connect(_entry: Any, _redact: Any, ended: Any, _changed: Any) -> AsyncIterator[Any]:
        if broken.is_set():
            raise ConnectionRefusedError("nobody there")
        ends.append(ended)
        async with Client(offering("x"), cache=None) as client:
            yield client

    async with watched(ServerEntry("a", "stdio", "x"), connect=connect) as found:
        await found.until(lambda: found.state == "connected")
        assert (await found.call("a__x")).content == "x"
        spec = found.tool("a__x")
        broken.set()
        ends[0]("it went away")
        await found.until(lambda: not found.catalog.names)
        late = await found.servers.call(spec, {}, permissions={}, timeout_ms=50)
        assert late.reason in ("timeout", "offline")
        broken.clear()
        await found.until(lambda: found.catalog.names == ("a__x",))
        assert (await found.call("a__x")).ok
        missing = ToolSpec("b__x", "", {}, source="mcp:b", sandboxed=False)
        assert (await found.servers.call(missing, {}, permissions={}, timeout_ms=50)).reason == (
            "missing"
        )


# --- names and results -----------------------------------------------------------------------


def test_names_fit_models_and_stay_apart() -> None:
    """Dots become underscores, long names are cut, and no two are the same."""
    tools = [
        types.Tool(name=name, input_schema={"type": "object"})
        for name in ("a.b", "a_b", "x" * 100, "ü", "")
    ]
    specs, names, left_out = foreign_specs("srv", tools)
    assert len({spec.name for spec in specs}) == len(tools)
    for spec in specs:
        assert len(spec.name) <= 64
        assert set(spec.name) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
        )
    assert names["srv__a_b"] == "a.b"
    assert left_out == {}
    assert tool_name("ask_", "data-analysis") == "ask_data-analysis"


def test_too_much_is_left_out() -> None:
    """More than 200 tools, a schema that is huge or no object."""
    many = [types.Tool(name=f"t{n}", input_schema={"type": "object"}) for n in range(201)]
    specs, _, left_out = foreign_specs("s", many)
    assert (len(specs), list(left_out)) == (200, ["t200"])
    huge = types.Tool(name="h", input_schema={"type": "object", "title": "x" * 70_000})
    odd = types.Tool(name="o", input_schema={"type": "array"})
    specs, _, left_out = foreign_specs("s", [huge, odd])
    assert (specs, set(left_out)) == ((), {"h", "o"})
    hinted = types.Tool(
        name="x", input_schema={"type": "object"}, annotations=types.ToolAnnotations(
            read_only_hint=True)
    )  # fmt: skip
    assert foreign_specs("s", [hinted])[0][0].hints == {"read_only": True}


def test_results_become_text_within_bounds() -> None:
    """Text is joined, structure is JSON without text, pictures are named, length counts."""
    text = types.TextContent(type="text", text="a")
    image = types.ImageContent(type="image", data="abcd", mime_type="image/png")
    inner = types.TextResourceContents(uri="x://y", text="inside")
    embedded = types.EmbeddedResource(type="resource", resource=inner)
    link = types.ResourceLink(type="resource_link", uri="x://z", name="z")
    result = types.CallToolResult(content=[text, image, embedded, link])
    assert result_of(result) == (
        True, "a\n[image image/png, 4 characters, left out]\ninside\n[resource x://z]", "",
    )  # fmt: skip
    structured = types.CallToolResult(content=[], structured_content={"n": 1})
    assert result_of(structured) == (True, '{"n":1}', "")
    failed = types.CallToolResult(content=[text], is_error=True)
    assert result_of(failed) == (False, "a", "tool_error")
    long = types.TextContent(type="text", text="x" * 300_000)
    ok, told, reason = result_of(types.CallToolResult(content=[long]))
    assert (ok, reason) == (False, "reply_too_large")
    assert "300,000" in told
