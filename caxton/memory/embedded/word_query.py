"""Terms that were looked up in the keyword index, and the owners whose texts have them: BM25.

Rare terms are looked at first. Common ones, which nearly everybody has, are only looked up for the
owners that may still be among the best, once what they can add is too little for others.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["K1", "B", "Floats", "Owners", "TermDocs", "Texts", "WordQuery"]

K1: Final = 1.2
B: Final = 0.75
SKIP: Final = 2_048
"""Terms of more documents are passed over where what they add cannot bring a new best one."""

FEW_LEFT: Final = 4
"""So many times what is asked for are looked up to the end, without a look at who still may win."""

Floats = NDArray[np.float32]
Owners = NDArray[np.int64]


class Texts(Protocol):
    """What a query needs of the index."""

    @property
    def dead(self) -> int:
        """Documents that are gone or replaced."""
        ...

    @property
    def living(self) -> NDArray[np.bool_]:
        """Of each document, whether it is the text of its owner."""
        ...

    def norms(self, docs: NDArray[np.int64]) -> Floats:
        """What the length of each text adds below the line of BM25."""
        ...

    def docs_of(self, owners: Owners) -> NDArray[np.int64]:
        """The document of each owner; -1 for one without a text."""
        ...

    def owners_of(self, docs: NDArray[np.int64]) -> Owners:
        """The owner of each document."""
        ...

    def sums(self) -> Floats:
        """Zeros for each document, of this thread; to be left as zeros."""
        ...


class TermDocs(msgspec.Struct, frozen=True, eq=False):
    """The documents of one term, dead ones too, and what the term is worth among the living."""

    docs: NDArray[np.uint32]
    counts: NDArray[np.uint16]
    idf: float


class WordQuery:
    """Terms that were looked up in an index. Made by ``KeywordIndex.query``.

    Args:
        texts: the index.
        lists: of those terms that it has, the rarest first.
        changes: how often the index had been written to.
    """

    def __init__(self, texts: Texts, lists: list[TermDocs], changes: int) -> None:
        self.texts = texts
        self.changes = changes
        self._lists = lists
        self._most_behind: list[float] | None = None

    def _weights(self, found: TermDocs, places: NDArray[np.int64] | slice) -> Floats:
        counts = found.counts[places].astype(np.float32)
        below = self.texts.norms(found.docs[places].astype(np.int64))
        below += counts
        counts *= np.float32(found.idf * (K1 + 1))
        counts /= below
        return counts

    def scores(self, owners: Owners) -> Floats:
        """BM25 of some owners, in order; 0 for those without a text or a term."""
        docs = self.texts.docs_of(owners)
        known = np.flatnonzero(docs >= 0)
        order = known[np.argsort(docs[known], kind="stable")]
        ascending = docs[order].astype(np.uint32)
        found = np.zeros(len(order), dtype=np.float32)
        for one in self._lists:
            self._add(one, ascending, found)
        scores = np.zeros(len(owners), dtype=np.float32)
        scores[order] = found
        return scores

    def _add(self, found: TermDocs, docs: NDArray[np.uint32], scores: Floats) -> None:
        """Add what a term gives to the scores of ascending documents."""
        places = found.docs.searchsorted(docs)
        places[places == len(found.docs)] = 0
        (hits,) = (found.docs[places] == docs).nonzero()
        scores[hits] += self._weights(found, places[hits])

    def best(
        self, limit: int, chosen: NDArray[np.bool_] | None = None, few: Owners | None = None
    ) -> tuple[Owners, Floats]:
        """The owners with the highest scores, best first, and their scores; of equal ones the
        lowest numbers.

        Args:
            limit: how many at most.
            chosen: which owners may be found; all when None.
            few: the chosen ones, where there are at most ``FEW``.
        """
        if not self._lists:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        if few is not None:
            owners, scores = few, self.scores(few)
            hit = scores > 0
            return _top(owners[hit], scores[hit], limit)
        docs, scores = self._gather(limit, chosen)
        return _top(self.texts.owners_of(docs), scores, limit)

    def _gather(
        self, limit: int, chosen: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], Floats]:
        """Documents that may be among the best, with their scores."""
        sums = self.texts.sums()
        touched = np.zeros(0, dtype=np.int64)
        bounds = self._bounds()
        for at, found in enumerate(self._lists):
            if len(found.docs) > SKIP and len(touched) >= limit:
                so_far = sums[touched]
                hopeful = _hopeful(so_far, limit, bounds[at])
                if hopeful is not None:
                    docs = np.sort(touched[hopeful])
                    scores = sums[docs]
                    sums[touched] = 0
                    return self._late(at, docs, scores, limit)
            docs, weights = self._allowed(found, chosen)
            before = sums[docs]
            touched = np.concatenate((touched, docs[before == 0]))
            sums[docs] = before + weights
        scores = sums[touched]
        sums[touched] = 0
        return touched, scores

    def _late(
        self, first: int, docs: NDArray[np.int64], scores: Floats, limit: int
    ) -> tuple[NDArray[np.int64], Floats]:
        """Those of some documents, ascending, that may be among the best when the terms from
        ``first`` on are added, with their scores."""
        bounds = self._bounds()
        ascending = docs.astype(np.uint32)
        for at in range(first, len(self._lists)):
            self._add(self._lists[at], ascending, scores)
            if len(scores) > FEW_LEFT * limit and at + 1 < len(self._lists):
                hopeful = _hopeful(scores, limit, bounds[at + 1])
                if hopeful is not None:
                    ascending, scores = ascending[hopeful], scores[hopeful]
        return ascending.astype(np.int64), scores

    def _bounds(self) -> list[float]:
        """Of each term, more than it and those behind it can give to any document."""
        if self._most_behind is None:
            total, found = 0.0, []
            for one in reversed(self._lists):
                most = float(one.counts.max())
                total += one.idf * (K1 + 1) * most / (most + K1 * (1 - B))
                found.append(total)
            self._most_behind = found[::-1]
        return self._most_behind

    def _allowed(
        self, found: TermDocs, chosen: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], Floats]:
        """The documents of a term that may be found, and what it gives to each."""
        docs = found.docs.astype(np.int64)
        if chosen is not None:
            allowed = chosen[self.texts.owners_of(docs)]
            if self.texts.dead:
                allowed &= self.texts.living[docs]
        elif self.texts.dead:
            allowed = self.texts.living[docs]
        else:
            return docs, self._weights(found, slice(None))
        (places,) = allowed.nonzero()
        return docs[places], self._weights(found, places)


def _hopeful(scores: Floats, limit: int, more: float) -> NDArray[np.bool_] | None:
    """Which of at least ``limit`` documents may be among the best, when others, and each of these,
    can get ``more``; None when others may be too."""
    if more >= scores.max():
        return None
    least = np.partition(scores, len(scores) - limit)[-limit]
    # A little room for what rounding does to sums of another order.
    if more >= least * 0.9999:
        return None
    hopeful: NDArray[np.bool_] = scores >= least * 0.9999 - more
    return hopeful


def _top(owners: Owners, scores: Floats, limit: int) -> tuple[Owners, Floats]:
    if len(owners) > limit:
        least = np.partition(scores, len(scores) - limit)[-limit]
        above = np.flatnonzero(scores > least)
        equal = np.flatnonzero(scores == least)
        missing = limit - len(above)
        if len(equal) > missing:
            equal = equal[np.argpartition(owners[equal], missing - 1)[:missing]]
        picked = np.concatenate((above, equal))
        owners, scores = owners[picked], scores[picked]
    order = np.lexsort((owners, -scores))
    return owners[order], scores[order]
