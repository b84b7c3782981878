"""Watch: to be told once of an actor's end, also when it has ended already.

As OTP's monitors: ``Terminated`` comes exactly once for each watch, whatever the order of watch
and end, after the messages that the watched actor sent before.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pykka._envelope import Envelope

if TYPE_CHECKING:
    from actors.cell import Cell

__all__ = [
    "Subscription",
    "Terminated",
    "Watchable",
    "claim_end",
    "expected",
    "tell_watchers",
    "unwatch_all",
    "unwatch_from",
    "watch_cell",
    "watch_from",
]

logger = logging.getLogger("actors")

_LOCK = threading.Lock()
"""Decides whether a watch or the end it is for came first."""


@dataclass(frozen=True, slots=True)
class Terminated:
    """A watched actor has ended and comes back no more under this ref."""

    ref: Any
    reason: str
    """``stopped``, ``failed``, ``gave_up`` or ``killed``; for a remote one also ``not_found`` and
    ``node_lost``."""

    of_runtime: ClassVar[bool] = True


class Watchable(Protocol):
    """A ref that is not of this process and watches in its own way."""

    def watch_with(self, callback: Callable[[Terminated], None]) -> Subscription:
        """Call ``callback`` once when the actor has ended."""
        ...


class Subscription:
    """One watch.

    Args:
        callback: told of the end, once.
    """

    __slots__ = ("_callback", "_cell")

    def __init__(self, callback: Callable[[Terminated], None], cell: Cell | None = None) -> None:
        self._callback: Callable[[Terminated], None] | None = callback
        self._cell = cell

    @property
    def active(self) -> bool:
        """Whether it has neither fired nor been cancelled."""
        return self._callback is not None

    def cancel(self) -> None:
        """Be told no more."""
        with _LOCK:
            self._callback = None
            cell, self._cell = self._cell, None
            if cell is not None and cell._extras is not None and cell._extras.watchers is not None:
                cell._extras.watchers.pop(self, None)

    def fire(self, terminated: Terminated) -> None:
        """Tell of the end, unless it was told or cancelled before."""
        with _LOCK:
            callback, self._callback = self._callback, None
            self._cell = None
        if callback is None:
            return
        try:
            callback(terminated)
        except Exception:
            logger.exception("who watched %s failed", terminated.ref)


def watch_cell(cell: Cell, callback: Callable[[Terminated], None]) -> Subscription:
    """Tell ``callback`` of the end of a cell, at once when that is past."""
    subscription = Subscription(callback, cell)
    with _LOCK:
        ended = cell.ended_because
        if not ended:
            extras = cell.extras()
            if extras.watchers is None:
                extras.watchers = {}
            extras.watchers[subscription] = None
    if ended:
        subscription.fire(Terminated(cell.ref, ended))
    return subscription


def claim_end(cell: Cell, reason: str) -> bool:
    """Say that a cell ends for ``reason``; False when another thread said so first."""
    with _LOCK:
        if cell.ended_because:
            return False
        cell.ended_because = reason
        return True


def tell_watchers(cell: Cell) -> None:
    """A cell has ended."""
    with _LOCK:
        extras = cell._extras
        watchers = None
        if extras is not None:
            watchers, extras.watchers = extras.watchers, None
    for subscription in watchers or ():
        subscription.fire(Terminated(cell.ref, cell.ended_because))


def watch_from(watcher: Cell, ref: Any) -> None:
    """Have ``watcher`` told of the end of ``ref`` by a ``Terminated`` message, once."""
    extras = watcher.extras()
    if extras.watching is None:
        extras.watching = {}
    if ref in extras.watching:
        return

    def ended(terminated: Terminated) -> None:
        if not watcher.stopped.is_set():
            watcher.put_exempt(Envelope(terminated))

    # There before the watch: the news may be in the mailbox before the call below returns.
    extras.watching[ref] = Subscription(ended)
    cell = getattr(ref, "_cell", None)
    subscription = watch_cell(cell, ended) if cell is not None else ref.watch_with(ended)
    if ref in extras.watching:
        extras.watching[ref] = subscription


def expected(watcher: Cell, terminated: Terminated) -> bool:
    """Whether the news is for a watch that was not taken back; the watch is done then."""
    extras = watcher._extras
    watching = extras.watching if extras is not None else None
    return watching is not None and watching.pop(terminated.ref, None) is not None


def unwatch_all(watcher: Cell) -> None:
    """Take every watch back."""
    extras = watcher._extras
    if extras is not None and extras.watching is not None:
        watching, extras.watching = extras.watching, None
        for subscription in watching.values():
            subscription.cancel()


def unwatch_from(watcher: Cell, ref: Any) -> None:
    """Take a watch back. A ``Terminated`` in the mailbox already is dropped."""
    extras = watcher._extras
    if extras is None or extras.watching is None:
        return
    subscription = extras.watching.pop(ref, None)
    if subscription is not None:
        subscription.cancel()
