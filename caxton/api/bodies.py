"""Reading requests: bounded before parsed, strict, one clear error."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson
from starlette.requests import ClientDisconnect, Request

from caxton.api.entry import Entry
from caxton.errors import MessageTooLarge, ValidationError
from caxton.message import Message, TraceContext, from_json, parse_traceparent
from caxton.types import MessageTimeoutMs, format_id

__all__ = [
    "MAX_BATCH",
    "OVERHEAD",
    "check_query",
    "page",
    "read_json",
    "read_message",
    "trace_context",
    "wait_ms",
]

MAX_BATCH: Final = 1_000
OVERHEAD: Final = 64 * 1024
"""Bytes of a body beside its content."""
_WAIT = re.compile(r"(\d{1,9})(ms|s)?")


def check_query(request: Request, *allowed: str) -> None:
    """Refuse parameters that mean nothing here.

    Raises:
        ValidationError: it names the first.
    """
    for name in request.query_params:
        if name not in allowed:
            known = ", ".join(allowed) or "no parameter"
            raise ValidationError(field=f"query.{name}", value="given", allowed=known)


async def read_json(request: Request, limit: int) -> Any:
    """The body as JSON, of at most ``limit`` bytes.

    Raises:
        MessageTooLarge: it is longer; nothing was parsed.
        ValidationError: it is not JSON, or not said to be.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if kind.lower() != "application/json":
        raise ValidationError(field="content-type", value=kind, allowed="application/json")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise MessageTooLarge(field="body", size=int(declared), limit=limit)
    parts = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise MessageTooLarge(field="body", size=size, limit=limit)
            parts.append(part)
    except ClientDisconnect as error:
        raise ValidationError(field="body", value="cut off", allowed="a whole body") from error
    try:
        return orjson.loads(b"".join(parts))
    except orjson.JSONDecodeError as error:
        raise ValidationError(field="body", value=str(error), allowed="JSON (RFC 8259)") from error


def read_message(body: Any, entry: Entry, trace: TraceContext | None) -> Message:
    """A message from its JSON form; the receiver may be an agent's name."""
    if isinstance(body, dict):
        changed = dict(body)
        receiver = body.get("receiver")
        if receiver is not None:
            changed["receiver"] = format_id(entry.agent_id(receiver))
        if trace is not None and "trace_context" not in body:
            changed["trace_context"] = {"traceparent": trace.traceparent}
        body = changed
    return from_json(body, sender=entry.identity, max_content=entry.max_content)


def trace_context(request: Request) -> TraceContext | None:
    """The W3C context a request came with, if it is a valid one."""
    given = request.headers.get("traceparent")
    if given is None:
        return None
    try:
        return parse_traceparent(given)
    except ValidationError:
        # W3C: a header that does not parse is as good as none.
        return None


def wait_ms(request: Request) -> int | None:
    """How long ``?wait=`` asks to wait: ``30s``, ``1500ms`` or seconds."""
    given = request.query_params.get("wait")
    if given is None:
        return None
    found = _WAIT.fullmatch(given)
    if found is None:
        raise ValidationError(field="query.wait", value=given, allowed="such as 30s or 1500ms")
    value = int(found.group(1)) * (1 if found.group(2) == "ms" else 1_000)
    return MessageTimeoutMs.parse(value, "query.wait")


def page(request: Request, default: int = 50, most: int = 1_000) -> tuple[int, int]:
    """Page size and offset, from ``page_size`` and the opaque ``page_token``."""
    size = _number(request, "page_size", default, 1, most)
    token = request.query_params.get("page_token") or "0"
    if not token.isdigit() or len(token) > 9:
        raise ValidationError(field="query.page_token", value=token, allowed="one from a reply")
    return size, int(token)


def _number(request: Request, name: str, default: int, low: int, high: int) -> int:
    given = request.query_params.get(name)
    if given is None:
        return default
    if not given.isdigit() or len(given) > 9 or not low <= int(given) <= high:
        raise ValidationError(field=f"query.{name}", value=given, allowed=f"{low} to {high}")
    return int(given)
