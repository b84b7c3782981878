"""Entities and relations as points: their ids, payloads, vectors, and the filters of selections."""

from __future__ import annotations

import hashlib
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from qdrant_client import models

from caxton.memory.backend import ModelInfo, Selection
from caxton.memory.embedded.tokens import text_terms
from caxton.memory.model import (
    Entity,
    EntityKey,
    Relation,
    RelationKey,
    Scope,
    embedding_text,
)

__all__ = [
    "WORDS",
    "chosen",
    "entity_id",
    "entity_of",
    "entity_payload",
    "ids_filter",
    "model_digest",
    "query_words",
    "relation_id",
    "relation_of",
    "relation_payload",
    "scopes_filter",
    "shown_facts",
    "text_words",
    "touching",
]

WORDS: Final = "words"
"""Name of the sparse vector."""
NAMESPACE: Final = uuid.UUID("3b1f0c2e-5c7b-5a57-9d53-6b5f1d5f7c11")
K1: Final = 1.2
B: Final = 0.75
USUAL_LENGTH: Final = 64
"""Terms of a usual entity. The server knows how rare a word is, not how long texts are."""
EARLIEST: Final = -(2**53)
LATEST: Final = 2**53
"""What stands for no bound: the server compares in double precision."""


def entity_id(key: EntityKey) -> str:
    """Id of an entity's points."""
    return str(uuid.uuid5(NAMESPACE, f"{key.scope.key}\n{key.name}"))


def relation_id(key: RelationKey) -> str:
    """Id of a relation's point."""
    parts = (key.scope.key, key.from_entity, key.to_entity, key.relation_type)
    return str(uuid.uuid5(NAMESPACE, "\n".join(parts)))


def model_digest(model: ModelInfo) -> str:
    """What tells vectors of one model from those of another."""
    said = f"{model.sha256}/{model.dimension}"
    return hashlib.blake2s(said.encode(), digest_size=6).hexdigest()


def shown_facts(entity: Entity) -> dict[str, Any]:
    """What selections look at."""
    starts, ends = entity.valid_from_ms, entity.valid_to_ms
    return {
        "scope": entity.scope.key,
        "entity_type": entity.entity_type,
        "starts": EARLIEST if starts is None else max(EARLIEST, min(starts, LATEST)),
        "ends": LATEST if ends is None else max(EARLIEST, min(ends, LATEST)),
    }


def entity_payload(entity: Entity, model: str | None, parts: int) -> dict[str, Any]:
    """All of an entity but its vectors.

    Args:
        model: digest of the model of its vectors; None without.
        parts: how many vectors it has.
    """
    return {
        **shown_facts(entity),
        "entity_name": entity.entity_name,
        "version": entity.version,
        "seen": len(entity.observations),
        "parts": parts,
        "model": model or "",
        "record": msgspec.json.encode(entity).decode(),
    }


def entity_of(payload: dict[str, Any]) -> Entity:
    """The entity of a payload.

    Raises:
        KeyError, MsgspecError: there is none in it.
    """
    return msgspec.json.decode(payload["record"], type=Entity)


def relation_payload(relation: Relation) -> dict[str, Any]:
    """All of a relation."""
    key = relation.key
    return {
        "scope": relation.scope.key,
        "from": entity_id(EntityKey(key.scope, key.from_entity)),
        "to": entity_id(EntityKey(key.scope, key.to_entity)),
        "relation_type": relation.relation_type,
        "version": relation.version,
        "record": msgspec.json.encode(relation).decode(),
    }


def relation_of(payload: dict[str, Any]) -> Relation:
    """The relation of a payload.

    Raises:
        KeyError, MsgspecError: there is none in it.
    """
    return msgspec.json.decode(payload["record"], type=Relation)


def text_words(entity: Entity) -> models.SparseVector | None:
    """The words of an entity, each weighed by how often it occurs; None without words."""
    terms = text_terms(embedding_text(entity))
    counts = Counter(_place(term) for term in terms)
    if not counts:
        return None
    long = K1 * (1 - B + B * len(terms) / USUAL_LENGTH)
    places = sorted(counts)
    return models.SparseVector(
        indices=places,
        values=[counts[place] * (K1 + 1) / (counts[place] + long) for place in places],
    )


def query_words(terms: Iterable[str]) -> models.SparseVector | None:
    """Words to look for; how rare they are is the server's to weigh. None without words."""
    places = sorted({_place(term) for term in terms})
    if not places:
        return None
    return models.SparseVector(indices=places, values=[1.0] * len(places))


def _place(term: str) -> int:
    """Where a word is in a sparse vector; two of a vocabulary share one rarely."""
    return zlib.crc32(term.encode())


def chosen(selection: Selection) -> models.Filter | None:
    """A filter that the entities of a selection pass; None when all do."""
    must: list[models.Condition] = []
    if selection.scopes is not None:
        must.append(_any("scope", [scope.key for scope in selection.scopes]))
    if selection.entity_types:
        must.append(_any("entity_type", list(selection.entity_types)))
    if selection.to_ms is not None:
        latest = max(EARLIEST, min(selection.to_ms, LATEST))
        must.append(models.FieldCondition(key="starts", range=models.Range(lte=latest)))
    if selection.from_ms is not None:
        earliest = max(EARLIEST, min(selection.from_ms, LATEST - 1))
        must.append(models.FieldCondition(key="ends", range=models.Range(gt=earliest)))
    return models.Filter(must=must) if must else None


def scopes_filter(scopes: Sequence[Scope] | None) -> models.Filter | None:
    """A filter for what is in some scopes; None for all of them."""
    if scopes is None:
        return None
    return models.Filter(must=[_any("scope", [scope.key for scope in scopes])])


def touching(ids: Sequence[str], *ways: str) -> models.Filter:
    """A filter for the relations whose ``from`` or ``to`` is one of ``ids``."""
    return models.Filter(should=[_any(way, list(ids)) for way in ways])


def ids_filter(ids: Sequence[str]) -> models.Filter:
    """A filter for the points of these ids that are there."""
    return models.Filter(must=[models.HasIdCondition(has_id=list(ids))])


def _any(key: str, values: list[str]) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchAny(any=values))
