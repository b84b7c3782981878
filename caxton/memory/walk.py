"""Walks over a graph that somebody else reads: here is decided what to read next.

A walk says whose relations it wants, and is given them. A store in this process answers from one
transaction; a server is asked for a whole level at once. What a query does not admit (by type,
strength, time) the reader leaves out, so that both walk over the same graph.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeAlias, TypeVar

__all__ = ["PathSearch", "Step", "Walk"]

N = TypeVar("N", bound=Hashable)
E = TypeVar("E", bound=Hashable)
Step: TypeAlias = tuple[E, N]
"""A relation, and what it leads to from the node it was asked of."""


class Walk(Generic[N, E]):
    """What is around ``start``: all nodes within ``max_depth``, and all relations between them.

    Ask ``wanted`` and answer with ``give`` until nothing is wanted. The last nodes are asked of
    too, for relations among themselves.

    Args:
        start: where it begins; its first node.
        max_depth: relations from the start, 0 to 10.
        max_nodes: it ends when it has found so many, the start included.
        depth_first: the order of ``nodes``; which they are, and their depths, are the same in both
            unless it ended at ``max_nodes``.
    """

    def __init__(
        self, start: N, *, max_depth: int, max_nodes: int, depth_first: bool = False
    ) -> None:
        self.truncated = False
        """Whether there was more than ``max_nodes``."""
        self._max_depth = max_depth
        self._max_nodes = max_nodes
        self._depths: dict[N, int] = {start: 0}
        """In the order in which they were found."""
        self._edges: dict[E, None] = {}
        self._asked: set[N] = set()
        self._wanted: list[N] = []
        self._depth_first = depth_first
        self._growing = max_depth > 0
        self._known: dict[N, list[Step[E, N]]] = {}
        """Depth first only: a node is gone through again when a shorter way to it is found."""
        self._stack: list[Iterator[Step[E, N]]] = []
        self._want([start])

    @property
    def nodes(self) -> list[N]:
        """What it found, the start first."""
        return list(self._depths)

    @property
    def found(self) -> Container[N]:
        """Whether a node is one of them is asked of this; it grows with the walk."""
        return self._depths

    @property
    def depths(self) -> list[int]:
        """Of each node, the fewest relations from the start."""
        return list(self._depths.values())

    @property
    def edges(self) -> list[E]:
        """All relations between its nodes, once each."""
        return list(self._edges)

    @property
    def closing(self) -> bool:
        """Whether only relations among its nodes are looked for any more. All whose relations are
        not known are asked then: where both directions are walked over, those that go out do."""
        return not self._growing

    def wanted(self) -> list[N]:
        """The nodes to read the relations of now; empty at the end."""
        return self._wanted

    def give(self, answers: Sequence[Iterable[Step[E, N]]]) -> None:
        """The relations of each wanted node, in the same order."""
        asked, self._wanted = self._wanted, []
        self._asked.update(asked)
        if not self._growing:
            self._close(answers)
        elif self._depth_first:
            self._deeper(asked, answers)
        else:
            self._wider(asked, answers)

    def close(self, edges: Iterable[E]) -> None:
        """Instead of ``give``, where ``closing``: only those relations that lead to its nodes."""
        self._asked.update(self._wanted)
        self._wanted = []
        self._edges.update(dict.fromkeys(edges))

    def _want(self, nodes: list[N]) -> None:
        if not nodes and self._growing:
            self._end_growing()
        else:
            self._wanted = nodes

    def _end_growing(self) -> None:
        self._growing = False
        depths, edges = self._depths, self._edges
        for node in depths:
            for edge, other in self._known.get(node, ()):
                if other in depths:
                    edges[edge] = None
        self._known.clear()
        self._wanted = [node for node in depths if node not in self._asked]

    def _close(self, answers: Sequence[Iterable[Step[E, N]]]) -> None:
        depths, edges = self._depths, self._edges
        for steps in answers:
            for edge, other in steps:
                if other in depths:
                    edges[edge] = None

    def _full(self) -> bool:
        if len(self._depths) >= self._max_nodes:
            self.truncated = True
        return self.truncated

    def _wider(self, asked: list[N], answers: Sequence[Iterable[Step[E, N]]]) -> None:
        depths, edges = self._depths, self._edges
        depth = depths[asked[0]] + 1
        found = []
        for steps in answers:
            for edge, other in steps:
                if other not in depths:
                    if self._full():
                        continue
                    depths[other] = depth
                    found.append(other)
                edges[edge] = None
        self._want(found if depth < self._max_depth and not self.truncated else [])

    def _deeper(self, asked: list[N], answers: Sequence[Iterable[Step[E, N]]]) -> None:
        depths, stack = self._depths, self._stack
        steps = self._known[asked[0]] = list(answers[0])
        stack.append(iter(steps))
        while stack:
            depth = len(stack)
            for _, other in stack[-1]:
                if depths.get(other, depth + 1) <= depth:
                    continue
                if other not in depths and self._full():
                    stack.clear()
                    break
                depths[other] = depth
                if depth == self._max_depth:
                    continue
                if other not in self._known:
                    self._want([other])
                    return
                stack.append(iter(self._known[other]))
                break
            else:
                stack.pop()
        self._want([])


class PathSearch(Generic[N, E]):
    """A shortest way from ``start`` to ``end``, searched from both sides.

    Args:
        max_depth: relations that the way may have at most.
    """

    def __init__(self, start: N, end: N, *, max_depth: int) -> None:
        self.nodes: list[N] = []
        """The way, both ends included; empty when there is none."""
        self.edges: list[E] = []
        """The relations of the way, in its order."""
        self._from: dict[N, Step[E, N] | None] = {start: None}
        self._to: dict[N, Step[E, N] | None] = {end: None}
        self._front = [start]
        self._back = [end]
        self._left = max_depth
        self._forwards = True
        if start == end:
            self.nodes = [start]
            self._front = []

    def wanted(self) -> tuple[list[N], bool]:
        """The nodes to read the relations of now, empty at the end; and whether those that lead on
        in the direction of the query, or those that lead to them."""
        if self.nodes or self._left <= 0 or not self._front or not self._back:
            return [], True
        self._forwards = len(self._front) <= len(self._back)
        return (self._front if self._forwards else self._back), self._forwards

    def give(self, answers: Sequence[Iterable[Step[E, N]]]) -> None:
        """The relations of each wanted node, in the same order."""
        asked = self._front if self._forwards else self._back
        here, there = (self._from, self._to) if self._forwards else (self._to, self._from)
        self._left -= 1
        found: list[N] = []
        for node, steps in zip(asked, answers, strict=True):
            for edge, other in steps:
                if other in here:
                    continue
                here[other] = (edge, node)
                if other in there:
                    self._meet(other)
                    return
                found.append(other)
        if self._forwards:
            self._front = found
        else:
            self._back = found

    def _meet(self, middle: N) -> None:
        nodes, edges = [middle], []
        while (step := self._from[nodes[-1]]) is not None:
            edges.append(step[0])
            nodes.append(step[1])
        nodes.reverse()
        edges.reverse()
        while (step := self._to[nodes[-1]]) is not None:
            edges.append(step[0])
            nodes.append(step[1])
        self.nodes, self.edges = nodes, edges
