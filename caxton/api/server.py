"""The HTTP server around the app: uvicorn, with the socket and the signals left to its owner."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

__all__ = ["make_server"]

DRAIN_S = 5
"""How long open requests may take when the server stops."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the supervisor's matter."""
        yield


def make_server(app: Starlette) -> uvicorn.Server:
    """A server for an already listening socket: ``await server.serve(sockets=[listener])``.

    Setting ``should_exit`` ends it; open requests have five seconds.
    """
    return _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=DRAIN_S,
            server_header=False,
        )
    )
