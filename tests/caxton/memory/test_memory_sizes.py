"""Pages and walks end before they are too large for a message between processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from memory_services import Desk

from caxton.memory import pages
from caxton.memory.backend import PutEntity, PutRelation
from caxton.memory.client import Memory
from caxton.memory.embedded.backend import EmbeddedBackend
from caxton.memory.model import WORKSPACE, Entity, Observation, Relation
from caxton.memory.requests import ListEntities
from caxton.memory.service import MemoryService
from caxton.memory.wire import encode_answer

LARGE = 200
MB = 1_000_000


async def filled(folder: Path) -> tuple[MemoryService, Memory]:
    """200 entities of 1 MB around a small one."""
    backend = EmbeddedBackend(folder, map_bytes=1 << 31, disk=False)
    await backend.start(None)
    hub = Entity(WORKSPACE, "hub", "x")
    await backend.write([PutEntity(hub)])
    for number in range(LARGE):
        text = f"{number} " + "y" * MB
        one = Entity(WORKSPACE, f"n{number:03}", "x", (Observation(text, 0),))
        link = Relation(WORKSPACE, "hub", one.entity_name, "has")
        await backend.write([PutEntity(one), PutRelation(link)])
    service = MemoryService(backend)
    await service.start()
    return service, Memory(service.answer)


async def test_200_entities_of_a_megabyte(tmp_path: Path) -> None:
    """Listed, exported and walked over: nothing is lost, no page is over 8 MiB."""
    service, memory = await filled(tmp_path)
    most = pages.BYTES + 4_096
    listed: list[str] = []
    exported: list[str] = []
    count, token = 0, ""
    while True:
        page = await memory.ask(ListEntities(limit=1_000, page_token=token))
        assert len(encode_answer(page)) <= most
        assert page.entities
        listed += [one.entity_name for one in page.entities]
        count, token = count + 1, page.next_page_token
        if not token:
            break
    assert count >= LARGE * MB // pages.BYTES
    async for one in memory.export():
        assert len(encode_answer(one)) <= most
        exported += [item.entity.entity_name for item in one.entities]
    wanted = ["hub", *(f"n{number:03}" for number in range(LARGE))]
    assert sorted(listed) == sorted(exported) == wanted
    assert len(set(listed)) == len(set(exported)) == LARGE + 1

    graph = await memory.graph("hub", max_nodes=10_000)
    assert len(encode_answer(graph)) <= most
    assert graph.truncated
    names = {node.entity_name for node in graph.nodes}
    assert len(graph.nodes) == len(graph.depths) == 8 + 1
    assert {edge.to_entity for edge in graph.edges} == names - {"hub"}
    bare = await memory.graph("hub", max_nodes=10_000, include_observations=False)
    assert not bare.truncated
    assert len(bare.nodes) == len(bare.edges) + 1 == LARGE + 1
    await service.close()


async def test_one_that_is_larger_than_a_page_has_one_of_its_own(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also over a restart, when the scan that waited is gone."""
    monkeypatch.setattr(pages, "BYTES", 3_000)
    for number in range(6):
        await desk.store(f"e{number}", "x", ["y" * (10_000 if number == 3 else 600)])
    found, token = [], ""
    while True:
        page = await desk.ask(ListEntities(limit=4, page_token=token))
        found.append([one.entity_name for one in page.entities])
        token = page.next_page_token
        if not token:
            break
        await desk.service._exporting.close()
    assert found == [["e0", "e1", "e2"], ["e3"], ["e4", "e5"]]


async def test_vectors_count_and_relations_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an export."""
    monkeypatch.setattr(pages, "BYTES", 3_000)
    for number in range(12):
        await desk.store(f"e{number:02}", "x")
    for number in range(1, 12):
        await desk.relate("e00", "has", f"e{number:02}", metadata={"text": "z" * 700})

    async def walked(*, vectors: bool) -> list[tuple[int, int]]:
        return [
            (len(page.entities), len(page.relations))
            async for page in desk.export(include_embeddings=vectors)
        ]

    plain, full = await walked(vectors=False), await walked(vectors=True)
    for one in (plain, full):
        assert sum(entities for entities, _ in one) == 12
        assert sum(relations for _, relations in one) == 11
        assert max(relations for _, relations in one) == 3
    assert len(full) > len(plain)
