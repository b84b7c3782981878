"""The seam to where the memory is kept. Each backend passes ``tests/caxton/memory/conformance``.

A backend keeps entities with their vectors, relations, and finds candidates for a search. What
may be written, what an answer is made of, and how scores become one is the service's: it is the
only writer, one process of it for each node.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import msgspec

from caxton.memory.model import Entity, EntityKey, Relation, RelationKey, Scope

__all__ = [
    "BackendStats",
    "Candidate",
    "CandidateQuery",
    "Change",
    "DeleteEntity",
    "DeleteRelation",
    "Direction",
    "EntityRow",
    "Fault",
    "Graph",
    "GraphQuery",
    "MemoryBackend",
    "ModelInfo",
    "PathQuery",
    "PutEntity",
    "PutRelation",
    "Selection",
    "Vectors",
]

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors: TypeAlias = NDArray[np.float32]
else:
    # Who only asks, such as the command line, does without numpy.
    Vectors = Any
"""``[parts, dimension]``, each of length 1: an entity has one vector for each part of its text."""
Direction = Literal["out", "in", "both"]


class ModelInfo(msgspec.Struct, frozen=True):
    """Which model vectors come from. Those of two models are not compared."""

    name: str
    dimension: int
    sha256: str
    """Of its weights, in hex."""


class PutEntity(msgspec.Struct, frozen=True):
    """Write an entity as it is given.

    ``vectors`` of None keeps those that are there when the entity is known, and leaves it without
    when not: it is found by words only until it is embedded. An array of no vectors takes away
    those that are there, of whatever model, for they are of an older text; it may be given without
    a model too.
    """

    entity: Entity
    """Its ``version`` is one more than that of the entity that is there; 1 for a new one."""
    vectors: Vectors | None = None
    restored: bool = False
    """Any ``version`` not below the one that is there is right: it was exported, or only its
    vectors are new."""


class DeleteEntity(msgspec.Struct, frozen=True):
    """Remove an entity, its vectors, and all relations from it and to it."""

    key: EntityKey


class PutRelation(msgspec.Struct, frozen=True):
    """Write a relation as it is given, in place of the one of its key."""

    relation: Relation
    """Its ``version`` as in ``PutEntity``."""
    restored: bool = False
    """As in ``PutEntity``."""


class DeleteRelation(msgspec.Struct, frozen=True):
    """Remove a relation."""

    key: RelationKey


Change: TypeAlias = PutEntity | DeleteEntity | PutRelation | DeleteRelation


class Selection(msgspec.Struct, frozen=True):
    """Which entities an answer is made of."""

    scopes: tuple[Scope, ...] | None = None
    """None for all of them."""
    entity_types: tuple[str, ...] = ()
    """Empty for all of them."""
    from_ms: int | None = None
    to_ms: int | None = None
    """Only what holds at some moment of ``from_ms`` up to and including ``to_ms``; both the same
    for a moment; without bounds when None."""

    def takes(self, entity: Entity) -> bool:
        """Whether ``entity`` is one of them."""
        if self.scopes is not None and entity.scope not in self.scopes:
            return False
        if self.entity_types and entity.entity_type not in self.entity_types:
            return False
        starts, ends = entity.valid_from_ms, entity.valid_to_ms
        if self.to_ms is not None and starts is not None and starts > self.to_ms:
            return False
        return self.from_ms is None or ends is None or ends > self.from_ms


class CandidateQuery(msgspec.Struct, frozen=True):
    """What to find candidates for."""

    selection: Selection
    limit: int
    """Most candidates of each way to search: 1 to 1,000."""
    text: str = ""
    """Words to look for; none are when it is empty."""
    vector: Vectors | None = None
    """``[1, dimension]``; nothing is compared when None."""


class Candidate(msgspec.Struct, frozen=True):
    """An entity that may be an answer."""

    entity: Entity
    similarity: float | None = None
    """Cosine of the query and the best of its vectors, exact, also where it was found by words;
    None where one of them has no vector."""
    words: float = 0.0
    """BM25 of the query's words; 0 where none occurs. Comparable within one answer only."""


class EntityRow(msgspec.Struct, frozen=True):
    """An entity as a scan gives it."""

    entity: Entity
    vectors: Vectors | None = None
    """Those it has, where they were asked for."""


class GraphQuery(msgspec.Struct, frozen=True):
    """What to walk over from one entity."""

    start: EntityKey
    max_depth: int = 3
    """0 to 10."""
    direction: Direction = "both"
    relation_types: tuple[str, ...] = ()
    """Empty for all of them."""
    min_strength: float = 0.0
    depth_first: bool = False
    at_ms: int | None = None
    """Only over relations, and to entities, that hold at this moment; over all when None. The start
    is meant whether it holds or not."""
    max_nodes: int = 1_000
    """The walk ends when it has found so many: 1 to 10,000."""


class PathQuery(msgspec.Struct, frozen=True):
    """A shortest way between two entities of one scope, in relations."""

    start: EntityKey
    end: EntityKey
    max_depth: int = 10
    direction: Direction = "both"
    relation_types: tuple[str, ...] = ()
    min_strength: float = 0.0
    at_ms: int | None = None


class Graph(msgspec.Struct, frozen=True):
    """What a walk found, of one moment of the store."""

    nodes: tuple[Entity, ...] = ()
    """In the order in which they were found, the start first."""
    depths: tuple[int, ...] = ()
    """Of each node, in relations from the start."""
    edges: tuple[Relation, ...] = ()
    """All relations that were walked over or close a circle between nodes, once each."""
    truncated: bool = False
    """Whether it ended at ``max_nodes``."""


class Fault(msgspec.Struct, frozen=True):
    """Something that is not as it should be."""

    what: str
    mended: bool = False


class BackendStats(msgspec.Struct, frozen=True):
    """How much there is."""

    entities: int = 0
    relations: int = 0
    observations: int = 0
    vectors: int = 0
    scopes: dict[str, int] = {}
    """Key of a scope to its entities."""
    entity_types: dict[str, int] = {}
    bytes: int = 0
    """On disk; 0 where that is not known."""
    index: str = ""
    """How vectors are searched, such as ``flat`` or ``rabitq``."""
    index_bytes: int = 0
    dead: int = 0
    """Places of the index whose vectors are gone or replaced."""


class MemoryBackend(Protocol):
    """Where the memory is kept. Belongs to one event loop; used by one service."""

    name: str
    """As the setting ``memory.backend`` names it."""

    async def start(self, model: ModelInfo | None) -> None:
        """Get ready. What has vectors of another model, or none, is given by ``unembedded``.

        Raises:
            MemoryUnavailable: it cannot be reached or does not open.
        """
        ...

    async def write(self, changes: Sequence[Change]) -> None:
        """Write all of ``changes``, or nothing. They are kept when this returns.

        Raises:
            EntityNotFound: an end of a relation, or an entity to delete, is not there.
            RelationNotFound: a relation to delete is not there.
            EntityConflict: a version is not the next one.
            StorageError: it cannot write.
        """
        ...

    async def entities(self, keys: Sequence[EntityKey]) -> list[Entity | None]:
        """The entities of ``keys``, in order; all of one moment."""
        ...

    async def relations(
        self, keys: Sequence[EntityKey], *, direction: Direction = "both"
    ) -> list[Relation]:
        """All relations from and to the entities of ``keys``, once each, in the order of keys."""
        ...

    async def relation(self, key: RelationKey) -> Relation | None:
        """One relation."""
        ...

    def scan(self, selection: Selection, *, vectors: bool = False) -> AsyncIterator[EntityRow]:
        """All entities of a selection, of one moment or not, in a fixed order.

        What is there from beginning to end of the scan comes once. Bounded memory.
        """
        ...

    def scan_relations(self, scopes: Sequence[Scope] | None) -> AsyncIterator[Relation]:
        """All relations of ``scopes``, as ``scan``."""
        ...

    def unembedded(self) -> AsyncIterator[Entity]:
        """The entities that have no vectors of the model given to ``start``."""
        ...

    async def candidates(self, query: CandidateQuery) -> list[Candidate]:
        """What may answer a query, each once: the best by vector, and the best by words."""
        ...

    async def walk(self, query: GraphQuery) -> Graph:
        """What is around an entity; empty when it is not there."""
        ...

    async def path(self, query: PathQuery) -> Graph:
        """One shortest way; empty when there is none."""
        ...

    async def clear(self, selection: Selection) -> tuple[int, int]:
        """Remove the entities of a selection with their relations; the numbers of both."""
        ...

    async def stats(self) -> BackendStats:
        """How much there is."""
        ...

    async def verify(self) -> list[Fault]:
        """Look at everything; what was found."""
        ...

    async def optimize(self) -> list[str]:
        """Give room back and make searches fast again; what was done, in words."""
        ...

    async def close(self) -> None:
        """End it. Everything acknowledged is kept."""
        ...
