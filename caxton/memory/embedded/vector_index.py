"""Finds owners by vectors: all are looked at, up to some thousands as they are, then as codes.

A code (RaBitQ) has one bit for each dimension. What it finds is a guess, to be ranked again with
the vectors themselves. Looking at every code is quick enough, and so a choice of owners costs
nothing of what is found, as it would in a graph of neighbours.

An owner has one vector for each part; they lie at consecutive places. New vectors are put at the
end; the old places are dead until they are taken out. Not thread-safe: whoever searches keeps
writers away meanwhile.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from caxton.memory.embedded.codes import Codes
from caxton.memory.embedded.columns import Column

__all__ = ["FLAT_BELOW", "VectorIndex"]

FLAT_BELOW: Final = 4_096
"""Vectors that are compared as they are; more are compared by their codes."""
DEAD: Final = 0.2
"""Share of dead places above which they are taken out."""
LEAST_DEAD: Final = 256
FEW: Final = 200
"""So many allowed places are all given, without asking their codes."""

Owners = NDArray[np.int64]
Floats = NDArray[np.float32]


class VectorIndex:
    """The vectors of owners, which are numbers from 0.

    Args:
        dimension: of the vectors.
        flat_below: so many are compared as they are.
    """

    def __init__(self, dimension: int, *, flat_below: int = FLAT_BELOW) -> None:
        self.dimension = dimension
        self.moved = 0
        """Grows when places get other numbers."""
        self._flat_below = flat_below
        self._flat = Column(np.float32, dimension)
        self._codes: Codes | None = None
        self._owner = Column(np.int64)
        self._part = Column(np.uint16)
        self._living = Column(np.bool_)
        self._first = Column(np.int64)
        """Of each owner, the place of its first vector; -1 without."""
        self._parts = Column(np.uint16)
        self._count = 0

    # --- what there is ---------------------------------------------------------------------

    def __len__(self) -> int:
        """Vectors that live."""
        return self._count

    @property
    def places(self) -> int:
        """Living and dead ones."""
        return len(self._owner)

    @property
    def dead(self) -> int:
        """Places whose vectors are gone or replaced."""
        return len(self._owner) - self._count

    @property
    def kind(self) -> str:
        """How it searches: ``flat`` or ``rabitq``."""
        return "flat" if self._codes is None else "rabitq"

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        columns = (
            self._flat, self._owner, self._part, self._living, self._first, self._parts
        )  # fmt: skip
        codes = 0 if self._codes is None else self._codes.bytes
        return codes + sum(one.bytes for one in columns)

    @property
    def living(self) -> NDArray[np.bool_]:
        """Of each place, whether its vector is there."""
        living: NDArray[np.bool_] = self._living.values
        return living

    def owners_of(self, places: NDArray[np.int64] | slice) -> Owners:
        """Whose vectors lie there."""
        owners: Owners = self._owner.values[places]
        return owners

    def parts_of(self, places: NDArray[np.int64]) -> NDArray[np.uint16]:
        """Which part of its owner each place is."""
        parts: NDArray[np.uint16] = self._part.values[places]
        return parts

    def counts_of(self, owners: Owners) -> NDArray[np.int64]:
        """How many vectors each of some owners has."""
        counts = np.zeros(len(owners), dtype=np.int64)
        inside = owners < len(self._parts)
        counts[inside] = self._parts.values[owners[inside]]
        return counts

    def places_of(self, owners: Owners) -> NDArray[np.int64]:
        """All places of some owners, in their order."""
        counts = self.counts_of(owners)
        owners, counts = owners[counts > 0], counts[counts > 0]
        ends = np.cumsum(counts)
        shift = np.repeat(self._first.values[owners] - (ends - counts), counts)
        places: NDArray[np.int64] = np.arange(len(shift)) + shift
        return places

    # --- writing ---------------------------------------------------------------------------

    def put(self, owners: Owners, parts: NDArray[np.int64], vectors: NDArray[np.float16]) -> None:
        """Vectors of owners, each once, in place of those they have.

        Args:
            owners: whose vectors.
            parts: how many each has, 1 or more.
            vectors: all vectors, behind each other.
        """
        self.remove(owners)
        first = len(self._owner)
        ends = np.cumsum(parts)
        self._owner.extend(np.repeat(owners, parts))
        self._part.extend(
            (np.arange(len(vectors)) - np.repeat(ends - parts, parts)).astype(np.uint16)
        )
        self._living.extend(np.ones(len(vectors), dtype=np.bool_))
        self._reach(int(owners.max(initial=-1)) + 1)
        self._first.values[owners] = first + ends - parts
        self._parts.values[owners] = parts
        self._count += len(vectors)
        rows = vectors.astype(np.float32)
        if self._codes is not None:
            self._codes.extend(rows)
            return
        self._flat.extend(rows)
        if len(self._flat) >= self._flat_below:
            codes = Codes(self.dimension)
            codes.train(self._flat.values)
            codes.extend(self._flat.values)
            self._codes, self._flat = codes, Column(np.float32, self.dimension)

    def remove(self, owners: Owners) -> None:
        """Forget the vectors of owners; those that have none are passed over."""
        places = self.places_of(owners)
        if len(places):
            self._living.values[places] = False
            self._count -= len(places)
            inside = owners[owners < len(self._first)]
            self._first.values[inside] = -1
            self._parts.values[inside] = 0

    def _reach(self, owners: int) -> None:
        missing = owners - len(self._first)
        if missing > 0:
            self._first.extend(np.full(missing, -1, dtype=np.int64))
            self._parts.extend(np.zeros(missing, dtype=np.uint16))

    @property
    def wants_compaction(self) -> bool:
        """Whether there are many dead places."""
        return self.dead > max(LEAST_DEAD, DEAD * self.places)

    def compact(self) -> None:
        """Take the dead places out."""
        if not self.dead:
            return
        living = self._living.values.copy()
        if self._codes is None:
            self._flat.replace(self._flat.values[living])
        else:
            self._codes.remove(~living)
        for column in (self._owner, self._part, self._living):
            column.replace(column.values[living])
        self._find_firsts()
        self.moved += 1

    def _find_firsts(self) -> None:
        begins = np.flatnonzero((self._part.values == 0) & self._living.values)
        self._first.values[:] = -1
        self._first.values[self._owner.values[begins]] = begins

    def renumber(self, numbers: Owners) -> None:
        """Give owners other numbers, ascending as the old ones; -1 for those that are no more."""
        self.remove(np.flatnonzero(numbers < 0))
        self.compact()
        kept = np.flatnonzero(numbers[: len(self._parts)] >= 0)
        parts = np.zeros(int(numbers.max(initial=-1)) + 1, dtype=np.uint16)
        parts[numbers[kept]] = self._parts.values[kept]
        self._owner.values[:] = numbers[self._owner.values]
        self._parts.replace(parts)
        self._first.replace(np.full(len(parts), -1, dtype=np.int64))
        self._find_firsts()
        self.moved += 1

    # --- searching -------------------------------------------------------------------------

    def search(
        self, query: Floats, count: int, chosen: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], Floats]:
        """The living places whose vectors seem nearest, the nearest first.

        Args:
            query: ``[dimension]``.
            count: how many at most.
            chosen: of each place, whether it may be found; all when None.

        Returns: the places, and the product of each one's vector with the query: as it is, or as
        its code tells it; infinite where it was not asked because so few are allowed.
        """
        if not self._count:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        allowed = None
        if self.dead:
            allowed = self._living.values if chosen is None else self._living.values & chosen
        elif chosen is not None:
            allowed = chosen
        few = allowed is not None and np.count_nonzero(allowed) <= FEW
        if self._codes is not None and not few:
            bits = None if allowed is None else np.packbits(allowed, bitorder="little")
            return self._codes.search(query, min(count, self.places), bits)
        places = np.arange(self.places) if allowed is None else np.flatnonzero(allowed)
        if self._codes is not None:
            return places, np.full(len(places), np.inf, dtype=np.float32)
        rows = self._flat.values if allowed is None else self._flat.values[places]
        scores = rows @ query
        if len(places) > count:
            nearest = np.argpartition(-scores, count - 1)[:count]
            places, scores = places[nearest], scores[nearest]
        order = np.argsort(-scores)
        return places[order], scores[order]

    # --- moving it, and looking at it -------------------------------------------------------

    def dump(self) -> dict[str, NDArray[Any]]:
        """Everything that lives, to be written. Takes the dead places out."""
        self.compact()
        held = self._flat.values if self._codes is None else self._codes.dump()
        name = "flat" if self._codes is None else "codes"
        return {
            "owner": self._owner.values.copy(), "part": self._part.values.copy(), name: held.copy()
        }  # fmt: skip

    def restore(self, held: dict[str, NDArray[Any]]) -> None:
        """Hold what ``dump`` gave, instead of nothing.

        Raises:
            ValueError: it does not fit together.
        """
        owners, parts = held["owner"], held["part"]
        if "codes" in held:
            self._codes = Codes.loaded(held["codes"], self.dimension)
        else:
            self._flat.replace(held["flat"].reshape(-1, self.dimension))
        size = len(self._flat) if self._codes is None else len(self._codes)
        if not size == len(owners) == len(parts):
            raise ValueError(f"{size} vectors, but {len(owners)} owners and {len(parts)} parts")
        self._owner.replace(owners)
        self._part.replace(parts)
        self._living.replace(np.ones(size, dtype=np.bool_))
        self._count = size
        self._reach(int(owners.max(initial=-1)) + 1)
        counts = np.bincount(owners, minlength=len(self._parts))
        self._parts.values[:] = counts
        self._find_firsts()

    def agree(self, places: NDArray[np.int64], vectors: NDArray[np.float16]) -> NDArray[np.bool_]:
        """Of each place, whether it holds what would be held of its vector."""
        rows = vectors.astype(np.float32)
        if self._codes is not None:
            return self._codes.agree(places, rows)
        agreed: NDArray[np.bool_] = (self._flat.values[places] == rows).all(axis=1)
        return agreed
