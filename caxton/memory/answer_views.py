"""What the memory answers, as the edges show it."""

from __future__ import annotations

from typing import Any

import msgspec

from caxton.memory.model import Entity, Relation
from caxton.memory.requests import GraphAnswer, Hit, SearchAnswer
from caxton.memory.views import EntityView, RelationView, entity_view, relation_view

__all__ = [
    "EntityDetail",
    "EntityPage",
    "GraphEdges",
    "GraphNode",
    "GraphView",
    "HitView",
    "Imported",
    "PathView",
    "RelatedView",
    "SearchView",
    "TraversalStats",
    "detail",
    "graph_view",
    "path_view",
    "search_view",
]


class EntityPage(msgspec.Struct, frozen=True):
    """A page of entities."""

    items: list[EntityView]
    next_page_token: str
    """Empty on the last page."""


class EntityDetail(EntityView, frozen=True, kw_only=True):
    """One entity with its relations."""

    relations: tuple[RelationView, ...] = ()
    also_in: tuple[str, ...] = ()
    """Other scopes in which an entity has this name."""


class RelatedView(msgspec.Struct, frozen=True):
    """The relations that were asked for, those of the other direction after them."""

    relations: tuple[RelationView, ...]
    created: int
    """How many of them are new."""


class HitView(EntityView, frozen=True, kw_only=True):
    """One thing found."""

    score: float
    """0 to 1; what the results are ordered by."""
    similarity_score: float | None
    """Cosine; null without vectors."""
    relations: tuple[RelationView, ...] = ()


class SearchView(msgspec.Struct, frozen=True):
    """What was found, the best first."""

    results: tuple[HitView, ...]
    search_time_ms: float
    semantic: bool
    """False where only words were searched."""
    note: str = ""
    """Why, when they were."""


class GraphNode(EntityView, frozen=True, kw_only=True):
    """An entity, and how far from the start it was found."""

    depth: int


class GraphEdges(msgspec.Struct, frozen=True):
    """Nodes in the order in which they were found, and the relations between them."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[RelationView, ...]


class TraversalStats(msgspec.Struct, frozen=True):
    """How a walk went."""

    nodes: int
    edges: int
    depth_reached: int
    truncated: bool
    """It ended at ``max_nodes``."""
    took_ms: float


class GraphView(msgspec.Struct, frozen=True):
    """What is around an entity."""

    graph: GraphEdges
    traversal_stats: TraversalStats


class PathView(msgspec.Struct, frozen=True):
    """A shortest way from one entity to another: its nodes in order."""

    found: bool
    length: int
    """In relations."""
    graph: GraphEdges
    traversal_stats: TraversalStats


class Imported(msgspec.Struct, frozen=True):
    """What became of an import."""

    entities_created: int = 0
    entities_updated: int = 0
    entities_skipped: int = 0
    relations_created: int = 0
    relations_updated: int = 0
    relations_skipped: int = 0
    embedded: int = 0
    """Entities that got vectors from this node's model."""
    conflicts_resolved: int = 0
    notes: tuple[str, ...] = ()
    """What was passed over, at most 20."""


# --- from answers to views -------------------------------------------------------------------


def _fields(entity: Entity, *, observations: bool = True) -> dict[str, Any]:
    return msgspec.structs.asdict(entity_view(entity, observations=observations))


def detail(entity: Entity, relations: list[Relation], also_in: list[str]) -> EntityDetail:
    """One entity with its relations."""
    shown = tuple(relation_view(one) for one in relations)
    return EntityDetail(**_fields(entity), relations=shown, also_in=tuple(also_in))


def _hit(hit: Hit) -> HitView:
    return HitView(
        **_fields(hit.entity),
        score=hit.score,
        similarity_score=hit.similarity_score,
        relations=tuple(relation_view(one) for one in hit.relations),
    )


def search_view(answer: SearchAnswer) -> SearchView:
    """What was found."""
    results = tuple(_hit(one) for one in answer.results)
    return SearchView(results, answer.search_time_ms, answer.semantic, answer.note)


def _graph(answer: GraphAnswer, *, observations: bool) -> tuple[GraphEdges, TraversalStats]:
    nodes = tuple(
        GraphNode(**_fields(one, observations=observations), depth=depth)
        for one, depth in zip(answer.nodes, answer.depths, strict=True)
    )
    edges = tuple(relation_view(one) for one in answer.edges)
    deepest = max(answer.depths, default=0)
    stats = TraversalStats(len(nodes), len(edges), deepest, answer.truncated, answer.took_ms)
    return GraphEdges(nodes, edges), stats


def graph_view(answer: GraphAnswer, *, observations: bool) -> GraphView:
    """What is around an entity."""
    return GraphView(*_graph(answer, observations=observations))


def path_view(answer: GraphAnswer) -> PathView:
    """A way."""
    graph, stats = _graph(answer, observations=True)
    return PathView(bool(graph.nodes), max(0, len(graph.nodes) - 1), graph, stats)
