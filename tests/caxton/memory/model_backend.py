"""A memory backend in plain Python: what others are compared with, and services are tested on.

Everything is gone through from end to end, so that there is nothing in it to be wrong.
"""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import snowballstemmer

from caxton.errors import EntityConflict, EntityNotFound, MemoryUnavailable, RelationNotFound
from caxton.memory.backend import (
    BackendStats,
    Candidate,
    CandidateQuery,
    Change,
    DeleteEntity,
    DeleteRelation,
    Direction,
    EntityRow,
    Fault,
    Graph,
    GraphQuery,
    ModelInfo,
    PathQuery,
    PutEntity,
    PutRelation,
    Selection,
    Vectors,
)
from caxton.memory.model import (
    Entity,
    EntityKey,
    Relation,
    RelationKey,
    Scope,
    embedding_text,
)

__all__ = ["Kept", "ModelBackend"]

K1, B = 1.2, 0.75
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_stem = snowballstemmer.stemmer("english").stemWord


@dataclass
class Kept:
    """What is there, from one start to the next."""

    entities: dict[EntityKey, Entity] = field(default_factory=dict)
    vectors: dict[EntityKey, tuple[ModelInfo | None, Vectors]] = field(default_factory=dict)
    relations: dict[RelationKey, Relation] = field(default_factory=dict)

    def copy(self) -> Kept:
        return Kept(dict(self.entities), dict(self.vectors), dict(self.relations))


class ModelBackend:
    """See the module.

    Args:
        kept: what an earlier one left.
    """

    name = "model"

    def __init__(self, kept: Kept | None = None) -> None:
        self.kept = kept or Kept()
        self.writes: list[list[Change]] = []
        """All that were asked for, also those that failed."""
        self.on_write: Callable[[Sequence[Change]], object] = lambda changes: None
        """Called before each write; an awaitable that it gives is awaited."""
        self.on_candidates: Callable[[CandidateQuery], object] = lambda query: None
        """Called before each search, likewise."""
        self._model: ModelInfo | None = None
        self._started = False

    async def start(self, model: ModelInfo | None) -> None:
        self._model = model
        self._started = True

    def _open(self) -> Kept:
        if not self._started:
            raise MemoryUnavailable(backend=self.name, reason="it was not started")
        return self.kept

    # --- writing -----------------------------------------------------------------------------

    async def write(self, changes: Sequence[Change]) -> None:
        self._open()
        self.writes.append(list(changes))
        await _maybe(self.on_write(changes))
        draft = self.kept.copy()
        for change in changes:
            if isinstance(change, PutEntity):
                self._put(draft, change)
            elif isinstance(change, DeleteEntity):
                _delete(draft, change.key)
            elif isinstance(change, PutRelation):
                _relate(draft, change)
            else:
                _part(draft, change)
        self.kept.__dict__.update(draft.__dict__)

    def _put(self, kept: Kept, change: PutEntity) -> None:
        entity, key = change.entity, change.entity.key
        there = kept.entities.get(key)
        known = there.version if there else 0
        if not _follows(entity.version, known, restored=change.restored):
            raise EntityConflict(
                entity_name=entity.entity_name,
                memory_scope=entity.scope.key,
                reason=f"version {entity.version} does not follow {known}",
            )
        kept.entities[key] = entity
        if change.vectors is not None:
            kept.vectors[key] = (self._model, np.array(change.vectors, np.float32))

    # --- reading -----------------------------------------------------------------------------

    async def entities(self, keys: Sequence[EntityKey]) -> list[Entity | None]:
        kept = self._open()
        return [kept.entities.get(key) for key in keys]

    async def relations(
        self, keys: Sequence[EntityKey], *, direction: Direction = "both"
    ) -> list[Relation]:
        kept = self._open()
        found: dict[RelationKey, Relation] = {}
        for key in keys:
            for one in kept.relations.values():
                start, end = _ends(one.key)
                out = start == key and direction != "in"
                into = end == key and direction != "out"
                if out or into:
                    found[one.key] = one
        return list(found.values())

    async def relation(self, key: RelationKey) -> Relation | None:
        return self._open().relations.get(key)

    async def scan(
        self, selection: Selection, *, vectors: bool = False
    ) -> AsyncIterator[EntityRow]:
        kept = self._open()
        for key in list(kept.entities):
            entity = kept.entities.get(key)
            if entity is not None and selection.takes(entity):
                yield EntityRow(entity, self._vectors(key) if vectors else None)

    async def scan_relations(self, scopes: Sequence[Scope] | None) -> AsyncIterator[Relation]:
        kept = self._open()
        for key in list(kept.relations):
            one = kept.relations.get(key)
            if one is not None and (scopes is None or one.scope in scopes):
                yield one

    async def unembedded(self) -> AsyncIterator[Entity]:
        kept = self._open()
        for key in list(kept.entities):
            if key in kept.entities and self._vectors(key) is None:
                yield kept.entities[key]

    def _vectors(self, key: EntityKey) -> Vectors | None:
        model, vectors = self.kept.vectors.get(key, (None, None))
        return vectors if self._model is not None and model == self._model else None

    # --- searching ---------------------------------------------------------------------------

    async def candidates(self, query: CandidateQuery) -> list[Candidate]:
        kept = self._open()
        await _maybe(self.on_candidates(query))
        taken = {key: one for key, one in kept.entities.items() if query.selection.takes(one)}
        cosines: dict[EntityKey, float] = {}
        if query.vector is not None:
            for key in taken:
                vectors = self._vectors(key)
                if vectors is not None:
                    cosines[key] = float(np.max(vectors @ query.vector[0]))
        words = _bm25(kept.entities, query.text)
        words = {key: score for key, score in words.items() if key in taken}
        best = [*_best(cosines, query.limit), *_best(words, query.limit)]
        return [
            Candidate(taken[key], cosines.get(key), words.get(key, 0.0))
            for key in dict.fromkeys(best)
        ]

    async def walk(self, query: GraphQuery) -> Graph:
        kept = self._open()
        if query.start not in kept.entities:
            return Graph()
        usable = self._usable(query)
        depths = self._distances(query, usable)
        order, truncated = self._order(query, usable, depths)
        nodes = tuple(kept.entities[key] for key in order)
        inside = set(order)
        edges = tuple(one for one in usable if set(_ends(one.key)) <= inside)
        return Graph(nodes, tuple(depths[key] for key in order), edges, truncated)

    async def path(self, query: PathQuery) -> Graph:
        kept = self._open()
        if query.start not in kept.entities or query.end not in kept.entities:
            return Graph()
        came: dict[EntityKey, tuple[EntityKey, Relation] | None] = {query.start: None}
        depth = {query.start: 0}
        queue = deque([query.start])
        usable = self._usable(query)
        while queue:
            here = queue.popleft()
            if depth[here] == query.max_depth:
                continue
            for one, other in _steps(usable, here, query.direction):
                if other not in depth:
                    depth[other], came[other] = depth[here] + 1, (here, one)
                    queue.append(other)
        if query.end not in depth:
            return Graph()
        nodes, edges = [query.end], []
        while (step := came[nodes[-1]]) is not None:
            nodes.append(step[0])
            edges.append(step[1])
        nodes.reverse()
        edges.reverse()
        entities = tuple(kept.entities[key] for key in nodes)
        return Graph(entities, tuple(range(len(nodes))), tuple(edges))

    def _usable(self, query: GraphQuery | PathQuery) -> list[Relation]:
        kept, at_ms = self.kept, query.at_ms

        def holds(one: Relation) -> bool:
            return at_ms is None or (
                one.holds_at(at_ms)
                and all(
                    end == query.start or kept.entities[end].holds_at(at_ms)
                    for end in _ends(one.key)
                )
            )

        return [
            one
            for one in kept.relations.values()
            if one.strength >= query.min_strength
            and (not query.relation_types or one.relation_type in query.relation_types)
            and holds(one)
        ]

    def _distances(self, query: GraphQuery, usable: list[Relation]) -> dict[EntityKey, int]:
        depths = {query.start: 0}
        queue = deque([query.start])
        while queue:
            here = queue.popleft()
            if depths[here] == query.max_depth:
                continue
            for _, other in _steps(usable, here, query.direction):
                if other not in depths:
                    depths[other] = depths[here] + 1
                    queue.append(other)
        return depths

    def _order(
        self, query: GraphQuery, usable: list[Relation], depths: dict[EntityKey, int]
    ) -> tuple[list[EntityKey], bool]:
        order = list(depths)
        if query.depth_first:
            order, stack, seen = [], [query.start], set()
            while stack:
                here = stack.pop()
                if here in seen:
                    continue
                seen.add(here)
                order.append(here)
                steps = [other for _, other in _steps(usable, here, query.direction)]
                stack += [other for other in reversed(steps) if other in depths]
        return order[: query.max_nodes], len(order) > query.max_nodes

    # --- keeping -----------------------------------------------------------------------------

    async def clear(self, selection: Selection) -> tuple[int, int]:
        kept = self._open()
        gone = [key for key, one in kept.entities.items() if selection.takes(one)]
        before = len(kept.relations)
        for key in gone:
            _delete(kept, key)
        return len(gone), before - len(kept.relations)

    async def stats(self) -> BackendStats:
        kept = self._open()
        rows = list(kept.entities.values())
        return BackendStats(
            entities=len(rows),
            relations=len(kept.relations),
            observations=sum(len(one.observations) for one in rows),
            vectors=sum(len(vectors) for _, vectors in kept.vectors.values()),
            scopes=dict(Counter(one.scope.key for one in rows)),
            entity_types=dict(Counter(one.entity_type for one in rows)),
            index="plain",
        )

    async def verify(self) -> list[Fault]:
        kept = self._open()
        return [
            Fault(f"relation {key.relation_type} without {end.name}")
            for key in kept.relations
            for end in _ends(key)
            if end not in kept.entities
        ]

    async def optimize(self) -> list[str]:
        self._open()
        return []

    async def close(self) -> None:
        self._started = False


async def _maybe(given: object) -> None:
    if hasattr(given, "__await__"):
        await given


def _follows(version: int, known: int, *, restored: bool) -> bool:
    return version >= max(known, 1) if restored else version == known + 1


def _ends(key: RelationKey) -> tuple[EntityKey, EntityKey]:
    return EntityKey(key.scope, key.from_entity), EntityKey(key.scope, key.to_entity)


def _delete(kept: Kept, key: EntityKey) -> None:
    if key not in kept.entities:
        raise EntityNotFound(entity_name=key.name, memory_scope=key.scope.key)
    del kept.entities[key]
    kept.vectors.pop(key, None)
    for relation in [one for one in kept.relations if key in _ends(one)]:
        del kept.relations[relation]


def _relate(kept: Kept, change: PutRelation) -> None:
    relation, key = change.relation, change.relation.key
    for name, end in zip((relation.from_entity, relation.to_entity), _ends(key), strict=True):
        if end not in kept.entities:
            raise EntityNotFound(entity_name=name, memory_scope=key.scope.key)
    there = kept.relations.get(key)
    known = there.version if there else 0
    if not _follows(relation.version, known, restored=change.restored):
        raise EntityConflict(
            entity_name=relation.from_entity,
            memory_scope=key.scope.key,
            reason=f"version {relation.version} does not follow {known}",
        )
    kept.relations[key] = relation


def _part(kept: Kept, change: DeleteRelation) -> None:
    key = change.key
    if kept.relations.pop(key, None) is None:
        raise RelationNotFound(
            from_entity=key.from_entity,
            relation_type=key.relation_type,
            to_entity=key.to_entity,
            memory_scope=key.scope.key,
        )


def _steps(
    usable: Iterable[Relation], here: EntityKey, direction: Direction
) -> list[tuple[Relation, EntityKey]]:
    steps = []
    for one in usable:
        start, end = _ends(one.key)
        if start == here and direction != "in":
            steps.append((one, end))
        elif end == here and direction != "out":
            steps.append((one, start))
    return steps


def _tokens(text: str) -> list[str]:
    found = []
    for word in re.findall(r"\w+", text.casefold()):
        if _CJK.search(word):
            found += [word[i : i + 2] for i in range(max(1, len(word) - 1))]
        else:
            found.append(_stem(word))
    return found


def _bm25(entities: dict[EntityKey, Entity], text: str) -> dict[EntityKey, float]:
    asked = set(_tokens(text))
    if not asked or not entities:
        return {}
    counts = {key: Counter(_tokens(embedding_text(one))) for key, one in entities.items()}
    mean = sum(one.total() for one in counts.values()) / len(counts) or 1.0
    scores: dict[EntityKey, float] = {}
    for word in asked:
        having = [key for key, one in counts.items() if word in one]
        weight = math.log(1 + (len(counts) - len(having) + 0.5) / (len(having) + 0.5))
        for key in having:
            often, length = counts[key][word], counts[key].total()
            part = often * (K1 + 1) / (often + K1 * (1 - B + B * length / mean))
            scores[key] = scores.get(key, 0.0) + weight * part
    return scores


def _best(scores: dict[EntityKey, float], limit: int) -> list[EntityKey]:
    return sorted(scores, key=lambda key: (-scores[key], key))[:limit]
