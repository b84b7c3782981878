"""Backends on a database elsewhere: what names one, and what they have in common.

Their drivers are imported when one is made, not before.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Final, Literal, TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec

from caxton.config.secret import Secret
from caxton.errors import MemoryUnavailable, ValidationError
from caxton.memory.backend import (
    Graph,
    GraphQuery,
    MemoryBackend,
    PathQuery,
)
from caxton.memory.model import GLOBAL, Entity, EntityKey, Relation
from caxton.memory.walk import PathSearch, Walk

__all__ = [
    "RemoteGraph",
    "RemoteTarget",
    "deadline",
    "remote_backend",
    "shown_url",
    "without_secret",
]

T = TypeVar("T")
NOWHERE: Final = EntityKey(GLOBAL, "")
AHEAD: Final = 200
"""Most nodes that are asked for beside the one that is wanted, to save ways to the server."""
SCHEMES: Final = {
    "qdrant": ("http", "https"),
    "neo4j": ("bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc"),
}
PACKAGES: Final = {"qdrant": "qdrant_client", "neo4j": "neo4j"}


class RemoteTarget(msgspec.Struct, frozen=True):
    """A database to keep the memory in."""

    backend: Literal["qdrant", "neo4j"]
    url: str
    """``http(s)://HOST:PORT`` of Qdrant, ``bolt://`` or ``neo4j://`` of Neo4j."""
    user: str = "neo4j"
    """Of Neo4j."""
    secret: Secret = Secret()
    """Password of the user (Neo4j), or the API key (Qdrant)."""
    database: str = ""
    """Neo4j: name of the database, the server's own choice when empty. Qdrant: what the names of
    its collections begin with, ``caxton`` when empty."""
    timeout_ms: int = 10_000
    """How long one call may take: 100 to 600,000 ms."""


def shown_url(url: str) -> str:
    """A URL without what may be a password in it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def without_secret(text: str, *secrets: str) -> str:
    """A text of a driver in one line, without secrets, short enough to be read."""
    for secret in secrets:
        shown = secret.reveal() if isinstance(secret, Secret) else secret
        if shown:
            text = text.replace(shown, "***")
    return " ".join(text.split())[:300]


def remote_backend(target: RemoteTarget) -> MemoryBackend:
    """The backend that ``target`` names; nothing is asked of it before its ``start``.

    Raises:
        ValidationError: its URL is none of this database.
        MemoryUnavailable: its package is not installed.
    """
    schemes = SCHEMES[target.backend]
    parts = urlsplit(target.url)
    if parts.scheme not in schemes or not parts.hostname:
        raise ValidationError(
            field="memory.url",
            value=shown_url(target.url),
            allowed=" or ".join(f"{scheme}://HOST:PORT" for scheme in schemes),
        )
    if importlib.util.find_spec(PACKAGES[target.backend]) is None:
        raise MemoryUnavailable(
            backend=target.backend,
            reason=f"its driver is not installed: pip install 'caxton[{target.backend}]'",
        )
    if target.backend == "qdrant":
        from caxton.memory.qdrant.backend import QdrantBackend

        return QdrantBackend.at(target)
    from caxton.memory.neo4j.backend import Neo4jBackend

    return Neo4jBackend(target)


@contextlib.asynccontextmanager
async def deadline(backend: str, seconds: float, what: str, where: str) -> AsyncIterator[None]:
    """Bound what is inside.

    Raises:
        MemoryUnavailable: it took longer.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise MemoryUnavailable(
            backend=backend, reason=f"{where}: no answer to {what} within {seconds:g} s"
        ) from error


class RemoteGraph:
    """One walk over a graph that is asked for over the network, many nodes at a time.

    Args:
        relations_of: all relations from and to some entities, those of both once.
        entities_of: entities by key; None for what is not there.
    """

    def __init__(
        self,
        relations_of: Callable[[Sequence[EntityKey]], Awaitable[list[Relation]]],
        entities_of: Callable[[Sequence[EntityKey]], Awaitable[list[Entity | None]]],
    ) -> None:
        self._relations_of = relations_of
        self._entities_of = entities_of
        self._query: GraphQuery | PathQuery = GraphQuery(NOWHERE)
        self._entities: dict[EntityKey, Entity] = {}
        self._relations: dict[tuple[str, str, str], Relation] = {}
        self._out: dict[EntityKey, list[tuple[tuple[str, str, str], EntityKey]]] = {}
        self._into: dict[EntityKey, list[tuple[tuple[str, str, str], EntityKey]]] = {}
        self._ahead: dict[EntityKey, None] = {}

    async def walk(self, query: GraphQuery) -> Graph:
        """What is around the start of ``query``."""
        self._query = query
        if not await self._know([query.start]):
            return Graph()
        walk: Walk[EntityKey, tuple[str, str, str]] = Walk(
            query.start,
            max_depth=query.max_depth,
            max_nodes=query.max_nodes,
            depth_first=query.depth_first,
        )
        ahead = AHEAD if query.depth_first else 0
        while wanted := walk.wanted():
            await self._read(wanted, ahead)
            walk.give([self._steps(key, query.direction) for key in wanted])
        return self._graph(walk.nodes, walk.depths, walk.edges, truncated=walk.truncated)

    async def path(self, query: PathQuery) -> Graph:
        """A shortest way between the ends of ``query``."""
        self._query = query
        if await self._know([query.start, query.end]) < len({query.start, query.end}):
            return Graph()
        if query.start != query.end and not self._holds(query.end):
            return Graph()
        against = {"out": "in", "in": "out"}.get(query.direction, "both")
        search: PathSearch[EntityKey, tuple[str, str, str]] = PathSearch(
            query.start, query.end, max_depth=query.max_depth
        )
        while True:
            wanted, forwards = search.wanted()
            if not wanted:
                break
            await self._read(wanted, 0)
            direction = query.direction if forwards else against
            search.give([self._steps(key, direction) for key in wanted])
        nodes = search.nodes
        return self._graph(nodes, range(len(nodes)), search.edges, truncated=False)

    def _graph(
        self,
        nodes: list[EntityKey],
        depths: Iterable[int],
        edges: Iterable[tuple[str, str, str]],
        *,
        truncated: bool,
    ) -> Graph:
        return Graph(
            nodes=tuple(self._entities[key] for key in nodes),
            depths=tuple(depths),
            edges=tuple(self._relations[edge] for edge in edges),
            truncated=truncated,
        )

    async def _know(self, keys: Sequence[EntityKey]) -> int:
        """Look up entities; how many of them are there."""
        new = [key for key in dict.fromkeys(keys) if key not in self._entities]
        if new:
            for key, found in zip(new, await self._entities_of(new), strict=True):
                if found is not None:
                    self._entities[key] = found
        return sum(key in self._entities for key in dict.fromkeys(keys))

    async def _read(self, wanted: Sequence[EntityKey], ahead: int) -> None:
        missing = [key for key in wanted if key not in self._out]
        if not missing:
            return
        for key in list(self._ahead):
            if len(missing) >= ahead:
                break
            if key not in self._out and key not in missing:
                missing.append(key)
        for key in missing:
            self._ahead.pop(key, None)
            self._out[key], self._into[key] = [], []
        found = [one for one in await self._relations_of(missing) if self._takes(one)]
        ends: dict[EntityKey, None] = {}
        for one in found:
            ends[EntityKey.of(one.scope, one.from_entity)] = None
            ends[EntityKey.of(one.scope, one.to_entity)] = None
        await self._know(list(ends))
        fresh = set(missing)
        for one in sorted(found, key=lambda one: one.key):
            start = EntityKey.of(one.scope, one.from_entity)
            end = EntityKey.of(one.scope, one.to_entity)
            edge = (start.name, one.relation_type, end.name)
            self._relations[edge] = one
            if start in fresh and self._holds(end):
                self._out[start].append((edge, end))
            if end in fresh and self._holds(start):
                self._into[end].append((edge, start))
            self._ahead.update((key, None) for key in (start, end) if key not in self._out)

    def _takes(self, one: Relation) -> bool:
        query = self._query
        return (
            one.strength >= query.min_strength
            and (not query.relation_types or one.relation_type in query.relation_types)
            and (query.at_ms is None or one.holds_at(query.at_ms))
        )

    def _holds(self, key: EntityKey) -> bool:
        """Whether it may be gone to; the start may always."""
        if key not in self._entities:
            return False
        at_ms = self._query.at_ms
        return at_ms is None or key == self._query.start or self._entities[key].holds_at(at_ms)

    def _steps(
        self, key: EntityKey, direction: str
    ) -> list[tuple[tuple[str, str, str], EntityKey]]:
        if direction == "out":
            return self._out[key]
        if direction == "in":
            return self._into[key]
        return self._out[key] + self._into[key]
