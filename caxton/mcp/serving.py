"""The server behind ``/mcp`` while the node runs: one task owns it from begin to end."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import Receive, Scope, Send

from caxton.api.edge import Edge
from caxton.errors import NodeNotReady
from caxton.mcp.endpoint import McpSettings, McpTools
from caxton.mcp.local_offer import LocalOffer, Parts
from caxton.mcp.server import CaxtonServer

__all__ = ["Serving"]

logger = logging.getLogger("caxton.mcp")

SESSIONS: Final = 1_000
"""Sessions of the older protocol at a time."""
IDLE_S: Final = 30 * 60
"""A session without a request for so long is forgotten."""
SETTLE_S: Final = 0.05
"""Changes within this time are told as one."""
BODY_BYTES: Final = 16 * 1024 * 1024
"""Largest request: a message's content may be 10 MiB, and more in JSON."""


class Serving:
    """See the module.

    Args:
        edge: of the app; its end is this one's.
        settings: of ``/mcp``.
        tools: of the node.
    """

    def __init__(self, edge: Edge, settings: McpSettings, tools: McpTools) -> None:
        self._edge = edge
        self._offer = LocalOffer(
            Parts(
                edge.entry, tools.directory, tools.catalog, tools.runner,
                settings.tools, settings.permissions, settings.timeout_ms, settings.memory,
            )
        )  # fmt: skip
        self._server = CaxtonServer(self._offer)
        self._manager = StreamableHTTPSessionManager(
            self._server,
            session_idle_timeout=IDLE_S,
            max_sessions=SESSIONS,
            max_request_body_size=BODY_BYTES,
        )
        self._touched = asyncio.Event()
        self.ready = asyncio.Event()
        """Requests may come."""
        tools.catalog.watch(self._touched.set)
        tools.directory.offers.watch(self._touched.set)

    async def own(self) -> None:
        """Run until the app closes. Enters and leaves what must be left in the same task."""
        async with self._manager.run():
            telling = asyncio.get_running_loop().create_task(self._tell())
            self.ready.set()
            try:
                await self._edge.closing.wait()
            finally:
                telling.cancel()
                await asyncio.wait([telling])
            self._server.end_listening()
            # Calls that wait for an answer get as long as others that do.
            await self._edge.expired.wait()

    async def _tell(self) -> None:
        """Tell clients when the tools are others than before."""
        known = self._offer.refresh()
        while True:
            await self._touched.wait()
            await asyncio.sleep(SETTLE_S)
            self._touched.clear()
            now = self._offer.refresh()
            if now != known:
                known = now
                await self._server.tools_changed()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if self._edge.closing.is_set():
            raise NodeNotReady(part="the node (it stops)")
        await self._manager.handle_request(scope, receive, send)
