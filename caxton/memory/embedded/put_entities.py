"""Writes entities many at a time: what is there is looked up at once, each table written at once.

What comes of it is the same as if each were written alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, islice, pairwise
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from caxton.memory.backend import PutEntity
from caxton.memory.embedded.layout import (
    ALWAYS_FROM,
    ALWAYS_TO,
    SCOPE,
    TYPE,
    U64,
    VECTOR,
    name_key,
    name_key_after,
    pack_fact,
)
from caxton.memory.embedded.progress import (
    Changed,
    Progress,
    bad_name,
    check_version,
    fact_of,
    rows_of,
)
from caxton.memory.embedded.records import encode_entity, time_bounds
from caxton.memory.model import Scope, embedding_text, fold

__all__ = ["put_entities"]

MOST_TERMS: Final = 1 << 18
"""Terms of texts that are held at a time, but for those of the last one."""

Halves = NDArray[np.float16]


class _Row(msgspec.Struct, gc=False):
    """What is written of one entity."""

    eid: int
    scope: int
    type: int
    parts: int
    model: int
    first: int
    """Where its vectors are among those that are given; -1 where it gives none."""
    start: int
    end: int
    before: int
    """How many vectors it had; -1 for a new one."""
    record: bytes


def put_entities(progress: Progress, run: Sequence[PutEntity], halves: Halves) -> None:
    """Write entities.

    Args:
        progress: the operation that they are of.
        run: what to write, in order.
        halves: ``[n, dimension]``: the vectors of those that give some, behind each other.

    Raises:
        EntityConflict: a version is not the next one.
        ValidationError: a value cannot be kept.
    """
    at = given = 0
    while at < len(run):
        keys = _keys(progress, run, at)
        rows, lists = _checked(progress, run, at, keys)
        terms = progress.numbers.terms(progress.txn, progress.tables, progress.head, lists)
        size = sum([row.parts for row in rows if row.first >= 0])
        _write(progress, rows, _apart(terms, lists), halves[given : given + size])
        at += len(rows)
        given += size


def _keys(progress: Progress, run: Sequence[PutEntity], at: int) -> dict[bytes, int]:
    """The keys in ``names`` of what is written from ``at`` on, up to what is named there before,
    each with the number of its scope."""
    keys: dict[bytes, int] = {}
    scopes: dict[Scope, tuple[int, bytes]] = {}
    for put in islice(run, at, None):
        entity = put.entity
        scope = scopes.get(entity.scope)
        if scope is None:
            number = progress.give(SCOPE, entity.scope.key)
            scope = scopes[entity.scope] = number, name_key(number, "")
        folded = fold(entity.entity_name)
        try:
            key = name_key_after(scope[1], folded)
        except UnicodeEncodeError as error:
            if keys:
                break
            raise bad_name(folded) from error
        if key in keys:
            break
        keys[key] = scope[0]
    return keys


def _checked(
    progress: Progress, run: Sequence[PutEntity], at: int, keys: dict[bytes, int]
) -> tuple[list[_Row], list[list[str]]]:
    """The rows of as many as are taken at a time, and the terms of each; writes their names."""
    head, words = progress.head, progress.words
    known = rows_of(progress, "names", keys)
    kinds: dict[str, int] = {}
    counts: dict[tuple[int, int, int], int] = {}
    rows: list[_Row] = []
    lists: list[list[str]] = []
    facts: list[tuple[bytes, bytes]] = []
    held = given = observations = vectors = 0
    free = head.next_eid
    for (key, scope), put in zip(keys.items(), islice(run, at, None), strict=False):
        if held > MOST_TERMS:
            break
        entity = put.entity
        raw = known.get(key)
        fact = None if raw is None else fact_of(key, raw)
        there = 0 if fact is None else fact.version
        if put.restored or entity.version != there + 1:
            check_version(entity.version, there, entity.entity_name, entity, restored=put.restored)
        start, end = ALWAYS_FROM, ALWAYS_TO
        if entity.valid_from_ms is not None or entity.valid_to_ms is not None:
            start, end = time_bounds(entity.valid_from_ms, entity.valid_to_ms)
        kind = kinds.get(entity.entity_type)
        if kind is None:
            kind = kinds[entity.entity_type] = progress.give(TYPE, entity.entity_type)
        record = encode_entity(entity, scope, kind)
        terms = words(embedding_text(entity))
        lists.append(terms)
        held += len(terms)
        if fact is None:
            eid = free
            free += 1
            before, parts, model = -1, 0, 0
        else:
            eid, before, parts, model = fact.eid, fact.parts, fact.parts, fact.model
            progress.count(scope, fact, -1)
        first = -1
        if put.vectors is not None:
            first, parts = given, len(put.vectors)
            model = progress.model if parts else 0
            given += parts
        seen = len(entity.observations)
        facts.append((key, pack_fact(eid, kind, model, parts, entity.version, seen, start, end)))
        observations += seen
        vectors += parts
        counted = scope, kind, model
        counts[counted] = counts.get(counted, 0) + 1
        rows.append(_Row(eid, scope, kind, parts, model, first, start, end, before, record))
    head.entities += free - head.next_eid
    head.next_eid = free
    head.observations += observations
    head.vectors += vectors
    progress.count_many(counts)
    facts.sort()
    progress.put_many("names", facts)
    return rows, lists


def _apart(terms: NDArray[np.uint32], lists: Sequence[list[str]]) -> list[bytes]:
    """The numbers of the terms of each text, as they are kept."""
    packed = terms.tobytes()
    ends = accumulate((4 * len(one) for one in lists), initial=0)
    return [packed[start:end] for start, end in pairwise(ends)]


def _write(
    progress: Progress, rows: Sequence[_Row], terms: Sequence[bytes], halves: Halves
) -> None:
    entities, words, vectors = [], [], []
    values = _as_bytes(halves)
    pack, pack_place = U64.pack, VECTOR.pack
    for row, own in zip(rows, terms, strict=True):
        eid, first, parts = row.eid, row.first, row.parts
        key = pack(eid)
        if row.before < 0:
            entities.append((key, row.record))
            words.append((key, own))
            if first >= 0:
                vectors += [(pack_place(eid, at), values[first + at]) for at in range(parts)]
        else:
            progress.put_many("entities", [(key, row.record)])
            progress.put_many("words", [(key, own)])
            if first >= 0:
                _replace_vectors(progress, row, values[first : first + parts])
        progress.changed.append(
            Changed(
                eid, row.scope, row.type, False, parts, row.model,
                None if first < 0 else halves[first : first + parts],
                own, row.start, row.end,
            )
        )  # fmt: skip
    progress.append("entities", entities)
    progress.append("words", words)
    progress.append("vectors", vectors)


def _as_bytes(halves: Halves) -> list[bytes]:
    """Each row."""
    if not halves.size:
        return []
    rows: list[bytes] = halves.view(np.dtype((np.void, 2 * halves.shape[1])))[:, 0].tolist()
    return rows


def _replace_vectors(progress: Progress, row: _Row, values: Sequence[bytes]) -> None:
    pack = VECTOR.pack
    progress.put_many("vectors", [(pack(row.eid, at), one) for at, one in enumerate(values)])
    for part in range(row.parts, row.before):
        progress.txn.delete(pack(row.eid, part), db=progress.tables["vectors"])
