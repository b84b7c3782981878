"""A node stopped in good order and started again while messages come in."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest_process import RunningNode, until

from caxton.api.drafts import draft
from caxton.client import AsyncClient
from caxton.errors import CaxtonError, QueueFull
from caxton.types import new_id

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

Start = Callable[..., RunningNode]

FILE = """---
name: Recorder
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
        line = f"{message.conversation_id.hex()} {message.text} {message.message_id.hex()}\\n"
        os.write(OUT, line.encode())
"""
PART = 25
RESTARTS = 3


def handled(file: Path) -> list[tuple[str, int, str]]:
    """What the agent wrote down, in order."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [(key, int(number), one) for key, number, one in map(str.split, lines)]


async def load(url: str, acked: list[str], refused: list[CaxtonError], stop: asyncio.Event) -> None:
    """Messages in twenty conversations, each part after the acknowledgement of the one before."""
    conversations = [new_id() for _ in range(20)]
    number = 0
    async with AsyncClient(url, timeout=60.0, retry=60.0) as client:
        while not stop.is_set():
            number += 1
            key = conversations[number % len(conversations)]
            bodies = [
                draft(str(number * PART + n), to="Recorder", conversation_id=key)
                for n in range(PART)
            ]
            for outcome in await client.send_many(bodies):
                if isinstance(outcome, CaxtonError):
                    refused.append(outcome)
                else:
                    acked.append(outcome.message_id.replace("-", ""))


@pytest.mark.parametrize("durability", ["process", "disk"])
async def test_a_restart_under_load_loses_and_refuses_nothing(
    tmp_path: Path, start_node: Start, durability: str
) -> None:
    """Three times: every acknowledged message is handled once and in order, the clients wait, and
    what is refused at all is refused for want of room."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    agents = tmp_path / "examples" / "agents"
    agents.mkdir(parents=True)
    (agents / "Recorder.md").write_text(FILE)
    (agents / "recording.py").write_text(CODE)
    arguments = ("--shards", "2", "--durability", durability, "--port", port)
    node = await asyncio.to_thread(start_node, *arguments)
    acked: list[str] = []
    refused: list[CaxtonError] = []
    stop = asyncio.Event()
    async with asyncio.timeout(200), asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(load(node.url, acked, refused, stop))
        for _ in range(RESTARTS):
            wanted = len(acked) + 300
            while len(acked) < wanted:
                await asyncio.sleep(0.01)
            assert await asyncio.to_thread(node.end, timeout_s=60.0) == 0
            node = await asyncio.to_thread(start_node, *arguments)
        wanted = len(acked) + 300
        while len(acked) < wanted:
            await asyncio.sleep(0.01)
        stop.set()
    assert {type(one) for one in refused} <= {QueueFull}
    file = agents.parent / "handled.txt"
    promised = set(acked)
    await asyncio.to_thread(
        until, lambda: promised <= {one for _, _, one in handled(file)}, "all handled", 60.0
    )
    found = handled(file)
    times = Counter(one for _, _, one in found)
    assert set(times.values()) == {1}
    for key in {key for key, _, _ in found}:
        numbers = [number for other, number, _ in found if other == key]
        assert numbers == sorted(numbers)
    async with AsyncClient(node.url) as client:
        assert await client.dead_letters() == []
    assert node.end() == 0
