"""Takes up what was exported: all of a page or nothing, with its times and versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

import msgspec

from caxton.errors import EntityConflict, ImportInvalid, ValidationError
from caxton.memory.backend import Change, MemoryBackend, PutEntity, PutRelation
from caxton.memory.checks import (
    check_count,
    check_draft,
    check_number,
    check_relation,
    check_whole,
)
from caxton.memory.drafts import joined
from caxton.memory.ledger import Ledger
from caxton.memory.model import Entity, EntityKey, Relation, RelationKey, Scope, TimeMs
from caxton.memory.permissions import Access
from caxton.memory.requests import EntityDraft, Import, ImportEntity, ImportReport, RelationDraft
from caxton.memory.vectorizing import Vectorizer

if TYPE_CHECKING:
    from caxton.memory.backend import Vectors

__all__ = ["Importing"]

PAGE: Final = 1_000
_LENGTH_ERROR: Final = 1e-2
"""How far a vector may be from length 1: half precision is exact to less."""


class Importing:
    """Answers imports.

    Args:
        backend: where it goes.
        vectorizer: makes the vectors that are not given.
        access: who may write where.
        ledger: puts writers in order.
        waiting: called when something was written that still wants vectors.
    """

    def __init__(
        self,
        backend: MemoryBackend,
        vectorizer: Vectorizer,
        access: Access,
        ledger: Ledger,
        waiting: Callable[[], None],
    ) -> None:
        self._backend = backend
        self._vectorizer = vectorizer
        self._access = access
        self._ledger = ledger
        self._waiting = waiting

    async def take(self, request: Import) -> ImportReport:
        """Take up a page.

        Raises:
            ImportInvalid: an item does not read, or an end of a relation is not there.
            EntityConflict: an entity is there, and that is an error.
        """
        items = (*request.entities, *request.relations)
        check_count(items, 1, PAGE, "entities")
        scope = None
        if request.agent is not None or request.memory_scope is not None:
            scope = self._access.write(request)
        for number, item in enumerate(request.entities):
            _check_entity(item, number)
        for number, relation in enumerate(request.relations):
            _check_relation(relation, number)
        own = bool(request.model) and request.model == self._vectorizer.tag
        page = _Page(self._backend, request, scope, takes_vectors=own)
        return await self._ledger.in_order(page.keys, lambda: self._take(page))

    async def _take(self, page: _Page) -> ImportReport:
        await page.work_out()
        wanted = [key for key in page.told if key not in page.vectors]
        given = {key: self._given(page, key) for key in page.vectors}
        made = await self._vectorizer.of_entities([page.entities[key] for key in wanted])
        vectors = {**given, **dict(zip(wanted, made, strict=True))}
        changes: list[Change] = []
        for key, entity in page.entities.items():
            if entity is page.before[key]:
                continue
            own = self._vectorizer.to_write(vectors[key]) if key in page.told else None
            changes.append(PutEntity(entity, own, restored=True))
        changes += [
            PutRelation(one, restored=True)
            for key, one in page.relations.items()
            if one is not page.relations_before[key]
        ]
        new = [key.scope for key, one in page.before.items() if one is None]
        await self._ledger.write(changes, new)
        if any(one is None for one in vectors.values()):
            self._waiting()
        embedded = sum(one is not None for one in made)
        return msgspec.structs.replace(page.report(), embedded=embedded)

    def _given(self, page: _Page, key: EntityKey) -> Vectors:
        """The vectors that came with an entity."""
        import numpy as np

        embedder = self._vectorizer.embedder
        number, raw = page.vectors[key]
        dimension = embedder.model.dimension if embedder is not None else 0
        if any(len(one) != 4 * dimension for one in raw):
            _refuse("entities", number, f"its vectors are not of {dimension} numbers")
        rows = np.frombuffer(b"".join(raw), "<f4").reshape(len(raw), dimension)
        rows = rows.astype(np.float32)
        lengths = np.linalg.norm(rows, axis=1)
        if not bool(np.all(np.abs(lengths - 1.0) < _LENGTH_ERROR)):
            _refuse("entities", number, "its vectors are not of length 1")
        return rows


class _Page:
    """What a page comes to, given what is there."""

    def __init__(
        self,
        backend: MemoryBackend,
        request: Import,
        scope: Scope | None,
        *,
        takes_vectors: bool,
    ) -> None:
        self._backend = backend
        self._takes_vectors = takes_vectors
        self._request = request
        self._items = [_moved(item, scope) for item in request.entities]
        self._links = [
            one if scope is None else msgspec.structs.replace(one, scope=scope)
            for one in request.relations
        ]
        ends = [end for one in self._links for end in _ends(one.key)]
        self.keys = list(dict.fromkeys([*(one.entity.key for one in self._items), *ends]))
        self.before: dict[EntityKey, Entity | None] = {}
        self.entities: dict[EntityKey, Entity] = {}
        """As they are to be."""
        self.told: set[EntityKey] = set()
        """Those whose text is new."""
        self.vectors: dict[EntityKey, tuple[int, tuple[bytes, ...]]] = {}
        """Of those that are taken as they came: their place in the page, and their vectors."""
        self.relations_before: dict[RelationKey, Relation | None] = {}
        self.relations: dict[RelationKey, Relation] = {}
        self._counts: Counter[str] = Counter()

    async def work_out(self) -> None:
        """Read what is there, and see what becomes of it."""
        for one in (self.before, self.entities, self.told, self.vectors, self._counts):
            one.clear()
        self.relations.clear()
        self.relations_before.clear()
        there = dict(zip(self.keys, await self._backend.entities(self.keys), strict=True))
        for number, item in enumerate(self._items):
            self._entity(number, item, there[item.entity.key])
        for number, relation in enumerate(self._links):
            await self._relation(number, relation, there)

    def _entity(self, number: int, item: ImportEntity, stored: Entity | None) -> None:
        entity, key = item.entity, item.entity.key
        there = self.entities.get(key, stored)
        self.before.setdefault(key, stored)
        if there is None:
            observations, count = joined((), entity.observations)
            if count < len(entity.observations):
                entity = msgspec.structs.replace(entity, observations=observations)
            self._put(number, key, entity, item)
            self._counts["entities_created"] += 1
            return
        strategy = self._request.merge_strategy
        if strategy == "error_on_conflict":
            raise EntityConflict(
                entity_name=entity.entity_name,
                memory_scope=key.scope.key,
                reason="it is there already, and the import is to end then",
            )
        merged = _merged(there, entity)
        if strategy == "skip_existing" or merged == there:
            self._counts["entities_skipped"] += 1
            self._counts["conflicts_resolved"] += merged != there
            self.entities.setdefault(key, there)
            return
        check_whole([one.text for one in merged.observations])
        self._put(number, key, merged, item)
        self._counts["entities_updated"] += 1
        self._counts["conflicts_resolved"] += 1

    def _put(self, number: int, key: EntityKey, entity: Entity, item: ImportEntity) -> None:
        there = self.entities.get(key, self.before[key])
        self.entities[key] = entity
        if there is None or _text(there) != _text(entity):
            self.told.add(key)
            self.vectors.pop(key, None)
            if self._takes_vectors and item.vectors and _text(entity) == _text(item.entity):
                self.vectors[key] = (number, item.vectors)

    async def _relation(
        self, number: int, relation: Relation, stored: dict[EntityKey, Entity | None]
    ) -> None:
        key = relation.key
        for name, end in zip((relation.from_entity, relation.to_entity), _ends(key), strict=True):
            if self.entities.get(end, stored[end]) is None:
                _refuse("relations", number, f"`{name}` is not remembered in {key.scope.key}")
        if key not in self.relations_before:
            self.relations_before[key] = await self._backend.relation(key)
        there = self.relations.get(key, self.relations_before[key])
        if there is None:
            self.relations[key] = relation
            self._counts["relations_created"] += 1
            return
        strategy = self._request.merge_strategy
        if strategy == "error_on_conflict":
            raise EntityConflict(
                entity_name=relation.from_entity,
                memory_scope=key.scope.key,
                reason=f"its relation `{key.relation_type}` is there already",
            )
        merged = _merged_relation(there, relation)
        if strategy == "skip_existing" or merged == there:
            self._counts["relations_skipped"] += 1
            self._counts["conflicts_resolved"] += merged != there
            self.relations.setdefault(key, there)
            return
        self.relations[key] = merged
        self._counts["relations_updated"] += 1
        self._counts["conflicts_resolved"] += 1

    def report(self) -> ImportReport:
        """What became of the page."""
        return ImportReport(**self._counts)


def _moved(item: ImportEntity, scope: Scope | None) -> ImportEntity:
    if scope is None or item.entity.scope == scope:
        return item
    entity = msgspec.structs.replace(item.entity, scope=scope)
    return msgspec.structs.replace(item, entity=entity)


def _text(entity: Entity) -> tuple[str, ...]:
    texts = (one.text for one in entity.observations)
    return (entity.entity_name, entity.entity_type, *texts)


def _ends(key: RelationKey) -> tuple[EntityKey, EntityKey]:
    return EntityKey(key.scope, key.from_entity), EntityKey(key.scope, key.to_entity)


def _merged(there: Entity, given: Entity) -> Entity:
    """What was exported over what is there, observations of both; the same if nothing is new."""
    if len(there.observations) <= len(given.observations):
        first, second = given.observations, there.observations
    else:
        first, second = there.observations, given.observations
    observations, _ = joined(first, second)
    made = msgspec.structs.replace(
        given,
        entity_name=there.entity_name,
        observations=observations,
        metadata={**there.metadata, **given.metadata},
        created_ms=min(there.created_ms, given.created_ms),
        updated_ms=there.updated_ms,
        version=there.version,
    )
    return _changed(there, made, given)


def _merged_relation(there: Relation, given: Relation) -> Relation:
    made = msgspec.structs.replace(
        given,
        from_entity=there.from_entity,
        to_entity=there.to_entity,
        metadata={**there.metadata, **given.metadata},
        created_ms=min(there.created_ms, given.created_ms),
        updated_ms=there.updated_ms,
        version=there.version,
    )
    return _changed(there, made, given)


def _refuse(kind: str, number: int, reason: str) -> NoReturn:
    raise ImportInvalid(source="the import", place=f"{kind}[{number}]", reason=reason)


def _check_entity(item: ImportEntity, number: int) -> None:
    """Raises:
    ImportInvalid: it cannot be written as it is.
    """
    one = item.entity
    draft = EntityDraft(
        one.entity_name,
        one.entity_type,
        tuple(seen.text for seen in one.observations),
        one.metadata,
        one.valid_from_ms,
        one.valid_to_ms,
        one.importance,
    )
    try:
        check_draft(draft, "entity")
        for seen in one.observations:
            check_number(TimeMs, seen.at_ms, "entity.observations.at_ms")
    except ValidationError as error:
        _refuse("entities", number, error.detail)
    _check_kept("entities", number, one)


def _check_relation(relation: Relation, number: int) -> None:
    draft = RelationDraft(
        relation.from_entity,
        relation.to_entity,
        relation.relation_type,
        relation.strength,
        relation.confidence,
        relation.metadata,
        relation.valid_from_ms,
        relation.valid_to_ms,
    )
    try:
        check_relation(draft, "relation")
    except ValidationError as error:
        _refuse("relations", number, error.detail)
    _check_kept("relations", number, relation)


def _check_kept(kind: str, number: int, one: Entity | Relation) -> None:
    for name in ("created_ms", "updated_ms"):
        try:
            check_number(TimeMs, getattr(one, name), name)
        except ValidationError as error:
            _refuse(kind, number, error.detail)
    if not 1 <= one.version < 2**53:
        _refuse(kind, number, f"version {one.version} is not 1 or more")


Kept = TypeVar("Kept", Entity, Relation)


def _changed(there: Kept, made: Kept, given: Kept) -> Kept:
    """What is ``made`` of both, as a later version; what is there when nothing changed."""
    if made == there:
        return there
    return msgspec.structs.replace(
        made,
        updated_ms=max(there.updated_ms, given.updated_ms),
        version=max(there.version + 1, given.version),
    )
