"""The memory inside the node: the LMDB store, with an index of it in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from caxton.errors import CaxtonError, MemoryUnavailable
from caxton.memory.backend import (
    BackendStats,
    Candidate,
    CandidateQuery,
    Change,
    Direction,
    EntityRow,
    Fault,
    Graph,
    GraphQuery,
    ModelInfo,
    PathQuery,
    Selection,
)
from caxton.memory.embedded.holder import Holder
from caxton.memory.embedded.index import IndexModel
from caxton.memory.embedded.pages import Page, RelationPage
from caxton.memory.embedded.searcher import candidates
from caxton.memory.embedded.store import Changed, Store
from caxton.memory.embedded.tokens import text_terms
from caxton.memory.embedded.vector_index import FLAT_BELOW
from caxton.memory.model import Entity, EntityKey, Relation, RelationKey, Scope

__all__ = ["EmbeddedBackend"]

logger = logging.getLogger("caxton.memory")

SNAPSHOT_ABOVE: Final = 100_000
"""Vectors above which a start reads the index from a snapshot."""
MAP_BYTES: Final = 1 << 36
SEARCHES: Final = 2
"""Threads that search; each search keeps one core busy."""
PAGE: Final = 500

T = TypeVar("T")


class EmbeddedBackend:
    """Keeps the memory in ``folder/store``, and finds in it. See ``MemoryBackend``.

    Args:
        folder: made when missing.
        map_bytes: largest size of the store.
        disk: flush each write to the disk, so that it survives a power cut; else it survives the
            end of the process only.
        flat_below: vectors that are compared as they are, not by codes.
        snapshot_above: vectors above which the index is kept in ``folder/index``.
        searches: threads that search.
    """

    name = "embedded"

    def __init__(
        self,
        folder: Path,
        *,
        map_bytes: int = MAP_BYTES,
        disk: bool = True,
        flat_below: int = FLAT_BELOW,
        snapshot_above: int = SNAPSHOT_ABOVE,
        searches: int = SEARCHES,
    ) -> None:
        self._folder = folder
        self._map_bytes = map_bytes
        self._disk = disk
        self._flat_below = flat_below
        self._snapshot_above = snapshot_above
        self._searches = searches
        self._store_: Store | None = None
        self._holder_: Holder | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._model = IndexModel()
        self._caring: asyncio.Task[None] | None = None

    # --- beginning and end -----------------------------------------------------------------

    async def start(self, model: ModelInfo | None) -> None:
        """Open the store and make the index. Called again, with the model that is there now.

        Raises:
            MemoryUnavailable: the store does not open, or does not read.
        """
        await self.close()
        self._pool = ThreadPoolExecutor(
            self._searches, thread_name_prefix="caxton-memory-search", initializer=_one_thread
        )
        try:
            self._store_ = store = Store(
                self._folder / "store", map_bytes=self._map_bytes, words=text_terms,
                observer=self._observe, sync=self._disk,
            )  # fmt: skip
            number = store.use_model(model)
            if model is not None:
                text = f"{model.name}@{model.sha256}"
                self._model = IndexModel(number, text, model.dimension)
            else:
                self._model = IndexModel()
            self._holder_ = holder = Holder(
                store, self._folder / "index", self._model,
                flat_below=self._flat_below, snapshot_above=self._snapshot_above,
            )  # fmt: skip
            await holder.load()
        except (CaxtonError, ValueError) as error:
            await self.close()
            raise MemoryUnavailable(backend=self.name, reason=str(error)) from error

    async def close(self) -> None:
        """End it. Everything acknowledged is kept."""
        store, holder, pool = self._store_, self._holder_, self._pool
        self._store_ = self._holder_ = self._pool = None
        if self._caring is not None:
            await self._caring
        if store is not None:
            try:
                if holder is not None:
                    await holder.close()
            finally:
                await store.close()
        if pool is not None:
            pool.shutdown(wait=True)

    @property
    def _store(self) -> Store:
        if self._store_ is None:
            raise MemoryUnavailable(backend=self.name, reason="it is not started")
        return self._store_

    @property
    def _holder(self) -> Holder:
        if self._holder_ is None:
            raise MemoryUnavailable(backend=self.name, reason="it is not started")
        return self._holder_

    async def _run(self, work: Callable[..., T], *given: object) -> T:
        """Run what reads on a thread of its own."""
        if self._pool is None:
            raise MemoryUnavailable(backend=self.name, reason="it is not started")
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *given)

    # --- writing ---------------------------------------------------------------------------

    def _observe(self, seq: int, changed: list[Changed]) -> None:
        """Take up a commit; on the writer's thread, before it is acknowledged."""
        holder = self._holder_
        if holder is not None:
            holder.apply(seq, changed)

    async def write(self, changes: Sequence[Change]) -> None:
        """Write all of ``changes``, or nothing; searches find them when this returns."""
        await self._store.write(changes)
        self._care()

    async def clear(self, selection: Selection) -> tuple[int, int]:
        """Remove the entities of a selection with their relations; the numbers of both."""
        counts = await self._store.clear(selection)
        self._care()
        return counts

    def _care(self) -> None:
        """See to the index when it needs it, beside what goes on."""
        holder = self._holder_
        if self._caring is None and holder is not None and holder.wants_care:
            self._caring = asyncio.create_task(self._see_to(holder))

    async def _see_to(self, holder: Holder) -> None:
        try:
            await holder.care()
        except Exception:
            logger.exception("the index of the memory could not be seen to")
        finally:
            self._caring = None

    # --- reading ---------------------------------------------------------------------------

    async def entities(self, keys: Sequence[EntityKey]) -> list[Entity | None]:
        """The entities of ``keys``, in order; all of one moment."""
        return await self._run(self._store.reader.entities, keys)

    async def relations(
        self, keys: Sequence[EntityKey], *, direction: Direction = "both"
    ) -> list[Relation]:
        """All relations from and to the entities of ``keys``, once each, in the order of keys."""
        return await self._run(self._store.reader.relations, keys, direction)

    async def relation(self, key: RelationKey) -> Relation | None:
        """One relation."""
        return await self._run(self._store.reader.relation, key)

    async def scan(
        self, selection: Selection, *, vectors: bool = False
    ) -> AsyncIterator[EntityRow]:
        """All entities of a selection by scope and name; vectors of the current model only."""
        async for row, model in self._rows(selection, vectors, None):
            own = row.vectors if model == self._model.number else None
            yield row if own is row.vectors else msgspec.structs.replace(row, vectors=own)

    async def unembedded(self) -> AsyncIterator[Entity]:
        """The entities that have no vectors of the current model; all when there is no model."""
        async for row, _ in self._rows(Selection(), False, self._model.number or None):
            yield row.entity

    async def _rows(
        self, selection: Selection, vectors: bool, lacking: int | None
    ) -> AsyncIterator[tuple[EntityRow, int]]:
        after: bytes | None = b""
        while after is not None:
            read: partial[Page] = partial(
                self._store.reader.page,
                selection,
                after=after,
                limit=PAGE,
                vectors=vectors,
                lacking=lacking,
            )
            page = await self._run(read)
            for row in page.rows:
                yield EntityRow(row.entity, row.vectors), row.model
            after = page.after

    async def scan_relations(self, scopes: Sequence[Scope] | None) -> AsyncIterator[Relation]:
        """All relations of ``scopes``, by the names they come from."""
        after: bytes | None = b""
        while after is not None:
            read: partial[RelationPage] = partial(
                self._store.reader.relation_page, scopes, after=after, limit=PAGE
            )
            page = await self._run(read)
            for relation in page.relations:
                yield relation
            after = page.after

    async def candidates(self, query: CandidateQuery) -> list[Candidate]:
        """What may answer a query, each once: the best by vector, and the best by words."""
        return await self._run(self._find, query)

    def _find(self, query: CandidateQuery) -> list[Candidate]:
        index, reader = self._holder.index, self._store.reader
        with reader.moment() as moment:
            return candidates(index, moment, query)

    async def walk(self, query: GraphQuery) -> Graph:
        """What is around an entity; empty when it is not there."""
        return await self._run(self._store.reader.walk, query)

    async def path(self, query: PathQuery) -> Graph:
        """One shortest way; empty when there is none."""
        return await self._run(self._store.reader.path, query)

    # --- looking after it ------------------------------------------------------------------

    async def stats(self) -> BackendStats:
        """How much there is."""
        index = self._holder.index
        found = await self._run(self._store.reader.stats)
        return msgspec.structs.replace(
            found, index=index.vectors.kind, index_bytes=index.bytes, dead=index.dead
        )

    async def verify(self) -> list[Fault]:
        """Look at every record of the store, and compare the index with it; that is made anew where
        it differs."""
        faults = list(await self._run(self._store.reader.verify))
        return faults + await self._holder.verify()

    async def optimize(self) -> list[str]:
        """Take out what is dead, write a snapshot, give free pages of the store to the disk."""
        if self._caring is not None:
            await self._caring
        done = await self._holder.care(whole=True)
        before, after = await self._store.compact()
        if after < before:
            done.append(f"gave {before - after} bytes of the store back to the disk")
        return done


def _one_thread() -> None:
    """A search is one thread's work: more would only wait for each other."""
    import faiss

    faiss.omp_set_num_threads(1)
