"""The memory as code calls it: ``node.memory``, and what the gateway and agents use.

Each method is one request of ``caxton.memory.requests``. Where the service is, in this process or
in another, is told by the ``Asker``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias, TypeVar, cast

import msgspec

from caxton.memory.config_view import MemoryConfig
from caxton.memory.requests import (
    AddObservations,
    Clear,
    Cleared,
    Configure,
    Deleted,
    DeleteEntities,
    DeleteObservations,
    DeleteRelations,
    EntityDraft,
    Exported,
    ExportPage,
    FindPath,
    GraphAnswer,
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
    RelationDraft,
    RelationName,
    Request,
    Search,
    SearchAnswer,
    Stats,
    Store,
    Stored,
    StoredEntity,
    WalkGraph,
)

__all__ = ["ANSWERS", "Asker", "Memory"]

Asker: TypeAlias = Callable[[Request], Awaitable[Any]]
"""Puts a request to the service; gives its answer, or raises a ``CaxtonError``."""

ANSWERS: Final[dict[type[Any], type[Any]]] = {
    Store: Stored,
    AddObservations: StoredEntity,
    DeleteObservations: Deleted,
    DeleteEntities: Deleted,
    DeleteRelations: Deleted,
    Relate: Related,
    Merge: StoredEntity,
    Clear: Cleared,
    Search: SearchAnswer,
    OpenEntities: Opened,
    ListEntities: Listed,
    WalkGraph: GraphAnswer,
    FindPath: GraphAnswer,
    ExportPage: Exported,
    Import: ImportReport,
    Stats: MemoryStats,
    Maintain: Maintained,
    Configure: MemoryConfig,
}
"""What each request is answered with."""

T = TypeVar("T")


class Memory:
    """The memory of a node.

    Args:
        ask: puts requests to the service.
        agent: on whose behalf; None for an operator, who may name any scope.
    """

    def __init__(self, ask: Asker, agent: str | None = None) -> None:
        self._ask = ask
        self.agent = agent

    def of(self, agent: str | None) -> Memory:
        """The same memory on behalf of ``agent``."""
        return Memory(self._ask, agent)

    async def ask(self, request: Request) -> Any:
        """Put any request. The agent of this object stands in for one that names none."""
        if request.agent is None and self.agent is not None:
            request = msgspec.structs.replace(request, agent=self.agent)
        return await self._ask(request)

    async def store(
        self,
        /,
        entity_name: str,
        entity_type: str,
        observations: Sequence[str] = (),
        *,
        memory_scope: str | None = None,
        **fields: Any,
    ) -> StoredEntity:
        """Remember an entity, or more of a known one. ``fields`` are those of ``EntityDraft``.

        Raises:
            ValidationError: a field is out of its range.
            EntityConflict: a known one has another type.
        """
        draft = EntityDraft(entity_name, entity_type, tuple(observations), **fields)
        answer: Stored = await self.ask(Store(entities=(draft,), memory_scope=memory_scope))
        return answer.entities[0]

    async def store_many(
        self, entities: Iterable[EntityDraft], *, memory_scope: str | None = None
    ) -> Stored:
        """Remember 1 to 100 entities, all or none."""
        request = Store(entities=tuple(entities), memory_scope=memory_scope)
        return cast("Stored", await self.ask(request))

    async def add(
        self,
        entity_name: str,
        observations: Sequence[str],
        *,
        memory_scope: str | None = None,
        source: str = "",
    ) -> StoredEntity:
        """Note more of a known entity.

        Raises:
            EntityNotFound: it is not known.
        """
        request = AddObservations(
            entity_name=entity_name,
            observations=tuple(observations),
            source=source,
            memory_scope=memory_scope,
        )
        return cast("StoredEntity", await self.ask(request))

    async def relate(
        self,
        /,
        from_entity: str,
        relation_type: str,
        to_entity: str,
        *,
        memory_scope: str | None = None,
        **fields: Any,
    ) -> Related:
        """Remember that one entity has to do with another. ``fields``: see ``RelationDraft``.

        Raises:
            EntityNotFound: one of them is not known.
        """
        draft = RelationDraft(from_entity, to_entity, relation_type, **fields)
        request = Relate(relations=(draft,), memory_scope=memory_scope)
        return cast("Related", await self.ask(request))

    async def search(
        self, /, query: str, limit: int = 10, *, memory_scope: str | None = None, **fields: Any
    ) -> SearchAnswer:
        """Find what a text means or says. ``fields`` are those of ``Search``."""
        request = Search(query=query, limit=limit, memory_scope=memory_scope, **fields)
        return cast("SearchAnswer", await self.ask(request))

    async def open(self, *names: str, memory_scope: str | None = None) -> Opened:
        """Entities by name, with their relations."""
        request = OpenEntities(names=names, memory_scope=memory_scope)
        return cast("Opened", await self.ask(request))

    async def graph(
        self, /, entity_name: str, *, memory_scope: str | None = None, **fields: Any
    ) -> GraphAnswer:
        """What is around an entity. ``fields`` are those of ``WalkGraph``."""
        request = WalkGraph(entity_name=entity_name, memory_scope=memory_scope, **fields)
        return cast("GraphAnswer", await self.ask(request))

    async def path(
        self, /, from_entity: str, to_entity: str, *, memory_scope: str | None = None, **fields: Any
    ) -> GraphAnswer:
        """A shortest way from one entity to another; without nodes when there is none."""
        request = FindPath(
            from_entity=from_entity, to_entity=to_entity, memory_scope=memory_scope, **fields
        )
        return cast("GraphAnswer", await self.ask(request))

    async def delete(self, *names: str, memory_scope: str | None = None) -> Deleted:
        """Forget entities with their relations."""
        request = DeleteEntities(names=names, memory_scope=memory_scope)
        return cast("Deleted", await self.ask(request))

    async def delete_observations(
        self, entity_name: str, observations: Sequence[str], *, memory_scope: str | None = None
    ) -> Deleted:
        """Forget observations of an entity, by their texts."""
        request = DeleteObservations(
            entity_name=entity_name, observations=tuple(observations), memory_scope=memory_scope
        )
        return cast("Deleted", await self.ask(request))

    async def delete_relations(
        self, relations: Iterable[RelationName], *, memory_scope: str | None = None
    ) -> Deleted:
        """Forget relations."""
        request = DeleteRelations(relations=tuple(relations), memory_scope=memory_scope)
        return cast("Deleted", await self.ask(request))

    async def merge(
        self, into: str, other: str, *, memory_scope: str | None = None
    ) -> StoredEntity:
        """Make one entity of two."""
        request = Merge(into=into, other=other, memory_scope=memory_scope)
        return cast("StoredEntity", await self.ask(request))

    async def clear(self, memory_scope: str, entity_types: Sequence[str] = ()) -> Cleared:
        """Forget everything of a scope, or only entities of some types."""
        request = Clear(memory_scope=memory_scope, entity_types=tuple(entity_types))
        return cast("Cleared", await self.ask(request))

    async def list(
        self,
        *,
        memory_scope: str | None = None,
        entity_types: Sequence[str] = (),
        limit: int = 100,
        page_token: str = "",
    ) -> Listed:
        """A page of entities."""
        request = ListEntities(
            memory_scope=memory_scope,
            entity_types=tuple(entity_types),
            limit=limit,
            page_token=page_token,
        )
        return cast("Listed", await self.ask(request))

    async def export(
        self, *, memory_scope: str | None = None, include_embeddings: bool = False
    ) -> AsyncIterator[Exported]:
        """Everything that is remembered, page after page."""
        request = ExportPage(memory_scope=memory_scope, include_embeddings=include_embeddings)
        while True:
            page: Exported = await self.ask(request)
            yield page
            if not page.next_page_token:
                return
            request = msgspec.structs.replace(request, page_token=page.next_page_token)

    async def import_page(self, request: Import) -> ImportReport:
        """Take up one page of an export."""
        return cast("ImportReport", await self.ask(request))

    async def stats(self) -> MemoryStats:
        """The memory at one glance."""
        return cast("MemoryStats", await self.ask(Stats()))

    async def verify(self) -> Maintained:
        """Look at everything that is kept."""
        return cast("Maintained", await self.ask(Maintain(task="verify")))

    async def config(self) -> MemoryConfig:
        """How it works, and what of that can be changed while it runs."""
        return cast("MemoryConfig", await self.ask(Configure()))

    async def configure(self, /, **changes: float | None) -> MemoryConfig:
        """Change how it works, by the names of ``MemoryConfig.settings``; None for the value of
        the node's configuration. Kept over restarts.

        Raises:
            ValidationError: there is no such setting, or a value is out of its range.
            NotAuthorized: it is on behalf of an agent.
        """
        return cast("MemoryConfig", await self.ask(Configure(changes=dict(changes))))

    async def optimize(self) -> Maintained:
        """Give room back and make searches fast again."""
        return cast("Maintained", await self.ask(Maintain(task="optimize")))
