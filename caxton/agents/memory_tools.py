"""The tools by which a model uses its agent's memory."""

from __future__ import annotations

import contextvars
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from caxton.agents.behaviour import ToolResult, ToolRunner
from caxton.errors import CaxtonError
from caxton.memory.client import Memory
from caxton.memory.model import Entity, Relation
from caxton.memory.requests import DeleteEntities, DeleteObservations
from caxton.tools.catalog import ToolSpec

__all__ = ["HANDLED", "MEMORY_SOURCE", "MEMORY_TOOLS", "MemoryToolRunner", "shown_entity"]

MEMORY_SOURCE: Final = "memory"
"""Source of these tools."""
SHOWN: Final = 20
"""Observations of an entity that a model is shown; the newest."""
SHOWN_CHARACTERS: Final = 2_000
"""Of one observation."""

HANDLED: contextvars.ContextVar[str] = contextvars.ContextVar("caxton_handled_message", default="")
"""Id of the message that is handled: the source of what is noted."""

_TEXT: Final = {"type": "string", "minLength": 1}
_TEXTS: Final = {"type": "array", "items": _TEXT, "maxItems": 100}


def _spec(
    name: str,
    description: str,
    needed: tuple[str, ...],
    properties: dict[str, Any],
    *,
    read_only: bool,
) -> ToolSpec:
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(needed),
        "additionalProperties": False,
    }
    hints = {"read_only": read_only, "open_world": False}
    return ToolSpec(
        name, description, schema, source=MEMORY_SOURCE, sandboxed=False, hints=hints, kind=""
    )


MEMORY_TOOLS: Final[tuple[ToolSpec, ...]] = (
    _spec(
        "memory_search",
        "Search your long-term memory by meaning and words.",
        ("query",),
        {
            "query": _TEXT | {"maxLength": 10_000},
            "limit": {"type": "integer", "minimum": 1, "maximum": 20},
            "entity_types": _TEXTS,
        },
        read_only=True,
    ),
    _spec(
        "memory_store",
        "Remember facts about something: observations, each one fact in a sentence.",
        ("name", "type", "observations"),
        {
            "name": _TEXT | {"maxLength": 200},
            "type": _TEXT | {"maxLength": 100},
            "observations": _TEXTS | {"minItems": 1},
        },
        read_only=False,
    ),
    _spec(
        "memory_relate",
        "Remember that one known thing has to do with another, such as `works_at`.",
        ("from", "relation", "to"),
        {
            "from": _TEXT,
            "relation": _TEXT | {"maxLength": 100},
            "to": _TEXT,
            "strength": {"type": "number", "minimum": 0, "maximum": 1},
        },
        read_only=False,
    ),
    _spec(
        "memory_open",
        "Read all that is remembered of things, by name, and what they are related to.",
        ("names",),
        {"names": _TEXTS | {"minItems": 1, "maxItems": 20}},
        read_only=True,
    ),
    _spec(
        "memory_forget",
        "Forget observations of a thing, or without any the thing itself.",
        ("name",),
        {"name": _TEXT, "observations": _TEXTS},
        read_only=False,
    ),
)


class MemoryToolRunner:
    """Runs the tools above in this process, and hands others on.

    Args:
        memory: on behalf of the agent.
        others: runs the other tools.
    """

    def __init__(self, memory: Memory, others: ToolRunner) -> None:
        self._memory = memory
        self._others = others

    async def call(
        self,
        tool: ToolSpec,
        arguments: Mapping[str, Any],
        *,
        permissions: Mapping[str, Any],
        timeout_ms: int,
        owner: str = "",
    ) -> ToolResult:
        """Run a tool; see ``ToolRunner``."""
        if tool.source != MEMORY_SOURCE:
            return await self._others.call(
                tool, arguments, permissions=permissions, timeout_ms=timeout_ms, owner=owner
            )
        try:
            given = await getattr(self, f"_{tool.name}")(arguments)
        except CaxtonError as error:
            return ToolResult(False, error.detail, error.code.lower())
        return ToolResult(True, msgspec.json.encode(given).decode())

    async def _memory_search(self, arguments: Mapping[str, Any]) -> Any:
        answer = await self._memory.search(
            arguments["query"],
            arguments.get("limit", 5),
            entity_types=tuple(arguments.get("entity_types", ())),
            include_relations=True,
        )
        return {
            "results": [
                shown_entity(one.entity)
                | {"score": round(one.score, 3)}
                | {"relations": [_shown_relation(relation) for relation in one.relations[:SHOWN]]}
                for one in answer.results
            ]
        }

    async def _memory_store(self, arguments: Mapping[str, Any]) -> Any:
        stored = await self._memory.store(
            arguments["name"], arguments["type"], arguments["observations"], source=HANDLED.get()
        )
        similar = [one.entity_name for one in stored.similar]
        return {
            "stored": stored.entity.entity_name,
            "new": stored.created,
            "added": stored.added,
        } | ({"similar": similar} if similar else {})

    async def _memory_relate(self, arguments: Mapping[str, Any]) -> Any:
        related = await self._memory.relate(
            arguments["from"],
            arguments["relation"],
            arguments["to"],
            strength=arguments.get("strength"),
        )
        return {"related": _shown_relation(related.relations[0]), "new": bool(related.created)}

    async def _memory_open(self, arguments: Mapping[str, Any]) -> Any:
        opened = await self._memory.open(*arguments["names"])
        return {
            "entities": [shown_entity(one) for one in opened.entities],
            "relations": [_shown_relation(one) for one in opened.relations[:100]],
        }

    async def _memory_forget(self, arguments: Mapping[str, Any]) -> Any:
        texts = tuple(arguments.get("observations", ()))
        request: DeleteEntities | DeleteObservations
        if texts:
            request = DeleteObservations(entity_name=arguments["name"], observations=texts)
        else:
            request = DeleteEntities(names=(arguments["name"],))
        gone = await self._memory.ask(request)
        return {"entities": gone.entities, "observations": gone.observations}


def shown_entity(entity: Entity) -> dict[str, Any]:
    """An entity as a model reads it."""
    texts = [one.text[:SHOWN_CHARACTERS] for one in entity.observations[-SHOWN:]]
    return {"name": entity.entity_name, "type": entity.entity_type, "observations": texts}


def _shown_relation(relation: Relation) -> str:
    return f"{relation.from_entity} {relation.relation_type} {relation.to_entity}"
