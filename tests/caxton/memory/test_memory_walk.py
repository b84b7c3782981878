"""Walks and shortest ways over any graph, against the plainest way to find them."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from caxton.memory.walk import PathSearch, Walk

NODES = 9
graphs = st.lists(
    st.tuples(st.integers(0, NODES - 1), st.integers(0, NODES - 1)), max_size=24, unique=True
)
Edges = list[tuple[int, int]]


def steps(edges: Edges, node: int, *, backwards: bool = False) -> Edges:
    """Edge number and other end, for each edge of a node."""
    if backwards:
        return [(at, one[0]) for at, one in enumerate(edges) if one[1] == node]
    return [(at, one[1]) for at, one in enumerate(edges) if one[0] == node]


def distances(edges: Edges, start: int, most: int) -> dict[int, int]:
    found, waiting = {start: 0}, deque([start])
    while waiting:
        node = waiting.popleft()
        for _, other in steps(edges, node):
            if other not in found and found[node] < most:
                found[other] = found[node] + 1
                waiting.append(other)
    return found


@given(graphs, st.integers(0, 5), st.integers(1, 9), st.booleans())
def test_what_goes_out_closes_a_walk_over_both_directions(
    edges: Edges, depth: int, most: int, depth_first: bool
) -> None:
    """At the end one direction is enough to find all that is between the nodes."""
    walk: Walk[int, int] = Walk(0, max_depth=depth, max_nodes=most, depth_first=depth_first)
    while wanted := walk.wanted():
        answers = []
        for one in wanted:
            into = [] if walk.closing else steps(edges, one, backwards=True)
            answers.append(steps(edges, one) + into)
        walk.give(answers)
    assert sorted(walk.edges) == [
        at for at, (a, b) in enumerate(edges) if a in walk.nodes and b in walk.nodes
    ]


def walked(edges: Edges, depth: int, nodes: int, *, depth_first: bool) -> Walk[int, int]:
    walk: Walk[int, int] = Walk(0, max_depth=depth, max_nodes=nodes, depth_first=depth_first)
    rounds = 0
    while wanted := walk.wanted():
        rounds += 1
        assert rounds <= 200
        walk.give([steps(edges, one) for one in wanted])
    return walk


@given(graphs, st.integers(0, 5), st.booleans())
def test_a_walk_finds_all_within_its_depth(edges: Edges, depth: int, depth_first: bool) -> None:
    """Nodes, shortest distances, and all edges between them, in either order."""
    walk = walked(edges, depth, 100, depth_first=depth_first)
    expected = distances(edges, 0, depth)
    assert dict(zip(walk.nodes, walk.depths, strict=True)) == expected
    assert sorted(walk.edges) == [
        at for at, (a, b) in enumerate(edges) if a in expected and b in expected
    ]
    assert not walk.truncated
    assert walk.nodes[0] == 0
    if not depth_first:
        assert walk.depths == sorted(walk.depths)


@given(graphs, st.integers(0, 5), st.integers(1, 6), st.booleans())
def test_a_walk_ends_at_its_number_of_nodes(
    edges: Edges, depth: int, most: int, depth_first: bool
) -> None:
    """It tells so exactly when there was more; each node comes from one before it."""
    walk = walked(edges, depth, most, depth_first=depth_first)
    reachable = distances(edges, 0, depth)
    assert walk.truncated == (len(reachable) > most)
    assert len(walk.nodes) == min(most, len(reachable))
    assert set(walk.nodes) <= set(reachable)
    for at, node in enumerate(walk.nodes[1:], 1):
        assert any((one, node) in edges for one in walk.nodes[:at])
    assert sorted(walk.edges) == [
        at for at, (a, b) in enumerate(edges) if a in walk.nodes and b in walk.nodes
    ]


def test_depth_first_goes_down_before_aside() -> None:
    """The order of the nodes is that of the way down."""
    edges = [(0, 1), (0, 2), (1, 3), (3, 4), (2, 5)]
    assert walked(edges, 3, 100, depth_first=True).nodes == [0, 1, 3, 4, 2, 5]
    assert walked(edges, 3, 100, depth_first=False).nodes == [0, 1, 2, 3, 5, 4]


def test_a_level_is_asked_for_at_once() -> None:
    """A server is asked as often as the walk is deep, and once more for what closes circles."""
    walk: Walk[int, int] = Walk(0, max_depth=2, max_nodes=100)
    edges = [(0, 1), (0, 2), (1, 3), (2, 4)]
    asked = []
    while wanted := walk.wanted():
        asked.append(wanted)
        walk.give([steps(edges, one) for one in wanted])
    assert asked == [[0], [1, 2], [3, 4]]


@given(graphs, st.integers(0, NODES - 1), st.integers(0, 6))
def test_a_path_is_a_shortest_one(edges: Edges, end: int, depth: int) -> None:
    """As long as the distance, along edges, or none when it is too far."""
    search: PathSearch[int, int] = PathSearch(0, end, max_depth=depth)
    rounds = 0
    while True:
        wanted, forwards = search.wanted()
        if not wanted:
            break
        rounds += 1
        search.give([steps(edges, one, backwards=not forwards) for one in wanted])
    assert rounds <= depth
    distance = distances(edges, 0, depth).get(end)
    if distance is None:
        assert search.nodes == search.edges == []
        return
    assert len(search.nodes) == distance + 1
    assert (search.nodes[0], search.nodes[-1]) == (0, end)
    assert [edges[at] for at in search.edges] == list(
        zip(search.nodes, search.nodes[1:], strict=False)
    )
