"""The memory process of a real node: it starts when it is asked, and is killed under load."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from caxton import Config, Node
from caxton.errors import CaxtonError, MemoryUnavailable, NotAuthorized
from caxton.memory.requests import Search
from caxton.storage.audit import AuditReader

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

DEADLINE_S = 120.0
KILLS = 4

AGENT = """---
name: Keeper
python: keeper:Keeper
memory: {enabled: true, scope: workspace}
---
Keeps what it is told.
"""
CODE = """
from caxton import Agent


class Keeper(Agent):
    async def handle(self, message, context):
        stored = await self.memory.store(message.text, "word", [f"{message.text} was said"])
        return stored.entity.scope.key
"""


def config(folder: Path, **more: object) -> Config:
    agents = folder / "agents"
    agents.mkdir(exist_ok=True)
    (agents / "keeper.md").write_text(AGENT)
    (agents / "keeper.py").write_text(CODE)
    return Config(
        agents=agents,
        data=folder / "data",
        workspace=folder,
        watch=False,
        **{"shards": 2, "memory_engine": "none", **more},  # type: ignore[arg-type]
    )


async def memory_pid(node: Node) -> int | None:
    """Process of the memory, when it runs."""
    view = await node.status()
    found = [one.pid for one in view.processes if one.name == "memory" and one.state == "ready"]
    return found[0] if found else None


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition of this process."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"{what} did not happen within {DEADLINE_S:.0f} s")


@pytest.mark.parametrize("shards", [0, 2])
async def test_agents_and_programs_share_one_memory(tmp_path: Path, shards: int) -> None:
    """Started by the first question only; kept from one start to the next."""
    async with Node(config(tmp_path, shards=shards)) as node:
        assert await memory_pid(node) is None
        assert not (tmp_path / "data" / "memory").exists() or shards == 0
        reply = await node.request("heron", to="Keeper", timeout_ms=60_000)
        assert reply.text == "workspace"
        found = await node.memory.search("heron")
        assert [hit.entity.entity_name for hit in found.results] == ["heron"]
        assert not found.semantic
        with pytest.raises(NotAuthorized):
            await node.memory.of("Keeper").search("heron", memory_scope="global")
        await node.memory.of("Keeper").store("mine", "word", memory_scope="agent")
        assert (await memory_pid(node) is None) is (shards == 0)
        changed = await node.memory.configure(recency_weight=0.25)
        assert changed.changed == ("recency_weight",)
        with pytest.raises(NotAuthorized):
            await node.memory.of("Keeper").config()
    with contextlib.closing(AuditReader(tmp_path / "data")) as trail:
        noted = [one.detail for one in trail.newest(10, "memory.configured")]
    assert noted == ["recency_weight=0.25"]
    async with Node(config(tmp_path, shards=shards)) as node:
        assert await node.memory.config() == changed
        opened = await node.memory.open("heron", "mine")
        assert [one.scope.key for one in opened.entities] == ["workspace", "agent:keeper"]


async def test_a_node_without_a_memory(tmp_path: Path) -> None:
    """Says so; its agents have none."""
    async with Node(config(tmp_path, shards=0, memory_enabled=False)) as node:
        with pytest.raises(MemoryUnavailable, match=r"memory\.enabled"):
            _ = node.memory
        assert node.gateway.memory is None


async def test_what_was_acknowledged_survives_kills(tmp_path: Path) -> None:
    """Writers go on as soon as the process is there again; nothing acknowledged is lost, and
    nothing is there half."""
    acknowledged: set[str] = set()
    refused: list[CaxtonError] = []
    stop = asyncio.Event()

    async def writer(node: Node, number: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            name = f"e{number}-{count}"
            try:
                await node.memory.store(name, "word", [f"said {name}"], metadata={"n": count})
            except CaxtonError as error:
                refused.append(error)
                await asyncio.sleep(0.01)
            else:
                acknowledged.add(name)

    async with Node(config(tmp_path)) as node:
        await node.memory.stats()
        writers = [asyncio.ensure_future(writer(node, number)) for number in range(8)]
        for _ in range(KILLS):
            enough = len(acknowledged) + 40
            await until(lambda enough=enough: len(acknowledged) >= enough, "forty writes")  # type: ignore[misc]
            pid = await memory_pid(node)
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        enough = len(acknowledged) + 40
        await until(lambda: len(acknowledged) >= enough, "forty writes after the last kill")
        stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*writers)
        assert refused
        assert all(isinstance(one, MemoryUnavailable) and one.retryable for one in refused)
        there = {}
        token = ""
        while True:
            page = await node.memory.list(limit=500, page_token=token)
            there.update({one.entity_name: one for one in page.entities})
            token = page.next_page_token
            if not token:
                break
        assert acknowledged <= set(there)
        # One write of each writer may have been under way at each kill.
        assert len(set(there) - acknowledged) <= len(refused)
        assert all(len(one.observations) == 1 and one.version == 1 for one in there.values())
        assert (await node.memory.verify()).faults == ()


async def test_who_stops_to_wait_stops_the_work(tmp_path: Path) -> None:
    """The question is cancelled in the other process; later ones are answered."""
    async with Node(config(tmp_path)) as node:
        await node.memory.store("a", "word", ["heron"])
        questions = [
            asyncio.ensure_future(node.memory.ask(Search(query="heron"))) for _ in range(50)
        ]
        await asyncio.sleep(0)
        for one in questions:
            one.cancel()
        await asyncio.gather(*questions, return_exceptions=True)
        assert len((await node.memory.search("heron")).results) == 1
