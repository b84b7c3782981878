"""Foreign hosts and origins."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from caxton.api.app import make_app
from caxton.errors import CaxtonError, NodeNotReady

POST = ("POST", "/api/v1/messages")
GET = ("GET", "/health")


async def _ask(
    entry: Any, request: tuple[str, str], headers: dict[str, str], *, loopback: bool
) -> httpx2.Response:
    app = make_app(entry, loopback=loopback)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
        body = b'{"capability": "x"}' if request is POST else b""
        return await http.request(*request, headers=headers, content=body)


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:9", "[::1]", "[::1]:80"],
)
async def test_loopback_names_are_served(entry, host) -> None:
    """A node on loopback answers to each name of loopback, on any port."""
    for request in (POST, GET):
        response = await _ask(entry, request, {"Host": host}, loopback=True)
        assert response.status_code in (200, 202)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", "", "[::1",
     "localhost:x", "user@localhost:1@evil", "::1", "0.0.0.0"],
)  # fmt: skip
async def test_other_names_are_not(entry, host) -> None:
    """By any other name it refuses everything, reads too: DNS rebinding."""
    for request in (POST, GET, ("GET", "/nowhere")):
        response = await _ask(entry, request, {"Host": host}, loopback=True)
        assert (response.status_code, response.json()["code"]) == (403, "NOT_AUTHORIZED")
    assert entry.submissions == []


@pytest.mark.parametrize("loopback", [True, False])
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8080", 202),
        ("http://LOCALHOST:8080", 202),
        ("http://localhost", 403),
        ("http://localhost:8081", 403),
        ("http://evil.example", 403),
        ("https://evil.example:8080", 403),
        ("null", 403),
        ("http://", 403),
        ("http://[", 403),
        ("file://", 403),
    ],
)
async def test_pages_of_other_origins_may_not_send(entry, loopback, origin, status) -> None:
    """A POST from a page is taken only from our own origin."""
    headers = {"Host": "localhost:8080", "Origin": origin}
    response = await _ask(entry, POST, headers, loopback=loopback)
    assert response.status_code == status
    assert len(entry.submissions) == (status == 202)


async def test_default_ports_are_the_same_origin(entry) -> None:
    """An origin without a port has the default port of its scheme."""
    headers = {"Host": "localhost:80", "Origin": "http://localhost"}
    assert (await _ask(entry, POST, headers, loopback=True)).status_code == 202


async def test_reading_from_another_page_is_the_browsers_matter(entry) -> None:
    """A GET with an Origin is answered, without the header that would let the page read it."""
    response = await _ask(entry, GET, {"Origin": "http://evil.example"}, loopback=True)
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


async def test_public_node_answers_to_any_name(entry) -> None:
    """A node that listens on more than loopback does not know all its names."""
    response = await _ask(entry, POST, {"Host": "node.example"}, loopback=False)
    assert response.status_code == 202


@pytest.mark.parametrize("error", [NodeNotReady(part="shard 0"), RuntimeError("fault")])
async def test_fault_after_the_start_cuts_the_response(entry, error: Exception) -> None:
    """Once a response has begun, no second one is sent into it."""
    entry.failure = error
    app = make_app(entry)
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    scope = {
        "type": "http", "method": "GET", "path": "/api/v1/events", "query_string": b"",
        "headers": [(b"host", b"localhost")], "scheme": "http", "root_path": "",
    }  # fmt: skip
    with pytest.raises((CaxtonError, RuntimeError)):
        await app(scope, receive, send)
    assert sent.count("http.response.start") == 1


async def test_what_is_no_request_passes(entry) -> None:
    """The guard leaves the server's own talk alone."""
    app = make_app(entry)
    said: list[str] = []
    heard = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> dict[str, Any]:
        return heard.pop(0)

    async def send(message: Any) -> None:
        said.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
