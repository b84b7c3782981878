"""What changes the memory: storing, noting, relating, merging, forgetting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from caxton.errors import EntityNotFound, ValidationError
from caxton.memory.backend import (
    CandidateQuery,
    Change,
    DeleteEntity,
    MemoryBackend,
    PutEntity,
    PutRelation,
    Selection,
)
from caxton.memory.checks import (
    check_count,
    check_draft,
    check_name,
    check_observations,
    check_types,
    check_whole,
)
from caxton.memory.drafts import drop, joined, note, remembered, renewed
from caxton.memory.ledger import Ledger
from caxton.memory.model import Entity, EntityKey, Relation, Scope, fold
from caxton.memory.permissions import Access
from caxton.memory.requests import (
    AddObservations,
    Clear,
    Cleared,
    Deleted,
    DeleteEntities,
    DeleteObservations,
    Merge,
    Similar,
    Store,
    Stored,
    StoredEntity,
)
from caxton.memory.room import Room
from caxton.memory.vectorizing import Vectorizer

if TYPE_CHECKING:
    from caxton.memory.backend import Vectors

__all__ = ["Writing"]

BATCH: Final = 100
"""Most of one request."""
NAMES: Final = 1_000
"""Most names to forget in one request."""
SIMILAR: Final = 0.95
NEAREST: Final = 3


class Writing:
    """Answers the requests that write.

    Args:
        backend: where it is kept.
        vectorizer: makes vectors, or tells that they come later.
        access: who may write where.
        ledger: puts writers in order.
        room: counts entities.
        clock: now, in ms since 1970.
        waiting: called when something was written that still wants vectors.
    """

    def __init__(
        self,
        backend: MemoryBackend,
        vectorizer: Vectorizer,
        access: Access,
        ledger: Ledger,
        room: Room,
        clock: Callable[[], int],
        waiting: Callable[[], None],
    ) -> None:
        self._backend = backend
        self._vectorizer = vectorizer
        self._access = access
        self._ledger = ledger
        self._room = room
        self._clock = clock
        self._waiting = waiting
        self.on_created: Callable[[Sequence[Entity]], None] = lambda created: None
        """Called with entities that are new."""

    # --- entities ----------------------------------------------------------------------------

    async def store(self, request: Store) -> Stored:
        """Remember entities."""
        check_count(request.entities, 1, BATCH, "entities")
        for number, draft in enumerate(request.entities):
            check_draft(draft, f"entities[{number}]")
        scope = self._access.write(request)
        keys = [EntityKey.of(scope, draft.entity_name) for draft in request.entities]
        return await self._ledger.in_order(keys, lambda: self._store(request, scope, keys))

    async def _store(self, request: Store, scope: Scope, keys: list[EntityKey]) -> Stored:
        now_ms = self._clock()
        distinct = list(dict.fromkeys(keys))
        before = dict(zip(distinct, await self._backend.entities(distinct), strict=True))
        after: dict[EntityKey, Entity] = {}
        added: list[int] = []
        for key, draft in zip(keys, request.entities, strict=True):
            there = after.get(key, before[key])
            entity, more = remembered(there, draft, scope, now_ms)
            if entity is not there and key in after:
                entity = msgspec.structs.replace(entity, version=_next(before[key]))
            after[key] = entity
            added.append(more)
        told = {key: before[key] is None or _says(before[key], one) for key, one in after.items()}
        vectors = await self._vectors([one for key, one in after.items() if told[key]])
        new = [one for key, one in after.items() if before[key] is None]
        similar = await self._similar(new, vectors)
        changes = [
            PutEntity(one, self._vectorizer.to_write(vectors[key]) if told[key] else None)
            for key, one in after.items()
            if one is not before[key]
        ]
        await self._ledger.write(changes, [one.scope for one in new])
        self._told_of(new, [vectors.get(key) for key in after if told[key]])
        seen: set[EntityKey] = set()
        stored = []
        for key, more in zip(keys, added, strict=True):
            created = before[key] is None and key not in seen
            seen.add(key)
            embedded = self._vectorizer.embedder is not None
            if told[key]:
                embedded = vectors.get(key) is not None
            near = similar.get(key, ()) if created else ()
            stored.append(StoredEntity(after[key], created, more, embedded, near))
        return Stored(tuple(stored))

    async def _vectors(self, entities: list[Entity]) -> dict[EntityKey, Vectors | None]:
        found = await self._vectorizer.of_entities(entities)
        return {one.key: vectors for one, vectors in zip(entities, found, strict=True)}

    def _told_of(self, new: Sequence[Entity], vectors: Sequence[Vectors | None]) -> None:
        if new:
            self.on_created(new)
        if any(one is None for one in vectors):
            self._waiting()

    async def _similar(
        self, new: Sequence[Entity], vectors: dict[EntityKey, Vectors | None]
    ) -> dict[EntityKey, tuple[Similar, ...]]:
        """Known entities of the same scope that say nearly the same as a new one."""
        found: dict[EntityKey, tuple[Similar, ...]] = {}
        for entity in new:
            own = vectors.get(entity.key)
            if own is None:
                continue
            selection = Selection(scopes=(entity.scope,))
            query = CandidateQuery(selection, NEAREST, vector=own[:1])
            near = [
                Similar(one.entity.entity_name, round(min(1.0, one.similarity), 4))
                for one in await self._backend.candidates(query)
                if one.similarity is not None and one.similarity >= SIMILAR
            ]
            near.sort(key=lambda one: -one.similarity)
            found[entity.key] = tuple(near[:NEAREST])
        return found

    async def add(self, request: AddObservations) -> StoredEntity:
        """Note more of an entity."""
        check_name(request.entity_name)
        check_observations(request.observations, request.source, least=1)
        key = EntityKey.of(self._access.write(request), request.entity_name)

        async def work() -> StoredEntity:
            there = await self._known(key, request.entity_name)
            now_ms = self._clock()
            entity, added = note(there, request.observations, request.source, now_ms)
            return await self._change(there, entity, added)

        return await self._ledger.in_order([key], work)

    async def _known(self, key: EntityKey, name: str) -> Entity:
        """Raises:
        EntityNotFound: it is not there.
        """
        there = (await self._backend.entities([key]))[0]
        if there is None:
            raise EntityNotFound(entity_name=name, memory_scope=key.scope.key)
        return there

    async def _change(
        self, there: Entity, entity: Entity, added: int, also: Sequence[Change] = ()
    ) -> StoredEntity:
        """Write an entity whose text is another one, and whatever goes with it."""
        embedded = self._vectorizer.embedder is not None
        if entity is not there:
            entity = renewed(entity, self._clock())
            vectors = (await self._vectorizer.of_entities([entity]))[0]
            await self._ledger.write([*also, PutEntity(entity, self._vectorizer.to_write(vectors))])
            self._told_of((), [vectors])
            embedded = vectors is not None
        return StoredEntity(entity, created=False, added=added, embedding_generated=embedded)

    async def delete_observations(self, request: DeleteObservations) -> Deleted:
        """Forget some of what was noted of an entity."""
        check_name(request.entity_name)
        check_observations(request.observations, "", least=1)
        key = EntityKey.of(self._access.write(request), request.entity_name)

        async def work() -> Deleted:
            there = await self._known(key, request.entity_name)
            entity, gone = drop(there, request.observations)
            if gone:
                await self._change(there, entity, 0)
            return Deleted(observations=gone)

        return await self._ledger.in_order([key], work)

    async def delete(self, request: DeleteEntities) -> Deleted:
        """Forget entities."""
        check_count(request.names, 1, NAMES, "names")
        for number, name in enumerate(request.names):
            check_name(name, f"names[{number}]")
        scope = self._access.write(request)
        keys = list(dict.fromkeys(EntityKey.of(scope, name) for name in request.names))

        async def work() -> Deleted:
            found = [one for one in await self._backend.entities(keys) if one is not None]
            there = [one.key for one in found]
            relations = await self._backend.relations(there) if there else []
            await self._ledger.write([DeleteEntity(key) for key in there])
            self._room.less(scope, len(there))
            observations = sum(len(one.observations) for one in found)
            return Deleted(len(there), len(relations), observations)

        return await self._ledger.in_order(keys, work)

    async def merge(self, request: Merge) -> StoredEntity:
        """Make one entity of two."""
        check_name(request.into, "into")
        check_name(request.other, "other")
        scope = self._access.write(request)
        into, other = EntityKey.of(scope, request.into), EntityKey.of(scope, request.other)
        if into == other:
            raise ValidationError(
                field="other", value=request.other, allowed="another entity than `into`"
            )
        return await self._ledger.in_order([into, other], lambda: self._merge(request, into, other))

    async def _merge(self, request: Merge, into: EntityKey, other: EntityKey) -> StoredEntity:
        there = await self._known(into, request.into)
        gone = await self._known(other, request.other)
        observations, added = joined(there.observations, gone.observations)
        check_whole([one.text for one in observations])
        entity = msgspec.structs.replace(
            there,
            observations=observations,
            metadata={**gone.metadata, **there.metadata},
            importance=max(there.importance, gone.importance),
            created_ms=min(there.created_ms, gone.created_ms),
            valid_from_ms=_earliest(there.valid_from_ms, gone.valid_from_ms),
            valid_to_ms=_latest(there.valid_to_ms, gone.valid_to_ms),
        )
        known = {one.key for one in await self._backend.relations([into])}
        moved = []
        for one in await self._backend.relations([other]):
            relation = _moved(one, gone, there)
            if relation.key in known or relation.key.from_entity == relation.key.to_entity:
                continue
            known.add(relation.key)
            moved.append(PutRelation(relation, restored=True))
        stored = await self._change(there, entity, added, [*moved, DeleteEntity(other)])
        self._room.less(into.scope, 1)
        return stored

    async def clear(self, request: Clear) -> Cleared:
        """Forget a scope."""
        check_types(request.entity_types)
        if request.memory_scope is None:
            raise ValidationError(
                field="memory_scope", value="nothing", allowed="the scope to forget, by name"
            )
        scope = self._access.write(request)
        work = asyncio.ensure_future(
            self._backend.clear(Selection((scope,), tuple(request.entity_types)))
        )
        try:
            entities, relations = await asyncio.shield(work)
        finally:
            # How much was forgotten before it failed or was given up is not known.
            await asyncio.wait({work}, timeout=1.0)
            await self._room.load()
        return Cleared(entities, relations)


def _next(before: Entity | None) -> int:
    return 1 if before is None else before.version + 1


def _says(before: Entity | None, after: Entity) -> bool:
    """Whether the text of an entity is another one than before."""
    return before is None or before.observations != after.observations


def _moved(relation: Relation, gone: Entity, there: Entity) -> Relation:
    """A relation of one entity as one of another."""
    old, new = fold(gone.entity_name), there.entity_name
    start, end = relation.from_entity, relation.to_entity
    return msgspec.structs.replace(
        relation,
        from_entity=new if fold(start) == old else start,
        to_entity=new if fold(end) == old else end,
    )


def _earliest(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else min(one, other)


def _latest(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)
