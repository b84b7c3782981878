"""What a shard has with another one, when the process of that is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from typing import Any

from caxton.message import encode, make_message
from caxton.processes.peers import Peer
from caxton.routing.accepted import Accepted
from caxton.types import new_id


class WireTap:
    """A link that keeps what is put on it."""

    def __init__(self) -> None:
        self.peer = "shard-1"
        self.frames: list[int] = []
        self.confirmed = 0
        self.withdrawn: list[int] = []

    def send(self, kind: int, payload: bytes) -> int:
        self.frames.append(kind)
        return len(self.frames)

    def withdraw(self, numbers: Container[int]) -> None:
        self.withdrawn = [one for one in range(1, len(self.frames) + 1) if one in numbers]


class Bare:
    """As much of a shard as a peer asks for."""

    roster: Any = None


async def test_what_a_dead_process_was_delivered_is_not_for_the_next() -> None:
    """Deliveries that were not confirmed are taken back, and those that wait; nothing else is."""
    link = WireTap()
    peer = Peer(link, Bare())  # type: ignore[arg-type]  # as much as is used
    assert peer.number == 1

    def deliver() -> None:
        message = make_message("inform", sender=new_id(), receiver=new_id(), content="x")
        accepted = Accepted(message, encode(message), 1, 0.0, None)  # type: ignore[arg-type]  # not settled
        accepted.target = message.receiver
        peer.outbound.deliver(accepted)

    for confirmed in (0, 1, 1):
        link.confirmed = confirmed
        deliver()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert len(link.frames) == 3
    peer.inbound.done(_Done(), [])  # type: ignore[arg-type]  # as much as is used
    await asyncio.sleep(0)
    assert len(link.frames) == 4
    deliver()
    peer.replaced()
    assert link.withdrawn == [2, 3]
    await asyncio.sleep(0)
    assert len(link.frames) == 4
    deliver()
    await asyncio.sleep(0)
    assert len(link.frames) == 5
    peer.replaced()
    assert link.withdrawn == [5]


class _Done:
    """What an agent handled for the other shard."""

    sequence = 9
    took_s = 0.0
    message = make_message("inform", sender=new_id(), receiver=new_id(), content="y")
