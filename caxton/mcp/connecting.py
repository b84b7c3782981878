"""A connection to another MCP server: stdio child or HTTP, with bounds that the SDK lacks."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from caxton import __version__
from caxton.mcp.server_file import Redactor, ServerEntry
from caxton.mcp.stdio_child import stdio_child

__all__ = ["BODY_BYTES", "bounded_http", "connect"]

BODY_BYTES: Final = 8 * 1024 * 1024
"""Largest answer of a server over HTTP that is no event stream, and largest event."""
HTTP_S: Final = httpx2.Timeout(30.0, read=310.0)
"""Longer than any call may take."""


class _Bounded(httpx2.AsyncByteStream):
    """A body that breaks off when it is longer than it may be."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > BODY_BYTES:
                raise httpx2.ReadError(f"an answer of more than {BODY_BYTES:,} bytes")
            yield chunk

    async def aclose(self) -> None:
        """Let the connection go."""
        await self._stream.aclose()


class _BoundedTransport(httpx2.AsyncHTTPTransport):
    """Bounds every answer but event streams, whose events the SDK bounds itself."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """One exchange."""
        response = await super().handle_async_request(request)
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            response.stream = _Bounded(response.stream)
        return response


def bounded_http(headers: dict[str, str]) -> httpx2.AsyncClient:
    """An HTTP client for one server."""
    return httpx2.AsyncClient(headers=headers, timeout=HTTP_S, transport=_BoundedTransport())


@contextlib.asynccontextmanager
async def connect(
    entry: ServerEntry,
    redact: Redactor,
    ended: Callable[[str], None],
    changed: Callable[[], None],
) -> AsyncIterator[Client]:
    """Connect to a server. Enter and leave it in one task.

    Args:
        entry: the server.
        redact: takes secrets out of what it says.
        ended: called when the connection ends by itself, with the reason.
        changed: called when the server's tools have changed.
    """

    async def on_message(message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            changed()

    async with contextlib.AsyncExitStack() as stack:
        if entry.kind == "stdio":
            transport: Any = stdio_child(entry, redact, ended)
        else:
            http = await stack.enter_async_context(bounded_http(dict(entry.headers)))
            transport = streamable_http_client(
                entry.url, http_client=http, max_sse_event_size=BODY_BYTES
            )
        client = Client(
            transport,
            client_info=types.Implementation(name="caxton", version=__version__),
            message_handler=on_message,
            cache=None,
        )
        yield await stack.enter_async_context(client)
