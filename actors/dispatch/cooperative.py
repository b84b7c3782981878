"""Dispatchers: drain mailboxes in turns on one event loop.

The cooperative dispatcher belongs to one asyncio loop. A cell with messages stands in the ready
queue once; in its turn it handles at most ``throughput`` messages, then the next cell has its turn.
No task, future or lock is made per message.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

__all__ = ["CooperativeDispatcher", "Dispatcher", "Turn"]

logger = logging.getLogger("actors")


class Turn(Protocol):
    """What a dispatcher runs: a cell's turn."""

    def turn(self, throughput: int) -> None:
        """Handle at most ``throughput`` messages."""
        ...


class Dispatcher(Protocol):
    """Runs the turns of cells."""

    throughput: int

    def schedule(self, cell: Turn) -> None:
        """Give ``cell`` a turn soon. Safe from any thread."""
        ...

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call ``callback`` on the dispatcher's thread after ``delay_s`` seconds."""
        ...

    def owns_thread(self) -> bool:
        """Whether the calling thread is the one that runs the turns."""
        ...


class CooperativeDispatcher:
    """Runs turns on an asyncio event loop.

    Args:
        loop: the loop; the running one when not given.
        throughput: messages a cell handles in one turn.
        budget_s: time after which the loop gets its turn, even with cells still ready.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        throughput: int = 64,
        budget_s: float = 0.002,
    ) -> None:
        self.loop = loop or asyncio.get_running_loop()
        self.throughput = throughput
        self._budget_s = budget_s
        self._ready: deque[Turn] = deque()
        self._pending = False
        self._thread = threading.get_ident()

    def bind_thread(self) -> None:
        """Say that the calling thread runs the loop."""
        self._thread = threading.get_ident()

    def owns_thread(self) -> bool:
        """Whether the calling thread is the one that runs the turns."""
        return threading.get_ident() == self._thread

    def schedule(self, cell: Turn) -> None:
        """Give ``cell`` a turn soon. Safe from any thread."""
        self._ready.append(cell)
        if not self._pending:
            self._pending = True
            if self.loop.is_closed():
                return
            if threading.get_ident() == self._thread:
                self.loop.call_soon(self._run)
            else:
                self.loop.call_soon_threadsafe(self._run)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call ``callback`` on the loop after ``delay_s`` seconds."""
        if self.loop.is_closed():
            return
        if self.owns_thread():
            self.loop.call_later(delay_s, callback)
        else:
            self.loop.call_soon_threadsafe(self.loop.call_later, delay_s, callback)

    def _run(self) -> None:
        # Cleared first: what another thread adds from here on schedules a run of its own.
        self._pending = False
        ready = self._ready
        throughput = self.throughput
        deadline = time.monotonic() + self._budget_s
        while ready:
            try:
                ready.popleft().turn(throughput)
            except Exception:
                # A cell deals with its actor's failures; what still gets here is a fault of the
                # runtime, and must not take the turns of the others with it.
                logger.exception("a turn failed")
            if ready and time.monotonic() >= deadline:
                break
        if ready and not self._pending:
            self._pending = True
            self.loop.call_soon(self._run)
