"""The cooperative dispatcher: drains mailboxes in turns on one event loop.

A cell with messages stands in the ready queue once; in its turn it handles at most ``throughput``
messages, then the next cell has its turn. No task, future or lock is made per message.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from actors.clock import Clock
from actors.counters import TurnCounters
from actors.dispatch.dispatcher import SLOW_TURN_S, Nesting, Timer, Turn, TurnClock

__all__ = ["CooperativeDispatcher", "new_loop"]

logger = logging.getLogger("actors")


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop: uvloop's where that is installed."""
    if importlib.util.find_spec("uvloop") is not None:
        loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
        return loop
    return asyncio.new_event_loop()


class _Handle:
    """A timer that was asked for on another thread."""

    __slots__ = ("cancelled", "timer")

    def __init__(self) -> None:
        self.cancelled = False
        self.timer: Timer | None = None

    def cancel(self) -> None:
        self.cancelled = True


class CooperativeDispatcher:
    """Runs turns on an asyncio event loop.

    Args:
        loop: the loop; the running one when not given.
        throughput: messages a cell handles in one turn.
        budget_s: time after which the loop gets its turn, even with cells still ready.
        name: shown in counters and warnings.
        slow_turn_s: a longer turn is warned of.
        clock: brings the timers when it has a ``call_later`` of its own, as a manual clock does;
            the loop's otherwise.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        throughput: int = 64,
        budget_s: float = 0.002,
        name: str = "cooperative",
        slow_turn_s: float = SLOW_TURN_S,
        clock: Clock | None = None,
    ) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self.throughput = throughput
        self.turns = TurnClock(name, slow_turn_s)
        self._budget_s = budget_s
        self._ready: deque[Turn] = deque()
        self._pending = False
        self._asked_at = 0.0
        self.nesting: Nesting = Nesting(self.turns)
        self._timers = getattr(clock, "call_later", None)
        self._own: threading.Thread | None = None

    @classmethod
    def on_thread(cls, name: str, *, daemon: bool = True, **options: Any) -> CooperativeDispatcher:
        """A dispatcher with a loop on a thread of its own; end it with ``close``.

        Args:
            name: of the dispatcher and of the thread.
            daemon: whether the program may end while the thread runs.
            options: those of the class.

        Raises:
            RuntimeError: the thread did not begin within 10 s.
        """
        loop = new_loop()
        dispatcher = cls(loop, name=name, **options)
        begun = threading.Event()

        def run() -> None:
            asyncio.set_event_loop(loop)
            dispatcher.bind_thread()
            loop.call_soon(begun.set)
            try:
                loop.run_forever()
            finally:
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.close()

        dispatcher._own = threading.Thread(target=run, name=name, daemon=daemon)
        dispatcher._own.start()
        if not begun.wait(10):
            raise RuntimeError(f"the thread {name!r} did not begin within 10 s")
        return dispatcher

    def close(self, timeout_s: float = 5.0) -> bool:
        """End the thread of ``on_thread``; False when it did not end in time."""
        thread = self._own
        if thread is None or self._loop.is_closed():
            return True
        self._loop.call_soon_threadsafe(self._loop.stop)
        if thread is threading.current_thread():
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the turns run on."""
        return self._loop

    def bind_thread(self) -> None:
        """Say that the calling thread runs the loop."""
        self.nesting.thread = threading.get_ident()

    def owns_thread(self) -> bool:
        """Whether the calling thread is the one that runs the turns."""
        return threading.get_ident() == self.nesting.thread

    def schedule(self, cell: Turn) -> None:
        """Give ``cell`` a turn soon. Safe from any thread."""
        self._ready.append(cell)
        if not self._pending:
            self._pending = True
            if self._loop.is_closed():
                return
            self._asked_at = time.monotonic()
            if threading.get_ident() == self.nesting.thread:
                self._loop.call_soon(self._run)
            else:
                self._loop.call_soon_threadsafe(self._run)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` on the loop after ``delay_s`` seconds."""
        handle = _Handle()
        if self._loop.is_closed():
            return handle
        if self._timers is not None:
            timer: Timer = self._timers(delay_s, lambda: self._soon(callback))
            return timer
        if self.owns_thread():
            return self._loop.call_later(delay_s, callback)

        def due() -> None:
            if not handle.cancelled:
                callback()

        self._soon(lambda: self._loop.call_later(delay_s, due))
        return handle

    def _soon(self, callback: Callable[[], object]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)

    def counters(self) -> TurnCounters:
        """What it knows of its turns."""
        return self.turns.counters(len(self._ready))

    def _run(self) -> None:
        # Cleared first: what another thread adds from here on schedules a run of its own.
        self._pending = False
        self.nesting.depth = 1
        ready = self._ready
        throughput = self.throughput
        turns = self.turns
        slow_s = turns.slow_turn_s
        begun = last = time.monotonic()
        deadline = begun + self._budget_s
        turns.waited(begun - self._asked_at)
        clock = time.monotonic
        longest_s = turns.longest_s
        count = 0
        while ready:
            cell = ready.popleft()
            try:
                cell.turn(throughput)
            except Exception:
                # A cell deals with its actor's failures; what still gets here is a fault of the
                # runtime, and must not take the turns of the others with it.
                logger.exception("a turn failed")
            now = clock()
            count += 1
            took = now - last
            if took > longest_s:
                longest_s = turns.longest_s = took
            if took > slow_s:
                turns.was_slow(cell, took, now)
            last = now
            if now >= deadline:
                break
        self.nesting.depth = 0
        turns.turns += count
        turns.busy_s += last - begun
        if ready and not self._pending:
            self._pending = True
            self._asked_at = last
            self._loop.call_soon(self._run)
