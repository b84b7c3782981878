"""What reads without a search: entities by name, and what is around them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

from caxton.errors import EntityNotFound
from caxton.memory.backend import Graph, GraphQuery, MemoryBackend, PathQuery
from caxton.memory.checks import check_count, check_name, check_number, check_types
from caxton.memory.model import Entity, EntityKey, Relation, Scope, Strength
from caxton.memory.pages import BYTES
from caxton.memory.permissions import Access
from caxton.memory.requests import FindPath, GraphAnswer, Opened, OpenEntities, WalkGraph
from caxton.memory.room import Room
from caxton.memory.sizes import within
from caxton.types import Bound

__all__ = ["Looking"]

NAMES: Final = 1_000
Depth: Final = Bound("max_depth", int, 0, 10)
Nodes: Final = Bound("max_nodes", int, 1, 10_000)


class Looking:
    """Answers the requests that name entities.

    Args:
        backend: where they are kept.
        access: who may read what.
        room: knows which scopes there are.
        clock: now, in ms since 1970.
    """

    def __init__(
        self, backend: MemoryBackend, access: Access, room: Room, clock: Callable[[], int]
    ) -> None:
        self._backend = backend
        self._access = access
        self._room = room
        self._clock = clock

    def _scopes(self, scopes: tuple[Scope, ...] | None) -> list[Scope]:
        return self._room.scopes() if scopes is None else list(scopes)

    async def open(self, request: OpenEntities) -> Opened:
        """Entities by name."""
        check_count(request.names, 1, NAMES, "names")
        for number, name in enumerate(request.names):
            check_name(name, f"names[{number}]")
        scopes = self._scopes(self._access.read(request))
        keys = list(
            dict.fromkeys(
                EntityKey.of(scope, name) for name in request.names for scope in scopes
            )
        )  # fmt: skip
        found = [one for one in await self._backend.entities(keys) if one is not None]
        relations: list[Relation] = []
        if found:
            relations = await self._backend.relations([one.key for one in found])
        return Opened(tuple(found), tuple(relations))

    async def _find(self, name: str, scopes: list[Scope], asked: str | None) -> list[Entity]:
        """The entities of a name, in the order of ``scopes``.

        Raises:
            EntityNotFound: there is none.
        """
        keys = [EntityKey.of(scope, name) for scope in scopes]
        found = [one for one in await self._backend.entities(keys) if one is not None]
        if not found:
            raise _not_found(name, scopes, asked)
        return found

    async def _start(self, request: WalkGraph, scopes: list[Scope]) -> EntityKey:
        """The entity to walk from. In one scope the walk itself tells whether it is there.

        Raises:
            EntityNotFound: it is in none.
        """
        if len(scopes) == 1:
            return EntityKey.of(scopes[0], request.entity_name)
        return (await self._find(request.entity_name, scopes, request.memory_scope))[0].key

    async def walk(self, request: WalkGraph) -> GraphAnswer:
        """What is around an entity: of those of its name, the one of the narrowest scope."""
        check_name(request.entity_name)
        _check(request)
        Nodes.parse(request.max_nodes, "max_nodes")
        scopes = self._scopes(self._access.read(request))
        started = time.perf_counter()
        key = await self._start(request, scopes)
        graph = await self._backend.walk(
            GraphQuery(
                key,
                request.max_depth,
                request.direction,
                tuple(request.relation_types),
                request.min_strength,
                request.traversal_strategy == "depth_first",
                self._clock() if request.temporal_filter == "current" else None,
                request.max_nodes,
            )
        )
        if not graph.nodes:
            raise _not_found(request.entity_name, scopes, request.memory_scope)
        if not request.include_observations:
            bare = tuple(msgspec.structs.replace(one, observations=()) for one in graph.nodes)
            graph = msgspec.structs.replace(graph, nodes=bare)
        return _answer(within(graph, BYTES), started)

    async def path(self, request: FindPath) -> GraphAnswer:
        """A shortest way, in the narrowest scope that has one."""
        check_name(request.from_entity, "from_entity")
        check_name(request.to_entity, "to_entity")
        _check(request)
        scopes = self._scopes(self._access.read(request))
        started = time.perf_counter()
        asked = request.memory_scope
        starts = await self._find(request.from_entity, scopes, asked)
        ends = {one.scope: one for one in await self._find(request.to_entity, scopes, asked)}
        graph = Graph()
        for start in starts:
            end = ends.get(start.scope)
            if end is None or graph.nodes:
                continue
            graph = await self._backend.path(
                PathQuery(
                    start.key,
                    end.key,
                    request.max_depth,
                    request.direction,
                    tuple(request.relation_types),
                    request.min_strength,
                    self._clock(),
                )
            )
        return _answer(graph, started)


def _not_found(name: str, scopes: list[Scope], asked: str | None) -> EntityNotFound:
    where = asked or ", ".join(one.key for one in scopes[:5]) or "any scope"
    return EntityNotFound(entity_name=name, memory_scope=where)


def _check(request: WalkGraph | FindPath) -> None:
    Depth.parse(request.max_depth, "max_depth")
    check_number(Strength, request.min_strength, "min_strength")
    check_types(request.relation_types, "relation_types")


def _answer(graph: Graph, started: float) -> GraphAnswer:
    took_ms = round((time.perf_counter() - started) * 1_000, 3)
    return GraphAnswer(graph.nodes, graph.depths, graph.edges, graph.truncated, took_ms)
