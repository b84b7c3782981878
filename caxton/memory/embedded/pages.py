"""Scans in pages, each of one transaction: bounded in rows, bytes, and time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import lmdb
import msgspec
import numpy as np

from caxton.memory.backend import Selection, Vectors
from caxton.memory.embedded.layout import (
    U32,
    U64,
    Fact,
    name_key,
    relation_prefix,
)
from caxton.memory.embedded.moment import Moment
from caxton.memory.embedded.records import entity_record, relation_record
from caxton.memory.embedded.writing import matches
from caxton.memory.model import Entity, Relation, Scope

__all__ = ["Page", "RelationPage", "Row", "entity_page", "relation_page"]

PAGE_BYTES: Final = 8 * 1024 * 1024
"""Of records in a page, but for the last one."""
PAGE_SEEN: Final = 20_000
"""Rows that are looked at for a page."""


class Row(msgspec.Struct, frozen=True):
    """An entity with what the store knows of it besides."""

    eid: int
    entity: Entity
    vectors: Vectors | None = None
    model: int = 0
    """Number of the model of its vectors; 0 without."""


class Page(msgspec.Struct, frozen=True):
    """Some rows, and after what the next ones begin; None at the end."""

    rows: list[Row]
    after: bytes | None


class RelationPage(msgspec.Struct, frozen=True):
    """Some relations, and after what the next ones begin; None at the end."""

    relations: list[Relation]
    after: bytes | None


def _names(
    moment: Moment, scopes: Sequence[Scope] | None, after: bytes
) -> Iterator[tuple[bytes, Fact]]:
    """The names of scopes from ``after`` on, ascending."""
    cursor = moment.txn.cursor(moment.tables["names"])
    if scopes is None:
        if cursor.set_range(after):
            for key, value in cursor:
                yield key, Fact.unpack(value)
        return
    for scope in sorted(moment.scope_ids(scopes)):
        prefix = name_key(scope, "")
        if cursor.set_range(max(after, prefix)):
            for key, value in cursor:
                if not key.startswith(prefix):
                    break
                yield key, Fact.unpack(value)


def entity_page(
    moment: Moment,
    selection: Selection,
    after: bytes,
    limit: int,
    vectors: bool,
    lacking: int | None,
) -> Page:
    """See ``Reader.page``."""
    types = frozenset(moment.type_ids(selection.entity_types)) if selection.entity_types else None
    rows: list[Row] = []
    size = seen = 0
    for key, fact in _names(moment, selection.scopes, after):
        if key == after:
            continue
        seen += 1
        if matches(fact, types, selection) and (lacking is None or fact.model != lacking):
            raw = moment.txn.get(U64.pack(fact.eid), db=moment.tables["entities"])
            if raw is not None:
                size += len(raw)
                halves = moment.vectors_of(fact.eid) if vectors else None
                given = None if halves is None else halves.astype(np.float32)
                entity = moment.entity_of(entity_record(raw))
                rows.append(Row(fact.eid, entity, given, fact.model))
        if len(rows) >= limit or size >= PAGE_BYTES or seen >= PAGE_SEEN:
            return Page(rows, key)
    return Page(rows, None)


def relation_page(
    moment: Moment, scopes: Sequence[Scope] | None, after: bytes, limit: int
) -> RelationPage:
    """See ``Reader.relation_page``."""
    relations: list[Relation] = []
    seen = size = 0
    name, last = _split(after)
    cursor = moment.txn.cursor(moment.tables["out"])
    for key, fact in _names(moment, scopes, name):
        seen += 1
        prefix = relation_prefix(fact.eid)
        begin = last if key == name and last.startswith(prefix) else prefix
        for row, value in _from(cursor, begin, prefix):
            if row == last:
                continue
            relations.append(moment.relation_of(row, relation_record(value)))
            size += len(value)
            if len(relations) >= limit or size >= PAGE_BYTES:
                return RelationPage(relations, U32.pack(len(key)) + key + row)
        if seen >= PAGE_SEEN:
            end = prefix + b"\xff" * 8
            return RelationPage(relations, U32.pack(len(key)) + key + end)
    return RelationPage(relations, None)


def _from(cursor: lmdb.Cursor[bytes], begin: bytes, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    if cursor.set_range(begin):
        for row, value in cursor:
            if not row.startswith(prefix):
                return
            yield row, value


def _split(after: bytes) -> tuple[bytes, bytes]:
    if not after:
        return b"", b""
    length = U32.unpack(after[:4])[0]
    return after[4 : 4 + length], after[4 + length :]
