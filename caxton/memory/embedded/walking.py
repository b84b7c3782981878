"""Walks over the store, in one transaction: rows are looked at by number, and few are decoded."""

from __future__ import annotations

from caxton.errors import StorageCorrupt
from caxton.memory.backend import Direction, Graph, GraphQuery, PathQuery
from caxton.memory.embedded.layout import RELATION, TYPE, relation_prefix
from caxton.memory.embedded.moment import Moment
from caxton.memory.embedded.opened import NAME
from caxton.memory.embedded.records import (
    RelationRecord,
    entity_of,
    entity_record,
    relation_of,
    relation_record,
)
from caxton.memory.model import Entity, EntityKey
from caxton.memory.walk import PathSearch, Step, Walk

__all__ = ["path", "walk"]

_OPPOSITE: dict[Direction, Direction] = {"out": "in", "in": "out", "both": "both"}


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
        self._entity_table = moment.tables["entities"]
        self._scope = query.start.scope
        self._at_ms = query.at_ms
        self._least = query.min_strength
        self._types: frozenset[bytes] | None = None
        if query.relation_types:
            numbers = moment.relation_type_ids(query.relation_types)
            self._types = frozenset(one.to_bytes(3, "big") for one in numbers)
        self._plain = self._least <= 0 and self._at_ms is None
        self._entities: dict[bytes, Entity] = {}
        self._records: dict[bytes, bytes] = {}

    def entity(self, node: bytes) -> Entity:
        """An entity of the walk."""
        known = self._entities.get(node)
        if known is None:
            raw = self._moment.txn.get(b"\0\0\0" + node, db=self._entity_table)
            if raw is None:
                raise StorageCorrupt(store=NAME, reason=f"relations lead to no entity {node.hex()}")
            record = entity_record(raw)
            kind = self._moment.text(TYPE, record.type)
            known = self._entities[node] = entity_of(record, self._scope, kind)
        return known

    def of(self, node: bytes, direction: Direction) -> list[Step[bytes, bytes]]:
        """What leads on from an entity."""
        found: list[Step[bytes, bytes]] = []
        if direction != "in" and self._out.set_range(node):
            records = self._records
            for row, value in self._out:
                if row[:5] != node:
                    break
                records[row] = value
                found.append((row, row[8:]))
        if direction != "out" and self._into.set_range(node):
            for row in self._into.iternext(values=False):
                if row[:5] != node:
                    break
                other = row[8:]
                found.append((other + row[5:8] + node, other))
        if self._types is not None:
            found = [step for step in found if step[0][5:8] in self._types]
        if not self._plain:
            found = [step for step in found if self._admits(step)]
        return found

    def _admits(self, step: Step[bytes, bytes]) -> bool:
        record, at_ms = self._record(step[0]), self._at_ms
        if record.strength < self._least:
            return False
        if at_ms is None:
            return True
        starts, ends = record.valid_from, record.valid_to
        if (starts is not None and starts > at_ms) or (ends is not None and ends <= at_ms):
            return False
        # Who asks for what is around an entity means it, whether it holds or not.
        return step[1] == self._start or self.entity(step[1]).holds_at(at_ms)

    def _record(self, row: bytes) -> RelationRecord:
        raw = self._records.get(row)
        if raw is None:
            raw = self._moment.txn.get(row, db=self._moment.tables["out"])
            if raw is None:
                raise StorageCorrupt(store=NAME, reason=f"into has {row.hex()}, out has not")
            self._records[row] = raw
        return relation_record(raw)

    def graph(
        self, nodes: list[bytes], depths: list[int], edges: list[bytes], *, truncated: bool
    ) -> Graph:
        """What was found, decoded. Both ends of an edge are among the nodes."""
        entities = [self.entity(one) for one in nodes]
        names = {node: one.entity_name for node, one in zip(nodes, entities, strict=True)}
        text, scope = self._moment.text, self._scope
        relations = [
            relation_of(
                self._record(row),
                scope,
                names[row[:5]],
                text(RELATION, int.from_bytes(row[5:8], "big")),
                names[row[8:]],
            )
            for row in edges
        ]
        return Graph(tuple(entities), tuple(depths), tuple(relations), truncated)


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
        enough = query.direction == "both" and found.closing
        direction = "out" if enough else query.direction
        found.give([steps.of(one, direction) for one in wanted])
    return steps.graph(found.nodes, found.depths, found.edges, truncated=found.truncated)


def path(moment: Moment, query: PathQuery) -> Graph:
    """One shortest way; empty when there is none."""
    start, end = _node(moment, query.start), _node(moment, query.end)
    if start is None or end is None:
        return Graph()
    steps, at_ms = _Steps(moment, query, start), query.at_ms
    if at_ms is not None and end != start and not steps.entity(end).holds_at(at_ms):
        return Graph()
    search: PathSearch[bytes, bytes] = PathSearch(start, end, max_depth=query.max_depth)
    while True:
        wanted, forwards = search.wanted()
        if not wanted:
            break
        direction = query.direction if forwards else _OPPOSITE[query.direction]
        search.give([steps.of(one, direction) for one in wanted])
    nodes = search.nodes
    return steps.graph(nodes, list(range(len(nodes))), search.edges, truncated=False)
