"""A store of each backend, opened again and again: what the conformance tests run over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

from model_backend import Kept, ModelBackend
from qdrant_client import AsyncQdrantClient

from caxton.config.secret import Secret
from caxton.memory.backend import MemoryBackend, ModelInfo
from caxton.memory.embedded.backend import EmbeddedBackend
from caxton.memory.qdrant.backend import QdrantBackend
from caxton.memory.qdrant.server import Server
from caxton.memory.remote import RemoteTarget, remote_backend

__all__ = ["Bench", "EmbeddedBench", "ModelBench", "Neo4jBench", "QdrantBench"]


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
        """Spoil something that ``verify`` finds and mends. Nothing is open."""
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
    """Qdrant's client in its local mode.

    Args:
        folder: where it keeps its points; in memory, from one opening to the next, when None.
    """

    examples = 25

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self.client = AsyncQdrantClient(":memory:")
        self._end = self.client.close
        self.client.close = self._stay  # type: ignore[method-assign]
        self._folder = folder

    async def _stay(self, **_: Any) -> None:
        """Closing the backend keeps what is in memory."""

    def connect(self) -> AsyncQdrantClient:
        """A client of the store."""
        if self._folder is None:
            return self.client
        return AsyncQdrantClient(path=str(self._folder))

    async def open(self, model: ModelInfo | None) -> MemoryBackend:
        """As ``Bench.open``."""
        backend = QdrantBackend(Server(self.connect, local=True))
        await backend.start(model)
        self._open.append(backend)
        return backend

    async def harm(self) -> None:
        """As ``Bench.harm``: relations and vectors of an entity that is not there."""
        client = self.connect()
        found, _ = await client.scroll("caxton-entities", limit=1)
        await client.delete("caxton-entities", [found[0].id])
        await client.close()

    async def dispose(self) -> None:
        """As ``Bench.dispose``."""
        await self._close_all()
        await self._end()


class ModelBench(_OnLoop):
    """The backend in plain Python that services are tested on."""

    examples = 30

    def __init__(self) -> None:
        super().__init__()
        self.kept = Kept()

    async def open(self, model: ModelInfo | None) -> MemoryBackend:
        """As ``Bench.open``."""
        backend = ModelBackend(self.kept)
        await backend.start(model)
        self._open.append(backend)
        return backend

    async def harm(self) -> None:
        """It has nothing that could be made anew."""

    async def dispose(self) -> None:
        """As ``Bench.dispose``."""
        await self._close_all()


class EmbeddedBench(_OnLoop):
    """The backend of a node that has no other."""

    examples = 30

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    async def open(self, model: ModelInfo | None) -> MemoryBackend:
        """As ``Bench.open``."""
        backend = EmbeddedBackend(self.folder, map_bytes=1 << 30)
        await backend.start(model)
        self._open.append(backend)
        return backend

    async def harm(self) -> None:
        """As ``Bench.harm``."""
        raise NotImplementedError

    async def dispose(self) -> None:
        """As ``Bench.dispose``."""
        await self._close_all()
