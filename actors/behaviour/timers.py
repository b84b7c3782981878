"""Keyed timers: a message to oneself later, once or again and again.

As in Pekko, setting a key again replaces its timer, and a tick of a timer that was cancelled or
replaced meanwhile is dropped, even one that is in the mailbox already. A timer has at most one tick
in the mailbox: a slow actor gets fewer of them, not a heap.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar

from pykka._envelope import Envelope

if TYPE_CHECKING:
    from actors.cell import Cell
    from actors.dispatch.dispatcher import Timer

__all__ = ["Tick", "Timers"]


class _Keyed:
    __slots__ = ("handle", "interval_s", "key", "message")

    def __init__(self, key: Hashable, message: Any, interval_s: float | None) -> None:
        self.key = key
        self.message = message
        self.interval_s = interval_s
        self.handle: Timer | None = None


class Tick:
    """A timer's message on its way through the mailbox."""

    __slots__ = ("timer", "timers")

    of_runtime: ClassVar[bool] = True

    def __init__(self, timers: Timers, timer: _Keyed) -> None:
        self.timers = timers
        self.timer = timer

    @property
    def inner(self) -> Any:
        """What the actor gets."""
        return self.timer.message

    def due(self) -> bool:
        """Whether its timer still stands; a periodic one is set again."""
        return self.timers._ticked(self.timer)


class Timers:
    """The timers of one actor; they end with its instance.

    Keys are anything hashable. Times are seconds, at least 0 (an interval: more than 0).
    """

    __slots__ = ("_cell", "_timers")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._timers: dict[Hashable, _Keyed] = {}

    def __len__(self) -> int:
        return len(self._timers)

    def keys(self) -> list[Hashable]:
        """The keys of the timers that stand."""
        return list(self._timers)

    def is_active(self, key: Hashable) -> bool:
        """Whether a timer of this key stands."""
        return key in self._timers

    def start_single(self, key: Hashable, message: Any, delay_s: float) -> None:
        """Tell the actor ``message`` once, in ``delay_s``; raises ``ValueError`` below 0."""
        if delay_s < 0:
            raise ValueError(f"delay_s: {delay_s!r} given, at least 0 allowed")
        self._start(_Keyed(key, message, None), delay_s)

    def start_periodic(
        self, key: Hashable, message: Any, interval_s: float, first_s: float | None = None
    ) -> None:
        """Tell the actor ``message`` every ``interval_s`` after it has handled the one before.

        The first comes after ``first_s``, or after an interval. Raises ``ValueError`` for an
        interval that is not more than 0.
        """
        if interval_s <= 0:
            raise ValueError(f"interval_s: {interval_s!r} given, more than 0 allowed")
        if first_s is not None and first_s < 0:
            raise ValueError(f"first_s: {first_s!r} given, at least 0 allowed")
        self._start(_Keyed(key, message, interval_s), interval_s if first_s is None else first_s)

    def cancel(self, key: Hashable) -> bool:
        """Take a timer back; False when there is none."""
        timer = self._timers.pop(key, None)
        if timer is None:
            return False
        if timer.handle is not None:
            timer.handle.cancel()
        return True

    def cancel_all(self) -> None:
        """Take all timers back."""
        for key in list(self._timers):
            self.cancel(key)

    def _start(self, timer: _Keyed, delay_s: float) -> None:
        self.cancel(timer.key)
        self._timers[timer.key] = timer
        self._arm(timer, delay_s)

    def _arm(self, timer: _Keyed, delay_s: float) -> None:
        tick = Tick(self, timer)

        def due() -> None:
            if self._timers.get(timer.key) is timer:
                self._cell.put_exempt(Envelope(tick))

        timer.handle = self._cell.dispatcher.call_later(delay_s, due)

    def _ticked(self, timer: _Keyed) -> bool:
        if self._timers.get(timer.key) is not timer:
            return False
        if timer.interval_s is None:
            del self._timers[timer.key]
        else:
            self._arm(timer, timer.interval_s)
        return True
