"""Looking at everything in the database, counting it, and giving room back."""

from __future__ import annotations

from typing import Any, Final

from neo4j import AsyncManagedTransaction

from caxton.errors import ValidationError
from caxton.memory.backend import BackendStats, Fault, ModelInfo
from caxton.memory.neo4j import statements as say
from caxton.memory.neo4j.bolt import Bolt
from caxton.memory.neo4j.records import (
    entity_of,
    key_text,
    model_text,
    relation_of,
    relation_text,
    vectors_of,
    words_text,
)

__all__ = ["Upkeep"]

PAGE: Final = 200
REPORTED: Final = 100
"""Most faults of one kind that are told one by one."""
UNREADABLE: Final = (KeyError, TypeError, ValueError, ValidationError)


class Upkeep:
    """Counts, verifies and tidies.

    Args:
        bolt: the connection.
        model: whose vectors are searched.
        index: name of the database's index of them.
    """

    def __init__(self, bolt: Bolt, model: ModelInfo | None, index: str | None) -> None:
        self._bolt = bolt
        self._model = model
        self._index = index

    async def stats(self) -> BackendStats:
        """How much there is."""
        model = "" if self._model is None else model_text(self._model)
        scopes: dict[str, int] = {}
        types: dict[str, int] = {}
        observations = vectors = dead = 0
        for row in await self._bolt.read(say.COUNTS, model=model):
            scopes[row["scope"]] = scopes.get(row["scope"], 0) + row["entities"]
            types[row["type"]] = types.get(row["type"], 0) + row["entities"]
            observations += row["observations"] or 0
            vectors += row["vectors"] or 0
            dead += row["dead"] or 0
        relations = await self._bolt.read(say.COUNT_RELATIONS)
        return BackendStats(
            entities=sum(scopes.values()),
            relations=relations[0]["relations"],
            observations=observations,
            vectors=vectors,
            scopes=dict(sorted(scopes.items())),
            entity_types=dict(sorted(types.items())),
            index="exact" if self._index is None else "neo4j vector index",
            dead=dead,
        )

    async def verify(self) -> list[Fault]:
        """Look at every node and relationship; mend what can be made anew from the rest."""
        faults: list[Fault] = []
        async for rows in self._pages(
            "MATCH (n:CaxtonEntity) WHERE n.key > $after WITH n ORDER BY n.key LIMIT $page "
            "OPTIONAL MATCH (n)-[:CAXTON_PART]->(p) WITH n, count(p) AS parts "
            "RETURN n.key AS key, properties(n) AS found, parts ORDER BY key"
        ):
            mends = []
            for row in rows:
                mend = self._look(row["found"], row["parts"], faults)
                if mend:
                    mends.append({"key": row["key"], **mend})
            await self._mend(mends)
        async for rows in self._pages(
            "MATCH (a)-[r:CAXTON_RELATION]->(b) WHERE r.key > $after "
            "RETURN r.key AS key, properties(r) AS found, a.key AS start, b.key AS end "
            "ORDER BY r.key LIMIT $page"
        ):
            for row in rows:
                _look_at_relation(row, faults)
        faults += await self._lost_parts()
        return faults

    async def optimize(self) -> list[str]:
        """Remove the vectors of other models."""
        if self._model is None:
            return []
        model = model_text(self._model)

        async def work(tx: AsyncManagedTransaction) -> int:
            result = await tx.run(
                "MATCH (n:CaxtonEntity) WHERE n.model <> $model WITH n LIMIT $page "
                "REMOVE n.vectors, n.model, n.parts RETURN count(n) AS done",
                {"model": model, "page": PAGE},
            )
            return int((await result.single(strict=True))["done"])

        removed = 0
        while done := await self._bolt.write_with(work, size=PAGE):
            removed += done
        return [f"removed the vectors of other models of {removed:,} entities"] if removed else []

    async def _pages(self, statement: str) -> Any:
        after = ""
        while True:
            rows = await self._bolt.read(statement, after=after, page=PAGE)
            yield rows
            if len(rows) < PAGE:
                return
            after = rows[-1]["key"]

    def _look(self, found: dict[str, Any], parts: int, faults: list[Fault]) -> dict[str, Any]:
        """What to set on a node to make it right."""
        try:
            entity = entity_of(found)
        except UNREADABLE as error:
            faults.append(Fault(f"the node {found.get('key')!r} does not read: {error}"))
            return {}
        what, mend = f"`{entity.entity_name}` in {entity.scope.key}", dict[str, Any]()
        if found["key"] != key_text(entity.key):
            faults.append(Fault(f"{what} is kept under another name, {found['key']!r}"))
            return {}
        words, length = words_text(entity)
        if (found.get("words"), found.get("length")) != (words, length):
            faults.append(Fault(f"{what} is not found by its words", mended=True))
            mend |= {"words": words, "length": length}
        if self._model is not None and found.get("model") == model_text(self._model):
            try:
                vectors = vectors_of(found.get("vectors"), self._model.dimension)
            except ValueError:
                vectors = None
            if vectors is None or len(vectors) != found.get("parts"):
                faults.append(Fault(f"{what} has broken vectors; it is embedded anew", mended=True))
                mend |= {"model": None, "parts": None, "vectors": None}
            elif self._index is not None and parts != len(vectors):
                faults.append(Fault(f"{what} is not in the vector index", mended=True))
                mend |= {"rows": [{self._index: row.tolist()} for row in vectors]}
        return mend

    async def _mend(self, mends: list[dict[str, Any]]) -> None:
        if not mends:
            return
        rows = [{k: v for k, v in mend.items() if k != "rows"} for mend in mends]
        again = [mend for mend in mends if "rows" in mend]
        parts = [{"key": mend["key"], "data": data} for mend in again for data in mend["rows"]]

        async def work(tx: AsyncManagedTransaction) -> None:
            await (await tx.run(say.PUT_ENTITIES, {"rows": rows})).consume()
            keys = [mend["key"] for mend in again]
            await (await tx.run(say.REMOVE_PARTS, {"keys": keys})).consume()
            await (await tx.run(say.PUT_PARTS, {"rows": parts})).consume()

        await self._bolt.write_with(work, size=len(mends))

    async def _lost_parts(self) -> list[Fault]:
        async def work(tx: AsyncManagedTransaction) -> int:
            result = await tx.run(
                "MATCH (p:CaxtonPart) WHERE NOT (:CaxtonEntity)-[:CAXTON_PART]->(p) "
                "WITH p LIMIT $page DETACH DELETE p RETURN count(*) AS done",
                {"page": PAGE},
            )
            return int((await result.single(strict=True))["done"])

        if self._index is None:
            return []
        lost = 0
        while done := await self._bolt.write_with(work, size=PAGE):
            lost += done
        return [Fault(f"{lost:,} vectors belong to no entity", mended=True)] if lost else []


def _look_at_relation(row: dict[str, Any], faults: list[Fault]) -> None:
    try:
        relation = relation_of(row["found"])
    except UNREADABLE as error:
        faults.append(Fault(f"the relationship {row['key']!r} does not read: {error}"))
        return
    key = relation.key
    ends = (f"{key.scope.key}\n{key.from_entity}", f"{key.scope.key}\n{key.to_entity}")
    if row["key"] != relation_text(key) or (row["start"], row["end"]) != ends:
        faults.append(
            Fault(
                f"the relation {relation.relation_type} from `{relation.from_entity}` to "
                f"`{relation.to_entity}` joins other nodes than it says"
            )
        )
