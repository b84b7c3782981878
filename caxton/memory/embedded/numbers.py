"""Small numbers for scopes, types, models and terms, given by the writer as they first occur."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, count
from typing import Any, Final

import lmdb
import numpy as np
from numpy.typing import NDArray

from caxton.errors import StorageError
from caxton.memory.embedded.layout import MOST, U32, Head, number_key, term_key, text_key

__all__ = ["Numbers"]

KEPT: Final = 50_000
"""Numbers that are kept in memory; all are forgotten when there are more."""


class Numbers:
    """Gives numbers within a write transaction, and knows those it gave.

    What was given in a transaction that is not kept has to be taken back with ``undo``.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, str], int] = {}
        self._terms: dict[str, int] = {}
        self._fresh: list[tuple[bytes, str]] = []
        self._fresh_terms: list[str] = []

    def mark(self) -> tuple[int, int]:
        """Where ``undo`` goes back to."""
        return len(self._fresh), len(self._fresh_terms)

    def undo(self, mark: tuple[int, int]) -> None:
        """Take back what was given since ``mark``."""
        for key in self._fresh[mark[0] :]:
            self._known.pop(key, None)
        for term in self._fresh_terms[mark[1] :]:
            self._terms.pop(term, None)
        del self._fresh[mark[0] :]
        del self._fresh_terms[mark[1] :]

    def keep(self) -> None:
        """What was given is kept: the transaction is committed."""
        self._fresh.clear()
        self._fresh_terms.clear()
        if len(self._known) > KEPT:
            self._known.clear()
        if len(self._terms) > KEPT:
            self._terms.clear()

    def find(
        self, txn: lmdb.Transaction[bytes], tables: Mapping[str, Any], kind: bytes, text: str
    ) -> int | None:
        """The number of a text; None when it has none."""
        known = self._known.get((kind, text))
        if known is None:
            raw = txn.get(number_key(kind, text), db=tables["numbers"])
            if raw is None:
                return None
            known = self._known[kind, text] = int(U32.unpack(raw)[0])
        return known

    def give(
        self,
        txn: lmdb.Transaction[bytes],
        tables: Mapping[str, Any],
        head: Head,
        kind: bytes,
        text: str,
    ) -> int:
        """The number of a text, a new one if it has none.

        Raises:
            StorageError: there are no more.
        """
        found = self.find(txn, tables, kind, text)
        if found is not None:
            return found
        letter = kind.decode()
        number = head.given.get(letter, 0) + 1
        if number > MOST[kind]:
            raise StorageError(
                store="memory/store", reason=f"it has {MOST[kind]} different types or models"
            )
        key = number_key(kind, text)
        head.given[letter] = number
        txn.put(key, U32.pack(number), db=tables["numbers"])
        txn.put(text_key(kind, number), text.encode(), db=tables["texts"])
        self._known[kind, text] = number
        self._fresh.append((kind, text))
        return number

    def terms(
        self,
        txn: lmdb.Transaction[bytes],
        tables: Mapping[str, Any],
        head: Head,
        texts: Sequence[list[str]],
    ) -> NDArray[np.uint32]:
        """The numbers of the terms of texts, behind each other, new ones for those without.

        Those of one text are given in the order of its terms sorted, those of the next after them.
        """
        known, terms = self._terms, list(chain.from_iterable(texts))
        unknown = {term_key(one): one for one in set(terms).difference(known)}
        if unknown:
            cursor = txn.cursor(tables["terms"])
            for key, raw in cursor.getmulti(sorted(unknown)):
                known[unknown.pop(key)] = int(U32.unpack(raw)[0])
            new = _as_they_come(texts, set(unknown.values()))
            known.update(zip(new, count(head.terms + 1)))
            self._fresh_terms += new
            head.terms += len(new)
            pack = U32.pack
            cursor.putmulti([(key, pack(known[unknown[key]])) for key in sorted(unknown)])
        return np.array([known[one] for one in terms], "<u4")


def _as_they_come(texts: Sequence[list[str]], new: set[str]) -> list[str]:
    """The terms ``new`` as they occur in texts; those of the same text are sorted."""
    found: list[str] = []
    for text in texts:
        if not new:
            break
        if not new.isdisjoint(text):
            here = new.intersection(text)
            new -= here
            found += sorted(here)
    return found
