"""Entities and relations as properties of nodes and relationships that people can read."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np

from caxton.memory.backend import ModelInfo, Vectors
from caxton.memory.embedded.tokens import text_terms
from caxton.memory.model import (
    Entity,
    EntityKey,
    Observation,
    Relation,
    RelationKey,
    Scope,
    embedding_text,
)

__all__ = [
    "entity_of",
    "entity_properties",
    "key_text",
    "model_text",
    "relation_of",
    "relation_properties",
    "relation_text",
    "split_key",
    "vector_properties",
    "vectors_of",
    "words_text",
]

PART: Final = "\n"
"""Parts of a key. It cannot be in a folded name: runs of white space are one space there."""


def key_text(key: EntityKey) -> str:
    """The property ``key`` of an entity's node."""
    return f"{key.scope.key}{PART}{key.name}"


def split_key(text: str) -> EntityKey:
    """The key that ``key_text`` made a text of."""
    scope, _, name = text.partition(PART)
    return EntityKey(Scope.parse(scope), name)


def relation_text(key: RelationKey) -> str:
    """The property ``key`` of a relationship."""
    return PART.join((key.scope.key, key.from_entity, key.to_entity, key.relation_type))


def model_text(model: ModelInfo) -> str:
    """What tells vectors of one model from those of another."""
    return f"{model.sha256}/{model.dimension}"


def words_text(entity: Entity) -> tuple[str, int]:
    """The words it is found by, each between spaces of its own, and how many they are."""
    words = text_terms(embedding_text(entity))
    return "".join(f" {word} " for word in words), len(words)


def entity_properties(entity: Entity) -> dict[str, Any]:
    """All properties of an entity but its vectors; None where there is no such property."""
    words, length = words_text(entity)
    return {
        "key": key_text(entity.key),
        "scope": entity.scope.key,
        "entity_name": entity.entity_name,
        "entity_type": entity.entity_type,
        "observations": [one.text for one in entity.observations],
        "observed_ms": [one.at_ms for one in entity.observations],
        "observed_in": [one.source for one in entity.observations],
        "metadata": msgspec.json.encode(entity.metadata).decode(),
        "valid_from_ms": entity.valid_from_ms,
        "valid_to_ms": entity.valid_to_ms,
        "importance": float(entity.importance),
        "created_ms": entity.created_ms,
        "updated_ms": entity.updated_ms,
        "version": entity.version,
        "words": words,
        "length": length,
    }


def entity_of(found: dict[str, Any]) -> Entity:
    """The entity of a node's properties.

    Raises:
        KeyError, TypeError, ValueError, ValidationError: they are none.
    """
    return Entity(
        scope=Scope.parse(found["scope"]),
        entity_name=found["entity_name"],
        entity_type=found["entity_type"],
        observations=tuple(
            Observation(text, at_ms, source)
            for text, at_ms, source in zip(
                found["observations"], found["observed_ms"], found["observed_in"], strict=True
            )
        ),
        metadata=msgspec.json.decode(found["metadata"], type=dict[str, Any]),
        valid_from_ms=found.get("valid_from_ms"),
        valid_to_ms=found.get("valid_to_ms"),
        importance=found["importance"],
        created_ms=found["created_ms"],
        updated_ms=found["updated_ms"],
        version=found["version"],
    )


def relation_properties(relation: Relation) -> dict[str, Any]:
    """All properties of a relation."""
    return {
        "key": relation_text(relation.key),
        "scope": relation.scope.key,
        "from_entity": relation.from_entity,
        "to_entity": relation.to_entity,
        "relation_type": relation.relation_type,
        "strength": float(relation.strength),
        "confidence": float(relation.confidence),
        "metadata": msgspec.json.encode(relation.metadata).decode(),
        "valid_from_ms": relation.valid_from_ms,
        "valid_to_ms": relation.valid_to_ms,
        "created_ms": relation.created_ms,
        "updated_ms": relation.updated_ms,
        "version": relation.version,
    }


def relation_of(found: dict[str, Any]) -> Relation:
    """The relation of a relationship's properties.

    Raises:
        KeyError, TypeError, ValueError, ValidationError: they are none.
    """
    return Relation(
        scope=Scope.parse(found["scope"]),
        from_entity=found["from_entity"],
        to_entity=found["to_entity"],
        relation_type=found["relation_type"],
        strength=found["strength"],
        confidence=found["confidence"],
        metadata=msgspec.json.decode(found["metadata"], type=dict[str, Any]),
        valid_from_ms=found.get("valid_from_ms"),
        valid_to_ms=found.get("valid_to_ms"),
        created_ms=found["created_ms"],
        updated_ms=found["updated_ms"],
        version=found["version"],
    )


def vector_properties(vectors: Vectors | None, model: ModelInfo | None) -> dict[str, Any]:
    """The properties that hold an entity's vectors: all parts in one, float32, little-endian."""
    if vectors is None or model is None or not len(vectors):
        return {"model": None, "parts": None, "vectors": None}
    return {
        "model": model_text(model),
        "parts": len(vectors),
        "vectors": np.ascontiguousarray(vectors, "<f4").tobytes(),
    }


def vectors_of(data: bytes | None, dimension: int) -> Vectors | None:
    """The vectors of such a property.

    Raises:
        ValueError: its length is not that of whole vectors.
    """
    if data is None:
        return None
    return np.frombuffer(bytes(data), "<f4").reshape(-1, dimension).astype(np.float32)
