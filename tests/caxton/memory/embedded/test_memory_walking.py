"""Walks over the store, where few records are decoded, against walks that decode everything."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from caxton.errors import StorageCorrupt
from caxton.memory.backend import Direction, Graph, GraphQuery, PathQuery, PutEntity, PutRelation
from caxton.memory.embedded.layout import relation_key, relation_turned
from caxton.memory.embedded.moment import Moment
from caxton.memory.embedded.store import Store
from caxton.memory.embedded.tokens import text_terms
from caxton.memory.model import WORKSPACE, Entity, EntityKey, Observation, Relation
from caxton.memory.walk import PathSearch, Walk

NODES = 40
DIRECTIONS: list[Direction] = ["out", "in", "both"]
AGAINST: dict[Direction, Direction] = {"out": "in", "in": "out", "both": "both"}
Edge = tuple[int, int, int]


def key(number: int) -> EntityKey:
    return EntityKey.of(WORKSPACE, f"Node {number}")


def moment_of(rng: random.Random) -> int | None:
    return rng.choice([None, None, None, 50, 100, 150])


def a_graph(rng: random.Random) -> list[list[PutEntity | PutRelation]]:
    """Some of it is as usual, some holds only for a time, some is long or has no default left."""
    entities, relations = [], {}
    for number in range(NODES):
        seen = tuple(
            Observation(f"seen {at}", rng.choice([7, 9]), rng.choice(["", "m1"]))
            for at in range(rng.randrange(3))
        )
        entities.append(
            PutEntity(
                Entity(
                    WORKSPACE, f"Node {number}", rng.choice(["a", "b"]), seen,
                    rng.choice([{}, {"k": [1]}]), moment_of(rng), moment_of(rng), created_ms=7,
                    updated_ms=rng.choice([7, 8]),
                )
            )
        )  # fmt: skip
    for _ in range(rng.choice([45, 120])):
        one = Relation(
            WORKSPACE, f"Node {rng.randrange(NODES)}", f"Node {rng.randrange(NODES)}",
            rng.choice("xyz"), rng.choice([0.0, 0.25, 0.5, 1.0]), rng.choice([1.0, 0.3]),
            rng.choice([{}, {"k": 1}]), moment_of(rng), moment_of(rng), 5, rng.choice([5, 6]),
        )  # fmt: skip
        relations[one.key] = PutRelation(one)
    return [[*entities], [*relations.values()]]


class PlainSteps:
    """Relations as they are decoded, one by one."""

    def __init__(self, moment: Moment, query: GraphQuery | PathQuery) -> None:
        self.moment = moment
        self.query = query

    def of(self, eid: int, direction: Direction) -> list[tuple[Edge, int]]:
        """What leads on, those that go out first."""
        rows: list[bytes] = []
        prefix = eid.to_bytes(5, "big")
        if direction != "in":
            rows += [row for row, _ in self.moment.starting("out", prefix)]
        if direction != "out":
            rows += [relation_turned(row) for row, _ in self.moment.starting("into", prefix)]
        found = []
        for at, row in enumerate(rows):
            ends = (int.from_bytes(row[:5], "big"), int.from_bytes(row[8:], "big"))
            backwards = ends[0] != eid or (ends[0] == ends[1] and row in rows[:at])
            other = ends[0] if backwards else ends[1]
            if self.takes(self.moment.relation_of(row)) and self.holds(other):
                found.append(((ends[0], int.from_bytes(row[5:8], "big"), ends[1]), other))
        return found

    def takes(self, relation: Relation) -> bool:
        query = self.query
        return (
            (not query.relation_types or relation.relation_type in query.relation_types)
            and relation.strength >= query.min_strength
            and (query.at_ms is None or relation.holds_at(query.at_ms))
        )

    def holds(self, eid: int) -> bool:
        entity, at_ms = self.moment.entity(eid), self.query.at_ms
        assert entity is not None
        return at_ms is None or entity.key == self.query.start or entity.holds_at(at_ms)

    def graph(self, nodes: list[int], depths: list[int], edges: list[Edge], more: bool) -> Graph:
        entities = tuple(one for node in nodes if (one := self.moment.entity(node)))
        relations = tuple(self.moment.relation_of(relation_key(*edge)) for edge in edges)
        return Graph(entities, tuple(depths), relations, more)


def plain_walk(moment: Moment, query: GraphQuery) -> Graph:
    start = moment.eid(query.start)
    assert start is not None
    steps = PlainSteps(moment, query)
    walk: Walk[int, Edge] = Walk(
        start,
        max_depth=query.max_depth,
        max_nodes=query.max_nodes,
        depth_first=query.depth_first,
    )
    while wanted := walk.wanted():
        closing = walk.closing and query.direction == "both"
        direction: Direction = "out" if closing else query.direction
        walk.give([steps.of(one, direction) for one in wanted])
    return steps.graph(walk.nodes, walk.depths, walk.edges, walk.truncated)


def plain_path(moment: Moment, query: PathQuery) -> Graph:
    start, end = moment.eid(query.start), moment.eid(query.end)
    assert start is not None
    assert end is not None
    steps = PlainSteps(moment, query)
    if not steps.holds(end):
        return Graph()
    search: PathSearch[int, Edge] = PathSearch(start, end, max_depth=query.max_depth)
    while True:
        wanted, forwards = search.wanted()
        if not wanted:
            break
        direction = query.direction if forwards else AGAINST[query.direction]
        search.give([steps.of(one, direction) for one in wanted])
    return steps.graph(search.nodes, list(range(len(search.nodes))), search.edges, False)


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Callable[[int], Store]]:
    stores: list[Store] = []

    def filled(seed: int) -> Store:
        store = Store(tmp_path / str(seed), map_bytes=1 << 26, words=text_terms, sync=False)
        stores.append(store)
        assert store.commit(a_graph(random.Random(seed))) == [None, None]
        return store

    yield filled
    for one in stores:
        await one.close()


@pytest.mark.parametrize("seed", range(4))
async def test_a_walk_is_as_one_that_decodes_everything(
    opened: Callable[[int], Store], seed: int
) -> None:
    """The same nodes, depths and edges in the same order, under whatever filters."""
    reader, rng, sizes = opened(seed).reader, random.Random(seed + 100), set()
    for _ in range(120):
        query = GraphQuery(
            key(rng.randrange(NODES)), rng.choice([0, 1, 2, 3, 10]), rng.choice(DIRECTIONS),
            rng.choice([(), (), ("x",), ("x", "y"), ("none",)]), rng.choice([0.0, 0.0, 0.3, 0.6]),
            rng.random() < 0.5, rng.choice([None, 60, 100, 170]), rng.choice([1, 4, 12, 1_000]),
        )  # fmt: skip
        with reader.moment() as moment:
            expected = plain_walk(moment, query)
        assert reader.walk(query) == expected, query
        sizes.add((len(expected.nodes) > 3, expected.truncated))
    assert {(False, False), (False, True), (True, False)} <= sizes


@pytest.mark.parametrize("seed", range(4))
async def test_a_path_is_as_one_that_decodes_everything(
    opened: Callable[[int], Store], seed: int
) -> None:
    """The same way of all that are as short."""
    reader, rng, lengths = opened(seed).reader, random.Random(seed + 200), set()
    for _ in range(120):
        query = PathQuery(
            key(rng.randrange(NODES)), key(rng.randrange(NODES)), rng.choice([1, 3, 10]),
            rng.choice(DIRECTIONS), rng.choice([(), (), ("x", "y")]), rng.choice([0.0, 0.3]),
            rng.choice([None, 60, 100]),
        )  # fmt: skip
        with reader.moment() as moment:
            expected = plain_path(moment, query)
        assert reader.path(query) == expected, query
        lengths.add(len(expected.nodes))
    assert {0, 1, 2} < lengths


@pytest.mark.parametrize(
    ("table", "row"),
    [("out", relation_key(1, 1, 2)), ("entities", (1).to_bytes(8, "big"))],
)
@pytest.mark.parametrize("at_ms", [None, 7])
async def test_what_a_relation_leads_to_is_missed(
    tmp_path: Path, table: str, row: bytes, at_ms: int | None
) -> None:
    """A row that is gone is told as damage, not passed over."""
    store = Store(tmp_path / "torn", map_bytes=1 << 26, words=text_terms, sync=False)
    try:
        changes = [PutEntity(Entity(WORKSPACE, name, "thing")) for name in "ab"]
        assert store.commit([[*changes, PutRelation(Relation(WORKSPACE, "a", "b", "x"))]]) == [None]
        query = GraphQuery(EntityKey.of(WORKSPACE, "b"), direction="in", at_ms=at_ms)
        assert len(store.reader.walk(query).edges) == 1
        environment = store._opened.environment
        with environment.lmdb.begin(write=True) as txn:
            assert txn.delete(row, db=environment.tables[table])
        with pytest.raises(StorageCorrupt):
            store.reader.walk(query)
    finally:
        await store.close()
