"""Who may come in at ``/mcp``, and what a client over HTTP gets there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from mcp_parts import FakeRunner, parts, record

from caxton.api.app import make_app
from caxton.api.server import make_server
from caxton.config import Config, Secret
from caxton.mcp.endpoint import McpSettings, McpTools

TOKEN = "t0ken-of-the-node"
PING = {"jsonrpc": "2.0", "method": "notifications/initialized"}
HEADERS = {
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
}


def app(settings: McpSettings, *, loopback: bool = True, given: Any = None) -> Any:
    found = given or parts()
    tools = McpTools(found.directory, found.catalog, found.runner)
    return make_app(found.entry, loopback=loopback, mcp=(settings, tools))


async def post(settings: McpSettings, *, loopback: bool = True, **headers: str) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=app(settings, loopback=loopback))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
        given = {name: value.encode("latin-1") for name, value in {**HEADERS, **headers}.items()}
        return await http.post("/mcp", json=PING, headers=given)


@contextlib.asynccontextmanager
async def served(settings: McpSettings, given: Any = None) -> AsyncIterator[str]:
    """A real server on a port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = make_server(app(settings, given=given), drain_s=1)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, 20)
        listener.close()


async def test_on_loopback_it_is_open() -> None:
    """As the rest of the API: no token is asked for when none is set."""
    assert (await post(McpSettings())).status_code == 202


@pytest.mark.parametrize(
    ("authorization", "status", "challenge"),
    [
        (None, 401, 'Bearer realm="caxton"'),
        ("Bearer ", 401, 'Bearer realm="caxton"'),
        (f"Basic {TOKEN}", 401, 'Bearer realm="caxton"'),
        ("Bearer wrong", 401, 'Bearer realm="caxton", error="invalid_token"'),
        ("Bearer \xfc", 401, 'Bearer realm="caxton", error="invalid_token"'),
        (f"Bearer {TOKEN}", 202, None),
        (f"bearer {TOKEN}", 202, None),
    ],
)
async def test_a_token_is_asked_for(
    authorization: str | None, status: int, challenge: str | None
) -> None:
    """401 with a challenge that says which, and a problem document; the right one is let in."""
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = await post(McpSettings(token=TOKEN), **headers)
    assert answer.status_code == status
    assert answer.headers.get("WWW-Authenticate") == challenge
    if status == 401:
        assert answer.json()["code"] == "NOT_AUTHENTICATED"
        assert TOKEN not in answer.text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("192.0.2.7:8080", 202),
        ("[2001:db8::1]:8080", 202),
        ("localhost:8080", 202),
        ("node.example.org", 202),
        ("evil.example", 403),
        ("node.example.org.evil.example", 403),
        ("", 403),
    ],
)
async def test_off_loopback_names_must_be_known(host: str, status: int) -> None:
    """Addresses and the names of the setting are served; a name of a stranger's is not."""
    settings = McpSettings(token=TOKEN, hosts=frozenset({"node.example.org", "localhost"}))
    answer = await post(settings, loopback=False, Host=host, Authorization=f"Bearer {TOKEN}")
    assert answer.status_code == status
    if status == 403:
        assert "mcp.hosts" in answer.json()["detail"]


async def test_off_loopback_a_token_is_needed() -> None:
    """Without one nobody is served there, and the answer says which setting is missing."""
    answer = await post(McpSettings(), loopback=False, Host="192.0.2.7")
    assert answer.status_code == 403
    assert "mcp.token" in answer.json()["detail"]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_pages_of_other_origins_are_refused(method: str) -> None:
    """Reads too, because a session's stream is one."""
    transport = httpx2.ASGITransport(app=app(McpSettings()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
        answer = await http.request(
            method, "/mcp", headers={**HEADERS, "Origin": "http://evil.example"}
        )
    assert (answer.status_code, answer.json()["code"]) == (403, "NOT_AUTHORIZED")


async def test_the_path_is_exact_and_can_be_switched_off() -> None:
    """No redirect to a path with a slash; off means not there."""
    transport = httpx2.ASGITransport(app=app(McpSettings()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert (await http.post("/mcp/", json=PING, headers=HEADERS)).status_code == 404
    answer = await post(McpSettings(enabled=False))
    assert (answer.status_code, "mcp.enabled" in answer.json()["detail"]) == (404, True)


async def test_a_client_is_served_in_both_eras() -> None:
    """Lists, calls, sees progress and changes; ends when the server does."""
    given = parts()
    async with served(McpSettings(token=TOKEN), given) as url:
        for mode in ("auto", "legacy"):
            async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as http:
                transport = streamable_http_client(url, http_client=http)
                async with Client(transport, mode=mode) as client:
                    names = [tool.name for tool in (await client.list_tools()).tools]
                    assert "ask_greeting" in names
                    seen: list[float] = []

                    async def note(done: float, *_: Any, seen: list[float] = seen) -> None:
                        seen.append(done)

                    result = await client.call_tool("add", {"a": 1, "b": 2}, progress_callback=note)
                    assert result.structured_content == {"sum": 3}


async def test_clients_are_told_of_agents_that_come() -> None:
    """By the stream of changes of the newer protocol, and by notification in the older one."""
    given = parts()
    told = asyncio.Event()

    async def on_message(message: Any) -> None:
        if "ToolListChanged" in type(message).__name__:
            told.set()

    async with (
        served(McpSettings(), given) as url,
        Client(url, cache=None) as newer,
        Client(url, mode="legacy", message_handler=on_message) as older,
        newer.listen(tools_list_changed=True) as changes,
    ):
        await older.list_tools()
        given.directory.apply([record("Poet", 9, capabilities="[rhyming]")])
        async with asyncio.timeout(20):
            await anext(aiter(changes))
            # The stream of the older protocol may not be open yet when the first word goes out.
            revision = 10
            while not told.is_set():
                given.directory.apply([record("Poet", revision, description=f"no {revision}")])
                revision += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(told.wait(), 0.5)
        names = [tool.name for tool in (await newer.list_tools()).tools]
        assert any(name.startswith("ask_") for name in names)


async def test_a_client_that_leaves_ends_its_call() -> None:
    """The connection closes in the middle: the tool's call is cancelled."""
    runner = FakeRunner()
    runner.hold = asyncio.Event()
    async with served(McpSettings(), parts(runner=runner)) as url, Client(url) as client:
        calling = asyncio.create_task(client.call_tool("add", {"a": 1, "b": 2}))
        await asyncio.wait_for(runner.begun.wait(), 20)
        calling.cancel()
        await asyncio.wait_for(runner.cancelled.wait(), 20)
        with pytest.raises(asyncio.CancelledError):
            await calling


def test_settings_come_from_the_configuration(tmp_path: Path) -> None:
    """Names, token and time; the token shows nowhere."""
    config = Config(
        workspace=tmp_path, mcp_token=Secret(TOKEN), mcp_hosts="a.example, B.example",
        mcp_tools="all", mcp_timeout_ms=5_000, host="10.0.0.1",
    )  # fmt: skip
    settings = McpSettings.of(config)
    assert {"a.example", "b.example", "10.0.0.1", "localhost"} <= settings.hosts
    assert (settings.token, settings.tools, settings.timeout_ms) == (TOKEN, "all", 5_000)
    assert TOKEN not in repr(settings)
    assert TOKEN not in repr(config)


def test_the_sdk_is_imported_with_the_first_client_only() -> None:
    """Neither the API nor the command line nor the processes bring it."""
    code = (
        "import sys, caxton.api.app, caxton.cli.main, caxton.node, caxton.processes.gateway_main,"
        "caxton.processes.tools_main, caxton.processes.shard_main, caxton.mcp.policy;"
        "sys.exit(', '.join(one for one in sys.modules if one.partition('.')[0] in"
        "('mcp', 'mcp_types', 'pydantic', 'anyio_mcp')) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
