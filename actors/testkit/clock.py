"""A clock that moves when a test says so."""

from __future__ import annotations

__all__ = ["ManualClock"]


class ManualClock:
    """A clock that stands still until it is moved.

    Args:
        start: first value of ``now``, in seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        """Seconds since some fixed moment."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass; raises ``ValueError`` for less than none."""
        if seconds < 0:
            raise ValueError(f"seconds: {seconds!r} given, at least 0 allowed")
        self._now += seconds
