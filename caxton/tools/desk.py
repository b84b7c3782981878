"""The tools of a node where they run: the sandbox's, and those of other servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
import orjson

from caxton.agents.behaviour import ToolResult, ToolRunner
from caxton.tools.catalog import BUILTIN_SOURCE, MCP_SOURCE, ToolCatalog, ToolSpec, specs_to
from caxton.views import ToolServerView

__all__ = ["ToolDesk", "ToolServers"]


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
    """

    def __init__(self, catalog: ToolCatalog, runner: ToolRunner) -> None:
        self.catalog = catalog
        self._runner = runner
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
        calls = self.catalog.calls
        calls[tool.name] = calls.get(tool.name, 0) + 1
        runner: ToolRunner | None = self._runner
        if tool.source.startswith(MCP_SOURCE):
            runner = self._servers
        if runner is None:
            return ToolResult(False, f"nobody runs the tools of {tool.source}", "missing")
        return await runner.call(
            tool, arguments, permissions=permissions, timeout_ms=timeout_ms, owner=owner
        )

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
