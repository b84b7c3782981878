"""Dispatchers for actors that block: an elastic pool of threads, and a thread for one actor.

A blocked turn keeps its thread. The pool makes another when all are at work and a cell waits, up
to its limit, and lets idle threads go; the pinned dispatcher has one thread and one cell.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from actors.counters import TurnCounters
from actors.dispatch.dispatcher import Nesting, Timer, Turn, TurnClock
from actors.dispatch.timer_thread import timer_thread
from actors.waiting import handling

__all__ = ["PinnedDispatcher", "PoolDispatcher"]

logger = logging.getLogger("actors")

BLOCKED_TURN_S = 30.0
"""Blocking is what these threads are for; a turn of this length is still worth a word."""


class PoolDispatcher:
    """Runs turns on as many threads as are needed, each cell on one at a time.

    Args:
        max_threads: 1 to 10,000. Beyond it cells wait for a thread; actors that block on each
            other's answers then may wait for ever, so leave room.
        idle_s: a thread without work ends after this time.
        throughput: messages a cell handles in one turn.
        name: of the dispatcher; its threads have numbers.
        daemon: whether the program may end while a turn runs.
    """

    loop: asyncio.AbstractEventLoop | None = None
    nesting: Nesting | None = None

    def __init__(
        self,
        max_threads: int = 256,
        *,
        idle_s: float = 10.0,
        throughput: int = 16,
        name: str = "pool",
        daemon: bool = True,
        slow_turn_s: float = BLOCKED_TURN_S,
    ) -> None:
        if not 1 <= max_threads <= 10_000:
            raise ValueError(f"max_threads: {max_threads!r} given, 1 to 10,000 allowed")
        self.throughput = throughput
        self.max_threads = max_threads
        self.turns = TurnClock(name, slow_turn_s)
        self._idle_s = idle_s
        self._daemon = daemon
        self._condition = threading.Condition()
        self._ready: deque[tuple[Turn, float]] = deque()
        self._known: dict[Turn, bool] = {}
        """Cells that wait or run; True when one that runs wants another turn."""
        self._threads = 0
        self._idle = 0
        self._numbers = itertools.count(1)
        self._closed = False

    @property
    def threads(self) -> int:
        """Threads there are now."""
        return self._threads

    def owns_thread(self) -> bool:
        """Never: a blocked thread of the pool is replaced by another."""
        return False

    def schedule(self, cell: Turn) -> None:
        """Give ``cell`` a turn soon. Safe from any thread."""
        with self._condition:
            if cell in self._known:
                self._known[cell] = True
                return
            self._known[cell] = False
            self._ready.append((cell, time.monotonic()))
            if self._idle >= len(self._ready) or self._threads >= self.max_threads:
                self._condition.notify()
                return
            self._threads += 1
        try:
            self._start_thread()
        except RuntimeError:
            # The machine gives no more threads: those there are do the work.
            with self._condition:
                self._threads -= 1
                if not self._threads:
                    raise

    def _start_thread(self) -> None:
        name = f"{self.turns.name}-{next(self._numbers)}"
        threading.Thread(target=self._work, name=name, daemon=self._daemon).start()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` on the timer thread after ``delay_s`` seconds."""
        return timer_thread.call_later(delay_s, callback)

    def counters(self) -> TurnCounters:
        """What it knows of its turns."""
        return self.turns.counters(len(self._ready))

    def close(self, timeout_s: float = 5.0) -> bool:
        """End the threads that are idle; False when some still work after ``timeout_s``."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
            return self._condition.wait_for(lambda: self._threads == 0, timeout_s)

    def _take(self) -> tuple[Turn, float] | None:
        with self._condition:
            self._idle += 1
            try:
                while not self._ready:
                    if self._closed or not self._condition.wait(self._idle_s):
                        if self._ready:
                            break
                        self._threads -= 1
                        self._condition.notify_all()
                        return None
                return self._ready.popleft()
            finally:
                self._idle -= 1

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            cell, since = taken
            begun = time.monotonic()
            contextvars.Context().run(self._turn, cell)
            ended = time.monotonic()
            with self._condition:
                turns = self.turns
                turns.waited(begun - since)
                took = ended - begun
                turns.busy_s += took
                turns.turns += 1
                turns.longest_s = max(turns.longest_s, took)
                if took > turns.slow_turn_s:
                    turns.was_slow(cell, took, ended)
                if self._known[cell]:
                    self._known[cell] = False
                    self._ready.append((cell, ended))
                else:
                    del self._known[cell]
            # Kept by nobody while the thread waits for the next one.
            del cell, taken

    def _turn(self, cell: Turn) -> None:
        handling.set(cell)  # type: ignore[arg-type]  # a pool runs cells
        try:
            cell.turn(self.throughput)
        except Exception:
            logger.exception("a turn failed")


class PinnedDispatcher(PoolDispatcher):
    """A thread that runs the turns of the one actor it was made for, as pykka's actors have.

    The thread begins with the actor's first turn and ends with ``close``, which its system calls
    when the actor has stopped.
    """

    def __init__(self, name: str, *, daemon: bool = True, throughput: int = 16) -> None:
        super().__init__(
            1, idle_s=threading.TIMEOUT_MAX, name=name, daemon=daemon, throughput=throughput
        )
