"""The routes of the memory: entities, forgetting, upkeep."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from caxton.api.bodies import json_body
from caxton.api.edge import Edge
from caxton.api.health import Check
from caxton.api.memory_asking import BODY, TYPES, ask, asked_in, json_answer, name_in, scope_text
from caxton.api.memory_bodies import (
    DeleteObservationsBody,
    EntityBatchBody,
    EntityBody,
    MaintenanceBody,
    MergeBody,
    ObservationsBody,
    check_sizes,
    entity_draft,
    memory_of,
    read_body,
    who,
)
from caxton.api.memory_schemas import MemoryHealth
from caxton.api.problems import problem_here
from caxton.api.query import flag, listed, page_size
from caxton.errors import (
    AgentNotFound,
    CaxtonError,
    EntityConflict,
    EntityNotFound,
    EntityTooLarge,
    ValidationError,
)
from caxton.memory.answer_views import (
    EntityPage,
    detail,
)
from caxton.memory.model import Entity, EntityType, Scope, ScopeKind
from caxton.memory.requests import (
    AddObservations,
    Clear,
    Cleared,
    Deleted,
    DeleteEntities,
    DeleteObservations,
    EntityDraft,
    Listed,
    ListEntities,
    Maintain,
    Maintained,
    MemoryStats,
    Merge,
    Opened,
    OpenEntities,
    Stats,
    Store,
    Stored,
    StoredEntity,
)
from caxton.memory.views import entity_view, stored_view
from caxton.types import AgentName

__all__ = [
    "add_observations",
    "clear",
    "clear_scope",
    "delete_entity",
    "delete_observations",
    "entities",
    "entity",
    "health",
    "maintenance",
    "merge",
    "stats",
    "store",
    "store_batch",
]

RESERVED: Final = frozenset(
    {"entities", "export", "graph", "health", "import", "maintenance", "merge", "observations",
     "path", "relations", "search", "stats", "config"}
)  # fmt: skip
"""Paths of other routes, which an agent's name in the path cannot be."""
_FAULTS: Final = (ValidationError, EntityConflict, EntityTooLarge)


# --- entities --------------------------------------------------------------------------------


async def store(request: Request, edge: Edge) -> Response:
    """POST /api/v1/memory/entities."""
    whole = flag(request, "include_entity", default=False)
    async with json_body(request, edge, BODY) as given:
        body = read_body(given, EntityBody)
        asked = who(edge, body.agent_id, body.memory_scope)
        answer: Stored = await ask(edge, Store(entities=(entity_draft(body),)), asked)
    return json_answer(stored_view(answer.entities[0], whole=whole), 201)


async def store_batch(request: Request, edge: Edge) -> Response:
    """POST /api/v1/memory/entities/batch."""
    whole = flag(request, "include_entity", default=False)
    async with json_body(request, edge, BODY) as given:
        body = read_body(given, EntityBatchBody)
        asked = who(edge, body.agent_id, body.memory_scope)
        outcomes = await _store_each(edge, body, asked)
    stored = [one for one in outcomes if isinstance(one, StoredEntity)]
    created = sum(one.created for one in stored)
    results = [
        stored_view(one, whole=whole)
        if isinstance(one, StoredEntity)
        else {"error": problem_here(request.scope, one, f"/entities/{index}")}
        for index, one in enumerate(outcomes)
    ]
    return json_answer(
        {
            "entities_created": created,
            "entities_updated": len(stored) - created,
            "failed_entities": len(outcomes) - len(stored),
            "results": results,
        }
    )


async def _store_each(
    edge: Edge, body: EntityBatchBody, asked: dict[str, Any]
) -> list[StoredEntity | CaxtonError]:
    """All in one transaction; where one of them is at fault, each for itself unless ``atomic``."""
    drafts: list[EntityDraft | CaxtonError] = []
    for index, one in enumerate(body.entities):
        try:
            drafts.append(entity_draft(one, f"entities.{index}."))
        except EntityTooLarge as error:
            if body.atomic:
                raise
            drafts.append(error)
    good = tuple(one for one in drafts if isinstance(one, EntityDraft))
    stored: list[StoredEntity | CaxtonError] = []
    try:
        if good:
            answer: Stored = await ask(edge, Store(entities=good), asked)
            stored = list(answer.entities)
    except _FAULTS:
        if body.atomic:
            raise
        stored = [await _outcome(edge, one, asked) for one in good]
    coming = iter(stored)
    return [next(coming) if isinstance(one, EntityDraft) else one for one in drafts]


async def _outcome(
    edge: Edge, draft: EntityDraft, asked: dict[str, Any]
) -> StoredEntity | CaxtonError:
    try:
        answer: Stored = await ask(edge, Store(entities=(draft,)), asked)
    except _FAULTS as error:
        return error
    return answer.entities[0]


async def entities(request: Request, edge: Edge) -> Response:
    """GET /api/v1/memory/entities. The token is the service's."""
    question = ListEntities(
        entity_types=listed(request, "entity_types", int(EntityType.high), TYPES),
        limit=page_size(request),
        page_token=request.query_params.get("page_token", ""),
    )
    observations = flag(request, "include_observations", default=True)
    answer: Listed = await ask(edge, question, asked_in(request, edge), "query.")
    items = [entity_view(one, observations=observations) for one in answer.entities]
    return json_answer(EntityPage(items, answer.next_page_token))


def _nearness(entity: Entity) -> tuple[int, str]:
    order = {ScopeKind.AGENT: 0, ScopeKind.WORKSPACE: 1, ScopeKind.GLOBAL: 2}
    return order[entity.scope.kind], entity.scope.key


async def entity(request: Request, edge: Edge) -> Response:
    """GET /api/v1/memory/entities/{name}. Of several of one name, that of the nearest scope."""
    name, asked = name_in(request), asked_in(request, edge)
    answer: Opened = await ask(edge, OpenEntities(names=(name,)), asked)
    found = sorted(answer.entities, key=_nearness)
    if not found:
        raise EntityNotFound(entity_name=name, memory_scope=scope_text(asked))
    first = found[0]
    relations = [one for one in answer.relations if one.scope == first.scope]
    return json_answer(detail(first, relations, [one.scope.key for one in found[1:]]))


async def delete_entity(request: Request, edge: Edge) -> Response:
    """DELETE /api/v1/memory/entities/{name}."""
    name, asked = name_in(request), asked_in(request, edge)
    answer: Deleted = await ask(edge, DeleteEntities(names=(name,)), asked)
    if not answer.entities:
        raise EntityNotFound(entity_name=name, memory_scope=scope_text(asked))
    return json_answer(answer)


async def add_observations(request: Request, edge: Edge) -> Response:
    """POST /api/v1/memory/entities/{name}/observations."""
    whole = flag(request, "include_entity", default=False)
    name = name_in(request)
    async with json_body(request, edge, BODY) as given:
        body = read_body(given, ObservationsBody)
        check_sizes(body.observations, "observations")
        question = AddObservations(
            entity_name=name, observations=body.observations, source=body.source
        )
        asked = who(edge, body.agent_id, body.memory_scope)
        answer: StoredEntity = await ask(edge, question, asked)
    return json_answer(stored_view(answer, whole=whole), 201)


async def delete_observations(request: Request, edge: Edge) -> Response:
    """DELETE /api/v1/memory/observations."""
    async with json_body(request, edge, BODY) as given:
        body = read_body(given, DeleteObservationsBody)
        question = DeleteObservations(entity_name=body.entity_name, observations=body.observations)
        asked = who(edge, body.agent_id, body.memory_scope)
        return json_answer(await ask(edge, question, asked))


async def merge(request: Request, edge: Edge) -> Response:
    """POST /api/v1/memory/merge."""
    whole = flag(request, "include_entity", default=False)
    async with json_body(request, edge, BODY) as given:
        body = read_body(given, MergeBody)
        question = Merge(into=body.into, other=body.other)
        asked = who(edge, body.agent_id, body.memory_scope)
        answer: StoredEntity = await ask(edge, question, asked)
    return json_answer(stored_view(answer, whole=whole))


# --- forgetting a whole scope ---------------------------------------------------------------


def _confirmed(request: Request) -> None:
    given = request.query_params.get("confirm", "nothing")
    if given != "true":
        raise ValidationError(
            field="query.confirm", value=given, allowed="true: what is forgotten does not come back"
        )


async def clear_scope(request: Request, edge: Edge) -> Response:
    """DELETE /api/v1/memory/entities."""
    _confirmed(request)
    asked = asked_in(request, edge)
    if asked["memory_scope"] is None:
        raise ValidationError(
            field="query.memory_scope", value="nothing", allowed="the scope to forget"
        )
    types = listed(request, "entity_types", int(EntityType.high), TYPES)
    return json_answer(await ask(edge, Clear(entity_types=types), asked))


async def clear(request: Request, edge: Edge) -> Response:
    """DELETE /api/v1/memory/{agent_id}. Of an agent that is gone, its own scope can be cleared."""
    name = request.path_params["agent_id"]
    if name in RESERVED:
        # The path of another route, which does not know this method.
        raise HTTPException(405, headers={"Allow": "GET, HEAD, POST, PUT"})
    if len(name) > AgentName.high:
        raise ValidationError(field="path.agent_id", value=name, allowed="an agent's name or id")
    _confirmed(request)
    question = Clear(entity_types=listed(request, "entity_types", int(EntityType.high), TYPES))
    scope = request.query_params.get("memory_scope")
    try:
        asked = who(edge, name, scope, "query.")
    except AgentNotFound:
        if scope is not None:
            raise
        return json_answer(await _clear_gone(edge, question, name))
    if scope is None:
        asked = {"agent": None, "memory_scope": Scope.of_agent(asked["agent"]).key}
    return json_answer(await ask(edge, question, asked))


async def _clear_gone(edge: Edge, question: Clear, name: str) -> Cleared:
    """Forget what an agent remembered that is no more."""
    unknown = AgentNotFound(agent=name, near="")
    try:
        scope = Scope.of_agent(name).key
    except ValidationError:
        raise unknown from None
    answer: Cleared = await ask(edge, question, {"agent": None, "memory_scope": scope})
    if not answer.entities + answer.relations:
        raise unknown
    return answer


# --- upkeep ----------------------------------------------------------------------------------


async def stats(_request: Request, edge: Edge) -> Response:
    """GET /api/v1/memory/stats."""
    return json_answer(await memory_of(edge).stats())


async def health(request: Request, edge: Edge) -> Response:
    """GET /api/v1/memory/health. With ``verify`` everything that is kept is looked at."""
    deep = flag(request, "verify", default=False)
    try:
        memory = memory_of(edge)
        async with asyncio.timeout(None if deep else edge.limits.status_s):
            found: MemoryStats = await memory.ask(Stats())
            faults = (await memory.verify()).faults if deep else ()
    except (CaxtonError, TimeoutError) as error:
        detail_ = error.detail if isinstance(error, CaxtonError) else "no answer in time"
        view = MemoryHealth("unhealthy", "", "", (Check("store", ok=False, detail=detail_),))
        return json_answer(view, 503)
    checks = _checks(found)
    if deep:
        told = "; ".join(one.what for one in faults[:20]) or "everything was looked at"
        checks.append(Check("contents", ok=not faults, detail=told))
    status: Literal["healthy", "degraded"] = (
        "healthy" if all(one.ok for one in checks) else "degraded"
    )
    return json_answer(MemoryHealth(status, found.backend, found.model, tuple(checks)))


def _checks(found: MemoryStats) -> list[Check]:
    counted = found.stats
    waiting = f"{found.unembedded:,} of {counted.entities:,} entities wait for vectors"
    return [
        Check("store", ok=True, detail=f"{found.backend}: {counted.entities:,} entities"),
        Check("model", ok=bool(found.model), detail=found.note or found.model),
        Check("index", ok=not found.unembedded, detail=waiting if found.unembedded else "complete"),
    ]


async def maintenance(request: Request, edge: Edge) -> Response:
    """POST /api/v1/memory/maintenance."""
    async with json_body(request, edge, BODY) as given:
        body = read_body(given, MaintenanceBody)
    answer: Maintained = await memory_of(edge).ask(Maintain(task=body.task))
    return json_answer(answer)
