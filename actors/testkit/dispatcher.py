"""A dispatcher that runs turns when a test says so, without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from actors.counters import TurnCounters
from actors.dispatch.dispatcher import Nesting, Turn, TurnClock
from actors.testkit.clock import ManualClock, ManualTimer

__all__ = ["SyncDispatcher"]


class SyncDispatcher:
    """A dispatcher that runs turns only when told to, in the order they were asked for.

    Handlers must be plain functions: there is no event loop for async ones.

    Args:
        clock: brings the timers; a new one when not given.
        throughput: messages a cell handles in one turn.
    """

    loop: asyncio.AbstractEventLoop | None = None
    nesting: Nesting | None = None
    """None: a test runs the turns one by one."""

    def __init__(self, clock: ManualClock | None = None, *, throughput: int = 1) -> None:
        self.clock = clock or ManualClock()
        self.throughput = throughput
        self.turns = TurnClock("sync")
        self._ready: deque[Turn] = deque()
        self._thread = threading.get_ident()

    @property
    def ready(self) -> int:
        """Turns that wait."""
        return len(self._ready)

    @property
    def timers(self) -> int:
        """Timers that wait."""
        return self.clock.timers

    def schedule(self, cell: Turn) -> None:
        """Give ``cell`` a turn when the test runs the next ones."""
        self._ready.append(cell)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> ManualTimer:
        """Call ``callback`` when the clock has been moved on by ``delay_s`` seconds."""
        return self.clock.call_later(delay_s, callback)

    def owns_thread(self) -> bool:
        """Whether the calling thread is the one that made the dispatcher."""
        return threading.get_ident() == self._thread

    def counters(self) -> TurnCounters:
        """What it knows of its turns; they take no time here."""
        return self.turns.counters(len(self._ready))

    def step(self) -> bool:
        """Run one turn; False when none waits."""
        if not self._ready:
            return False
        self.turns.turns += 1
        self._ready.popleft().turn(self.throughput)
        return True

    def run(self, limit: int = 100_000) -> int:
        """Run turns until none waits; returns how many ran.

        Raises:
            RuntimeError: ``limit`` turns ran and more wait.
        """
        ran = 0
        while self.step():
            ran += 1
            if ran >= limit and self._ready:
                raise RuntimeError(f"{ran:,} turns ran and {len(self._ready):,} wait")
        return ran

    def advance(self, seconds: float) -> int:
        """Let time pass: each timer runs at its own moment, then the turns it caused.

        Returns how many timers ran.
        """
        until = self.clock.now() + seconds
        self.run()
        fired = 0
        while self.clock.fire_next(until):
            fired += 1
            self.run()
        self.clock.advance(max(0.0, until - self.clock.now()))
        return fired
