"""What is searched: the entities, their vectors and their words, always of one state of the store.

Searches hold the lock together, writes hold it alone. What takes long (a merge of words) is done
without it, between two short turns.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from caxton.memory.embedded.keyword_index import KeywordIndex
from caxton.memory.embedded.progress import Changed
from caxton.memory.embedded.roster import Roster, Rows, Wanted
from caxton.memory.embedded.shared_lock import SharedLock
from caxton.memory.embedded.vector_index import FLAT_BELOW, VectorIndex
from caxton.memory.embedded.word_query import WordQuery

__all__ = ["Found", "Index", "IndexModel"]

MOST_LOOKED_AT: Final = 8_192
"""Places that are ranked again at most, where many are of the same entities."""

Eids = NDArray[np.uint64]
Owners = NDArray[np.int64]


class IndexModel(msgspec.Struct, frozen=True):
    """Which vectors are searched."""

    number: int = 0
    """Of the model in the store; 0 without one."""
    text: str = ""
    """``NAME@SHA256``."""
    dimension: int = 0


class Found(msgspec.Struct, frozen=True, eq=False):
    """What the indexes say; to be ranked with the vectors themselves."""

    near: Eids
    """An entity for each place that may be near, what seems nearest first."""
    near_parts: NDArray[np.uint16]
    """Which of its vectors."""
    seem: NDArray[np.float32]
    """How near each seems; see ``VectorIndex.search``."""
    worded: Eids
    """The best by words, best first."""
    query: WordQuery | None = None
    """The words as they were looked up."""


class Index:
    """Vectors and words of all entities.

    Args:
        model: whose vectors are searched.
        flat_below: see ``VectorIndex``.
    """

    def __init__(self, model: IndexModel, *, flat_below: int = FLAT_BELOW) -> None:
        self.model = model
        self.seq = 0
        """The last change of the store that it has."""
        self.lock = SharedLock()
        self.roster = Roster()
        self.words = KeywordIndex()
        self.vectors = VectorIndex(max(1, model.dimension), flat_below=flat_below)
        self._choosing = threading.Lock()

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self.roster.bytes + self.words.bytes + self.vectors.bytes

    @property
    def dead(self) -> int:
        """Places of vectors that are gone or replaced."""
        return self.vectors.dead

    # --- writing ---------------------------------------------------------------------------

    def apply(self, seq: int, changed: Iterable[Changed]) -> None:
        """Take up what a commit changed. Doing so twice changes nothing more.

        Raises:
            ValueError: it does not follow what was applied before.
        """
        last = _last_of_each(changed)
        gone = np.array([one.eid for one in last if one.deleted], dtype=np.uint64)
        kept = [one for one in last if not one.deleted]
        with self.lock.alone():
            self._remove(gone)
            if kept:
                self._put(kept)
            self.seq = max(self.seq, seq)

    def _remove(self, eids: Eids) -> None:
        owners = self.roster.owners(eids)
        owners = owners[owners >= 0]
        if len(owners):
            self.vectors.remove(owners)
            self.words.remove(owners)
            self.roster.remove(owners)

    def _put(self, kept: Sequence[Changed]) -> None:
        facts = Rows(
            eid=np.array([one.eid for one in kept], np.uint64),
            scope=np.array([one.scope for one in kept], np.uint32),
            type=np.array([one.type for one in kept], np.uint32),
            valid_from=np.array([one.valid_from for one in kept], np.int64),
            valid_to=np.array([one.valid_to for one in kept], np.int64),
        )
        owners = self.roster.put(facts)
        texts = [one.terms for one in kept]
        lengths = np.array(list(map(len, texts)), np.uint32) // np.uint32(4)
        terms = np.frombuffer(b"".join(texts), "<u4")
        self.words.put(owners, lengths, terms)
        given, without = [], []
        for at, one in enumerate(kept):
            if not one.parts or one.model != self.model.number or not self.model.number:
                without.append(at)
            elif one.vectors is not None:
                given.append(at)
        if without:
            self.vectors.remove(owners[without])
        if given:
            held = [rows for at in given if (rows := kept[at].vectors) is not None]
            parts = np.fromiter((len(rows) for rows in held), np.int64, len(held))
            self.vectors.put(owners[given], parts, np.concatenate(held))

    # --- keeping it quick ------------------------------------------------------------------

    @property
    def wants_care(self) -> bool:
        """Whether ``care`` would make it smaller or quicker."""
        return (
            self.vectors.wants_compaction or self.words.wants_merge or self.roster.wants_compaction
        )

    def care(self, *, whole: bool = False) -> list[str]:
        """Take out what is dead and put together what is in pieces; what was done, in words.

        On one thread at a time; searches and writes go on between its turns.

        Args:
            whole: also where little is to be gained.
        """
        done = []
        with self.lock.alone():
            dead = self.vectors.dead
            if dead and (whole or self.vectors.wants_compaction):
                self.vectors.compact()
                done.append(f"took {dead} dead vectors out of the index")
        if whole or self.words.wants_merge:
            dead = self.words.dead
            with self.lock.alone():
                plan = self.words.plan_merge(whole=whole)
            made = self.words.made(plan)
            with self.lock.alone():
                self.words.take(made)
            if dead > self.words.dead:
                done.append(f"took {dead - self.words.dead} dead texts out of the keyword index")
        with self.lock.alone():
            dead = self.roster.dead
            if dead and (whole or self.roster.wants_compaction):
                self.close_gaps()
                done.append(f"took {dead} deleted entities out of the index")
        return done

    def close_gaps(self) -> None:
        """Number the entities anew, without those that are gone. The lock is held alone."""
        numbers = self.roster.compact()
        self.vectors.renumber(numbers)
        self.words.renumber(numbers)

    # --- searching -------------------------------------------------------------------------

    def find(
        self,
        wanted: Wanted,
        limit: int,
        *,
        vector: NDArray[np.float32] | None = None,
        look_at: int = 0,
        terms: Sequence[int] = (),
    ) -> Found:
        """What may answer.

        Args:
            wanted: which entities.
            limit: most entities by words, and least by vectors where there are so many.
            vector: ``[dimension]``; none are compared when None.
            look_at: places to give, what seems nearest.
            terms: numbers of the words to look for.
        """
        with self.lock.shared():
            with self._choosing:
                chosen = self.roster.choose(wanted)
                allowed = None
                if chosen is not None and vector is not None:
                    allowed = chosen.places(self.vectors)
            if chosen is not None and not chosen.count:
                return _NOTHING
            places, seem = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
            if vector is not None:
                places, seem = self._near(vector, limit, look_at, allowed)
            query = self.words.query(terms)
            if chosen is None:
                worded, _ = query.best(limit)
            else:
                worded, _ = query.best(limit, chosen.owners.values, chosen.few)
            return Found(
                near=self.roster.eids(self.vectors.owners_of(places)),
                near_parts=self.vectors.parts_of(places),
                seem=seem,
                worded=self.roster.eids(worded),
                query=query,
            )

    def tell(
        self, eids: Sequence[int], terms: Sequence[int], query: WordQuery | None = None
    ) -> tuple[list[int], list[float]]:
        """How many vectors each of some entities has, and the BM25 of terms in each.

        Args:
            eids: which.
            terms: numbers of the words.
            query: the same words as ``find`` looked them up; used if nothing was written since.
        """
        with self.lock.shared():
            owners = self.roster.owners(np.array(eids, dtype=np.uint64))
            there = owners >= 0
            parts, scores = np.zeros(len(owners), np.int64), np.zeros(len(owners), np.float32)
            parts[there] = self.vectors.counts_of(owners[there])
            if len(terms):
                if query is None or not self.words.holds(query):
                    query = self.words.query(terms)
                scores[there] = query.scores(owners[there])
            return parts.tolist(), scores.tolist()

    def _near(
        self,
        vector: NDArray[np.float32],
        limit: int,
        look_at: int,
        allowed: NDArray[np.bool_] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Places of at least ``limit`` entities, where so many have vectors."""
        while True:
            places, seem = self.vectors.search(vector, look_at, allowed)
            if len(places) < look_at or look_at >= MOST_LOOKED_AT:
                return places, seem
            if len(np.unique(self.vectors.owners_of(places))) >= limit:
                return places, seem
            look_at *= 2


def _last_of_each(changed: Iterable[Changed]) -> list[Changed]:
    """One for each entity, ascending, with the vectors that an earlier one gave."""
    last: dict[int, Changed] = {}
    for one in changed:
        before = last.get(one.eid)
        if before is not None and one.vectors is None and one.parts:
            one = msgspec.structs.replace(one, vectors=before.vectors)
        last[one.eid] = one
    return [last[eid] for eid in sorted(last)]


_NOTHING: Final = Found(
    np.zeros(0, np.uint64), np.zeros(0, np.uint16), np.zeros(0, np.float32), np.zeros(0, np.uint64)
)
