"""Server-sent events (WHATWG HTML, 9.2): what happens on the node, resumable by event id.

The id of an event on the wire is ``EPOCH-NUMBER``: the number is the event's, the epoch that of
this process, in which numbers start anew. So a client that comes back to a restarted node gets
all that is kept, not silence until the numbers have caught up.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from caxton.api.edge import Edge
from caxton.errors import ValidationError
from caxton.views import Event

__all__ = ["LAST_EVENT_ID", "EventStream", "last_event"]

LAST_EVENT_ID = r"(([0-9a-f]{8})-)?([0-9]{1,15})"
RETRY_MS = 1_000
"""How long a client waits before it comes back."""
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_encode = msgspec.json.Encoder().encode


def last_event(request: Request, epoch: str) -> int | None:
    """The number after which to go on; None for all that is kept.

    Raises:
        ValidationError: ``Last-Event-ID`` is no id of an event.
    """
    given = request.headers.get("last-event-id", "")
    if not given:
        return None
    found = re.fullmatch(LAST_EVENT_ID, given)
    if found is None:
        raise ValidationError(
            field="header.Last-Event-ID", value=given, allowed="the id of an event, or a number"
        )
    return int(found[3]) if found[2] in (None, epoch) else None


class EventStream(Response):
    """Follows the node's events until the client leaves, falls behind or the server stops.

    A client that does not keep up is told by a last event ``lagged``, after which it may come
    back with ``Last-Event-ID``. One that reads nothing at all is cut without it.
    """

    media_type = "text/event-stream"

    def __init__(self, edge: Edge, after: int | None, types: tuple[str, ...]) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._edge = edge
        self._after = after
        self._types = types

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        edge = self._edge
        edge.open_stream()
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
                return
            with contextlib.suppress(TimeoutError):
                await self._follow(receive, send)
        finally:
            edge.close_stream()

    async def _follow(self, receive: Receive, send: Send) -> None:
        edge = self._edge
        following = edge.entry.events(self._after)
        leaving = asyncio.ensure_future(_left(receive))
        closing = asyncio.ensure_future(edge.closing.wait())
        coming: asyncio.Future[Event | None] = asyncio.ensure_future(_next(following))
        try:
            await self._send(send, f"retry: {RETRY_MS}\n\n".encode())
            while True:
                await asyncio.wait(
                    (coming, leaving, closing),
                    timeout=edge.limits.heartbeat_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if leaving.done():
                    return
                if closing.done():
                    await self._send(send, b": the node stops\n\n", more=False)
                    return
                if not coming.done():
                    await self._send(send, b":\n\n")
                    continue
                event = coming.result()
                if event is None:
                    await self._send(send, b"event: lagged\ndata: {}\n\n", more=False)
                    return
                coming = asyncio.ensure_future(_next(following))
                if not self._types or event.type.startswith(self._types):
                    await self._send(send, self._text(event))
        finally:
            for task in (coming, leaving, closing):
                task.cancel()
            await asyncio.gather(coming, leaving, closing, return_exceptions=True)
            await _close(following)

    def _text(self, event: Event) -> bytes:
        head = f"id: {self._edge.epoch}-{event.id}\nevent: {event.type}\ndata: "
        return head.encode() + _encode(event) + b"\n\n"

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        message: Message = {"type": "http.response.body", "body": body, "more_body": more}
        async with asyncio.timeout(self._edge.limits.slow_s):
            await send(message)


async def _next(following: AsyncIterator[Event]) -> Event | None:
    return await anext(following, None)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _close(following: AsyncIterator[Event]) -> None:
    closer: Any = getattr(following, "aclose", None)
    if closer is not None:
        await closer()
