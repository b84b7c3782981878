"""A store of each backend, opened again and again: what the conformance tests run over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

from caxton.config.secret import Secret
from caxton.memory.backend import MemoryBackend, ModelInfo
from caxton.memory.remote import RemoteTarget, remote_backend

__all__ = ["Bench", "Neo4jBench", "QdrantBench"]


class Bench(Protocol):
    """One store."""

    examples: int
    """How many examples a property test may try."""

    async def open(self, model: ModelInfo | None) -> MemoryBackend:
        """A backend of the store, started. Only one is open at a time."""
        ...

    async def close(self, backend: MemoryBackend) -> None:
        """Close it as a node does that stops."""
        ...

    async def leave(self, backend: MemoryBackend) -> None:
        """Let go of it as a node does that was killed: nothing more is written."""
        ...

    async def harm(self) -> None:
        """Spoil something that can be made anew. Nothing is open."""
        ...

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something on the loop of the backend, from another thread."""
        ...

    async def dispose(self) -> None:
        """Remove the store."""
        ...


class _OnLoop:
    """Remembers the loop that the store's backends belong to."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._open: list[MemoryBackend] = []

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """As ``Bench.run``."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    async def close(self, backend: MemoryBackend) -> None:
        """As ``Bench.close``."""
        self._open.remove(backend)
        await backend.close()

    async def leave(self, backend: MemoryBackend) -> None:
        """As ``Bench.leave``: of a server, a connection that ends."""
        await self.close(backend)

    async def _close_all(self) -> None:
        for backend in self._open:
            with contextlib.suppress(Exception):
                await backend.close()
        self._open.clear()


class Neo4jBench(_OnLoop):
    """A database of the Bolt server; emptied before and after."""

    examples = 12

    def __init__(self, url: str, password: str) -> None:
        super().__init__()
        self.target = RemoteTarget(
            "neo4j", url, "root", Secret(password), database="memory", timeout_ms=30_000
        )

    async def open(self, model: ModelInfo | None) -> MemoryBackend:
        """As ``Bench.open``."""
        backend = remote_backend(self.target)
        await backend.start(model)
        self._open.append(backend)
        return backend

    async def say(self, statement: str) -> None:
        """Do something behind the backend's back."""
        from neo4j import AsyncGraphDatabase

        auth = (self.target.user, self.target.secret.reveal())
        async with AsyncGraphDatabase.driver(self.target.url, auth=auth) as driver:
            await driver.execute_query(statement, database_=self.target.database)

    async def harm(self) -> None:
        """As ``Bench.harm``: the words of nodes, and vectors cut short."""
        await self.say("MATCH (n:CaxtonEntity) SET n.words = ' nothing '")

    async def empty(self) -> None:
        """Remove everything."""
        await self.say("MATCH (n) DETACH DELETE n")

    async def dispose(self) -> None:
        """As ``Bench.dispose``."""
        await self._close_all()
        await self.empty()


class QdrantBench(_OnLoop):
    """Qdrant's client in its local mode, on a folder."""

    examples = 25

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    async def open(self, model: ModelInfo | None) -> MemoryBackend:
        """As ``Bench.open``."""
        from caxton.memory.qdrant.backend import QdrantBackend

        backend = QdrantBackend.local(str(self.folder))
        await backend.start(model)
        self._open.append(backend)
        return backend

    async def harm(self) -> None:
        """As ``Bench.harm``: vectors and relations of what is not there."""
        from qdrant_client import AsyncQdrantClient

        client = AsyncQdrantClient(path=str(self.folder))
        found, _ = await client.scroll("caxton-entities", limit=1)
        await client.delete("caxton-entities", [found[0].id])
        await client.close()

    async def dispose(self) -> None:
        """As ``Bench.dispose``."""
        await self._close_all()
