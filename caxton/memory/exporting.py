"""Everything that is remembered, in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

from caxton.errors import ValidationError
from caxton.memory.backend import EntityRow, MemoryBackend, Selection
from caxton.memory.checks import check_types
from caxton.memory.model import Relation, Scope
from caxton.memory.pages import Pages
from caxton.memory.permissions import Access
from caxton.memory.requests import Exported, ExportPage, ImportEntity, Listed, ListEntities
from caxton.memory.sizes import encoded_bytes
from caxton.memory.vectorizing import Vectorizer
from caxton.types import Bound

__all__ = ["Exporting"]

Limit: Final = Bound("limit", int, 1, 1_000)
_RELATIONS: Final = "r."
_ENTITIES: Final = "e."


class Exporting:
    """Answers the requests that read page after page.

    Args:
        backend: scans.
        vectorizer: knows the model of the vectors.
        access: who may read what.
        seconds: a clock that never goes back.
    """

    def __init__(
        self,
        backend: MemoryBackend,
        vectorizer: Vectorizer,
        access: Access,
        seconds: Callable[[], float],
    ) -> None:
        self._backend = backend
        self._vectorizer = vectorizer
        self._access = access
        self._entities: Pages[EntityRow] = Pages(_entity_name, _entity_bytes, seconds)
        self._relations: Pages[Relation] = Pages(_relation_name, encoded_bytes, seconds)

    async def list(self, request: ListEntities) -> Listed:
        """One page of entities."""
        Limit.parse(request.limit, "limit")
        check_types(request.entity_types)
        scopes = self._access.read(request)
        of = _of("list", scopes, *request.entity_types)
        selection = Selection(scopes, tuple(request.entity_types))
        rows, token = await self._entities.page(
            of, request.page_token, request.limit, lambda: self._backend.scan(selection)
        )
        return Listed(tuple(one.entity for one in rows), token)

    async def page(self, request: ExportPage) -> Exported:
        """One page of an export: of entities, or of relations after them."""
        Limit.parse(request.limit, "limit")
        scopes = self._access.read(request)
        phase, token = request.page_token[:2], request.page_token[2:]
        if phase == _RELATIONS:
            return await self._relation_page(request, scopes, token)
        if phase not in ("", _ENTITIES):
            raise ValidationError(
                field="page_token",
                value=request.page_token,
                allowed="the token of the page before, unchanged",
            )
        vectors = request.include_embeddings

        def begin() -> AsyncIterator[EntityRow]:
            return self._backend.scan(Selection(scopes), vectors=vectors)

        of = _of("export", scopes, str(vectors))
        rows, more = await self._entities.page(of, token, request.limit, begin)
        items = tuple(ImportEntity(one.entity, _parts(one)) for one in rows)
        after = _ENTITIES + more if more else _RELATIONS
        return Exported(items, (), self._vectorizer.tag if vectors else "", after)

    async def _relation_page(
        self, request: ExportPage, scopes: tuple[Scope, ...] | None, token: str
    ) -> Exported:
        relations, more = await self._relations.page(
            _of("export", scopes),
            token,
            request.limit,
            lambda: self._backend.scan_relations(scopes),
        )
        tag = self._vectorizer.tag if request.include_embeddings else ""
        return Exported((), tuple(relations), tag, _RELATIONS + more if more else "")

    async def close(self) -> None:
        """End what waits for its next page."""
        await self._entities.close()
        await self._relations.close()


def _entity_bytes(row: EntityRow) -> int:
    vectors = 0 if row.vectors is None else row.vectors.nbytes
    return encoded_bytes(row.entity) + vectors


def _parts(row: EntityRow) -> tuple[bytes, ...]:
    if row.vectors is None:
        return ()
    return tuple(one.astype("<f4").tobytes() for one in row.vectors)


def _of(what: str, scopes: tuple[Scope, ...] | None, *more: str) -> str:
    where = "*" if scopes is None else ",".join(one.key for one in scopes)
    return "|".join([what, where, *more])


def _entity_name(row: EntityRow) -> list[str]:
    key = row.entity.key
    return [key.scope.key, key.name]


def _relation_name(relation: Relation) -> list[str]:
    key = relation.key
    return [key.scope.key, key.from_entity, key.relation_type, key.to_entity]
