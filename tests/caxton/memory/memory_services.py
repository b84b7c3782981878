"""A service on a backend and an embedder in plain Python."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fake_embedder import FakeEmbedder
from model_backend import Kept, ModelBackend

from caxton.agents.definition import MemorySettings
from caxton.memory.client import Memory
from caxton.memory.service import MemoryService

AGENTS = {
    "own": MemorySettings(enabled=True, scope="agent"),
    "shares": MemorySettings(enabled=True, scope="workspace"),
    "wide": MemorySettings(enabled=True, scope="global"),
    "off": MemorySettings(enabled=False),
}
NOW_MS = 1_700_000_000_000


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


class Desk(Memory):
    """A memory whose parts can be reached."""

    def __init__(
        self,
        backend: ModelBackend,
        embedder: FakeEmbedder | None,
        clock: Clock,
        service: MemoryService,
    ) -> None:
        super().__init__(service.answer)
        self.backend = backend
        self.embedder = embedder
        self.clock = clock
        self.service = service


@contextlib.asynccontextmanager
async def open_desk(
    embedder: FakeEmbedder | None = None, kept: Kept | None = None, **options: Any
) -> AsyncIterator[Desk]:
    """A running service."""
    backend = ModelBackend(kept)
    clock = Clock()
    service = MemoryService(backend, embedder, settings_of=AGENTS.get, clock=clock, **options)
    await service.start()
    try:
        yield Desk(backend, embedder, clock, service)
    finally:
        await service.close()
