"""The rules of the memory: everything that can be asked is answered here, in one process."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, assert_never

from caxton.config import Config
from caxton.errors import MemoryUnavailable, Timeout, ValidationError
from caxton.memory.backend import BackendStats, MemoryBackend
from caxton.memory.backends import search_settings
from caxton.memory.configuring import Configuring
from caxton.memory.embedder import Embedder
from caxton.memory.embedding_later import EmbeddingLater
from caxton.memory.exporting import Exporting
from caxton.memory.importing import Importing
from caxton.memory.ledger import Ledger
from caxton.memory.looking import Looking
from caxton.memory.model import Entity
from caxton.memory.permissions import Access, SettingsOf
from caxton.memory.relating import Relating
from caxton.memory.requests import (
    AddObservations,
    Clear,
    Configure,
    DeleteEntities,
    DeleteObservations,
    DeleteRelations,
    ExportPage,
    FindPath,
    Import,
    ListEntities,
    Maintain,
    Maintained,
    MemoryStats,
    Merge,
    OpenEntities,
    Relate,
    Request,
    Search,
    Stats,
    Store,
    WalkGraph,
)
from caxton.memory.room import Room
from caxton.memory.searching import Searching, SearchSettings
from caxton.memory.service_times import deadline_s
from caxton.memory.tuning import Tuning
from caxton.memory.vectorizing import Vectorizer
from caxton.memory.writing import Writing

__all__ = ["MemoryService"]

logger = logging.getLogger("caxton.memory")

COUNT_S: Final = 5.0
"""How long their number is taken for true while nothing is written."""
COUNTED: Final = 100_000
"""Most entities without vectors that are counted one by one."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _nobody(name: str) -> None:
    return None


class MemoryService:
    """The one writer of a memory. Belongs to one event loop.

    Args:
        backend: where it is kept; started and closed here.
        embedder: makes vectors; closed here. None searches words only.
        settings_of: what the agent file of a name says of its memory.
        search: how it searches.
        reason: why there is no embedder.
        entities_per_agent: most entities in the scope of one agent; 0 for any number.
        tuning: what can be changed while it runs; goes before ``search`` and
            ``entities_per_agent``.
        clock: now, in ms since 1970.
        retry_s: between two tries to make missing vectors, in seconds.
    """

    def __init__(
        self,
        backend: MemoryBackend,
        embedder: Embedder | None = None,
        *,
        settings_of: SettingsOf = _nobody,
        search: SearchSettings | None = None,
        reason: str = "",
        entities_per_agent: int = 10_000,
        tuning: Tuning | None = None,
        clock: Callable[[], int] = _now_ms,
        retry_s: float = 30.0,
    ) -> None:
        self.on_created: Callable[[Sequence[Entity]], None] = lambda created: None
        """Called with entities that are new."""
        self._backend = backend
        self._vectorizer = Vectorizer(embedder, reason)
        self._access = Access(settings_of)
        self._room = Room(backend, entities_per_agent)
        self._ledger = Ledger(backend, self._room)
        self._later = EmbeddingLater(backend, self._vectorizer, self._ledger, retry_s)
        want = self._later.want
        self._writing = Writing(
            backend, self._vectorizer, self._access, self._ledger, self._room, clock, want
        )
        self._writing.on_created = self._created
        self._relating = Relating(backend, self._access, self._ledger, clock)
        self._searching = Searching(
            backend, self._vectorizer, self._access, clock, search or SearchSettings()
        )
        self._configuring = Configuring(
            tuning or Tuning(Config()), self._access, self._vectorizer, self._tune
        )
        if tuning is not None:
            self._tune(tuning.config)
        self._looking = Looking(backend, self._access, self._room, clock)
        self._exporting = Exporting(backend, self._vectorizer, self._access, time.monotonic)
        self._importing = Importing(backend, self._vectorizer, self._access, self._ledger, want)
        self._open = False
        self._closing = False
        """Whether what is asked is given up."""
        self._counted = (-COUNT_S, -1, 0)
        """When entities without vectors were counted, after how many writes, and their number."""
        self._work: set[asyncio.Future[Any]] = set()

    def _tune(self, config: Config) -> None:
        self._searching.tune(search_settings(config))
        self._room.bound(config.memory_max_entities_per_agent)

    def _created(self, created: Sequence[Entity]) -> None:
        self.on_created(created)

    async def start(self) -> None:
        """Open the backend; what has no vectors yet gets them from now on.

        Raises:
            MemoryUnavailable: the backend does not open.
        """
        embedder = self._vectorizer.embedder
        await self._backend.start(embedder.model if embedder is not None else None)
        await self._room.load()
        self._open = True
        self._later.start()

    async def answer(self, request: Request) -> Any:
        """Answer one request, with what ``ANSWERS`` names for it.

        Who stops to wait stops the work, but for a write that has begun: that one ends.

        Raises:
            ValidationError: a field is out of its range. Nothing was done.
            NotAuthorized: the agent may not.
            Timeout: it took too long. A write may have been done all the same.
            CaxtonError: what the request's own rules say.
        """
        if not self._open:
            raise self._unavailable("it is not open")
        limit = deadline_s(request)
        work = asyncio.ensure_future(self._dispatch(request))
        self._work.add(work)
        try:
            async with asyncio.timeout(limit) as deadline:
                return await work
        except TimeoutError:
            if not deadline.expired():
                raise
            what = f"answer of the memory to `{type(request).__name__}`"
            raise Timeout(what=what, timeout_ms=int(limit * 1_000)) from None
        except asyncio.CancelledError:
            if self._closing and work.cancelled():
                raise self._unavailable("it is stopping") from None
            raise
        finally:
            self._work.discard(work)

    def _unavailable(self, reason: str) -> MemoryUnavailable:
        return MemoryUnavailable(backend=self._backend.name, reason=reason)

    def _dispatch(self, request: Request) -> Awaitable[Any]:
        match request:
            case Store():
                return self._writing.store(request)
            case AddObservations():
                return self._writing.add(request)
            case DeleteObservations():
                return self._writing.delete_observations(request)
            case DeleteEntities():
                return self._writing.delete(request)
            case DeleteRelations():
                return self._relating.delete(request)
            case Relate():
                return self._relating.relate(request)
            case Merge():
                return self._writing.merge(request)
            case Clear():
                return self._writing.clear(request)
            case Search():
                return self._searching.search(request)
            case OpenEntities():
                return self._looking.open(request)
            case ListEntities():
                return self._exporting.list(request)
            case WalkGraph():
                return self._looking.walk(request)
            case FindPath():
                return self._looking.path(request)
            case ExportPage():
                return self._exporting.page(request)
            case Import():
                return self._importing.take(request)
            case Stats():
                return self._stats(request)
            case Maintain():
                return self._maintain(request)
            case Configure():
                return self._configuring.answer(request)
            case _:
                assert_never(request)

    # --- at one glance -----------------------------------------------------------------------

    async def _stats(self, request: Stats) -> MemoryStats:
        scopes = self._access.read(request)
        stats = await self._backend.stats()
        if scopes is not None:
            keys = {one.key for one in scopes}
            there = {key: count for key, count in stats.scopes.items() if key in keys}
            stats = BackendStats(entities=sum(there.values()), scopes=there, index=stats.index)
        return MemoryStats(
            backend=self._backend.name,
            model=self._vectorizer.tag,
            note=self._vectorizer.note,
            stats=stats,
            unembedded=await self._unembedded(stats),
            searches=self._searching.searches,
            writes=self._ledger.writes,
        )

    async def _unembedded(self, stats: BackendStats) -> int:
        if self._vectorizer.embedder is None:
            return stats.entities
        when, writes, count = self._counted
        age_s = time.monotonic() - when
        if age_s < COUNT_S and writes == self._ledger.writes:
            return count
        writes, count = self._ledger.writes, 0
        async for _ in self._backend.unembedded():
            count += 1
            if count == COUNTED:
                break
        self._counted = (time.monotonic(), writes, count)
        return count

    async def _maintain(self, request: Maintain) -> Maintained:
        self._access.operate(request, f"have the memory do `{request.task}`")
        if request.task == "verify":
            return Maintained(faults=tuple(await self._backend.verify()))
        if request.task == "optimize":
            return Maintained(done=tuple(await self._backend.optimize()))
        if request.task != "embed":
            raise ValidationError(
                field="task", value=request.task, allowed="verify, optimize or embed"
            )
        made, left = await self._later.embed_all()
        done = [f"made vectors of {made:,} entities"]
        if left:
            done.append(f"at least {left:,} still wait: {self._vectorizer.note}")
        return Maintained(done=tuple(done))

    # --- the end -----------------------------------------------------------------------------

    async def close(self, timeout_s: float = 10.0) -> None:
        """Let what is asked end, at most ``timeout_s`` seconds, and close everything."""
        self._open = False
        if self._work:
            _, late = await asyncio.wait(self._work, timeout=timeout_s)
            self._closing = True
            for work in late:
                work.cancel()
            if late:
                logger.warning("%d questions to the memory were not answered", len(late))
                await asyncio.wait(late, timeout=timeout_s)
        await self._later.close()
        await self._exporting.close()
        await self._backend.close()
        await self._vectorizer.close()
