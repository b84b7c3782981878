"""What every dispatcher offers, and what it counts of its turns."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from actors.counters import TurnCounters

__all__ = ["NESTED", "SLOW_TURN_S", "Dispatcher", "Nesting", "Timer", "Turn", "TurnClock"]

logger = logging.getLogger("actors")

SLOW_TURN_S: Final = 0.1
"""A turn longer than this holds up everyone else on its thread and is told."""
NESTED: Final = 8
"""How deep turns may stand in one another; a chain of hand-offs ends there."""
QUIET_S: Final = 1.0
"""Between two warnings of one dispatcher."""


class Turn(Protocol):
    """What a dispatcher runs: a cell's turn."""

    def turn(self, throughput: int) -> None:
        """Handle at most ``throughput`` messages."""
        ...


class Timer(Protocol):
    """A call that is still to come."""

    def cancel(self) -> object:
        """It comes no more."""
        ...


class Dispatcher(Protocol):
    """Runs the turns of cells: each cell's one after the other, never two at once."""

    throughput: int

    @property
    def nesting(self) -> Nesting | None:
        """For cells that run within the turn of another; None where two may run at once."""
        ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop it runs on, if any: ``async def`` handlers need one."""
        ...

    def schedule(self, cell: Turn) -> None:
        """Give ``cell`` a turn soon. Safe from any thread."""
        ...

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` after ``delay_s`` seconds. Safe from any thread.

        It is called on a thread of the dispatcher's choice, so it must only put something
        somewhere.
        """
        ...

    def owns_thread(self) -> bool:
        """Whether blocking the calling thread would keep the cells from their turns."""
        ...

    def counters(self) -> TurnCounters:
        """What it knows of its turns."""
        ...


class Nesting:
    """The turns under way on one dispatcher's thread, one within the other.

    Args:
        turns: counts those that stand in no other.
    """

    __slots__ = ("_began_at", "_turns", "depth", "thread")

    def __init__(self, turns: TurnClock) -> None:
        self.thread = threading.get_ident()
        """The thread that runs the turns."""
        self.depth = 0
        self._turns = turns
        self._began_at = 0.0

    def began(self) -> None:
        """A turn begins outside of any other: in a callback of the loop."""
        self._began_at = time.monotonic()

    def ended(self, cell: Turn) -> None:
        """It is over."""
        now = time.monotonic()
        took = now - self._began_at
        turns = self._turns
        turns.turns += 1
        turns.busy_s += took
        if took > turns.longest_s:
            turns.longest_s = took
        if took > turns.slow_turn_s:
            turns.was_slow(cell, took, now)


class TurnClock:
    """Counts the turns of one dispatcher and warns of slow ones, at most once a second.

    Args:
        name: of the dispatcher.
        slow_turn_s: beyond this a turn is slow.
    """

    __slots__ = (
        "_quiet_until",
        "_suppressed",
        "busy_s",
        "delay_s",
        "longest_delay_s",
        "longest_s",
        "name",
        "slow",
        "slow_turn_s",
        "turns",
    )

    def __init__(self, name: str, slow_turn_s: float = SLOW_TURN_S) -> None:
        self.name = name
        self.slow_turn_s = slow_turn_s
        self.turns = 0
        self.busy_s = 0.0
        self.slow = 0
        self.longest_s = 0.0
        self.delay_s = 0.0
        self.longest_delay_s = 0.0
        self._quiet_until = float("-inf")
        self._suppressed = 0

    def waited(self, seconds: float) -> None:
        """A cell waited this long for its turn."""
        self.delay_s += (seconds - self.delay_s) / 16
        if seconds > self.longest_delay_s:
            self.longest_delay_s = seconds

    def was_slow(self, cell: Turn, seconds: float, now: float) -> None:
        """A turn took longer than it should."""
        self.slow += 1
        tell = getattr(cell, "slow_turn", None)
        if tell is not None:
            tell(seconds)
        if now < self._quiet_until:
            self._suppressed += 1
            return
        self._quiet_until = now + QUIET_S
        logger.warning(
            "a turn of %s took %.0f ms, during which nobody else on %s was served%s; "
            "await what takes long, or make it a BlockingActor",
            getattr(cell, "path", "?"),
            seconds * 1_000,
            self.name,
            f" ({self._suppressed} more like it)" if self._suppressed else "",
        )
        self._suppressed = 0

    def counters(self, ready: int) -> TurnCounters:
        """A copy of the numbers."""
        return TurnCounters(
            name=self.name,
            turns=self.turns,
            busy_s=self.busy_s,
            slow=self.slow,
            longest_s=self.longest_s,
            queue_delay_s=self.delay_s,
            longest_queue_delay_s=self.longest_delay_s,
            ready=ready,
        )
