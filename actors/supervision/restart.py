"""When to restart a failed child, and when to give up: the same rules for actors and processes.

Intensity and period are OTP's: more than ``intensity`` restarts within ``period_s`` is giving up.
The back-off is Pekko's: it doubles from ``min_backoff_s`` to ``max_backoff_s`` with some jitter,
and starts again after ``reset_after_s`` of health since the restart. The budget is the child's own.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from actors.supervision.directive import Directive, check_directives

__all__ = ["Backoff", "Budget", "RestartPolicy", "RestartTracker"]


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

    directives: Mapping[type[Exception], Directive] = field(default_factory=dict)
    """What a failure of a kind means, the closest class in its ancestry first: ``resume`` (the
    message is a dead letter, the instance goes on), ``restart`` (the default), ``stop`` (it ends
    for good) or ``escalate`` (its supervisor fails; without one it ends)."""

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
        check_directives(self.directives)


class Budget:
    """OTP's restart intensity: so many within a period, and one more is too many."""

    __slots__ = ("_intensity", "_period_s", "_recent")

    def __init__(self, intensity: int, period_s: float) -> None:
        self._intensity = intensity
        self._period_s = period_s
        self._recent: deque[float] = deque()

    def take(self, now: float) -> bool:
        """Count a restart at ``now``; False, and not counted, when it is one too many."""
        recent = self._recent
        while recent and recent[0] <= now - self._period_s:
            recent.popleft()
        if len(recent) >= self._intensity:
            return False
        recent.append(now)
        return True


class Backoff:
    """Pekko's back-off: longer after each failure, from the start again after health."""

    __slots__ = ("_max_s", "_min_s", "_random", "_random_factor", "_reset_s", "_streak", "_up")

    def __init__(
        self,
        min_s: float,
        max_s: float,
        random_factor: float,
        reset_after_s: float | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._random_factor = random_factor
        self._reset_s = (min_s + max_s) / 2 if reset_after_s is None else reset_after_s
        self._streak = 0
        self._up = float("-inf")
        self._random = (rng or random).random

    def next(self, now: float) -> float:
        """The delay after a failure at ``now``, in seconds."""
        if now - self._up > self._reset_s:
            self._streak = 0
        delay = min(self._max_s, self._min_s * 2.0 ** min(self._streak, 30))
        delay *= 1 + self._random_factor * self._random()
        self._streak += 1
        # Health begins with the restart: the longest delay alone would pass for health.
        self._up = now + delay
        return delay


class RestartTracker:
    """Counts the restarts of one child. Pure: the caller brings the time."""

    def __init__(self, policy: RestartPolicy, rng: random.Random | None = None) -> None:
        self.policy = policy
        self.restarts = 0
        """Restarts allowed so far."""
        self._budget = Budget(policy.intensity, policy.period_s)
        self._backoff = Backoff(
            policy.min_backoff_s,
            policy.max_backoff_s,
            policy.random_factor,
            policy.reset_after_s,
            rng,
        )

    def failed(self, now: float, *, normal: bool = False) -> float | None:
        """The child ended at ``now``; the delay before its restart, or None to give up.

        ``normal`` is an end without a failure, which a transient child is not restarted after.
        """
        restart = self.policy.restart
        if restart == "temporary" or (restart == "transient" and normal):
            return None
        if not self._budget.take(now):
            return None
        self.restarts += 1
        return self._backoff.next(now)
