"""Small numbers for scopes, types, models and terms, given by the writer as they first occur."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import lmdb

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
        self._known: dict[bytes, int] = {}
        self._terms: dict[str, int] = {}
        self._fresh: list[bytes] = []
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
        key = number_key(kind, text)
        known = self._known.get(key)
        if known is None:
            raw = txn.get(key, db=tables["numbers"])
            if raw is None:
                return None
            known = self._known[key] = int(U32.unpack(raw)[0])
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
        self._known[key] = number
        self._fresh.append(key)
        return number

    def terms(
        self,
        txn: lmdb.Transaction[bytes],
        table: Any,
        head: Head,
        terms: list[str],
    ) -> list[int]:
        """The numbers of terms, in order, new ones for those that have none."""
        known = self._terms
        found = []
        for term in terms:
            number = known.get(term)
            if number is None:
                key = term_key(term)
                raw = txn.get(key, db=table)
                if raw is None:
                    head.terms = number = head.terms + 1
                    txn.put(key, U32.pack(number), db=table)
                    self._fresh_terms.append(term)
                else:
                    number = int(U32.unpack(raw)[0])
                known[term] = number
            found.append(number)
        return found
