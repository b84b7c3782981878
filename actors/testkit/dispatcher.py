"""A dispatcher that runs turns when a test says so, without an event loop."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable

from actors.dispatch.cooperative import Turn
from actors.testkit.clock import ManualClock

__all__ = ["SyncDispatcher"]


class SyncDispatcher:
    """A dispatcher that runs turns only when told to, in the order they were asked for.

    Handlers must be plain functions: there is no event loop for async ones.

    Args:
        clock: moved by ``advance``; a new one when not given.
        throughput: messages a cell handles in one turn.
    """

    def __init__(self, clock: ManualClock | None = None, *, throughput: int = 1) -> None:
        self.clock = clock or ManualClock()
        self.throughput = throughput
        self._ready: deque[Turn] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._thread = threading.get_ident()

    @property
    def ready(self) -> int:
        """Turns that wait."""
        return len(self._ready)

    @property
    def timers(self) -> int:
        """Timers that wait."""
        return len(self._timers)

    def schedule(self, cell: Turn) -> None:
        """Give ``cell`` a turn when the test runs the next ones."""
        self._ready.append(cell)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the clock has been moved on by ``delay_s`` seconds."""
        heapq.heappush(self._timers, (self.clock.now() + delay_s, next(self._order), callback))

    def owns_thread(self) -> bool:
        """Whether the calling thread is the one that made the dispatcher."""
        return threading.get_ident() == self._thread

    def step(self) -> bool:
        """Run one turn; False when none waits."""
        if not self._ready:
            return False
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
        while self._timers and self._timers[0][0] <= until:
            when, _, callback = heapq.heappop(self._timers)
            self.clock.advance(max(0.0, when - self.clock.now()))
            callback()
            fired += 1
            self.run()
        self.clock.advance(max(0.0, until - self.clock.now()))
        return fired
