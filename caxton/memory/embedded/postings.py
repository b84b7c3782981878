"""Which documents have a term, and how often: sorted by term, then by document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_COUNT", "Segment"]

MOST_COUNT: Final = 65_535
"""How often a term counts in one document at most."""
BLOCK: Final = 1 << 20
"""Postings that are moved at a time, which bounds what a merge needs besides its result."""


class Segment(msgspec.Struct, frozen=True, eq=False):
    """Postings that do not change."""

    terms: NDArray[np.uint32]
    """Those that occur, ascending."""
    starts: NDArray[np.int64]
    """Where the postings of each begin; the end of the last one behind them."""
    docs: NDArray[np.uint32]
    """Ascending within a term."""
    counts: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.docs)

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return sum(one.nbytes for one in (self.terms, self.starts, self.docs, self.counts))

    def find(self, term: int) -> tuple[int, int]:
        """Where the postings of a term begin and end; the same twice when there is none."""
        at = int(np.searchsorted(self.terms, term))
        if at == len(self.terms) or self.terms[at] != term:
            return 0, 0
        return int(self.starts[at]), int(self.starts[at + 1])

    @classmethod
    def of_occurrences(cls, terms: NDArray[np.uint32], docs: NDArray[np.uint32]) -> Segment:
        """From one term and document for each place where a term stands, in any order."""
        keys = (terms.astype(np.uint64) << np.uint64(32)) | docs
        keys.sort()
        edges = np.flatnonzero(np.diff(keys, prepend=~keys[:1]))
        counts = np.diff(edges, append=len(keys))
        keys = keys[edges]
        return cls.of_sorted(
            (keys >> np.uint64(32)).astype(np.uint32),
            keys.astype(np.uint32),
            np.minimum(counts, MOST_COUNT).astype(np.uint16),
        )

    @classmethod
    def of_postings(
        cls, terms: NDArray[np.uint32], docs: NDArray[np.uint32], counts: NDArray[np.uint16]
    ) -> Segment:
        """From postings whose documents ascend within each term."""
        order = np.argsort(terms, kind="stable")
        return cls.of_sorted(terms[order], docs[order], counts[order])

    @classmethod
    def of_sorted(
        cls, terms: NDArray[np.uint32], docs: NDArray[np.uint32], counts: NDArray[np.uint16]
    ) -> Segment:
        """From postings in their order."""
        firsts = np.flatnonzero(np.diff(terms, prepend=~terms[:1]))
        return cls(terms[firsts], np.append(firsts, len(terms)).astype(np.int64), docs, counts)

    def term_of_each(self) -> NDArray[np.uint32]:
        """The term of each posting."""
        return np.repeat(self.terms, np.diff(self.starts))

    def renumbered(self, numbers: NDArray[np.int64]) -> Segment:
        """With other numbers of documents, ascending as the old ones; without those below 0."""
        moved = numbers[self.docs]
        keep = moved >= 0
        if keep.all():  # also where there is nothing
            return Segment(self.terms, self.starts, moved.astype(np.uint32), self.counts)
        kept = np.add.reduceat(keep, self.starts[:-1], dtype=np.int64)
        used = kept > 0
        return Segment(
            self.terms[used],
            np.concatenate(([0], np.cumsum(kept[used]))).astype(np.int64),
            moved[keep].astype(np.uint32),
            self.counts[keep],
        )

    @classmethod
    def merged(cls, segments: Sequence[Segment]) -> Segment:
        """One of many, whose documents ascend from one to the next."""
        segments = [one for one in segments if len(one)]
        if len(segments) == 1:
            return segments[0]
        if not segments:
            return cls.of_sorted(*_NOTHING)
        terms = np.unique(np.concatenate([one.terms for one in segments]))
        sizes = np.zeros(len(terms), dtype=np.int64)
        places = [np.searchsorted(terms, one.terms) for one in segments]
        for one, at in zip(segments, places, strict=True):
            sizes[at] += np.diff(one.starts)
        starts = np.concatenate(([0], np.cumsum(sizes)))
        docs = np.empty(starts[-1], dtype=np.uint32)
        counts = np.empty(starts[-1], dtype=np.uint16)
        free = starts[:-1].copy()
        for one, at in zip(segments, places, strict=True):
            one._copy_to(free[at], docs, counts)
            free[at] += np.diff(one.starts)
        return cls(terms, starts, docs, counts)

    def _copy_to(
        self, begins: NDArray[np.int64], docs: NDArray[np.uint32], counts: NDArray[np.uint16]
    ) -> None:
        first = 0
        while first < len(self.terms):
            low = self.starts[first]
            last = int(np.searchsorted(self.starts, low + BLOCK, side="right")) - 1
            last = min(max(last, first + 1), len(self.terms))
            high = self.starts[last]
            sizes = np.diff(self.starts[first : last + 1])
            shift = np.repeat(begins[first:last] - self.starts[first:last], sizes)
            to = np.arange(low, high) + shift
            docs[to] = self.docs[low:high]
            counts[to] = self.counts[low:high]
            first = last


_NOTHING: Final = (
    np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.uint16)
)  # fmt: skip
