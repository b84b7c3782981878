"""A message that kills the process which handles it, the first time it is ever seen."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from caxton import Config, Node
from caxton.types import named_id, new_id

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

FILE = """---
name: Fragile
python: fragile:Fragile
---
Falls over.
"""
CODE = """
import os
import signal

from caxton import Agent


class Fragile(Agent):
    def handle(self, message, context):
        if message.text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return "alive"
"""


@pytest.mark.parametrize("durability", ["process", "disk"])
async def test_a_message_that_kills_its_process_at_once_is_found_out(
    tmp_path: Path, durability: str
) -> None:
    """It dies with its process before it is in the journal, and its sender sends it again: it is
    acknowledged all the same, becomes a dead letter after a few deaths, and the others go on."""
    agents = tmp_path / "agents"
    agents.mkdir()
    (agents / "Fragile.md").write_text(FILE)
    (agents / "fragile.py").write_text(CODE)
    config = Config(
        agents=agents, data=tmp_path / "data", shards=1, durability=durability, watch=False
    )
    async with Node(config) as node:
        assert (await node.request("hi", to="Fragile")).text == "alive"
        ack = await node.send("die", to="Fragile")
        assert (await node.request("hi", to="Fragile", timeout_ms=60_000)).text == "alive"
        async with asyncio.timeout(60):
            while not (letters := await node.gateway.dead_letters(10)):
                await asyncio.sleep(0.05)
        assert [one.message_id for one in letters] == [ack.message_id]
        assert letters[0].reason == "POISON_MESSAGE"


async def test_one_that_kills_another_shards_process_is_found_out(tmp_path: Path) -> None:
    """Among others of the shard that sent it, none of which is taken for it."""
    agents = tmp_path / "agents"
    agents.mkdir()
    (agents / "Fragile.md").write_text(FILE)
    (agents / "fragile.py").write_text(CODE)
    config = Config(
        agents=agents, data=tmp_path / "data", shards=2, durability="process", watch=False
    )
    async with Node(config) as node:
        assert (await node.request("hi", to="Fragile")).text == "alive"
        directory = node.gateway.directory
        there = directory.shard(named_id(directory.node_id, "Fragile"))
        elsewhere = (key for key in iter(new_id, b"") if directory.shard(key) != there)
        texts = ["hi"] * 12 + ["die"] + ["hi"] * 12
        acks = await asyncio.gather(
            *(node.send(text, to="Fragile", conversation_id=next(elsewhere)) for text in texts)
        )
        async with asyncio.timeout(90):
            while not (letters := await node.gateway.dead_letters(10)):
                await asyncio.sleep(0.05)
        assert [one.message_id for one in letters] == [acks[12].message_id]
        assert letters[0].reason == "POISON_MESSAGE"
        assert (await node.request("hi", to="Fragile", timeout_ms=60_000)).text == "alive"
        assert len(await node.gateway.dead_letters(10)) == 1
