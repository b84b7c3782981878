"""Agents drained, stopped and started under load, in a node of several processes."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest_process import RunningNode, until

from caxton.api.drafts import draft
from caxton.client import AsyncClient
from caxton.errors import CaxtonError
from caxton.message import DeliveryOptions
from caxton.types import new_id

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

Start = Callable[..., RunningNode]

FILE = """---
name: {name}
capabilities: [recording]
python: recording:Recording
---
Writes down what it handles.
"""
CODE = """
import asyncio
import os
from pathlib import Path

from caxton import Agent

OUT = os.open(Path(__file__).parent.parent / "handled.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


class Recording(Agent):
    async def handle(self, message, context):
        await asyncio.sleep(0.001)
        os.write(OUT, f"{context.agent_name} {message.message_id.hex()}\\n".encode())
        return None
"""


def recorders(node: RunningNode, *names: str) -> Path:
    """Put recording agents into the folder of a node; returns where they write."""
    (node.agents / "recording.py").write_text(CODE)
    for name in names:
        (node.agents / f"{name}.md").write_text(FILE.format(name=name))
    until(
        lambda: node.caxton("agent", "ls", "--state", "running", "-o", "name").stdout.split().count(
            names[-1]
        ),
        "the agents to run",
    )  # fmt: skip
    return node.agents.parent / "handled.txt"


def handled(file: Path) -> Counter[str]:
    lines = file.read_text().split("\n") if file.exists() else []
    return Counter(line.split()[1] for line in lines if line)


class Load:
    """Messages at a steady pace, each in one of a few conversations."""

    def __init__(self, url: str, **address: str) -> None:
        self.url = url
        self.address = address
        self.acked: list[str] = []
        self.refused: list[CaxtonError] = []
        self.stop = asyncio.Event()
        self._conversations = [new_id() for _ in range(20)]

    async def run(self) -> None:
        number = 0
        async with AsyncClient(self.url) as client:
            while not self.stop.is_set():
                number += 1
                bodies = [
                    draft(
                        str(number),
                        performative="inform",
                        conversation_id=self._conversations[number % 20],
                        options=DeliveryOptions(max_retries=10),
                        **self.address,
                    )
                    for _ in range(5)
                ]
                for outcome in await client.send_many(bodies):
                    if isinstance(outcome, CaxtonError):
                        self.refused.append(outcome)
                    else:
                        self.acked.append(outcome.message_id.replace("-", ""))
                await asyncio.sleep(0.01)


async def _more(load: Load, count: int) -> None:
    wanted = len(load.acked) + count
    async with asyncio.timeout(60):
        while len(load.acked) < wanted:
            await asyncio.sleep(0.01)


async def _state(client: AsyncClient, name: str, wanted: str) -> None:
    async with asyncio.timeout(30):
        while (await client.agent(name)).state != wanted:
            await asyncio.sleep(0.02)


async def test_an_agent_is_drained_and_started_under_load(start_node: Start) -> None:
    """Every acknowledged message is handled, once; nothing is refused and no letter is dead."""
    node = start_node("--shards", "2", "--durability", "process")
    file = await asyncio.to_thread(recorders, node, "First")
    load = Load(node.url, to="First")
    async with AsyncClient(node.url) as client, asyncio.TaskGroup() as group:
        group.create_task(load.run())
        for action in ("drain", "stop"):
            await _more(load, 200)
            await client.registry.order("First", action)
            await _state(client, "First", "stopped")
            await _more(load, 50)
            await client.registry.order("First", "start")
        await _more(load, 200)
        load.stop.set()
    assert load.refused == []
    wanted = set(load.acked)
    await asyncio.to_thread(until, lambda: wanted <= set(handled(file)), "all handled", 60.0)
    found = handled(file)
    assert set(found) == wanted
    async with AsyncClient(node.url) as client:
        assert await client.dead_letters() == []
    told = (await asyncio.to_thread(node.caxton, "audit", "show", "-o", "jsonl")).stdout
    assert {"agent.registered", "agent.held", "agent.released", "agent.state"} <= {
        json.loads(line)["event"] for line in told.splitlines()
    }
    assert (
        "each as it was written" in (await asyncio.to_thread(node.caxton, "audit", "verify")).stdout
    )
    assert node.end() == 0


async def test_a_capability_goes_on_while_its_providers_come_and_go(start_node: Start) -> None:
    """Drained providers are passed over, over a killed shard too; nothing is lost or doubled."""
    node = start_node("--shards", "2", "--durability", "process")
    names = ("First", "Second", "Third")
    file = await asyncio.to_thread(recorders, node, *names)
    load = Load(node.url, capability="recording")
    async with AsyncClient(node.url) as client, asyncio.TaskGroup() as group:
        await client.registry.set_strategy("recording", "round_robin")
        group.create_task(load.run())
        for name in names:
            await _more(load, 150)
            await client.registry.order(name, "drain")
            await _state(client, name, "stopped")
            await _more(load, 150)
            await client.registry.order(name, "start")
        shard = next(
            one for one in node.family() if one.cmdline() and one.cmdline()[0] == "caxton shard-1"
        )
        shard.send_signal(signal.SIGKILL)
        await _more(load, 150)
        load.stop.set()
    assert load.refused == []
    wanted = set(load.acked)
    await asyncio.to_thread(until, lambda: wanted <= set(handled(file)), "all handled", 60.0)
    assert set(handled(file)) == wanted
    by_agent = Counter(line.split()[0] for line in file.read_text().split("\n") if line)
    assert set(by_agent) == set(names)
    async with AsyncClient(node.url) as client:
        assert await client.dead_letters() == []
    assert node.end() == 0
