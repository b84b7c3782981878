"""One moment of the store: everything that is read in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import lmdb
import numpy as np
from numpy.typing import NDArray

from caxton.errors import StorageCorrupt
from caxton.memory.backend import Direction
from caxton.memory.embedded.blocks import Facts, facts_of_rows, term_blocks, vector_blocks
from caxton.memory.embedded.layout import (
    HEAD,
    MODEL,
    RELATION,
    SCOPE,
    SNAPSHOT,
    TYPE,
    U32,
    U64,
    VECTOR,
    Fact,
    Head,
    head_record,
    name_key,
    number_key,
    relation_ends,
    relation_key,
    relation_prefix,
    relation_turned,
    term_key,
    text_key,
)
from caxton.memory.embedded.opened import NAME
from caxton.memory.embedded.records import (
    EntityRecord,
    RelationRecord,
    entity_of,
    entity_record,
    name_record,
    relation_of,
    relation_record,
)
from caxton.memory.model import Entity, EntityKey, Relation, RelationKey, Scope, fold

__all__ = ["Moment"]

KEPT: Final = 10_000
"""Texts of numbers that are kept in memory; all are forgotten when there are more."""


class Moment:
    """One moment of the store. Valid within ``with reader.moment()`` only, on one thread.

    Args:
        txn: the transaction.
        tables: handles of the tables.
        texts: texts of small numbers, shared by all moments of an open store: they never change.
        scopes: scopes of numbers, as ``texts``.
    """

    def __init__(
        self,
        txn: lmdb.Transaction[bytes],
        tables: Mapping[str, Any],
        texts: dict[tuple[bytes, int], str],
        scopes: dict[int, Scope],
    ) -> None:
        self.txn = txn
        self.tables = tables
        self._texts = texts
        self._scopes = scopes
        self._names: dict[int, tuple[Scope, str]] = {}

    # --- numbers ------------------------------------------------------------------------------

    def head(self) -> Head:
        """How much there is."""
        raw = self.txn.get(HEAD, db=self.tables["meta"])
        return Head() if raw is None else head_record(raw)

    @property
    def last_seq(self) -> int:
        """Number of the last change of entities; 0 before the first."""
        return self.head().seq

    @property
    def first_seq(self) -> int:
        """The first change that is still noted; ``last_seq + 1`` when none is."""
        cursor = self.txn.cursor(self.tables["changed"])
        return int(U64.unpack(cursor.key())[0]) if cursor.first() else self.last_seq + 1

    @property
    def snapshot(self) -> bytes:
        """What the last ``Store.trim`` gave; empty when none did."""
        return self.txn.get(SNAPSHOT, b"", db=self.tables["meta"])

    def number(self, kind: bytes, text: str) -> int | None:
        """The small number of a text; None when it never had one."""
        raw = self.txn.get(number_key(kind, text), db=self.tables["numbers"])
        return None if raw is None else int(U32.unpack(raw)[0])

    def text(self, kind: bytes, number: int) -> str:
        """The text of a small number.

        Raises:
            StorageCorrupt: there is none.
        """
        known = self._texts.get((kind, number))
        if known is None:
            raw = self.txn.get(text_key(kind, number), db=self.tables["texts"])
            if raw is None:
                raise StorageCorrupt(store=NAME, reason=f"texts: {kind.decode()}{number} is gone")
            if len(self._texts) > KEPT:
                self._texts.clear()
            known = self._texts[kind, number] = raw.decode()
        return known

    def scope(self, number: int) -> Scope:
        """The scope of a number."""
        known = self._scopes.get(number)
        if known is None:
            if len(self._scopes) > KEPT:
                self._scopes.clear()
            known = self._scopes[number] = Scope.parse(self.text(SCOPE, number))
        return known

    def scope_ids(self, scopes: Sequence[Scope]) -> list[int]:
        """Numbers of scopes; those that never held anything are left out."""
        found = (self.number(SCOPE, one.key) for one in dict.fromkeys(scopes))
        return [one for one in found if one is not None]

    def type_ids(self, types: Sequence[str]) -> list[int]:
        """Numbers of entity types; unknown ones are left out."""
        found = (self.number(TYPE, one) for one in dict.fromkeys(types))
        return [one for one in found if one is not None]

    def relation_type_ids(self, types: Sequence[str]) -> list[int]:
        """Numbers of relation types; unknown ones are left out."""
        found = (self.number(RELATION, one) for one in dict.fromkeys(types))
        return [one for one in found if one is not None]

    def term_ids(self, terms: Sequence[str]) -> list[int | None]:
        """Numbers of terms, in order; None for one that no text had."""
        table = self.tables["terms"]
        found = (self.txn.get(term_key(one), db=table) for one in terms)
        return [None if raw is None else int(U32.unpack(raw)[0]) for raw in found]

    def counts(self, kind: bytes) -> dict[int, int]:
        """Entities of each scope, type or model."""
        found = self.starting("counts", kind)
        return {U32.unpack(key[1:])[0]: U64.unpack(value)[0] for key, value in found}

    # --- entities -----------------------------------------------------------------------------

    def starting(self, table: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The rows whose keys begin so."""
        cursor = self.txn.cursor(self.tables[table])
        if cursor.set_range(prefix):
            for key, value in cursor:
                if not key.startswith(prefix):
                    return
                yield key, value

    def fact(self, key: EntityKey) -> Fact | None:
        """What is known of an entity besides texts."""
        scope = self.number(SCOPE, key.scope.key)
        if scope is None:
            return None
        try:
            row = name_key(scope, key.name)
        except UnicodeEncodeError:
            return None
        raw = self.txn.get(row, db=self.tables["names"])
        return None if raw is None else Fact.unpack(raw)

    def eid(self, key: EntityKey) -> int | None:
        """The number of an entity."""
        fact = self.fact(key)
        return None if fact is None else fact.eid

    def record(self, eid: int) -> EntityRecord | None:
        """An entity as it is kept."""
        raw = self.txn.get(U64.pack(eid), db=self.tables["entities"])
        return None if raw is None else entity_record(raw)

    def entity(self, eid: int) -> Entity | None:
        """An entity by its number."""
        record = self.record(eid)
        return None if record is None else self.entity_of(record)

    def entity_of(self, record: EntityRecord) -> Entity:
        """An entity from its record."""
        return entity_of(record, self.scope(record.scope), self.text(TYPE, record.type))

    def name(self, eid: int) -> tuple[Scope, str]:
        """Scope and name of an entity.

        Raises:
            StorageCorrupt: it is gone.
        """
        known = self._names.get(eid)
        if known is None:
            raw = self.txn.get(U64.pack(eid), db=self.tables["entities"])
            if raw is None:
                raise StorageCorrupt(store=NAME, reason=f"a relation leads to no entity: {eid}")
            record = name_record(raw)
            known = self._names[eid] = (self.scope(record.scope), record.name)
        return known

    # --- relations ----------------------------------------------------------------------------

    def relation(self, key: RelationKey) -> Relation | None:
        """One relation."""
        first = self.eid(EntityKey(key.scope, key.from_entity))
        second = self.eid(EntityKey(key.scope, key.to_entity))
        kind = self.number(RELATION, key.relation_type)
        if first is None or second is None or kind is None:
            return None
        row = relation_key(first, kind, second)
        raw = self.txn.get(row, db=self.tables["out"])
        return None if raw is None else self.relation_of(row, relation_record(raw))

    def relation_of(self, row: bytes, record: RelationRecord | None = None) -> Relation:
        """A relation from its row in ``out``.

        Raises:
            StorageCorrupt: there is no such row.
        """
        if record is None:
            raw = self.txn.get(row, db=self.tables["out"])
            if raw is None:
                raise StorageCorrupt(store=NAME, reason=f"into {row.hex()}: out has no such row")
            record = relation_record(raw)
        first, kind, second = relation_ends(row)
        scope, name = self.name(first)
        return relation_of(record, scope, name, self.text(RELATION, kind), self.name(second)[1])

    def relations(self, eids: Sequence[int], direction: Direction) -> list[Relation]:
        """All relations from and to entities, once each, in their order."""
        rows: dict[bytes, RelationRecord | None] = {}
        for eid in eids:
            prefix = relation_prefix(eid)
            if direction != "in":
                for key, value in self.starting("out", prefix):
                    rows[key] = relation_record(value)
            if direction != "out":
                for key, _ in self.starting("into", prefix):
                    rows.setdefault(relation_turned(key), None)
        return [self.relation_of(row, record) for row, record in rows.items()]

    # --- what an index is made of -------------------------------------------------------------

    def facts(self) -> Facts:
        """Of all entities, ascending by eid."""
        rows = list(self.txn.cursor(self.tables["names"]))
        return facts_of_rows([key for key, _ in rows], [value for _, value in rows])

    def facts_of(self, eids: Sequence[int]) -> Facts:
        """Of some, ascending by eid; those that are not there are left out."""
        keys, values = [], []
        entities, names = self.tables["entities"], self.tables["names"]
        for eid in eids:
            raw = self.txn.get(U64.pack(eid), db=entities)
            if raw is None:
                continue
            record = name_record(raw)
            key = name_key(record.scope, fold(record.name))
            fact = self.txn.get(key, db=names)
            if fact is None:
                raise StorageCorrupt(store=NAME, reason=f"entity {eid} has no row in names")
            keys.append(key)
            values.append(fact)
        return facts_of_rows(keys, values)

    def vector_blocks(
        self, model: int, rows: int = 16_384
    ) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.float16]]]:
        """All vectors of a model, ascending by ``(eid, part)``: ``eids[n]``, ``vectors[n, d]``."""
        others: frozenset[int] = frozenset()
        if set(self.counts(MODEL)) - {0, model}:
            facts = self.facts()
            chosen = (facts.parts > 0) & (facts.model != model)
            others = frozenset(facts.eid[chosen].tolist())
        return vector_blocks(self.txn, self.tables, rows, others)

    def term_blocks(
        self, rows: int = 16_384
    ) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.uint32]]]:
        """The terms of all texts, ascending by eid: ``eids[n]``, how many terms each has, and all
        terms one after another."""
        return term_blocks(self.txn, self.tables, rows)

    def vectors(self, places: Sequence[tuple[int, int]], dimension: int) -> NDArray[np.float16]:
        """The vectors of many ``(eid, part)``: ``[n, dimension]``; zeros where there is none."""
        pack, nothing = VECTOR.pack, bytes(2 * dimension)
        keys = [pack(eid, part) for eid, part in places]
        rows = self.txn.cursor(self.tables["vectors"]).getmulti(keys)
        if len(rows) == len(keys):
            values = [value for _, value in rows]
        else:
            found = dict(rows)
            values = [found.get(key, nothing) for key in keys]
        try:
            return np.frombuffer(b"".join(values), "<f2").reshape(len(keys), dimension)
        except ValueError as error:
            raise StorageCorrupt(
                store=NAME, reason=f"a vector is not of dimension {dimension}"
            ) from error

    def vectors_of(self, eid: int) -> NDArray[np.float16] | None:
        """``[parts, dimension]`` of one entity, of whatever model; None where it has none."""
        values = [value for _, value in self.starting("vectors", U64.pack(eid))]
        if not values:
            return None
        return np.frombuffer(b"".join(values), "<f2").reshape(len(values), -1)

    def terms_of(self, eid: int) -> NDArray[np.uint32]:
        """Numbers of the terms of an entity's text, in their order; none when it is not there."""
        raw = self.txn.get(U64.pack(eid), db=self.tables["words"])
        return np.frombuffer(raw or b"", "<u4")

    def changes_after(self, seq: int) -> Iterator[tuple[int, list[int]]]:
        """Sequence number and the entities it changed, ascending, after ``seq``.

        What became of them is read with ``facts_of``: those that it leaves out are removed.
        """
        cursor = self.txn.cursor(self.tables["changed"])
        if cursor.set_range(U64.pack(seq + 1)):
            for key, value in cursor:
                yield U64.unpack(key)[0], np.frombuffer(value, "<u8").tolist()
