"""The routes of the memory that find: relations, search, graph, ways."""

from __future__ import annotations

import re
from typing import Final, Literal, cast, get_args

from starlette.requests import Request
from starlette.responses import Response

from caxton.api.bodies import json_body
from caxton.api.edge import Edge
from caxton.api.memory_asking import BODY, TYPES, ask, asked_in, json_answer, name_in, scope_text
from caxton.api.memory_bodies import (
    DeleteRelationBody,
    RelationBody,
    read_body,
    relation_draft,
    who,
)
from caxton.api.query import choice, flag, listed, number, ratio
from caxton.errors import RelationNotFound, ValidationError
from caxton.memory.answer_views import RelatedView, graph_view, path_view, search_view
from caxton.memory.backend import Direction
from caxton.memory.model import EntityName, EntityType, RelationType
from caxton.memory.requests import (
    Deleted,
    DeleteRelations,
    FindPath,
    GraphAnswer,
    Relate,
    Related,
    RelationName,
    Search,
    SearchAnswer,
    Temporal,
    WalkGraph,
    Weights,
)
from caxton.memory.views import relation_view
from caxton.moments import parse_time

__all__ = [
    "DIRECTIONS",
    "QUERY",
    "STRATEGIES",
    "TEMPORAL",
    "WEIGHTS",
    "delete_relation",
    "graph",
    "path",
    "relate",
    "search",
]

_NUMBER: Final = "(0([.][0-9]{1,6})?|1([.]0{1,6})?)"
_WEIGHT: Final = f"({'|'.join(Weights.__struct_fields__)}):{_NUMBER}"
WEIGHTS: Final = f"{_WEIGHT}(,{_WEIGHT}){{0,4}}"
QUERY: Final = 10_000
"""Characters of a query."""
TEMPORAL: Final = get_args(Temporal)
DIRECTIONS: Final = get_args(Direction)
STRATEGIES: Final = ("breadth_first", "depth_first")


async def relate(request: Request, edge: Edge) -> Response:
    """POST /api/v1/memory/relations."""
    async with json_body(request, edge, BODY) as given:
        body = read_body(given, RelationBody)
        asked = who(edge, body.agent_id, body.memory_scope)
        answer: Related = await ask(edge, Relate(relations=(relation_draft(body),)), asked)
    shown = tuple(relation_view(one) for one in answer.relations)
    return json_answer(RelatedView(shown, answer.created), 201)


async def delete_relation(request: Request, edge: Edge) -> Response:
    """DELETE /api/v1/memory/relations."""
    async with json_body(request, edge, BODY) as given:
        body = read_body(given, DeleteRelationBody)
        asked = who(edge, body.agent_id, body.memory_scope)
        named = RelationName(body.from_entity, body.to_entity, body.relation_type)
        answer: Deleted = await ask(edge, DeleteRelations(relations=(named,)), asked)
    if not answer.relations:
        raise RelationNotFound(
            from_entity=body.from_entity,
            to_entity=body.to_entity,
            relation_type=body.relation_type,
            memory_scope=scope_text(asked),
        )
    return json_answer(answer)


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
    answer: SearchAnswer = await ask(edge, question, asked_in(request, edge), "query.")
    return json_answer(search_view(answer))


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
        entity_name=name_in(request, "entity_name"),
        max_depth=number(request, "max_depth", 3, 10, least=0),
        relation_types=listed(request, "relation_types", int(RelationType.high), TYPES),
        min_strength=ratio(request, "min_strength", 0.0),
        direction=_direction(request),
        traversal_strategy=cast('Literal["breadth_first", "depth_first"]', strategy),
        include_observations=observations,
        temporal_filter=cast('Literal["current", "all"]', temporal),
        max_nodes=number(request, "max_nodes", 1_000, 10_000),
    )
    answer: GraphAnswer = await ask(edge, question, asked_in(request, edge), "query.")
    return json_answer(graph_view(answer, observations=observations))


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
    answer: GraphAnswer = await ask(edge, question, asked_in(request, edge), "query.")
    return json_answer(path_view(answer))
