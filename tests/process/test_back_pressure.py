"""More comes in than is handled: senders are told to wait, over HTTP and in Python.

Nothing that was acknowledged is lost, and nothing that was refused is kept."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest_process import RunningNode

from caxton.api.drafts import draft
from caxton.client import AsyncClient
from caxton.errors import CaxtonError, QueueFull

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

Start = Callable[..., RunningNode]

FILE = """---
name: Slow
python: slow:Slow
capabilities: [slow]
---
Takes its time.
"""
CODE = """
import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path

from caxton import Agent

GATE = Path(__file__).parent.parent / "open"
OUT = Path(__file__).parent.parent / "handled"


class Slow(Agent):
    async def handle(self, message, context):
        while not GATE.exists():
            await asyncio.sleep(0.02)
        with OUT.open("a") as out:
            out.write(message.message_id.hex() + "\\n")
"""


def slow_node(folder: Path, start_node: Start) -> RunningNode:
    """A node whose one agent handles nothing before the file ``open`` is there."""
    agents = folder / "examples" / "agents"
    agents.mkdir(parents=True)
    (agents / "Slow.md").write_text(FILE)
    (agents / "slow.py").write_text(CODE)
    return start_node("--shards", "1", CAXTON_LIMITS_PENDING="1000")


async def test_a_full_node_says_when_to_come_again(tmp_path: Path, start_node: Start) -> None:
    """429 with Retry-After for who does not wait; the client of ours waits, and all is handled."""
    node = slow_node(tmp_path, start_node)
    async with AsyncClient(node.url, timeout=20.0, retry=0.0) as client:
        outcomes = await client.send_many([draft(str(n), to="Slow") for n in range(1_500)])
    refused = [one for one in outcomes if isinstance(one, CaxtonError)]
    taken = {
        one.message_id.replace("-", "") for one in outcomes if not isinstance(one, CaxtonError)
    }
    assert len(taken) >= 1_000
    assert refused
    assert {type(one) for one in refused} == {QueueFull}

    request = urllib.request.Request(
        f"{node.url}/api/v1/messages",
        json.dumps(draft("more", to="Slow")).encode(),
        {"Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        await asyncio.to_thread(urllib.request.urlopen, request, timeout=20)
    with caught.value as answer:
        assert answer.code == 429
        assert int(answer.headers["Retry-After"]) >= 1
        problem = json.load(answer)
    assert problem["code"] == "QUEUE_FULL"
    assert "1000" in problem["detail"]

    async with AsyncClient(node.url, timeout=20.0, retry=60.0) as client:
        late = asyncio.get_running_loop().create_task(client.send("late", to="Slow"))
        await asyncio.sleep(0.2)
        assert not late.done()
        (tmp_path / "examples" / "open").touch()
        taken.add((await late).message_id.replace("-", ""))
        handled: list[str] = []
        async with asyncio.timeout(60):
            while len(handled) < len(taken):
                await asyncio.sleep(0.05)
                found = tmp_path / "examples" / "handled"
                handled = found.read_text().split() if found.exists() else []
    assert set(handled) == taken
    assert len(handled) == len(taken)
