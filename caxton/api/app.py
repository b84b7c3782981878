"""The REST app: routes from the table, a guard around them, problems for every error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.routing import Route as HttpRoute
from starlette.types import Scope

from caxton.api.edge import Edge, Limits
from caxton.api.entry import Entry
from caxton.api.guard import Guard
from caxton.api.openapi import document_bytes
from caxton.api.problems import wrong_request
from caxton.api.query import check_query
from caxton.api.routes import ROUTES, Route
from caxton.mcp.endpoint import McpEndpoint, McpSettings, McpTools
from caxton.message import DEFAULT_OPTIONS, DeliveryOptions
from caxton.observe.tracing import OFF, Tracing

__all__ = ["Limits", "make_app"]

_DEFAULT = Limits()


def make_app(
    entry: Entry,
    *,
    loopback: bool = True,
    limits: Limits = _DEFAULT,
    tracing: Tracing = OFF,
    options: DeliveryOptions = DEFAULT_OPTIONS,
    metrics: bool = True,
    mcp: tuple[McpSettings, McpTools] | None = None,
) -> Starlette:
    """The ASGI app in front of ``entry``.

    Args:
        entry: the node.
        loopback: the server listens on loopback only: requests must name it as their host, so
            that a page elsewhere cannot reach the node by a name of its own (DNS rebinding).
            Requests from pages of other origins are refused in any case.
        limits: bounds of sizes, counts and times.
        tracing: which requests are traced.
        options: of messages that do not say.
        metrics: whether metrics are served; without, their route is not there.
        mcp: how MCP clients are served, and with what; without, `/mcp` is not there.
    """
    edge = Edge(entry, limits, loopback=loopback, tracing=tracing, options=options, metrics=metrics)
    edge.openapi = document_bytes()
    kind = _named_kind()
    routes = [
        (kind if ":path}" in path else HttpRoute)(path, _endpoint(rows, edge), methods=list(rows))
        for path, rows in _by_path().items()
    ]
    if mcp is not None:
        # An app of its own, at exactly this path: a mount would serve it with a slash behind.
        routes.append(HttpRoute("/mcp", McpEndpoint(edge, *mcp)))
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, edge=edge)],
        exception_handlers={HTTPException: wrong_request},
    )
    # A path with a slash too many is another path: a redirect would not be a documented answer.
    app.router.redirect_slashes = False
    app.state.edge = edge
    return app


def _named_kind() -> type[HttpRoute]:
    """A route with a name that may hold slashes, which a client sends as ``%2F``.

    A slash that is sent as it is before the last step of another route belongs to that route.
    """
    below = [
        (begin.encode(), end.encode())
        for begin, _, end in (
            (path.partition("{")[0], "", path.rpartition("}")[2])
            for path in _by_path()
            if ":path}" in path
        )
        if end
    ]

    class Named(HttpRoute):
        def matches(self, scope: Scope) -> tuple[Match, Scope]:
            raw = scope.get("raw_path") or scope["path"].encode()
            found = [end for begin, end in below if raw.startswith(begin) and raw.endswith(end)]
            mine = self.path.rpartition("}")[2].encode()
            if (mine and mine not in found) or (not mine and found):
                return Match.NONE, {}
            return super().matches(scope)

    return Named


def _by_path() -> dict[str, dict[str, Route]]:
    """The rows of each path by method: together, so that its ``Allow`` names them all."""
    found: dict[str, dict[str, Route]] = {}
    for route in ROUTES:
        found.setdefault(route.match or route.path, {})[route.method] = route
    return found


def _endpoint(rows: dict[str, Route], edge: Edge) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        route = rows["GET" if request.method == "HEAD" else request.method]
        request.scope["caxton.route"] = route.path
        check_query(request, route.query)
        return await route.handler(request, edge)

    return handle
