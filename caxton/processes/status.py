"""The node at one glance, put together from shards, processes and settings."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import psutil

from caxton import __version__
from caxton.moments import format_time
from caxton.processes.layout import MEMORY
from caxton.types import format_id
from caxton.views import MemoryView, NodeView, ProcessView, ShardView, ToolServerView, ToolsView

__all__ = ["NodeStatus", "ProcessRow"]


class ProcessRow(msgspec.Struct, frozen=True):
    """What the supervisor knows of a process."""

    name: str
    pid: int
    state: str
    restarts: int
    started_at_ms: int


class NodeStatus(msgspec.Struct):
    """The fixed part of a node's status, and the processes as last told."""

    node_id: bytes
    url: str
    pid: int
    started_at_ms: int
    durability: str
    data: str
    agents_folder: str
    provider: str
    shards: int
    warnings: tuple[str, ...] = ()
    processes: tuple[ProcessRow, ...] = ()
    draining: bool = False
    tool_servers: tuple[ToolServerView, ...] = ()
    tools: ToolsView = ToolsView()
    tools_now: Callable[[], ToolsView] | None = None
    """Gives how tools are used, where that is known in this process."""

    memory_now: Callable[[bool], Awaitable[MemoryView]] | None = None
    """Gives how the memory is, told whether its process runs; starts nothing."""

    async def view(self, shards: Sequence[ShardView], agents: int) -> NodeView:
        """The status now."""
        now = time.time_ns() // 1_000_000
        rows = self.processes
        ready = len(shards) == self.shards and all(row.state == "ready" for row in rows)
        runs = any(row.name == MEMORY and row.state == "ready" for row in rows)
        memory = MemoryView() if self.memory_now is None else await self.memory_now(runs)
        state = "draining" if self.draining else "ready" if ready else "degraded"
        return NodeView(
            id=format_id(self.node_id),
            version=__version__,
            state=state,  # type: ignore[arg-type]  # one of the three above
            url=self.url,
            pid=self.pid,
            started_at=format_time(self.started_at_ms),
            uptime_ms=now - self.started_at_ms,
            durability=self.durability,  # type: ignore[arg-type]  # from Config
            data=self.data,
            agents_folder=self.agents_folder,
            provider=self.provider,
            agents=agents,
            processes=tuple(_process(row, now) for row in rows),
            shards=tuple(shards),
            warnings=self.warnings,
            tool_servers=self.tool_servers,
            tools=self.tools if self.tools_now is None else self.tools_now(),
            memory=memory,
        )


def _process(row: ProcessRow, now: int) -> ProcessView:
    rss, cpu = 0, 0.0
    try:
        process = psutil.Process(row.pid)
        rss = process.memory_info().rss
        times = process.cpu_times()
        cpu = times.user + times.system
    except psutil.Error:
        # It ended since the supervisor last told; its row says so soon.
        rss = 0
    return ProcessView(
        name=row.name,
        pid=row.pid,
        state=row.state,  # type: ignore[arg-type]  # from the supervisor
        restarts=row.restarts,
        uptime_ms=max(0, now - row.started_at_ms),
        rss_bytes=rss,
        cpu_seconds=round(cpu, 2),
    )
