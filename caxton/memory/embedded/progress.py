"""One operation under way: what it writes in, and what came of it so far."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import lmdb
import msgspec
import numpy as np
from numpy.typing import NDArray

from caxton.errors import EntityConflict, StorageCorrupt, ValidationError
from caxton.memory.embedded.layout import (
    ALWAYS_FROM,
    ALWAYS_TO,
    MODEL,
    SCOPE,
    TYPE,
    Fact,
    Head,
    name_key,
)
from caxton.memory.embedded.numbers import Numbers
from caxton.memory.embedded.opened import NAME

__all__ = ["Changed", "Progress", "Words", "bad_name", "check_version", "fact_of", "rows_of"]

Words: TypeAlias = Callable[[str], list[str]]
"""The terms of a text, in order, as the keyword index counts them."""


class Changed(msgspec.Struct, frozen=True, gc=False):
    """What a commit made of one entity. Saying it twice changes nothing more."""

    eid: int
    """Its number in the store; never given to another one, also after it is removed."""
    scope: int
    """Number of its scope; see ``Moment.scope_ids``."""
    type: int
    """Number of its type; see ``Moment.type_ids``."""
    deleted: bool = False
    parts: int = 0
    """How many vectors it has now."""
    model: int = 0
    """Number of the model they are of; 0 without."""
    vectors: NDArray[np.float16] | None = None
    """``[parts, dimension]`` where this write gave them; None where it left them as they are."""
    terms: bytes = b""
    """Numbers of the terms of its text in their order, uint32 little-endian."""
    valid_from: int = ALWAYS_FROM
    """In ms since 1970; ``layout.ALWAYS_FROM`` for None."""
    valid_to: int = ALWAYS_TO
    """In ms since 1970, not included; ``layout.ALWAYS_TO`` for None."""


class Progress:
    """What an operation writes in. When one raises, its transaction must not be committed.

    Args:
        txn: what it writes in.
        tables: handles of the tables.
        head: changed as it goes.
        numbers: gives small numbers; undone by the caller when the operation fails.
        words: makes the terms of a text.
        model: number of the model that vectors are of, and its dimension.
    """

    def __init__(
        self,
        txn: lmdb.Transaction[bytes],
        tables: Mapping[str, Any],
        head: Head,
        numbers: Numbers,
        words: Words,
        model: tuple[int, int],
    ) -> None:
        self.changed: list[Changed] = []
        self.counts: Counter[tuple[bytes, int]] = Counter()
        """By how much each row of ``counts`` changes."""
        self.txn = txn
        self.tables = tables
        self.head = head
        self.numbers = numbers
        self.words = words
        self.model, self.dimension = model

    def find(self, kind: bytes, text: str) -> int | None:
        """The small number of a text; None when it has none."""
        return self.numbers.find(self.txn, self.tables, kind, text)

    def give(self, kind: bytes, text: str) -> int:
        """The small number of a text, a new one if it has none.

        Raises:
            StorageError: there are no more.
        """
        return self.numbers.give(self.txn, self.tables, self.head, kind, text)

    def starting(self, table: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The rows whose keys begin so."""
        cursor = self.txn.cursor(self.tables[table])
        if cursor.set_range(prefix):
            for key, value in cursor:
                if not key.startswith(prefix):
                    return
                yield key, value

    def fact(self, scope: int | None, name: str) -> tuple[bytes, Fact | None]:
        """The key in ``names`` of a folded name, and what is there.

        Raises:
            ValidationError: the name is no Unicode text.
        """
        if scope is None:
            return b"", None
        try:
            key = name_key(scope, name)
        except UnicodeEncodeError as error:
            raise bad_name(name) from error
        raw = self.txn.get(key, db=self.tables["names"])
        return key, None if raw is None else fact_of(key, raw)

    def count(self, scope: int, fact: Fact, by: int) -> None:
        """Note that there is one more or less that is as ``fact`` says."""
        for key in ((SCOPE, scope), (TYPE, fact.type), (MODEL, fact.model)):
            self.counts[key] += by
        self.head.observations += by * fact.observations
        self.head.vectors += by * fact.parts

    def count_many(self, counts: Mapping[tuple[int, int, int], int]) -> None:
        """Note that there are more: how many of each scope, type and model."""
        for (scope, kind, model), more in counts.items():
            for key in ((SCOPE, scope), (TYPE, kind), (MODEL, model)):
                self.counts[key] += more

    def put_many(self, table: str, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Write rows, quickest where their keys ascend."""
        self.txn.cursor(self.tables[table]).putmulti(rows)

    def append(self, table: str, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Write rows whose keys ascend, behind all that are there.

        Raises:
            StorageCorrupt: one is not behind what is there.
        """
        done, added = self.txn.cursor(self.tables[table]).putmulti(rows, append=True)
        if not done == added == len(rows):
            raise StorageCorrupt(store=NAME, reason=f"{table} has rows of entities that come later")


def rows_of(progress: Progress, table: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
    """The rows of those of ``keys`` that are there."""
    found: dict[bytes, bytes] = dict(
        # In their order: a key that lies on the page of the last one is found without a descent.
        progress.txn.cursor(progress.tables[table]).getmulti(sorted(keys))
    )
    return found


def fact_of(key: bytes, raw: bytes) -> Fact:
    """A row of ``names``.

    Raises:
        StorageCorrupt: it is none.
    """
    try:
        return Fact.unpack(raw)
    except struct.error as error:
        raise StorageCorrupt(store=NAME, reason=f"names {key.hex()}: {error}") from error


def bad_name(name: str) -> ValidationError:
    """A name that is no Unicode text."""
    return ValidationError(field="entity_name", value=name, allowed="a Unicode text")


def check_version(given: int, there: int, name: str, what: Any, *, restored: bool) -> None:
    """Whether a version may follow the one that is there, 0 for none.

    Raises:
        EntityConflict: it may not.
    """
    fits = given >= max(there, 1) if restored else given == there + 1
    if not fits:
        is_there = f"version {there} is there" if there else "it is not there"
        raise EntityConflict(
            entity_name=name,
            memory_scope=what.scope.key,
            reason=f"version {given} was to be written, but {is_there}",
        )
