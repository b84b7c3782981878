"""Candidates for a search: the server finds them by vector and by words, each with both scores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

from qdrant_client import models

from caxton.memory.backend import Candidate, CandidateQuery
from caxton.memory.embedded.tokens import query_terms
from caxton.memory.qdrant.points import (
    WORDS,
    chosen,
    entity_of,
    ids_filter,
    query_words,
)
from caxton.memory.qdrant.server import Server

__all__ = ["Searching"]

LOOKED_AT: Final = 128
"""Least size of the list of the server's index; it finds 99 of 100 with it."""


class Searching:
    """Finds candidates.

    Args:
        server: where the points are.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    async def candidates(self, query: CandidateQuery) -> list[Candidate]:
        """As ``MemoryBackend.candidates``."""
        vector = None
        if query.vector is not None and self._server.vectors is not None:
            vector = [[float(one) for one in query.vector.reshape(-1)]]
        words = query_words(query_terms(query.text))
        among = chosen(query.selection)
        near, said = await asyncio.gather(
            self._near(vector, among, query.limit), self._said(words, among, query.limit)
        )
        ids = list(dict.fromkeys([*near, *said]))
        if not ids:
            return []
        only_said = [point for point in said if point not in near]
        only_near = [point for point in near if point not in said]
        more_near, more_said, rows = await asyncio.gather(
            self._near(vector, ids_filter(only_said), len(only_said), exact=True),
            self._said(words, ids_filter(only_near), len(only_near), exact=True),
            self._server.retrieve(self._server.entities, ids, ("record",)),
        )
        near |= more_near
        said |= more_said
        return [
            Candidate(entity_of(rows[point]), near.get(point), said.get(point, 0.0))
            for point in ids
            if point in rows
        ]

    def _near(
        self,
        vector: list[list[float]] | None,
        among: models.Filter | None,
        limit: int,
        *,
        exact: bool = False,
    ) -> Awaitable[dict[str, float]]:
        collection = self._server.vectors if vector is not None else None
        return self._query(collection, vector, None, among, limit, exact=exact)

    def _said(
        self,
        words: models.SparseVector | None,
        among: models.Filter | None,
        limit: int,
        *,
        exact: bool = False,
    ) -> Awaitable[dict[str, float]]:
        collection = self._server.entities if words is not None else None
        return self._query(collection, words, WORDS, among, limit, exact=exact)

    async def _query(
        self,
        collection: str | None,
        query: Any,
        using: str | None,
        among: models.Filter | None,
        limit: int,
        *,
        exact: bool,
    ) -> dict[str, float]:
        """Scores by id, the best first."""
        if collection is None or not limit:
            return {}
        params = None
        if not self._server.local:
            params = models.SearchParams(exact=exact, hnsw_ef=max(LOOKED_AT, 2 * limit))
        async with self._server.asking("a search"):
            found = await self._server.client.query_points(
                collection,
                query=query,
                using=using,
                query_filter=among,
                search_params=params,
                limit=limit,
                with_payload=False,
            )
        return {str(point.id): float(point.score) for point in found.points}
