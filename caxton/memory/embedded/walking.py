"""Walks over the store, in one transaction: rows are looked at as bytes, and few are decoded."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Final

from caxton.errors import StorageCorrupt
from caxton.memory.backend import Direction, Graph, GraphQuery, PathQuery
from caxton.memory.embedded.layout import RELATION, TYPE, relation_prefix, relation_turned
from caxton.memory.embedded.moment import Moment
from caxton.memory.embedded.opened import NAME
from caxton.memory.embedded.records import (
    EntityRecord,
    RelationRecord,
    entity_of,
    entity_record,
    relation_of,
    relation_record,
)
from caxton.memory.model import EntityKey
from caxton.memory.walk import PathSearch, Step, Walk

__all__ = ["path", "walk"]

_OPPOSITE: dict[Direction, Direction] = {"out": "in", "in": "out", "both": "both"}
_LAST: Final = b"\xff" * 8
"""With a node before it, no key of its relations is greater."""
_EID_ZEROS: Final = b"\0\0\0"
"""With a node behind it, the key of its entity."""


def _array_of(fields: int) -> bytes:
    """What a record of so many fields, 15 at most, begins with: the head of a msgpack array."""
    return bytes([0x90 + fields])


# What is as usual at the end of a record is left out: one that is short always holds.
_TIMED_ENTITY: Final = _array_of(EntityRecord.__struct_fields__.index("valid_from") + 1)
_TIMED_RELATION: Final = _array_of(RelationRecord.__struct_fields__.index("valid_from") + 1)
_STRONG_RELATION: Final = _array_of(RelationRecord.__struct_fields__.index("strength") + 1)
_USUAL_STRENGTH: Final = RelationRecord(0).strength


class _Steps:
    """The relations of a store that a query admits.

    A node is its eid as the keys of relations have it, an edge its key in ``out``: most are only
    compared, and what is in the answer is decoded once.
    """

    def __init__(self, moment: Moment, query: GraphQuery | PathQuery, start: bytes) -> None:
        self._moment = moment
        self._start = start
        self._out = moment.txn.cursor(moment.tables["out"])
        self._into = moment.txn.cursor(moment.tables["into"])
        self._scope = query.start.scope
        self._at_ms = query.at_ms
        self._least = query.min_strength
        self._types: frozenset[bytes] | None = None
        if query.relation_types:
            numbers = moment.relation_type_ids(query.relation_types)
            self._types = frozenset(one.to_bytes(3, "big") for one in numbers)
        self._plain = self._least <= 0 and self._at_ms is None
        self._short = _TIMED_RELATION if self._least <= 0 else b""
        """Records of relations below this are taken."""
        self._entities: dict[bytes, bytes] = {}
        self._relations: dict[bytes, bytes] = {}

    def of(self, nodes: Sequence[bytes], direction: Direction) -> list[list[Step[bytes, bytes]]]:
        """What leads on from each of some entities."""
        found = [self._rows(one, direction) for one in nodes]
        types = self._types
        if types is not None:
            found = [[step for step in steps if step[0][5:8] in types] for steps in found]
        if self._plain:
            return found
        self._read_relations([edge for steps in found for edge, _ in steps])
        relations, takes, short = self._relations, self._takes, self._short
        found = [
            [step for step in steps if (raw := relations[step[0]]) < short or takes(raw)]
            for steps in found
        ]
        if self._at_ms is None:
            return found
        self._read_entities([other for steps in found for _, other in steps])
        entities, holds = self._entities, self._holds
        return [
            [step for step in steps if entities[step[1]] < _TIMED_ENTITY or holds(step[1])]
            for steps in found
        ]

    def _rows(self, node: bytes, direction: Direction) -> list[Step[bytes, bytes]]:
        last = node + _LAST
        found: list[Step[bytes, bytes]] = []
        if direction != "in" and self._out.set_range(node):
            relations = self._relations
            for row, value in self._out:
                if row > last:
                    break
                relations[row] = value
                found.append((row, row[8:]))
        if direction != "out" and self._into.set_range(node):
            for row in self._into.iternext(values=False):
                if row > last:
                    break
                other = row[8:]
                found.append((other + row[5:8] + node, other))
        return found

    def between(
        self, nodes: Iterable[bytes], known: Container[bytes], direction: Direction
    ) -> list[bytes]:
        """The edges from some entities to known ones, which hold; those to them if it is ``in``."""
        rows = self._into if direction == "in" else self._out
        found: list[bytes] = []
        for node in nodes:
            if rows.set_range(node):
                last = node + _LAST
                for row in rows.iternext(values=False):
                    if row > last:
                        break
                    if row[8:] in known:
                        found.append(row)
        if direction == "in":
            found = [relation_turned(row) for row in found]
        if (types := self._types) is not None:
            found = [row for row in found if row[5:8] in types]
        if not self._plain:
            self._read_relations(found)
            relations, takes, short = self._relations, self._takes, self._short
            found = [row for row in found if (raw := relations[row]) < short or takes(raw)]
        return found

    def _takes(self, raw: bytes) -> bool:
        """Whether a relation is strong enough, and holds."""
        if self._least > 0:
            usual = raw < _STRONG_RELATION
            strength = _USUAL_STRENGTH if usual else relation_record(raw).strength
            if strength < self._least:
                return False
        at_ms = self._at_ms
        if at_ms is None or raw < _TIMED_RELATION:
            return True
        return _holds(relation_record(raw), at_ms)

    def _holds(self, node: bytes) -> bool:
        """Whether an entity, whose record is read, may be gone to."""
        at_ms, raw = self._at_ms, self._entities[node]
        if at_ms is None or raw < _TIMED_ENTITY:
            return True
        # Who asks for what is around an entity means it, whether it holds or not.
        return node == self._start or _holds(entity_record(raw), at_ms)

    def holds(self, node: bytes) -> bool:
        """Whether an entity may be gone to."""
        self._read_entities([node])
        return self._holds(node)

    def _read_relations(self, edges: Iterable[bytes]) -> None:
        missing = sorted(set(edges).difference(self._relations))
        self._relations.update(self._out.getmulti(missing))
        for row in missing:
            if row not in self._relations:
                raise StorageCorrupt(store=NAME, reason=f"into has {row.hex()}, out has not")

    def _read_entities(self, nodes: Iterable[bytes]) -> None:
        missing = sorted(set(nodes).difference(self._entities))
        get, table = self._moment.txn.get, self._moment.tables["entities"]
        for node in missing:
            raw = get(_EID_ZEROS + node, None, table)
            if raw is None:
                raise StorageCorrupt(store=NAME, reason=f"relations lead to no entity {node.hex()}")
            self._entities[node] = raw

    def graph(
        self, nodes: list[bytes], depths: list[int], edges: list[bytes], *, truncated: bool
    ) -> Graph:
        """What was found, decoded. Both ends of an edge are among the nodes."""
        self._read_entities(nodes)
        self._read_relations(edges)
        text, scope = self._moment.text, self._scope
        entities, names, kinds, raws = [], {}, {}, self._entities
        for node in nodes:
            record = entity_record(raws[node])
            number = record.type
            if number not in kinds:
                kinds[number] = text(TYPE, number)
            names[node] = record.name
            entities.append(entity_of(record, scope, kinds[number]))
        types = {
            one: text(RELATION, int.from_bytes(one, "big")) for one in {row[5:8] for row in edges}
        }
        raws = self._relations
        relations = [
            relation_of(
                relation_record(raws[row]), scope, names[row[:5]], types[row[5:8]], names[row[8:]]
            )
            for row in edges
        ]
        return Graph(tuple(entities), tuple(depths), tuple(relations), truncated)


def _holds(record: EntityRecord | RelationRecord, at_ms: int) -> bool:
    starts, ends = record.valid_from, record.valid_to
    return (starts is None or starts <= at_ms) and (ends is None or at_ms < ends)


def _node(moment: Moment, key: EntityKey) -> bytes | None:
    eid = moment.eid(key)
    return None if eid is None else relation_prefix(eid)


def walk(moment: Moment, query: GraphQuery) -> Graph:
    """What is around an entity; empty when it is not there."""
    start = _node(moment, query.start)
    if start is None:
        return Graph()
    steps = _Steps(moment, query, start)
    found: Walk[bytes, bytes] = Walk(
        start,
        max_depth=query.max_depth,
        max_nodes=query.max_nodes,
        depth_first=query.depth_first,
    )
    while wanted := found.wanted():
        if found.closing:
            found.close(steps.between(wanted, found.found, query.direction))
        else:
            found.give(steps.of(wanted, query.direction))
    return steps.graph(found.nodes, found.depths, found.edges, truncated=found.truncated)


def path(moment: Moment, query: PathQuery) -> Graph:
    """One shortest way; empty when there is none."""
    start, end = _node(moment, query.start), _node(moment, query.end)
    if start is None or end is None:
        return Graph()
    steps = _Steps(moment, query, start)
    if not steps.holds(end):
        return Graph()
    search: PathSearch[bytes, bytes] = PathSearch(start, end, max_depth=query.max_depth)
    while True:
        wanted, forwards = search.wanted()
        if not wanted:
            break
        direction = query.direction if forwards else _OPPOSITE[query.direction]
        search.give(steps.of(wanted, direction))
    nodes = search.nodes
    return steps.graph(nodes, list(range(len(nodes))), search.edges, truncated=False)
