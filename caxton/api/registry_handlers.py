"""The routes of the registry: agents' orders, capabilities, the routing table, clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from caxton.api.bodies import json_body
from caxton.api.edge import Edge
from caxton.api.query import page_size, page_token, read_token
from caxton.api.registry_schemas import CapabilityPage, ClientPage, RoutePage, ToolPage
from caxton.capability import Strategy
from caxton.errors import CapabilityNotFound, ClientNotFound, ValidationError
from caxton.registry_views import BreakerPage, BreakerView, RouteView
from caxton.types import AgentName, CapabilityName

__all__ = [
    "breakers",
    "capabilities",
    "capability",
    "client",
    "clients",
    "deregister",
    "order",
    "register",
    "reset_breaker",
    "routes",
    "set_strategy",
    "tools",
]

T = TypeVar("T")

BODY: Final = 64 * 1024
_encode = msgspec.json.Encoder(enc_hook=str).encode


def _view(view: object, status: int = 200) -> Response:
    return Response(_encode(view), status, media_type="application/json")


def _page(
    request: Request,
    kind: Callable[[list[T], str], Any],
    rows: Sequence[T],
    key: Callable[[T], str],
) -> Response:
    """A page of rows that are in order of ``key``; the next one goes on after its last."""
    size = page_size(request)
    after = read_token(request)
    left = [row for row in rows if not after or key(row) > after]
    more = page_token(key(left[size - 1])) if len(left) > size else ""
    return _view(kind(left[:size], more))


# --- agents ----------------------------------------------------------------------------------


def _agent(request: Request) -> str:
    wanted: str = request.path_params["agent"]
    if len(wanted) > AgentName.high:
        raise ValidationError(field="path.agent", value=wanted, allowed="an agent's name or id")
    return wanted


def order(action: str) -> Callable[[Request, Edge], Any]:
    """The handler of POST /api/v1/agents/{agent}/ACTION."""

    async def handler(request: Request, edge: Edge) -> Response:
        agent_id = edge.entry.agent_id(_agent(request), "path.agent")
        return _view(await edge.entry.registry.order(agent_id, action), 202)

    return handler


async def breakers(request: Request, edge: Edge) -> Response:
    """GET /api/v1/breakers."""
    rows = await edge.entry.registry.breakers()
    return _page(request, BreakerPage, rows, _breaker_key)


def _breaker_key(view: BreakerView) -> str:
    return f"{view.agent.lower()}\n{view.agent_id}\n{view.shard:05}"


async def reset_breaker(request: Request, edge: Edge) -> Response:
    """POST /api/v1/breakers/{agent}/reset."""
    agent_id = edge.entry.agent_id(_agent(request), "path.agent")
    return _view(BreakerPage(await edge.entry.registry.reset_breaker(agent_id), ""))


# --- capabilities ----------------------------------------------------------------------------


async def capabilities(request: Request, edge: Edge) -> Response:
    """GET /api/v1/capabilities."""
    rows = await edge.entry.registry.capabilities()
    return _page(request, CapabilityPage, rows, lambda one: one.name)


def _name(request: Request) -> str:
    given = request.path_params["capability"]
    try:
        return CapabilityName.parse(given, "path.capability")
    except ValidationError:
        raise CapabilityNotFound(capability=given, near="") from None


async def capability(request: Request, edge: Edge) -> Response:
    """GET /api/v1/capabilities/{capability}."""
    return _view(await edge.entry.registry.capability(_name(request)))


def _fields(body: object, *names: str) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ValidationError(field="body", value=type(body).__name__, allowed="a JSON object")
    for name in body:
        if name not in names:
            raise ValidationError(
                field=name[:100], value="an unknown field", allowed=", ".join(names)
            )
    return body


async def set_strategy(request: Request, edge: Edge) -> Response:
    """PUT /api/v1/capabilities/{capability}."""
    name = _name(request)
    async with json_body(request, edge, BODY) as body:
        fields = _fields(body, "strategy")
    if "strategy" not in fields:
        raise ValidationError(field="strategy", value="nothing", allowed="a strategy or null")
    given = fields["strategy"]
    known = {one.value: one for one in Strategy}
    if given is not None and not (isinstance(given, str) and given in known):
        raise ValidationError(field="strategy", value=given, allowed=f"null or {', '.join(known)}")
    strategy = None if given is None else known[given]
    return _view(await edge.entry.registry.set_strategy(name, strategy))


# --- routes and clients ----------------------------------------------------------------------


async def routes(request: Request, edge: Edge) -> Response:
    """GET /api/v1/routes."""
    rows = sorted(edge.entry.registry.routes(), key=_route_key)
    return _page(request, RoutePage, rows, _route_key)


def _route_key(view: RouteView) -> str:
    return f"{view.agent.lower()}\n{view.agent_id}"


async def clients(request: Request, edge: Edge) -> Response:
    """GET /api/v1/clients."""
    rows = sorted(edge.entry.registry.clients(), key=lambda one: one.name)
    return _page(request, ClientPage, rows, lambda one: one.name)


async def client(request: Request, edge: Edge) -> Response:
    """GET /api/v1/clients/{client}."""
    return _view(edge.entry.registry.client(_client(request)))


def _client(request: Request) -> str:
    given = request.path_params["client"]
    if len(given) > AgentName.high:
        raise ClientNotFound(client=given)
    return str(given)


async def register(request: Request, edge: Edge) -> Response:
    """POST /api/v1/clients."""
    async with json_body(request, edge, BODY) as body:
        fields = _fields(body, "name", "metadata", "capabilities")
    if "capabilities" in fields:
        raise ValidationError(
            field="capabilities",
            value="a list",
            allowed="nothing: a client takes no messages; let an agent offer them",
        )
    name, metadata = fields.get("name"), fields.get("metadata")
    if not isinstance(name, str):
        raise ValidationError(field="name", value=type(name).__name__, allowed="a text")
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict) or not all(
        isinstance(text, str) for text in metadata.values()
    ):
        raise ValidationError(
            field="metadata", value=type(metadata).__name__, allowed="an object of texts"
        )
    return _view(await edge.entry.registry.register(name, metadata), 201)


async def deregister(request: Request, edge: Edge) -> Response:
    """DELETE /api/v1/clients/{client}."""
    return _view(await edge.entry.registry.deregister(_client(request)))


# --- tools -----------------------------------------------------------------------------------


async def tools(request: Request, edge: Edge) -> Response:
    """GET /api/v1/tools."""
    return _page(request, ToolPage, edge.entry.tools(), lambda row: row.name)
