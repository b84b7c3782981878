"""The REST app: routes from the table, a guard around them, problems for every error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as HttpRoute

from caxton.api.edge import Edge, Limits
from caxton.api.entry import Entry
from caxton.api.guard import Guard
from caxton.api.openapi import document_bytes
from caxton.api.problems import wrong_request
from caxton.api.query import check_query
from caxton.api.routes import ROUTES, Route

__all__ = ["Limits", "make_app"]

_DEFAULT = Limits()


def make_app(entry: Entry, *, loopback: bool = True, limits: Limits = _DEFAULT) -> Starlette:
    """The ASGI app in front of ``entry``.

    Args:
        entry: the node.
        loopback: the server listens on loopback only: requests must name it as their host, so
            that a page elsewhere cannot reach the node by a name of its own (DNS rebinding).
            Requests from pages of other origins are refused in any case.
        limits: bounds of sizes, counts and times.
    """
    edge = Edge(entry, limits, loopback=loopback)
    edge.openapi = document_bytes()
    app = Starlette(
        routes=[
            HttpRoute(route.path, _endpoint(route, edge), methods=[route.method])
            for route in ROUTES
        ],
        middleware=[Middleware(Guard, edge=edge)],
        exception_handlers={HTTPException: wrong_request},
    )
    # A path with a slash too many is another path: a redirect would not be a documented answer.
    app.router.redirect_slashes = False
    app.state.edge = edge
    return app


def _endpoint(route: Route, edge: Edge) -> Callable[[Request], Awaitable[Response]]:
    handler, query, path = route.handler, route.query, route.path

    async def handle(request: Request) -> Response:
        request.scope["caxton.route"] = path
        check_query(request, query)
        return await handler(request, edge)

    return handle
