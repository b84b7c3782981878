"""Candidates of a search: what the indexes find, ranked by the vectors of the store."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from caxton.memory.backend import Candidate, CandidateQuery, Selection
from caxton.memory.embedded.index import Found, Index
from caxton.memory.embedded.moment import Moment
from caxton.memory.embedded.roster import Wanted
from caxton.memory.embedded.tokens import query_terms

__all__ = ["candidates", "looked_at"]

LEAST_LOOKED_AT: Final = 200
MOST_LOOKED_AT: Final = 800
USUAL: Final = 100_000
"""Vectors for which ``LEAST_LOOKED_AT`` is enough."""

Floats = NDArray[np.float32]


def looked_at(vectors: int, limit: int) -> int:
    """How many places to rank again: more among more vectors, and more for more answers."""
    grown = LEAST_LOOKED_AT * max(1.0, vectors / USUAL) ** 0.5
    return max(int(min(grown, MOST_LOOKED_AT)), 2 * limit)


def _wanted(moment: Moment, selection: Selection) -> Wanted:
    scopes = types = None
    if selection.scopes is not None:
        scopes = frozenset(moment.scope_ids(selection.scopes))
    if selection.entity_types:
        types = frozenset(moment.type_ids(selection.entity_types))
    return Wanted(scopes, types, selection.from_ms, selection.to_ms)


class _Similarity:
    """Cosines of one query with vectors of the store."""

    def __init__(self, moment: Moment, query: Floats) -> None:
        self._moment = moment
        self._query = query
        self.of: dict[int, float] = {}
        """The best that is known of each entity."""
        self._known: set[tuple[int, int]] = set()

    def look(self, places: list[tuple[int, int]]) -> None:
        """Take up the vectors of ``(eid, part)``."""
        new = sorted(set(places) - self._known)
        if not new:
            return
        self._known.update(new)
        rows = self._moment.vectors(new, len(self._query)).astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        with np.errstate(divide="ignore", invalid="ignore"):
            cosines = (rows @ self._query) / lengths
        for (eid, _), cosine in zip(new, cosines.tolist(), strict=True):
            # What has no vector now has a length of 0, and so a cosine that is no number.
            if cosine > self.of.get(eid, -2.0):
                self.of[eid] = max(-1.0, min(1.0, cosine))


def candidates(index: Index, moment: Moment, query: CandidateQuery) -> list[Candidate]:
    """The best by vector and the best by words, each once.

    What the index has beyond ``moment``, or otherwise, is left out or told as the moment has it.
    """
    vector = None
    if query.vector is not None and index.model.number:
        given = np.asarray(query.vector, dtype=np.float32).reshape(-1)
        length = float(np.sqrt(given @ given))
        if len(given) == index.model.dimension and length > 0:
            vector = np.ascontiguousarray(given / np.float32(length))
    numbers = moment.term_ids(query_terms(query.text)) if query.text else []
    found = index.find(
        _wanted(moment, query.selection),
        query.limit,
        vector=vector,
        look_at=looked_at(index.vectors.places, query.limit),
        terms=[one for one in numbers if one is not None],
    )
    similarity = {} if vector is None else _ranked(moment, vector, found, query.limit)
    chosen = dict.fromkeys(list(similarity)[: query.limit])
    chosen.update(dict.fromkeys(found.worded.tolist()))
    answer = []
    for eid in chosen:
        entity = moment.entity(eid)
        if entity is not None and query.selection.takes(entity):
            answer.append(Candidate(entity, similarity.get(eid), found.words.get(eid, 0.0)))
    return answer


def _ranked(moment: Moment, vector: Floats, found: Found, limit: int) -> dict[int, float]:
    """The cosine of each entity that was found, the nearest first."""
    cosines = _Similarity(moment, vector)
    near = found.near.tolist()
    cosines.look(list(zip(near, found.near_parts.tolist(), strict=True)))
    nearest = sorted(cosines.of, key=lambda eid: (-cosines.of[eid], eid))[:limit]
    # Of each one that may be told: the other parts too, since the index only guessed the best.
    told = dict.fromkeys((*nearest, *found.worded.tolist()))
    cosines.look([(eid, part) for eid in told for part in range(found.parts.get(eid, 0))])
    ranked = dict.fromkeys(sorted(nearest, key=lambda eid: (-cosines.of[eid], eid)))
    ranked.update(dict.fromkeys(eid for eid in told if eid in cosines.of))
    return {eid: cosines.of[eid] for eid in ranked}
