"""How much room answers take on their way, so that they end before they are too large for it."""

from __future__ import annotations

from typing import Final

import msgspec

from caxton.memory.backend import Graph
from caxton.memory.model import Entity, EntityKey, Relation

__all__ = ["encoded_bytes", "within"]

_encode: Final = msgspec.msgpack.Encoder().encode


def encoded_bytes(item: Entity | Relation) -> int:
    """Bytes of an item as it travels between processes."""
    return len(_encode(item))


PLAIN: Final = 4_096
"""More than an entity or relation takes without observations and metadata: three names of up to 200
characters, of up to 4 bytes each, and numbers."""


def _surely_fits(graph: Graph, room: int) -> bool:
    """Whether nothing need be measured, as in most walks; a small part of what that costs."""
    room -= PLAIN * (len(graph.nodes) + len(graph.edges))
    if room < 0 or any(one.metadata for one in graph.edges):
        return False
    for node in graph.nodes:
        if node.metadata:
            return False
        for seen in node.observations:
            room -= 4 * (len(seen.text) + len(seen.source)) + 64
    return room >= 0


def within(graph: Graph, room: int) -> Graph:
    """What a walk found, as far as it fits: nodes in their order, then relations between them.

    Args:
        graph: what it found.
        room: bytes; the start is kept also where it is larger.
    """
    if _surely_fits(graph, room):
        return graph
    nodes: list[Entity] = []
    for node in graph.nodes:
        size = encoded_bytes(node)
        if size > room and nodes:
            break
        room -= size
        nodes.append(node)
    kept = {node.key for node in nodes}
    cut = len(nodes) < len(graph.nodes)
    edges: list[Relation] = []
    for edge in graph.edges:
        ends = (edge.from_entity, edge.to_entity)
        if cut and any(EntityKey.of(edge.scope, end) not in kept for end in ends):
            continue
        room -= encoded_bytes(edge)
        if room < 0:
            cut = True
            break
        edges.append(edge)
    if not cut:
        return graph
    return Graph(tuple(nodes), graph.depths[: len(nodes)], tuple(edges), truncated=True)
