"""Makes the vectors that could not be made when an entity was written."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from caxton.errors import CaxtonError
from caxton.memory.backend import MemoryBackend, PutEntity
from caxton.memory.ledger import Ledger
from caxton.memory.model import Entity
from caxton.memory.vectorizing import Vectorizer

__all__ = ["EmbeddingLater"]

logger = logging.getLogger("caxton.memory")

BATCH: Final = 32
PAUSE_S: Final = 30.0
"""Between two tries while the model does not answer."""


class EmbeddingLater:
    """One task that goes through what has no vectors, when it is told that there is some.

    Args:
        backend: knows what has no vectors.
        vectorizer: the model.
        ledger: puts writers in order.
        pause_s: between two tries while the model does not answer, in seconds.
    """

    def __init__(
        self,
        backend: MemoryBackend,
        vectorizer: Vectorizer,
        ledger: Ledger,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._backend = backend
        self._vectorizer = vectorizer
        self._ledger = ledger
        self._pause_s = pause_s
        self._wanted = asyncio.Event()
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with what an earlier process left."""
        if self._vectorizer.embedder is not None:
            self._wanted.set()
            self._task = asyncio.get_running_loop().create_task(self._run())

    def want(self) -> None:
        """Something was written that has no vectors."""
        self._wanted.set()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                done, left = await self.embed_all()
            except CaxtonError as error:
                logger.warning("vectors are made later: %s", error)
                done, left = 0, 1
            if done:
                logger.info("made vectors of %d entities", done)
            if left:
                await asyncio.sleep(self._pause_s)
                self._wanted.set()

    async def embed_all(self) -> tuple[int, int]:
        """Embed all that waits; how many were, and how many still wait."""
        done = left = 0
        async with self._turn:
            batch: list[Entity] = []
            async for entity in self._backend.unembedded():
                batch.append(entity)
                if len(batch) == BATCH:
                    made = await self._embed(batch)
                    done, left = done + made, left + len(batch) - made
                    batch = []
                    if not made:
                        # The model does not answer; the rest would wait for it in vain.
                        return done, left
            if batch:
                made = await self._embed(batch)
                done, left = done + made, left + len(batch) - made
        return done, left

    async def _embed(self, batch: list[Entity]) -> int:
        keys = [one.key for one in batch]

        async def work() -> int:
            there = [one for one in await self._backend.entities(keys) if one is not None]
            vectors = await self._vectorizer.of_entities(there)
            changes = [
                PutEntity(one, own, restored=True)
                for one, own in zip(there, vectors, strict=True)
                if own is not None
            ]
            await self._ledger.write(changes)
            return len(changes) + len(batch) - len(there)

        return await self._ledger.in_order(keys, work)

    async def close(self) -> None:
        """End it; what still waits is found again by the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
