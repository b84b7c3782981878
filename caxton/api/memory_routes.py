"""The rows of the route table that concern the memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from caxton.api import memory_finding as finding
from caxton.api import memory_handlers as handlers
from caxton.api import memory_transfer as transfer
from caxton.api import memory_tuning as tuning
from caxton.api.memory_bodies import SCOPE
from caxton.api.query import DEFAULT_PAGE, MAX_PAGE
from caxton.api.route import Good, Parameter, Route
from caxton.memory.model import EntityName
from caxton.types import AgentName

__all__ = ["MEMORY_ROUTES"]

_ROOT: Final = "/api/v1/memory"
_BODY: Final = (408, 413, 415)
_ANY: Final = (404, 409, 429, 504, 507)
"""What the memory itself answers with: not known, in conflict, busy, late, no room."""


def _text(longest: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": longest}


def _whole(least: int, most: int, default: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": most, "default": default}


def _one_of(options: tuple[str, ...], default: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(options), "default": default}


_RATIO: Final = {"type": "number", "minimum": 0, "maximum": 1, "default": 0}
_NAMES: Final = {
    "type": "string",
    "pattern": r"^\s*[^,\s][^,]{0,99}(,\s*[^,\s][^,]{0,99}){0,49}$",
}
_FLAG: Final = {"type": "boolean", "default": False}
_TIME: Final = {"type": "string", "format": "date-time"}

_WHO: Final = (
    Parameter("agent_id", "name or id of the agent on whose behalf; an operator without",
              _text(int(AgentName.high))),
    Parameter("memory_scope", "agent (of agent_id), agent:NAME, workspace or global",
              {"type": "string", "pattern": f"^({SCOPE})$"}),
)  # fmt: skip
_NAME: Final = Parameter(
    "name", "of an entity",
    {**_text(int(EntityName.high)), "pattern": r"\S"}, "path",
)  # fmt: skip
_WHOLE: Final = Parameter("include_entity", "answer with all of the entity", _FLAG)
_SEEN: Final = Parameter("include_observations", "with observations", {**_FLAG, "default": True})
_TYPES: Final = Parameter("entity_types", "only these types, commas between", _NAMES)
_CONFIRM: Final = Parameter(
    "confirm", "true: what is forgotten does not come back",
    {"type": "boolean", "enum": [True]}, required=True,
)  # fmt: skip
_WALK: Final = (
    Parameter("relation_types", "only over these, commas between", _NAMES),
    Parameter("min_strength", "only over relations of at least this strength", _RATIO),
    Parameter("direction", "of relations that are walked over",
              _one_of(finding.DIRECTIONS, "both")),
)  # fmt: skip

MEMORY_ROUTES: tuple[Route, ...] = (
    Route(
        "POST", f"{_ROOT}/entities", handlers.store,
        "Remember an entity, or more of a known one",
        (Good(201, "What became of it", "StoredView"),), (*_BODY, *_ANY), (_WHOLE,), "EntityBody",
    ),
    Route(
        "POST", f"{_ROOT}/entities/batch", handlers.store_batch,
        "Remember 1 to 100 entities; each has its own outcome",
        (Good(200, "The outcomes, in order", "EntityOutcomes"),), (*_BODY, *_ANY), (_WHOLE,),
        "EntityBatchBody",
    ),
    Route(
        "GET", f"{_ROOT}/entities", handlers.entities, "List entities",
        (Good(200, "A page", "EntityPage"),), _ANY,
        (*_WHO, _TYPES, _SEEN,
         Parameter("page_size", "most items of the page", _whole(1, MAX_PAGE, DEFAULT_PAGE)),
         Parameter("page_token", "next_page_token of the page before", {"type": "string"})),
    ),
    Route(
        "DELETE", f"{_ROOT}/entities", handlers.clear_scope,
        "Forget everything of a scope, or all entities of some types",
        (Good(200, "How much there was", "Cleared"),), _ANY,
        (_WHO[0], replace(_WHO[1], required=True), _CONFIRM, _TYPES),
    ),
    Route(
        "POST", f"{_ROOT}/entities/{{name}}/observations", handlers.add_observations,
        "Note more of a known entity",
        (Good(201, "What became of it", "StoredView"),), (*_BODY, *_ANY), (_NAME, _WHOLE),
        "ObservationsBody", match=f"{_ROOT}/entities/{{name:path}}/observations",
    ),
    Route(
        "GET", f"{_ROOT}/entities/{{name}}", handlers.entity, "One entity with its relations",
        (Good(200, "The entity; of several of this name, that of the nearest scope",
              "EntityDetail"),),
        _ANY, (_NAME, *_WHO), match=f"{_ROOT}/entities/{{name:path}}",
    ),
    Route(
        "DELETE", f"{_ROOT}/entities/{{name}}", handlers.delete_entity,
        "Forget an entity with its relations",
        (Good(200, "How much was forgotten", "Deleted"),), _ANY, (_NAME, *_WHO),
        match=f"{_ROOT}/entities/{{name:path}}",
    ),
    Route(
        "DELETE", f"{_ROOT}/observations", handlers.delete_observations,
        "Forget observations of an entity",
        (Good(200, "How many there were", "Deleted"),), (*_BODY, *_ANY), (),
        "DeleteObservationsBody",
    ),
    Route(
        "GET", f"{_ROOT}/search", finding.search, "Find what a text means or says",
        (Good(200, "The best first", "SearchView"),), _ANY,
        (Parameter("query", "what to look for", {**_text(finding.QUERY), "pattern": r"\S"},
                   required=True),
         *_WHO, _TYPES,
         Parameter("limit", "most results", _whole(1, 100, 10)),
         Parameter("min_similarity", "least cosine of what is found", _RATIO),
         Parameter("include_relations", "with the relations of each", _FLAG),
         Parameter("temporal_filter", "what holds now, ever, or between two dates",
                   _one_of(finding.TEMPORAL, "current")),
         Parameter("start_date", "with date_range: what holds at some time from here", _TIME),
         Parameter("end_date", "with date_range: to here", _TIME),
         Parameter("weights", "how scores become one: vector, words, neighbours, recency, "
                   "importance; such as vector:0.5,words:0.5",
                   {"type": "string", "pattern": f"^({finding.WEIGHTS})$"})),
    ),
    Route(
        "POST", f"{_ROOT}/relations", finding.relate,
        "Remember a relation of two known entities, or change it",
        (Good(201, "The relation, and the one of the other direction", "RelatedView"),),
        (*_BODY, *_ANY), (), "RelationBody",
    ),
    Route(
        "DELETE", f"{_ROOT}/relations", finding.delete_relation, "Forget a relation",
        (Good(200, "How many there were", "Deleted"),), (*_BODY, *_ANY), (), "DeleteRelationBody",
    ),
    Route(
        "GET", f"{_ROOT}/graph/{{entity_name}}", finding.graph, "What is around an entity",
        (Good(200, "Nodes and edges", "GraphView"),), _ANY,
        (Parameter("entity_name", "where to begin", _NAME.schema, "path"), *_WHO, *_WALK, _SEEN,
         Parameter("max_depth", "how far, in relations", _whole(0, 10, 3)),
         Parameter("traversal_strategy", "in which order",
                   _one_of(finding.STRATEGIES, "breadth_first")),
         Parameter("temporal_filter", "what holds now, or ever",
                   _one_of(("current", "all"), "current")),
         Parameter("max_nodes", "the walk ends at so many", _whole(1, 10_000, 1_000))),
        match=f"{_ROOT}/graph/{{entity_name:path}}",
    ),
    Route(
        "GET", f"{_ROOT}/path", finding.path, "A shortest way from one entity to another",
        (Good(200, "Its nodes in order; `found` is false without one", "PathView"),), _ANY,
        (Parameter("from_entity", "where to begin", _NAME.schema, required=True),
         Parameter("to_entity", "where to end", _NAME.schema, required=True),
         *_WHO, *_WALK, Parameter("max_depth", "how long at most, in relations",
                                  _whole(1, 10, 10))),
    ),
    Route(
        "POST", f"{_ROOT}/merge", handlers.merge, "Make one entity of two",
        (Good(200, "What they became", "StoredView"),), (*_BODY, *_ANY), (_WHOLE,), "MergeBody",
    ),
    Route(
        "GET", f"{_ROOT}/export", transfer.export, "Everything that is remembered, as a stream",
        (Good(200, "The export", "MemoryExport"),
         Good(200, "With `format=jsonl`: a line for each item", media="application/x-ndjson")),
        _ANY,
        (*_WHO, Parameter("format", "json, or jsonl for JSON Lines",
                          _one_of(transfer.FORMS, "json")),
         Parameter("include_embeddings", "with vectors", _FLAG)),
    ),
    Route(
        "POST", f"{_ROOT}/import", transfer.import_,
        "Take up an export, or the file of an MCP memory server, as it arrives",
        (Good(200, "What became of it", "Imported"),), (408, 413, 415, *_ANY),
        (*_WHO, Parameter("merge_strategy", "what happens to what is known",
                          _one_of(transfer.MERGE_STRATEGIES, "update_existing"))),
        "MemoryImport",
    ),
    Route(
        "GET", f"{_ROOT}/stats", handlers.stats, "How much is remembered",
        (Good(200, "The memory at one glance", "MemoryStats"),), _ANY,
    ),
    Route(
        "GET", f"{_ROOT}/health", handlers.health, "Whether the memory works",
        (Good(200, "It answers; `degraded` when something stands against it", "MemoryHealth"),
         Good(503, "It does not answer", "MemoryHealth")), (),
        (Parameter("verify", "look at everything that is kept too", _FLAG),),
    ),
    Route(
        "GET", f"{_ROOT}/config", tuning.config,
        "How the memory works, and what of that can be changed while it runs",
        (Good(200, "The settings in force, without secrets", "MemoryConfig"),), _ANY,
    ),
    Route(
        "PUT", f"{_ROOT}/config", tuning.set_config,
        "Change how the memory works; kept over restarts",
        (Good(200, "The settings in force now", "MemoryConfig"),), (*_BODY, *_ANY), (),
        "MemoryConfigBody",
    ),
    Route(
        "POST", f"{_ROOT}/maintenance", handlers.maintenance,
        "Look at everything that is kept, give room back, or make vectors that are missing",
        (Good(200, "What came of it", "Maintained"),), (*_BODY, *_ANY), (), "MaintenanceBody",
    ),
    Route(
        "DELETE", f"{_ROOT}/{{agent_id}}", handlers.clear,
        "Forget everything that an agent remembers for itself, or that is in a scope it may write",
        (Good(200, "How much there was", "Cleared"),), _ANY,
        (Parameter("agent_id", "name or id", _text(int(AgentName.high)), "path"),
         _CONFIRM,
         _WHO[1], _TYPES),
    ),
)  # fmt: skip
