"""``caxton mcp serve --stdio``: what a node offers, passed on."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from mcp_parts import FakeRunner, offer

from caxton.errors import NodeUnreachable, NotAuthenticated
from caxton.mcp import local_offer
from caxton.mcp.bridge import RemoteOffer, _look, serve_stdio
from caxton.mcp.memory_tools import MEMORY_TOOLS
from caxton.mcp.server import CaxtonServer

URL = "http://127.0.0.1:1"


async def test_what_the_node_offers_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools, results, errors, progress, resources; in the older protocol on the client's side."""
    monkeypatch.setattr(local_offer, "TICK_S", 0.001)
    runner = FakeRunner()
    runner.hold = asyncio.Event()
    seen: list[str | None] = []

    async def note(_done: float, _total: float | None, text: str | None) -> None:
        seen.append(text)
        runner.hold.set()

    async with Client(CaxtonServer(offer(runner=runner)), cache=None) as node:
        bridge = CaxtonServer(RemoteOffer(URL, node))
        async with Client(bridge, mode="legacy") as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert names[:4] == ["caxton_send", "add", "ask_data-analysis", "ask_greeting"]
            assert names[4:] == list(MEMORY_TOOLS)
            result = await client.call_tool("add", {"a": 1, "b": 2}, progress_callback=note)
            assert result.structured_content == {"sum": 3}
            assert seen[0].startswith("add: 0 s")
            wrong = await client.call_tool("add", {"a": "x"})
            assert "bad_arguments" in wrong.content[0].text
            with pytest.raises(MCPError, match="Unknown tool"):
                await client.call_tool("nothing", {})
            await client.call_tool("ask_greeting", {"content": "hello"})
            (listed,) = (await client.list_resources()).resources
            assert '"hello"' in (await client.read_resource(listed.uri)).contents[0].text
            assert (await client.list_resource_templates()).resource_templates


async def test_a_cancelled_call_is_cancelled_at_the_node() -> None:
    """The client gives up, and the tool in the node ends."""
    runner = FakeRunner()
    runner.hold = asyncio.Event()
    async with Client(CaxtonServer(offer(runner=runner)), cache=None) as node:
        bridge = CaxtonServer(RemoteOffer(URL, node))
        async with Client(bridge, mode="legacy") as client:
            calling = asyncio.create_task(client.call_tool("add", {"a": 1, "b": 2}))
            await asyncio.wait_for(runner.begun.wait(), 20)
            calling.cancel()
            await asyncio.wait_for(runner.cancelled.wait(), 20)
            with pytest.raises(asyncio.CancelledError):
                await calling


async def test_a_node_that_is_away_is_said_in_words() -> None:
    """A call is a result that says so; a list is an error that says so."""

    class Away:
        async def call_tool(self, *_: Any, **__: Any) -> Any:
            raise httpx2.ConnectError("refused")

        async def list_tools(self, **_: Any) -> Any:
            raise ExceptionGroup("x", [OSError("gone")])

    bridge = CaxtonServer(RemoteOffer(URL, Away()))  # type: ignore[arg-type]  # of a client
    async with Client(bridge) as client:
        result = await client.call_tool("add", {})
        assert result.is_error is True
        assert "NODE_UNREACHABLE" in result.content[0].text
        assert "caxton serve" in result.content[0].text
        with pytest.raises(MCPError, match="no Caxton node answers"):
            await client.list_tools()


async def test_without_a_node_it_does_not_begin() -> None:
    """Nobody listens: the error names the address."""
    with pytest.raises(NodeUnreachable, match=r"127\.0\.0\.1:1"):
        await serve_stdio(URL)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b'{"code":"NOT_AUTHENTICATED","fields":{"what":"/mcp","reason":"no"}}',
         NotAuthenticated),
        (404, b"nothing", NodeUnreachable),
    ],
)  # fmt: skip
async def test_who_may_not_come_in_is_told_why(
    status: int, body: bytes, error: type[Exception]
) -> None:
    """The node's own problem where it is one of keys; otherwise that no node serves MCP there."""
    media = "application/problem+json" if body.startswith(b"{") else "text/plain"

    def answer(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, content=body, headers={"Content-Type": media})

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        with pytest.raises(error):
            await _look(http, URL)
