"""One operation in a write transaction: checks each change against what is there, and writes it."""

from __future__ import annotations

import array
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import lmdb
import msgspec
import numpy as np
from numpy.typing import NDArray

from caxton.errors import (
    EntityConflict,
    EntityNotFound,
    RelationNotFound,
    StorageCorrupt,
    ValidationError,
)
from caxton.memory.backend import (
    Change,
    DeleteEntity,
    DeleteRelation,
    PutEntity,
    PutRelation,
    Selection,
)
from caxton.memory.embedded.layout import (
    ALWAYS_FROM,
    ALWAYS_TO,
    MODEL,
    MOST_PARTS,
    RELATION,
    SCOPE,
    TYPE,
    U64,
    VECTOR,
    Fact,
    Head,
    name_key,
    relation_key,
    relation_prefix,
    relation_turned,
)
from caxton.memory.embedded.numbers import Numbers
from caxton.memory.embedded.opened import NAME
from caxton.memory.embedded.records import (
    encode_entity,
    encode_relation,
    relation_record,
    time_bounds,
)
from caxton.memory.model import Entity, Scope, embedding_text, fold

__all__ = ["Changed", "Words", "Writing", "matches", "u32_bytes"]

Words: TypeAlias = Callable[[str], list[str]]
"""The terms of a text, in order, as the keyword index counts them."""


class Changed(msgspec.Struct, frozen=True):
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


def u32_bytes(numbers: Sequence[int]) -> bytes:
    """Numbers as uint32, little-endian."""
    packed = array.array("I", numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def matches(fact: Fact, types: frozenset[int] | None, selection: Selection) -> bool:
    """Whether an entity of a selected scope is one of a selection."""
    if types is not None and fact.type not in types:
        return False
    if selection.to_ms is not None and fact.valid_from > selection.to_ms:
        return False
    return selection.from_ms is None or fact.valid_to > selection.from_ms


class Writing:
    """One operation. When it raises, its transaction must not be committed.

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
        self.counts: dict[tuple[bytes, int], int] = {}
        """By how much each row of ``counts`` changes."""
        self._txn = txn
        self._tables = tables
        self._head = head
        self._numbers = numbers
        self._words = words
        self._model, self._dimension = model

    def run(self, changes: Sequence[Change]) -> None:
        """Write all of them.

        Raises:
            EntityNotFound, RelationNotFound, EntityConflict: one does not fit what is there.
            ValidationError: one has a value that cannot be kept.
        """
        halves = iter(self._halves(changes))
        for change in changes:
            if isinstance(change, PutEntity):
                own = None if change.vectors is None else next(halves)
                self._put_entity(change.entity, own, restored=change.restored)
            elif isinstance(change, PutRelation):
                self._put_relation(change)
            elif isinstance(change, DeleteEntity):
                self._delete_entity(change)
            else:
                self._delete_relation(change)
        self._note()

    def clear(self, selection: Selection) -> tuple[int, int]:
        """Remove what is selected; the numbers of entities and relations."""
        before = self._head.entities, self._head.relations
        types: frozenset[int] | None = None
        if selection.entity_types:
            found = [self._find(TYPE, one) for one in selection.entity_types]
            types = frozenset(one for one in found if one is not None)
        for scope in self._scopes(selection.scopes):
            prefix = name_key(scope, "")
            chosen = [
                (key, fact)
                for key, raw in self._starting("names", prefix)
                if matches(fact := Fact.unpack(raw), types, selection)
            ]
            for key, fact in chosen:
                self._remove(key, scope, fact)
        self._note()
        return before[0] - self._head.entities, before[1] - self._head.relations

    def _scopes(self, scopes: tuple[Scope, ...] | None) -> list[int]:
        if scopes is None:
            return list(range(1, self._head.given.get(SCOPE.decode(), 0) + 1))
        found = [self._find(SCOPE, one.key) for one in dict.fromkeys(scopes)]
        return [one for one in found if one is not None]

    def _note(self) -> None:
        """Write down which entities changed, for an index that has to catch up."""
        if self.changed:
            self._head.seq += 1
            eids = dict.fromkeys(one.eid for one in self.changed)
            packed = np.fromiter(eids, dtype="<u8", count=len(eids)).tobytes()
            key = U64.pack(self._head.seq)
            self._txn.put(key, packed, db=self._tables["changed"], append=True)

    def _find(self, kind: bytes, text: str) -> int | None:
        return self._numbers.find(self._txn, self._tables, kind, text)

    def _give(self, kind: bytes, text: str) -> int:
        return self._numbers.give(self._txn, self._tables, self._head, kind, text)

    def _starting(self, table: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        cursor = self._txn.cursor(self._tables[table])
        if cursor.set_range(prefix):
            for key, value in cursor:
                if not key.startswith(prefix):
                    return
                yield key, value

    def _fact(self, scope: int | None, name: str) -> tuple[bytes, Fact | None]:
        if scope is None:
            return b"", None
        try:
            key = name_key(scope, name)
        except UnicodeEncodeError as error:
            raise ValidationError(
                field="entity_name", value=name, allowed="a Unicode text"
            ) from error
        raw = self._txn.get(key, db=self._tables["names"])
        try:
            return key, None if raw is None else Fact.unpack(raw)
        except struct.error as error:
            raise StorageCorrupt(store=NAME, reason=f"names {key.hex()}: {error}") from error

    def _put_entity(
        self, entity: Entity, halves: NDArray[np.float16] | None, *, restored: bool
    ) -> None:
        head, txn, tables = self._head, self._txn, self._tables
        scope = self._give(SCOPE, entity.scope.key)
        kind = self._give(TYPE, entity.entity_type)
        name, known = self._fact(scope, fold(entity.entity_name))
        there = known.version if known else 0
        _next_version(entity.version, there, entity.entity_name, entity, restored=restored)
        start, end = time_bounds(entity.valid_from_ms, entity.valid_to_ms)
        record = encode_entity(entity, scope, kind)
        text = embedding_text(entity)
        terms = u32_bytes(self._numbers.terms(txn, tables["terms"], head, self._words(text)))
        if known is None:
            eid, new = head.next_eid, True
            head.next_eid += 1
            head.entities += 1
            parts, model = 0, 0
        else:
            eid, new = known.eid, False
            parts, model = known.parts, known.model
            self._count(scope, known, -1)
        key = U64.pack(eid)
        if halves is not None:
            self._put_vectors(eid, parts, halves, append=new)
            parts = len(halves)
            model = self._model if parts else 0
        seen = len(entity.observations)
        fact = Fact(eid, kind, model, parts, entity.version, seen, start, end)
        txn.put(name, fact.pack(), db=tables["names"])
        txn.put(key, record, db=tables["entities"], append=new)
        txn.put(key, terms, db=tables["words"], append=new)
        self._count(scope, fact, 1)
        self.changed.append(
            Changed(eid, scope, kind, False, parts, model, halves, terms, start, end)
        )

    def _count(self, scope: int, fact: Fact, by: int) -> None:
        counts = self.counts
        for key in ((SCOPE, scope), (TYPE, fact.type), (MODEL, fact.model)):
            counts[key] = counts.get(key, 0) + by
        self._head.observations += by * fact.observations
        self._head.vectors += by * fact.parts

    def _halves(self, changes: Sequence[Change]) -> list[NDArray[np.float16]]:
        """The vectors of all changes that give some, as they are kept: one pass over all."""
        given = [
            np.asarray(one.vectors)
            for one in changes
            if isinstance(one, PutEntity) and one.vectors is not None
        ]
        for one in given:
            self._check_shape(one.shape)
        if not given:
            return []
        with np.errstate(over="ignore"):
            halves = np.concatenate(given).astype("<f2")
        if not np.isfinite(halves).all():
            raise ValidationError(
                field="vectors", value="inf or nan", allowed="numbers from -65504 to 65504"
            )
        apart, start = [], 0
        for one in given:
            apart.append(halves[start : start + len(one)])
            start += len(one)
        return apart

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if not self._model:
            raise ValidationError(field="vectors", value="some", allowed="none without a model")
        if len(shape) != 2 or shape[0] > MOST_PARTS or shape[1] != self._dimension:
            raise ValidationError(
                field="vectors",
                value=str(shape),
                allowed=f"0 to {MOST_PARTS} of dimension {self._dimension}",
            )

    def _put_vectors(
        self, eid: int, before: int, halves: NDArray[np.float16], *, append: bool
    ) -> None:
        table = self._tables["vectors"]
        raw, size = halves.tobytes(), 2 * self._dimension
        for part in range(len(halves)):
            row = raw[part * size : (part + 1) * size]
            self._txn.put(VECTOR.pack(eid, part), row, db=table, append=append)
        for part in range(len(halves), before):
            self._txn.delete(VECTOR.pack(eid, part), db=table)

    def _delete_entity(self, change: DeleteEntity) -> None:
        scope = self._find(SCOPE, change.key.scope.key)
        name, known = self._fact(scope, change.key.name)
        if known is None or scope is None:
            raise EntityNotFound(entity_name=change.key.name, memory_scope=change.key.scope.key)
        self._remove(name, scope, known)

    def _remove(self, name: bytes, scope: int, known: Fact) -> None:
        txn, tables, eid = self._txn, self._tables, known.eid
        prefix = relation_prefix(eid)
        for table, other in (("out", "into"), ("into", "out")):
            for key in [key for key, _ in self._starting(table, prefix)]:
                txn.delete(key, db=tables[table])
                txn.delete(relation_turned(key), db=tables[other])
                self._head.relations -= 1
        key = U64.pack(eid)
        txn.delete(name, db=tables["names"])
        txn.delete(key, db=tables["entities"])
        txn.delete(key, db=tables["words"])
        for part in range(known.parts):
            txn.delete(VECTOR.pack(eid, part), db=tables["vectors"])
        self._head.entities -= 1
        self._count(scope, known, -1)
        self.changed.append(Changed(eid, scope, known.type, deleted=True))

    def _put_relation(self, change: PutRelation) -> None:
        relation, tables = change.relation, self._tables
        ends = []
        scope = self._find(SCOPE, relation.scope.key)
        for name in (relation.from_entity, relation.to_entity):
            _, known = self._fact(scope, fold(name))
            if known is None:
                raise EntityNotFound(entity_name=name, memory_scope=relation.scope.key)
            ends.append(known.eid)
        key = relation_key(ends[0], self._give(RELATION, relation.relation_type), ends[1])
        raw = self._txn.get(key, db=tables["out"])
        version = 0 if raw is None else relation_record(raw).version
        told = f"{relation.from_entity} {relation.relation_type} {relation.to_entity}"
        _next_version(relation.version, version, told, relation, restored=change.restored)
        time_bounds(relation.valid_from_ms, relation.valid_to_ms)
        self._txn.put(key, encode_relation(relation), db=tables["out"])
        if raw is None:
            self._txn.put(relation_turned(key), b"", db=tables["into"])
            self._head.relations += 1

    def _delete_relation(self, change: DeleteRelation) -> None:
        key = change.key
        scope = self._find(SCOPE, key.scope.key)
        _, start = self._fact(scope, key.from_entity)
        _, end = self._fact(scope, key.to_entity)
        kind = self._find(RELATION, key.relation_type)
        row = b""
        if start is not None and end is not None and kind is not None:
            row = relation_key(start.eid, kind, end.eid)
        if not row or not self._txn.delete(row, db=self._tables["out"]):
            raise RelationNotFound(
                from_entity=key.from_entity,
                relation_type=key.relation_type,
                to_entity=key.to_entity,
                memory_scope=key.scope.key,
            )
        self._txn.delete(relation_turned(row), db=self._tables["into"])
        self._head.relations -= 1


def _next_version(given: int, there: int, name: str, what: Any, *, restored: bool) -> None:
    fits = given >= max(there, 1) if restored else given == there + 1
    if not fits:
        is_there = f"version {there} is there" if there else "it is not there"
        raise EntityConflict(
            entity_name=name,
            memory_scope=what.scope.key,
            reason=f"version {given} was to be written, but {is_there}",
        )
