"""Writes relations many at a time: their ends are looked up at once, each table written at once.

What comes of it is the same as if each were written alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from caxton.errors import EntityNotFound
from caxton.memory.backend import PutRelation
from caxton.memory.embedded.layout import (
    RELATION,
    SCOPE,
    name_key,
    name_key_after,
    relation_key,
    relation_turned,
)
from caxton.memory.embedded.progress import Progress, check_version, fact_of, rows_of
from caxton.memory.embedded.records import encode_relation, relation_record, time_bounds
from caxton.memory.model import Relation, Scope, fold

__all__ = ["put_relations"]


def put_relations(progress: Progress, run: Sequence[PutRelation]) -> None:
    """Write relations.

    Raises:
        EntityNotFound: an end of one is not there.
        EntityConflict: a version is not the next one.
        ValidationError: a value cannot be kept.
    """
    written = 0
    ends = _ends(progress, run)
    names = {key for pair in ends for key in pair}
    eids = {key: fact_of(key, raw).eid for key, raw in rows_of(progress, "names", names).items()}
    kinds: dict[str, int] = {}
    rows: dict[bytes, PutRelation] = {}
    for (start, end), put in zip(ends, run, strict=False):
        first, second = eids.get(start), eids.get(end)
        if first is None or second is None:
            break
        name = put.relation.relation_type
        kind = kinds.get(name)
        if kind is None:
            kind = kinds[name] = progress.give(RELATION, name)
        key = relation_key(first, kind, second)
        if key in rows:
            # What is written twice follows what was written before.
            _write(progress, rows)
            written += len(rows)
            rows = {}
        rows[key] = put
    _write(progress, rows)
    written += len(rows)
    if written < len(run):
        _look_up(progress, run[written].relation)


def _ends(progress: Progress, run: Sequence[PutRelation]) -> list[tuple[bytes, bytes]]:
    """The keys in ``names`` of both ends, up to what can have none."""
    ends: list[tuple[bytes, bytes]] = []
    scopes: dict[Scope, bytes] = {}
    for put in run:
        relation = put.relation
        scope = scopes.get(relation.scope)
        if scope is None:
            number = progress.find(SCOPE, relation.scope.key)
            if number is None:
                break
            scope = scopes[relation.scope] = name_key(number, "")
        try:
            pair = (
                name_key_after(scope, fold(relation.from_entity)),
                name_key_after(scope, fold(relation.to_entity)),
            )
        except UnicodeEncodeError:
            break
        ends.append(pair)
    return ends


def _look_up(progress: Progress, relation: Relation) -> None:
    """Say what of the ends of a relation is not there.

    Raises:
        EntityNotFound: one is not there.
        ValidationError: a name cannot be one.
    """
    scope = progress.find(SCOPE, relation.scope.key)
    for name in (relation.from_entity, relation.to_entity):
        _, known = progress.fact(scope, fold(name))
        if known is None:
            raise EntityNotFound(entity_name=name, memory_scope=relation.scope.key)


def _write(progress: Progress, rows: dict[bytes, PutRelation]) -> None:
    known = rows_of(progress, "out", rows)
    out, into = [], []
    for key, put in rows.items():
        relation = put.relation
        raw = known.get(key)
        there = 0 if raw is None else relation_record(raw).version
        if put.restored or relation.version != there + 1:
            told = f"{relation.from_entity} {relation.relation_type} {relation.to_entity}"
            check_version(relation.version, there, told, relation, restored=put.restored)
        time_bounds(relation.valid_from_ms, relation.valid_to_ms)
        out.append((key, encode_relation(relation)))
        if raw is None:
            into.append((relation_turned(key), b""))
    out.sort()
    into.sort()
    progress.put_many("out", out)
    progress.put_many("into", into)
    progress.head.relations += len(into)
