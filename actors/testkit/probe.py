"""A probe: an actor that writes down what it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from actors.actor import Actor, ActorRef
from actors.system import ActorSystem

__all__ = ["Probe", "ProbeLog"]


class ProbeLog:
    """What a probe was told, in order."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self._changed = threading.Condition()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def add(self, message: Any) -> None:
        """Take a message and wake whoever waits for it."""
        with self._changed:
            self.messages.append(message)
            waiters, self._waiters = self._waiters, []
            self._changed.notify_all()
        for loop, event in waiters:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def wait(self, count: int, timeout_s: float = 5.0) -> list[Any]:
        """Block this thread until ``count`` messages came; returns all there are.

        Raises:
            TimeoutError: fewer came in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.messages) >= count, timeout_s):
                raise TimeoutError(self._missing(count, timeout_s))
            return list(self.messages)

    async def expect(self, count: int, timeout_s: float = 5.0) -> list[Any]:
        """Wait on the event loop until ``count`` messages came; returns all there are.

        Raises:
            TimeoutError: fewer came in time.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    event = asyncio.Event()
                    with self._changed:
                        if len(self.messages) >= count:
                            return list(self.messages)
                        self._waiters.append((loop, event))
                    await event.wait()
        except TimeoutError:
            raise TimeoutError(self._missing(count, timeout_s)) from None

    def _missing(self, count: int, timeout_s: float) -> str:
        return f"{len(self.messages)} messages came within {timeout_s:g} s, {count} were expected"


class Probe(Actor):
    """An actor that writes down what it is told and answers asks.

    Args:
        log: where to write; it outlives restarts.
        answer: makes the answer of each message from it; what it raises is the actor's failure.
    """

    def __init__(self, log: ProbeLog, answer: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        self.log = log
        self.answer = answer

    def on_receive(self, message: Any) -> Any:
        """Write the message down, then answer."""
        self.log.add(message)
        return self.answer(message) if self.answer is not None else None

    @classmethod
    def of(
        cls, system: ActorSystem, answer: Callable[[Any], Any] | None = None, **options: Any
    ) -> tuple[ActorRef[Any], ProbeLog]:
        """A probe in ``system`` and its log; ``options`` are those of ``ActorSystem.spawn``."""
        log = ProbeLog()
        return system.spawn(cls, log, answer, **options), log
