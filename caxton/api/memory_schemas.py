"""The answers of the memory's routes, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from caxton.api.health import Check
from caxton.api.memory_bodies import MEMORY_BODY_TYPES
from caxton.memory.answer_views import (
    EntityDetail,
    EntityPage,
    GraphEdges,
    GraphNode,
    GraphView,
    HitView,
    Imported,
    PathView,
    RelatedView,
    SearchView,
    TraversalStats,
)
from caxton.memory.backend import BackendStats, Fault
from caxton.memory.config_view import MemoryConfig
from caxton.memory.exchange import VERSION
from caxton.memory.requests import Cleared, Deleted, Maintained, MemoryStats, Similar
from caxton.memory.tuning import TUNABLE
from caxton.memory.views import EntityView, ObservationView, RelationView, StoredView

__all__ = ["MEMORY_BODIES", "MEMORY_TYPES", "MemoryHealth"]


class MemoryHealth(msgspec.Struct, frozen=True):
    """Whether the memory works, and what stands against it."""

    status: Literal["healthy", "degraded", "unhealthy"]
    backend: str
    embedding_model: str
    checks: tuple[Check, ...]


MEMORY_TYPES: Final = (
    *MEMORY_BODY_TYPES, BackendStats, Cleared, Deleted, EntityDetail, EntityPage, EntityView, Fault,
    GraphEdges, GraphNode, GraphView, HitView, Imported, Maintained, MemoryConfig, MemoryHealth,
    MemoryStats,
    ObservationView, PathView, RelatedView, RelationView, SearchView, Similar, StoredView,
    TraversalStats,
)  # fmt: skip
"""The structs of requests and answers."""

_METADATA: Final = {
    "type": "object",
    "required": ["version"],
    "properties": {
        "version": {"type": "string", "description": f"of the form: {VERSION}"},
        "exported_at": {"type": "string"},
        "source_backend": {"type": "string"},
        "model": {"type": "string", "description": "of the embeddings; empty without"},
        "entity_count": {"type": ["integer", "null"], "minimum": 0},
        "relation_count": {"type": ["integer", "null"], "minimum": 0},
    },
}
_LINES: Final = {
    "entities": {"type": "array", "items": {"type": "object"}},
    "relations": {"type": "array", "items": {"type": "object"}},
}

MEMORY_BODIES: Final[dict[str, dict[str, Any]]] = {
    "MemoryConfigBody": {
        "type": "object",
        "description": "New values; null for that of the node's configuration.",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {
            name: {
                "type": ["integer" if bound.base is int else "number", "null"],
                "minimum": bound.low,
                "maximum": bound.high,
                "description": one.help,
            }
            for name, one in TUNABLE.items()
            if (bound := one.bound) is not None
        },
    },
    "EntityOutcomes": {
        "type": "object",
        "description": "One outcome for each entity, in order.",
        "required": ["entities_created", "entities_updated", "failed_entities", "results"],
        "properties": {
            "entities_created": {"type": "integer"},
            "entities_updated": {"type": "integer"},
            "failed_entities": {"type": "integer"},
            "results": {
                "type": "array",
                "items": {
                    "oneOf": [
                        {"$ref": "#/components/schemas/StoredView"},
                        {
                            "type": "object",
                            "required": ["error"],
                            "properties": {"error": {"$ref": "#/components/schemas/Problem"}},
                        },
                    ]
                },
            },
        },
    },
    "MemoryExport": {
        "type": "object",
        "description": "docs/reference/memory.md tells the form of the items.",
        "required": ["export_metadata", "entities", "relations"],
        "properties": {"export_metadata": _METADATA, **_LINES},
    },
    "MemoryImport": {
        "type": "object",
        "description": "An export, JSON Lines of one, or the file of an MCP memory server; also "
        "below `data`, with agent_id, memory_scope and merge_strategy before it.",
        "required": ["export_metadata", "entities"],
        "properties": {"export_metadata": _METADATA, **_LINES},
    },
}
"""What is described by hand: it is not read or written as one struct."""
