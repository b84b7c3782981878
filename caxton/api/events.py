"""Server-sent events (WHATWG): what happens on the node, resumable by event id."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response

from caxton.api.entry import Entry
from caxton.errors import ValidationError

__all__ = ["stream"]

PING_S = 15
SEND_TIMEOUT_S = 30
"""A client that takes nothing for this long is cut."""


def stream(request: Request, entry: Entry) -> Response:
    """The response that follows the events.

    Raises:
        ValidationError: ``Last-Event-ID`` is no number.
    """
    given = request.headers.get("last-event-id", "")
    if given and not (given.isdigit() and len(given) < 16):
        raise ValidationError(field="Last-Event-ID", value=given, allowed="an event's id")
    types = tuple(one for one in request.query_params.get("types", "").split(",") if one)
    after = int(given) if given else None
    return EventSourceResponse(
        _events(entry, after, types),
        ping=PING_S,
        send_timeout=SEND_TIMEOUT_S,
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
    )


async def _events(
    entry: Entry, after: int | None, types: tuple[str, ...]
) -> AsyncIterator[ServerSentEvent]:
    following: Any = entry.events(after)
    try:
        async for event in following:
            if not types or event.type.startswith(types):
                data = msgspec.json.encode(event).decode()
                yield ServerSentEvent(data, event=event.type, id=str(event.id), retry=1_000)
        yield ServerSentEvent("{}", event="lagged")
    except asyncio.CancelledError:
        # The client went away, or the server stops.
        await following.aclose()
        raise
