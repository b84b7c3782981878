"""What the conformance tests write: entities, relations, vectors of a known direction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

import numpy as np

from caxton.memory.backend import (
    Candidate,
    CandidateQuery,
    MemoryBackend,
    ModelInfo,
    PutEntity,
    PutRelation,
    Selection,
    Vectors,
)
from caxton.memory.model import GLOBAL, WORKSPACE, Entity, Observation, Relation, Scope

MODEL = ModelInfo("plain", 8, "ab" * 32)
OTHER_MODEL = ModelInfo("other", 8, "cd" * 32)
WIDER_MODEL = ModelInfo("wider", 12, "ef" * 32)
ANN = Scope.of_agent("ann")
BOB = Scope.of_agent("bob")
SCOPES = (ANN, BOB, WORKSPACE, GLOBAL)
DEADLINE_S = 60.0

T = TypeVar("T")


def seen(*texts: str, at_ms: int = 1_000) -> tuple[Observation, ...]:
    """Observations of these texts."""
    return tuple(Observation(text, at_ms + i, f"m{i}") for i, text in enumerate(texts))


def entity(name: str, *texts: str, scope: Scope = WORKSPACE, **fields: Any) -> Entity:
    """An entity of type ``thing`` unless told otherwise."""
    fields.setdefault("entity_type", "thing")
    fields.setdefault("created_ms", 1_000)
    fields.setdefault("updated_ms", 2_000)
    return Entity(scope=scope, entity_name=name, observations=seen(*texts), **fields)


def relation(
    start: str, kind: str, end: str, *, scope: Scope = WORKSPACE, **fields: Any
) -> Relation:
    """A relation from ``start`` to ``end``."""
    return Relation(scope, start, end, kind, **fields)


def unit(*weights: float, dimension: int = MODEL.dimension) -> Vectors:
    """One vector of length 1 whose first parts have these weights."""
    row = np.zeros((1, dimension), np.float32)
    row[0, : len(weights)] = weights
    return row / np.float32(np.linalg.norm(row))


def drawn(seed: int, count: int, dimension: int = MODEL.dimension) -> Vectors:
    """Vectors of length 1 drawn by seed."""
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).astype(np.float32)


async def put(
    backend: MemoryBackend,
    *entities: Entity,
    vectors: Vectors | None = None,
    restored: bool = False,
) -> None:
    """Write entities, all with the same vectors."""
    await backend.write([PutEntity(one, vectors, restored) for one in entities])


async def relate(backend: MemoryBackend, *relations: Relation) -> None:
    """Write relations."""
    await backend.write([PutRelation(one) for one in relations])


async def every(rows: AsyncIterator[T]) -> list[T]:
    """All of an iterator, within a deadline."""
    async with asyncio.timeout(DEADLINE_S):
        return [row async for row in rows]


async def names(backend: MemoryBackend, selection: Selection | None = None) -> list[str]:
    """Names of what a scan gives."""
    rows = await every(backend.scan(selection or Selection()))
    return [row.entity.entity_name for row in rows]


async def find(
    backend: MemoryBackend,
    text: str = "",
    vector: Vectors | None = None,
    *,
    limit: int = 10,
    selection: Selection | None = None,
) -> dict[str, Candidate]:
    """Candidates by name; one name in several scopes is given once for each, so take care."""
    query = CandidateQuery(selection or Selection(), limit, text, vector)
    found = await backend.candidates(query)
    keys = [one.entity.key for one in found]
    assert len(set(keys)) == len(keys), "each once"
    return {one.entity.entity_name: one for one in found}


def same(one: Sequence[Entity | None], other: Sequence[Entity | None]) -> bool:
    """Whether both are the same entities, in order."""
    return list(one) == list(other)
