"""Receive timeout: a message to an actor that got none for a while.

One timer that is set again only when it fires, not with every message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pykka._envelope import Envelope

if TYPE_CHECKING:
    from actors.cell import Cell
    from actors.dispatch.dispatcher import Timer

__all__ = ["IdleWatch", "ReceiveTimeout"]


@dataclass(frozen=True, slots=True)
class ReceiveTimeout:
    """The actor got no message for ``seconds``. Comes again after as long."""

    seconds: float

    of_runtime: ClassVar[bool] = True


class IdleWatch:
    """Watches one actor's idleness.

    Args:
        seconds: after which it is told.
    """

    __slots__ = ("_cell", "_handle", "_last", "seconds")

    def __init__(self, cell: Cell, seconds: float) -> None:
        self.seconds = seconds
        self._cell = cell
        self._last = cell.system.clock.now()
        self._handle: Timer | None = cell.dispatcher.call_later(seconds, self._look)

    def touched(self) -> None:
        """The actor had messages."""
        self._last = self._cell.system.clock.now()

    def cancel(self) -> None:
        """Watch no more."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()

    def _look(self) -> None:
        if self._handle is None:
            return
        cell = self._cell
        idle = cell.system.clock.now() - self._last
        delay = self.seconds
        if cell.depth or cell.current is not None:
            self.touched()
        elif idle >= self.seconds:
            cell.put_exempt(Envelope(ReceiveTimeout(self.seconds)))
        else:
            delay = self.seconds - idle
        self._handle = cell.dispatcher.call_later(delay, self._look)
