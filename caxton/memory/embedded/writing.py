"""One operation in a write transaction: checks each change against what is there, and writes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from caxton.errors import EntityNotFound, RelationNotFound, ValidationError
from caxton.memory.backend import (
    Change,
    DeleteEntity,
    DeleteRelation,
    PutEntity,
    PutRelation,
    Selection,
)
from caxton.memory.embedded.layout import (
    MOST_PARTS,
    RELATION,
    SCOPE,
    TYPE,
    U64,
    VECTOR,
    Fact,
    name_key,
    relation_key,
    relation_prefix,
    relation_turned,
)
from caxton.memory.embedded.progress import Changed, Progress
from caxton.memory.embedded.put_entities import put_entities
from caxton.memory.embedded.put_relations import put_relations
from caxton.memory.model import Scope

__all__ = ["Writing", "matches"]

_EXPONENT: Final = 0x7C00
"""Bits of the exponent of a float16."""


def matches(fact: Fact, types: frozenset[int] | None, selection: Selection) -> bool:
    """Whether an entity of a selected scope is one of a selection."""
    if types is not None and fact.type not in types:
        return False
    if selection.to_ms is not None and fact.valid_from > selection.to_ms:
        return False
    return selection.from_ms is None or fact.valid_to > selection.from_ms


class Writing:
    """What one operation does. When it raises, its transaction must not be committed.

    Args:
        progress: what it writes in.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._txn = progress.txn
        self._tables = progress.tables
        self._head = progress.head

    def run(self, changes: Sequence[Change]) -> None:
        """Write all of them.

        Raises:
            EntityNotFound, RelationNotFound, EntityConflict: one does not fit what is there.
            ValidationError: one has a value that cannot be kept.
        """
        halves, given = self._halves(changes), 0
        for kind, alike in groupby(changes, type):
            run: Sequence[Any] = list(alike)
            if kind is PutEntity:
                size = sum([len(one.vectors) for one in run if one.vectors is not None])
                put_entities(self._progress, run, halves[given : given + size])
                given += size
            elif kind is PutRelation:
                put_relations(self._progress, run)
            else:
                delete: Callable[[Any], None] = (
                    self._delete_entity if kind is DeleteEntity else self._delete_relation
                )
                for one in run:
                    delete(one)
        self._note()

    def clear(self, selection: Selection) -> tuple[int, int]:
        """Remove what is selected; the numbers of entities and relations."""
        before = self._head.entities, self._head.relations
        types: frozenset[int] | None = None
        if selection.entity_types:
            found = [self._progress.find(TYPE, one) for one in selection.entity_types]
            types = frozenset(one for one in found if one is not None)
        for scope in self._scopes(selection.scopes):
            prefix = name_key(scope, "")
            chosen = [
                (key, fact)
                for key, raw in self._progress.starting("names", prefix)
                if matches(fact := Fact.unpack(raw), types, selection)
            ]
            for key, fact in chosen:
                self._remove(key, scope, fact)
        self._note()
        return before[0] - self._head.entities, before[1] - self._head.relations

    def _scopes(self, scopes: tuple[Scope, ...] | None) -> list[int]:
        if scopes is None:
            return list(range(1, self._head.given.get(SCOPE.decode(), 0) + 1))
        found = [self._progress.find(SCOPE, one.key) for one in dict.fromkeys(scopes)]
        return [one for one in found if one is not None]

    def _note(self) -> None:
        """Write down which entities changed, for an index that has to catch up."""
        if self._progress.changed:
            self._head.seq += 1
            eids = dict.fromkeys(one.eid for one in self._progress.changed)
            packed = np.fromiter(eids, dtype="<u8", count=len(eids)).tobytes()
            key = U64.pack(self._head.seq)
            self._txn.put(key, packed, db=self._tables["changed"], append=True)

    def _halves(self, changes: Sequence[Change]) -> NDArray[np.float16]:
        """The vectors of all changes that give some, as they are kept: one pass over all."""
        given = [
            np.asarray(one.vectors)
            for one in changes
            if isinstance(one, PutEntity) and one.vectors is not None
        ]
        nothing = np.zeros((0, self._progress.dimension), np.float32)
        # None at all are of whatever dimension: they only take away, also without a model.
        given = [nothing if one.shape[:1] == (0,) else one for one in given]
        for shape in dict.fromkeys([one.shape for one in given]):
            self._check_shape(shape)
        if not given:
            return np.zeros((0, self._progress.dimension), dtype="<f2")
        with np.errstate(over="ignore"):
            halves = np.concatenate(given).astype("<f2")
        # What is not finite has all bits of its exponent.
        if (halves.view("<u2") & _EXPONENT).max(initial=0) == _EXPONENT:
            raise ValidationError(
                field="vectors", value="inf or nan", allowed="numbers from -65504 to 65504"
            )
        return halves

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if not self._progress.model and shape[0]:
            raise ValidationError(field="vectors", value="some", allowed="none without a model")
        if len(shape) != 2 or shape[0] > MOST_PARTS or shape[1] != self._progress.dimension:
            raise ValidationError(
                field="vectors",
                value=str(shape),
                allowed=f"0 to {MOST_PARTS} of dimension {self._progress.dimension}",
            )

    def _delete_entity(self, change: DeleteEntity) -> None:
        scope = self._progress.find(SCOPE, change.key.scope.key)
        name, known = self._progress.fact(scope, change.key.name)
        if known is None or scope is None:
            raise EntityNotFound(entity_name=change.key.name, memory_scope=change.key.scope.key)
        self._remove(name, scope, known)

    def _remove(self, name: bytes, scope: int, known: Fact) -> None:
        txn, tables, eid = self._txn, self._tables, known.eid
        prefix = relation_prefix(eid)
        for table, other in (("out", "into"), ("into", "out")):
            for key in [key for key, _ in self._progress.starting(table, prefix)]:
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
        self._progress.count(scope, known, -1)
        self._progress.changed.append(Changed(eid, scope, known.type, deleted=True))

    def _delete_relation(self, change: DeleteRelation) -> None:
        key = change.key
        scope = self._progress.find(SCOPE, key.scope.key)
        _, start = self._progress.fact(scope, key.from_entity)
        _, end = self._progress.fact(scope, key.to_entity)
        kind = self._progress.find(RELATION, key.relation_type)
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
