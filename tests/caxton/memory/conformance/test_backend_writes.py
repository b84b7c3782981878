"""What ``MemoryBackend.write`` promises, for each backend."""

from __future__ import annotations

import pytest
from benches import Bench
from samples import (
    ANN,
    MODEL,
    entity,
    every,
    find,
    names,
    put,
    relate,
    relation,
    unit,
)

from caxton.errors import EntityConflict, EntityNotFound, RelationNotFound
from caxton.memory.backend import (
    Change,
    DeleteEntity,
    DeleteRelation,
    MemoryBackend,
    PutEntity,
    PutRelation,
    Selection,
)
from caxton.memory.model import GLOBAL, WORKSPACE, EntityKey, RelationKey

A, B, C = (EntityKey.of(WORKSPACE, name) for name in "abc")


async def test_an_entity_comes_back_as_it_was_given(backend: MemoryBackend) -> None:
    """Every field of it, with a name of any script and metadata of any depth."""
    given = entity(
        "Zoë  \N{SNOWMAN} 北京",
        "first, with 'quotes' and \\ slashes",
        "second\nline",
        entity_type="Person/1",
        metadata={"n": 2**53 + 1, "x": 0.25, "deep": [{"a": None}, [True, "ü"]], "": ""},
        valid_from_ms=-5,
        valid_to_ms=4_102_444_800_000,
        importance=0.875,
    )
    await put(backend, given)
    assert await backend.entities([given.key]) == [given]
    bare = entity("bare", scope=ANN)
    await put(backend, bare)
    assert await backend.entities([bare.key]) == [bare]


async def test_entities_come_in_the_order_of_keys(backend: MemoryBackend) -> None:
    """With None for what is not there, and twice what is asked for twice."""
    one, two = entity("a", "x"), entity("b", "y")
    await put(backend, one, two)
    assert await backend.entities([B, C, A, B]) == [two, None, one, two]
    assert await backend.entities([]) == []


async def test_a_name_is_one_in_its_scope_without_regard_to_case(backend: MemoryBackend) -> None:
    """The same name elsewhere is another entity."""
    here, there = entity("Ann Lee", "here"), entity("ann  LEE", "there", scope=GLOBAL)
    await put(backend, here, there)
    key = EntityKey.of(WORKSPACE, " ANN lee ")
    assert await backend.entities([key]) == [here]
    assert await backend.entities([EntityKey.of(GLOBAL, "Ann Lee")]) == [there]


async def test_a_relation_comes_back_as_it_was_given(backend: MemoryBackend) -> None:
    """Every field of it; one for each pair and type."""
    await put(backend, entity("A"), entity("b"))
    given = relation(
        "A", "works with/for", "b",
        strength=0.75, confidence=0.5, metadata={"k": ["v", None]},
        valid_from_ms=5, valid_to_ms=10, created_ms=3, updated_ms=4,
    )  # fmt: skip
    await relate(backend, given, relation("b", "works with/for", "A"), relation("A", "knows", "b"))
    assert await backend.relation(given.key) == given
    assert await backend.relation(RelationKey.of(WORKSPACE, "a", "Works with/for", "b")) is None
    assert len(await backend.relations([A])) == 3


async def test_versions_count_up(backend: MemoryBackend) -> None:
    """What is not the next one is refused and changes nothing."""
    await put(backend, entity("a", "one"))
    for version in (1, 3, 0):
        with pytest.raises(EntityConflict):
            await put(backend, entity("a", "else", version=version))
    with pytest.raises(EntityConflict):
        await put(backend, entity("b", version=2))
    await put(backend, entity("a", "two", version=2))
    assert await backend.entities([A, B]) == [entity("a", "two", version=2), None]


async def test_versions_of_relations_count_up(backend: MemoryBackend) -> None:
    """As those of entities."""
    await put(backend, entity("a"), entity("b"))
    with pytest.raises(EntityConflict):
        await relate(backend, relation("a", "knows", "b", version=2))
    await relate(backend, relation("a", "knows", "b"))
    with pytest.raises(EntityConflict):
        await relate(backend, relation("a", "knows", "b"))
    await relate(backend, relation("a", "knows", "b", strength=1.0, version=2))
    found = await backend.relation(RelationKey.of(WORKSPACE, "a", "knows", "b"))
    assert found == relation("a", "knows", "b", strength=1.0, version=2)


async def test_both_ends_of_a_relation_must_be_there(backend: MemoryBackend) -> None:
    """In its own scope."""
    await put(backend, entity("a"), entity("b", scope=GLOBAL))
    for start, end in (("a", "b"), ("b", "a"), ("a", "nobody")):
        with pytest.raises(EntityNotFound):
            await relate(backend, relation(start, "knows", end))
    assert await backend.relations([A]) == []


async def test_what_is_not_there_is_not_deleted(backend: MemoryBackend) -> None:
    """Each has its own error, which names it."""
    await put(backend, entity("a"), entity("b"))
    with pytest.raises(EntityNotFound, match="nobody"):
        await backend.write([DeleteEntity(EntityKey.of(WORKSPACE, "nobody"))])
    with pytest.raises(RelationNotFound, match="knows"):
        await backend.write([DeleteRelation(RelationKey.of(WORKSPACE, "a", "knows", "b"))])


@pytest.mark.parametrize(
    "bad",
    [
        PutEntity(entity("a", version=7)),
        DeleteEntity(C),
        PutRelation(relation("a", "knows", "nobody")),
        PutRelation(relation("a", "knows", "b", version=5)),
        DeleteRelation(RelationKey.of(WORKSPACE, "b", "knows", "a")),
    ],
    ids=lambda change: type(change).__name__,
)
@pytest.mark.parametrize("place", ["first", "last"])
async def test_all_of_the_changes_or_nothing(
    backend: MemoryBackend, bad: Change, place: str
) -> None:
    """One that cannot be done leaves all of them undone."""
    before = [entity("a", "old"), entity("b"), entity("d")]
    await put(backend, *before, vectors=unit(1))
    await relate(backend, relation("a", "knows", "b"), relation("a", "has", "d"))
    good: list[Change] = [
        PutEntity(entity("a", "new", version=2), unit(0, 1)),
        PutEntity(entity("new"), unit(0, 0, 1)),
        PutRelation(relation("a", "knows", "d")),
        DeleteRelation(RelationKey.of(WORKSPACE, "a", "knows", "b")),
        DeleteEntity(EntityKey.of(WORKSPACE, "d")),
    ]
    if isinstance(bad, PutRelation) and bad.relation.version == 5:
        good.pop(3)
    with pytest.raises((EntityConflict, EntityNotFound, RelationNotFound)):
        await backend.write([bad, *good] if place == "first" else [*good, bad])
    rows = await every(backend.scan(Selection(), vectors=True))
    assert sorted((row.entity for row in rows), key=lambda one: one.key) == before
    for row in rows:
        assert row.vectors is not None
        assert row.vectors[0, 0] == pytest.approx(1, abs=2e-3)
    found = {one.key for one in await every(backend.scan_relations(None))}
    assert found == {relation("a", "knows", "b").key, relation("a", "has", "d").key}


async def test_changes_are_done_in_order(backend: MemoryBackend) -> None:
    """A later one sees the earlier ones of the same write."""
    await backend.write(
        [
            PutEntity(entity("a", "one"), unit(1)),
            PutEntity(entity("a", "two", version=2)),
            PutEntity(entity("b")),
            PutEntity(entity("c")),
            PutRelation(relation("a", "knows", "b")),
            PutRelation(relation("a", "knows", "b", strength=1.0, version=2)),
            PutRelation(relation("a", "has", "c")),
            DeleteRelation(RelationKey.of(WORKSPACE, "a", "has", "c")),
            DeleteEntity(C),
        ]
    )
    assert await names(backend) in (["a", "b"], ["b", "a"])
    assert await backend.relations([A]) == [relation("a", "knows", "b", strength=1.0, version=2)]
    [row] = [one async for one in backend.scan(Selection(), vectors=True) if one.entity.key == A]
    assert row.vectors is not None
    assert row.vectors.shape == (1, MODEL.dimension)


async def test_relations_go_with_their_entity(backend: MemoryBackend) -> None:
    """Those from it and to it and of it to itself; a new one of that name has none, nor vectors."""
    await put(backend, entity("a"), entity("b"), entity("c"), vectors=unit(1))
    await relate(
        backend,
        relation("a", "knows", "b"), relation("b", "knows", "a"), relation("b", "knows", "c"),
        relation("b", "is", "b"),
    )  # fmt: skip
    await relate(backend, relation("c", "knows", "a"))
    await backend.write([DeleteEntity(B)])
    assert await every(backend.scan_relations(None)) == [relation("c", "knows", "a")]
    await put(backend, entity("b"))
    assert await backend.relations([B]) == []
    await relate(backend, relation("a", "knows", "b"))
    rows = await every(backend.scan(Selection(), vectors=True))
    assert {row.entity.entity_name for row in rows if row.vectors is None} == {"b"}


async def test_an_entity_is_replaced_within_one_write(backend: MemoryBackend) -> None:
    """Deleted and put anew, it begins at version 1 without what it had."""
    await put(backend, entity("a", "old"), entity("b"), vectors=unit(1))
    await put(backend, entity("a", "older", version=2))
    await relate(backend, relation("a", "knows", "b"), relation("b", "knows", "a"))
    await backend.write(
        [
            DeleteEntity(A),
            PutEntity(entity("a", "new")),
            PutRelation(relation("a", "knows", "b", strength=1.0)),
        ]
    )
    assert await backend.entities([A]) == [entity("a", "new")]
    assert await every(backend.scan_relations(None)) == [relation("a", "knows", "b", strength=1.0)]
    assert [one.key async for one in backend.unembedded()] == [A]


async def test_vectors_stay_until_others_come(backend: MemoryBackend) -> None:
    """None keeps those that are there; others take their place."""
    await put(backend, entity("a", "one"), vectors=unit(1))
    await put(backend, entity("a", "two", version=2))
    [row] = await every(backend.scan(Selection(), vectors=True))
    assert row.vectors is not None
    assert row.vectors[0] == pytest.approx(unit(1)[0], abs=2e-3)
    await put(backend, entity("a", "three", version=3), vectors=unit(0, 1))
    [row] = await every(backend.scan(Selection(), vectors=True))
    assert row.vectors is not None
    assert row.vectors[0] == pytest.approx(unit(0, 1)[0], abs=2e-3)


async def test_an_array_of_no_vectors_takes_away_those_that_are_there(
    backend: MemoryBackend,
) -> None:
    """The entity waits for new ones, and is found by words meanwhile."""
    await put(backend, entity("a", "heron"), entity("b"), vectors=unit(1))
    await put(backend, entity("a", "heron", version=2), vectors=unit(1)[:0])
    rows = await every(backend.scan(Selection(), vectors=True))
    assert {row.entity.entity_name: row.vectors is None for row in rows} == {"a": True, "b": False}
    assert [one.key async for one in backend.unembedded()] == [A]
    found = await find(backend, "heron", unit(1))
    assert found["a"].similarity is None
    assert set(found) == {"a", "b"}
    await put(backend, entity("a", version=3), vectors=unit(1))
    assert [one.key async for one in backend.unembedded()] == []


async def test_nothing_to_write_is_fine(backend: MemoryBackend) -> None:
    """An empty list changes nothing."""
    await backend.write([])
    assert await names(backend) == []


async def test_everything_is_kept_when_it_is_closed(bench: Bench) -> None:
    """Entities, vectors, relations and what was deleted, also when it was not closed."""
    for closes in (True, False):
        first = await bench.open(MODEL)
        tag = "closed" if closes else "left"
        await put(first, entity(f"{tag} a", "one"), entity(f"{tag} b"), vectors=unit(1))
        await put(first, entity(f"{tag} c"))
        await relate(first, relation(f"{tag} a", "knows", f"{tag} b"))
        await first.write([DeleteEntity(EntityKey.of(WORKSPACE, f"{tag} c"))])
        if closes:
            await bench.close(first)
        else:
            await bench.leave(first)
        again = await bench.open(MODEL)
        rows = await every(again.scan(Selection(), vectors=True))
        kept = {row.entity.entity_name: row for row in rows}
        assert f"{tag} c" not in kept
        row = kept[f"{tag} a"]
        assert row.entity == entity(f"{tag} a", "one")
        assert row.vectors is not None
        assert row.vectors[0] == pytest.approx(unit(1)[0], abs=2e-3)
        assert await again.relations([row.entity.key]) == [
            relation(f"{tag} a", "knows", f"{tag} b")
        ]
        await bench.close(again)


async def test_writes_that_come_together_are_all_done(backend: MemoryBackend) -> None:
    """Each of many at once, or its error."""
    import asyncio

    await put(backend, entity("hub"))

    async def one(number: int) -> bool:
        changes: list[Change] = [
            PutEntity(entity(f"n{number % 20}")),
            PutRelation(relation("hub", "has", f"n{number % 20}")),
        ]
        try:
            await backend.write(changes)
        except EntityConflict:
            return False
        return True

    async with asyncio.timeout(60):
        done = await asyncio.gather(*(one(number) for number in range(30)))
    assert sum(done) == 20
    assert len(await names(backend)) == 21
    assert len(await backend.relations([EntityKey.of(WORKSPACE, "hub")], direction="out")) == 20


async def test_a_large_write_is_one(backend: MemoryBackend) -> None:
    """A thousand entities with relations, written and read in one go."""
    entities = [entity(f"e{i}", f"text {i}", scope=ANN) for i in range(500)]
    relations = [relation(f"e{i}", "next", f"e{i + 1}", scope=ANN) for i in range(499)]
    await backend.write(
        [*(PutEntity(one, unit(1, i)) for i, one in enumerate(entities)),
         *(PutRelation(one) for one in relations)]
    )  # fmt: skip
    assert await backend.entities([one.key for one in entities]) == entities
    found = await every(backend.scan_relations([ANN]))
    assert {one.key for one in found} == {one.key for one in relations}
