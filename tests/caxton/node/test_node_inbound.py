"""The channel in front of a node: ids at once, bounded, waiting or raising, in order."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from pathlib import Path

import pytest
from test_node_inside import config

from caxton import Node
from caxton.errors import (
    AgentNotFound,
    CaxtonError,
    NodeNotReady,
    QueueFull,
    RateLimited,
    Timeout,
    ValidationError,
)
from caxton.inbound import Inbound, Submitted
from caxton.message import Message, make_message
from caxton.types import format_id, new_id
from caxton.views import Ack

SENDER, RECEIVER = new_id(), new_id()


def message(text: str = "x", conversation: bytes | None = None) -> Message:
    return make_message(
        "inform", sender=SENDER, receiver=RECEIVER, content=text, conversation_id=conversation
    )


class Shards:
    """Takes frames; answers them when the test says so."""

    def __init__(self) -> None:
        self.frames: list[list[str]] = []
        self.refuse: dict[str, CaxtonError] = {}
        self.open = asyncio.Event()
        self.open.set()

    async def send(self, messages: Sequence[Message]) -> list[Ack | CaxtonError]:
        self.frames.append([one.text for one in messages])
        await self.open.wait()
        return [
            self.refuse.pop(one.text, None)
            or Ack(format_id(one.message_id), format_id(one.conversation_id), "disk", 0)
            for one in messages
        ]

    def channel(self, capacity: int = 4, patience_s: float = 5.0) -> Inbound:
        return Inbound(
            self.send, lambda one: one.conversation_id[-1] % 2, capacity, patience_s=patience_s
        )


@pytest.fixture
async def shards() -> Shards:
    return Shards()


async def test_ids_are_there_before_the_acknowledgement(shards: Shards) -> None:
    """Awaiting gives the ack, as often as one likes; what is sent in one turn goes together."""
    channel = shards.channel()
    key = new_id()
    sent = [await channel.submit(message(str(n), key)) for n in range(3)]
    assert len(channel) == 3
    assert not sent[0].done
    assert sent[0].conversation_id == format_id(key)
    ack = await sent[2]
    assert ack.message_id == sent[2].message_id
    assert await sent[2] == ack
    assert shards.frames == [["0", "1", "2"]]
    assert len(channel) == 0
    await channel.close()


async def test_a_full_channel_waits_or_raises(shards: Shards) -> None:
    """In the order of asking; a waiter that gives up takes no place."""
    shards.open.clear()
    channel = shards.channel(capacity=2)
    for _ in range(2):
        await channel.submit(message())
    with pytest.raises(QueueFull, match="inbound channel"):
        await channel.submit(message(), "raise")
    waiting = [asyncio.create_task(channel.submit(message(str(n)))) for n in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]
    shards.open.set()
    assert (await (await waiting[0])).durability == "disk"
    await (await waiting[2])
    assert len(channel) == 0
    with pytest.raises(ValidationError, match="when_full"):
        await channel.submit(message(), "later")  # type: ignore[arg-type]  # what is tested
    await channel.close()


async def test_room_is_not_waited_for_without_end(shards: Shards) -> None:
    """Timeout, and the place stays with who has it."""
    shards.open.clear()
    channel = shards.channel(capacity=1, patience_s=0.02)
    first = await channel.submit(message())
    with pytest.raises(Timeout, match="room"):
        await channel.submit(message())
    shards.open.set()
    await first
    assert len(channel) == 0
    await channel.close()


async def test_what_a_shard_has_no_room_for_goes_again(shards: Shards) -> None:
    """In front of what came later; a refusal that does not pass is told."""
    channel = shards.channel(capacity=8)
    key = new_id()
    shards.refuse = {
        "0": QueueFull(queue="q", depth=1, limit=1),
        "1": RateLimited(sender="s", limit=1, retry_after_ms=10),
        "3": AgentNotFound(agent="a", near=""),
    }
    sent = [await channel.submit(message(str(n), key)) for n in range(2)]
    await asyncio.sleep(0.005)
    sent += [await channel.submit(message(str(n), key)) for n in range(2, 4)]
    await sent[0]
    await sent[2]
    with pytest.raises(AgentNotFound):
        await sent[3]
    assert shards.frames == [["0", "1"], ["0", "1", "2", "3"]]
    shards.refuse = {"raised": QueueFull(queue="q", depth=1, limit=1)}
    with pytest.raises(QueueFull):
        await (await channel.submit(message("raised"), "raise"))
    shards.refuse = {"unseen": AgentNotFound(agent="a", near="")}
    unseen: Submitted | None = await channel.submit(message("unseen"))
    await asyncio.sleep(0.01)
    assert unseen is not None
    assert unseen.done
    unseen = None
    gc.collect()
    await channel.close()


async def test_a_refusal_that_lasts_is_told(shards: Shards) -> None:
    """After as long as room is waited for."""

    async def full(messages: Sequence[Message]) -> list[Ack | CaxtonError]:
        return [QueueFull(queue="q", depth=1, limit=1) for _ in messages]

    channel = Inbound(full, lambda one: 0, 4, patience_s=0.05)
    with pytest.raises(QueueFull):
        await (await channel.submit(message()))
    await channel.close()


async def test_a_channel_that_closes_tells_who_waits(shards: Shards) -> None:
    """What was on its way may or may not be in the journal."""
    shards.open.clear()
    channel = shards.channel()
    sent = await channel.submit(message())
    await asyncio.sleep(0.002)
    await channel.close()
    with pytest.raises(NodeNotReady, match="stops"):
        await sent


async def test_a_node_takes_many(tmp_path: Path) -> None:
    """More than there is room for at once; all are acknowledged and handled, in order."""
    async with Node(config(tmp_path, limits_inbound=50)) as node:
        key = new_id()
        echo = node.gateway.agent_id("Echo")
        messages = [
            make_message(
                "request", sender=node.gateway.identity, receiver=echo, content=str(n),
                conversation_id=key,
            )
            for n in range(300)
        ]  # fmt: skip
        sent = await node.submit_many(messages)
        acks = [await one for one in sent]
        assert [one.message_id for one in acks] == [format_id(m.message_id) for m in messages]
        again = await (await node.submit(messages[0], when_full="raise"))
        assert again.duplicate
        detail = await node.conversation(key)
        requests = [m.message for m in detail.messages if m.message["performative"] == "request"]
        said = [one["content"] for one in requests]
        assert said == [str(n) for n in range(300)]
