"""The memory as plain dictionaries: what the store is compared with."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from caxton.errors import EntityConflict, EntityNotFound, RelationNotFound
from caxton.memory.backend import (
    Change,
    DeleteEntity,
    GraphQuery,
    PathQuery,
    PutEntity,
    PutRelation,
    Selection,
)
from caxton.memory.model import Entity, EntityKey, Relation, RelationKey


class PlainMemory:
    """Entities, vectors and relations by key."""

    def __init__(self) -> None:
        self.entities: dict[EntityKey, Entity] = {}
        self.vectors: dict[EntityKey, Any] = {}
        self.relations: dict[RelationKey, Relation] = {}

    def run(self, operation: Sequence[Change] | Selection) -> Any:
        """What the store says to it: nothing, counts, or the type of an error."""
        before = dict(self.entities), dict(self.vectors), dict(self.relations)
        if isinstance(operation, Selection):
            for key in [key for key, one in self.entities.items() if operation.takes(one)]:
                self._delete(DeleteEntity(key))
            return len(before[0]) - len(self.entities), len(before[2]) - len(self.relations)
        for change in operation:
            error = self._change(change)
            if error is not None:
                self.entities, self.vectors, self.relations = before
                return error
        return None

    def _change(self, change: Change) -> type[Exception] | None:
        if isinstance(change, PutEntity):
            key = change.entity.key
            known = self.entities.get(key)
            if change.entity.version != (known.version if known else 0) + 1:
                return EntityConflict
            self.entities[key] = change.entity
            if change.vectors is not None:
                self.vectors[key] = np.asarray(change.vectors, np.float16).astype(np.float32)
        elif isinstance(change, PutRelation):
            row = change.relation.key
            ends = (row.from_entity, row.to_entity)
            if any(EntityKey(row.scope, one) not in self.entities for one in ends):
                return EntityNotFound
            there = self.relations.get(row)
            if change.relation.version != (there.version if there else 0) + 1:
                return EntityConflict
            self.relations[row] = change.relation
        elif isinstance(change, DeleteEntity):
            if change.key not in self.entities:
                return EntityNotFound
            self._delete(change)
        elif self.relations.pop(change.key, None) is None:
            return RelationNotFound
        return None

    def _delete(self, change: DeleteEntity) -> None:
        key = change.key
        del self.entities[key]
        self.vectors.pop(key, None)
        for row in list(self.relations):
            if row.scope == key.scope and key.name in (row.from_entity, row.to_entity):
                del self.relations[row]

    def written(self, relation: Relation) -> Relation:
        """A relation as it is given back: its ends called as they are."""
        key = relation.key
        names = [
            self.entities[EntityKey(key.scope, one)].entity_name
            for one in (key.from_entity, key.to_entity)
        ]
        return msgspec.structs.replace(relation, from_entity=names[0], to_entity=names[1])

    def vectors_of(self, key: EntityKey) -> Any:
        """``None`` without any."""
        found = self.vectors.get(key)
        return None if found is None or not len(found) else found

    # --- the graph ----------------------------------------------------------------------------

    def admitted(self, query: GraphQuery | PathQuery) -> dict[RelationKey, Relation]:
        """The relations that a query goes over."""
        return {
            key: one
            for key, one in self.relations.items()
            if key.scope == query.start.scope
            and (not query.relation_types or one.relation_type in query.relation_types)
            and one.strength >= query.min_strength
            and (query.at_ms is None or self._hold(one, query))
        }

    def _hold(self, relation: Relation, query: GraphQuery | PathQuery) -> bool:
        key, at_ms = relation.key, query.at_ms or 0
        ends = (EntityKey(key.scope, key.from_entity), EntityKey(key.scope, key.to_entity))
        return relation.holds_at(at_ms) and all(
            one == query.start or self.entities[one].holds_at(at_ms) for one in ends
        )

    def steps(self, query: GraphQuery | PathQuery, name: str) -> Iterator[str]:
        """What one node leads on to."""
        for key in self.admitted(query):
            if query.direction != "in" and key.from_entity == name:
                yield key.to_entity
            if query.direction != "out" and key.to_entity == name:
                yield key.from_entity

    def distances(self, query: GraphQuery | PathQuery) -> dict[str, int]:
        """Folded names within the depth of a query, and how far they are."""
        if query.start not in self.entities:
            return {}
        found = {query.start.name: 0}
        waiting = deque([query.start.name])
        while waiting:
            name = waiting.popleft()
            if found[name] < query.max_depth:
                for other in self.steps(query, name):
                    if other not in found:
                        found[other] = found[name] + 1
                        waiting.append(other)
        return found
