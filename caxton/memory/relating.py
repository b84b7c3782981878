"""Relations between entities that are known: made, changed, forgotten."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from caxton.errors import EntityNotFound
from caxton.memory.backend import DeleteRelation, MemoryBackend, PutRelation
from caxton.memory.checks import check_count, check_relation, check_relation_name
from caxton.memory.drafts import related
from caxton.memory.ledger import Ledger
from caxton.memory.model import Entity, EntityKey, Relation, RelationKey, Scope
from caxton.memory.permissions import Access
from caxton.memory.requests import (
    Deleted,
    DeleteRelations,
    Relate,
    Related,
    RelationDraft,
    RelationName,
)

__all__ = ["Relating"]

BATCH = 100
NAMES = 1_000


class Relating:
    """Answers the requests that write relations. The arguments are those of ``Writing``."""

    def __init__(
        self, backend: MemoryBackend, access: Access, ledger: Ledger, clock: Callable[[], int]
    ) -> None:
        self._backend = backend
        self._access = access
        self._ledger = ledger
        self._clock = clock

    async def relate(self, request: Relate) -> Related:
        """Remember relations."""
        check_count(request.relations, 1, BATCH, "relations")
        for number, draft in enumerate(request.relations):
            check_relation(draft, f"relations[{number}]")
        scope = self._access.write(request)
        drafts = list(request.relations)
        drafts += [_back(one) for one in request.relations if one.bidirectional]
        keys = {_key(scope, one): one for one in drafts}
        ends = list(dict.fromkeys(end for key in keys for end in _ends(key)))
        return await self._ledger.in_order(ends, lambda: self._relate(scope, drafts, ends))

    async def _relate(
        self, scope: Scope, drafts: list[RelationDraft], ends: list[EntityKey]
    ) -> Related:
        known = dict(zip(ends, await self._backend.entities(ends), strict=True))
        now_ms = self._clock()
        before: dict[RelationKey, Relation | None] = {}
        after: dict[RelationKey, Relation] = {}
        order = []
        for draft in drafts:
            key = _key(scope, draft)
            start, end = (known[one] for one in _ends(key))
            pair = _there(start, draft.from_entity, scope), _there(end, draft.to_entity, scope)
            if key not in before:
                before[key] = await self._backend.relation(key)
            there, stored = after.get(key, before[key]), before[key]
            relation = related(there, draft, pair, now_ms)
            if relation is not there and key in after:
                version = 1 if stored is None else stored.version + 1
                relation = msgspec.structs.replace(relation, version=version)
            after[key] = relation
            order.append(key)
        await self._ledger.write(
            [PutRelation(one) for key, one in after.items() if one is not before[key]]
        )
        created = sum(one is None for one in before.values())
        return Related(tuple(after[key] for key in order), created)

    async def delete(self, request: DeleteRelations) -> Deleted:
        """Forget relations."""
        check_count(request.relations, 1, NAMES, "relations")
        for number, name in enumerate(request.relations):
            check_relation_name(name, f"relations[{number}]")
        scope = self._access.write(request)
        keys = list(dict.fromkeys(_key(scope, one) for one in request.relations))

        async def work() -> Deleted:
            there = [key for key in keys if await self._backend.relation(key) is not None]
            await self._ledger.write([DeleteRelation(key) for key in there])
            return Deleted(relations=len(there))

        return await self._ledger.in_order({end for key in keys for end in _ends(key)}, work)


def _key(scope: Scope, one: RelationDraft | RelationName) -> RelationKey:
    return RelationKey.of(scope, one.from_entity, one.relation_type.strip(), one.to_entity)


def _ends(key: RelationKey) -> tuple[EntityKey, EntityKey]:
    return EntityKey(key.scope, key.from_entity), EntityKey(key.scope, key.to_entity)


def _back(draft: RelationDraft) -> RelationDraft:
    return msgspec.structs.replace(
        draft, from_entity=draft.to_entity, to_entity=draft.from_entity, bidirectional=False
    )


def _there(entity: Entity | None, name: str, scope: Scope) -> Entity:
    if entity is None:
        raise EntityNotFound(entity_name=name, memory_scope=scope.key)
    return entity
