"""Candidates of a search: what the indexes find, ranked by the vectors of the store."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest
from typing import Final

import numpy as np
from numpy.typing import NDArray

from caxton.memory.backend import Candidate, CandidateQuery, Selection
from caxton.memory.embedded.index import Found, Index
from caxton.memory.embedded.moment import Moment
from caxton.memory.embedded.roster import Wanted
from caxton.memory.embedded.tokens import query_terms

__all__ = ["candidates", "guessed"]

USUAL: Final = 100_000
GUESSED: Final = 800
"""Places that the codes name among ``USUAL`` vectors, to be looked at as far as needed."""
MOST_GUESSED: Final = 3_200
STEP: Final = 100
"""Places that are looked at before it is decided whether to go on."""
SURE: Final = 2.5
"""So many deviations of the codes' errors lie between what was found and what is not looked at."""

Floats = NDArray[np.float32]


def guessed(vectors: int, limit: int) -> int:
    """How many places the codes are asked for: more among more vectors, or for more answers."""
    grown = GUESSED * max(1.0, vectors / USUAL) ** 0.5
    return max(int(min(grown, MOST_GUESSED)), 2 * limit)


def _wanted(moment: Moment, selection: Selection) -> Wanted:
    scopes = types = None
    if selection.scopes is not None:
        scopes = frozenset(moment.scope_ids(selection.scopes))
    if selection.entity_types:
        types = frozenset(moment.type_ids(selection.entity_types))
    return Wanted(scopes, types, selection.from_ms, selection.to_ms)


class _Cosines:
    """Cosines of one query with vectors of the store."""

    def __init__(self, moment: Moment, query: Floats) -> None:
        self._moment = moment
        self._query = query
        self.of: dict[int, float] = {}
        """The best that is known of each entity."""
        self._known: set[tuple[int, int]] = set()

    def look(self, places: list[tuple[int, int]]) -> list[float]:
        """Take up the vectors of ``(eid, part)``; the cosine of each, -1 where there is none."""
        rows = self._moment.vectors(places, len(self._query)).astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        lengths[lengths == 0] = np.inf
        products: Floats = rows @ self._query
        cosines = np.clip(products / lengths, -1, 1)
        cosines[np.isinf(lengths)] = -1
        told: list[float] = cosines.tolist()
        best = self.of
        for (eid, _), cosine, length in zip(places, told, lengths.tolist(), strict=True):
            if length != np.inf and cosine > best.get(eid, -2.0):
                best[eid] = cosine
        self._known.update(places)
        return told

    def look_on(self, places: Iterable[tuple[int, int]]) -> None:
        """Take up those that are not known."""
        new = sorted(set(places) - self._known)
        if new:
            self.look(new)

    def nearest(self, limit: int) -> list[int]:
        """The entities that are nearest, of those looked at."""
        return nsmallest(limit, self.of, key=lambda eid: (-self.of[eid], eid))


def candidates(index: Index, moment: Moment, query: CandidateQuery) -> list[Candidate]:
    """The best by vector and the best by words, each once.

    What the index has beyond ``moment``, or otherwise, is left out or told as the moment has it.
    """
    vector = _unit(index, query)
    numbers = moment.term_ids(query_terms(query.text)) if query.text else []
    terms = [one for one in numbers if one is not None]
    found = index.find(
        _wanted(moment, query.selection),
        query.limit,
        vector=vector,
        look_at=guessed(index.vectors.places, query.limit),
        terms=terms,
    )
    cosines = None if vector is None else _Cosines(moment, vector)
    nearest = [] if cosines is None else _ranked(cosines, found, query.limit)
    told = list(dict.fromkeys((*nearest, *found.worded.tolist())))
    parts, words = index.tell(told, terms, found.query)
    if cosines is not None:
        # The codes only guessed which part of each is the best.
        pairs = zip(told, parts, strict=True)
        cosines.look_on((eid, part) for eid, count in pairs for part in range(count))
    answer = []
    for eid, score in zip(told, words, strict=True):
        entity = moment.entity(eid)
        if entity is not None and query.selection.takes(entity):
            similarity = None if cosines is None else cosines.of.get(eid)
            answer.append(Candidate(entity, similarity, score))
    return answer


def _unit(index: Index, query: CandidateQuery) -> Floats | None:
    if query.vector is None or not index.model.number:
        return None
    given = np.asarray(query.vector, dtype=np.float32).reshape(-1)
    length = float(np.sqrt(given @ given))
    if len(given) != index.model.dimension or not 0 < length < np.inf:
        return None
    return np.ascontiguousarray(given / np.float32(length))


def _ranked(cosines: _Cosines, found: Found, limit: int) -> list[int]:
    """The nearest entities by their vectors, looked at in the order in which they seem near, until
    the next ones would have to be nearer than codes are wrong."""
    places = list(zip(found.near.tolist(), found.near_parts.tolist(), strict=True))
    errors: list[Floats] = []
    for start in range(0, len(places), STEP):
        seem = found.seem[start : start + STEP]
        real = np.array(cosines.look(places[start : start + STEP]), dtype=np.float32)
        if np.isinf(seem[-1]):
            continue
        errors.append(real - seem)
        if len(cosines.of) < limit:
            continue
        deviation = float(np.concatenate(errors).std())
        if seem[-1] + SURE * deviation < cosines.of[cosines.nearest(limit)[-1]]:
            break
    return cosines.nearest(limit)
