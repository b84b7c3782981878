"""The routes of the memory: entities, relations, search, graph, upkeep."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final, Literal, cast, get_args

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from caxton.api.bodies import json_body
from caxton.api.edge import Edge
from caxton.api.health import Check
from caxton.api.memory_bodies import (
    ENTITY_BYTES,
    DeleteObservationsBody,
    DeleteRelationBody,
    EntityBatchBody,
    EntityBody,
    MaintenanceBody,
    MergeBody,
    ObservationsBody,
    RelationBody,
    check_sizes,
    entity_draft,
    read_body,
    relation_draft,
    who,
)
from caxton.api.memory_schemas import MemoryHealth
from caxton.api.problems import problem_here
from caxton.api.query import choice, flag, listed, number, page_size, ratio
from caxton.errors import (
    AgentNotFound,
    CaxtonError,
    EntityConflict,
    EntityNotFound,
    EntityTooLarge,
    RelationNotFound,
    ValidationError,
)
from caxton.memory.answer_views import (
    EntityPage,
    RelatedView,
    detail,
    graph_view,
    path_view,
    search_view,
)
from caxton.memory.backend import Direction
from caxton.memory.model import Entity, EntityName, EntityType, RelationType, Scope, ScopeKind, fold
from caxton.memory.requests import (
    AddObservations,
    Clear,
    Cleared,
    Deleted,
    DeleteEntities,
    DeleteObservations,
    DeleteRelations,
    EntityDraft,
    FindPath,
    GraphAnswer,
    Listed,
    ListEntities,
    Maintain,
    Maintained,
    MemoryStats,
    Merge,
    Opened,
    OpenEntities,
    Relate,
    Related,
    RelationName,
    Search,
    SearchAnswer,
    Stats,
    Store,
    Stored,
    StoredEntity,
    Temporal,
    WalkGraph,
    Weights,
)
from caxton.memory.views import entity_view, relation_view, stored_view
from caxton.moments import parse_time
from caxton.types import AgentName

__all__ = [
    "DIRECTIONS",
    "QUERY",
    "STRATEGIES",
    "TEMPORAL",
    "TYPES",
    "WEIGHTS",
    "add_observations",
    "clear",
    "clear_scope",
    "delete_entity",
    "delete_observations",
    "delete_relation",
    "entities",
    "entity",
    "graph",
    "health",
    "maintenance",
    "merge",
    "path",
    "relate",
    "search",
    "stats",
    "store",
    "store_batch",
]

_NUMBER: Final = "(0([.][0-9]{1,6})?|1([.]0{1,6})?)"
_WEIGHT: Final = f"({'|'.join(Weights.__struct_fields__)}):{_NUMBER}"
WEIGHTS: Final = f"{_WEIGHT}(,{_WEIGHT}){{0,4}}"
QUERY: Final = 10_000
"""Characters of a query."""
TYPES: Final = 50
"""Types that may be named in one request."""
TEMPORAL: Final = get_args(Temporal)
DIRECTIONS: Final = get_args(Direction)
STRATEGIES: Final = ("breadth_first", "depth_first")
RESERVED: Final = frozenset(
    {"entities", "export", "graph", "health", "import", "maintenance", "merge", "observations",
     "path", "relations", "search", "stats"}
)  # fmt: skip
"""Paths of other routes, which an agent's name in the path cannot be."""
BODY: Final = 2 * ENTITY_BYTES + 64 * 1024
"""Largest body: its text may take two bytes for one, as in ``\\n``."""
_FAULTS: Final = (ValidationError, EntityConflict, EntityTooLarge)
_ONLY: Final = re.compile(r"^(entities|relations)\[0\]\.")
_INDEX: Final = re.compile(r"\[(\d+)\]")
_MS: Final = re.compile(r"\b(valid_from|valid_to)_ms\b")
_encode = msgspec.json.Encoder(enc_hook=str).encode


def _view(view: object, status: int = 200) -> Response:
    return Response(_encode(view), status, media_type="application/json")


def _asked(request: Request, edge: Edge) -> dict[str, Any]:
    """On whose behalf, and of which scope: from the query."""
    given = request.query_params
    return who(edge, given.get("agent_id"), given.get("memory_scope"), "query.")


async def _ask(edge: Edge, question: Any, asked: dict[str, Any], place: str = "") -> Any:
    """Put a question; what is wrong with it is named as it is called here.

    Args:
        edge: of the node.
        question: one of ``caxton.memory.requests``.
        asked: on whose behalf, and of which scope.
        place: begins the names of fields in errors.
    """
    try:
        return await edge.entry.memory.ask(msgspec.structs.replace(question, **asked))
    except ValidationError as error:
        field = str(error.fields.get("field", ""))
        if len(getattr(question, "entities", getattr(question, "relations", ()))) == 1:
            field = _ONLY.sub("", field)
        error.fields["field"] = place + _INDEX.sub(r".\1", _MS.sub(r"\1", field))
        raise


def _scope_text(asked: dict[str, Any]) -> str:
    return str(asked["memory_scope"] or "every scope that may be read")


# --- entities --------------------------------------------------------------------------------


async def store(request: Request, edge: Edge) -> Response:
    """POST /api/v1/memory/entities."""
    whole = flag(request, "include_entity", default=False)
    async with json_body(request, edge, BODY) as given:
        body = read_body(given, EntityBody)
        asked = who(edge, body.agent_id, body.memory_scope)
        answer: Stored = await _ask(edge, Store(entities=(entity_draft(body),)), asked)
    return _view(stored_view(answer.entities[0], whole=whole), 201)


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
    return _view(
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
            answer: Stored = await _ask(edge, Store(entities=good), asked)
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
        answer: Stored = await _ask(edge, Store(entities=(draft,)), asked)
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
    answer: Listed = await _ask(edge, question, _asked(request, edge), "query.")
    items = [entity_view(one, observations=observations) for one in answer.entities]
    return _view(EntityPage(items, answer.next_page_token))


def _name(request: Request, parameter: str = "name") -> str:
    name = EntityName.parse(request.path_params[parameter], f"path.{parameter}")
    if not fold(name):
        raise ValidationError(field=f"path.{parameter}", value=name, allowed="more than spaces")
    return name


def _nearness(entity: Entity) -> tuple[int, str]:
    order = {ScopeKind.AGENT: 0, ScopeKind.WORKSPACE: 1, ScopeKind.GLOBAL: 2}
    return order[entity.scope.kind], entity.scope.key


async def entity(request: Request, edge: Edge) -> Response:
    """GET /api/v1/memory/entities/{name}. Of several of one name, that of the nearest scope."""
    name, asked = _name(request), _asked(request, edge)
    answer: Opened = await _ask(edge, OpenEntities(names=(name,)), asked)
    found = sorted(answer.entities, key=_nearness)
    if not found:
        raise EntityNotFound(entity_name=name, memory_scope=_scope_text(asked))
    first = found[0]
    relations = [one for one in answer.relations if one.scope == first.scope]
    return _view(detail(first, relations, [one.scope.key for one in found[1:]]))


async def delete_entity(request: Request, edge: Edge) -> Response:
    """DELETE /api/v1/memory/entities/{name}."""
    name, asked = _name(request), _asked(request, edge)
    answer: Deleted = await _ask(edge, DeleteEntities(names=(name,)), asked)
    if not answer.entities:
        raise EntityNotFound(entity_name=name, memory_scope=_scope_text(asked))
    return _view(answer)


async def add_observations(request: Request, edge: Edge) -> Response:
    """POST /api/v1/memory/entities/{name}/observations."""
    whole = flag(request, "include_entity", default=False)
    name = _name(request)
    async with json_body(request, edge, BODY) as given:
        body = read_body(given, ObservationsBody)
        check_sizes(body.observations, "observations")
        question = AddObservations(
            entity_name=name, observations=body.observations, source=body.source
        )
        asked = who(edge, body.agent_id, body.memory_scope)
        answer: StoredEntity = await _ask(edge, question, asked)
    return _view(stored_view(answer, whole=whole), 201)


async def delete_observations(request: Request, edge: Edge) -> Response:
    """DELETE /api/v1/memory/observations."""
    async with json_body(request, edge, BODY) as given:
        body = read_body(given, DeleteObservationsBody)
        question = DeleteObservations(entity_name=body.entity_name, observations=body.observations)
        asked = who(edge, body.agent_id, body.memory_scope)
        return _view(await _ask(edge, question, asked))


async def merge(request: Request, edge: Edge) -> Response:
    """POST /api/v1/memory/merge."""
    whole = flag(request, "include_entity", default=False)
    async with json_body(request, edge, BODY) as given:
        body = read_body(given, MergeBody)
        question = Merge(into=body.into, other=body.other)
        asked = who(edge, body.agent_id, body.memory_scope)
        answer: StoredEntity = await _ask(edge, question, asked)
    return _view(stored_view(answer, whole=whole))


# --- relations, graph, search ----------------------------------------------------------------


async def relate(request: Request, edge: Edge) -> Response:
    """POST /api/v1/memory/relations."""
    async with json_body(request, edge, BODY) as given:
        body = read_body(given, RelationBody)
        asked = who(edge, body.agent_id, body.memory_scope)
        answer: Related = await _ask(edge, Relate(relations=(relation_draft(body),)), asked)
    shown = tuple(relation_view(one) for one in answer.relations)
    return _view(RelatedView(shown, answer.created), 201)


async def delete_relation(request: Request, edge: Edge) -> Response:
    """DELETE /api/v1/memory/relations."""
    async with json_body(request, edge, BODY) as given:
        body = read_body(given, DeleteRelationBody)
        asked = who(edge, body.agent_id, body.memory_scope)
        named = RelationName(body.from_entity, body.to_entity, body.relation_type)
        answer: Deleted = await _ask(edge, DeleteRelations(relations=(named,)), asked)
    if not answer.relations:
        raise RelationNotFound(
            from_entity=body.from_entity,
            to_entity=body.to_entity,
            relation_type=body.relation_type,
            memory_scope=_scope_text(asked),
        )
    return _view(answer)


def _moment(request: Request, name: str) -> int | None:
    given = request.query_params.get(name)
    return None if given is None else parse_time(given, f"query.{name}")


async def search(request: Request, edge: Edge) -> Response:
    """GET /api/v1/memory/search."""
    query = request.query_params.get("query", "")
    if not 1 <= len(query) <= QUERY or not query.strip():
        raise ValidationError(
            field="query.query", value=query or "nothing", allowed=f"1 to {QUERY:,} characters"
        )
    start, end = _moment(request, "start_date"), _moment(request, "end_date")
    dated = start is not None or end is not None
    temporal = choice(request, "temporal_filter", TEMPORAL)
    if temporal is None:
        temporal = "date_range" if dated else "current"
    if dated and temporal != "date_range":
        raise ValidationError(
            field="query.temporal_filter", value=temporal, allowed="date_range with these dates"
        )
    question = Search(
        query=query,
        limit=number(request, "limit", 10, 100),
        min_similarity=ratio(request, "min_similarity", 0.0),
        entity_types=listed(request, "entity_types", int(EntityType.high), TYPES),
        include_relations=flag(request, "include_relations", default=False),
        temporal_filter=cast("Temporal", temporal),
        start_ms=start,
        end_ms=end,
        weights=_weights(request),
    )
    answer: SearchAnswer = await _ask(edge, question, _asked(request, edge), "query.")
    return _view(search_view(answer))


def _weights(request: Request) -> Weights | None:
    """``vector:0.5,words:0.5``; those that are not named are as in ``Weights``."""
    given = request.query_params.get("weights")
    if given is None:
        return None
    if re.fullmatch(WEIGHTS, given) is None:
        raise ValidationError(
            field="query.weights", value=given, allowed="such as vector:0.5,words:0.5, from 0 to 1"
        )
    pairs = [one.partition(":") for one in given.split(",")]
    return Weights(**{name: float(number) for name, _, number in pairs})


async def graph(request: Request, edge: Edge) -> Response:
    """GET /api/v1/memory/graph/{entity_name}."""
    observations = flag(request, "include_observations", default=True)
    strategy = choice(request, "traversal_strategy", STRATEGIES) or "breadth_first"
    temporal = choice(request, "temporal_filter", ("current", "all")) or "current"
    question = WalkGraph(
        entity_name=_name(request, "entity_name"),
        max_depth=number(request, "max_depth", 3, 10, least=0),
        relation_types=listed(request, "relation_types", int(RelationType.high), TYPES),
        min_strength=ratio(request, "min_strength", 0.0),
        direction=_direction(request),
        traversal_strategy=cast('Literal["breadth_first", "depth_first"]', strategy),
        include_observations=observations,
        temporal_filter=cast('Literal["current", "all"]', temporal),
        max_nodes=number(request, "max_nodes", 1_000, 10_000),
    )
    answer: GraphAnswer = await _ask(edge, question, _asked(request, edge), "query.")
    return _view(graph_view(answer, observations=observations))


def _direction(request: Request) -> Direction:
    return cast("Direction", choice(request, "direction", DIRECTIONS) or "both")


async def path(request: Request, edge: Edge) -> Response:
    """GET /api/v1/memory/path."""
    given = request.query_params
    question = FindPath(
        from_entity=EntityName.parse(given.get("from_entity", ""), "query.from_entity"),
        to_entity=EntityName.parse(given.get("to_entity", ""), "query.to_entity"),
        max_depth=number(request, "max_depth", 10, 10),
        relation_types=listed(request, "relation_types", int(RelationType.high), TYPES),
        min_strength=ratio(request, "min_strength", 0.0),
        direction=_direction(request),
    )
    answer: GraphAnswer = await _ask(edge, question, _asked(request, edge), "query.")
    return _view(path_view(answer))


# --- upkeep ----------------------------------------------------------------------------------


def _confirmed(request: Request) -> None:
    given = request.query_params.get("confirm", "nothing")
    if given != "true":
        raise ValidationError(
            field="query.confirm", value=given, allowed="true: what is forgotten does not come back"
        )


async def clear_scope(request: Request, edge: Edge) -> Response:
    """DELETE /api/v1/memory/entities."""
    _confirmed(request)
    asked = _asked(request, edge)
    if asked["memory_scope"] is None:
        raise ValidationError(
            field="query.memory_scope", value="nothing", allowed="the scope to forget"
        )
    types = listed(request, "entity_types", int(EntityType.high), TYPES)
    return _view(await _ask(edge, Clear(entity_types=types), asked))


async def clear(request: Request, edge: Edge) -> Response:
    """DELETE /api/v1/memory/{agent_id}. Of an agent that is gone, its own scope can be cleared."""
    name = request.path_params["agent_id"]
    if name in RESERVED:
        # The path of another route, which does not know this method.
        raise HTTPException(405, headers={"Allow": "GET, HEAD, POST"})
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
        return _view(await _clear_gone(edge, question, name))
    if scope is None:
        asked = {"agent": None, "memory_scope": Scope.of_agent(asked["agent"]).key}
    return _view(await _ask(edge, question, asked))


async def _clear_gone(edge: Edge, question: Clear, name: str) -> Cleared:
    """Forget what an agent remembered that is no more."""
    unknown = AgentNotFound(agent=name, near="")
    try:
        scope = Scope.of_agent(name).key
    except ValidationError:
        raise unknown from None
    answer: Cleared = await _ask(edge, question, {"agent": None, "memory_scope": scope})
    if not answer.entities + answer.relations:
        raise unknown
    return answer


async def stats(_request: Request, edge: Edge) -> Response:
    """GET /api/v1/memory/stats."""
    return _view(await edge.entry.memory.stats())


async def health(request: Request, edge: Edge) -> Response:
    """GET /api/v1/memory/health. With ``verify`` everything that is kept is looked at."""
    deep = flag(request, "verify", default=False)
    memory = edge.entry.memory
    try:
        async with asyncio.timeout(None if deep else edge.limits.status_s):
            found: MemoryStats = await memory.ask(Stats())
            faults = (await memory.verify()).faults if deep else ()
    except (CaxtonError, TimeoutError) as error:
        detail_ = error.detail if isinstance(error, CaxtonError) else "no answer in time"
        view = MemoryHealth("unhealthy", "", "", (Check("store", ok=False, detail=detail_),))
        return _view(view, 503)
    checks = _checks(found)
    if deep:
        told = "; ".join(one.what for one in faults[:20]) or "everything was looked at"
        checks.append(Check("contents", ok=not faults, detail=told))
    status: Literal["healthy", "degraded"] = (
        "healthy" if all(one.ok for one in checks) else "degraded"
    )
    return _view(MemoryHealth(status, found.backend, found.model, tuple(checks)))


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
    answer: Maintained = await edge.entry.memory.ask(Maintain(task=body.task))
    return _view(answer)
