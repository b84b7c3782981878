"""A fence: told when everything put into a mailbox before it has been dealt with."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

__all__ = ["Fence"]


class Fence:
    """Stands behind the messages of a batch, so that the batch needs no counting.

    Args:
        reached: called once, when what stood before it was handled, put aside by the actor, or has
            become dead letters.
    """

    __slots__ = ("_reached",)

    of_runtime: ClassVar[bool] = True

    def __init__(self, reached: Callable[[], None]) -> None:
        self._reached: Callable[[], None] | None = reached

    def reach(self) -> None:
        """The mailbox got here, or ended."""
        reached, self._reached = self._reached, None
        if reached is not None:
            reached()
