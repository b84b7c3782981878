"""Time as an argument: whatever waits takes a clock, and tests give it a manual one."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Seconds that never go back."""

    def now(self) -> float:
        """Seconds since some fixed moment."""
        ...


class SystemClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Seconds since some fixed moment."""
        return time.monotonic()
