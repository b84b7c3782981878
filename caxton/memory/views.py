"""What is remembered as the edges show it: times as RFC 3339 text, scopes by their one text.

Bodies of the REST API, and the lines of exports. Each view can be turned into what it shows and
back without a loss.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from caxton.errors import ValidationError
from caxton.memory.model import Entity, EntityKey, Observation, Relation, Scope
from caxton.memory.requests import Similar, StoredEntity
from caxton.moments import format_time, parse_time

__all__ = [
    "EntityView",
    "ObservationView",
    "RelationView",
    "StoredView",
    "entity_id",
    "entity_of",
    "entity_view",
    "observation_of",
    "relation_of",
    "relation_view",
    "stored_of",
    "stored_view",
]

_FIRST_MS: Final = -62_135_596_800_000
_LAST_MS: Final = 253_402_300_799_999
"""The years 1 to 9999: what RFC 3339 can say."""


class ObservationView(msgspec.Struct, frozen=True):
    """One thing that was seen of an entity."""

    text: str
    at: str
    """When it was noted."""
    source: str = ""
    """Id of the message it comes from."""


class EntityView(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is remembered."""

    entity_id: str
    """Its scope and its folded name, with a slash between."""
    entity_name: str
    entity_type: str
    memory_scope: str
    """``agent:NAME``, ``workspace`` or ``global``."""
    observations: tuple[ObservationView, ...] = ()
    metadata: dict[str, Any] = {}
    valid_from: str | None = None
    valid_to: str | None = None
    """Until when it holds, that moment not included."""
    importance: float = 0.5
    created_at: str
    updated_at: str
    version: int = 1


class RelationView(msgspec.Struct, frozen=True, kw_only=True):
    """That one entity has to do with another."""

    from_entity: str
    to_entity: str
    relation_type: str
    memory_scope: str
    strength: float = 0.5
    confidence: float = 1.0
    metadata: dict[str, Any] = {}
    valid_from: str | None = None
    valid_to: str | None = None
    created_at: str
    updated_at: str
    version: int = 1


class StoredView(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an entity that was stored."""

    entity_id: str
    entity_name: str
    entity_type: str
    memory_scope: str
    created: bool
    """False where it was known: it got what was new."""
    added: int
    """Observations that were new."""
    observation_count: int
    version: int
    embedding_generated: bool
    """False where there is no model: it is found by words until it is embedded."""
    similar: tuple[Similar, ...] = ()
    """Others that say nearly the same."""
    created_at: str
    updated_at: str
    entity: EntityView | None = None
    """With ``include_entity``: all of it."""


def _moment(at_ms: int) -> str:
    return format_time(min(max(at_ms, _FIRST_MS), _LAST_MS))


def _perhaps(at_ms: int | None) -> str | None:
    return None if at_ms is None else _moment(at_ms)


def _bound_ms(text: str | None, field: str) -> int | None:
    return None if text is None else parse_time(text, field)


def entity_id(key: EntityKey) -> str:
    """The id of the entity of a key."""
    return f"{key.scope.key}/{key.name}"


def entity_view(entity: Entity, *, observations: bool = True) -> EntityView:
    """An entity as it is shown, with its observations or without."""
    seen = entity.observations if observations else ()
    return EntityView(
        entity_id=entity_id(entity.key),
        entity_name=entity.entity_name,
        entity_type=entity.entity_type,
        memory_scope=entity.scope.key,
        observations=tuple(
            ObservationView(one.text, _moment(one.at_ms), one.source) for one in seen
        ),
        metadata=entity.metadata,
        valid_from=_perhaps(entity.valid_from_ms),
        valid_to=_perhaps(entity.valid_to_ms),
        importance=entity.importance,
        created_at=_moment(entity.created_ms),
        updated_at=_moment(entity.updated_ms),
        version=entity.version,
    )


def observation_of(view: ObservationView) -> Observation:
    """The observation that is shown.

    Raises:
        ValidationError: its time is none.
    """
    return Observation(view.text, parse_time(view.at, "at"), view.source)


def entity_of(view: EntityView) -> Entity:
    """The entity that is shown.

    Raises:
        ValidationError: a time or the scope is none.
    """
    return Entity(
        scope=Scope.parse(view.memory_scope),
        entity_name=view.entity_name,
        entity_type=view.entity_type,
        observations=tuple(observation_of(one) for one in view.observations),
        metadata=view.metadata,
        valid_from_ms=_bound_ms(view.valid_from, "valid_from"),
        valid_to_ms=_bound_ms(view.valid_to, "valid_to"),
        importance=view.importance,
        created_ms=parse_time(view.created_at, "created_at"),
        updated_ms=parse_time(view.updated_at, "updated_at"),
        version=view.version,
    )


def relation_view(relation: Relation) -> RelationView:
    """A relation as it is shown."""
    return RelationView(
        from_entity=relation.from_entity,
        to_entity=relation.to_entity,
        relation_type=relation.relation_type,
        memory_scope=relation.scope.key,
        strength=relation.strength,
        confidence=relation.confidence,
        metadata=relation.metadata,
        valid_from=_perhaps(relation.valid_from_ms),
        valid_to=_perhaps(relation.valid_to_ms),
        created_at=_moment(relation.created_ms),
        updated_at=_moment(relation.updated_ms),
        version=relation.version,
    )


def relation_of(view: RelationView) -> Relation:
    """The relation that is shown.

    Raises:
        ValidationError: a time or the scope is none.
    """
    return Relation(
        scope=Scope.parse(view.memory_scope),
        from_entity=view.from_entity,
        to_entity=view.to_entity,
        relation_type=view.relation_type,
        strength=view.strength,
        confidence=view.confidence,
        metadata=view.metadata,
        valid_from_ms=_bound_ms(view.valid_from, "valid_from"),
        valid_to_ms=_bound_ms(view.valid_to, "valid_to"),
        created_ms=parse_time(view.created_at, "created_at"),
        updated_ms=parse_time(view.updated_at, "updated_at"),
        version=view.version,
    )


def stored_view(stored: StoredEntity, *, whole: bool = False) -> StoredView:
    """What became of an entity; ``whole`` shows all of it."""
    entity = stored.entity
    return StoredView(
        entity_id=entity_id(entity.key),
        entity_name=entity.entity_name,
        entity_type=entity.entity_type,
        memory_scope=entity.scope.key,
        created=stored.created,
        added=stored.added,
        observation_count=len(entity.observations),
        version=entity.version,
        embedding_generated=stored.embedding_generated,
        similar=stored.similar,
        created_at=_moment(entity.created_ms),
        updated_at=_moment(entity.updated_ms),
        entity=entity_view(entity) if whole else None,
    )


def stored_of(view: StoredView) -> StoredEntity:
    """What is shown, when it is shown whole.

    Raises:
        ValidationError: it is not.
    """
    if view.entity is None:
        raise ValidationError(field="entity", value="nothing", allowed="the whole entity")
    return StoredEntity(
        entity_of(view.entity), view.created, view.added, view.embedding_generated, view.similar
    )
