"""Reading bodies: bounded before parsed, strict, one clear error."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import msgspec
import orjson
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from caxton.api.edge import Edge
from caxton.errors import MessageTooLarge, RequestTimeout, UnsupportedMediaType, ValidationError
from caxton.message import FIELDS, Message, TraceContext, from_json
from caxton.types import AgentName, MessageBatchSize, format_id

__all__ = [
    "MAX_BATCH",
    "MAX_TEXT",
    "OVERHEAD",
    "batch_bytes",
    "json_body",
    "message_bytes",
    "read_batch",
    "read_message",
]

MAX_BATCH: Final = int(MessageBatchSize.high)
OVERHEAD: Final = 64 * 1024
"""Bytes of a message's JSON beside its content."""
MAX_TEXT: Final = 256
"""Characters of any field but the content: the longest that has a meaning is shorter."""
DRAINED: Final = 64 * 1024 * 1024
DRAIN_S: Final = 2.0
_CONTENT: Final = frozenset({"content", "content_base64"})
_JSON: Final = re.compile(r"application/json *(; *charset *= *\"?utf-?8\"? *)?", re.IGNORECASE)


def message_bytes(edge: Edge) -> int:
    """Largest body with one message: its content may take two bytes for one, as in ``\\n``."""
    return 2 * edge.entry.max_content + OVERHEAD


def batch_bytes(edge: Edge) -> int:
    """Largest body with a batch."""
    return message_bytes(edge) + edge.limits.batch_bytes


def _check_form(headers: Headers) -> None:
    kind = headers.get("content-type", "application/json")
    if not _JSON.fullmatch(kind.strip()):
        raise UnsupportedMediaType(
            field="header.Content-Type", value=kind, allowed="application/json in UTF-8"
        )
    coding = headers.get("content-encoding", "identity")
    if coding.strip().lower() != "identity":
        raise UnsupportedMediaType(
            field="header.Content-Encoding", value=coding, allowed="no compression"
        )


@contextlib.asynccontextmanager
async def json_body(request: Request, edge: Edge, limit: int) -> AsyncIterator[Any]:
    """The body as JSON; it counts as held until the block ends.

    Args:
        request: whose body.
        edge: where it is counted.
        limit: most bytes.

    Raises:
        UnsupportedMediaType: it is said to be something other than JSON in UTF-8.
        MessageTooLarge: it is longer; nothing was parsed.
        RequestTimeout: it did not arrive in time.
        QueueFull: other requests hold as much as may be held.
        ValidationError: it is not JSON (RFC 8259), or nested deeper than 1,024.
    """
    _check_form(request.headers)
    held = 0
    parts: list[bytes] = []
    stream = request.stream()
    length = request.headers.get("content-length", "")
    declared = int(length) if re.fullmatch(r"[0-9]{1,18}", length) else 0
    try:
        if declared > limit:
            await _drain(stream)
            raise MessageTooLarge(field="body", size=declared, limit=limit)
        try:
            async with asyncio.timeout(edge.limits.body_s):
                async for part in stream:
                    edge.buffer(len(part))
                    held += len(part)
                    if held > limit:
                        break
                    parts.append(part)
        except ClientDisconnect as error:
            raise ValidationError(field="body", value="cut off", allowed="a whole body") from error
        except TimeoutError as error:
            raise RequestTimeout(timeout_ms=round(edge.limits.body_s * 1_000)) from error
        if held > limit:
            parts.clear()
            await _drain(stream)
            raise MessageTooLarge(field="body", size=f"more than {limit}", limit=limit)
        yield _parse(parts[0] if len(parts) == 1 else b"".join(parts))
    finally:
        edge.buffer(-held)


async def _drain(stream: AsyncIterator[bytes]) -> None:
    """Take in the rest of a refused body, within bounds.

    Closing a connection with unread data resets it, and the client would never see the answer.
    """
    left = DRAINED
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(DRAIN_S):
            async for part in stream:
                left -= len(part)
                if left < 0:
                    return


def _parse(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ValidationError(
            field="body", value=f"{len(data):,} bytes", allowed=f"JSON (RFC 8259): {error}"
        ) from error


def _bounded(body: Mapping[str, object], prefix: str = "") -> None:
    """Refuse names and texts that are longer than any with a meaning.

    What looks for the nearest allowed spelling takes time that grows with the text, so it must
    never see a long one.
    """
    for name, value in body.items():
        if len(name) > MAX_TEXT:
            raise ValidationError(
                field=f"{prefix}{name[:40]}…",
                value="an unknown field",
                allowed=f"one of {', '.join(sorted(FIELDS))}",
            )
        if isinstance(value, str):
            if len(value) > MAX_TEXT and name not in _CONTENT:
                raise ValidationError(
                    field=f"{prefix}{name}", value=value, allowed=f"at most {MAX_TEXT} characters"
                )
        elif isinstance(value, dict) and not prefix and name not in _CONTENT:
            _bounded(value, f"{name}.")
            _whole_numbers(value)


def _whole_numbers(options: dict[str, Any]) -> None:
    """JSON has one kind of number: 8.0 is the integer 8 (JSON Schema 2020-12, 4.2.2)."""
    for name, value in options.items():
        if isinstance(value, float) and value.is_integer():
            options[name] = int(value)


def read_message(body: object, edge: Edge, trace: TraceContext | None) -> Message:
    """A message from its JSON form; receiver and sender may be names.

    Args:
        body: the parsed JSON; changed in place.
        edge: the node.
        trace: given to a message that names no trace of its own.

    Raises:
        ValidationError: it names the first field that is wrong.
        AgentNotFound: nobody has the name of the receiver or sender.
        MessageTooLarge: the content is too long.
    """
    entry = edge.entry
    if isinstance(body, dict):
        _bounded(body)
        encoded = body.get("content_base64")
        if encoded is not None and not isinstance(encoded, str):
            raise ValidationError(
                field="content_base64", value=type(encoded).__name__, allowed="base64 (RFC 4648)"
            )
        for field in ("receiver", "sender"):
            given = body.get(field)
            if isinstance(given, str):
                if not 1 <= len(given) <= AgentName.high:
                    raise ValidationError(field=field, value=given, allowed="a name or id")
                body[field] = format_id(entry.agent_id(given, field))
    message = from_json(
        body, sender=entry.identity, max_content=entry.max_content, options=edge.options
    )
    if trace is not None and message.trace_context is None:
        return msgspec.structs.replace(message, trace_context=trace)
    return message


def read_batch(body: object) -> list[Any]:
    """The messages of a batch, each still in its JSON form.

    Raises:
        ValidationError: it is not ``{"messages": [...]}`` with 1 to 1,000 of them.
    """
    if not isinstance(body, dict):
        raise ValidationError(field="body", value=type(body).__name__, allowed="a JSON object")
    for name in body:
        if name != "messages":
            raise ValidationError(
                field=name[:MAX_TEXT], value="an unknown field", allowed="messages"
            )
    given = body.get("messages")
    if not isinstance(given, list):
        raise ValidationError(
            field="messages",
            value="nothing" if given is None else type(given).__name__,
            allowed=f"a list of 1 to {MAX_BATCH:,} messages",
        )
    if not 1 <= len(given) <= MAX_BATCH:
        raise ValidationError(
            field="messages", value=len(given), allowed=f"1 to {MAX_BATCH:,} messages"
        )
    return given
