"""``caxton mcp serve --stdio``: a node's ``/mcp`` for clients that start their servers themselves.

Both sides speak whichever form of the protocol they can: what comes on standard input is answered
by a server of this process, whose offer is what the node's server gives.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import anyio
import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from caxton import __version__
from caxton.errors import CaxtonError, NodeUnreachable, NotAuthenticated, NotAuthorized
from caxton.mcp.connecting import bounded_http
from caxton.mcp.memory_offer import AGENT
from caxton.mcp.results import error_result
from caxton.mcp.server import CaxtonServer, Report

__all__ = ["RemoteOffer", "serve_stdio"]

logger = logging.getLogger("caxton.mcp")

T = TypeVar("T")

CONNECT_S: Final = 15.0
PAUSE_S: Final = (0.5, 15.0)
"""First and longest pause before the node is asked for changes again."""
PAGES: Final = 200
GONE: Final = (
    OSError, RuntimeError, ExceptionGroup, httpx2.HTTPError,
    anyio.ClosedResourceError, anyio.BrokenResourceError,
)  # fmt: skip


class RemoteOffer:
    """What a node offers at ``/mcp``. Implements ``caxton.mcp.server.Offer``.

    Args:
        url: of the node.
        client: connected to its ``/mcp``.
    """

    def __init__(self, url: str, client: Client) -> None:
        self._url = url
        self._client = client

    async def _reach(self, asked: Awaitable[T]) -> T:
        """An answer of the node; that it is away is an error with words."""
        try:
            return await asked
        except MCPError as error:
            if error.code == types.CONNECTION_CLOSED:
                raise MCPError(types.INTERNAL_ERROR, self._away()) from None
            raise
        except GONE as error:
            logger.info("the node does not answer: %s", type(error).__name__)
            raise MCPError(types.INTERNAL_ERROR, self._away()) from None

    def _away(self) -> str:
        return f"no Caxton node answers at {self._url}; start it with `caxton serve`"

    async def _all(
        self, ask: Callable[[str | None], Awaitable[Any]], items: Callable[[Any], Sequence[T]]
    ) -> list[T]:
        found: list[T] = []
        cursor: str | None = None
        for _ in range(PAGES):
            page = await self._reach(ask(cursor))
            found += items(page)
            cursor = page.next_cursor
            if not cursor:
                break
        return found

    async def tools(self) -> Sequence[types.Tool]:
        """Every tool of the node."""
        client = self._client
        return await self._all(lambda at: client.list_tools(cursor=at), lambda page: page.tools)

    def schema(self, name: str) -> Mapping[str, Any] | None:
        """Unknown here: the node checks."""
        return None

    async def call(
        self, name: str, arguments: dict[str, Any], report: Report, request: Any
    ) -> types.CallToolResult:
        """Have the node call a tool; its notes of progress are passed on."""
        try:
            return await self._reach(
                self._client.call_tool(name, arguments, progress_callback=report)
            )
        except MCPError as error:
            if error.message == self._away():
                return error_result("NODE_UNREACHABLE", error.message)
            raise

    async def resources(self) -> Sequence[types.Resource]:
        """The node's conversations."""
        client = self._client
        return await self._all(
            lambda at: client.list_resources(cursor=at), lambda page: page.resources
        )

    async def templates(self) -> Sequence[types.ResourceTemplate]:
        """How the node's resources are named."""
        client = self._client
        return await self._all(
            lambda at: client.list_resource_templates(cursor=at),
            lambda page: page.resource_templates,
        )

    async def read(self, uri: str) -> types.ReadResourceResult:
        """A resource of the node."""
        return await self._reach(self._client.read_resource(uri))


async def serve_stdio(url: str, token: str = "", agent: str = "") -> None:
    """Serve on standard input and output until the input ends.

    Args:
        url: of the node.
        token: for its ``/mcp``; empty for none.
        agent: in whose memory is read and written; empty for that of the workspace.

    Raises:
        NodeUnreachable: nobody answers there.
        NotAuthenticated: the node asks for another token.
        NotAuthorized: the node does not serve MCP clients from here.
    """
    async with _connected(url, token, agent) as client:
        server = CaxtonServer(RemoteOffer(url, client))
        following = asyncio.get_running_loop().create_task(_follow(client, server))
        try:
            # It takes file descriptor 1 for itself: what else is written there goes to stderr.
            async with stdio_server() as (reading, writing):
                await server.run(reading, writing, server.create_initialization_options())
        finally:
            following.cancel()
            await asyncio.wait([following])


@contextlib.asynccontextmanager
async def _connected(url: str, token: str, agent: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if agent:
        headers[AGENT] = agent
    async with bounded_http(headers) as http:
        await _look(http, url)
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        info = types.Implementation(name="caxton-mcp-bridge", version=__version__)
        client = Client(transport, client_info=info, cache=None)
        try:
            async with asyncio.timeout(CONNECT_S):
                await client.__aenter__()
        except (MCPError, TimeoutError, *GONE) as error:
            raise NodeUnreachable(url=url, reason=str(error) or type(error).__name__) from None
        try:
            yield client
        finally:
            await client.__aexit__(None, None, None)


async def _look(http: httpx2.AsyncClient, url: str) -> None:
    """Ask ``/mcp`` something harmless, so that who may not come in is told why."""
    from caxton.api.exchange import Answer, error_of

    body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    accepts = {"Accept": "application/json, text/event-stream"}
    version = {"MCP-Protocol-Version": "2026-07-28"}
    try:
        response = await http.post(f"{url}/mcp", json=body, headers={**accepts, **version})
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise NodeUnreachable(url=url, reason=str(error) or type(error).__name__) from None
    if response.status_code < 300:
        return
    media = response.headers.get("content-type", "").partition(";")[0]
    told: CaxtonError = error_of(Answer(response.status_code, media, response.content), url)
    if not isinstance(told, NotAuthenticated | NotAuthorized):
        told = NodeUnreachable(url=url, reason=f"/mcp answers {response.status_code}")
    raise told


async def _follow(client: Client, server: CaxtonServer) -> None:
    """Pass on that the node's tools have changed; a node that was away has other tools too."""
    pause = PAUSE_S[0]
    while True:
        try:
            async with client.listen(tools_list_changed=True) as changes:
                await server.tools_changed()
                pause = PAUSE_S[0]
                async for _ in changes:
                    await server.tools_changed()
        except ListenNotSupportedError:
            return
        except (MCPError, SubscriptionLost, TimeoutError, *GONE) as error:
            logger.debug("the stream of changes ended: %s", type(error).__name__)
        await asyncio.sleep(pause)
        pause = min(pause * 2, PAUSE_S[1])
