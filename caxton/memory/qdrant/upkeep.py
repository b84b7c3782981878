"""Looking at all points, counting them, and giving room back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from qdrant_client import models

from caxton.errors import ValidationError
from caxton.memory.backend import BackendStats, Fault, ModelInfo
from caxton.memory.model import EntityKey
from caxton.memory.qdrant.points import (
    entity_id,
    entity_of,
    ids_filter,
    model_digest,
    relation_id,
    relation_of,
    shown_facts,
)
from caxton.memory.qdrant.server import Server

__all__ = ["Upkeep", "lacking"]

PAGE: Final = 200
MOST_KINDS: Final = 10_000
"""Most scopes, and most types, that are counted one by one."""
UNREADABLE: Final = (KeyError, ValidationError, msgspec.MsgspecError)
FACTS: Final = ("scope", "entity_type", "starts", "ends")


def lacking(model: ModelInfo | None) -> models.Filter | None:
    """A filter for the entities without vectors of ``model``; None, for all, without a model."""
    if model is None:
        return None
    held = models.MatchValue(value=model_digest(model))
    return models.Filter(must_not=[models.FieldCondition(key="model", match=held)])


class Upkeep:
    """Counts, verifies and tidies.

    Args:
        server: where the points are.
        model: whose vectors are searched.
    """

    def __init__(self, server: Server, model: ModelInfo | None) -> None:
        self._server = server
        self._digest = "" if model is None else model_digest(model)

    async def stats(self) -> BackendStats:
        """How much there is."""
        server = self._server
        scopes = await self._kinds("scope", None)
        here = models.Filter(
            must=[models.FieldCondition(key="model", match=models.MatchValue(value=self._digest))]
        )
        parts = await self._kinds("parts", None)
        mine = await self._kinds("parts", here) if self._digest else {}
        seen = await self._kinds("seen", None)
        async with server.asking("a count"):
            relations = await server.client.count(server.relations, exact=True)
        vectors = _sum(mine)
        return BackendStats(
            entities=sum(scopes.values()),
            relations=relations.count,
            observations=_sum(seen),
            vectors=vectors,
            scopes={str(scope): count for scope, count in sorted(scopes.items())},
            entity_types={
                str(kind): count
                for kind, count in sorted((await self._kinds("entity_type", None)).items())
            },
            index="qdrant hnsw" if not server.local else "exact",
            dead=_sum(parts) - vectors,
        )

    async def _kinds(self, field: str, among: models.Filter | None) -> dict[Any, int]:
        async with self._server.asking("a count"):
            found = await self._server.client.facet(
                self._server.entities,
                field,
                facet_filter=among,
                limit=MOST_KINDS,
                exact=True,
            )
        return {hit.value: hit.count for hit in found.hits}

    async def verify(self) -> list[Fault]:
        """Look at every point; mend what can be made anew from the rest."""
        faults: list[Fault] = []
        await self._look_at_entities(faults)
        await self._look_at_relations(faults)
        for collection in self._server.all_vectors:
            await self._look_at_vectors(collection, faults)
        return faults

    async def optimize(self) -> list[str]:
        """Remove the vectors of other models. Making searches fast is the server's own work."""
        done: list[str] = []
        if self._server.vectors is None:
            return done
        for collection in [one for one in self._server.all_vectors if one != self._server.vectors]:
            async with self._server.asking("a count"):
                count = await self._server.client.count(collection, exact=True)
            async with self._server.asking("a write", writes=True):
                await self._server.client.delete_collection(collection)
            self._server.all_vectors.remove(collection)
            done.append(f"removed the vectors of another model of {count.count:,} entities")
        return done

    async def _look_at_entities(self, faults: list[Fault]) -> None:
        server = self._server
        async for rows in server.scroll(server.entities, None, PAGE):
            embedded = []
            for row in rows:
                payload = row.payload or {}
                try:
                    entity = entity_of(payload)
                except UNREADABLE as error:
                    faults.append(Fault(f"the point {row.id} of an entity does not read: {error}"))
                    continue
                what = f"`{entity.entity_name}` in {entity.scope.key}"
                if entity_id(entity.key) != row.id:
                    faults.append(Fault(f"{what} is kept under another id, {row.id}"))
                    continue
                facts = {**shown_facts(entity), "version": entity.version}
                if any(payload.get(field) != value for field, value in facts.items()):
                    faults.append(Fault(f"{what} is not selected as it says", mended=True))
                    await self._set(server.entities, str(row.id), facts)
                if self._digest and payload.get("model") == self._digest:
                    embedded.append((str(row.id), what))
            await self._look_for_vectors(embedded, faults)

    async def _look_for_vectors(
        self, embedded: Sequence[tuple[str, str]], faults: list[Fault]
    ) -> None:
        if self._server.vectors is None:
            return
        there = await self._server.retrieve(
            self._server.vectors, [point for point, _ in embedded], ("scope",)
        )
        for point, what in embedded:
            if point not in there:
                faults.append(
                    Fault(f"{what} has lost its vectors; it is embedded anew", mended=True)
                )
                await self._set(self._server.entities, point, {"model": "", "parts": 0})

    async def _look_at_relations(self, faults: list[Fault]) -> None:
        server = self._server
        async for rows in server.scroll(server.relations, None, PAGE):
            lost, ends = [], dict[str, str]()
            for row in rows:
                payload = row.payload or {}
                try:
                    relation = relation_of(payload)
                except UNREADABLE as error:
                    faults.append(Fault(f"the point {row.id} of a relation does not read: {error}"))
                    continue
                what = (
                    f"the relation {relation.relation_type} from `{relation.from_entity}` to "
                    f"`{relation.to_entity}` in {relation.scope.key}"
                )
                of = [
                    entity_id(EntityKey.of(relation.scope, end))
                    for end in (relation.from_entity, relation.to_entity)
                ]
                if relation_id(relation.key) != row.id:
                    faults.append(Fault(f"{what} is kept under another id, {row.id}"))
                elif [payload.get("from"), payload.get("to")] != of:
                    faults.append(Fault(f"{what} joins other entities than it says", mended=True))
                    await self._set(server.relations, str(row.id), {"from": of[0], "to": of[1]})
                lost.append((str(row.id), what, of))
                ends.update(dict.fromkeys(of, ""))
            there: dict[str, Any] = {}
            for some in [list(ends)[i : i + PAGE] for i in range(0, len(ends), PAGE)]:
                there |= await server.retrieve(server.entities, some, ("version",))
            for point, what, of in lost:
                if any(end not in there for end in of):
                    faults.append(Fault(f"{what} leads to nothing; it was removed", mended=True))
                    await self._delete(server.relations, [point])

    async def _look_at_vectors(self, collection: str, faults: list[Fault]) -> None:
        server = self._server
        async for rows in server.scroll(collection, None, PAGE):
            ids = [str(row.id) for row in rows]
            there = await server.retrieve(server.entities, ids, tuple(FACTS))
            for row in rows:
                point = str(row.id)
                if point not in there:
                    faults.append(Fault("vectors belong to no entity; removed", mended=True))
                    await self._delete(collection, [point])
                elif any((row.payload or {}).get(f) != there[point].get(f) for f in FACTS):
                    faults.append(Fault("vectors are not selected as their entity", mended=True))
                    await self._set(collection, point, {f: there[point][f] for f in FACTS})

    async def _set(self, collection: str, point: str, payload: dict[str, Any]) -> None:
        async with self._server.asking("a write", writes=True):
            await self._server.client.set_payload(
                collection, payload, ids_filter([point]), wait=True
            )

    async def _delete(self, collection: str, ids: list[str]) -> None:
        async with self._server.asking("a write", writes=True):
            await self._server.client.delete(
                collection, models.FilterSelector(filter=ids_filter(ids)), wait=True
            )


def _sum(kinds: dict[Any, int]) -> int:
    return sum(int(value) * count for value, count in kinds.items())
