"""``MemoryBackend`` on Neo4j: entities are nodes, relations are relationships."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from neo4j import AsyncManagedTransaction

from caxton.errors import MemoryUnavailable
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
)
from caxton.memory.gate import Gate
from caxton.memory.model import Entity, EntityKey, Relation, RelationKey, Scope
from caxton.memory.neo4j import statements as say
from caxton.memory.neo4j.bolt import NAME, Bolt
from caxton.memory.neo4j.records import (
    entity_of,
    key_text,
    model_text,
    relation_of,
    relation_text,
    vectors_of,
)
from caxton.memory.neo4j.searching import EXACT_BELOW, Searching
from caxton.memory.neo4j.upkeep import Upkeep
from caxton.memory.neo4j.writing import write
from caxton.memory.net_change import touched
from caxton.memory.remote import RemoteGraph, RemoteTarget

__all__ = ["Neo4jBackend"]

SCHEMA_VERSION: Final = 1
PAGE: Final = 500
VECTOR_PAGE: Final = 100
CLEARED_AT_ONCE: Final = 500


class Neo4jBackend:
    """The memory in one database of a Neo4j server, which no other node may use.

    Args:
        target: where it is.
        bolt: the connection, when not to ``target``.
        exact_below: entities of a selection up to which all of them are compared, rather than
            asking the database's index.
    """

    name = NAME

    def __init__(
        self, target: RemoteTarget, bolt: Bolt | None = None, exact_below: int = EXACT_BELOW
    ) -> None:
        self._bolt = bolt or Bolt(target)
        self._exact_below = exact_below
        self._gate = Gate()
        self._model: ModelInfo | None = None
        self._vector_index: str | None = None
        self._words_index = False

    async def start(self, model: ModelInfo | None) -> None:
        """As ``MemoryBackend.start``; constraints and indexes are made where they are missing."""
        try:
            await self._bolt.open()
            await self._prepare(model)
        except BaseException:
            await self._bolt.close()
            raise

    async def _prepare(self, model: ModelInfo | None) -> None:
        for statement in say.SCHEMA:
            if not await self._bolt.understands(statement):
                raise MemoryUnavailable(
                    backend=NAME, reason=f"the server does not carry out: {statement}"
                )

        async def mark(tx: AsyncManagedTransaction) -> int:
            result = await tx.run(say.MARK, {"version": SCHEMA_VERSION})
            return int((await result.single(strict=True))["version"])

        version = await self._bolt.write_with(mark)
        if version > SCHEMA_VERSION:
            raise MemoryUnavailable(
                backend=NAME,
                reason=f"its schema version is {version}, this is {SCHEMA_VERSION}",
            )
        self._model = model
        self._words_index = await self._bolt.understands(say.MAKE_WORDS_INDEX)
        self._vector_index = None
        if model is not None:
            name = index_name(model)
            if await self._bolt.understands(say.make_vector_index(name, model.dimension)):
                self._vector_index = name
        if self._words_index or self._vector_index:
            await self._bolt.understands(
                say.AWAIT_INDEXES, seconds=max(1, int(self._bolt.seconds / 2))
            )
        self._searching = Searching(
            self._bolt,
            model,
            vector_index=self._vector_index,
            words_index=self._words_index,
            exact_below=self._exact_below,
        )
        self._upkeep = Upkeep(self._bolt, model, self._vector_index)

    async def write(self, changes: Sequence[Change]) -> None:
        """As ``MemoryBackend.write``: one transaction."""
        if not changes:
            return
        on = touched(changes)

        async def work(tx: AsyncManagedTransaction) -> None:
            await write(tx, changes, on, self._model, self._vector_index)

        async with self._gate.writing():
            await self._bolt.write_with(work, size=len(changes))

    async def entities(self, keys: Sequence[EntityKey]) -> list[Entity | None]:
        """As ``MemoryBackend.entities``."""
        if not keys:
            return []
        async with self._gate.reading():
            return await self._entities(keys)

    async def _entities(self, keys: Sequence[EntityKey]) -> list[Entity | None]:
        texts = [key_text(key) for key in keys]
        rows = await self._bolt.read(say.ENTITIES, keys=list(dict.fromkeys(texts)))
        found = {row["found"]["key"]: entity_of(row["found"]) for row in rows}
        return [found.get(text) for text in texts]

    async def relations(
        self, keys: Sequence[EntityKey], *, direction: Direction = "both"
    ) -> list[Relation]:
        """As ``MemoryBackend.relations``."""
        async with self._gate.reading():
            return await self._relations(keys, direction)

    async def _relations(
        self, keys: Sequence[EntityKey], direction: Direction = "both"
    ) -> list[Relation]:
        texts = list(dict.fromkeys(key_text(key) for key in keys))
        if not texts:
            return []
        of: dict[str, dict[RelationKey, Relation]] = {text: {} for text in texts}
        for way in ("out", "in"):
            if direction in (way, "both"):
                for row in await self._bolt.read(say.RELATIONS[way], keys=texts):
                    one = relation_of(row["found"])
                    of[row["key"]][one.key] = one
        found: dict[RelationKey, Relation] = {}
        for text in texts:
            found.update((key, of[text][key]) for key in sorted(of[text]) if key not in found)
        return list(found.values())

    async def relation(self, key: RelationKey) -> Relation | None:
        """As ``MemoryBackend.relation``."""
        rows = await self._bolt.read(
            say.RELATION,
            start=key_text(EntityKey(key.scope, key.from_entity)),
            end=key_text(EntityKey(key.scope, key.to_entity)),
            key=relation_text(key),
        )
        return relation_of(rows[0]["found"]) if rows else None

    async def scan(
        self, selection: Selection, *, vectors: bool = False
    ) -> AsyncIterator[EntityRow]:
        """As ``MemoryBackend.scan``: by key, a page in one transaction."""
        condition, values = say.chosen(selection)
        model = None if self._model is None else model_text(self._model)
        async for row in self._pages(
            condition, values, VECTOR_PAGE if vectors else PAGE, vectors=vectors
        ):
            kept = None
            if vectors and self._model is not None and row.get("model") == model:
                kept = vectors_of(row.get("vectors"), self._model.dimension)
            yield EntityRow(entity_of(row), kept)

    async def _pages(
        self, condition: str, values: dict[str, Any], page: int, *, vectors: bool = False
    ) -> AsyncIterator[dict[str, Any]]:
        # A map projection without the vectors spares most of what would travel.
        found = "properties(n)" if vectors else say.LIGHT
        after = ""
        while True:
            rows = await self._bolt.read(
                f"MATCH (n:CaxtonEntity) WHERE n.key > $after AND {condition} "
                f"WITH n ORDER BY n.key LIMIT $page RETURN {found} AS found ORDER BY n.key",
                after=after,
                page=page,
                **values,
            )
            for row in rows:
                yield row["found"]
            if len(rows) < page:
                return
            after = rows[-1]["found"]["key"]

    async def scan_relations(self, scopes: Sequence[Scope] | None) -> AsyncIterator[Relation]:
        """As ``MemoryBackend.scan_relations``."""
        chosen = None if scopes is None else [scope.key for scope in scopes]
        after = ""
        while True:
            rows = await self._bolt.read(say.SCAN_RELATIONS, after=after, scopes=chosen, page=PAGE)
            for row in rows:
                yield relation_of(row["found"])
            if len(rows) < PAGE:
                return
            after = rows[-1]["key"]

    async def unembedded(self) -> AsyncIterator[Entity]:
        """As ``MemoryBackend.unembedded``."""
        condition, model = "(n.model IS NULL OR n.model <> $model)", ""
        if self._model is not None:
            model = model_text(self._model)
        async for row in self._pages(condition, {"model": model}, PAGE):
            yield entity_of(row)

    async def candidates(self, query: CandidateQuery) -> list[Candidate]:
        """As ``MemoryBackend.candidates``."""
        async with self._gate.reading():
            return await self._searching.candidates(query)

    async def walk(self, query: GraphQuery) -> Graph:
        """As ``MemoryBackend.walk``: a level of the graph for each way to the server."""
        async with self._gate.reading():
            return await RemoteGraph(self._relations, self._entities).walk(query)

    async def path(self, query: PathQuery) -> Graph:
        """As ``MemoryBackend.path``."""
        async with self._gate.reading():
            return await RemoteGraph(self._relations, self._entities).path(query)

    async def clear(self, selection: Selection) -> tuple[int, int]:
        """As ``MemoryBackend.clear``: some hundreds of entities in each transaction."""
        condition, values = say.chosen(selection)
        entities = relations = 0
        while True:
            async with self._gate.writing():
                gone, parted = await self._bolt.write_with(
                    lambda tx: _clear(tx, condition, values), size=CLEARED_AT_ONCE
                )
            entities, relations = entities + gone, relations + parted
            if gone < CLEARED_AT_ONCE:
                return entities, relations

    async def stats(self) -> BackendStats:
        """As ``MemoryBackend.stats``; how many bytes it takes is not known."""
        return await self._upkeep.stats()

    async def verify(self) -> list[Fault]:
        """As ``MemoryBackend.verify``."""
        async with self._gate.writing():
            return await self._upkeep.verify()

    async def optimize(self) -> list[str]:
        """As ``MemoryBackend.optimize``: vectors of other models are removed."""
        async with self._gate.writing():
            return await self._upkeep.optimize()

    async def close(self) -> None:
        """As ``MemoryBackend.close``."""
        await self._bolt.close()


def index_name(model: ModelInfo) -> str:
    """Name of the index of a model's vectors, and of the property they are in."""
    digest = hashlib.blake2s(model_text(model).encode(), digest_size=6).hexdigest()
    return f"caxton_vector_{digest}"


async def _clear(
    tx: AsyncManagedTransaction, condition: str, values: dict[str, Any]
) -> tuple[int, int]:
    result = await tx.run(
        f"MATCH (n:CaxtonEntity) WHERE {condition} RETURN n.key AS key LIMIT $page",
        {**values, "page": CLEARED_AT_ONCE},
    )
    keys = [record["key"] async for record in result]
    if not keys:
        return 0, 0
    result = await tx.run(say.RELATIONS_AT, {"keys": keys})
    relations = int((await result.single(strict=True))["relations"])
    for statement in (say.REMOVE_PARTS, say.REMOVE_ENTITIES):
        await (await tx.run(statement, {"keys": keys})).consume()
    return len(keys), relations
