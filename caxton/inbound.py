"""The bounded channel in front of a node, for code that runs beside it.

``submit`` gives the ids of a message at once and sends it on; its acknowledgement is awaited apart.
At most ``limits.inbound`` messages are on their way at a time. A caller that finds the channel full
waits for room or is told so, as it chose; so does one whose message a shard has no room for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Final, Literal

from caxton.errors import CaxtonError, NodeNotReady, QueueFull, Timeout, ValidationError
from caxton.gateway import Gateway
from caxton.message import Message
from caxton.types import format_id
from caxton.views import Ack

__all__ = ["Inbound", "Submitted", "WhenFull"]

WhenFull = Literal["wait", "raise"]
"""What to do when there is no room: wait for it, or raise ``QueueFull``."""

FRAME: Final = 512
"""Messages that go to the shards together at most."""
AGAIN_S: Final = 0.05
"""Before a message that a shard had no room for is offered again, when the shard does not say."""
PATIENCE_S: Final = 30.0
"""How long room is waited for."""
_FULL: Final = frozenset({"QUEUE_FULL", "RATE_LIMITED", "STORAGE_FULL", "NODE_NOT_READY"})
"""Refusals that pass."""


class Submitted:
    """A message that is on its way. Awaiting it gives the acknowledgement, or raises why not."""

    __slots__ = ("_future", "conversation_id", "message", "message_id", "when_full")

    def __init__(self, message: Message, when_full: WhenFull) -> None:
        self.message = message
        self.message_id = format_id(message.message_id)
        self.conversation_id = format_id(message.conversation_id)
        self.when_full = when_full
        self._future: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()

    def __await__(self) -> Generator[object, None, Ack]:
        """Wait until the message is in the journal; a waiter that is cancelled leaves it there."""
        return asyncio.shield(self._future).__await__()

    @property
    def done(self) -> bool:
        """Whether it was acknowledged or refused."""
        return self._future.done()

    def settle(self, outcome: Ack | CaxtonError) -> None:
        """It was acknowledged, or refused."""
        if self._future.done():
            return
        if isinstance(outcome, Ack):
            self._future.set_result(outcome)
            return
        self._future.set_exception(outcome)
        # Who never looks at it must not be told by the garbage collector.
        self._future.exception()


class Inbound:
    """See the module.

    Args:
        send: has messages journaled; one outcome for each, in order.
        shard: which shard a message goes to; one does not wait for another.
        capacity: messages on their way at a time.
        patience_s: how long room is waited for.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Message]], Awaitable[Sequence[Ack | CaxtonError]]],
        shard: Callable[[Message], int],
        capacity: int,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.capacity = capacity
        self._send = send
        self._patience_s = patience_s
        self._under_way = 0
        self._shard = shard
        self._lanes: dict[int, deque[tuple[Submitted, float]]] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    def of(cls, gateway: Gateway, capacity: int) -> Inbound:
        """The channel into the shards behind a gateway."""
        shard = gateway.directory.shard
        return cls(gateway.submit, lambda message: shard(message.conversation_id), capacity)

    def __len__(self) -> int:
        return self._under_way

    async def submit(self, message: Message, when_full: WhenFull = "wait") -> Submitted:
        """Send a message on; returns once there is room for it.

        Raises:
            QueueFull: there is no room, and the caller does not wait.
            Timeout: there was none in 30 s.
        """
        if when_full not in ("wait", "raise"):
            raise ValidationError(field="when_full", value=when_full, allowed="wait or raise")
        if self._under_way >= self.capacity or self._waiting:
            if when_full == "raise":
                raise QueueFull(
                    queue="the inbound channel", depth=self._under_way, limit=self.capacity
                )
            await self._room()
        else:
            self._under_way += 1
        submitted = Submitted(message, when_full)
        loop = asyncio.get_running_loop()
        shard = self._shard(message)
        lane = self._lanes.get(shard)
        if lane is None:
            lane = self._lanes[shard] = deque()
            task = loop.create_task(self._run(shard, lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        lane.append((submitted, loop.time() + self._patience_s))
        return submitted

    async def _room(self) -> None:
        """Wait for a place, in the order of asking; it is taken on return."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            async with asyncio.timeout(self._patience_s):
                await future
        except BaseException as error:
            if future.done() and not future.cancelled():
                self._free()
            elif future in self._waiting:
                self._waiting.remove(future)
            if isinstance(error, TimeoutError):
                raise Timeout(
                    what="room in the inbound channel", timeout_ms=round(self._patience_s * 1_000)
                ) from None
            raise

    def _free(self) -> None:
        """A place is free: the first who waits gets it."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return
        self._under_way -= 1

    async def _run(self, shard: int, lane: deque[tuple[Submitted, float]]) -> None:
        """Send what waits for one shard, a frame at a time: what was refused goes again first, so
        that nothing of its conversation overtakes it."""
        loop = asyncio.get_running_loop()
        # What is submitted in this turn of the loop goes together.
        await asyncio.sleep(0)
        while lane:
            frame = [lane.popleft() for _ in range(min(FRAME, len(lane)))]
            try:
                outcomes = await self._send([one.message for one, _ in frame])
            except asyncio.CancelledError:
                lane.extendleft(reversed(frame))
                raise
            again: list[tuple[Submitted, float]] = []
            pause_s = 0.0
            for (one, deadline), outcome in zip(frame, outcomes, strict=True):
                if (
                    isinstance(outcome, CaxtonError)
                    and outcome.code in _FULL
                    and one.when_full == "wait"
                    and loop.time() < deadline
                ):
                    again.append((one, deadline))
                    told = outcome.fields.get("retry_after_ms")
                    after_s = told / 1_000 if isinstance(told, int) else AGAIN_S
                    pause_s = max(pause_s, after_s)
                    continue
                one.settle(outcome)
                self._free()
            if again:
                lane.extendleft(reversed(again))
                await asyncio.sleep(min(1.0, pause_s))
        del self._lanes[shard]

    async def close(self) -> None:
        """Let go of what is on its way: its outcome is not known."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self._lanes.values():
            for one, _ in lane:
                one.settle(NodeNotReady(part="the node, which stops,"))
        self._lanes.clear()
