"""``/mcp``: who may come in, and the SDK behind it, imported when the first client comes.

This module imports nothing of the SDK.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from starlette.types import Receive, Scope, Send

from caxton.agents.behaviour import ToolRunner
from caxton.agents.definition import Permissions
from caxton.agents.directory import Directory
from caxton.api.edge import Edge
from caxton.api.problems import respond
from caxton.config import Config, Secret
from caxton.errors import NodeNotReady, NotAuthenticated, NotAuthorized, NotFound
from caxton.mcp.policy import read_policy
from caxton.tools.catalog import ToolCatalog

if TYPE_CHECKING:
    from caxton.mcp.serving import Serving

__all__ = ["McpEndpoint", "McpSettings", "McpTools"]

logger = logging.getLogger("caxton.mcp")

START_S: Final = 30.0
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_OPEN_TO_ALL: Final = (
    "be served: the node listens on more than loopback, and `/mcp` asks for a token there, which "
    "is not set (mcp.token)"
)


@dataclass(frozen=True, slots=True)
class McpSettings:
    """The settings of ``/mcp``."""

    enabled: bool = True
    token: str = field(default="", repr=False)
    hosts: frozenset[str] = frozenset()
    """Names that a request may give as its host besides addresses and this machine's own."""
    tools: str = "sandboxed"
    memory: bool = True
    permissions: Permissions = field(default_factory=Permissions)
    timeout_ms: int = 120_000

    @classmethod
    def of(cls, config: Config) -> McpSettings:
        """Those of a node.

        Raises:
            ConfigInvalid: the file of permissions is not right.
        """
        token = config.mcp_token
        names = {one.strip().lower() for one in config.mcp_hosts.split(",") if one.strip()}
        own = {socket.gethostname().lower(), socket.getfqdn().lower(), config.host.lower()}
        return cls(
            enabled=config.mcp_enabled,
            token=token.reveal() if isinstance(token, Secret) else token,
            hosts=frozenset(names | own | _LOCAL),
            tools=config.mcp_tools,
            memory=config.mcp_memory,
            permissions=read_policy(config),
            timeout_ms=config.mcp_timeout_ms,
        )


@dataclass(frozen=True, slots=True)
class McpTools:
    """What of a node ``/mcp`` is made of, besides its entry."""

    directory: Directory
    catalog: ToolCatalog
    runner: ToolRunner


class McpEndpoint:
    """The ASGI app of ``/mcp``. One per app.

    Args:
        edge: what all requests share.
        settings: who may come in, and what they are offered.
        tools: of the node.
    """

    def __init__(self, edge: Edge, settings: McpSettings, tools: McpTools) -> None:
        self._edge = edge
        self._settings = settings
        self._tools = tools
        self._serving: Serving | None = None
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope["caxton.route"] = "/mcp"
        if not self._settings.enabled:
            raise NotFound(kind="resource", id=f"{scope['path']} (mcp.enabled is off)")
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refusal(scope, headers)
        if refused is not None:
            error, extra = refused
            await respond(scope, error, extra)(scope, receive, send)
            return
        serving = self._serving or await self._start()
        await serving.handle(scope, receive, send)

    # --- who may come in ---------------------------------------------------------------------

    def _refusal(
        self, scope: Scope, headers: dict[bytes, str]
    ) -> tuple[NotAuthorized | NotAuthenticated, dict[str, str]] | None:
        host = headers.get(b"host", "")
        name = _name(host)
        if not self._edge.loopback:
            if not (_is_address(name) or name in self._settings.hosts):
                # By a name of its own that resolves to this machine, a page could get in.
                action = "be served at /mcp: add the name to mcp.hosts"
                return NotAuthorized(who=f"a request for host `{host}`", action=action), {}
            if not self._settings.token:
                return NotAuthorized(who="an MCP client", action=_OPEN_TO_ALL), {}
        origin = headers.get(b"origin", "")
        if origin and _name(origin.partition("://")[2]) != name:
            # Reads too: the stream of an MCP session is one.
            return NotAuthorized(who=f"a page of origin `{origin}`", action="use /mcp"), {}
        return self._unknown(headers.get(b"authorization", ""))

    def _unknown(self, given: str) -> tuple[NotAuthenticated, dict[str, str]] | None:
        wanted = self._settings.token
        if not wanted:
            return None
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            error = NotAuthenticated(what="/mcp", reason="a bearer token is needed")
            return error, {"WWW-Authenticate": 'Bearer realm="caxton"'}
        if hmac.compare_digest(token.strip().encode(), wanted.encode()):
            return None
        error = NotAuthenticated(what="/mcp", reason="the bearer token is not the node's")
        return error, {"WWW-Authenticate": 'Bearer realm="caxton", error="invalid_token"'}

    # --- the SDK -----------------------------------------------------------------------------

    async def _start(self) -> Serving:
        async with self._starting:
            if self._serving is None:
                if self._edge.closing.is_set():
                    raise NodeNotReady(part="the node (it stops)")
                # A second of imports: other requests go on meanwhile.
                make = await asyncio.to_thread(_make_serving)
                serving = make(self._edge, self._settings, self._tools)
                self._task = asyncio.get_running_loop().create_task(serving.own())
                self._task.add_done_callback(_over)
                async with asyncio.timeout(START_S):
                    await serving.ready.wait()
                self._serving = serving
            return self._serving


def _make_serving() -> Callable[[Edge, McpSettings, McpTools], Serving]:
    # Imported with the first call otherwise, and on the loop.
    import jsonschema  # noqa: F401
    import referencing  # noqa: F401

    from caxton.mcp.serving import Serving

    return Serving


def _over(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("serving MCP clients ended", exc_info=task.exception())


def _name(host: str) -> str:
    """The name in a Host header or in an origin without its scheme; empty for what is neither."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
