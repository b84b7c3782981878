"""Other MCP servers, whose tools agents may list. They are not sandboxed.

Each has one task that owns its connection: it connects, lists the tools, waits until the
connection ends, and begins again after a pause that grows. Calls come from other tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import anyio
import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp.shared.exceptions import MCPError

from actors.supervision.restart import Backoff
from caxton.agents.behaviour import ToolResult
from caxton.mcp.connecting import connect
from caxton.mcp.foreign_tools import foreign_specs, result_of
from caxton.mcp.server_file import Redactor, ServerEntry
from caxton.tools.catalog import MCP_SOURCE, ToolCatalog, ToolSpec
from caxton.views import ToolServerView

__all__ = ["ServerSet"]

logger = logging.getLogger("caxton.mcp")

CONNECT_S: Final = 30.0
"""How long a server may take to start and to list its tools."""
PAUSE_S: Final = (0.5, 60.0)
"""First and longest pause before a server is started again; up to half as long again by chance."""
HEALTHY_S: Final = 60.0
"""After so long the pauses start from the first."""
TRIES_KEPT: Final = 3
"""Failed starts after which its tools are no longer offered."""
COME_BACK_S: Final = 10.0
"""How long a call waits for a server that is just being started again."""
CALLS: Final = 16
"""Calls of one server at a time."""
WAITING: Final = 256
"""Calls that wait for one server, those that run included; more are refused."""
PAGES: Final = 50

FAILURES: Final = (
    MCPError, OSError, ValueError, RuntimeError, TimeoutError, ExceptionGroup, httpx2.HTTPError,
    anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream,
)  # fmt: skip
"""What a connection may end with. Pydantic's ValidationError is a ValueError."""

Connect = Callable[
    [ServerEntry, Redactor, Callable[[str], None], Callable[[], None]],
    AbstractAsyncContextManager[Client],
]


class ServerSet:
    """All servers of a node. Belongs to one event loop; close it.

    Args:
        entries: the servers.
        catalog: their tools are put into it.
        changed: called when a server's state or its tools have changed.
        event: tells operators something.
        connect: makes a connection.
        pause_s: first and longest pause before a new try, in seconds.
    """

    def __init__(
        self,
        entries: Iterable[ServerEntry],
        catalog: ToolCatalog,
        changed: Callable[[], None],
        event: Callable[[str, str, str], None],
        *,
        connect: Connect = connect,
        pause_s: tuple[float, float] = PAUSE_S,
    ) -> None:
        self._servers = {
            entry.name: _Server(entry, catalog, changed, event, connect, pause_s)
            for entry in entries
        }
        secrets = frozenset().union(*(entry.secrets for entry in entries))
        _keep_secret(Redactor(secrets))

    def start(self) -> None:
        """Begin to connect."""
        for server in self._servers.values():
            server.start()

    def views(self) -> Sequence[ToolServerView]:
        """How each server is, by name."""
        return [self._servers[name].view() for name in sorted(self._servers)]

    async def call(
        self,
        tool: ToolSpec,
        arguments: Mapping[str, Any],
        *,
        permissions: Mapping[str, Any],
        timeout_ms: int,
        owner: str = "",
    ) -> ToolResult:
        """Have its server run ``tool``. ``permissions`` bind the sandbox, and mean nothing here."""
        server = self._servers.get(tool.source.removeprefix(MCP_SOURCE))
        if server is None:
            return ToolResult(False, f"there is no server for {tool.source}", "missing")
        return await server.call(tool, arguments, timeout_ms)

    async def close(self) -> None:
        """End every connection and every child with what it started."""
        await asyncio.gather(*(server.close() for server in self._servers.values()))


class _Server:
    """One server: the state, and the task that owns the connection."""

    def __init__(
        self,
        entry: ServerEntry,
        catalog: ToolCatalog,
        changed: Callable[[], None],
        event: Callable[[str, str, str], None],
        connect: Connect,
        pause_s: tuple[float, float],
    ) -> None:
        self._entry = entry
        self._redact = Redactor(entry.secrets)
        self._catalog = catalog
        self._changed = changed
        self._event = event
        self._connect = connect
        self._backoff = Backoff(*pause_s, 0.5, HEALTHY_S)
        self._task: asyncio.Task[None] | None = None
        self._client: Client | None = None
        self._connected = asyncio.Event()
        self._relist = asyncio.Event()
        self._ended = asyncio.Event()
        self._reason = ""
        self._told_last = ""
        self._failures = 0
        self._closing = False
        self._names: dict[str, str] = {}
        self._room = asyncio.Semaphore(CALLS)
        self._waiting = 0
        self._view = ToolServerView(entry.name, entry.kind, "starting")

    def start(self) -> None:
        """Begin to connect."""
        if self._entry.ignored:
            keys = ", ".join(self._entry.ignored)[:200]
            logger.warning("MCP server %s: keys without a meaning here: %s", self._entry.name, keys)
        self._task = asyncio.get_running_loop().create_task(self._own())

    def view(self) -> ToolServerView:
        """How it is."""
        return self._view

    def _become(self, state: Any, detail: str = "", *, restarts: int = 0) -> None:
        known = self._view
        self._view = ToolServerView(
            known.name, known.kind, state, len(self._names), known.restarts + restarts, detail
        )
        if (state, detail) != (known.state, known.detail):
            if state in ("connected", "waiting"):
                self._tell(state, detail or f"{len(self._names)} tools, not sandboxed")
            self._changed()

    def _tell(self, state: str, text: str) -> None:
        """Tell operators; what fails again for the same reason is told once."""
        told = f"{state}: {text}"
        if told != self._told_last:
            self._told_last = told
            self._event(f"mcp.{state}", self._entry.name, text)
            level = logging.WARNING if state == "waiting" else logging.INFO
            logger.log(level, "MCP server %s is %s", self._entry.name, told)

    # --- the connection ----------------------------------------------------------------------

    async def _own(self) -> None:
        while not self._closing:
            reason = await self._life()
            if self._closing:
                return
            self._failures += 1
            if self._failures >= TRIES_KEPT:
                self._offer(())
            delay = self._backoff.next(time.monotonic())
            self._become("waiting", reason)
            await asyncio.sleep(delay)
            self._become("starting", restarts=1)

    async def _life(self) -> str:
        """One connection from begin to end; gives the reason of its end."""
        self._ended.clear()
        self._relist.clear()
        self._reason = ""
        try:
            async with (
                asyncio.timeout(CONNECT_S) as limit,
                self._connect(self._entry, self._redact, self._end, self._relist.set) as client,
            ):
                await self._live(client, limit)
        except FAILURES as error:
            return self._reason or self._told(error)
        finally:
            self._away()
        return self._reason or "the connection ended"

    async def _live(self, client: Client, limit: asyncio.Timeout) -> None:
        try:
            await self._list(client)
            limit.reschedule(None)
            self._client = client
            self._failures = 0
            self._connected.set()
            self._become("connected")
            await self._watch(client)
        except FAILURES as error:
            # What follows from it, such as the end of the child, is not the reason.
            self._reason = self._reason or self._told(error)
            raise

    def _end(self, reason: str) -> None:
        self._reason = self._reason or self._redact(reason)[:300]
        self._away()
        self._ended.set()

    def _away(self) -> None:
        """What comes from now on waits for the next connection."""
        self._client = None
        self._connected.clear()

    def _told(self, error: BaseException) -> str:
        """What went wrong, in few words and without secrets."""
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, TimeoutError):
            return f"no answer within {CONNECT_S:g} s"
        if isinstance(error, FileNotFoundError):
            return f"`{self._entry.place}` is not installed, or its folder is not there"
        if isinstance(error, httpx2.HTTPStatusError):
            return f"{self._entry.place} answers {error.response.status_code}"
        text = " ".join(str(error).split()) or type(error).__name__
        return self._redact(f"{self._entry.place}: {text}")[:300]

    async def _watch(self, client: Client) -> None:
        """Wait until the connection ends; list the tools again when they change."""
        listening = asyncio.get_running_loop().create_task(self._listen(client))
        try:
            while True:
                waits = [asyncio.ensure_future(one.wait()) for one in (self._ended, self._relist)]
                try:
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for one in waits:
                        one.cancel()
                if self._ended.is_set():
                    return
                self._relist.clear()
                async with asyncio.timeout(CONNECT_S):
                    await self._list(client)
                self._become("connected")
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    async def _listen(self, client: Client) -> None:
        """Where the protocol has a stream of changes, follow it; its end is the server's."""
        try:
            async with client.listen(tools_list_changed=True) as changes:
                async for _ in changes:
                    self._relist.set()
        except (ListenNotSupportedError, MCPError):
            logger.debug("MCP server %s has no stream of changes", self._entry.name)
            return
        except SubscriptionLost:
            self._end("the stream of changes broke off")
            return
        self._end("it ended the stream of changes")

    async def _list(self, client: Client) -> None:
        tools: list[types.Tool] = []
        cursor: str | None = None
        for _ in range(PAGES):
            page = await client.list_tools(cursor=cursor, cache_mode="bypass")
            tools += page.tools
            cursor = page.next_cursor
            if not cursor:
                break
        self._offer(tools)

    def _offer(self, tools: Sequence[types.Tool]) -> None:
        specs, self._names, left_out = foreign_specs(self._entry.name, tools)
        for name, reason in left_out.items():
            logger.warning("MCP server %s: %s is left out: %s", self._entry.name, name, reason)
        if self._catalog.put(f"{MCP_SOURCE}{self._entry.name}", specs):
            self._changed()

    # --- calls -------------------------------------------------------------------------------

    async def call(
        self, tool: ToolSpec, arguments: Mapping[str, Any], timeout_ms: int
    ) -> ToolResult:
        """Have the server run a tool, within ``timeout_ms``; nothing is tried twice."""
        started = time.monotonic()
        if self._waiting >= WAITING:
            detail = f"{self._waiting} calls wait for the MCP server {self._entry.name}"
            return ToolResult(False, detail, "busy")
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout_ms / 1_000), self._room:
                ok, text, reason = await self._ask(tool, arguments)
        except TimeoutError:
            detail = f"the MCP server {self._entry.name} gave no result within {timeout_ms} ms"
            ok, text, reason = False, detail, "timeout"
        finally:
            self._waiting -= 1
        return ToolResult(ok, text, reason, (time.monotonic() - started) * 1_000)

    async def _ask(self, tool: ToolSpec, arguments: Mapping[str, Any]) -> tuple[bool, str, str]:
        if self._client is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(COME_BACK_S):
                    await self._connected.wait()
        client = self._client
        name = self._names.get(tool.name)
        if client is None:
            detail = self._view.detail or "it is being started"
            return False, f"the MCP server {self._entry.name} is not connected: {detail}", "offline"
        if name is None:
            return False, f"the MCP server {self._entry.name} has no such tool now", "missing"
        try:
            return result_of(await client.call_tool(name, dict(arguments)))
        except MCPError as error:
            if error.code == types.CONNECTION_CLOSED:
                if self._entry.kind == "http":
                    self._end("the connection was closed")
                # A child's own end says more, and comes at once.
                self._away()
                return False, self._lost(), "lost"
            return False, self._redact(f"{error.message}")[:1_000], "error"
        except FAILURES as error:
            if isinstance(error, TimeoutError):
                raise
            self._end(self._told(error))
            return False, self._lost(), "lost"

    def _lost(self) -> str:
        return (
            f"the connection to the MCP server {self._entry.name} ended during the call; what it "
            "has done is not known"
        )

    async def close(self) -> None:
        """End the connection and the child."""
        task, self._task = self._task, None
        # A cancellation may get lost among the scopes of a connection that is being left.
        self._closing = True
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._view = ToolServerView(self._entry.name, self._entry.kind, "stopped")


class _Hide(logging.Filter):
    """Takes secrets out of what other packages log."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; it is always kept."""
        if record.name.startswith(("mcp", "httpx2", "httpcore2", "caxton.mcp")):
            record.msg, record.args = self._redact(record.getMessage()), ()
            if record.exc_info:
                # Tracebacks of the SDK show what was sent and received.
                record.exc_info, record.exc_text = None, None
        return True


def _keep_secret(redact: Redactor) -> None:
    for handler in logging.getLogger().handlers:
        handler.addFilter(_Hide(redact))
    # They log every request with its whole URL.
    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
