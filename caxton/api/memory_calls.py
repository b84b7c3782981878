"""The requests of the memory as calls of the REST API, without any I/O.

What code asks of ``node.memory`` it can ask of a node elsewhere: the requests and answers are the
same (``caxton.memory.requests``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec

from caxton.api.calls import Calls
from caxton.api.drafts import dump
from caxton.api.exchange import Call, Steps
from caxton.errors import (
    EntityNotFound,
    ImportInvalid,
    InternalError,
    RelationNotFound,
    ValidationError,
)
from caxton.memory.answer_views import (
    EntityDetail,
    EntityPage,
    GraphView,
    HitView,
    Imported,
    PathView,
    RelatedView,
    SearchView,
)
from caxton.memory.config_view import MemoryConfig
from caxton.memory.exchange import VERSION, Header, Writer
from caxton.memory.model import RelationKey
from caxton.memory.requests import (
    AddObservations,
    Asked,
    Clear,
    Cleared,
    Configure,
    Deleted,
    DeleteEntities,
    DeleteObservations,
    DeleteRelations,
    EntityDraft,
    Exported,
    FindPath,
    GraphAnswer,
    Hit,
    Import,
    ImportReport,
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
    Request,
    Search,
    SearchAnswer,
    Stats,
    Store,
    Stored,
    StoredEntity,
    WalkGraph,
)
from caxton.memory.views import StoredView, entity_of, relation_of, stored_of
from caxton.moments import format_time

__all__ = ["MemoryCalls"]

T = TypeVar("T")

ROOT: Final = "/api/v1/memory"
LONG_S: Final = 600.0
"""How long looking at everything, or making vectors of a page, may take."""


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)


def _who(request: Asked) -> dict[str, Any]:
    return _given(agent_id=request.agent, memory_scope=request.memory_scope)


def _query(request: Asked, **fields: Any) -> dict[str, str]:
    given = {**_who(request), **_given(**fields)}
    return {name: _text(value) for name, value in given.items() if value not in ("", ())}


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else format_time(at_ms)


def _path(*steps: str) -> str:
    for step in steps:
        if step in (".", ".."):
            # Clients take such a step for a place in the path.
            raise ValidationError(field="name", value=step, allowed="a name, in a URL")
    return "/".join((ROOT, *(quote(step, safe="") for step in steps)))


class MemoryCalls:
    """Puts requests of the memory to a node."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._steps: Mapping[type[Any], Callable[[Any], Steps[Any]]] = {
            Store: self._store,
            AddObservations: self._add,
            DeleteObservations: self._delete_observations,
            DeleteEntities: self._delete_entities,
            DeleteRelations: self._delete_relations,
            Relate: self._relate,
            Merge: self._merge,
            Clear: self._clear,
            Search: self._search,
            OpenEntities: self._open,
            ListEntities: self._list,
            WalkGraph: self._graph,
            FindPath: self._way,
            Import: self._import,
            Stats: self._stats,
            Maintain: self._maintain,
            Configure: self._configure,
        }

    def ask(self, request: Request) -> Steps[Any]:
        """Put one request; its answer is that of ``caxton.memory.client.ANSWERS``."""
        steps = self._steps.get(type(request))
        if steps is None:
            raise InternalError(reason=f"{type(request).__name__} is not asked for over HTTP")
        return (yield from steps(request))

    def export_call(self, request: Asked, form: str, *, include_embeddings: bool) -> Call:
        """The request of an export, whose answer is a stream."""
        query = _query(request, format=form, include_embeddings=include_embeddings)
        return Call("GET", f"{ROOT}/export", query, timeout_s=LONG_S)

    def _change(
        self, method: str, path: str, kind: type[T], body: Any = None,
        query: Mapping[str, str] | None = None, timeout_s: float | None = None,
    ) -> Steps[T]:  # fmt: skip
        data = body if body is None or isinstance(body, bytes) else dump(body)
        limit = self._calls.timeout_s if timeout_s is None else timeout_s
        call = Call(method, path, query or {}, data, limit)
        return self._calls.read((yield call), kind)

    # --- writing -----------------------------------------------------------------------------

    def _store(self, request: Store) -> Steps[Stored]:
        bodies = [_entity(one) for one in request.entities]
        whole = {"include_entity": "true"}
        if len(bodies) == 1:
            body = {**bodies[0], **_who(request)}
            view = yield from self._change("POST", f"{ROOT}/entities", StoredView, body, whole)
            return Stored((stored_of(view),))
        body = {"entities": bodies, "atomic": True, **_who(request)}
        found = yield from self._change(
            "POST", f"{ROOT}/entities/batch", dict[str, Any], body, whole
        )
        views = msgspec.convert(found["results"], list[StoredView])
        return Stored(tuple(stored_of(view) for view in views))

    def _add(self, request: AddObservations) -> Steps[StoredEntity]:
        body = {"observations": request.observations, "source": request.source, **_who(request)}
        path = _path("entities", request.entity_name, "observations")
        view = yield from self._change("POST", path, StoredView, body, {"include_entity": "true"})
        return stored_of(view)

    def _delete_observations(self, request: DeleteObservations) -> Steps[Deleted]:
        body = {
            "entity_name": request.entity_name,
            "observations": request.observations,
            **_who(request),
        }
        return (yield from self._change("DELETE", f"{ROOT}/observations", Deleted, body))

    def _delete_entities(self, request: DeleteEntities) -> Steps[Deleted]:
        entities = relations = observations = 0
        for name in request.names:
            try:
                found = yield from self._change(
                    "DELETE", _path("entities", name), Deleted, query=_query(request)
                )
            except EntityNotFound:
                continue
            entities += found.entities
            relations += found.relations
            observations += found.observations
        return Deleted(entities, relations, observations)

    def _delete_relations(self, request: DeleteRelations) -> Steps[Deleted]:
        count = 0
        for one in request.relations:
            body = {**msgspec.structs.asdict(one), **_who(request)}
            try:
                found = yield from self._change("DELETE", f"{ROOT}/relations", Deleted, body)
            except RelationNotFound:
                continue
            count += found.relations
        return Deleted(relations=count)

    def _relate(self, request: Relate) -> Steps[Related]:
        relations: list[Any] = []
        created = 0
        for one in request.relations:
            body = _given(
                from_entity=one.from_entity,
                to_entity=one.to_entity,
                relation_type=one.relation_type,
                strength=one.strength,
                confidence=one.confidence,
                metadata=one.metadata or None,
                valid_from=_time(one.valid_from_ms),
                valid_to=_time(one.valid_to_ms),
                bidirectional=one.bidirectional,
            )
            view = yield from self._change(
                "POST", f"{ROOT}/relations", RelatedView, {**body, **_who(request)}
            )
            relations += [relation_of(shown) for shown in view.relations]
            created += view.created
        return Related(tuple(relations), created)

    def _merge(self, request: Merge) -> Steps[StoredEntity]:
        body = {"into": request.into, "other": request.other, **_who(request)}
        whole = {"include_entity": "true"}
        view = yield from self._change("POST", f"{ROOT}/merge", StoredView, body, whole)
        return stored_of(view)

    def _clear(self, request: Clear) -> Steps[Cleared]:
        query = _query(request, entity_types=request.entity_types, confirm=True)
        return (yield from self._change("DELETE", f"{ROOT}/entities", Cleared, query=query))

    def _import(self, request: Import) -> Steps[ImportReport]:
        writer = Writer("jsonl", Header(version=VERSION, model=request.model))
        page = Exported(request.entities, request.relations, request.model)
        body = writer.begin() + writer.page(page) + writer.end()
        query = _query(request, merge_strategy=request.merge_strategy)
        limit_s = max(LONG_S, self._calls.timeout_s)
        try:
            report = yield from self._change(
                "POST", f"{ROOT}/import", Imported, body, query, limit_s
            )
        except ImportInvalid as error:
            raise _of_page(error, len(request.entities)) from None
        counts = {name: getattr(report, name) for name in ImportReport.__struct_fields__}
        return ImportReport(**counts)

    def _maintain(self, request: Maintain) -> Steps[Maintained]:
        return (
            yield from self._change(
                "POST", f"{ROOT}/maintenance", Maintained, {"task": request.task}, None,
                max(LONG_S, self._calls.timeout_s),
            )
        )  # fmt: skip

    def _configure(self, request: Configure) -> Steps[MemoryConfig]:
        path = _path("config")
        if not request.changes:
            return (yield from self._calls.get(path, MemoryConfig, {}))
        return (yield from self._change("PUT", path, MemoryConfig, request.changes))

    # --- reading -----------------------------------------------------------------------------

    def _search(self, request: Search) -> Steps[SearchAnswer]:
        weights = request.weights
        query = _query(
            request,
            query=request.query,
            limit=request.limit,
            min_similarity=request.min_similarity,
            entity_types=request.entity_types,
            include_relations=request.include_relations,
            temporal_filter=request.temporal_filter,
            start_date=_time(request.start_ms),
            end_date=_time(request.end_ms),
            weights=None if weights is None else tuple(
                f"{name}:{value:.6f}" for name, value in msgspec.structs.asdict(weights).items()
            ),
        )  # fmt: skip
        view = yield from self._calls.get(f"{ROOT}/search", SearchView, query)
        return SearchAnswer(
            tuple(_hit(one) for one in view.results), view.search_time_ms, view.semantic, view.note
        )

    def _open(self, request: OpenEntities) -> Steps[Opened]:
        entities: list[Any] = []
        relations: dict[RelationKey, Any] = {}
        for name in request.names:
            try:
                view = yield from self._calls.get(
                    _path("entities", name), EntityDetail, _query(request)
                )
            except EntityNotFound:
                continue
            views = [view]
            for scope in view.also_in:
                query = {**_query(request), "memory_scope": scope}
                views.append(
                    (yield from self._calls.get(_path("entities", name), EntityDetail, query))
                )
            entities += [entity_of(one) for one in views]
            found = [relation_of(one) for seen in views for one in seen.relations]
            relations |= {one.key: one for one in found}
        return Opened(tuple(entities), tuple(relations.values()))

    def _list(self, request: ListEntities) -> Steps[Listed]:
        query = _query(
            request,
            entity_types=request.entity_types,
            page_size=request.limit,
            page_token=request.page_token,
        )
        page = yield from self._calls.get(f"{ROOT}/entities", EntityPage, query)
        return Listed(tuple(entity_of(one) for one in page.items), page.next_page_token)

    def _graph(self, request: WalkGraph) -> Steps[GraphAnswer]:
        query = _query(
            request,
            max_depth=request.max_depth,
            relation_types=request.relation_types,
            min_strength=request.min_strength,
            direction=request.direction,
            traversal_strategy=request.traversal_strategy,
            include_observations=request.include_observations,
            temporal_filter=request.temporal_filter,
            max_nodes=request.max_nodes,
        )
        path = _path("graph", request.entity_name)
        return _walked((yield from self._calls.get(path, GraphView, query)))

    def _way(self, request: FindPath) -> Steps[GraphAnswer]:
        query = _query(
            request,
            from_entity=request.from_entity,
            to_entity=request.to_entity,
            max_depth=request.max_depth,
            relation_types=request.relation_types,
            min_strength=request.min_strength,
            direction=request.direction,
        )
        return _walked((yield from self._calls.get(f"{ROOT}/path", PathView, query)))

    def _stats(self, _request: Stats) -> Steps[MemoryStats]:
        return (yield from self._calls.get(f"{ROOT}/stats", MemoryStats))


def _of_page(error: ImportInvalid, entities: int) -> ImportInvalid:
    """The error of a page that was sent as lines, below one of metadata, with the item named."""
    found = re.fullmatch(r"line (\d+)", str(error.fields.get("place", "")))
    number = int(found[1]) - 2 if found is not None else -1
    if number < 0:
        return error
    place = f"entities[{number}]" if number < entities else f"relations[{number - entities}]"
    return ImportInvalid(**{**error.fields, "place": place})


def _entity(draft: EntityDraft) -> dict[str, Any]:
    return _given(
        entity_name=draft.entity_name,
        entity_type=draft.entity_type,
        observations=draft.observations,
        metadata=draft.metadata or None,
        valid_from=_time(draft.valid_from_ms),
        valid_to=_time(draft.valid_to_ms),
        importance=draft.importance,
        source=draft.source or None,
    )


def _hit(view: HitView) -> Hit:
    relations = tuple(relation_of(one) for one in view.relations)
    return Hit(entity_of(view), view.score, view.similarity_score, relations)


def _walked(view: GraphView | PathView) -> GraphAnswer:
    nodes = view.graph.nodes
    return GraphAnswer(
        tuple(entity_of(one) for one in nodes),
        tuple(one.depth for one in nodes),
        tuple(relation_of(one) for one in view.graph.edges),
        view.traversal_stats.truncated,
        view.traversal_stats.took_ms,
    )
