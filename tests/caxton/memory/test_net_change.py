"""What a list of changes comes to."""

from __future__ import annotations

import asyncio

import pytest

from caxton.errors import EntityConflict
from caxton.memory.backend import (
    DeleteEntity,
    DeleteRelation,
    PutEntity,
    PutRelation,
)
from caxton.memory.gate import Gate
from caxton.memory.model import WORKSPACE, Entity, EntityKey, Relation, RelationKey
from caxton.memory.net_change import Known, net_change, touched

A, B = EntityKey.of(WORKSPACE, "a"), EntityKey.of(WORKSPACE, "b")
AB = RelationKey.of(WORKSPACE, "a", "x", "b")


def entity(name: str, version: int = 1) -> Entity:
    """An entity of the workspace."""
    return Entity(WORKSPACE, name, "thing", version=version)


def relation(version: int = 1) -> Relation:
    """From a to b."""
    return Relation(WORKSPACE, "a", "b", "x", version=version)


def test_what_changes_depend_on_is_looked_up_once() -> None:
    """Ends of relations too; not those of relations that go."""
    on = touched([PutRelation(relation()), PutEntity(entity("A")), DeleteRelation(AB)])
    assert on.entities == (A, B)
    assert on.relations == (AB,)


def test_nothing_is_left_of_what_comes_and_goes() -> None:
    """An entity put and deleted again, with a relation."""
    change = net_change(
        [PutEntity(entity("a")), PutRelation(relation()), DeleteEntity(A)], Known({B: 1}, {})
    )
    assert change.parts == 0


def test_a_deleted_entity_takes_its_relations_along() -> None:
    """Within the same write: the relation begins at version 1 again."""
    known = Known({A: 3, B: 1}, {AB: 5})
    again = [DeleteEntity(A), PutEntity(entity("a")), PutRelation(relation())]
    change = net_change(again, known)
    assert change.removed_entities == (A,)
    assert [one.keeps for one in change.entities] == [False]
    assert change.relations == (relation(),)
    with pytest.raises(EntityConflict, match="version 6 of what is not there"):
        net_change([*again[:2], PutRelation(relation(6))], known)


async def test_the_gate_lets_in_readers_together_and_writers_alone() -> None:
    """In the order in which they came, so that neither waits forever."""
    gate, log = Gate(), list[str]()
    first, second = asyncio.Event(), asyncio.Event()

    async def read(name: str, until: asyncio.Event) -> None:
        async with gate.reading():
            log.append(f"+{name}")
            await until.wait()
            log.append(f"-{name}")

    async def write(name: str) -> None:
        async with gate.writing():
            log.append(f"+{name}")
            await asyncio.sleep(0)
            log.append(f"-{name}")

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(read("r1", first))
        tasks.create_task(read("r2", first))
        await asyncio.sleep(0)
        tasks.create_task(write("w1"))
        await asyncio.sleep(0)
        gone = tasks.create_task(write("never"))
        tasks.create_task(read("r3", second))
        await asyncio.sleep(0)
        assert log == ["+r1", "+r2"]
        gone.cancel()
        await asyncio.sleep(0)
        first.set()
        second.set()
    assert log[2:] in (
        ["-r1", "-r2", "+w1", "-w1", "+r3", "-r3"],
        ["-r2", "-r1", "+w1", "-w1", "+r3", "-r3"],
    )
    async with asyncio.timeout(1), gate.writing():
        pass


async def test_a_turn_that_is_given_up_as_it_comes_is_passed_on() -> None:
    """Who is cancelled with the gate just given leaves it again."""
    gate = Gate()

    async def write() -> None:
        async with gate.writing():
            await asyncio.sleep(0)

    async with asyncio.timeout(10):
        async with gate.reading():
            waiting = asyncio.create_task(write())
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with gate.writing():
            pass
