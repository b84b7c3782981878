"""What each route does. A handler answers, or raises the CaxtonError that says why not."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final, get_args

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response

from caxton import __version__
from caxton.api.bodies import batch_bytes, json_body, message_bytes, read_batch, read_message
from caxton.api.docs_page import DOCS, DOCS_HEADERS, errors_page
from caxton.api.edge import Edge
from caxton.api.events import EventStream, last_event
from caxton.api.guard import trace_context
from caxton.api.health import Health, readiness
from caxton.api.metrics import exposition
from caxton.api.problems import problem_here
from caxton.api.query import choice, event_types, number, page_size, page_token, read_token, wait_ms
from caxton.api.schemas import AgentPage, ConversationPage, DeadLetterPage
from caxton.errors import (
    AgentNotFound,
    CaxtonError,
    DeadLetterNotFound,
    NodeNotReady,
    NotFound,
    Timeout,
    ValidationError,
)
from caxton.message import Message, to_json
from caxton.types import AgentName, CapabilityName, format_id, parse_id
from caxton.views import PAGE, Ack, AgentView

__all__ = [
    "AGENT_STATES",
    "LETTER",
    "MAX_SEQ",
    "agent",
    "agents",
    "content",
    "conversation",
    "conversations",
    "dead_letter",
    "dead_letters",
    "discard_dead_letter",
    "docs",
    "errors",
    "events",
    "health",
    "metrics",
    "node",
    "openapi",
    "ready",
    "retry_dead_letter",
    "send",
    "send_batch",
]

AGENT_STATES: Final[tuple[str, ...]] = get_args(
    next(one.type for one in msgspec.structs.fields(AgentView) if one.name == "state")
)
MAX_OFFSET: Final = 100_000
"""Conversations, or dead letters, that can be paged through."""
MAX_SEQ: Final = 2**63 - 1
LETTER: Final = re.compile(r"[0-9]{1,5}-[0-9]{1,18}")
"""Id of a dead letter: shard and sequence number."""
TURN: Final = 64
"""Messages of a batch that are read before other requests get their turn."""
_JSON: Final = "application/json"
CONTENT_HEADERS: Final = {
    "Content-Type": "application/octet-stream",
    "Content-Disposition": "attachment",
    # What is kept under a hash never changes.
    "Cache-Control": "private, max-age=31536000, immutable",
}
_encode = msgspec.json.Encoder(enc_hook=str).encode


def _view(view: Any, status: int = 200) -> Response:
    return Response(_encode(view), status, media_type=_JSON)


# --- messages --------------------------------------------------------------------------------


async def send(request: Request, edge: Edge) -> Response:
    """POST /api/v1/messages."""
    timeout_ms = wait_ms(request)
    async with json_body(request, edge, message_bytes(edge)) as body:
        message = read_message(body, edge, trace_context(request.scope))
    if timeout_ms is not None:
        return await _ask(request, edge, message, timeout_ms)
    outcome = (await edge.entry.submit([message]))[0]
    if isinstance(outcome, CaxtonError):
        raise outcome
    return _view(outcome, 202)


async def _ask(request: Request, edge: Edge, message: Message, timeout_ms: int) -> Response:
    """Wait for the reply; stop waiting when the client leaves or the server stops."""
    names = {
        "message_id": format_id(message.message_id),
        "conversation_id": format_id(message.conversation_id),
    }
    with edge.waiting_slot():
        asking = asyncio.ensure_future(edge.entry.request(message, timeout_ms))
        leaving = asyncio.ensure_future(_left(request))
        ending = asyncio.ensure_future(edge.expired.wait())
        tasks = (asking, leaving, ending)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise NodeNotReady(part="the node (it stops)", **names)
            ack, reply = asking.result()
        except Timeout as error:
            error.fields.update(names)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    body = msgspec.to_builtins(ack) | {"reply": _named(reply, edge)}
    return Response(orjson.dumps(body), media_type=_JSON)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _named(message: Message, edge: Edge) -> dict[str, Any]:
    body = to_json(message)
    body["sender_name"] = edge.entry.agent_name(message.sender)
    if message.receiver is not None:
        body["receiver_name"] = edge.entry.agent_name(message.receiver)
    return body


async def send_batch(request: Request, edge: Edge) -> Response:
    """POST /api/v1/messages/batch."""
    scope = request.scope
    trace = trace_context(scope)
    items: list[Ack | dict[str, Any]] = []
    good: list[tuple[int, Message]] = []
    async with json_body(request, edge, batch_bytes(edge)) as body:
        for index, one in enumerate(read_batch(body)):
            if index % TURN == TURN - 1:
                await asyncio.sleep(0)
            items.append({})
            try:
                good.append((index, read_message(one, edge, trace)))
            except CaxtonError as error:
                items[index] = {"error": problem_here(scope, error, f"/messages/{index}")}
        if good:
            outcomes = await edge.entry.submit([message for _, message in good])
            for (index, _), outcome in zip(good, outcomes, strict=True):
                if isinstance(outcome, CaxtonError):
                    items[index] = {"error": problem_here(scope, outcome, f"/messages/{index}")}
                else:
                    items[index] = outcome
    return Response(_encode({"items": items}), 202, media_type=_JSON)


# --- agents and conversations ----------------------------------------------------------------


def _key(view: AgentView) -> tuple[str, str]:
    return view.name.lower(), view.id


async def agents(request: Request, edge: Edge) -> Response:
    """GET /api/v1/agents. A page goes on after the last name of the one before."""
    size = page_size(request)
    after = tuple(read_token(request).split("\n"))
    state = choice(request, "state", AGENT_STATES)
    capability = request.query_params.get("capability")
    if capability is not None:
        capability = CapabilityName.parse(capability, "query.capability")
    found = sorted(
        (
            view
            for view in await edge.entry.agents()
            if (state is None or view.state == state)
            and (capability is None or _offers(view, capability))
            and (after == ("",) or _key(view) > after)
        ),
        key=_key,
    )
    more = page_token("\n".join(_key(found[size - 1]))) if len(found) > size else ""
    return _view(AgentPage(found[:size], more))


def _offers(view: AgentView, capability: str) -> bool:
    return (
        capability in view.capabilities or capability.lower().replace("_", "-") in view.capabilities
    )


async def agent(request: Request, edge: Edge) -> Response:
    """GET /api/v1/agents/{agent}."""
    wanted = request.path_params["agent"]
    if len(wanted) > AgentName.high:
        raise ValidationError(field="path.agent", value=wanted, allowed="an agent's name or id")
    found = format_id(edge.entry.agent_id(wanted, "path.agent"))
    for view in await edge.entry.agents():
        if view.id == found:
            return _view(view)
    raise AgentNotFound(agent=wanted, near="")


def _offset(request: Request, what: str) -> int:
    given = read_token(request)
    offset = int(given) if given.isascii() and given.isdigit() and len(given) <= 6 else 0
    if (given and str(offset) != given) or offset > MAX_OFFSET:
        raise ValidationError(
            field="query.page_token",
            value=given,
            allowed=f"the next_page_token of a reply, up to {MAX_OFFSET:,} {what}",
        )
    return offset


async def conversations(request: Request, edge: Edge) -> Response:
    """GET /api/v1/conversations. The token holds an offset: activity reorders the list anyway."""
    size = page_size(request)
    offset = _offset(request, "conversations")
    found = await edge.entry.conversations(offset + size + 1)
    more = page_token(str(offset + size)) if len(found) > offset + size else ""
    return _view(ConversationPage(found[offset : offset + size], more))


async def conversation(request: Request, edge: Edge) -> Response:
    """GET /api/v1/conversations/{conversation}."""
    key = parse_id(request.path_params["conversation"], "path.conversation")
    limit = number(request, "limit", PAGE, PAGE)
    return _view(await edge.entry.conversation(key, limit, number(request, "before", 0, MAX_SEQ)))


# --- dead letters ----------------------------------------------------------------------------


async def dead_letters(request: Request, edge: Edge) -> Response:
    """GET /api/v1/dead-letters. The token holds an offset, as for conversations."""
    size = page_size(request)
    offset = _offset(request, "dead letters")
    found = await edge.entry.dead_letters(offset + size + 1)
    more = page_token(str(offset + size)) if len(found) > offset + size else ""
    return _view(DeadLetterPage(found[offset : offset + size], more))


def _letter(request: Request) -> str:
    given = request.path_params["letter"]
    if not LETTER.fullmatch(given):
        raise DeadLetterNotFound(letter=given)
    return str(given)


async def dead_letter(request: Request, edge: Edge) -> Response:
    """GET /api/v1/dead-letters/{letter}."""
    return _view(await edge.entry.dead_letter(_letter(request)))


async def retry_dead_letter(request: Request, edge: Edge) -> Response:
    """POST /api/v1/dead-letters/{letter}/retry."""
    return _view(await edge.entry.retry_dead_letter(_letter(request)), 202)


async def discard_dead_letter(request: Request, edge: Edge) -> Response:
    """DELETE /api/v1/dead-letters/{letter}."""
    return _view(await edge.entry.discard_dead_letter(_letter(request)))


async def content(request: Request, edge: Edge) -> Response:
    """GET /api/v1/content/{content}. Served as bytes, never as a page."""
    data = await edge.entry.content(str(request.path_params["content"]))
    return Response(data, headers=CONTENT_HEADERS)


# --- the node --------------------------------------------------------------------------------


async def node(_request: Request, edge: Edge) -> Response:
    """GET /api/v1/node."""
    return _view(await edge.entry.status())


async def events(request: Request, edge: Edge) -> Response:
    """GET /api/v1/events."""
    return EventStream(edge, last_event(request, edge.epoch), event_types(request))


async def health(_request: Request, _edge: Edge) -> Response:
    """GET /health and /livez."""
    return _view(Health("healthy", __version__))


async def ready(_request: Request, edge: Edge) -> Response:
    """GET /ready and /readyz."""
    found = await readiness(edge.entry, edge.limits.status_s)
    return _view(found, 200 if found.status == "ready" else 503)


async def metrics(request: Request, edge: Edge) -> Response:
    """GET /metrics."""
    if not edge.metrics:
        raise NotFound(kind="resource", id=f"{request.url.path} (metrics.enabled is off)")
    entry = edge.entry
    text, kind = exposition(await entry.status(), await entry.agents(), edge.requests)
    return Response(text, headers={"Content-Type": kind})


async def openapi(_request: Request, edge: Edge) -> Response:
    """GET /openapi.json."""
    return Response(edge.openapi, media_type=_JSON)


async def docs(_request: Request, _edge: Edge) -> Response:
    """GET /docs."""
    return Response(DOCS, headers=DOCS_HEADERS, media_type="text/html")


async def errors(_request: Request, _edge: Edge) -> Response:
    """GET /docs/errors."""
    return Response(errors_page(), headers=DOCS_HEADERS, media_type="text/html")
