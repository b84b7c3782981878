"""The memory of a fake node: the real service over a backend in plain Python."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent / "memory"))

from fake_embedder import FakeEmbedder
from model_backend import Kept, ModelBackend

from caxton.agents.definition import MemorySettings
from caxton.memory.client import Memory
from caxton.memory.service import MemoryService

NOW_MS = 1_700_000_000_000


class FakeMemory:
    """Starts a service for each event loop that asks; what is remembered stays.

    Args:
        check: called before each answer; may raise.
        embedder: makes vectors; words only without.
    """

    def __init__(
        self, check: Callable[[], None] = lambda: None, embedder: FakeEmbedder | None = None
    ) -> None:
        self.kept = Kept()
        self.embedder = embedder
        self.settings: dict[str, MemorySettings] = {
            "Greeter": MemorySettings(enabled=True, scope="workspace"),
            "Analyst": MemorySettings(enabled=True, scope="agent"),
        }
        """Of agents, by name."""
        self.asked: list[Any] = []
        """All requests, in order."""
        self.memory = Memory(self._answer)
        self._check = check
        self._service: MemoryService | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def _answer(self, request: Any) -> Any:
        self._check()
        self.asked.append(request)
        loop = asyncio.get_running_loop()
        if self._service is None or self._loop is not loop:
            self._loop = loop
            self._service = MemoryService(
                ModelBackend(self.kept),
                self.embedder,
                settings_of=self.settings.get,
                reason="there is no model here",
                clock=lambda: NOW_MS,
            )
            await self._service.start()
        return await self._service.answer(request)

    async def close(self) -> None:
        """End the service."""
        if self._service is not None:
            await self._service.close()
            self._service = None
