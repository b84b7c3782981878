"""Entities and relations as they are kept: short arrays, what is as usual at their end left out."""

from __future__ import annotations

from itertools import repeat
from typing import Any, Final

import msgspec

from caxton.errors import ValidationError
from caxton.memory.embedded.layout import ALWAYS_FROM, ALWAYS_TO
from caxton.memory.model import Entity, Observation, Relation, Scope

__all__ = [
    "EntityRecord",
    "NameRecord",
    "RelationRecord",
    "encode_entity",
    "encode_relation",
    "entity_of",
    "entity_record",
    "name_record",
    "relation_of",
    "relation_record",
    "time_bounds",
]


class EntityRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An entity as it is kept."""

    scope: int
    name: str
    type: int
    texts: list[str]
    """Of its observations."""
    created: int
    updated: int = 0
    """After ``created``."""
    times: list[int] = []
    """Of its observations, after ``created``; empty when all were then."""
    version: int = 1
    importance: float = 0.5
    sources: list[str] = []
    """Of its observations; empty when none has one."""
    metadata: dict[str, Any] = {}
    valid_from: int | None = None
    valid_to: int | None = None


class NameRecord(msgspec.Struct, array_like=True, frozen=True):
    """The beginning of an entity's record."""

    scope: int
    name: str


class RelationRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A relation as it is kept, without its ends and type."""

    created: int
    updated: int = 0
    """After ``created``."""
    strength: float = 0.5
    version: int = 1
    confidence: float = 1.0
    metadata: dict[str, Any] = {}
    valid_from: int | None = None
    valid_to: int | None = None


entity_record: Final = msgspec.msgpack.Decoder(EntityRecord).decode
name_record: Final = msgspec.msgpack.Decoder(NameRecord).decode
relation_record: Final = msgspec.msgpack.Decoder(RelationRecord).decode
_encode: Final = msgspec.msgpack.Encoder().encode
_NEEDED: Final = object()
_ENTITY_USUAL: Final[tuple[Any, ...]] = (*[_NEEDED] * 5, 0, [], 1, 0.5, [], {}, None, None)
_RELATION_USUAL: Final[tuple[Any, ...]] = (_NEEDED, 0, 0.5, 1, 1.0, {}, None, None)


def _pack(what: str, row: list[Any], usual: tuple[Any, ...]) -> bytes:
    at = len(row) - 1
    while row[at] == usual[at]:
        at -= 1
    return _encoded(what, row[: at + 1])


def _encoded(what: str, row: list[Any]) -> bytes:
    try:
        return _encode(row)
    except (TypeError, OverflowError, ValueError, RecursionError) as error:
        raise ValidationError(
            field=what, value=str(error), allowed="Unicode texts, and numbers of 64 bits"
        ) from error


def encode_entity(entity: Entity, scope: int, kind: int) -> bytes:
    """The record of an entity.

    Raises:
        ValidationError: it has a value that cannot be kept.
    """
    seen, created = entity.observations, entity.created_ms
    texts, alike = [], True
    for one in seen:
        texts.append(one.text)
        if one.at_ms != created or one.source:
            alike = False
    row = [scope, entity.entity_name, kind, texts, created]
    # Short ways for what most are like: looking for that from the end of all fields takes longer
    # than all the rest.
    more = (
        entity.importance != 0.5 or entity.metadata
        or entity.valid_from_ms is not None or entity.valid_to_ms is not None
    )  # fmt: skip
    if alike and not more and entity.version == 1 and entity.updated_ms == created:
        return _encoded("entity", row)
    times = [one.at_ms - created for one in seen]
    row += entity.updated_ms - created, times if any(times) else [], entity.version
    sources = [] if alike else [one.source for one in seen]
    if more or any(sources):
        row += (
            entity.importance, sources if any(sources) else [], entity.metadata,
            entity.valid_from_ms, entity.valid_to_ms,
        )  # fmt: skip
    return _pack("entity", row, _ENTITY_USUAL)


def entity_of(record: EntityRecord, scope: Scope, kind: str) -> Entity:
    """An entity from its record."""
    created = record.created
    texts, times = record.texts, record.times
    if record.sources:
        rows = zip(texts, times or [0] * len(texts), record.sources, strict=True)
        seen = tuple([Observation(text, created + after, source) for text, after, source in rows])
    elif times:
        pairs = zip(texts, times, strict=True)
        seen = tuple([Observation(text, created + after) for text, after in pairs])
    else:
        seen = tuple(map(Observation, texts, repeat(created)))
    return Entity(
        scope, record.name, kind, seen, record.metadata, record.valid_from, record.valid_to,
        record.importance, created, created + record.updated, record.version,
    )  # fmt: skip


def encode_relation(relation: Relation) -> bytes:
    """The record of a relation.

    Raises:
        ValidationError: it has a value that cannot be kept.
    """
    created = relation.created_ms
    row: list[Any] = [
        created, relation.updated_ms - created, relation.strength, relation.version,
        relation.confidence,
    ]  # fmt: skip
    if relation.metadata or relation.valid_from_ms is not None or relation.valid_to_ms is not None:
        row += relation.metadata, relation.valid_from_ms, relation.valid_to_ms
    return _pack("relation", row, _RELATION_USUAL)


def relation_of(
    record: RelationRecord, scope: Scope, first: str, kind: str, second: str
) -> Relation:
    """A relation from its record."""
    created = record.created
    return Relation(
        scope, first, second, kind, record.strength, record.confidence, record.metadata,
        record.valid_from, record.valid_to, created, created + record.updated, record.version,
    )  # fmt: skip


def time_bounds(start_ms: int | None, end_ms: int | None) -> tuple[int, int]:
    """Both times as numbers that compare.

    Raises:
        ValidationError: they are beyond 64 bits.
    """
    start = ALWAYS_FROM if start_ms is None else start_ms
    end = ALWAYS_TO if end_ms is None else end_ms
    for field, value in (("valid_from_ms", start), ("valid_to_ms", end)):
        if not ALWAYS_FROM <= value <= ALWAYS_TO:
            raise ValidationError(field=field, value=value, allowed="ms since 1970, in 64 bits")
    return start, end
