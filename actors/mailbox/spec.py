"""The bound of a mailbox, what happens beyond it, and the flag that closes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["MailboxSpec", "Overflow", "StopFlag"]

Overflow = Literal["fail", "drop_new", "drop_old", "block", "spill"]


@dataclass(frozen=True, slots=True)
class MailboxSpec:
    """Size, lanes and overflow policy of a mailbox.

    Overflow never raises in the sender's handler. Stops, timer ticks and ``Terminated`` have no
    bound of their own: there is at most one of each per cause. Raises ``ValueError`` when a value
    is out of its range.
    """

    capacity: int = 1_000
    """User messages it holds. 1 to 10,000,000."""

    overflow: Overflow = "fail"
    """``fail``: the new message is a dead letter and, for an ask, a ``MailboxFull``. ``drop_new``
    and ``drop_old``: the new or the oldest message (of the last lane that has one) is dropped and
    counted. ``block``: a sending thread waits for room up to ``block_timeout_s``, then as
    ``fail``; a sender on an event loop must not block, so there it is ``fail`` at once
    (``ActorRef.tell_when_room`` waits without blocking). ``spill``: the new message is given to
    ``on_spill``."""

    on_spill: Callable[[Any], None] | None = None
    """Takes the envelope of a message that found no room; for ``spill`` only."""

    throughput: int = 1
    """Messages handled in one turn, as a multiple of the dispatcher's. 1 to 64."""

    lanes: int = 1
    """Priority lanes. 1 to 16."""

    priority: Callable[[Any], int] | None = None
    """The lane of a message: 0 is handled first, each lane in the order of arrival. A number
    beyond the last lane, or a failure, is the last lane. A message of a lane waits as long as
    there are any in the lanes before it."""

    stash: int = 1_000
    """Messages the actor may put aside with ``stash()``. 0 to 10,000,000."""

    block_timeout_s: float = 5.0
    """How long ``block`` waits, in seconds. 0 to 3,600."""

    def __post_init__(self) -> None:
        checks = (
            ("capacity", 1 <= self.capacity <= 10_000_000, "1 to 10,000,000"),
            ("throughput", 1 <= self.throughput <= 64, "1 to 64"),
            ("lanes", 1 <= self.lanes <= 16, "1 to 16"),
            ("stash", 0 <= self.stash <= 10_000_000, "0 to 10,000,000"),
            ("block_timeout_s", 0 <= self.block_timeout_s <= 3_600, "0 to 3,600"),
        )
        for name, good, allowed in checks:
            if not good:
                raise ValueError(f"{name}: {getattr(self, name)!r} given, {allowed} allowed")
        if (self.overflow == "spill") != (self.on_spill is not None):
            raise ValueError("on_spill: needed for overflow `spill`, and only for it")
        if (self.lanes > 1) != (self.priority is not None):
            raise ValueError("priority: needed for more than one lane, and only for them")


class StopFlag:
    """The part of ``threading.Event`` that refs use, at a twentieth of its size."""

    __slots__ = ("_set",)

    def __init__(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        """Whether the actor has stopped."""
        return self._set

    def set(self) -> None:
        """The actor has stopped."""
        self._set = True
