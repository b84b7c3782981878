"""What the memory tools do: each is a few requests to the memory service, which orders writers.

So clients that write at the same time, over any number of connections, lose nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import mcp_types as types
import orjson
from starlette.requests import Request as HttpRequest

from caxton.errors import EntityConflict, EntityNotFound
from caxton.mcp.memory_tools import MEMORY_TOOLS
from caxton.mcp.results import error_result, text
from caxton.memory.client import Memory
from caxton.memory.model import Entity, Relation, fold
from caxton.memory.requests import (
    EntityDraft,
    Opened,
    Relate,
    Related,
    RelationDraft,
    RelationName,
)
from caxton.tools.arguments import wrong_arguments
from caxton.tools.catalog import ToolSpec

__all__ = ["AGENT", "MemoryOffer", "agent_of"]

T = TypeVar("T")

AGENT: Final = "X-Caxton-Agent"
"""Header in which a client says for which agent it speaks: a name or an id."""
AT_ONCE: Final = 100
"""Entities or relations of one request."""
FOUND: Final = 20
"""Results of a search."""
READ_CHARACTERS: Final = 1_000_000
"""What is read of a graph at most, about so many characters."""
AGAIN: Final = 5
"""Times that entities are written again when their types changed in between."""
_INDENT: Final = orjson.OPT_INDENT_2


def agent_of(request: Any) -> str:
    """The agent for which a client speaks; empty for none."""
    return str(request.headers.get(AGENT, "")) if isinstance(request, HttpRequest) else ""


def _entity(entity: Entity) -> dict[str, Any]:
    return {
        "name": entity.entity_name,
        "entityType": entity.entity_type,
        "observations": [one.text for one in entity.observations],
    }


def _relation(relation: Relation) -> dict[str, str]:
    return {
        "from": relation.from_entity,
        "to": relation.to_entity,
        "relationType": relation.relation_type,
    }


def _graph(entities: Iterable[Entity], relations: Iterable[Relation]) -> dict[str, Any]:
    return {
        "entities": [_entity(one) for one in entities],
        "relations": [_relation(one) for one in relations],
    }


def _by(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _named(relation: Mapping[str, str]) -> RelationName:
    return RelationName(relation["from"], relation["to"], relation["relationType"])


def _folded(one: Relation | RelationDraft | RelationName) -> tuple[str, str, str]:
    return fold(one.from_entity), fold(one.to_entity), one.relation_type


def _result(shown: object, structured: dict[str, Any], note: str = "") -> types.CallToolResult:
    said = shown if isinstance(shown, str) else orjson.dumps(shown, option=_INDENT).decode()
    blocks = [said, note] if note else [said]
    return types.CallToolResult(
        content=[text(one) for one in blocks], structured_content=structured
    )


def _done(message: str) -> types.CallToolResult:
    return _result(message, {"success": True, "message": message})


class MemoryOffer:
    """The tools on behalf of one client.

    Args:
        memory: of the node, or of the agent for whom the client speaks.
        memory_scope: where is read and written; None for all that the agent may read, and for
            where it writes by default.
    """

    def __init__(self, memory: Memory, memory_scope: str | None) -> None:
        self._memory = memory
        self._scope = memory_scope
        self._calls: Mapping[str, Callable[..., Awaitable[types.CallToolResult]]] = {
            "create_entities": self._create_entities,
            "create_relations": self._create_relations,
            "add_observations": self._add_observations,
            "delete_entities": self._delete_entities,
            "delete_observations": self._delete_observations,
            "delete_relations": self._delete_relations,
            "read_graph": self._read_graph,
            "search_nodes": self._search_nodes,
            "open_nodes": self._open_nodes,
        }

    async def call(self, name: str, arguments: dict[str, Any]) -> types.CallToolResult:
        """Call one of ``MEMORY_TOOLS``. Raises the CaxtonError that says why it was not done."""
        wrong = wrong_arguments(ToolSpec(name, "", dict(MEMORY_TOOLS[name][2])), arguments)
        if wrong:
            return error_result("bad_arguments", wrong)
        return await self._calls[name](**{f"given_{key}": arguments[key] for key in arguments})

    async def _open(self, names: Iterable[str]) -> Opened:
        """Entities of names with their relations, in any number."""
        entities: list[Entity] = []
        relations: dict[Any, Relation] = {}
        for some in _by(list(dict.fromkeys(names)), AT_ONCE):
            found = await self._memory.open(*some, memory_scope=self._scope)
            entities += found.entities
            relations |= {one.key: one for one in found.relations}
        return Opened(tuple(entities), tuple(relations.values()))

    async def _must_know(self, names: Iterable[str]) -> Opened:
        """The same; nothing is written where one is not known."""
        wanted = list(names)
        opened = await self._open(wanted)
        known = {fold(one.entity_name) for one in opened.entities}
        for name in wanted:
            if fold(name) not in known:
                raise EntityNotFound(
                    entity_name=name, memory_scope=self._scope or "what may be read"
                )
        return opened

    # --- writing -----------------------------------------------------------------------------

    async def _create_entities(self, given_entities: list[dict[str, Any]]) -> types.CallToolResult:
        made: list[dict[str, Any]] = []
        for some in _by(given_entities, AT_ONCE):
            made += await self._create(some)
        return _result(made, {"entities": made})

    async def _create(self, given: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        left = AGAIN
        while True:
            left -= 1
            opened = await self._open(one["name"] for one in given)
            known = {fold(one.entity_name): one.entity_type for one in opened.entities}
            drafts = []
            for one in given:
                kind = known.setdefault(fold(one["name"]), one["entityType"])
                notes = tuple(note for note in one["observations"] if note.strip())
                drafts.append(EntityDraft(one["name"], kind, notes))
            try:
                stored = await self._memory.store_many(drafts, memory_scope=self._scope)
            except EntityConflict:
                # Another client was first with one of them, as something of another type.
                if not left:
                    raise
                continue
            return [_entity(one.entity) for one in stored.entities if one.created]

    async def _create_relations(
        self, given_relations: list[dict[str, str]]
    ) -> types.CallToolResult:
        drafts = [
            RelationDraft(one["from"], one["to"], one["relationType"]) for one in given_relations
        ]
        ends = [name for one in drafts for name in (one.from_entity, one.to_entity)]
        opened = await self._must_know(ends)
        known = {_folded(one) for one in opened.relations}
        made: list[dict[str, str]] = []
        for some in _by(drafts, AT_ONCE):
            request = Relate(relations=tuple(some), memory_scope=self._scope)
            related: Related = await self._memory.ask(request)
            for one in related.relations:
                if _folded(one) not in known:
                    known.add(_folded(one))
                    made.append(_relation(one))
        return _result(made, {"relations": made})

    async def _add_observations(
        self, given_observations: list[dict[str, Any]]
    ) -> types.CallToolResult:
        await self._must_know(one["entityName"] for one in given_observations)
        results = []
        for one in given_observations:
            notes = [note for note in one["contents"] if note.strip()]
            added: list[str] = []
            if notes:
                stored = await self._memory.add(one["entityName"], notes, memory_scope=self._scope)
                seen = stored.entity.observations
                added = [note.text for note in seen[len(seen) - stored.added :]]
            results.append({"entityName": one["entityName"], "addedObservations": added})
        return _result(results, {"results": results})

    # --- forgetting --------------------------------------------------------------------------

    async def _delete_entities(self, given_entityNames: list[str]) -> types.CallToolResult:  # noqa: N803  # the argument's name
        wanted = {fold(name): name for name in given_entityNames}
        opened = await self._open(wanted.values())
        known = {fold(one.entity_name) for one in opened.entities}
        count = 0
        for some in _by(list(wanted.values()), AT_ONCE):
            count += (await self._memory.delete(*some, memory_scope=self._scope)).entities
        if count == len(wanted):
            return _done("Entities deleted successfully")
        missing = ", ".join(name for key, name in wanted.items() if key not in known)
        told = f" Not found: {missing}" if missing else ""
        return _done(f"Deleted {count} of {len(wanted)} entities.{told}")

    async def _delete_observations(
        self, given_deletions: list[dict[str, Any]]
    ) -> types.CallToolResult:
        count = asked = 0
        missing = []
        for one in given_deletions:
            asked += len(one["observations"])
            try:
                if one["observations"]:
                    deleted = await self._memory.delete_observations(
                        one["entityName"], one["observations"], memory_scope=self._scope
                    )
                    count += deleted.observations
            except EntityNotFound:
                missing.append(one["entityName"])
        if count == asked:
            return _done("Observations deleted successfully")
        told = f" Entities not found: {', '.join(missing)}" if missing else ""
        return _done(f"Deleted {count} of {asked} observations.{told}")

    async def _delete_relations(
        self, given_relations: list[dict[str, str]]
    ) -> types.CallToolResult:
        count = 0
        for some in _by([_named(one) for one in given_relations], AT_ONCE):
            deleted = await self._memory.delete_relations(some, memory_scope=self._scope)
            count += deleted.relations
        if count == len(given_relations):
            return _done("Relations deleted successfully")
        return _done(
            f"Deleted {count} of {len(given_relations)} relations. The others are unknown."
        )

    # --- reading -----------------------------------------------------------------------------

    async def _read_graph(self) -> types.CallToolResult:
        entities: list[Entity] = []
        relations: list[Relation] = []
        size = 0
        async for page in self._memory.export(memory_scope=self._scope):
            entities += [one.entity for one in page.entities]
            relations += page.relations
            size += sum(
                len(note.text) + 50 for one in page.entities for note in one.entity.observations
            )
            size += 100 * (len(page.entities) + len(page.relations))
            if size > READ_CHARACTERS and page.next_page_token:
                return await self._beginning(entities, relations)
        graph = _graph(entities, relations)
        return _result(graph, graph)

    async def _beginning(
        self, entities: list[Entity], relations: list[Relation]
    ) -> types.CallToolResult:
        kept: list[Entity] = []
        size = 0
        for one in entities:
            size += 100 + sum(len(note.text) + 50 for note in one.observations)
            if kept and size > READ_CHARACTERS:
                break
            kept.append(one)
        graph = _graph(kept, relations)
        stats = (await self._memory.of(None).stats()).stats
        note = (
            f"This is not all: {len(kept)} entities of {stats.entities} in the whole memory, and "
            f"{len(relations)} relations. Use search_nodes and open_nodes to see the others."
        )
        return _result(graph, {**graph, "truncated": True, "note": note}, note)

    async def _search_nodes(self, given_query: str) -> types.CallToolResult:
        if not given_query.strip():
            return await self._read_graph()
        answer = await self._memory.search(
            given_query, FOUND, memory_scope=self._scope, include_relations=True
        )
        relations = {one.key: one for hit in answer.results for one in hit.relations}
        graph = _graph((hit.entity for hit in answer.results), relations.values())
        return _result(graph, graph, answer.note)

    async def _open_nodes(self, given_names: list[str]) -> types.CallToolResult:
        opened = await self._open(given_names)
        graph = _graph(opened.entities, opened.relations)
        return _result(graph, graph)
