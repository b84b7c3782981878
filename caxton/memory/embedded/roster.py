"""All entities as arrays: what a search chooses by without reading the store.

Each has a number, its owner number, in the order of its id in the store. Choices are remembered and
go along with what is written.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from caxton.memory.embedded.columns import Column
from caxton.memory.embedded.layout import ALWAYS_FROM, ALWAYS_TO
from caxton.memory.embedded.vector_index import VectorIndex

__all__ = ["FEW", "Chosen", "Roster", "Rows", "Wanted"]

FEW: Final = 256
"""So many chosen owners are also kept as a list of them."""
REMEMBERED: Final = 64
"""Choices that are remembered at most."""
REMEMBERED_BYTES: Final = 16 * 1024 * 1024
DEAD: Final = 0.2
LEAST_DEAD: Final = 1_000

Owners = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Rows(msgspec.Struct, frozen=True, eq=False):
    """What is known of some entities, ascending by eid."""

    eid: NDArray[np.uint64]
    scope: NDArray[np.uint32]
    type: NDArray[np.uint32]
    valid_from: NDArray[np.int64]
    valid_to: NDArray[np.int64]


class Wanted(msgspec.Struct, frozen=True):
    """What to choose, in numbers of the store."""

    scopes: frozenset[int] | None = None
    types: frozenset[int] | None = None
    from_ms: int | None = None
    to_ms: int | None = None


class Chosen:
    """Which owners are wanted, and which places of the vector index are theirs."""

    def __init__(self, wanted: Wanted, times: int) -> None:
        self.wanted = wanted
        self.times = times
        """State of the roster's times and types that it was made of; it is no good for another."""
        self.owners = Column(np.bool_)
        self.few: Owners | None = None
        """The chosen ones, where there are at most ``FEW``."""
        self.count = 0
        self._places = Column(np.bool_)
        self._moved = -1

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self.owners.bytes + self._places.bytes

    def places(self, vectors: VectorIndex) -> Bools:
        """Of each place of the vector index, whether its owner is chosen."""
        if self._moved != vectors.moved:
            self._places.clear()
            self._moved = vectors.moved
        begin = len(self._places)
        if begin < vectors.places:
            later = slice(begin, vectors.places)
            self._places.extend(self.owners.values[vectors.owners_of(later)])
        chosen: Bools = self._places.values
        return chosen


class Roster:
    """The entities of the store. Not thread-safe, but for ``choose`` by one thread at a time."""

    def __init__(self) -> None:
        self._eid = Column(np.uint64)
        self._scope = Column(np.uint32)
        self._type = Column(np.uint32)
        self._from = Column(np.int64)
        self._to = Column(np.int64)
        self._living = Column(np.bool_)
        self._count = 0
        self._times = 0
        """Grows when what is chosen by type or time may be another."""
        self._timed = 0
        """Living entities that do not always hold."""
        self._bounds: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None
        self._chosen: OrderedDict[Wanted, Chosen] = OrderedDict()

    # --- what there is ---------------------------------------------------------------------

    def __len__(self) -> int:
        """Entities that live."""
        return self._count

    @property
    def dead(self) -> int:
        """Numbers of entities that are gone."""
        return len(self._eid) - self._count

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        columns = (self._eid, self._scope, self._type, self._from, self._to, self._living)
        return sum(one.bytes for one in columns) + sum(one.bytes for one in self._chosen.values())

    def eids(self, owners: Owners) -> NDArray[np.uint64]:
        """The ids of owners in the store."""
        eids: NDArray[np.uint64] = self._eid.values[owners]
        return eids

    def owners(self, eids: NDArray[np.uint64]) -> Owners:
        """The owners of ids; -1 for those that are not there."""
        found = np.searchsorted(self._eid.values, eids)
        found[found == len(self._eid)] = 0
        if not len(self._eid):
            return np.full(len(eids), -1, dtype=np.int64)
        there = (self._eid.values[found] == eids) & self._living.values[found]
        return np.where(there, found, -1)

    def rows(self) -> Rows:
        """All that live."""
        living = self._living.values
        columns = (self._eid, self._scope, self._type, self._from, self._to)
        return Rows(*(one.values[living] for one in columns))

    # --- writing ---------------------------------------------------------------------------

    def put(self, rows: Rows) -> Owners:
        """Take up entities, ascending by id, new or known; their owners.

        Raises:
            ValueError: a new id is below one that was given before.
        """
        owners = self.owners(rows.eid)
        known, new = np.flatnonzero(owners >= 0), np.flatnonzero(owners < 0)
        if len(known):
            self._change(owners[known], rows, known)
        if len(new):
            if len(self._eid) and rows.eid[new[0]] <= self._eid.values[-1]:
                raise ValueError(f"entity {rows.eid[new[0]]} comes late")
            first = len(self._eid)
            owners[new] = np.arange(first, first + len(new))
            self._eid.extend(rows.eid[new])
            self._scope.extend(rows.scope[new])
            self._type.extend(rows.type[new])
            self._from.extend(rows.valid_from[new])
            self._to.extend(rows.valid_to[new])
            self._living.extend(np.ones(len(new), dtype=np.bool_))
            self._count += len(new)
            timed = self._is_timed(rows.valid_from[new], rows.valid_to[new])
            if timed:
                self._timed += timed
                self._times += 1
        return owners

    @staticmethod
    def _is_timed(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> int:
        return int(np.count_nonzero((starts != ALWAYS_FROM) | (ends != ALWAYS_TO)))

    def _change(self, owners: Owners, rows: Rows, places: NDArray[np.int64]) -> None:
        before = self._is_timed(self._from.values[owners], self._to.values[owners])
        changed = False
        pairs = (
            (self._scope, rows.scope), (self._type, rows.type), (self._from, rows.valid_from),
            (self._to, rows.valid_to),
        )  # fmt: skip
        for column, values in pairs:
            if not np.array_equal(column.values[owners], values[places]):
                column.values[owners] = values[places]
                changed = True
        if changed:
            after = self._is_timed(self._from.values[owners], self._to.values[owners])
            self._timed += after - before
            self._times += 1

    def remove(self, owners: Owners) -> None:
        """Forget owners that live."""
        timed = self._is_timed(self._from.values[owners], self._to.values[owners])
        self._living.values[owners] = False
        self._count -= len(owners)
        if timed:
            self._timed -= timed
            self._times += 1

    @property
    def wants_compaction(self) -> bool:
        """Whether many numbers are of entities that are gone."""
        return self.dead > max(LEAST_DEAD, DEAD * len(self._eid))

    def compact(self) -> Owners:
        """Give those that live numbers without gaps; the new number of each, -1 for the dead."""
        living = self._living.values
        numbers = np.where(living, np.cumsum(living) - 1, -1)
        kept = np.flatnonzero(living)
        for column in (self._eid, self._scope, self._type, self._from, self._to, self._living):
            column.replace(column.values[kept])
        self._chosen.clear()
        return numbers

    # --- choosing --------------------------------------------------------------------------

    def choose(self, wanted: Wanted) -> Chosen | None:
        """Which owners are wanted; None when all are that live."""
        wanted = self._at_bounds(wanted)
        if wanted == Wanted():
            return None
        plain = wanted.types is None and wanted.from_ms is None and wanted.to_ms is None
        times = 0 if plain else self._times
        chosen = self._chosen.get(wanted)
        if chosen is None or chosen.times != times:
            chosen = self._chosen[wanted] = Chosen(wanted, times)
        self._chosen.move_to_end(wanted)
        self._extend(chosen)
        self._forget()
        return chosen

    def _at_bounds(self, wanted: Wanted) -> Wanted:
        """The same with the earliest moments that choose alike, so that it is asked for again."""
        if wanted.from_ms is None and wanted.to_ms is None:
            return wanted
        if not self._timed:
            return Wanted(wanted.scopes, wanted.types)
        if self._bounds is None or self._bounds[0] != self._times:
            living = self._living.values
            starts, ends = self._from.values[living], self._to.values[living]
            self._bounds = (self._times, np.unique(starts), np.unique(ends))
        _, starts, ends = self._bounds
        since, until = wanted.from_ms, wanted.to_ms
        if until is not None:
            at = int(np.searchsorted(starts, until, side="right"))
            until = int(starts[at - 1]) if at else ALWAYS_FROM
            until = None if at == len(starts) else until
        if since is not None:
            at = int(np.searchsorted(ends, since, side="right"))
            since = int(ends[at - 1]) if at else None
        return Wanted(wanted.scopes, wanted.types, since, until)

    def _extend(self, chosen: Chosen) -> None:
        """Look at the entities that came since."""
        begin, wanted = len(chosen.owners), chosen.wanted
        if begin == len(self._eid):
            return
        later = slice(begin, len(self._eid))
        takes: Bools = np.ones(len(self._eid) - begin, dtype=np.bool_)
        if wanted.scopes is not None:
            takes &= _among(self._scope.values[later], wanted.scopes)
        if wanted.types is not None:
            takes &= _among(self._type.values[later], wanted.types)
        if wanted.to_ms is not None:
            takes &= self._from.values[later] <= wanted.to_ms
        if wanted.from_ms is not None:
            takes &= self._to.values[later] > wanted.from_ms
        chosen.owners.extend(takes)
        more = np.flatnonzero(takes) + begin
        chosen.count += len(more)
        if chosen.count > FEW:
            chosen.few = None
        else:
            chosen.few = more if chosen.few is None else np.concatenate((chosen.few, more))

    def _forget(self) -> None:
        while len(self._chosen) > REMEMBERED or (
            len(self._chosen) > 1
            and sum(one.bytes for one in self._chosen.values()) > REMEMBERED_BYTES
        ):
            self._chosen.popitem(last=False)


def _among(values: NDArray[np.uint32], wanted: frozenset[int]) -> Bools:
    if len(wanted) == 1:
        (one,) = wanted
        same: Bools = values == one
        return same
    return np.isin(values, np.fromiter(wanted, np.uint32, len(wanted)))
