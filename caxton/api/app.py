"""The REST app: routes from the table, problems for every error, a guard against other origins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as HttpRoute

from caxton.api.entry import Entry
from caxton.api.problems import respond, trace_of, unexpected, wrong_request
from caxton.api.routes import ROUTES, Route
from caxton.errors import CaxtonError, NotAuthorized

__all__ = ["make_app"]

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def make_app(entry: Entry, *, loopback: bool = True) -> Starlette:
    """The ASGI app in front of ``entry``.

    Args:
        entry: the node.
        loopback: the server listens on loopback only: requests must name it as their host, so
            that a page elsewhere cannot reach the node by a name of its own (DNS rebinding).
    """

    def endpoint(route: Route) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            try:
                _check_origin(request, loopback=loopback)
                response = await route.handler(request, entry)
            except CaxtonError as error:
                return respond(request, error)
            response.headers["X-Request-Id"] = trace_of(request)
            return response

        return handle

    return Starlette(
        routes=[HttpRoute(route.path, endpoint(route), methods=[route.method]) for route in ROUTES],
        exception_handlers={HTTPException: wrong_request, Exception: unexpected},
    )


def _check_origin(request: Request, *, loopback: bool) -> None:
    host = request.headers.get("host", "")
    name = (urlsplit(f"//{host}").hostname or "") if _parses(host) else ""
    if loopback and name not in _LOOPBACK:
        raise NotAuthorized(who=f"host `{host}`", action="be used here: the node is on loopback")
    origin = request.headers.get("origin")
    if origin and request.method != "GET" and urlsplit(origin).netloc != host:
        raise NotAuthorized(who=f"a page of `{origin}`", action="send to this node")


def _parses(host: str) -> bool:
    try:
        urlsplit(f"//{host}")
    except ValueError:
        return False
    return True
