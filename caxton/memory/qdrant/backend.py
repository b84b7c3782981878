"""``MemoryBackend`` on Qdrant: entities, relations and vectors are points of three collections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import numpy as np

from caxton.memory.backend import (
    BackendStats,
    Candidate,
    CandidateQuery,
    Change,
    Direction,
    EntityRow,
    Fault,
    Graph,
    GraphQuery,
    ModelInfo,
    PathQuery,
    Selection,
    Vectors,
)
from caxton.memory.gate import Gate
from caxton.memory.model import Entity, EntityKey, Relation, RelationKey, Scope
from caxton.memory.qdrant.journal import Journal, Plan
from caxton.memory.qdrant.points import (
    chosen,
    entity_id,
    entity_of,
    model_digest,
    relation_id,
    relation_of,
    scopes_filter,
    touching,
)
from caxton.memory.qdrant.searching import Searching
from caxton.memory.qdrant.server import NAME, Server
from caxton.memory.qdrant.upkeep import Upkeep, lacking
from caxton.memory.qdrant.writing import Writing
from caxton.memory.remote import RemoteGraph, RemoteTarget

__all__ = ["QdrantBackend"]

PAGE: Final = 256
IDS: Final = 200
"""Most ids of one filter."""
CLEARED_AT_ONCE: Final = 200


class QdrantBackend:
    """The memory in some collections of a Qdrant server, which no other node may use.

    Args:
        server: the connection.
    """

    name = NAME

    def __init__(self, server: Server) -> None:
        self._server = server
        self._gate = Gate()
        self._journal = Journal(server)
        self._searching = Searching(server)
        self._model: ModelInfo | None = None
        self._writing = Writing(server, None)
        self._upkeep = Upkeep(server, None)
        self._unsettled = False
        """Whether a write was begun whose end was not seen."""

    @classmethod
    def at(cls, target: RemoteTarget) -> QdrantBackend:
        """On a server elsewhere."""
        return cls(Server.at(target))

    async def start(self, model: ModelInfo | None) -> None:
        """As ``MemoryBackend.start``. Collections are made; a write that was cut off is done."""
        try:
            await self._server.open(model)
            self._model = model
            self._writing = Writing(self._server, model)
            self._upkeep = Upkeep(self._server, model)
            self._unsettled = True
            await self._settle()
        except BaseException:
            await self._server.close()
            raise

    async def _settle(self) -> None:
        """See that nothing is half done, before anything is read or written."""
        if self._unsettled:
            async with self._gate.writing():
                await self._finish()

    async def _finish(self) -> None:
        if not self._unsettled:
            return
        plan = await self._journal.noted()
        if plan is not None:
            await self._writing.carry_out(plan)
            await self._journal.cross_out()
        self._unsettled = False

    async def write(self, changes: Sequence[Change]) -> None:
        """As ``MemoryBackend.write``.

        Where it ends with ``MemoryUnavailable``, the write is done whole with the next call or
        start, or not at all.
        """
        if not changes:
            return
        async with self._gate.writing():
            await self._finish()
            await self._do(await self._writing.plan(changes))

    async def _do(self, plan: Plan) -> None:
        self._unsettled = True
        await self._journal.note(plan)
        await self._writing.carry_out(plan)
        await self._journal.cross_out()
        self._unsettled = False

    async def entities(self, keys: Sequence[EntityKey]) -> list[Entity | None]:
        """As ``MemoryBackend.entities``."""
        await self._settle()
        async with self._gate.reading():
            return await self._entities(keys)

    async def _entities(self, keys: Sequence[EntityKey]) -> list[Entity | None]:
        ids = [entity_id(key) for key in keys]
        rows: dict[str, dict[str, Any]] = {}
        for some in _pieces(list(dict.fromkeys(ids))):
            rows |= await self._server.retrieve(self._server.entities, some, ("record",))
        return [entity_of(rows[point]) if point in rows else None for point in ids]

    async def relations(
        self, keys: Sequence[EntityKey], *, direction: Direction = "both"
    ) -> list[Relation]:
        """As ``MemoryBackend.relations``."""
        await self._settle()
        async with self._gate.reading():
            return await self._relations(keys, direction)

    async def _relations(
        self, keys: Sequence[EntityKey], direction: Direction = "both"
    ) -> list[Relation]:
        ways = {"out": ("from",), "in": ("to",), "both": ("from", "to")}[direction]
        found: dict[EntityKey, dict[RelationKey, Relation]] = {key: {} for key in keys}
        for some in _pieces([entity_id(key) for key in found]):
            pages = self._server.scroll(
                self._server.relations, touching(some, *ways), PAGE, ("record",)
            )
            async for rows in pages:
                for row in rows:
                    one = relation_of(row.payload or {})
                    for end in (one.from_entity, one.to_entity):
                        found.get(EntityKey.of(one.scope, end), {})[one.key] = one
        ordered: dict[RelationKey, Relation] = {}
        for held in found.values():
            ordered |= {key: held[key] for key in sorted(held) if key not in ordered}
        return list(ordered.values())

    async def relation(self, key: RelationKey) -> Relation | None:
        """As ``MemoryBackend.relation``."""
        await self._settle()
        async with self._gate.reading():
            point = relation_id(key)
            rows = await self._server.retrieve(self._server.relations, [point], ("record",))
        return relation_of(rows[point]) if point in rows else None

    async def scan(
        self, selection: Selection, *, vectors: bool = False
    ) -> AsyncIterator[EntityRow]:
        """As ``MemoryBackend.scan``: by id."""
        await self._settle()
        pages = self._server.scroll(
            self._server.entities, chosen(selection), PAGE, ("record", "model")
        )
        async for rows in pages:
            kept: dict[str, Vectors] = {}
            if vectors and self._model is not None:
                digest = model_digest(self._model)
                kept = await self._vectors(
                    [str(row.id) for row in rows if (row.payload or {})["model"] == digest]
                )
            for row in rows:
                yield EntityRow(entity_of(row.payload or {}), kept.get(str(row.id)))

    async def _vectors(self, ids: list[str]) -> dict[str, Vectors]:
        server = self._server
        if not ids or server.vectors is None:
            return {}
        async with server.asking("vectors"):
            rows = await server.client.retrieve(
                server.vectors, ids, with_payload=False, with_vectors=True
            )
        return {str(row.id): np.asarray(row.vector, np.float32) for row in rows}

    async def scan_relations(self, scopes: Sequence[Scope] | None) -> AsyncIterator[Relation]:
        """As ``MemoryBackend.scan_relations``."""
        await self._settle()
        pages = self._server.scroll(
            self._server.relations, scopes_filter(scopes), PAGE, ("record",)
        )
        async for rows in pages:
            for row in rows:
                yield relation_of(row.payload or {})

    async def unembedded(self) -> AsyncIterator[Entity]:
        """As ``MemoryBackend.unembedded``."""
        await self._settle()
        pages = self._server.scroll(self._server.entities, lacking(self._model), PAGE, ("record",))
        async for rows in pages:
            for row in rows:
                yield entity_of(row.payload or {})

    async def candidates(self, query: CandidateQuery) -> list[Candidate]:
        """As ``MemoryBackend.candidates``."""
        await self._settle()
        async with self._gate.reading():
            return await self._searching.candidates(query)

    async def walk(self, query: GraphQuery) -> Graph:
        """As ``MemoryBackend.walk``: a level of the graph for each way to the server."""
        await self._settle()
        async with self._gate.reading():
            return await RemoteGraph(self._relations, self._entities).walk(query)

    async def path(self, query: PathQuery) -> Graph:
        """As ``MemoryBackend.path``."""
        await self._settle()
        async with self._gate.reading():
            return await RemoteGraph(self._relations, self._entities).path(query)

    async def clear(self, selection: Selection) -> tuple[int, int]:
        """As ``MemoryBackend.clear``: some hundreds of entities at a time."""
        entities = relations = 0
        server = self._server
        while True:
            async with self._gate.writing():
                await self._finish()
                async with server.asking("a page"):
                    rows, _ = await server.client.scroll(
                        server.entities,
                        chosen(selection),
                        limit=CLEARED_AT_ONCE,
                        with_payload=False,
                    )
                if not rows:
                    return entities, relations
                ids = tuple(str(row.id) for row in rows)
                async with server.asking("a count"):
                    count = await server.client.count(
                        server.relations, touching(ids, "from", "to"), exact=True
                    )
                await self._do(Plan(removed_entities=ids))
            entities, relations = entities + len(ids), relations + count.count

    async def stats(self) -> BackendStats:
        """As ``MemoryBackend.stats``; how many bytes it takes is not known."""
        await self._settle()
        async with self._gate.reading():
            return await self._upkeep.stats()

    async def verify(self) -> list[Fault]:
        """As ``MemoryBackend.verify``."""
        async with self._gate.writing():
            await self._finish()
            return await self._upkeep.verify()

    async def optimize(self) -> list[str]:
        """As ``MemoryBackend.optimize``: vectors of other models are removed."""
        async with self._gate.writing():
            await self._finish()
            return await self._upkeep.optimize()

    async def close(self) -> None:
        """As ``MemoryBackend.close``."""
        await self._server.close()


def _pieces(ids: Sequence[str]) -> list[list[str]]:
    return [list(ids[i : i + IDS]) for i in range(0, len(ids), IDS)]
