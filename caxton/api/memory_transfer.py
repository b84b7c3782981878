"""Export and import over HTTP: streams in both directions, never the whole in memory."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final, cast, get_args

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from caxton.api.edge import Edge
from caxton.api.memory_bodies import memory_of, who
from caxton.api.query import choice, flag
from caxton.errors import (
    ImportInvalid,
    RequestTimeout,
    UnsupportedMediaType,
    ValidationError,
)
from caxton.memory.exchange import Form, ImportReader
from caxton.memory.export_file import export_pieces
from caxton.memory.import_file import Importer
from caxton.memory.requests import Strategy
from caxton.message import now_ms

__all__ = ["FORMS", "MEDIA", "MERGE_STRATEGIES", "export", "import_"]

FORMS: Final = get_args(Form)
MERGE_STRATEGIES: Final = get_args(Strategy)
MEDIA: Final = {"json": "application/json", "jsonl": "application/x-ndjson"}
SOURCE: Final = "the request's body"
_KINDS: Final = re.compile(
    r"application/(json|x-ndjson|jsonl|jsonlines|x-jsonlines)"
    r" *(; *charset *= *\"?utf-?8\"? *)?",
    re.IGNORECASE,
)
_encode = msgspec.json.Encoder(enc_hook=str).encode


async def export(request: Request, edge: Edge) -> Response:
    """GET /api/v1/memory/export."""
    form = choice(request, "format", FORMS) or "json"
    given = request.query_params
    asked = who(edge, given.get("agent_id"), given.get("memory_scope"), "query.")
    pieces = export_pieces(
        memory_of(edge).of(asked["agent"]),
        cast("Form", form),
        now_ms=now_ms(),
        memory_scope=asked["memory_scope"],
        include_embeddings=flag(request, "include_embeddings", default=False),
    )
    # What stands against it is told before anything is sent.
    first = await anext(pieces)
    headers = {"Content-Disposition": f'attachment; filename="memory.{form}"'}
    return _Stream(edge, first, pieces, headers=headers, media_type=MEDIA[form])


class _Stream(Response):
    """Sends pieces as they are made, until all are sent or the client leaves or takes nothing."""

    def __init__(self, edge: Edge, first: bytes, rest: AsyncGenerator[bytes], **given: Any) -> None:
        super().__init__(**given)
        del self.headers["content-length"]
        self._edge = edge
        self._first = first
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        leaving = asyncio.ensure_future(_left(receive))
        try:
            self._edge.open_stream()
            try:
                start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
                await send(start)
                if scope["method"] != "HEAD":
                    await self._send(send, self._first)
                    async for piece in self._rest:
                        if leaving.done():
                            return
                        await self._send(send, piece)
                await self._send(send, b"", more=False)
            finally:
                self._edge.close_stream()
        finally:
            leaving.cancel()
            await asyncio.wait([leaving])
            await self._rest.aclose()

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        message: Message = {"type": "http.response.body", "body": body, "more_body": more}
        async with asyncio.timeout(self._edge.limits.slow_s):
            await send(message)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def import_(request: Request, edge: Edge) -> Response:
    """POST /api/v1/memory/import. Taken up page by page while it arrives."""
    kind = request.headers.get("content-type", "application/json")
    if not _KINDS.fullmatch(kind.strip()):
        raise UnsupportedMediaType(
            field="header.Content-Type",
            value=kind,
            allowed="application/json or application/x-ndjson in UTF-8",
        )
    coding = request.headers.get("content-encoding", "identity")
    if coding.strip().lower() != "identity":
        raise UnsupportedMediaType(
            field="header.Content-Encoding", value=coding, allowed="no compression"
        )
    given = {name: request.query_params.get(name) for name in ("agent_id", "memory_scope")} | {
        "merge_strategy": choice(request, "merge_strategy", MERGE_STRATEGIES)
    }
    reader = ImportReader(SOURCE, now_ms=now_ms())

    def aim(importer: Importer, envelope: dict[str, str]) -> None:
        _aim(importer, edge, {**given, **envelope}, "")

    edge.open_stream()
    try:
        with Importer(memory_of(edge), reader, aim=aim) as importer:
            _aim(importer, edge, given, "query.")
            async for part in _parts(request, edge):
                await importer.feed(part)
            report = await importer.close()
    finally:
        edge.close_stream()
    return Response(_encode(report), media_type="application/json")


def _aim(importer: Importer, edge: Edge, given: dict[str, str | None], place: str) -> None:
    """Say on whose behalf it is, where it goes and how it is merged."""
    asked = who(edge, given["agent_id"], given["memory_scope"], place)
    strategy = given["merge_strategy"] or "update_existing"
    if strategy not in MERGE_STRATEGIES:
        raise ValidationError(
            field="merge_strategy", value=strategy, allowed=", ".join(MERGE_STRATEGIES)
        )
    importer.memory = memory_of(edge).of(asked["agent"])
    importer.memory_scope = asked["memory_scope"]
    importer.merge_strategy = cast("Strategy", strategy)


async def _parts(request: Request, edge: Edge) -> AsyncIterator[bytes]:
    """The body as it arrives: each part within a time, and counted while it is held.

    Raises:
        RequestTimeout: nothing came for too long.
        ImportInvalid: the client left in the middle.
        QueueFull: other requests hold as much as may be held.
    """
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(edge.limits.body_s):
                part = await anext(stream, None)
        except TimeoutError:
            raise RequestTimeout(timeout_ms=round(edge.limits.body_s * 1_000)) from None
        except ClientDisconnect:
            raise ImportInvalid(
                source=SOURCE, place="its end", reason="the connection was cut"
            ) from None
        if part is None:
            return
        edge.buffer(len(part))
        try:
            yield part
        finally:
            edge.buffer(-len(part))
