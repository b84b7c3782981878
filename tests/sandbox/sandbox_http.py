"""Servers, names and guests for the tests of HTTP."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from sandbox.grant_events import GrantEvent
from sandbox.grants import Grants, HostGrant
from sandbox.services.http import HttpService
from sandbox.services.http_request import HttpLimits
from sandbox.services.request import HostRequest, Service, ServiceError

Reply = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """An HTTP/1.1 server that answers each connection once, with bytes a test chose."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self._replies: dict[str, bytes | Reply] = {}
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        """Listen on a free port of the loopback."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and wait for what is under way."""
        assert self._server is not None
        self._server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    def on(self, path: str, reply: bytes | Reply) -> None:
        """What to answer for a path."""
        self._replies[path] = reply

    def json(self, path: str, status: str = "200 OK", **headers: str) -> None:
        """Answer ``{}``."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self.on(path, f"HTTP/1.1 {status}\r\n{lines}content-length: 2\r\n\r\n{{}}".encode())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(head)
            length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
            self.bodies.append(await reader.readexactly(int(length or 0)))
            path = head.split(" ")[1].partition("?")[0]
            reply = self._replies.get(path, b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            if isinstance(reply, bytes):
                writer.write(reply)
                await writer.drain()
            else:
                await reply(head, writer)
        except (OSError, asyncio.IncompleteReadError):
            # The client went away, which is what some tests are about.
            self.heads.append("gone")
        finally:
            writer.close()
            self._open.discard(task)


@dataclass
class Guest:
    """A guest with some hosts granted."""

    grants: Grants
    service: HttpService
    events: list[GrantEvent] = field(default_factory=list)

    async def ask(self, url: str, wall_s: float = 30, **request: Any) -> dict[str, Any]:
        """The response to one request."""
        body = json.dumps({"url": url, **request}).encode()
        answer = await self.service.answer(
            HostRequest(Service.HTTP, b"", body, self.grants, time.monotonic() + wall_s),
            self.events.append,
        )
        found: dict[str, Any] = json.loads(answer)
        return found

    async def refused(self, url: str, **request: Any) -> ServiceError:
        """The refusal of one request."""
        with pytest.raises(ServiceError) as error:
            await self.ask(url, **request)
        return error.value


def local(server: Server, limits: HttpLimits | None = None, **grant: Any) -> Guest:
    """A guest that may speak to the server."""
    grant = {"port": server.port, "scheme": "http", "private": True, **grant}
    hosts = (HostGrant("127.0.0.1", **grant), HostGrant("localhost", **grant))
    return Guest(Grants(hosts=hosts), HttpService(limits))


class Names:
    """A resolver whose answers a test writes, one a question, and the addresses sent to."""

    def __init__(
        self, answers: dict[str, list[list[str]]], responses: list[httpx2.Response]
    ) -> None:
        self.asked: list[str] = []
        self.sent: list[tuple[str, httpx2.Request]] = []
        self._answers = answers
        self._responses = responses

    async def resolve(self, host: str, _port: int) -> Sequence[str]:
        """The next answer for a name."""
        self.asked.append(host)
        answers = self._answers.get(host)
        if not answers:
            raise OSError(host)
        return answers.pop(0)

    async def send(
        self, request: httpx2.Request, address: str, _stack: AsyncExitStack
    ) -> httpx2.Response:
        """The next response."""
        self.sent.append((address, request))
        response = self._responses.pop(0)
        if response.status_code == 599:
            raise httpx2.ConnectError("refused")
        return response

    def guest(self, *hosts: HostGrant, denied: tuple[str, ...] = ()) -> Guest:
        """A guest that lives among these names."""
        service = HttpService(resolver=self.resolve, send=self.send)
        return Guest(Grants(hosts=hosts, denied_hosts=denied), service)


def ok(body: bytes = b"ok") -> httpx2.Response:
    """A response, not read yet."""
    return httpx2.Response(200, content=body)


def redirect(location: str, status: int = 302) -> httpx2.Response:
    """A redirect."""
    return httpx2.Response(status, headers={"location": location})
