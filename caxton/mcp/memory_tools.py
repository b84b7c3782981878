"""The memory as MCP tools, under the names and with the arguments of the reference memory server.

So a client, and a prompt that names these tools, can be switched over without a change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import mcp_types as types

from caxton.memory.model import EntityName, EntityType, RelationType

__all__ = ["MEMORY_TOOLS", "schema_of", "tools"]

ITEMS: Final = 1_000
"""Most entities, relations or observations of one call."""
OBSERVATION: Final = 1024 * 1024


def _text(description: str, longest: int) -> dict[str, Any]:
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": longest,
        "description": description,
    }


def _many(items: dict[str, Any], description: str = "") -> dict[str, Any]:
    told = {"description": description} if description else {}
    return {"type": "array", "maxItems": ITEMS, "items": items, **told}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_LONGEST: Final = int(EntityName.high)
_NAME: Final = _text("Name of the entity", _LONGEST)
_NOTE: Final = {"type": "string", "maxLength": OBSERVATION}
_ENTITY: Final = _object(
    name=_NAME,
    entityType=_text("What kind of thing it is, such as person", int(EntityType.high)),
    observations=_many(_NOTE, "What is known of it, one fact each"),
)
_RELATION: Final = {
    **_object(
        to=_text("Name of the entity at which it ends", _LONGEST),
        relationType=_text("What it says, in active voice, such as works at",
                           int(RelationType.high)),
    ),
}  # fmt: skip
_RELATION["properties"] = {
    "from": _text("Name of the entity at which it begins", _LONGEST),
    **_RELATION["properties"],
}
_RELATION["required"] = ["from", "to", "relationType"]
_GRAPH: Final = {
    **_object(
        entities={"type": "array", "items": {"type": "object"}},
        relations={"type": "array", "items": {"type": "object"}},
    ),
}
_DONE: Final = _object(success={"type": "boolean"}, message={"type": "string"})


def _listed(name: str) -> dict[str, Any]:
    return _object(**{name: {"type": "array", "items": {"type": "object"}}})


MEMORY_TOOLS: Final[Mapping[str, tuple[str, str, dict[str, Any], dict[str, Any]]]] = {
    "create_entities": (
        "Remember entities",
        (
            "Remember new entities in the knowledge graph. One that is known already, in whatever "
            "case its name is written, gets the observations it does not have and keeps its type; "
            "the result lists only those that are new."
        ),
        _object(entities=_many(_ENTITY)),
        _listed("entities"),
    ),
    "create_relations": (
        "Remember relations",
        "Remember relations between known entities. The result lists those that are new.",
        _object(relations=_many(_RELATION)),
        _listed("relations"),
    ),
    "add_observations": (
        "Note observations",
        "Note more of entities that are known. What they have already is passed over.",
        _object(
            observations=_many(
                _object(entityName=_NAME, contents=_many(_NOTE, "What to add, one fact each"))
            )
        ),
        _listed("results"),
    ),
    "delete_entities": (
        "Forget entities",
        "Forget entities and their relations.",
        _object(entityNames=_many(_NAME)),
        _DONE,
    ),
    "delete_observations": (
        "Forget observations",
        "Forget observations of entities, by their exact texts.",
        _object(
            deletions=_many(_object(entityName=_NAME, observations=_many(_NOTE, "Texts to forget")))
        ),
        _DONE,
    ),
    "delete_relations": (
        "Forget relations",
        "Forget relations.",
        _object(relations=_many(_RELATION)),
        _DONE,
    ),
    "read_graph": (
        "Read the graph",
        (
            "Read all that is remembered. Of a large memory only the beginning comes, and the "
            "answer says so: search_nodes finds what is needed."
        ),
        _object(),
        _GRAPH,
    ),
    "search_nodes": (
        "Search the memory",
        (
            "Find entities by what they mean or say, the best first, with their relations. A "
            "question or a few words do."
        ),
        _object(query={"type": "string", "maxLength": 10_000, "description": "What to look for"}),
        _GRAPH,
    ),
    "open_nodes": (
        "Open entities",
        "Entities by name, with their relations. Unknown names are passed over.",
        _object(names=_many(_NAME)),
        _GRAPH,
    ),
}
"""Name to title, description, and the schemas of arguments and result."""
_READS: Final = frozenset({"read_graph", "search_nodes", "open_nodes"})


def schema_of(name: str) -> dict[str, Any] | None:
    """The arguments of a tool; None when there is none of this name."""
    found = MEMORY_TOOLS.get(name)
    return None if found is None else found[2]


def tools() -> list[types.Tool]:
    """The tools as they are listed."""
    return [
        types.Tool(
            name=name,
            title=title,
            description=description,
            input_schema=arguments,
            output_schema=result,
            annotations=types.ToolAnnotations(
                read_only_hint=name in _READS,
                destructive_hint=name.startswith("delete_"),
                idempotent_hint=True,
                open_world_hint=False,
            ),
            _meta={"caxton/source": "memory"},
        )
        for name, (title, description, arguments, result) in MEMORY_TOOLS.items()
    ]
