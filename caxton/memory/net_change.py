"""What a list of changes comes to, given what is there: for backends on a database elsewhere.

Sans-IO: ``touched`` tells what to look up, ``net_change`` checks the changes in their order and
gives what is left to write, each entity and relation once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from caxton.errors import EntityConflict, EntityNotFound, RelationNotFound
from caxton.memory.backend import (
    Change,
    DeleteEntity,
    DeleteRelation,
    PutEntity,
    PutRelation,
    Vectors,
)
from caxton.memory.model import Entity, EntityKey, Relation, RelationKey, Scope

__all__ = ["EntityWrite", "Known", "NetChange", "Touched", "net_change", "touched"]


class Touched(msgspec.Struct, frozen=True):
    """What changes have to do with."""

    entities: tuple[EntityKey, ...]
    relations: tuple[RelationKey, ...]


class Known(msgspec.Struct, frozen=True):
    """The versions of what is there, of what was touched."""

    entities: Mapping[EntityKey, int]
    relations: Mapping[RelationKey, int]


class EntityWrite(msgspec.Struct, frozen=True):
    """How an entity is in the end."""

    entity: Entity
    vectors: Vectors | None
    keeps: bool
    """Whether those that are there stay, where ``vectors`` is None."""


class NetChange(msgspec.Struct, frozen=True):
    """What is to be written: the removals first, then the rest."""

    removed_entities: tuple[EntityKey, ...] = ()
    """With all their relations. One of them may be written anew below."""
    removed_relations: tuple[RelationKey, ...] = ()
    entities: tuple[EntityWrite, ...] = ()
    relations: tuple[Relation, ...] = ()

    @property
    def parts(self) -> int:
        """How many records it writes or removes."""
        return (
            len(self.removed_entities)
            + len(self.removed_relations)
            + len(self.entities)
            + len(self.relations)
        )


def _ends(key: RelationKey) -> tuple[EntityKey, EntityKey]:
    return EntityKey(key.scope, key.from_entity), EntityKey(key.scope, key.to_entity)


def touched(changes: Iterable[Change]) -> Touched:
    """What of the store ``changes`` depend on, each once, in order."""
    entities: dict[EntityKey, None] = {}
    relations: dict[RelationKey, None] = {}
    for change in changes:
        match change:
            case PutEntity(entity=entity):
                entities[entity.key] = None
            case DeleteEntity(key=entity_key):
                entities[entity_key] = None
            case PutRelation(relation=relation):
                relations[relation.key] = None
                entities.update(dict.fromkeys(_ends(relation.key)))
            case DeleteRelation(key=relation_key):
                relations[relation_key] = None
    return Touched(tuple(entities), tuple(relations))


class _Overlay:
    """The store with the changes that came before."""

    def __init__(self, known: Known) -> None:
        self.versions = dict(known.entities)
        self.relation_versions = dict(known.relations)
        self.gone: dict[EntityKey, None] = {}
        self.gone_relations: dict[RelationKey, None] = {}
        self.entities: dict[EntityKey, EntityWrite] = {}
        self.relations: dict[RelationKey, Relation] = {}

    def put(self, change: PutEntity) -> None:
        entity, key = change.entity, change.entity.key
        there = self.versions.get(key, 0)
        if not _follows(entity.version, there, restored=change.restored):
            raise _conflict(entity.entity_name, key.scope, there, entity.version)
        earlier = self.entities.get(key)
        vectors, keeps = change.vectors, False
        if vectors is None:
            if earlier is not None:
                vectors, keeps = earlier.vectors, earlier.keeps
            else:
                keeps = key in self.versions
        self.versions[key] = entity.version
        self.entities[key] = EntityWrite(entity, vectors, keeps)

    def delete(self, key: EntityKey) -> None:
        if self.versions.pop(key, None) is None:
            raise EntityNotFound(entity_name=key.name, memory_scope=key.scope.key)
        self.entities.pop(key, None)
        self.gone[key] = None
        for relation_key in [one for one in self.relation_versions if key in _ends(one)]:
            del self.relation_versions[relation_key]
            self.relations.pop(relation_key, None)

    def relate(self, change: PutRelation) -> None:
        relation, key = change.relation, change.relation.key
        names = (relation.from_entity, relation.to_entity)
        for name, end in zip(names, _ends(key), strict=True):
            if end not in self.versions:
                raise EntityNotFound(entity_name=name, memory_scope=key.scope.key)
        there = self.relation_versions.get(key, 0)
        if not _follows(relation.version, there, restored=change.restored):
            said = f"{relation.from_entity} {relation.relation_type} {relation.to_entity}"
            raise _conflict(said, key.scope, there, relation.version)
        self.relation_versions[key] = relation.version
        self.relations[key] = relation

    def part(self, key: RelationKey) -> None:
        if self.relation_versions.pop(key, None) is None:
            raise RelationNotFound(
                from_entity=key.from_entity,
                relation_type=key.relation_type,
                to_entity=key.to_entity,
                memory_scope=key.scope.key,
            )
        self.relations.pop(key, None)
        self.gone_relations[key] = None


def _follows(version: int, there: int, *, restored: bool) -> bool:
    return version >= max(there, 1) if restored else version == there + 1


def _conflict(name: str, scope: Scope, there: int, given: int) -> EntityConflict:
    return EntityConflict(
        entity_name=name,
        memory_scope=scope.key,
        reason=f"version {given} does not follow {there}, which is there"
        if there
        else f"version {given} of what is not there",
    )


def net_change(changes: Sequence[Change], known: Known) -> NetChange:
    """Check ``changes`` one after the other, and give what they come to.

    Raises:
        EntityNotFound: an end of a relation, or an entity to delete, is not there.
        RelationNotFound: a relation to delete is not there.
        EntityConflict: a version is not the next one.
    """
    over = _Overlay(known)
    for change in changes:
        match change:
            case PutEntity():
                over.put(change)
            case DeleteEntity(key=entity_key):
                over.delete(entity_key)
            case PutRelation():
                over.relate(change)
            case DeleteRelation(key=relation_key):
                over.part(relation_key)
    return NetChange(
        removed_entities=tuple(key for key in over.gone if key in known.entities),
        removed_relations=tuple(
            key
            for key in over.gone_relations
            if key in known.relations and key not in over.relations
        ),
        entities=tuple(over.entities.values()),
        relations=tuple(over.relations.values()),
    )
