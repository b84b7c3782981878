"""What becomes of an entity or relation when more of it is told. Changes nothing by itself."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from caxton.errors import EntityConflict
from caxton.memory.checks import check_metadata, check_times, check_whole
from caxton.memory.model import Entity, Observation, Relation, Scope, fold
from caxton.memory.requests import EntityDraft, RelationDraft

__all__ = ["drop", "joined", "note", "plain", "related", "remembered", "renewed"]

_VALID: Final = ("valid_from_ms", "valid_to_ms")


def plain(text: str) -> str:
    """A text as two observations are compared: NFC, runs of white space as one space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def joined(
    there: Sequence[Observation], more: Iterable[Observation]
) -> tuple[tuple[Observation, ...], int]:
    """Observations with those that are new among ``more``, and how many those are."""
    known = {plain(one.text) for one in there}
    added = []
    for one in more:
        text = plain(one.text)
        if text not in known:
            known.add(text)
            added.append(one)
    return (*there, *added), len(added)


def note(
    entity: Entity, texts: Sequence[str], source: str, now_ms: int, *, once: bool = False
) -> tuple[Entity, int]:
    """An entity with more observations; the same one when it has all of them.

    Raises:
        ValidationError: it would be too large.
    """
    if once and source and any(one.source == source for one in entity.observations):
        return entity, 0
    more = [Observation(text, now_ms, source) for text in texts]
    observations, added = joined(entity.observations, more)
    if not added:
        return entity, 0
    check_whole([one.text for one in observations])
    return msgspec.structs.replace(entity, observations=observations), added


def drop(entity: Entity, texts: Sequence[str]) -> tuple[Entity, int]:
    """An entity without the observations that say ``texts``, and how many those were."""
    gone = {plain(text) for text in texts}
    left = tuple(one for one in entity.observations if plain(one.text) not in gone)
    return msgspec.structs.replace(entity, observations=left), len(entity.observations) - len(left)


def remembered(
    there: Entity | None, draft: EntityDraft, scope: Scope, now_ms: int
) -> tuple[Entity, int]:
    """The entity that a draft makes, of nothing or of the one that is there; and how many
    observations are new. The same one when nothing is.

    Raises:
        EntityConflict: the one that is there has another type.
        ValidationError: it would be too large, or would end before it begins.
    """
    if there is None:
        made = Entity(
            scope=scope,
            entity_name=" ".join(draft.entity_name.split()),
            entity_type=draft.entity_type.strip(),
            metadata=draft.metadata,
            valid_from_ms=draft.valid_from_ms,
            valid_to_ms=draft.valid_to_ms,
            importance=0.5 if draft.importance is None else float(draft.importance),
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        return note(made, draft.observations, draft.source, now_ms)
    if fold(there.entity_type) != fold(draft.entity_type):
        raise EntityConflict(
            entity_name=there.entity_name,
            memory_scope=scope.key,
            reason=f"its type is `{there.entity_type}`, not `{draft.entity_type}`",
        )
    entity, added = note(there, draft.observations, draft.source, now_ms, once=draft.once)
    given = {name: getattr(draft, name) for name in _VALID if getattr(draft, name) is not None}
    if draft.importance is not None:
        given["importance"] = float(draft.importance)
    metadata = {**there.metadata, **draft.metadata}
    entity = msgspec.structs.replace(entity, metadata=metadata, **given)
    check_times(entity.valid_from_ms, entity.valid_to_ms, _VALID)
    check_metadata(metadata)
    return (there, 0) if entity == there else (renewed(entity, now_ms), added)


def renewed(entity: Entity, now_ms: int) -> Entity:
    """The next version of an entity."""
    return msgspec.structs.replace(entity, version=entity.version + 1, updated_ms=now_ms)


def related(
    there: Relation | None, draft: RelationDraft, ends: tuple[Entity, Entity], now_ms: int
) -> Relation:
    """The relation that a draft makes between two entities; the one there when nothing is new.

    Raises:
        ValidationError: it would end before it begins, or hold too much.
    """
    if there is None:
        return Relation(
            scope=ends[0].scope,
            from_entity=ends[0].entity_name,
            to_entity=ends[1].entity_name,
            relation_type=draft.relation_type.strip(),
            strength=0.5 if draft.strength is None else float(draft.strength),
            confidence=1.0 if draft.confidence is None else float(draft.confidence),
            metadata=draft.metadata,
            valid_from_ms=draft.valid_from_ms,
            valid_to_ms=draft.valid_to_ms,
            created_ms=now_ms,
            updated_ms=now_ms,
        )
    names = ("strength", "confidence", *_VALID)
    given = {name: getattr(draft, name) for name in names if getattr(draft, name) is not None}
    metadata = {**there.metadata, **draft.metadata}
    made = msgspec.structs.replace(there, metadata=metadata, **given)
    check_times(made.valid_from_ms, made.valid_to_ms, _VALID)
    check_metadata(metadata)
    if made == there:
        return there
    return msgspec.structs.replace(made, version=made.version + 1, updated_ms=now_ms)
