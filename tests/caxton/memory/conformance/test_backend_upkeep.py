"""What ``MemoryBackend`` promises of clearing, counting, verifying and ending, for each backend."""

from __future__ import annotations

import pytest
from benches import Bench, ModelBench
from samples import (
    ANN,
    BOB,
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

from caxton.errors import EntityConflict, MemoryUnavailable
from caxton.memory.backend import (
    BackendStats,
    MemoryBackend,
    PutEntity,
    PutRelation,
    Selection,
)
from caxton.memory.model import WORKSPACE, EntityKey, RelationKey


async def test_clearing_removes_a_selection_with_its_relations(backend: MemoryBackend) -> None:
    """And tells how many of both; what is outside of it stays."""
    await put(backend, *(entity(f"p{i}", "heron", entity_type="person") for i in range(3)))
    await put(backend, entity("t", "heron"), entity("u"), vectors=unit(1))
    await put(backend, entity("p0", scope=ANN, entity_type="person"))
    await relate(
        backend,
        relation("p0", "x", "p1"), relation("p0", "x", "t"), relation("t", "x", "p2"),
        relation("t", "x", "u"), relation("p1", "x", "p1"),
    )  # fmt: skip
    selection = Selection(scopes=(WORKSPACE,), entity_types=("person",))
    assert await backend.clear(selection) == (3, 4)
    assert set(await names(backend)) == {"t", "u", "p0"}
    assert await every(backend.scan_relations(None)) == [relation("t", "x", "u")]
    assert set(await find(backend, "heron", unit(1))) == {"t", "u"}
    assert await backend.clear(selection) == (0, 0)
    assert await backend.clear(Selection(scopes=())) == (0, 0)
    assert await backend.clear(Selection()) == (3, 1)
    assert await names(backend) == []
    await put(backend, entity("t"))
    assert await backend.relations([EntityKey.of(WORKSPACE, "t")]) == []


async def test_clearing_removes_more_than_fits_into_one_step(backend: MemoryBackend) -> None:
    """All of some hundreds, each relation counted once."""
    entities = [entity(f"e{i}", scope=BOB) for i in range(620)]
    relations = [relation(f"e{i}", "next", f"e{(i + 1) % 620}", scope=BOB) for i in range(620)]
    await backend.write([*map(PutEntity, entities), *map(PutRelation, relations)])
    await put(backend, entity("stays", scope=ANN))
    assert await backend.clear(Selection(scopes=(BOB,))) == (620, 620)
    assert await names(backend) == ["stays"]


async def test_statistics_count_what_there_is(backend: MemoryBackend) -> None:
    """By scope and by type; vectors are parts."""
    empty = await backend.stats()
    assert (empty.entities, empty.relations, empty.vectors, empty.scopes) == (0, 0, 0, {})
    await put(backend, entity("a", "x", "y"), vectors=unit(1))
    await put(backend, entity("b", "x", entity_type="person", scope=ANN))
    await put(backend, entity("c", entity_type="person", scope=ANN), vectors=unit(1).repeat(3, 0))
    await relate(backend, relation("b", "x", "c", scope=ANN), relation("b", "y", "c", scope=ANN))
    found = await backend.stats()
    wanted = BackendStats(3, 2, 3, 4, {"agent:ann": 2, "workspace": 1}, {"person": 2, "thing": 1})
    for field in ("entities", "relations", "observations", "vectors", "scopes", "entity_types"):
        assert getattr(found, field) == getattr(wanted, field), field
    assert found.index


async def test_what_is_restored_keeps_its_version(backend: MemoryBackend) -> None:
    """Any that is not below the one that is there; vectors may come without a change."""
    await backend.write(
        [PutEntity(entity("a", version=7), restored=True), PutEntity(entity("b"), restored=True)]
    )
    await backend.write([PutRelation(relation("a", "x", "b", version=4), restored=True)])
    await backend.write([PutEntity(entity("a", version=7), unit(1), restored=True)])
    for change in (
        PutEntity(entity("a", version=6), restored=True),
        PutEntity(entity("a", version=7)),
        PutRelation(relation("a", "x", "b", version=3), restored=True),
        PutEntity(entity("new", version=0), restored=True),
    ):
        with pytest.raises(EntityConflict):
            await backend.write([change])
    await put(backend, entity("a", "more", version=8))
    a = EntityKey.of(WORKSPACE, "a")
    assert await backend.entities([a]) == [entity("a", "more", version=8)]
    found = await backend.relation(RelationKey.of(WORKSPACE, "a", "x", "b"))
    assert found == relation("a", "x", "b", version=4)
    assert set(await find(backend, vector=unit(1))) == {"a"}


async def test_nothing_is_found_at_fault_with_what_it_wrote(bench: Bench) -> None:
    """After writes of all kinds, a change of the model, and a tidying."""
    backend = await bench.open(MODEL)
    await put(
        backend, *(entity(f"e{i}", f"w{i} \N{PILE OF POO}") for i in range(30)), vectors=unit(1)
    )
    await put(backend, *(entity(f"e{i}", "other", version=2) for i in range(10)))
    await put(backend, entity("!?"), entity("ends", valid_from_ms=-(2**50), valid_to_ms=2**50))
    await relate(backend, *(relation(f"e{i}", "x", f"e{i // 2}") for i in range(30)))
    await backend.clear(Selection(scopes=(ANN,)))
    assert await backend.verify() == []
    before = await backend.stats()
    await backend.optimize()
    assert await backend.verify() == []
    after = await backend.stats()
    assert (after.entities, after.relations, after.vectors, after.dead) == (
        before.entities, before.relations, before.vectors, 0,
    )  # fmt: skip
    await bench.close(backend)


async def test_what_was_spoilt_is_found_and_mended(bench: Bench) -> None:
    """Afterwards all is well; what cannot be made anew is told again."""
    if isinstance(bench, ModelBench):
        return
    backend = await bench.open(MODEL)
    await put(backend, *(entity(f"e{i}", f"heron w{i}") for i in range(6)), vectors=unit(1))
    await relate(backend, *(relation(f"e{i}", "x", f"e{(i + 1) % 6}") for i in range(6)))
    await bench.close(backend)
    await bench.harm()
    backend = await bench.open(MODEL)
    faults = await backend.verify()
    assert faults
    assert all(fault.mended is bench.mends and fault.what for fault in faults)
    assert await backend.verify() == ([] if bench.mends else faults)
    there = set(await names(backend))
    assert set(await find(backend, "heron")) == there
    assert set(await find(backend, vector=unit(1))) == there
    for one in await every(backend.scan_relations(None)):
        assert {one.from_entity, one.to_entity} <= there
    await bench.close(backend)


async def test_what_is_closed_does_not_answer(bench: Bench) -> None:
    """It says so instead of waiting; closing twice is fine."""
    backend = await bench.open(MODEL)
    await put(backend, entity("a"))
    await bench.close(backend)
    with pytest.raises(MemoryUnavailable):
        await backend.entities([EntityKey.of(WORKSPACE, "a")])
    with pytest.raises(MemoryUnavailable):
        await put(backend, entity("b"))
    await backend.close()
