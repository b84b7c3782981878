"""The MCP server, whatever it offers: both eras of the protocol, progress, news of changes."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    ResourcesListChanged,
    ToolsListChanged,
)
from mcp.shared.dispatcher import ProgressFnT as Report
from mcp.shared.exceptions import MCPError

from caxton import __version__

__all__ = ["INSTRUCTIONS", "CaxtonServer", "Offer", "Report"]

logger = logging.getLogger("caxton.mcp")

PAGE: Final = 500
"""Tools or resources of one page of a list."""
SESSIONS: Final = 1_000
"""Connections of the older protocol that are told of changes; the oldest are forgotten."""
TELL_S: Final = 5.0
"""How long telling one of them may take."""
INSTRUCTIONS: Final = (
    "Caxton runs agents. Tools whose names begin with `ask_` have an agent with that capability "
    "answer; give the `conversation_id` of an answer back to go on with the same conversation. "
    "`caxton_send` talks to one agent by name. `create_entities`, `search_nodes` and the like "
    "remember and find what agents and clients share. The other tools run in a sandbox and reach "
    "nothing that the node's operator has not granted."
)

Context = ServerRequestContext[Any, Any]


class Offer(Protocol):
    """What a server has to offer. All of it raises MCPError for what is not there."""

    async def tools(self) -> Sequence[types.Tool]:
        """Every tool, in an order that does not change."""
        ...

    def schema(self, name: str) -> Mapping[str, Any] | None:
        """The input schema of a tool, if it is known without asking anybody."""
        ...

    async def call(
        self, name: str, arguments: dict[str, Any], report: Report, request: Any
    ) -> types.CallToolResult:
        """Call a tool. Being cancelled ends the call."""
        ...

    async def resources(self) -> Sequence[types.Resource]:
        """Resources worth listing."""
        ...

    async def templates(self) -> Sequence[types.ResourceTemplate]:
        """How the others are named."""
        ...

    async def read(self, uri: str) -> types.ReadResourceResult:
        """A resource."""
        ...


class CaxtonServer(Server[Any]):
    """A server for one offer. ``tools_changed`` tells clients that the tools are others."""

    def __init__(self, offer: Offer, *, name: str = "caxton") -> None:
        self._offer = offer
        self._bus = InMemorySubscriptionBus()
        self._listeners = ListenHandler(self._bus)
        self._sessions: OrderedDict[int, Any] = OrderedDict()
        super().__init__(
            name,
            version=__version__,
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
            on_subscriptions_listen=self._listeners,
            get_tool_input_schema=offer.schema,
        )
        self.add_notification_handler(
            "notifications/initialized", types.NotificationParams, self._initialized
        )

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """What a client of the older protocol is told: that the list of tools changes."""
        options = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(options, experimental_capabilities, extensions)

    async def _initialized(self, ctx: Context, _params: types.NotificationParams) -> None:
        self._sessions[id(ctx.session)] = ctx.session
        while len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)

    async def tools_changed(self) -> None:
        """Tell every client that listens."""
        await self._bus.publish(ToolsListChanged())
        sessions = list(self._sessions.items())
        told = await asyncio.gather(*(self._tell(session) for _, session in sessions))
        for (key, _), good in zip(sessions, told, strict=True):
            if not good:
                self._sessions.pop(key, None)

    async def resources_changed(self) -> None:
        """Tell every client that listens."""
        await self._bus.publish(ResourcesListChanged())

    async def _tell(self, session: Any) -> bool:
        try:
            async with asyncio.timeout(TELL_S):
                await session.send_tool_list_changed()
        except TimeoutError:
            logger.info("an MCP client does not take what it is told; it is told no more")
            return False
        return True

    def end_listening(self) -> None:
        """End every stream of changes in good order."""
        self._listeners.close()

    # --- requests ----------------------------------------------------------------------------

    async def _list_tools(
        self, _ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        items, cursor = _page(await self._offer.tools(), params)
        return types.ListToolsResult(tools=items, next_cursor=cursor)

    async def _call_tool(
        self, ctx: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        # A client that did not ask for progress is told nothing by it.
        report = ctx.session.report_progress
        return await self._offer.call(params.name, params.arguments or {}, report, ctx.request)

    async def _list_resources(
        self, _ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        items, cursor = _page(await self._offer.resources(), params)
        return types.ListResourcesResult(resources=items, next_cursor=cursor)

    async def _list_templates(
        self, _ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        items, cursor = _page(await self._offer.templates(), params)
        return types.ListResourceTemplatesResult(resource_templates=items, next_cursor=cursor)

    async def _read_resource(
        self, _ctx: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        return await self._offer.read(str(params.uri))


def _page(
    items: Sequence[Any], params: types.PaginatedRequestParams | None
) -> tuple[list[Any], str | None]:
    """A page, and where the next one begins.

    Raises:
        MCPError: the cursor is none of ours.
    """
    cursor = params.cursor if params is not None else None
    start = 0
    if cursor is not None:
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 9):
            raise MCPError(types.INVALID_PARAMS, "cursor: not one of this server's")
        start = int(cursor)
    end = start + PAGE
    return list(items[start:end]), str(end) if end < len(items) else None
