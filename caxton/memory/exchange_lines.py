"""The lines of an export, and those of the file of the reference MCP memory server."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Final

import msgspec

from caxton.errors import ValidationError
from caxton.memory.model import (
    WORKSPACE,
    Entity,
    EntityName,
    EntityType,
    Observation,
    Relation,
    RelationType,
    Scope,
    fold,
)
from caxton.memory.requests import ImportEntity
from caxton.memory.views import ObservationView, entity_view, observation_of, relation_view
from caxton.moments import parse_time

__all__ = [
    "EndLine",
    "EntityLine",
    "Header",
    "McpEntity",
    "McpRelation",
    "Probe",
    "RelationLine",
    "entity_line",
    "entity_read",
    "mcp_entity_read",
    "mcp_relation_read",
    "relation_line",
    "relation_read",
]

_Ratio = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Version = Annotated[int, msgspec.Meta(ge=1)]
_FLOAT: Final = 4
"""Bytes of a number of a vector."""


class Header(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="metadata"
):  # fmt: skip
    """What an export says of itself."""

    version: str
    """Of the form of the file."""
    exported_at: str = ""
    source_backend: str = ""
    model: str = ""
    """``NAME@SHA256`` of its vectors; empty when it has none."""
    entity_count: _Count | None = None
    relation_count: _Count | None = None
    """How much there was when the export began."""


class EndLine(msgspec.Struct, frozen=True, tag_field="type", tag="end"):
    """The last line: how much was written."""

    entity_count: _Count
    relation_count: _Count


class EntityLine(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="entity",
    omit_defaults=True, forbid_unknown_fields=True,
):  # fmt: skip
    """An entity. Written by hand, name and type are enough."""

    entity_name: str
    entity_type: str
    memory_scope: str = ""
    observations: tuple[ObservationView | str, ...] = ()
    metadata: dict[str, Any] = {}
    valid_from: str | None = None
    valid_to: str | None = None
    importance: _Ratio = 0.5
    created_at: str = ""
    updated_at: str = ""
    version: _Version = 1
    embeddings: tuple[str, ...] = ()
    """One for each part of its text: float32, little-endian, in base64."""


class RelationLine(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="relation",
    omit_defaults=True, forbid_unknown_fields=True,
):  # fmt: skip
    """A relation. Written by hand, its ends and its type are enough."""

    from_entity: str
    to_entity: str
    relation_type: str
    memory_scope: str = ""
    strength: _Ratio = 0.5
    confidence: _Ratio = 1.0
    metadata: dict[str, Any] = {}
    valid_from: str | None = None
    valid_to: str | None = None
    created_at: str = ""
    updated_at: str = ""
    version: _Version = 1


class McpEntity(msgspec.Struct, frozen=True, rename="camel"):
    """An entity of the reference MCP memory server; what others have added to it is left out."""

    name: str
    entity_type: str
    observations: tuple[str, ...] = ()


class McpRelation(msgspec.Struct, frozen=True):
    """A relation of the reference MCP memory server."""

    from_: str = msgspec.field(name="from")
    to: str
    relation_type: str = msgspec.field(name="relationType")


class Probe(msgspec.Struct, frozen=True):
    """What tells the lines apart."""

    type: str = ""
    entity_name: Any = None
    from_entity: Any = None
    name: Any = None
    from_: Any = msgspec.field(name="from", default=None)


# --- writing ---------------------------------------------------------------------------------


def entity_line(one: ImportEntity) -> EntityLine:
    """The line of an entity."""
    view = entity_view(one.entity)
    return EntityLine(
        entity_name=view.entity_name,
        entity_type=view.entity_type,
        memory_scope=view.memory_scope,
        observations=view.observations,
        metadata=view.metadata,
        valid_from=view.valid_from,
        valid_to=view.valid_to,
        importance=view.importance,
        created_at=view.created_at,
        updated_at=view.updated_at,
        version=view.version,
        embeddings=tuple(base64.b64encode(vector).decode() for vector in one.vectors),
    )


def relation_line(relation: Relation) -> RelationLine:
    """The line of a relation."""
    view = relation_view(relation)
    return RelationLine(
        from_entity=view.from_entity,
        to_entity=view.to_entity,
        relation_type=view.relation_type,
        memory_scope=view.memory_scope,
        strength=view.strength,
        confidence=view.confidence,
        metadata=view.metadata,
        valid_from=view.valid_from,
        valid_to=view.valid_to,
        created_at=view.created_at,
        updated_at=view.updated_at,
        version=view.version,
    )


# --- reading ---------------------------------------------------------------------------------


def _name(text: str, field: str) -> str:
    EntityName.parse(text, field)
    if not fold(text):
        raise ValidationError(field=field, value=text, allowed="more than spaces")
    return text


def _when(text: str | None, field: str) -> int | None:
    return None if text is None else parse_time(text, field)


def _or_now(text: str, field: str, now_ms: int) -> int:
    return parse_time(text, field) if text else now_ms


def _scope(text: str) -> Scope:
    return Scope.parse(text) if text else WORKSPACE


def _distinct(observations: list[Observation]) -> tuple[Observation, ...]:
    """Without those whose text came before."""
    found: dict[str, Observation] = {}
    for one in observations:
        found.setdefault(one.text, one)
    return tuple(found.values())


def entity_read(line: EntityLine, now_ms: int, model: str) -> ImportEntity:
    """The entity of a line. Vectors of no known model are left out.

    Raises:
        ValidationError: a value is out of its range.
    """
    seen = [
        Observation(one, now_ms) if isinstance(one, str) else observation_of(one)
        for one in line.observations
    ]
    created_ms = _or_now(line.created_at, "created_at", now_ms)
    entity = Entity(
        scope=_scope(line.memory_scope),
        entity_name=_name(line.entity_name, "entity_name"),
        entity_type=EntityType.parse(line.entity_type, "entity_type"),
        observations=_distinct(seen),
        metadata=line.metadata,
        valid_from_ms=_when(line.valid_from, "valid_from"),
        valid_to_ms=_when(line.valid_to, "valid_to"),
        importance=line.importance,
        created_ms=created_ms,
        updated_ms=_or_now(line.updated_at, "updated_at", created_ms),
        version=line.version,
    )
    vectors = tuple(_vector(text, index) for index, text in enumerate(line.embeddings))
    return ImportEntity(entity, vectors if model else ())


def _vector(text: str, index: int) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeError) as error:
        raise ValidationError(
            field=f"embeddings[{index}]", value=text[:20], allowed=f"base64 ({error})"
        ) from None
    if not data or len(data) % _FLOAT:
        raise ValidationError(
            field=f"embeddings[{index}]", value=f"{len(data)} bytes", allowed="float32 numbers"
        )
    return data


def relation_read(line: RelationLine, now_ms: int) -> Relation:
    """The relation of a line.

    Raises:
        ValidationError: a value is out of its range.
    """
    created_ms = _or_now(line.created_at, "created_at", now_ms)
    return Relation(
        scope=_scope(line.memory_scope),
        from_entity=_name(line.from_entity, "from_entity"),
        to_entity=_name(line.to_entity, "to_entity"),
        relation_type=RelationType.parse(line.relation_type, "relation_type"),
        strength=line.strength,
        confidence=line.confidence,
        metadata=line.metadata,
        valid_from_ms=_when(line.valid_from, "valid_from"),
        valid_to_ms=_when(line.valid_to, "valid_to"),
        created_ms=created_ms,
        updated_ms=_or_now(line.updated_at, "updated_at", created_ms),
        version=line.version,
    )


def mcp_entity_read(line: McpEntity, now_ms: int) -> ImportEntity:
    """The entity of a line of the MCP memory server; empty observations are left out.

    Raises:
        ValidationError: a value is out of its range.
    """
    seen = [Observation(text, now_ms) for text in line.observations if text.strip()]
    return ImportEntity(
        Entity(
            scope=WORKSPACE,
            entity_name=_name(line.name, "name"),
            entity_type=EntityType.parse(line.entity_type, "entityType"),
            observations=_distinct(seen),
            created_ms=now_ms,
            updated_ms=now_ms,
        )
    )


def mcp_relation_read(line: McpRelation, now_ms: int) -> Relation:
    """The relation of a line of the MCP memory server.

    Raises:
        ValidationError: a value is out of its range.
    """
    return Relation(
        scope=WORKSPACE,
        from_entity=_name(line.from_, "from"),
        to_entity=_name(line.to, "to"),
        relation_type=RelationType.parse(line.relation_type, "relationType"),
        created_ms=now_ms,
        updated_ms=now_ms,
    )
