"""The HTTP server around the app: uvicorn, with the socket and the signals left to its owner."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from caxton.api.edge import Edge

__all__ = ["make_server"]

DRAIN_S = 5
KEEP_ALIVE_S = 75
"""Longer than clients keep idle connections, so that it is they who close them."""


class _Server(uvicorn.Server):
    """Uvicorn, told when the app has to let go of what is open."""

    def __init__(self, config: uvicorn.Config, edge: Edge, drain_s: int) -> None:
        super().__init__(config)
        self._edge = edge
        self._drain_s = drain_s

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: they are the supervisor's matter."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. Connections send what they have at once.

        asyncio does this only for sockets made with IPPROTO_TCP; for any other, head and body of
        a response are two segments, and the second waits 40 ms for a delayed acknowledgement.
        Accepted sockets inherit the option from the listener.
        """
        for listener in sockets or ():
            if listener.family in (socket.AF_INET, socket.AF_INET6):
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await super().startup(sockets=sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End streams at once, other requests within the drain time."""
        self._edge.close(self._drain_s)
        await super().shutdown(sockets)


def make_server(
    app: Starlette,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    drain_s: int = DRAIN_S,
) -> uvicorn.Server:
    """A server for ``await server.serve(sockets=[listener])``; it closes the listener at its end.

    Setting ``should_exit`` ends it: nothing new is taken in, event streams end, requests that
    wait for a reply end with NODE_NOT_READY after four fifths of the drain time, and what is
    open then is cut. It installs no signal handler and logs no request.

    Args:
        app: made by ``make_app``.
        host: address to bind when ``serve`` is given no socket.
        port: port to bind when ``serve`` is given no socket; 0 takes a free one.
        drain_s: how long open requests may take when the server stops, in seconds.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        lifespan="off",
        ws="none",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=drain_s,
    )
    return _Server(config, app.state.edge, drain_s)
