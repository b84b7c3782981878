"""Starts the memory process when the first one needs it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from actors import ProcessSpec, ProcessSupervisor, RestartPolicy, StartFailed
from caxton.processes.layout import MEMORY, Layout
from caxton.processes.memory_link import MemoryLink

__all__ = ["MemoryStarter"]

logger = logging.getLogger("caxton.node")

AGAIN_S: Final = 5.0
"""Before it is tried again when it did not become ready."""


class MemoryStarter:
    """Belongs to the supervising process.

    Args:
        supervisor: of the node's processes.
        layout: the node.
        restart: what happens when it ends.
        event: tells operators something.
        name: of this process's end of the link.
    """

    def __init__(
        self,
        supervisor: ProcessSupervisor,
        layout: Layout,
        restart: RestartPolicy,
        event: Callable[[str, str, str], None],
        name: str,
    ) -> None:
        self._supervisor = supervisor
        self._layout = layout
        self._restart = restart
        self._event = event
        self._task: asyncio.Task[None] | None = None
        self._again = 0.0
        self._link = MemoryLink(layout, name, self.need)
        self.memory = self._link.memory
        """The memory as this process asks it."""
        self.glance = self._link.glance

    def need(self) -> None:
        """Somebody asks for the memory. It is started once; after a failed start, once more each
        few seconds."""
        loop = asyncio.get_running_loop()
        if not self._layout.config.memory_enabled or loop.time() < self._again:
            return
        if self._task is None or (self._task.done() and not self._runs()):
            self._task = loop.create_task(self._start())

    def _runs(self) -> bool:
        states = {one.name: one.state for one in self._supervisor.children()}
        return states.get(MEMORY, "stopped") not in ("failed", "stopped")

    async def _start(self) -> None:
        from caxton.processes.memory_main import run_memory

        start_s = self._layout.config.start_timeout_ms / 1_000
        spec = ProcessSpec(MEMORY, run_memory, (self._layout,), self._restart, start_s)
        try:
            await self._supervisor.start([spec], stops_last=True)
        except StartFailed as error:
            self._again = asyncio.get_running_loop().time() + AGAIN_S
            logger.error("%s", error)
            self._event("memory.unavailable", MEMORY, str(error))

    async def close(self) -> None:
        """Close the link; a start that is under way ends."""
        await self._link.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
