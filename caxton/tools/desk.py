"""The tools of a node where they run: the sandbox's, and those of other servers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
import orjson

from caxton.agents.behaviour import ToolResult, ToolRunner
from caxton.errors import CaxtonError
from caxton.tools.catalog import BUILTIN_SOURCE, MCP_SOURCE, ToolCatalog, ToolSpec, specs_to
from caxton.tools.usage import ToolUsage
from caxton.views import ToolServerView

__all__ = ["ToolDesk", "ToolServers"]

RESULT_CHARACTERS: Final = 256 * 1024
"""Longest tool result that is passed on whole."""
BEGINNING: Final = 2_000
"""Characters of a longer one that are passed on."""


class ToolServers(ToolRunner, Protocol):
    """Servers whose tools are not sandboxed. ``caxton.mcp.servers.ServerSet`` is the real one."""

    def views(self) -> Sequence[ToolServerView]:
        """How each of them is."""
        ...


class ToolDesk:
    """Runs a tool where it belongs, and tells other processes which tools there are.

    Args:
        catalog: the tools that are there.
        runner: runs those of the sandbox.
        keep: keeps a result that is too large for a message, and gives its name.
    """

    def __init__(
        self,
        catalog: ToolCatalog,
        runner: ToolRunner,
        keep: Callable[[str], Awaitable[str]] | None = None,
    ) -> None:
        self.catalog = catalog
        self.usage = ToolUsage()
        self._runner = runner
        self._keep = keep
        self._servers: ToolServers | None = None

    def attach(self, servers: ToolServers) -> None:
        """Have ``servers`` run their own tools."""
        self._servers = servers

    async def call(
        self,
        tool: ToolSpec,
        arguments: Mapping[str, Any],
        *,
        permissions: Mapping[str, Any],
        timeout_ms: int,
        owner: str = "",
    ) -> ToolResult:
        """Run ``tool``. What its source cannot do is a result too."""
        runner: ToolRunner | None = self._runner
        if tool.source.startswith(MCP_SOURCE):
            runner = self._servers
        if runner is None:
            return ToolResult(False, f"nobody runs the tools of {tool.source}", "missing")
        result = await runner.call(
            tool, arguments, permissions=permissions, timeout_ms=timeout_ms, owner=owner
        )
        if len(result.content) > RESULT_CHARACTERS:
            result = await self._shortened(result)
        self.usage.called(tool.name, result)
        calls = self.catalog.calls
        calls[tool.name] = calls.get(tool.name, 0) + 1
        return result

    async def _shortened(self, result: ToolResult) -> ToolResult:
        """A large result is kept under its hash; what is passed on says where and how it begins."""
        size = f"{len(result.content):,} characters of result"
        if self._keep is None or not result.ok:
            detail = f"{size}, at most {RESULT_CHARACTERS:,} are passed on"
            return msgspec.structs.replace(
                result, ok=False, content=detail, reason="reply_too_large"
            )
        try:
            name = await self._keep(result.content)
        except CaxtonError as error:
            detail = f"{size}, which could not be kept: {error}"
            return msgspec.structs.replace(
                result, ok=False, content=detail, reason="reply_too_large"
            )
        told = {
            "kept": f"sha256:{name}",
            "characters": len(result.content),
            "read": f"GET /api/v1/content/{name}",
            "begins": result.content[:BEGINNING],
        }
        return msgspec.structs.replace(result, content=json.dumps(told, ensure_ascii=False))

    async def answer(self, name: str, arguments: dict[str, Any]) -> Any:
        """Answer a question of another process: ``tool`` runs one."""
        tool = self.catalog.get(str(arguments["tool"]))
        if name != "tool" or tool is None:
            return msgspec.to_builtins(ToolResult(False, "no such tool is installed", "missing"))
        result = await self.call(
            tool,
            orjson.loads(arguments["arguments"]),
            permissions=arguments["permissions"],
            timeout_ms=int(arguments["timeout_ms"]),
            owner=str(arguments["owner"]),
        )
        return msgspec.to_builtins(result)

    def servers(self) -> tuple[ToolServerView, ...]:
        """How each server is."""
        return tuple(self._servers.views()) if self._servers is not None else ()

    def news(self) -> dict[str, Any]:
        """What a process that has the shipped tools needs to know besides, as plain values."""
        others = [one for one in self.catalog.specs if one.source != BUILTIN_SOURCE]
        return {
            "tools": specs_to(others),
            "servers": msgspec.to_builtins(self.servers()),
            "problems": dict(self.catalog.problems),
        }
