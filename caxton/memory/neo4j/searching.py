"""Candidates for a search: by the indexes of the database where it has them, else exactly here."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from neo4j import AsyncManagedTransaction
from numpy.typing import NDArray

from caxton.memory.backend import Candidate, CandidateQuery, ModelInfo, Selection
from caxton.memory.embedded.tokens import query_terms
from caxton.memory.neo4j.bolt import Bolt
from caxton.memory.neo4j.records import entity_of, model_text, vectors_of
from caxton.memory.neo4j.statements import ENTITIES, WORDS_INDEX, chosen

__all__ = ["EXACT_BELOW", "Searching"]

K1: Final = 1.2
B: Final = 0.75
BATCH: Final = 512
"""Vectors that are compared at a time."""
EXACT_BELOW: Final = 2_000
"""Entities of a selection up to which all of them are compared."""
DEEPEST: Final = 20_000
"""Most neighbours that an index is asked for before all are compared."""


class Searching:
    """Finds candidates.

    Args:
        bolt: the connection.
        model: whose vectors are compared; nothing is when None.
        vector_index: name of the database's index of them; everything is compared when None.
        words_index: whether the database has a full-text index.
        exact_below: entities of a selection up to which all of them are compared.
    """

    def __init__(
        self,
        bolt: Bolt,
        model: ModelInfo | None,
        *,
        vector_index: str | None,
        words_index: bool,
        exact_below: int = EXACT_BELOW,
    ) -> None:
        self._bolt = bolt
        self._model = model
        self._vector_index = vector_index
        self._words_index = words_index
        self._exact_below = exact_below

    async def candidates(self, query: CandidateQuery) -> list[Candidate]:
        """As ``MemoryBackend.candidates``."""
        words = query_terms(query.text)
        vector = None
        if query.vector is not None and self._model is not None:
            vector = np.asarray(query.vector, np.float32).reshape(-1)
        near = await self._near(query, vector) if vector is not None else {}
        said: dict[str, float] = {}
        if words and self._words_index:
            said = await self._said_by_index(query, words)
            others = [key for key in near if key not in said]
            said |= await self._said_of(others, words) if others else {}
            best = set(heapq.nlargest(query.limit, said, key=lambda key: said[key]))
        elif words:
            said = await self._said_by_comparing(query.selection, words)
            best = set(heapq.nlargest(query.limit, said, key=lambda key: said[key]))
        else:
            best = set()
        keys = list(dict.fromkeys([*near, *sorted(best, key=lambda key: -said[key])]))
        made = []
        for found in await self._bolt.read(ENTITIES, keys=keys) if keys else []:
            row = found["found"]
            similarity = near.get(row["key"])
            if similarity is None and vector is not None:
                similarity = self._cosine(row, vector)
            made.append(Candidate(entity_of(row), similarity, said.get(row["key"], 0.0)))
        return made

    def _cosine(self, row: dict[str, Any], vector: NDArray[np.float32]) -> float | None:
        if self._model is None or row.get("model") != model_text(self._model):
            return None
        vectors = vectors_of(row.get("vectors"), self._model.dimension)
        return None if vectors is None else float(np.max(vectors @ vector))

    # --- vectors ---------------------------------------------------------------------------------

    async def _near(self, query: CandidateQuery, vector: NDArray[np.float32]) -> dict[str, float]:
        """Keys of the nearest, the nearest first, with their exact cosines."""
        if self._vector_index is not None:
            condition, values = chosen(query.selection)
            rows = await self._bolt.read(
                f"MATCH (n:CaxtonEntity) WHERE {condition} RETURN count(n) AS many", **values
            )
            if rows[0]["many"] > self._exact_below:
                found = await self._near_by_index(query, vector)
                if found is not None:
                    return found
        return await self._near_by_comparing(query, vector)

    async def _near_by_index(
        self, query: CandidateQuery, vector: NDArray[np.float32]
    ) -> dict[str, float] | None:
        """The same from the index; None when too few of its answers are of the selection."""
        condition, values = chosen(query.selection)
        deep = min(DEEPEST, 4 * query.limit + 50)
        while True:
            rows = await self._bolt.read(
                "CALL db.index.vector.queryNodes($index, $deep, $vector) YIELD node, score "
                "MATCH (n:CaxtonEntity)-[:CAXTON_PART]->(node) "
                f"WHERE {condition} WITH n, max(score) AS score ORDER BY score DESC LIMIT $wide "
                "RETURN n.key AS key, n.vectors AS vectors, n.model AS model",
                index=self._vector_index,
                deep=deep,
                vector=vector.tolist(),
                # The index may hold shortened vectors: a few more are compared exactly.
                wide=2 * query.limit,
                **values,
            )
            if len(rows) >= query.limit:
                exact = {row["key"]: self._cosine(row, vector) for row in rows}
                held = {key: value for key, value in exact.items() if value is not None}
                best = heapq.nlargest(query.limit, held, key=lambda key: held[key])
                return {key: held[key] for key in best}
            if deep >= DEEPEST:
                return None
            deep = min(DEEPEST, 4 * deep)

    async def _near_by_comparing(
        self, query: CandidateQuery, vector: NDArray[np.float32]
    ) -> dict[str, float]:
        condition, values = chosen(query.selection)
        model = "" if self._model is None else model_text(self._model)

        async def work(tx: AsyncManagedTransaction) -> dict[str, float]:
            result = await tx.run(
                f"MATCH (n:CaxtonEntity) WHERE {condition} AND n.model = $model "
                "RETURN n.key AS key, n.vectors AS vectors",
                {**values, "model": model},
            )
            best: list[tuple[float, str]] = []
            batch: list[tuple[str, bytes]] = []
            async for record in result:
                batch.append((record["key"], bytes(record["vectors"])))
                if len(batch) >= BATCH:
                    best = _best(best, batch, vector, query.limit)
                    batch = []
            return {key: cosine for cosine, key in _best(best, batch, vector, query.limit)}

        return await self._bolt.read_with(work)

    # --- words -----------------------------------------------------------------------------------

    async def _said_by_index(self, query: CandidateQuery, words: Sequence[str]) -> dict[str, float]:
        condition, values = chosen(query.selection)
        rows = await self._bolt.read(
            "CALL db.index.fulltext.queryNodes($index, $asked) YIELD node, score "
            f"WITH node AS n, score WHERE {condition} "
            "RETURN n.key AS key, score ORDER BY score DESC LIMIT $limit",
            index=WORDS_INDEX,
            asked=_lucene(words),
            limit=query.limit,
            **values,
        )
        return {row["key"]: float(row["score"]) for row in rows}

    async def _said_of(self, keys: Sequence[str], words: Sequence[str]) -> dict[str, float]:
        """Scores of some entities, on the scale of the same index."""
        rows = await self._bolt.read(
            "CALL db.index.fulltext.queryNodes($index, $asked) YIELD node, score "
            "WITH node AS n, score WHERE n.key IN $keys RETURN n.key AS key, score",
            index=WORDS_INDEX,
            asked=_lucene(words),
            keys=list(keys),
        )
        return {row["key"]: float(row["score"]) for row in rows}

    async def _said_by_comparing(
        self, selection: Selection, words: Sequence[str]
    ) -> dict[str, float]:
        """BM25 within the selection of every entity that has one of the words."""
        condition, values = chosen(selection)
        asked = [f" {word} " for word in words]
        totals = await self._bolt.read(
            f"MATCH (n:CaxtonEntity) WHERE {condition} "
            "RETURN count(n) AS many, sum(n.length) AS length",
            **values,
        )
        rows = await self._bolt.read(
            f"MATCH (n:CaxtonEntity) WHERE {condition} "
            "AND any(word IN $asked WHERE n.words CONTAINS word) "
            "RETURN n.key AS key, n.length AS length, "
            "[word IN $asked | size(split(n.words, word)) - 1] AS counts",
            asked=asked,
            **values,
        )
        many, mean = totals[0]["many"], totals[0]["length"] / max(1, totals[0]["many"])
        having = [sum(1 for row in rows if row["counts"][i]) for i in range(len(words))]
        weights = [math.log(1 + (many - have + 0.5) / (have + 0.5)) for have in having]
        return {
            row["key"]: sum(
                weight * count * (K1 + 1) / (count + K1 * (1 - B + B * row["length"] / mean))
                for weight, count in zip(weights, row["counts"], strict=True)
            )
            for row in rows
        }


def _lucene(words: Iterable[str]) -> str:
    """Any of the words. A word is letters and digits, so quotes keep it from being syntax."""
    return " ".join(f'"{word}"' for word in words)


def _best(
    best: list[tuple[float, str]],
    batch: Sequence[tuple[str, bytes]],
    vector: NDArray[np.float32],
    limit: int,
) -> list[tuple[float, str]]:
    """The best of those so far and a batch, the best first."""
    if not batch:
        return best
    rows = np.frombuffer(b"".join(data for _, data in batch), "<f4").reshape(-1, len(vector))
    width = 4 * len(vector)
    firsts = np.cumsum([0, *(len(data) // width for _, data in batch[:-1])])
    cosines = np.maximum.reduceat(rows @ vector, firsts)
    found = [(float(cosine), key) for cosine, (key, _) in zip(cosines, batch, strict=True)]
    return heapq.nlargest(limit, best + found)
