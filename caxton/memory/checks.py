"""What a request may hold: each field is checked once, before anything is done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from caxton.errors import EntityTooLarge, ValidationError
from caxton.memory.model import (
    Confidence,
    EntityBytes,
    EntityName,
    EntityType,
    Importance,
    MetadataBytes,
    ObservationBytes,
    ObservationCount,
    RelationType,
    Strength,
    TimeMs,
    fold,
)
from caxton.memory.requests import EntityDraft, RelationDraft, RelationName
from caxton.types import Bound

__all__ = [
    "check_count",
    "check_draft",
    "check_metadata",
    "check_name",
    "check_number",
    "check_observations",
    "check_relation",
    "check_relation_name",
    "check_text",
    "check_times",
    "check_types",
    "check_whole",
]

_DEEPEST: Final = 20
_INTEGERS: Final = (-(2**63), 2**64 - 1)
_SOURCE: Final = Bound("source", str, 0, 200)
_TYPES: Final = 100


def check_text(bound: Bound[str], value: object, field: str) -> str:
    """A text that is more than spaces, within ``bound``.

    Raises:
        ValidationError: it is not.
    """
    text = bound.parse(value, field)
    _encoded(text, field)
    if not fold(text):
        raise ValidationError(field=field, value=text, allowed=f"{bound.allowed}, not only spaces")
    return text


def _encoded(text: str, field: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValidationError(
            field=field, value=ascii(text), allowed="text of valid Unicode characters"
        ) from None


def check_number(bound: Bound[Any], value: object, field: str) -> None:
    """Raises:
    ValidationError: ``value`` is no number within ``bound``.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValidationError(field=field, value=value, allowed=bound.allowed)
    bound.parse(value, field)


def check_count(items: Sequence[object], low: int, high: int, field: str) -> None:
    """Raises:
    ValidationError: there are fewer or more than allowed.
    """
    if not low <= len(items) <= high:
        allowed = f"{low:,} to {high:,} of them"
        raise ValidationError(field=field, value=f"{len(items):,}", allowed=allowed)


def check_name(name: object, field: str = "entity_name") -> None:
    """Raises:
    ValidationError: no entity can be called so.
    """
    check_text(EntityName, name, field)


def check_types(types: Sequence[object], field: str = "entity_types") -> None:
    """Raises:
    ValidationError: one of them is no type.
    """
    check_count(types, 0, _TYPES, field)
    bound = RelationType if field == "relation_types" else EntityType
    for number, one in enumerate(types):
        check_text(bound, one, f"{field}[{number}]")


def check_observations(
    texts: Sequence[object], source: object, *, least: int = 0, field: str = "observations"
) -> None:
    """Raises:
    ValidationError: one is empty, or there are too many.
    EntityTooLarge: one is too long, or all are together.
    """
    check_count(texts, least, int(ObservationCount.high), field)
    total = 0
    for number, text in enumerate(texts):
        where = f"{field}[{number}]"
        if not isinstance(text, str):
            raise ValidationError(field=where, value=text, allowed="text")
        size = len(_encoded(text, where))
        if not text.strip():
            allowed = f"{ObservationBytes.allowed}, not only spaces"
            raise ValidationError(field=where, value=text, allowed=allowed)
        if size > ObservationBytes.high:
            raise EntityTooLarge(field=where, size=size, limit=int(ObservationBytes.high))
        total += size
    _check_total(total, field)
    _encoded(_SOURCE.parse(source, "source"), "source")


def _check_total(size: int, field: str) -> None:
    if size > EntityBytes.high:
        raise EntityTooLarge(field=field, size=size, limit=int(EntityBytes.high))


def check_whole(texts: Sequence[str]) -> None:
    """Look at all observations of an entity as it would be.

    Raises:
        ValidationError: there are too many.
        EntityTooLarge: they are too long together.
    """
    check_count(texts, 0, int(ObservationCount.high), "observations")
    _check_total(sum(len(text.encode()) for text in texts), "observations")


def check_metadata(metadata: object, field: str = "metadata") -> None:
    """Raises:
    ValidationError: it is not what JSON can say, or too large.
    """
    if not isinstance(metadata, dict):
        raise ValidationError(field=field, value=metadata, allowed="an object")
    _check_json(metadata, field, 0)
    size = len(msgspec.json.encode(metadata))
    if size > MetadataBytes.high:
        raise ValidationError(field=field, value=f"{size:,} bytes", allowed=MetadataBytes.allowed)


def _check_json(value: object, field: str, depth: int) -> None:
    if depth > _DEEPEST:
        allowed = f"at most {_DEEPEST} levels"
        raise ValidationError(field=field, value="deeper", allowed=allowed)
    if isinstance(value, dict):
        for key, one in value.items():
            if not isinstance(key, str):
                raise ValidationError(field=field, value=key, allowed="keys that are texts")
            _encoded(key, field)
            _check_json(one, f"{field}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            _check_json(one, f"{field}[{number}]", depth + 1)
    elif isinstance(value, str):
        _encoded(value, field)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValidationError(field=field, value=value, allowed="a finite number")
    elif isinstance(value, int):
        if not _INTEGERS[0] <= value <= _INTEGERS[1]:
            raise ValidationError(field=field, value=value, allowed="an integer of 64 bits")
    elif value is not None:
        allowed = "null, a truth value, number, text, list or object"
        raise ValidationError(field=field, value=value, allowed=allowed)


def check_times(start_ms: object, end_ms: object, names: tuple[str, str]) -> None:
    """Raises:
    ValidationError: one is no time, or the end is not after the start.
    """
    for value, name in zip((start_ms, end_ms), names, strict=True):
        if value is not None:
            check_number(TimeMs, value, name)
    if isinstance(start_ms, int) and isinstance(end_ms, int) and end_ms < start_ms:
        allowed = f"not before `{names[0]}`, which is {start_ms}"
        raise ValidationError(field=names[1], value=end_ms, allowed=allowed)


def check_draft(draft: EntityDraft, field: str) -> None:
    """Raises:
    ValidationError: a field of an entity is out of its range.
    """
    check_name(draft.entity_name, f"{field}.entity_name")
    check_text(EntityType, draft.entity_type, f"{field}.entity_type")
    check_observations(draft.observations, draft.source, field=f"{field}.observations")
    check_metadata(draft.metadata, f"{field}.metadata")
    names = f"{field}.valid_from_ms", f"{field}.valid_to_ms"
    check_times(draft.valid_from_ms, draft.valid_to_ms, names)
    if draft.importance is not None:
        check_number(Importance, draft.importance, f"{field}.importance")


def check_relation_name(name: RelationName | RelationDraft, field: str) -> None:
    """Raises:
    ValidationError: no relation can be called so.
    """
    check_name(name.from_entity, f"{field}.from_entity")
    check_name(name.to_entity, f"{field}.to_entity")
    check_text(RelationType, name.relation_type, f"{field}.relation_type")


def check_relation(draft: RelationDraft, field: str) -> None:
    """Raises:
    ValidationError: a field of a relation is out of its range.
    """
    check_relation_name(draft, field)
    for bound, value, name in (
        (Strength, draft.strength, "strength"),
        (Confidence, draft.confidence, "confidence"),
    ):
        if value is not None:
            check_number(bound, value, f"{field}.{name}")
    check_metadata(draft.metadata, f"{field}.metadata")
    names = f"{field}.valid_from_ms", f"{field}.valid_to_ms"
    check_times(draft.valid_from_ms, draft.valid_to_ms, names)
