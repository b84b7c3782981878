"""What a region keeps of an entity while it has an actor or messages wait for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pykka._envelope import Envelope

if TYPE_CHECKING:
    from actors.cell import Cell

__all__ = ["Entry", "Held", "Release", "State"]

State = Literal["new", "open", "closing", "gone"]
Held = tuple[str, "Envelope[Any]"]
"""Entity id and a message that waits for it."""

_FEW_ASKS = 16


class Entry:
    """One incarnation of an entity, from the first message that waits for it to its end."""

    __slots__ = (
        "asks",
        "buffer",
        "cell",
        "entity_id",
        "first",
        "fruitless",
        "left",
        "prune_at",
        "put",
        "release",
        "slot",
        "stamp",
        "state",
    )

    def __init__(self, entity_id: str, slot: int) -> None:
        self.entity_id = entity_id
        self.slot = slot
        self.state: State = "new"
        self.stamp = 0
        """Of the last tick in which it got a message."""
        self.cell: Cell | None = None
        self.put: Callable[[Envelope[Any]], None] = self._no_actor
        self.buffer: deque[Envelope[Any]] | None = None
        """What came while it was not open."""
        self.left: list[Envelope[Any]] | None = None
        """What its actor left in the mailbox: older than the buffer."""
        self.first: Envelope[Any] | None = None
        """The first message it was given; still the first it left when it did nothing."""
        self.fruitless = 0
        """Incarnations before this one that ended without taking a message."""
        self.asks: list[Any] | None = None
        self.prune_at = _FEW_ASKS
        self.release: Release | None = None

    def _no_actor(self, envelope: Envelope[Any]) -> None:
        raise RuntimeError(f"entity {self.entity_id!r} has no actor yet")

    def asked(self, future: Any) -> None:
        """An ask is on its way to it."""
        asks = self.asks
        if asks is None:
            asks = self.asks = []
        elif len(asks) >= self.prune_at:
            asks = self.asks = [one for one in asks if getattr(one, "_result", None) is None]
            self.prune_at = max(_FEW_ASKS, 2 * len(asks))
        future.target = self.cell
        asks.append(future)

    def busy(self) -> bool:
        """Whether it handles something, or somebody waits for it."""
        cell = self.cell
        if cell is None or cell.depth or cell.state != "idle":
            return True
        extras = cell._extras
        if extras is not None and (extras.stash or extras.pipes):
            return True
        asks = self.asks
        if asks:
            self.asks = asks = [one for one in asks if getattr(one, "_result", None) is None]
        return bool(asks)

    def did_nothing(self) -> bool:
        """Whether it ended without taking any of the messages it was made for."""
        return bool(self.left) and self.first is not None and self.left[0] is self.first  # type: ignore[index]  # looked at before

    def pending(self) -> deque[Envelope[Any]]:
        """Take all that waits, in order."""
        waits = deque(self.left or ())
        waits.extend(self.buffer or ())
        self.left = self.buffer = None
        return waits


class Release:
    """Entities that are to end here for good, and what waits for them.

    Args:
        done: given the messages that wait, in order for each entity, once all have ended.
    """

    __slots__ = ("_done", "messages", "open")

    def __init__(self, done: Callable[[list[Held]], None]) -> None:
        self._done = done
        self.open = 1
        """Entities that have not ended, and one for who counts them."""
        self.messages: list[Held] = []

    def add(self, entity_id: str, messages: deque[Envelope[Any]]) -> None:
        """What waits for one of them."""
        self.messages.extend((entity_id, envelope) for envelope in messages)

    def ended(self) -> None:
        """One of them has ended."""
        self.open -= 1
        if self.open == 0:
            self._done(self.messages)
