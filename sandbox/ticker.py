"""Wall clock of running guests: a thread that moves an engine's epoch while calls are in flight."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

TICK_MS: Final = 5
"""Length of an epoch, in milliseconds; a guest is stopped within two of them."""

LINGER_S: Final = 0.25
"""How long the thread outlives the last call, so that calls in a row do not start one each."""


LONGEST: Final = 600_000 // TICK_MS + 2
"""Epochs of the longest wall clock a call may have."""


def ticks(wall_ms: int) -> int:
    """Epochs until a deadline. One more than the quotient: the first one is already under way."""
    return wall_ms // TICK_MS + 2


class Ticker:
    """Calls ``tick`` every 5 ms while at least one call runs; no thread is left when idle."""

    def __init__(
        self,
        tick: Callable[[], None],
        *,
        linger_s: float = LINGER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tick = tick
        self._linger_s = linger_s
        self._clock = clock
        self._started = 0.0
        self._done = 0
        """Epochs since ``_started`` that have passed."""
        self._lock = threading.Lock()
        self._in_flight = 0
        self._idle_since = 0.0
        self._give_up: Callable[[], bool] | None = None
        self._thread: threading.Thread | None = None

    @contextmanager
    def running(self, give_up: Callable[[], bool] | None = None) -> Iterator[None]:
        """Keep time during the block.

        When ``give_up`` becomes true, every epoch up to the longest deadline passes at once.
        That stops whatever runs on the engine: only for engines with one call at a time.
        """
        self.begin(give_up)
        try:
            yield
        finally:
            self.end()

    def begin(self, give_up: Callable[[], bool] | None = None) -> None:
        """Keep time from here on, until ``end``. See ``running``.

        A deadline is set after this: epochs that the thread is late with have passed then, and are
        not taken from the call that begins.
        """
        with self._lock:
            self._in_flight += 1
            self._give_up = give_up
            if self._thread is not None:
                self._catch_up()
            else:
                self._started, self._done = self._clock(), 0
                self._thread = threading.Thread(
                    target=self._run, name="sandbox-ticker", daemon=True
                )
                self._thread.start()

    def end(self) -> None:
        """One call less is in flight."""
        with self._lock:
            self._in_flight -= 1
            self._give_up = None
            self._idle_since = self._clock()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None

    def _catch_up(self) -> None:
        """Have the epochs pass that are due. A late wake-up catches up, so that a loaded machine
        does not stretch deadlines."""
        due = int((self._clock() - self._started) * 1000 / TICK_MS)
        for _ in range(min(due - self._done, 1000)):
            self._tick()
        self._done = due

    def _run(self) -> None:
        while True:
            time.sleep(TICK_MS / 1000)
            with self._lock:
                self._catch_up()
                if self._give_up is not None and self._give_up():
                    self._give_up = None
                    for _ in range(LONGEST):
                        self._tick()
                idle = self._clock() - self._idle_since
                if self._in_flight == 0 and idle >= self._linger_s:
                    self._thread = None
                    return
