"""From changes to a plan, and from a plan to points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from qdrant_client import models

from caxton.memory.backend import Change, ModelInfo
from caxton.memory.model import Entity, EntityKey, Relation, RelationKey
from caxton.memory.net_change import Known, NetChange, net_change, touched
from caxton.memory.qdrant.journal import Plan
from caxton.memory.qdrant.points import (
    WORDS,
    entity_id,
    entity_payload,
    ids_filter,
    model_digest,
    relation_id,
    relation_payload,
    shown_facts,
    text_words,
    touching,
)
from caxton.memory.qdrant.server import Server

__all__ = ["Writing"]

POINTS: Final = 200
"""Most points of one request."""
REQUEST_BYTES: Final = 2_000_000
"""Most bytes of records or vectors in one request; as JSON they are several times that."""
T = TypeVar("T")


class Writing:
    """Makes plans and carries them out.

    Args:
        server: where the points are.
        model: whose vectors are written.
    """

    def __init__(self, server: Server, model: ModelInfo | None) -> None:
        self._server = server
        self._digest = "" if model is None else model_digest(model)
        self._dimension = 0 if model is None else model.dimension

    async def plan(self, changes: Sequence[Change]) -> Plan:
        """What ``changes`` come to.

        Raises:
            EntityNotFound, RelationNotFound, EntityConflict: as ``MemoryBackend.write``.
        """
        server, on = self._server, touched(changes)
        ids = {entity_id(key): key for key in on.entities}
        relation_ids = {relation_id(key): key for key in on.relations}
        kept: dict[EntityKey, dict[str, Any]] = {}
        for some in _pieces(list(ids)):
            found = await server.retrieve(server.entities, some, ("version", "model", "parts"))
            kept |= {ids[point]: row for point, row in found.items()}
        versions: dict[RelationKey, int] = {}
        for some in _pieces(list(relation_ids)):
            found = await server.retrieve(server.relations, some, ("version",))
            versions |= {relation_ids[point]: row["version"] for point, row in found.items()}
        known = Known({key: row["version"] for key, row in kept.items()}, versions)
        return self._plan(net_change(changes, known), kept)

    def _plan(self, change: NetChange, kept: dict[EntityKey, dict[str, Any]]) -> Plan:
        entities, vectors, bare = [], [], []
        for one in change.entities:
            model, parts, point = "", 0, entity_id(one.entity.key)
            if one.vectors is not None and len(one.vectors) and self._digest:
                model, parts = self._digest, len(one.vectors)
                vectors.append((point, np.ascontiguousarray(one.vectors, "<f4").tobytes()))
            if one.keeps:
                model, parts = kept[one.entity.key]["model"], kept[one.entity.key]["parts"]
            elif one.entity.key in kept:
                bare.append(point)
            entities.append((msgspec.json.encode(one.entity), model, parts))
        return Plan(
            removed_entities=tuple(entity_id(key) for key in change.removed_entities),
            removed_relations=tuple(relation_id(key) for key in change.removed_relations),
            entities=tuple(entities),
            vectors=tuple(vectors),
            model=self._digest,
            dimension=self._dimension,
            bare=tuple(bare),
            relations=tuple(msgspec.json.encode(one) for one in change.relations),
        )

    async def carry_out(self, plan: Plan) -> None:
        """Do all of a plan, also when some of it, or all, was done before."""
        server = self._server
        for some in _pieces(plan.removed_entities):
            await self._delete(server.relations, touching(some, "from", "to"))
        for some in _pieces(plan.removed_relations):
            await self._delete(server.relations, ids_filter(some))
        await self._unveil(plan)
        entities = [
            (msgspec.json.decode(record, type=Entity), model, parts)
            for record, model, parts in plan.entities
        ]
        written = {entity_id(one.key) for one, _, _ in entities}
        gone = [point for point in plan.removed_entities if point not in written]
        for some in _pieces(gone):
            await self._delete(server.entities, ids_filter(some))
        await self._put_vectors(plan, {entity_id(one.key): one for one, _, _ in entities})
        await self._follow(entities, {point for point, _ in plan.vectors})
        await self._put(
            server.entities,
            (
                (_entity_point(one, model, parts), len(record))
                for (one, model, parts), (record, _, _) in zip(entities, plan.entities, strict=True)
            ),
        )
        relations = (
            (msgspec.json.decode(record, type=Relation), len(record)) for record in plan.relations
        )
        await self._put(server.relations, ((_relation_point(one), size) for one, size in relations))

    async def _unveil(self, plan: Plan) -> None:
        """Remove vectors that are no longer right, of any model."""
        anew = {point for point, _ in plan.vectors}
        lost = dict.fromkeys((*plan.removed_entities, *plan.bare))
        for collection in self._server.all_vectors:
            here = collection == self._server.vectors_of(plan.model)
            ids = [point for point in lost if not (here and point in anew)]
            for some in _pieces(ids):
                await self._delete(collection, ids_filter(some))

    async def _put_vectors(self, plan: Plan, entities: dict[str, Entity]) -> None:
        collection = self._server.vectors_of(plan.model)
        if collection in self._server.all_vectors:
            await self._put(
                collection,
                (
                    (_vector_point(point, data, plan.dimension, entities[point]), len(data))
                    for point, data in plan.vectors
                ),
            )

    async def _follow(self, entities: Sequence[tuple[Entity, str, int]], anew: set[str]) -> None:
        """What selections look at, on the vectors that entities keep."""
        for entity, model, parts in entities:
            collection, point = self._server.vectors_of(model), entity_id(entity.key)
            if parts and point not in anew and collection in self._server.all_vectors:
                async with self._server.asking("a write", writes=True):
                    await self._server.client.set_payload(
                        collection, shown_facts(entity), ids_filter([point]), wait=True
                    )

    async def _put(self, collection: str, points: Iterator[tuple[models.PointStruct, int]]) -> None:
        batch: list[models.PointStruct] = []
        size = 0
        for point, weight in points:
            if batch and (len(batch) >= POINTS or size + weight > REQUEST_BYTES):
                await self._upsert(collection, batch)
                batch, size = [], 0
            batch.append(point)
            size += weight
        if batch:
            await self._upsert(collection, batch)

    async def _upsert(self, collection: str, points: list[models.PointStruct]) -> None:
        async with self._server.asking("a write", writes=True):
            await self._server.client.upsert(collection, points, wait=True)

    async def _delete(self, collection: str, chosen: models.Filter) -> None:
        async with self._server.asking("a write", writes=True):
            await self._server.client.delete(
                collection, models.FilterSelector(filter=chosen), wait=True
            )


def _entity_point(entity: Entity, model: str, parts: int) -> models.PointStruct:
    words = text_words(entity)
    return models.PointStruct(
        id=entity_id(entity.key),
        vector={} if words is None else {WORDS: words},
        payload=entity_payload(entity, model, parts),
    )


def _relation_point(relation: Relation) -> models.PointStruct:
    return models.PointStruct(
        id=relation_id(relation.key), vector={}, payload=relation_payload(relation)
    )


def _vector_point(point: str, data: bytes, dimension: int, entity: Entity) -> models.PointStruct:
    rows = np.frombuffer(data, "<f4").reshape(-1, dimension)
    return models.PointStruct(id=point, vector=rows.tolist(), payload=shown_facts(entity))


def _pieces(items: Sequence[T]) -> Iterator[list[T]]:
    for i in range(0, len(items), POINTS):
        yield list(items[i : i + POINTS])
