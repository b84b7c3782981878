"""A store of each backend, opened again and again: what the conformance tests run over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

import lmdb
import numpy as np
from model_backend import Kept, ModelBackend
from qdrant_client import AsyncQdrantClient

from caxton.config.secret import Secret
from caxton.memory.backend import MemoryBackend, ModelInfo
from caxton.memory.embedded.backend import EmbeddedBackend
from caxton.memory.neo4j.backend import Neo4jBackend
from caxton.memory.neo4j.bolt import Bolt
from caxton.memory.qdrant.backend import QdrantBackend
from caxton.memory.qdrant.server import Server
from caxton.memory.remote import RemoteTarget, remote_backend

__all__ = ["Bench", "EmbeddedBench", "IndexedBench", "ModelBench", "Neo4jBench", "QdrantBench"]


class Bench(Protocol):
    """One store."""

    examples: int
    """How many examples a property test may try."""
    mends: bool
    """Whether what ``harm`` spoils can be made anew."""

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
        """Spoil something that ``verify`` finds. Nothing is open."""
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
    mends = True

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


class IndexedBolt(Bolt):
    """As if the server had Neo4j's vector index and full-text index.

    What its manual says of the procedures is done here; the rest of each statement is carried out
    by the server.
    """

    async def understands(self, statement: str, /, **values: Any) -> bool:
        """As ``Bolt.understands``."""
        if statement.startswith(("CREATE VECTOR INDEX", "CREATE FULLTEXT INDEX", "CALL db.await")):
            return True
        return await super().understands(statement, **values)

    async def read(self, statement: str, /, **values: Any) -> list[dict[str, Any]]:
        """As ``Bolt.read``."""
        call, found, rest = statement.partition(" YIELD node, score ")
        if not found:
            return await super().read(statement, **values)
        if "db.index.vector.queryNodes" in call:
            label, hits = "CaxtonPart", await self._near(**values)
        else:
            label, hits = "CaxtonEntity", await self._said(values["asked"])
        heading = (
            f"UNWIND $hits AS hit MATCH (node:{label}) WHERE elementId(node) = hit.id "
            "WITH node, hit.score AS score "
        )
        return await super().read(heading + rest, hits=hits, **values)

    async def _near(self, index: str, deep: int, vector: list[float], **_: Any) -> list[Any]:
        rows = await super().read(
            f"MATCH (p:CaxtonPart) WHERE p.{index} IS NOT NULL "
            f"RETURN elementId(p) AS id, p.{index} AS vector"
        )
        scored = [
            {"id": row["id"], "score": (1 + float(np.dot(row["vector"], vector))) / 2}
            for row in rows
        ]
        return sorted(scored, key=lambda hit: -hit["score"])[:deep]

    async def _said(self, asked: str) -> list[Any]:
        words = asked.replace('"', "").split()
        rows = await super().read(
            "MATCH (n:CaxtonEntity) RETURN elementId(n) AS id, n.words AS words"
        )
        texts = [(row["id"], row["words"].split()) for row in rows]
        having = {word: sum(word in text for _, text in texts) for word in words}
        scored = [
            {
                "id": id_,
                "score": sum(
                    text.count(word) / (text.count(word) + 0.02 * len(text)) / having[word]
                    for word in words
                    if word in text
                ),
            }
            for id_, text in texts
        ]
        return sorted((hit for hit in scored if hit["score"]), key=lambda hit: -hit["score"])


class IndexedBench(Neo4jBench):
    """The Bolt server, as if it had Neo4j's own indexes."""

    examples = 2

    async def open(self, model: ModelInfo | None) -> MemoryBackend:
        """As ``Bench.open``."""
        backend = Neo4jBackend(self.target, IndexedBolt(self.target), exact_below=0)
        await backend.start(model)
        self._open.append(backend)
        return backend


class QdrantBench(_OnLoop):
    """Qdrant's client in its local mode.

    Args:
        folder: where it keeps its points; in memory, from one opening to the next, when None.
    """

    examples = 25
    mends = True

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
    mends = False

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
    mends = False

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
        """As ``Bench.harm``: a relation is not found from its end."""
        store = lmdb.open(str(self.folder / "store"), max_dbs=20)
        with store, store.begin(write=True) as writing:
            table = store.open_db(b"into", writing)
            with writing.cursor(table) as cursor:
                assert cursor.first()
                cursor.delete()

    async def dispose(self) -> None:
        """As ``Bench.dispose``."""
        await self._close_all()
