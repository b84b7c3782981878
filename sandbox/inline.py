"""Isolation level *inline*: an agent module in this process.

Only for modules whose imports are all the sandbox's own non-blocking host functions, which
``Module.level`` has established: fuel and epochs stop everything such a module can do.

A call begins on the event loop's own thread: the way to another one and back costs ten times what
a short call does. A guest that is not done after a short slice of fuel goes on on a thread made for
guests, and so do its next calls until it has been quick for a while. What guests do on the loop in
one of its turns is bounded as well: calls beyond that wait for the next turn.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from sandbox.engine import AgentInstance, GuestReply, Rest
from sandbox.errors import Reason, SandboxError
from sandbox.guest_threads import GuestThreads

__all__ = ["InlineGuest", "LoopTurn"]

TURN_S: Final = 0.001
"""How long guests may run in one turn of the loop, in seconds; the last call may exceed it."""

AT_ONCE: Final = 8
"""Most calls of those that waited for a turn that go on in one."""


class LoopTurn:
    """How long guests have run in this turn of the loop, all guests of a sandbox together.

    Calls that found it used up go on in the order they came, ``AT_ONCE`` in each turn.
    """

    def __init__(self) -> None:
        self._used_s = 0.0
        self._ends = False
        self._line: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Until a turn has time left: at once, in most cases."""
        if self._used_s < TURN_S and not self._line:
            return
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        self._watch()
        await turn

    def used(self, seconds: float) -> None:
        """A guest ran for so long."""
        self._used_s += seconds
        self._watch()

    def _watch(self) -> None:
        if not self._ends:
            self._ends = True
            asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        self._used_s, self._ends = 0.0, False
        for _ in range(min(AT_ONCE, len(self._line))):
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
        if self._line:
            self._watch()


class InlineGuest:
    """A live agent module. Made by ``Sandbox.open_agent``.

    It keeps its memory between calls. After out_of_fuel, timeout, trap, bad_pointer,
    guest_abort or host_error it is dead: every later call raises ``instance_dead``.
    """

    def __init__(
        self,
        instance: AgentInstance,
        threads: GuestThreads,
        turn: LoopTurn,
        closed: Callable[[], None],
    ) -> None:
        self._instance = instance
        self._threads = threads
        self._turn = turn
        self._on_close: Callable[[], None] | None = closed

    async def call(self, data: bytes) -> bytes:
        """Deliver one message and await the reply. See ``exchange``."""
        return (await self.exchange(data)).data

    async def exchange(self, data: bytes) -> GuestReply:
        """Deliver one message and await the reply, with what the guest sent, logged and wrote.

        Calls on one guest follow each other; a second one at the same time is refused
        (``host_error``). Cancelling gives up the wait; the guest runs on to its own deadline.
        Raises ``SandboxError``.
        """
        await self._turn.wait()
        if self._threads.closed:
            raise _closed()
        started = time.perf_counter()
        try:
            begun = self._instance.begin(data)
        finally:
            self._turn.used(time.perf_counter() - started)
        if isinstance(begun, GuestReply):
            return begun
        if begun is None:
            return await self._threads.call(self._instance.call, data)
        return await self._go_on(begun)

    async def _go_on(self, rest: Rest) -> GuestReply:
        """The rest of a call runs also when nobody waits for it any more."""
        try:
            running = self._threads.call(rest)
        except RuntimeError:
            rest.abandon()
            raise _closed() from None
        return await asyncio.shield(running)

    async def close(self) -> None:
        """Free the guest's memory, after a call in flight. May be called again."""
        closed, self._on_close = self._on_close, None
        if closed is None:
            return
        closed()
        if not self._threads.closed and not self._instance.close_at_once():
            await self._threads.call(self._instance.close)


def _closed() -> SandboxError:
    return SandboxError(
        Reason.INSTANCE_DEAD, "the sandbox of this guest is closed", cause="it was closed"
    )
