"""What ``MemoryBackend`` promises of relations, walks and paths, against a plain model."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

import pytest
from benches import Bench
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import ANN, MODEL, entity, put, relate, relation

from caxton.memory.backend import (
    Direction,
    Graph,
    GraphQuery,
    MemoryBackend,
    PathQuery,
    PutEntity,
    PutRelation,
    Selection,
)
from caxton.memory.model import WORKSPACE, Entity, EntityKey, Relation


def key(name: str) -> EntityKey:
    """Of an entity of the workspace."""
    return EntityKey.of(WORKSPACE, name)


class Plain:
    """A graph as two dictionaries, walked in the plainest way."""

    def __init__(self, entities: Iterable[Entity], relations: Iterable[Relation]) -> None:
        self.entities = {one.key: one for one in entities}
        self.relations = list(relations)

    def usable(self, query: GraphQuery | PathQuery) -> list[Relation]:
        """The relations that a query walks over."""
        return [
            one
            for one in self.relations
            if one.strength >= query.min_strength
            and (not query.relation_types or one.relation_type in query.relation_types)
            and (
                query.at_ms is None
                or (
                    one.holds_at(query.at_ms)
                    and all(
                        end == query.start or self.entities[end].holds_at(query.at_ms)
                        for end in ends(one)
                    )
                )
            )
        ]

    def depths(self, query: GraphQuery | PathQuery) -> dict[EntityKey, int]:
        """How far everything within reach is."""
        if query.start not in self.entities:
            return {}
        found, queue = {query.start: 0}, deque([query.start])
        usable = self.usable(query)
        while queue:
            here = queue.popleft()
            if found[here] == query.max_depth:
                continue
            for one in usable:
                start, end = ends(one)
                for near, far, way in ((start, end, "out"), (end, start, "in")):
                    if near == here and query.direction in (way, "both") and far not in found:
                        found[far] = found[here] + 1
                        queue.append(far)
        return found


def ends(one: Relation) -> tuple[EntityKey, EntityKey]:
    """Both ends of a relation."""
    return EntityKey.of(one.scope, one.from_entity), EntityKey.of(one.scope, one.to_entity)


def check_edges(graph: Graph, plain: Plain, query: GraphQuery | PathQuery) -> None:
    """Edges are relations of the store that may be walked, between nodes, once each."""
    nodes = {one.key for one in graph.nodes}
    usable = {one.key: one for one in plain.usable(query)}
    keys = [one.key for one in graph.edges]
    assert len(set(keys)) == len(keys)
    for one in graph.edges:
        assert usable[one.key] == one
        assert set(ends(one)) <= nodes


def check_walk(graph: Graph, plain: Plain, query: GraphQuery) -> None:
    """A walk over everything finds what the plain model does."""
    depths = plain.depths(query)
    keys = [one.key for one in graph.nodes]
    assert len(set(keys)) == len(keys) == len(graph.depths)
    assert [plain.entities[one] for one in keys] == list(graph.nodes)
    assert keys[:1] == [query.start][: len(keys)]
    assert not graph.truncated
    check_edges(graph, plain, query)
    assert dict(zip(keys, graph.depths, strict=True)) == depths
    if not query.depth_first:
        assert list(graph.depths) == sorted(graph.depths)
    nodes = set(keys)
    between = {one.key for one in plain.usable(query) if set(ends(one)) <= nodes}
    assert {one.key for one in graph.edges} == between


def check_path(graph: Graph, plain: Plain, query: PathQuery) -> None:
    """A path is as short as the plain model says, and holds together."""
    far = plain.depths(query).get(query.end)
    if far is None or query.end not in plain.entities:
        assert graph.nodes == ()
        assert graph.edges == ()
        return
    keys = [one.key for one in graph.nodes]
    assert [plain.entities[one] for one in keys] == list(graph.nodes)
    assert keys[0] == query.start
    assert keys[-1] == query.end
    assert len(keys) == far + 1
    assert list(graph.depths) == list(range(far + 1))
    assert len(graph.edges) == far
    check_edges(graph, plain, query)
    for i, one in enumerate(graph.edges):
        start, end = ends(one)
        ways: list[tuple[Direction, tuple[EntityKey, EntityKey]]] = [
            ("out", (start, end)), ("in", (end, start)),
        ]  # fmt: skip
        assert any(
            query.direction in (way, "both") and pair == (keys[i], keys[i + 1])
            for way, pair in ways
        )


NAMES = [f"n{i}" for i in range(8)]
DIRECTIONS: list[Direction] = ["out", "in", "both"]
times = st.sampled_from([(None, None), (None, 100), (100, None), (50, 150)])
edges = st.builds(
    lambda start, end, kind, strength, held: relation(
        start, kind, end, strength=strength, valid_from_ms=held[0], valid_to_ms=held[1]
    ),
    st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from(["x", "y"]),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]), times,
)  # fmt: skip
walks = st.builds(
    GraphQuery,
    st.sampled_from(NAMES).map(key),
    max_depth=st.sampled_from([0, 1, 2, 3, 10]),
    direction=st.sampled_from(DIRECTIONS),
    relation_types=st.sampled_from([(), ("x",), ("x", "y"), ("z",)]),
    min_strength=st.sampled_from([0.0, 0.25, 0.75]),
    depth_first=st.booleans(),
    at_ms=st.sampled_from([None, None, 60, 120]),
)
paths = st.builds(
    PathQuery,
    st.sampled_from(NAMES).map(key),
    st.sampled_from(NAMES).map(key),
    max_depth=st.sampled_from([0, 1, 3, 10]),
    direction=st.sampled_from(DIRECTIONS),
    relation_types=st.sampled_from([(), ("x",)]),
    min_strength=st.sampled_from([0.0, 0.5]),
    at_ms=st.sampled_from([None, None, 120]),
)


async def test_relations_of_entities(backend: MemoryBackend) -> None:
    """From them, to them or both, once each, in the order of the keys asked for."""
    await put(backend, *(entity(name) for name in "abcd"), entity("a", scope=ANN))
    await put(backend, entity("b", scope=ANN))
    ab, ba, bc, cc = (
        relation("a", "x", "b"), relation("b", "x", "a"), relation("b", "x", "c"),
        relation("c", "x", "c"),
    )  # fmt: skip
    await relate(backend, ab, ba, bc, cc, relation("a", "x", "b", scope=ANN))

    def told(found: list[Relation]) -> set[tuple[str, str]]:
        pairs = [(one.from_entity, one.to_entity) for one in found]
        assert len(set(pairs)) == len(pairs)
        assert all(one.scope == WORKSPACE for one in found)
        return set(pairs)

    assert told(await backend.relations([key("a")])) == {("a", "b"), ("b", "a")}
    assert told(await backend.relations([key("b")], direction="out")) == {("b", "a"), ("b", "c")}
    assert told(await backend.relations([key("b")], direction="in")) == {("a", "b")}
    assert told(await backend.relations([key("c")])) == {("b", "c"), ("c", "c")}
    assert await backend.relations([key("d"), key("nobody")]) == []
    assert await backend.relations([]) == []
    both = await backend.relations([key("c"), key("a")])
    assert told(both) == {("b", "c"), ("c", "c"), ("a", "b"), ("b", "a")}
    assert {(one.from_entity, one.to_entity) for one in both[:2]} == {("b", "c"), ("c", "c")}


@pytest.mark.parametrize("depth_first", [False, True])
async def test_a_walk_has_its_order(backend: MemoryBackend, depth_first: bool) -> None:
    """Breadth first goes layer by layer, depth first down to the end of each way."""
    await put(backend, *(entity(name) for name in ("root", "a", "b", "a1", "b1", "a2", "b2")))
    await relate(
        backend,
        relation("root", "x", "a"), relation("a", "x", "a1"), relation("a1", "x", "a2"),
        relation("root", "x", "b"), relation("b", "x", "b1"), relation("b1", "x", "b2"),
    )  # fmt: skip
    graph = await backend.walk(
        GraphQuery(key("root"), max_depth=3, direction="out", depth_first=depth_first)
    )
    got = "".join(one.entity_name[0] for one in graph.nodes)
    assert got in (("raaabbb", "rbbbaaa") if depth_first else ("rababab", "rbababa"))
    assert len(graph.edges) == 6


async def test_a_walk_ends_when_it_has_enough(backend: MemoryBackend) -> None:
    """At ``max_nodes``, and says so; not when that is just what there is."""
    await put(backend, entity("hub"), *(entity(f"n{i}") for i in range(30)))
    await relate(backend, *(relation("hub", "has", f"n{i}") for i in range(30)))
    for depth_first in (False, True):
        graph = await backend.walk(GraphQuery(key("hub"), depth_first=depth_first, max_nodes=10))
        assert len(graph.nodes) == len(graph.depths) == 10
        assert graph.truncated
        kept = {one.key for one in graph.nodes}
        assert all(set(ends(one)) <= kept for one in graph.edges)
        graph = await backend.walk(GraphQuery(key("hub"), depth_first=depth_first, max_nodes=31))
        assert len(graph.nodes) == 31
        assert not graph.truncated
    assert await backend.walk(GraphQuery(key("nobody"))) == Graph()


async def test_a_way_to_itself_and_to_nobody(backend: MemoryBackend) -> None:
    """One node without relations; nothing where an end is missing."""
    await put(backend, entity("a"), entity("b"))
    graph = await backend.path(PathQuery(key("a"), key("a")))
    assert [one.entity_name for one in graph.nodes] == ["a"]
    assert graph.edges == ()
    for start, end in (("a", "b"), ("a", "nobody"), ("nobody", "a"), ("nobody", "nobody")):
        assert await backend.path(PathQuery(key(start), key(end))) == Graph()


async def test_walks_equal_the_plain_model(bench: Bench) -> None:
    """For graphs, filters and depths drawn by seed."""
    backend = await bench.open(MODEL)

    @settings(max_examples=bench.examples, deadline=None)
    @given(
        st.lists(edges, max_size=16, unique_by=lambda one: one.key),
        st.lists(times, min_size=len(NAMES), max_size=len(NAMES)),
        st.lists(walks, min_size=1, max_size=4),
        st.lists(paths, min_size=1, max_size=4),
    )
    def run(
        relations: list[Relation],
        held: list[tuple[int | None, int | None]],
        asked: list[GraphQuery],
        ways: list[PathQuery],
    ) -> None:
        entities = [
            entity(name, valid_from_ms=starts, valid_to_ms=stops)
            for name, (starts, stops) in zip(NAMES, held, strict=True)
        ]
        bench.run(examine(entities, relations, asked, ways))

    async def examine(
        entities: list[Entity],
        relations: list[Relation],
        asked: list[GraphQuery],
        ways: list[PathQuery],
    ) -> None:
        plain = Plain(entities, relations)
        await backend.clear(Selection())
        await backend.write(
            [*(PutEntity(one) for one in entities), *(PutRelation(one) for one in relations)]
        )
        for query in asked:
            # The start is where the walk is, whether it holds or not.
            check_walk(await backend.walk(query), plain, query)
        for way in ways:
            check_path(await backend.path(way), plain, way)

    await asyncio.to_thread(run)
    await bench.close(backend)
