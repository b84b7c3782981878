"""Deliveries between shards: a conversation's shard hands a message to the agent's shard.

The message stays pending at its conversation's shard until the outcome is committed there. The
agent's shard remembers the outcomes it gave: when the other one was replaced before it committed
them, the same deliveries come again and get the same outcome without being handled twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from caxton.errors import AgentNotFound, CaxtonError, QueueFull, ValidationError
from caxton.links.chunks import chunks
from caxton.links.wire import Deliver, Settled
from caxton.message import Message, decode, encode
from caxton.routing.accepted import Accepted
from caxton.routing.ports import LocalAgents
from caxton.types import format_id

__all__ = ["Inbound", "Outbound"]

logger = logging.getLogger("caxton.links")

AGAIN_S = 0.25
"""Before a link that was full is tried again."""
TOLD_S = 1.0
"""Handling that took less is not told: it is slow for nobody."""
REMEMBERED = 65_536
"""Outcomes kept per link for a repeated delivery."""


_Item = tuple[int, int, bytes, bytes, msgspec.Raw]


class Outbound:
    """Deliveries of this shard to one other shard, a frame per turn of the event loop."""

    def __init__(self, send: Callable[[msgspec.Struct], None]) -> None:
        self._send = send
        self._items: list[_Item] = []
        self._sampled: set[int] = set()

    def deliver(self, accepted: Accepted) -> None:
        """Have the other shard's agent handle it."""
        if not self._items:
            asyncio.get_running_loop().call_soon(self._flush)
        agent_id = accepted.target or b""
        if accepted.sampled:
            self._sampled.add(accepted.sequence)
        self._items.append(
            (
                accepted.sequence,
                accepted.delivery_count,
                agent_id,
                accepted.resumes,
                msgspec.Raw(accepted.raw),
            )
        )

    def forget(self) -> None:
        """Send nothing of what waits here."""
        self._items.clear()
        self._sampled.clear()

    def _flush(self) -> None:
        items, self._items = self._items, []
        unsent = len(items)
        try:
            for part in chunks(items, _size):
                sampled = self._sampled.intersection(one[0] for one in part)
                self._send(Deliver(list(part), list(sampled)))
                self._sampled -= sampled
                unsent -= len(part)
        except QueueFull:
            # The other shard takes nothing now; the journal keeps what waits here.
            self._items = items[len(items) - unsent :] + self._items
            asyncio.get_running_loop().call_later(AGAIN_S, self._flush)


class _Handling:
    """A message that another shard wants handled here."""

    __slots__ = ("_inbound", "delivery_count", "message", "resumes", "sampled", "sequence",
                 "took_s")  # fmt: skip

    def __init__(
        self,
        inbound: Inbound,
        sequence: int,
        message: Message,
        delivery_count: int,
        resumes: bytes,
        sampled: bool,
    ) -> None:
        self._inbound = inbound
        self.sequence = sequence
        self.message = message
        self.delivery_count = delivery_count
        self.resumes = resumes
        self.sampled = sampled
        self.took_s = 0.0

    def done(self, outputs: Sequence[Message]) -> None:
        """Handled."""
        self._inbound.done(self, [encode(one) for one in outputs])

    def failed(self, error: CaxtonError, traceback: str) -> None:
        """Not handled this time."""
        self._inbound.failed(self, error, traceback)


class Inbound:
    """Deliveries of one other shard to agents of this one.

    What is in handling, and what was handled, is known by message id: a shard that lost its
    uncommitted tail delivers those messages again under other numbers.

    Args:
        send: puts a sentence on the link.
        agents: the agents of this shard.
    """

    def __init__(
        self,
        send: Callable[[msgspec.Struct], None],
        agents: LocalAgents,
    ) -> None:
        self._send = send
        self._agents = agents
        self._handling: dict[bytes, _Handling] = {}
        self._outcomes: OrderedDict[bytes, list[bytes]] = OrderedDict()
        self._done: list[tuple[int, bytes, list[bytes]]] = []
        self._failed: list[tuple[int, bytes, str, dict[str, Any], str]] = []
        self._took: dict[bytes, int] = {}
        self._scheduled = False

    def take(self, sentence: Deliver) -> None:
        """Give a frame of deliveries to their agents."""
        for sequence, count, agent_id, resumes, raw in sentence.items:
            try:
                message = decode(raw)
            except ValidationError as error:
                logger.error("a delivery does not decode: %s", error)
                continue
            key: bytes = message.message_id
            under_way = self._handling.get(key)
            if under_way is not None:
                under_way.sequence = sequence
                continue
            outcome = self._outcomes.get(key)
            if outcome is not None:
                self._done.append((sequence, key, outcome))
                self._schedule()
                continue
            handling = self._handling[key] = _Handling(
                self, sequence, message, count, resumes, sequence in sentence.sampled
            )
            if not self._agents.put(agent_id, handling):
                handling.failed(AgentNotFound(agent=format_id(agent_id), near=""), "")

    def done(self, handling: _Handling, outputs: list[bytes]) -> None:
        """Report a success, and remember it."""
        key: bytes = handling.message.message_id
        self._handling.pop(key, None)
        self._done.append((handling.sequence, key, outputs))
        if handling.took_s >= TOLD_S:
            self._took[key] = round(handling.took_s * 1_000)
        self._outcomes[key] = outputs
        if len(self._outcomes) > REMEMBERED:
            self._outcomes.popitem(last=False)
        self._schedule()

    def failed(self, handling: _Handling, error: CaxtonError, traceback: str) -> None:
        """Report a failure; the message may come again."""
        key: bytes = handling.message.message_id
        self._handling.pop(key, None)
        self._failed.append((handling.sequence, key, error.code, error.fields, traceback))
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        done, self._done = self._done, []
        failed, self._failed = self._failed, []
        while done or failed:
            part = next(iter(chunks(done, _outputs_size)), [])
            try:
                self._send(Settled(list(part), failed, self._took))
            except QueueFull:
                self._done = [*done, *self._done]
                self._failed = [*failed, *self._failed]
                self._scheduled = True
                asyncio.get_running_loop().call_later(AGAIN_S, self._flush)
                return
            done, failed = done[len(part) :], []
            self._took = {}


def _size(item: _Item) -> int:
    return len(memoryview(item[4]))


def _outputs_size(item: tuple[int, bytes, list[bytes]]) -> int:
    return sum(map(len, item[2]))
