"""When to restart a failed child, and when to give up: the same rules for actors and processes.

Intensity and period are OTP's: more than ``intensity`` restarts within ``period_s`` is giving up.
The back-off is Pekko's: it doubles from ``min_backoff_s`` to ``max_backoff_s`` with some jitter,
and starts again after ``reset_after_s`` without a failure. The budget is the child's own.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Literal

__all__ = ["RestartPolicy", "RestartTracker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """How a child is restarted.

    Raises ``ValueError`` when a value is out of its range.
    """

    restart: Literal["permanent", "transient", "temporary"] = "permanent"
    """``permanent``: always. ``transient``: only after a failure. ``temporary``: never."""

    intensity: int = 5
    """Restarts allowed within the period; one more and the supervisor gives up. 0 to 10,000."""

    period_s: float = 10.0
    """Length of the period, in seconds. More than 0."""

    min_backoff_s: float = 0.1
    """Delay of the first restart, in seconds. At least 0."""

    max_backoff_s: float = 10.0
    """Longest delay, in seconds. At least ``min_backoff_s``."""

    random_factor: float = 0.2
    """Each delay is lengthened by up to this share, so that children do not come back at once."""

    reset_after_s: float | None = None
    """Healthy time after which the delay starts from its minimum again; None means the mean of
    the two back-offs."""

    max_redeliveries: int = 0
    """How often the message that failed is given to the restarted actor before it becomes a dead
    letter. 0 to 100."""

    def __post_init__(self) -> None:
        checks = (
            ("intensity", 0 <= self.intensity <= 10_000, "0 to 10,000"),
            ("period_s", self.period_s > 0, "more than 0"),
            ("min_backoff_s", self.min_backoff_s >= 0, "at least 0"),
            ("max_backoff_s", self.max_backoff_s >= self.min_backoff_s, "at least min_backoff_s"),
            ("random_factor", 0 <= self.random_factor <= 1, "0 to 1"),
            ("max_redeliveries", 0 <= self.max_redeliveries <= 100, "0 to 100"),
        )
        for name, good, allowed in checks:
            if not good:
                raise ValueError(f"{name}: {getattr(self, name)!r} given, {allowed} allowed")


class RestartTracker:
    """Counts the restarts of one child. Pure: the caller brings the time."""

    def __init__(self, policy: RestartPolicy, rng: random.Random | None = None) -> None:
        self.policy = policy
        self.restarts = 0
        """Restarts allowed so far."""
        self._recent: deque[float] = deque()
        self._streak = 0
        self._last = float("-inf")
        self._random = (rng or random).random

    def failed(self, now: float, *, normal: bool = False) -> float | None:
        """The child ended at ``now``; the delay before its restart, or None to give up.

        ``normal`` is an end without a failure, which a transient child is not restarted after.
        """
        policy = self.policy
        if policy.restart == "temporary" or (policy.restart == "transient" and normal):
            return None
        recent = self._recent
        while recent and recent[0] <= now - policy.period_s:
            recent.popleft()
        if len(recent) >= policy.intensity:
            return None
        reset = policy.reset_after_s
        if reset is None:
            reset = (policy.min_backoff_s + policy.max_backoff_s) / 2
        if now - self._last > reset:
            self._streak = 0
        recent.append(now)
        self._last = now
        self.restarts += 1
        delay = min(policy.max_backoff_s, policy.min_backoff_s * 2.0 ** min(self._streak, 30))
        self._streak += 1
        return delay * (1 + policy.random_factor * self._random())
