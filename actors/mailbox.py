"""The bound of a mailbox, what happens beyond it, and the flag that closes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["MailboxSpec", "StopFlag"]


@dataclass(frozen=True, slots=True)
class MailboxSpec:
    """Size and overflow policy of a mailbox.

    Overflow never raises in the sender's handler. Raises ``ValueError`` when a value is out of
    its range.
    """

    capacity: int = 1_000
    """User messages it holds. 1 to 10,000,000."""

    overflow: Literal["fail", "drop_new", "drop_old", "spill"] = "fail"
    """``fail``: the new message is a dead letter and, for an ask, a ``MailboxFull``. ``drop_new``
    and ``drop_old``: the new or the oldest message is dropped and counted. ``spill``: the new
    message is given to ``on_spill``."""

    on_spill: Callable[[Any], None] | None = None
    """Takes the envelope of a message that found no room; for ``spill`` only."""

    throughput: int = 1
    """Messages handled in one turn, as a multiple of the dispatcher's. 1 to 64."""

    def __post_init__(self) -> None:
        if not 1 <= self.capacity <= 10_000_000:
            raise ValueError(f"capacity: {self.capacity!r} given, 1 to 10,000,000 allowed")
        if not 1 <= self.throughput <= 64:
            raise ValueError(f"throughput: {self.throughput!r} given, 1 to 64 allowed")
        if (self.overflow == "spill") != (self.on_spill is not None):
            raise ValueError("on_spill: needed for overflow `spill`, and only for it")


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
