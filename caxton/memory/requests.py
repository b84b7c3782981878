"""Everything that can be asked of the memory, and what is answered.

One struct for each operation; ``Answers`` names what each gives back. They travel as msgpack
between processes, so what the client, REST, MCP and the command line ask is the same.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from caxton.memory.backend import BackendStats, Direction, Fault
from caxton.memory.model import Entity, Relation

__all__ = [
    "AddObservations",
    "Asked",
    "Clear",
    "Cleared",
    "Configure",
    "DeleteEntities",
    "DeleteObservations",
    "DeleteRelations",
    "Deleted",
    "EntityDraft",
    "ExportPage",
    "Exported",
    "FindPath",
    "GraphAnswer",
    "Hit",
    "Import",
    "ImportEntity",
    "ImportReport",
    "ListEntities",
    "Listed",
    "Maintain",
    "Maintained",
    "MemoryStats",
    "Merge",
    "OpenEntities",
    "Opened",
    "Relate",
    "Related",
    "RelationDraft",
    "RelationName",
    "Request",
    "Search",
    "SearchAnswer",
    "Similar",
    "Stats",
    "Store",
    "Stored",
    "StoredEntity",
    "Strategy",
    "Temporal",
    "WalkGraph",
    "Weights",
]

Strategy = Literal["update_existing", "skip_existing", "error_on_conflict"]
Temporal = Literal["current", "all", "date_range"]


class Asked(msgspec.Struct, frozen=True, kw_only=True, tag_field="op"):
    """What every request has: on whose behalf, and of which part of the memory."""

    agent: str | None = None
    """Name of the agent that asks, or that is asked for. It sees what its scope allows. None is an
    operator, who sees everything."""
    memory_scope: str | None = None
    """``agent``, ``workspace``, ``global``, or ``agent:NAME``. To write: where; the agent's own
    default when None. To read: only there; everywhere the agent may read when None."""


class EntityDraft(msgspec.Struct, frozen=True):
    """An entity to remember, or more of one that is known."""

    entity_name: str
    entity_type: str
    observations: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}
    """Merged by key into that of a known entity."""
    valid_from_ms: int | None = None
    valid_to_ms: int | None = None
    importance: float | None = None
    source: str = ""
    """Id of the message that the observations come from."""
    once: bool = False
    """Note nothing when there is something of this ``source`` already: the message came again."""


class RelationDraft(msgspec.Struct, frozen=True):
    """A relation to remember, or a change of one that is known."""

    from_entity: str
    to_entity: str
    relation_type: str
    strength: float | None = None
    """0.5 for a new one when not given."""
    confidence: float | None = None
    """1.0 for a new one when not given."""
    metadata: dict[str, Any] = {}
    valid_from_ms: int | None = None
    valid_to_ms: int | None = None
    bidirectional: bool = False
    """The same from ``to_entity`` to ``from_entity`` too."""


class RelationName(msgspec.Struct, frozen=True):
    """What names a relation within a scope."""

    from_entity: str
    to_entity: str
    relation_type: str


class Similar(msgspec.Struct, frozen=True):
    """A known entity that says nearly the same. It is told, and merged only on request."""

    entity_name: str
    similarity: float


# --- writing ---------------------------------------------------------------------------------


class Store(Asked, frozen=True, kw_only=True, tag="store"):
    """Remember entities: 1 to 100 in one transaction.

    A known one of the same type gets what is new: observations it does not have, metadata, times.
    """

    entities: tuple[EntityDraft, ...]


class StoredEntity(msgspec.Struct, frozen=True):
    """What became of one."""

    entity: Entity
    created: bool
    added: int
    """Observations that were new."""
    embedding_generated: bool
    """False where there is no model: it is found by words until it is embedded."""
    similar: tuple[Similar, ...] = ()
    """Others of its scope with a similarity of 0.95 or more, where it was new; at most 3."""


class Stored(msgspec.Struct, frozen=True):
    """In the order of the request."""

    entities: tuple[StoredEntity, ...]


class AddObservations(Asked, frozen=True, kw_only=True, tag="add_observations"):
    """Note more of a known entity. Texts it has already are passed over."""

    entity_name: str
    observations: tuple[str, ...]
    source: str = ""


class DeleteObservations(Asked, frozen=True, kw_only=True, tag="delete_observations"):
    """Forget observations of an entity, by their texts. Unknown ones are passed over."""

    entity_name: str
    observations: tuple[str, ...]


class DeleteEntities(Asked, frozen=True, kw_only=True, tag="delete_entities"):
    """Forget entities with their relations. Unknown ones are passed over."""

    names: tuple[str, ...]


class DeleteRelations(Asked, frozen=True, kw_only=True, tag="delete_relations"):
    """Forget relations. Unknown ones are passed over."""

    relations: tuple[RelationName, ...]


class Deleted(msgspec.Struct, frozen=True):
    """How many there were of what was to be deleted."""

    entities: int = 0
    relations: int = 0
    observations: int = 0


class Relate(Asked, frozen=True, kw_only=True, tag="relate"):
    """Remember relations: 1 to 100 in one transaction. Both ends must be known."""

    relations: tuple[RelationDraft, ...]


class Related(msgspec.Struct, frozen=True):
    """In the order of the request; those of the other direction after them."""

    relations: tuple[Relation, ...]
    created: int = 0


class Merge(Asked, frozen=True, kw_only=True, tag="merge"):
    """Make one entity of two: the other's observations and relations go to ``into``."""

    into: str
    other: str


class Clear(Asked, frozen=True, kw_only=True, tag="clear"):
    """Forget everything of a scope, or only entities of some types. ``memory_scope`` is needed."""

    entity_types: tuple[str, ...] = ()


class Cleared(msgspec.Struct, frozen=True):
    """How much there was."""

    entities: int
    relations: int


# --- reading ---------------------------------------------------------------------------------


class Weights(msgspec.Struct, frozen=True):
    """How scores become one. All from 0 to 1; of a search when given, the node's otherwise."""

    vector: float = 0.7
    words: float = 0.3
    neighbours: float = 0.0
    """Of the best score among an entity's neighbours."""
    recency: float = 0.0
    """Of 2^(-age / half-life)."""
    importance: float = 0.0


class Search(Asked, frozen=True, kw_only=True, tag="search"):
    """Find what a text means or says."""

    query: str
    """1 to 10,000 characters."""
    limit: int = 10
    """1 to 100."""
    min_similarity: float = 0.0
    """Least cosine of what is found: 0 to 1. What is found by words only has to reach it too,
    where there is a model."""
    entity_types: tuple[str, ...] = ()
    include_relations: bool = False
    temporal_filter: Temporal = "current"
    start_ms: int | None = None
    end_ms: int | None = None
    weights: Weights | None = None


class Hit(msgspec.Struct, frozen=True):
    """One thing found."""

    entity: Entity
    score: float
    """0 to 1; what hits are ordered by."""
    similarity_score: float | None
    """Cosine; None without vectors."""
    relations: tuple[Relation, ...] = ()


class SearchAnswer(msgspec.Struct, frozen=True):
    """The best first."""

    results: tuple[Hit, ...]
    search_time_ms: float
    semantic: bool
    """False where words only were searched."""
    note: str = ""
    """Why, when they were."""


class OpenEntities(Asked, frozen=True, kw_only=True, tag="open"):
    """Entities by name, with their relations. Of one name in several scopes: that of each."""

    names: tuple[str, ...]


class Opened(msgspec.Struct, frozen=True):
    """In the order of the names; unknown ones are passed over."""

    entities: tuple[Entity, ...]
    relations: tuple[Relation, ...]


class ListEntities(Asked, frozen=True, kw_only=True, tag="list"):
    """Entities in a fixed order, a page at a time."""

    entity_types: tuple[str, ...] = ()
    limit: int = 100
    """1 to 1,000."""
    page_token: str = ""


class Listed(msgspec.Struct, frozen=True):
    """One page."""

    entities: tuple[Entity, ...]
    next_page_token: str = ""


class WalkGraph(Asked, frozen=True, kw_only=True, tag="graph"):
    """What is around an entity."""

    entity_name: str
    max_depth: int = 3
    """0 to 10."""
    relation_types: tuple[str, ...] = ()
    min_strength: float = 0.0
    direction: Direction = "both"
    traversal_strategy: Literal["breadth_first", "depth_first"] = "breadth_first"
    include_observations: bool = True
    temporal_filter: Literal["current", "all"] = "current"
    max_nodes: int = 1_000


class FindPath(Asked, frozen=True, kw_only=True, tag="path"):
    """A shortest way from one entity to another."""

    from_entity: str
    to_entity: str
    max_depth: int = 10
    relation_types: tuple[str, ...] = ()
    min_strength: float = 0.0
    direction: Direction = "both"


class GraphAnswer(msgspec.Struct, frozen=True):
    """Nodes in the order in which they were found, and the relations between them."""

    nodes: tuple[Entity, ...]
    depths: tuple[int, ...]
    edges: tuple[Relation, ...]
    truncated: bool = False
    took_ms: float = 0.0


# --- moving and keeping ----------------------------------------------------------------------


class ExportPage(Asked, frozen=True, kw_only=True, tag="export"):
    """What is remembered, a page at a time: entities first, then relations."""

    include_embeddings: bool = False
    limit: int = 500
    page_token: str = ""


class ImportEntity(msgspec.Struct, frozen=True):
    """An entity as it was exported."""

    entity: Entity
    vectors: tuple[bytes, ...] = ()
    """float32, little-endian, one for each part; of ``Import.model``."""


class Exported(msgspec.Struct, frozen=True):
    """One page."""

    entities: tuple[ImportEntity, ...]
    relations: tuple[Relation, ...]
    model: str = ""
    """``NAME@SHA256`` of the vectors."""
    next_page_token: str = ""


class Import(Asked, frozen=True, kw_only=True, tag="import"):
    """Take up what was exported: 1 to 1,000 items in one transaction, entities first.

    ``memory_scope`` is where it goes; into the scopes it came from when None (operators only).
    Vectors of the node's own model are taken as they are; what has none is embedded.
    """

    entities: tuple[ImportEntity, ...] = ()
    relations: tuple[Relation, ...] = ()
    model: str = ""
    merge_strategy: Strategy = "update_existing"


class ImportReport(msgspec.Struct, frozen=True):
    """What became of it."""

    entities_created: int = 0
    entities_updated: int = 0
    entities_skipped: int = 0
    relations_created: int = 0
    relations_updated: int = 0
    relations_skipped: int = 0
    embedded: int = 0
    conflicts_resolved: int = 0


class Stats(Asked, frozen=True, kw_only=True, tag="stats"):
    """How much there is."""


class MemoryStats(msgspec.Struct, frozen=True):
    """The memory at one glance."""

    backend: str
    model: str
    """``NAME@SHA256``, empty without one."""
    note: str
    """What is not as it should be, such as why there is no model; empty when all is well."""
    stats: BackendStats
    unembedded: int = 0
    """Entities that still wait for vectors."""
    searches: int = 0
    writes: int = 0
    """Since it started."""


class Maintain(Asked, frozen=True, kw_only=True, tag="maintain"):
    """Look at everything, or give room back. Operators only."""

    task: Literal["verify", "optimize", "embed"]


class Maintained(msgspec.Struct, frozen=True):
    """What came of it."""

    faults: tuple[Fault, ...] = ()
    done: tuple[str, ...] = ()


class Configure(Asked, frozen=True, kw_only=True, tag="configure"):
    """Change how the memory works while it runs; show it, with no changes. Operators only."""

    changes: dict[str, float | int | None] = {}
    """By name, as in ``MemoryConfig``; None for the value of the node's configuration."""


Request: TypeAlias = (
    Store | AddObservations | DeleteObservations | DeleteEntities | DeleteRelations | Relate
    | Merge | Clear | Search | OpenEntities | ListEntities | WalkGraph | FindPath | ExportPage
    | Import | Stats | Maintain | Configure
)  # fmt: skip
