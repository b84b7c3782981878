"""The outermost layer of the app: trace ids, foreign origins, faults of ours.

A page in a browser can send requests to a node on the same machine: to its address (cross-site
request forgery), or to a name of its own that it makes resolve to loopback (DNS rebinding). So a
node on loopback answers only to loopback names, and no node takes a state-changing request from a
page of another origin (RFC 6454).
"""

from __future__ import annotations

import logging
import secrets
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from caxton.api.edge import Edge
from caxton.api.problems import respond
from caxton.errors import CaxtonError, InternalError, NotAuthorized, ValidationError
from caxton.message import TraceContext, parse_traceparent

__all__ = ["Guard", "trace_context"]

logger = logging.getLogger("caxton.api")

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_PORTS = {"http": 80, "https": 443}
UNMATCHED = "unmatched"
"""Route label of requests that no route takes."""


def trace_context(scope: Scope) -> TraceContext:
    """The W3C context for the messages of a request: below the one it came with, or a new one."""
    found: TraceContext = scope["caxton.trace"]
    return found


def _read_trace(given: str) -> TraceContext | None:
    try:
        return parse_traceparent(given)
    except ValidationError:
        # W3C Trace Context 3.3: a header that does not parse starts a new trace, it is no error.
        return None


def _parts(scheme: str, host: str) -> tuple[str, int | None]:
    """Name and port of a Host header or an origin; an empty name for what is neither."""
    try:
        parts = urlsplit(f"//{host}")
        return (parts.hostname or "").lower(), parts.port or _PORTS.get(scheme)
    except ValueError:
        return "", None


def _refuse_stranger(scope: Scope, host: str, origin: str, *, loopback: bool) -> None:
    scheme = scope.get("scheme", "http")
    name, port = _parts(scheme, host)
    if loopback and name not in _LOOPBACK:
        raise NotAuthorized(
            who=f"a request for host `{host}`",
            action="be served: the node listens on loopback only (localhost, 127.0.0.1, [::1])",
        )
    if not origin or scope["method"] in _SAFE:
        return
    asked, _, rest = origin.partition("://")
    if not rest or _parts(asked, rest) != (name, port):
        raise NotAuthorized(who=f"a page of origin `{origin}`", action="send to this node")


class Guard:
    """ASGI middleware, see the module."""

    def __init__(self, app: ASGIApp, edge: Edge) -> None:
        self.app = app
        self.edge = edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        host = origin = given = ""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value.decode("latin-1")
            elif name == b"origin":
                origin = value.decode("latin-1")
            elif name == b"traceparent":
                given = value.decode("latin-1")
        parent = _read_trace(given) if given else None
        identity = scope["caxton.trace_id"] = parent.trace_id if parent else secrets.token_hex(16)
        tracing = self.edge.tracing
        trace = scope["caxton.trace"] = tracing.enter(identity, parent)
        since_ns = tracing.wall_ns() if trace.sampled else 0
        extra = ((b"x-request-id", identity.encode()), (b"x-content-type-options", b"nosniff"))
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": [*message["headers"], *extra]}
                route = scope.get("caxton.route", UNMATCHED)
                self.edge.requests[route, message["status"]] += 1
                if trace.sampled:
                    tracing.answered(
                        trace, parent, since_ns,
                        method=scope["method"], route=route, status=message["status"],
                    )  # fmt: skip
            await send(message)

        try:
            _refuse_stranger(scope, host, origin, loopback=self.edge.loopback)
            await self.app(scope, receive, answer)
        except CaxtonError as error:
            if started:
                raise
            await respond(scope, error)(scope, receive, answer)
        except Exception as error:
            logger.exception(
                "request failed",
                extra={"trace_id": identity, "method": scope["method"], "path": scope["path"]},
            )
            if started:
                raise
            failure = InternalError(reason=f"the node failed on this request, trace {identity}")
            failure.__cause__ = error
            await respond(scope, failure)(scope, receive, answer)
