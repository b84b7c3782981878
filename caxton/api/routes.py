"""The route table: path, method, handler, and what the OpenAPI document says of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response

from caxton import __version__
from caxton.api.bodies import (
    MAX_BATCH,
    OVERHEAD,
    check_query,
    page,
    read_json,
    read_message,
    trace_context,
    wait_ms,
)
from caxton.api.docs_page import PAGE
from caxton.api.entry import Entry
from caxton.api.events import stream
from caxton.api.metrics import exposition
from caxton.api.problems import problem, trace_of
from caxton.errors import AgentNotFound, CaxtonError, ValidationError
from caxton.message import Message, to_json
from caxton.types import parse_id
from caxton.views import AgentView, ConversationDetail, ConversationView, NodeView

__all__ = ["ROUTES", "Route"]

Handler = Callable[[Request, Entry], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One row."""

    method: str
    path: str
    handler: Handler
    summary: str
    result: type | None = None
    """Type of the good body; None for one that is described by hand."""
    status: int = 200
    also: tuple[int, ...] = ()
    """Further statuses, all problems but 200."""
    query: tuple[tuple[str, str], ...] = ()
    """Query parameters with their meaning."""
    body: str = ""
    """Name of the request body's schema."""
    media: str = "application/json"


def _json(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


def _view(view: Any) -> Response:
    return Response(msgspec.json.encode(view), media_type="application/json")


def _page(items: list[Any], size: int, offset: int) -> Response:
    following = str(offset + size) if offset + size < len(items) else ""
    shown = items[offset : offset + size]
    return _view({"items": shown, "next_page_token": following})


def _reply(message: Message, entry: Entry) -> dict[str, Any]:
    body = to_json(message)
    body["sender_name"] = entry.agent_name(message.sender)
    if message.receiver is not None:
        body["receiver_name"] = entry.agent_name(message.receiver)
    return body


async def _send(request: Request, entry: Entry) -> Response:
    check_query(request, "wait")
    timeout = wait_ms(request)
    body = await read_json(request, entry.max_content * 2 + OVERHEAD)
    message = read_message(body, entry, trace_context(request))
    if timeout is not None:
        ack, reply = await entry.request(message, timeout)
        return _json(msgspec.to_builtins(ack) | {"reply": _reply(reply, entry)})
    outcome = (await entry.submit([message]))[0]
    if isinstance(outcome, CaxtonError):
        raise outcome
    return _json(msgspec.to_builtins(outcome), 202)


async def _send_batch(request: Request, entry: Entry) -> Response:
    check_query(request)
    body = await read_json(request, entry.max_content * 8 + OVERHEAD)
    if not isinstance(body, dict) or set(body) != {"messages"}:
        raise ValidationError(field="body", value="other fields", allowed="an object of messages")
    given = body["messages"]
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_BATCH:
        count = len(given) if isinstance(given, list) else given
        raise ValidationError(field="messages", value=count, allowed=f"1 to {MAX_BATCH} messages")
    trace = trace_context(request)
    items: list[Any] = [None] * len(given)
    good: list[tuple[int, Message]] = []
    for index, one in enumerate(given):
        try:
            good.append((index, read_message(one, entry, trace)))
        except CaxtonError as error:
            items[index] = error
    outcomes = await entry.submit([message for _, message in good])
    for (index, _), outcome in zip(good, outcomes, strict=True):
        items[index] = outcome
    path, trace_id = request.url.path, trace_of(request)
    shown = [
        {"error": problem(item, path, trace_id)}
        if isinstance(item, CaxtonError)
        else msgspec.to_builtins(item)
        for item in items
    ]
    return _json({"items": shown}, 202)


async def _agents(request: Request, entry: Entry) -> Response:
    check_query(request, "page_size", "page_token", "state", "capability")
    size, offset = page(request)
    state, capability = (request.query_params.get(name) for name in ("state", "capability"))
    views = [
        view
        for view in await entry.agents()
        if (not state or view.state == state)
        and (not capability or capability in view.capabilities)
    ]
    return _page(views, size, offset)


async def _agent(request: Request, entry: Entry) -> Response:
    check_query(request)
    wanted = request.path_params["agent"]
    views = await entry.agents()
    for view in views:
        if wanted in (view.id, view.name):
            return _view(view)
    name = entry.agent_name(entry.agent_id(wanted, "agent"))
    for view in views:
        if view.name == name:
            return _view(view)
    raise AgentNotFound(agent=wanted, near="")


async def _conversations(request: Request, entry: Entry) -> Response:
    check_query(request, "page_size", "page_token")
    size, offset = page(request)
    return _page(await entry.conversations(offset + size + 1), size, offset)


async def _conversation(request: Request, entry: Entry) -> Response:
    check_query(request)
    key = parse_id(request.path_params["conversation"], "conversation")
    return _view(await entry.conversation(key))


async def _node(request: Request, entry: Entry) -> Response:
    check_query(request)
    return _view(await entry.status())


async def _events(request: Request, entry: Entry) -> Response:
    check_query(request, "types")
    return stream(request, entry)


async def _health(_request: Request, _entry: Entry) -> Response:
    return _json({"status": "healthy", "version": __version__})


async def _ready(_request: Request, entry: Entry) -> Response:
    view = await entry.status()
    checks = [
        {"name": one.name, "ok": one.state == "ready", "state": one.state} for one in view.processes
    ]
    checks += [
        {"name": f"shard {one.shard}", "ok": True, "pending": one.pending} for one in view.shards
    ]
    return _json({"status": view.state, "checks": checks}, 200 if view.state == "ready" else 503)


async def _metrics(_request: Request, entry: Entry) -> Response:
    text, kind = exposition(await entry.status(), await entry.agents())
    return Response(text, headers={"Content-Type": kind})


async def _docs(_request: Request, _entry: Entry) -> Response:
    return Response(PAGE, media_type="text/html")


async def _openapi(_request: Request, _entry: Entry) -> Response:
    from caxton.api.openapi import document

    return _json(document())


_PAGES = (("page_size", "1 to 1000, default 50"), ("page_token", "from the reply before"))

ROUTES: tuple[Route, ...] = (
    Route("POST", "/api/v1/messages", _send, "Send a message; with `wait`, get its reply",
          None, 202, (200, 404, 413, 422, 429, 403, 503, 504, 507),
          (("wait", "how long to wait for the reply: 30s, 1500ms (1 s to 300 s)"),), "Message"),
    Route("POST", "/api/v1/messages/batch", _send_batch, "Send up to 1,000 messages",
          None, 202, (413, 422, 503), (), "MessageBatch"),
    Route("GET", "/api/v1/agents", _agents, "List agents", AgentView, 200, (422, 503),
          (*_PAGES, ("state", "only those in this state"),
           ("capability", "only those that offer it"))),
    Route("GET", "/api/v1/agents/{agent}", _agent, "One agent, by name or id", AgentView, 200,
          (404, 422, 503)),
    Route("GET", "/api/v1/conversations", _conversations, "List conversations",
          ConversationView, 200, (422, 503), _PAGES),
    Route("GET", "/api/v1/conversations/{conversation}", _conversation,
          "One conversation with its messages", ConversationDetail, 200, (404, 422, 503)),
    Route("GET", "/api/v1/node", _node, "The node at one glance", NodeView, 200, (422, 503)),
    Route("GET", "/api/v1/events", _events, "Follow events (server-sent events)", None, 200,
          (422,), (("types", "comma-separated beginnings of event types"),),
          media="text/event-stream"),
    Route("GET", "/health", _health, "Whether the process lives"),
    Route("GET", "/livez", _health, "Whether the process lives"),
    Route("GET", "/ready", _ready, "Whether the node takes messages", None, 200, (503,)),
    Route("GET", "/readyz", _ready, "Whether the node takes messages", None, 200, (503,)),
    Route("GET", "/metrics", _metrics, "Prometheus metrics", None, 200, (503,),
          media="text/plain"),
    Route("GET", "/openapi.json", _openapi, "This description"),
    Route("GET", "/docs", _docs, "This description for people", media="text/html"),
)  # fmt: skip
