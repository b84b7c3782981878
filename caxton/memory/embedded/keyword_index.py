"""Finds entities by their words: BM25 over arrays.

A text is a document with a number of its own; a new text of the same owner is a new document, and
the old one is dead. Postings of new texts wait in ``_fresh`` and are sealed into segments, which
are merged now and then. Scores are those of the living texts: what was before does not count.

Not thread-safe: whoever searches keeps writers away meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from caxton.memory.embedded.columns import Column
from caxton.memory.embedded.postings import Segment, word_marks
from caxton.memory.embedded.word_query import K1, B, Floats, Owners, TermDocs, WordQuery

__all__ = ["KeywordIndex", "Merge"]

FRESH: Final = 32_768
"""Postings that are looked through one by one; more are sorted."""
SEGMENTS: Final = 6
"""More than these are merged."""
DEAD: Final = 0.2
"""Share of dead documents above which they are taken out."""
LEAST_DEAD: Final = 1_000


class Merge(msgspec.Struct, frozen=True, eq=False):
    """A merge under way: what it was made of, and what came of it."""

    before: tuple[Segment, ...]
    docs: int
    """Documents there were."""
    numbers: NDArray[np.int64] | None
    """The new number of each; -1 for a dead one; None when all keep theirs."""
    first: int
    """The first segment that was merged; those before it stay."""
    made: Segment


class KeywordIndex:
    """Which owners have which terms. An owner is a number from 0; a term one below 2^32."""

    def __init__(self) -> None:
        self._segments: tuple[Segment, ...] = ()
        self._fresh = (Column(np.uint32), Column(np.uint32), Column(np.uint16))
        """Terms, documents, counts."""
        self._owner = Column(np.int64)
        self._length = Column(np.float32)
        self._living = Column(np.bool_)
        self._doc = Column(np.int64)
        """Of each owner; -1 when it has none."""
        self._count = 0
        self._total = 0.0
        self._alive: dict[int, int] = {}
        """How many living documents a term has, as far as it was asked since the last write."""
        self._changes = 0
        """How often documents came, went or got other numbers."""
        self._scratch = threading.local()

    # --- what there is ---------------------------------------------------------------------

    def __len__(self) -> int:
        """Owners that have a text."""
        return self._count

    @property
    def dead(self) -> int:
        """Documents that are gone or replaced."""
        return len(self._owner) - self._count

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        columns = (*self._fresh, self._owner, self._length, self._living, self._doc)
        return sum(one.bytes for one in columns) + sum(one.bytes for one in self._segments)

    # --- writing ---------------------------------------------------------------------------

    def put(self, owners: Owners, lengths: NDArray[np.uint32], terms: NDArray[np.uint32]) -> None:
        """Texts of owners, each once, in place of those they have.

        Args:
            owners: whose texts.
            lengths: how many terms each has.
            terms: all terms, behind each other.
        """
        self.remove(owners)
        self._alive.clear()
        self._changes += 1
        first = len(self._owner)
        docs = np.arange(first, first + len(owners))
        self._owner.extend(owners)
        self._length.extend(lengths.astype(np.float32))
        self._living.extend(np.ones(len(owners), dtype=np.bool_))
        self._reach(int(owners.max(initial=-1)) + 1)
        self._doc.values[owners] = docs
        self._count += len(owners)
        self._total += float(lengths.sum(dtype=np.int64))
        if not len(terms):
            return
        made = Segment.of_occurrences(terms, np.repeat(docs.astype(np.uint32), lengths))
        if len(made) >= FRESH:
            self.seal()
            self._segments = (*self._segments, made)
            return
        self._fresh[0].extend(made.term_of_each())
        self._fresh[1].extend(made.docs)
        self._fresh[2].extend(made.counts)
        if len(self._fresh[0]) > FRESH:
            self.seal()

    def remove(self, owners: Owners) -> None:
        """Forget the texts of owners; those that have none are passed over."""
        owners = owners[owners < len(self._doc)]
        docs = self._doc.values[owners]
        docs = docs[docs >= 0]
        if not len(docs):
            return
        self._alive.clear()
        self._changes += 1
        self._doc.values[owners] = -1
        self._living.values[docs] = False
        self._count -= len(docs)
        self._total -= float(self._length.values[docs].sum(dtype=np.float64))

    def _reach(self, owners: int) -> None:
        missing = owners - len(self._doc)
        if missing > 0:
            self._doc.extend(np.full(missing, -1, dtype=np.int64))

    def seal(self) -> None:
        """Sort what is fresh into a segment."""
        if len(self._fresh[0]):
            terms, docs, counts = (one.values for one in self._fresh)
            self._segments = (*self._segments, Segment.of_postings(terms, docs, counts))
            for one in self._fresh:
                one.clear()

    # --- keeping it quick ------------------------------------------------------------------

    @property
    def wants_merge(self) -> bool:
        """Whether a merge makes searches quicker."""
        return self._many_dead or len(self._segments) > SEGMENTS

    @property
    def _many_dead(self) -> bool:
        return self.dead > max(LEAST_DEAD, DEAD * len(self._owner))

    def plan_merge(self, *, whole: bool = False) -> Merge:
        """What to merge, to be made without anybody kept away: see ``made``.

        Args:
            whole: everything into one, without the dead.
        """
        self.seal()
        numbers, first = None, self._first_to_merge()
        if self.dead and (whole or self._many_dead):
            living = self._living.values
            numbers = np.where(living, np.cumsum(living) - 1, -1)
        if whole or numbers is not None:
            first = 0
        return Merge(self._segments, len(self._owner), numbers, first, Segment.merged(()))

    def _first_to_merge(self) -> int:
        """The first of the last segments that together are half as large as the one before."""
        first, size = len(self._segments), 0
        while first and (not size or len(self._segments[first - 1]) <= 2 * size):
            first -= 1
            size += len(self._segments[first])
        return max(0, min(first, len(self._segments) - 2))

    @staticmethod
    def made(plan: Merge) -> Merge:
        """Do the work of a merge. Touches nothing of the index."""
        parts = list(plan.before[plan.first :])
        if plan.numbers is not None:
            parts = [one.renumbered(plan.numbers) if len(one) else one for one in parts]
        return msgspec.structs.replace(plan, made=Segment.merged(parts))

    def take(self, merge: Merge) -> None:
        """Go on with what a merge made. What was written meanwhile is kept.

        Raises:
            ValueError: another merge was taken after it was planned.
        """
        if self._segments[: len(merge.before)] != merge.before:
            raise ValueError("the index was merged meanwhile")
        self._changes += 1
        later = self._segments[len(merge.before) :]
        made = (merge.made,) if len(merge.made) else ()
        if merge.numbers is None:
            self._segments = (*merge.before[: merge.first], *made, *later)
            return
        kept = np.flatnonzero(merge.numbers >= 0)
        lost = merge.docs - len(kept)
        later = tuple(
            Segment(one.terms, one.starts, one.docs - np.uint32(lost), one.counts) for one in later
        )
        self._segments = (*made, *later)
        self._fresh[1].values[:] -= np.uint32(lost)
        for column in (self._owner, self._length, self._living):
            column.replace(np.concatenate((column.values[kept], column.values[merge.docs :])))
        living = np.flatnonzero(self._living.values)
        self._doc.values[:] = -1
        self._doc.values[self._owner.values[living]] = living

    # --- searching -------------------------------------------------------------------------

    def query(self, terms: Sequence[int]) -> WordQuery:
        """Look up terms; valid until the index is written to."""
        lists = [found for term in terms if (found := self._list(term)) is not None]
        return WordQuery(self, sorted(lists, key=lambda one: len(one.docs)), self._changes)

    def holds(self, query: WordQuery) -> bool:
        """Whether a query of this index is still valid."""
        return query.texts is self and query.changes == self._changes

    def _list(self, term: int) -> TermDocs | None:
        docs, counts = [], []
        for segment in self._segments:
            low, high = segment.find(term)
            if low != high:
                docs.append(segment.docs[low:high])
                counts.append(segment.counts[low:high])
        if len(self._fresh[0]):
            (here,) = (self._fresh[0].values == term).nonzero()
            if len(here):
                docs.append(self._fresh[1].values[here])
                counts.append(self._fresh[2].values[here])
        if not docs:
            return None
        all_docs = docs[0] if len(docs) == 1 else np.concatenate(docs)
        all_counts = counts[0] if len(counts) == 1 else np.concatenate(counts)
        df = len(all_docs)
        if self.dead:
            df = self._alive.get(term, -1)
            if df < 0:
                df = self._alive[term] = int(np.count_nonzero(self._living.values[all_docs]))
        if not df:
            return None
        idf = float(np.log1p((self._count - df + 0.5) / (df + 0.5)))
        return TermDocs(all_docs, all_counts, idf)

    def norms(self, docs: NDArray[np.int64]) -> Floats:
        """What the length of each text adds below the line of BM25."""
        average = self._total / self._count if self._total else 1.0
        norms: Floats = self._length.values[docs]
        norms *= np.float32(K1 * B / average)
        norms += np.float32(K1 * (1 - B))
        return norms

    def docs_of(self, owners: Owners) -> NDArray[np.int64]:
        """The document of each owner; -1 for one without a text."""
        docs = np.full(len(owners), -1, dtype=np.int64)
        inside = owners < len(self._doc)
        docs[inside] = self._doc.values[owners[inside]]
        return docs

    @property
    def living(self) -> NDArray[np.bool_]:
        """Of each document, whether it is the text of its owner."""
        living: NDArray[np.bool_] = self._living.values
        return living

    def owners_of(self, docs: NDArray[np.int64]) -> Owners:
        """The owner of each document."""
        owners: Owners = self._owner.values[docs]
        return owners

    def sums(self) -> Floats:
        """Zeros for each document, of this thread; to be left as zeros."""
        sums: Floats | None = getattr(self._scratch, "sums", None)
        if sums is None or len(sums) < len(self._owner):
            sums = np.zeros(len(self._owner) * 5 // 4 + 64, dtype=np.float32)
            self._scratch.sums = sums
        return sums

    # --- moving it -------------------------------------------------------------------------

    def capture(self) -> tuple[Merge, Owners, Floats]:
        """Everything that lives: its postings once they are ``made``, and of each document the
        owner and the length."""
        living = self._living.values
        return self.plan_merge(whole=True), self._owner.values[living], self._length.values[living]

    def restore(self, postings: Segment, owners: Owners, lengths: Floats) -> None:
        """Hold what ``capture`` gave, instead of nothing."""
        self._changes += 1
        self._segments = (postings,) if len(postings) else ()
        self._owner.replace(owners)
        self._length.replace(lengths)
        self._living.replace(np.ones(len(owners), dtype=np.bool_))
        self._reach(int(owners.max(initial=-1)) + 1)
        self._doc.values[owners] = np.arange(len(owners))
        self._count = len(owners)
        self._total = float(lengths.sum(dtype=np.float64))

    def renumber(self, numbers: Owners) -> None:
        """Give owners other numbers, ascending as the old ones; -1 for those that are no more."""
        self.remove(np.flatnonzero(numbers < 0))
        self._changes += 1
        owners = self._owner.values
        owners[:] = np.where(owners < len(numbers), numbers[owners], -1)
        living = np.flatnonzero(self._living.values)
        self._doc.replace(np.full(int(numbers.max(initial=-1)) + 1, -1, dtype=np.int64))
        self._doc.values[owners[living]] = living

    def prints(self) -> tuple[Owners, Floats, NDArray[np.float64]]:
        """Of each living document, by owner: its length, and a number that tells its words."""
        prints = np.zeros(len(self._owner), dtype=np.float64)
        self.seal()
        for one in self._segments:
            marks = word_marks(one.term_of_each()) * one.counts
            prints += np.bincount(one.docs, weights=marks, minlength=len(prints))
        living = np.flatnonzero(self._living.values)
        living = living[np.argsort(self._owner.values[living])]
        return self._owner.values[living], self._length.values[living], prints[living]
