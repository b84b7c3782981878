"""One write in one transaction: what is there is read, checked, and changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from neo4j import AsyncManagedTransaction

from caxton.errors import InternalError
from caxton.memory.backend import Change, ModelInfo
from caxton.memory.model import EntityKey, RelationKey
from caxton.memory.neo4j import statements as say
from caxton.memory.neo4j.records import (
    entity_properties,
    key_text,
    relation_properties,
    relation_text,
    vector_properties,
)
from caxton.memory.net_change import EntityWrite, Known, NetChange, Touched, net_change

__all__ = ["part_rows", "write"]

ROWS: Final = 250
"""Records in one statement."""


async def write(
    tx: AsyncManagedTransaction,
    changes: Sequence[Change],
    on: Touched,
    model: ModelInfo | None,
    index: str | None,
) -> None:
    """Check ``changes`` against what is there and write them.

    Args:
        on: what the changes have to do with.
        model: whose their vectors are.
        index: name of the index, and property, of vectors; None where there is none.

    Raises:
        EntityNotFound, RelationNotFound, EntityConflict: as ``MemoryBackend.write``.
    """
    change = net_change(changes, await _known(tx, on))
    gone = [key_text(key) for key in change.removed_entities]
    # Also without a model: those of an earlier start's model would be found by it again.
    gone_parts = [
        *gone,
        *(key_text(one.entity.key) for one in change.entities if not one.keeps),
    ]
    await _each(tx, say.REMOVE_PARTS, "keys", gone_parts)
    await _each(tx, say.REMOVE_ENTITIES, "keys", gone)
    await _each(tx, say.REMOVE_RELATIONS, "rows", [_ends(key) for key in change.removed_relations])
    await _put(tx, change, model)
    if index is not None and model is not None:
        rows = [row for one in change.entities for row in part_rows(one, index)]
        await _each(tx, say.PUT_PARTS, "rows", rows)


async def _put(tx: AsyncManagedTransaction, change: NetChange, model: ModelInfo | None) -> None:
    rows = [
        {
            **entity_properties(one.entity),
            **({} if one.keeps else vector_properties(one.vectors, model)),
        }
        for one in change.entities
    ]
    relations = [{**_ends(one.key), "data": relation_properties(one)} for one in change.relations]
    done = await _each(tx, say.PUT_ENTITIES, "rows", rows)
    done += await _each(tx, say.PUT_RELATIONS, "rows", relations)
    if done != len(rows) + len(relations):
        # An end was there a moment ago: somebody else writes into this database.
        raise InternalError(reason="the database changed under the write; nothing was written")


def part_rows(one: EntityWrite, index: str) -> list[dict[str, Any]]:
    """What the index of vectors is made of."""
    if one.vectors is None:
        return []
    key = key_text(one.entity.key)
    return [{"key": key, "data": {index: vector.tolist()}} for vector in one.vectors]


def _ends(key: RelationKey) -> dict[str, Any]:
    return {
        "key": relation_text(key),
        "start": key_text(EntityKey(key.scope, key.from_entity)),
        "end": key_text(EntityKey(key.scope, key.to_entity)),
    }


async def _known(tx: AsyncManagedTransaction, on: Touched) -> Known:
    by_text = {key_text(key): key for key in on.entities}
    relations = {relation_text(key): key for key in on.relations}
    versions: dict[EntityKey, int] = {}
    relation_versions: dict[RelationKey, int] = {}
    texts = list(by_text)
    for i in range(0, len(texts), ROWS):
        result = await tx.run(say.VERSIONS, {"keys": texts[i : i + ROWS]})
        async for record in result:
            versions[by_text[record["key"]]] = record["version"]
    rows = [_ends(key) for key in on.relations]
    for i in range(0, len(rows), ROWS):
        result = await tx.run(say.RELATION_VERSIONS, {"rows": rows[i : i + ROWS]})
        async for record in result:
            relation_versions[relations[record["key"]]] = record["version"]
    return Known(versions, relation_versions)


async def _each(tx: AsyncManagedTransaction, statement: str, name: str, rows: Sequence[Any]) -> int:
    """Run a statement over rows, some hundreds at a time; the sum of what it counts."""
    done = 0
    for i in range(0, len(rows), ROWS):
        result = await tx.run(statement, {name: list(rows[i : i + ROWS])})
        async for record in result:
            done += record["done"]
    return done
