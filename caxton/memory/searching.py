"""Searches: few at a time, by meaning where there is a model, and by words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from caxton.errors import QueueFull, ValidationError
from caxton.memory.backend import Candidate, CandidateQuery, MemoryBackend, Selection
from caxton.memory.checks import check_number, check_text, check_times, check_types
from caxton.memory.fusion import Scored, fuse, neighbour_scores
from caxton.memory.model import EntityKey, Relation, Scope
from caxton.memory.permissions import Access
from caxton.memory.requests import Hit, Search, SearchAnswer, Weights
from caxton.memory.vectorizing import Vectorizer
from caxton.types import Bound

__all__ = ["SearchSettings", "Searching"]

Query: Final = Bound("query", str, 1, 10_000)
Limit: Final = Bound("limit", int, 1, 100)
Least: Final = Bound("min_similarity", float, 0.0, 1.0)
Weight: Final = Bound("weights", float, 0.0, 1.0)

EXPANDED: Final = 20
"""The best of a search whose neighbours are looked at."""


class SearchSettings(msgspec.Struct, frozen=True):
    """How the node searches."""

    weights: Weights = Weights()
    half_life_days: float = 30.0
    """Above 0."""
    concurrency: int = 10
    """Searches at a time."""
    waiting: int = 200
    """Most that wait for their turn."""


class Searching:
    """Answers searches.

    Args:
        backend: finds candidates.
        vectorizer: makes the vector of a query.
        access: who may read what.
        clock: now, in ms since 1970.
        settings: how it searches.
    """

    def __init__(
        self,
        backend: MemoryBackend,
        vectorizer: Vectorizer,
        access: Access,
        clock: Callable[[], int],
        settings: SearchSettings,
    ) -> None:
        self._backend = backend
        self._vectorizer = vectorizer
        self._access = access
        self._clock = clock
        self._settings = settings
        self._turns = asyncio.Semaphore(settings.concurrency)
        self._waiting = 0
        self.searches = 0
        """Since it started."""

    def tune(self, settings: SearchSettings) -> None:
        """Search otherwise from now on; searches that have their turn end as they are."""
        if settings.concurrency != self._settings.concurrency:
            self._turns = asyncio.Semaphore(settings.concurrency)
        self._settings = settings

    async def search(self, request: Search) -> SearchAnswer:
        """Find what a text means or says."""
        _check(request)
        scopes = self._access.read(request)
        started = time.perf_counter()
        limit = self._settings.waiting
        if self._turns.locked() and self._waiting >= limit:
            raise QueueFull(queue="searches of the memory", depth=self._waiting, limit=limit)
        self._waiting += 1
        turns = self._turns
        try:
            await turns.acquire()
        finally:
            self._waiting -= 1
        try:
            answer = await self._search(request, self._selection(request, scopes))
        finally:
            turns.release()
        self.searches += 1
        took_ms = (time.perf_counter() - started) * 1_000
        return msgspec.structs.replace(answer, search_time_ms=round(took_ms, 3))

    def _selection(self, request: Search, scopes: tuple[Scope, ...] | None) -> Selection:
        start_ms, end_ms = request.start_ms, request.end_ms
        if request.temporal_filter == "current":
            start_ms = end_ms = self._clock()
        elif request.temporal_filter == "all":
            start_ms = end_ms = None
        return Selection(scopes, tuple(request.entity_types), start_ms, end_ms)

    async def _search(self, request: Search, selection: Selection) -> SearchAnswer:
        weights = request.weights or self._settings.weights
        vector = None
        if weights.vector or request.min_similarity:
            vector = await self._vectorizer.of_query(request.query)
        if vector is None and not weights.words:
            weights = msgspec.structs.replace(weights, words=1.0)
        depth = min(1_000, max(50, request.limit * 4))
        candidates = await self._backend.candidates(
            CandidateQuery(selection, depth, request.query if weights.words else "", vector)
        )
        semantic = vector is not None
        scored = self._fuse(candidates, weights, semantic=semantic)
        if weights.neighbours and scored:
            scored = await self._expand(
                candidates, scored, weights, selection, semantic=semantic,
                wide=not (semantic and request.min_similarity),
            )  # fmt: skip
        if semantic and request.min_similarity:
            # What has no vector yet cannot be judged by one; words found it.
            least = request.min_similarity
            scored = [one for one in scored if one.similarity is None or one.similarity >= least]
        best = scored[: request.limit]
        relations: dict[EntityKey, list[Relation]] = {}
        if request.include_relations and best:
            relations = await self._relations(best, selection)
        hits = tuple(
            Hit(
                one.entity,
                round(one.score, 6),
                None if one.similarity is None else round(one.similarity, 6),
                tuple(relations.get(one.entity.key, ())),
            )
            for one in best
        )
        note = "" if semantic or not weights.vector else self._vectorizer.note
        return SearchAnswer(hits, 0.0, semantic, note)

    def _fuse(
        self,
        candidates: Sequence[Candidate],
        weights: Weights,
        *,
        semantic: bool,
        neighbours: dict[EntityKey, float] | None = None,
    ) -> list[Scored]:
        return fuse(
            candidates,
            weights,
            semantic=semantic,
            now_ms=self._clock(),
            half_life_days=self._settings.half_life_days,
            neighbours=neighbours,
        )

    async def _expand(
        self,
        candidates: list[Candidate],
        scored: list[Scored],
        weights: Weights,
        selection: Selection,
        *,
        semantic: bool,
        wide: bool,
    ) -> list[Scored]:
        """Scores with those of neighbours; where it is ``wide``, neighbours of the best are
        candidates too."""
        best = scored[:EXPANDED]
        found = await self._backend.relations([one.entity.key for one in best])
        relations = [one for one in found if _holds(one, selection)]
        near = neighbour_scores(best, relations)
        known = {one.entity.key for one in candidates}
        others = await self._backend.entities([key for key in near if wide and key not in known])
        more = [Candidate(one) for one in others if one is not None and selection.takes(one)]
        return self._fuse([*candidates, *more], weights, semantic=semantic, neighbours=near)

    async def _relations(
        self, best: list[Scored], selection: Selection
    ) -> dict[EntityKey, list[Relation]]:
        found: dict[EntityKey, list[Relation]] = {one.entity.key: [] for one in best}
        for one in await self._backend.relations(list(found)):
            if not _holds(one, selection):
                continue
            key = one.key
            for end in dict.fromkeys((key.from_entity, key.to_entity)):
                of = found.get(EntityKey(key.scope, end))
                if of is not None:
                    of.append(one)
        return found


def _holds(relation: Relation, selection: Selection) -> bool:
    starts, ends = relation.valid_from_ms, relation.valid_to_ms
    if selection.to_ms is not None and starts is not None and starts > selection.to_ms:
        return False
    return selection.from_ms is None or ends is None or ends > selection.from_ms


def _check(request: Search) -> None:
    """Raises:
    ValidationError: a field is out of its range.
    """
    check_text(Query, request.query, "query")
    Limit.parse(request.limit, "limit")
    check_number(Least, request.min_similarity, "min_similarity")
    check_types(request.entity_types)
    if request.weights is not None:
        given = msgspec.structs.asdict(request.weights)
        for name, value in given.items():
            check_number(Weight, value, f"weights.{name}")
        if not given["vector"] and not given["words"]:
            raise ValidationError(
                field="weights", value="neither", allowed="`vector` or `words` above 0"
            )
    if request.temporal_filter == "date_range":
        check_times(request.start_ms, request.end_ms, ("start_ms", "end_ms"))
        if request.start_ms is None and request.end_ms is None:
            raise ValidationError(
                field="start_ms", value=None, allowed="`start_ms` or `end_ms` with `date_range`"
            )
