"""Named points in code at which a test lets things fail; they do nothing unless armed.

A call has two halves, and each can fail alone: its *request*, before anything was done, and its
*reply*, after everything was done when only the answer is lost. The second finds what is not
idempotent::

    point("journal.append")
    number = append(record)
    replied("journal.append")
    return number

Armed by ``arm`` (see ``actors.testkit.faults``) or by the environment variable ``ACTORS_FAULTS``,
which child processes inherit::

    ACTORS_FAULTS="journal.append=req:0.1,rep:0.05x3;link.*=req:@2@7;seed=7"

``0.1`` is a probability, ``x3`` at most how often, ``@2@7`` the second and the seventh call. A
pattern with ``*`` stands for every point of that kind, each with a count and chances of its own.
"""

from __future__ import annotations

import logging
import os
import random
import re
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, Literal

from actors.errors import FaultInjected

__all__ = [
    "ENVIRONMENT",
    "FaultEvent",
    "FaultPlan",
    "FaultRule",
    "Half",
    "arm",
    "disarm",
    "parse_faults",
    "point",
    "replied",
]

logger = logging.getLogger("actors.faults")

ENVIRONMENT: Final = "ACTORS_FAULTS"
LOG_LENGTH: Final = 10_000
"""Injected failures that a plan remembers."""

Half = Literal["request", "reply"]
_HALVES: Final[Mapping[str, Half]] = {"req": "request", "rep": "reply"}
_SHORT: Final = {half: short for short, half in _HALVES.items()}
_VALUE: Final = re.compile(r"(?P<chance>\d+(?:\.\d+)?)(?:x(?P<limit>\d+))?|(?P<at>(?:@\d+)+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """When one half of a point's calls fails. Raises ``ValueError`` when out of its range."""

    probability: float = 1.0
    """Of each call, 0 to 1."""
    limit: int | None = None
    """How often at most; None for no limit. At least 0."""
    at: frozenset[int] | None = None
    """The calls that fail, counted from 1, instead of a probability."""
    error: Callable[[str], Exception] | None = None
    """Makes what is raised, from a text; ``FaultInjected`` when not given."""

    def __post_init__(self) -> None:
        checks = (
            ("probability", 0 <= self.probability <= 1, "0 to 1"),
            ("limit", self.limit is None or self.limit >= 0, "at least 0, or None"),
            ("at", self.at is None or all(call >= 1 for call in self.at), "calls from 1"),
        )
        for name, good, allowed in checks:
            if not good:
                raise ValueError(f"{name}: {getattr(self, name)!r} given, {allowed} allowed")

    def __str__(self) -> str:
        if self.at is not None:
            return "".join(f"@{call}" for call in sorted(self.at))
        return f"{self.probability:g}" + ("" if self.limit is None else f"x{self.limit}")


@dataclass(frozen=True, slots=True)
class FaultEvent:
    """A failure that was injected."""

    point: str
    half: Half
    call: int
    """Which call of this half of this point, from 1."""


@dataclass(slots=True)
class _Half:
    rule: FaultRule | None
    random: random.Random
    calls: int = 0
    failed: int = 0

    def fails(self) -> bool:
        self.calls += 1
        rule = self.rule
        if rule is None:
            return False
        if rule.at is not None:
            return self.calls in rule.at
        # Drawn also past the limit, so that a limit changes no other call's fate.
        unlucky = self.random.random() < rule.probability
        return unlucky and (rule.limit is None or self.failed < rule.limit)


@dataclass(slots=True)
class FaultPlan:
    """What fails when. The chances of a point depend on the seed and its own calls alone."""

    rules: Mapping[str, Mapping[Half, FaultRule]]
    """By name or pattern of points; the first that fits holds."""
    seed: int = field(default_factory=lambda: secrets.randbits(32))
    log: deque[FaultEvent] = field(default_factory=lambda: deque(maxlen=LOG_LENGTH))
    """What was injected, in order; the oldest go first."""
    _points: dict[tuple[str, Half], _Half] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __str__(self) -> str:
        """As the environment variable has it; the same text gives the same failures."""
        parts = [
            f"{name}=" + ",".join(f"{_SHORT[half]}:{rule}" for half, rule in halves.items())
            for name, halves in self.rules.items()
        ]
        return ";".join((*parts, f"seed={self.seed}"))

    def replay(self) -> str:
        """As the environment variable has it, for just the failures of the log."""
        calls: dict[str, dict[Half, set[int]]] = {}
        for event in self.log:
            calls.setdefault(event.point, {}).setdefault(event.half, set()).add(event.call)
        return ";".join(
            f"{name}="
            + ",".join(
                f"{_SHORT[half]}:{FaultRule(at=frozenset(at))}" for half, at in halves.items()
            )
            for name, halves in calls.items()
        )

    def calls(self, name: str, half: Half = "request") -> int:
        """How often a half of a point was passed."""
        known = self._points.get((name, half))
        return known.calls if known is not None else 0

    def _rule(self, name: str, half: Half) -> FaultRule | None:
        for pattern, halves in self.rules.items():
            if fnmatchcase(name, pattern):
                return halves.get(half)
        return None

    def hit(self, name: str, half: Half) -> None:
        """A call passes a point: raise if this one fails."""
        with self._lock:
            known = self._points.get((name, half))
            if known is None:
                rng = random.Random(f"{self.seed}/{name}/{half}")
                known = self._points[name, half] = _Half(self._rule(name, half), rng)
            if not known.fails():
                return
            known.failed += 1
            event = FaultEvent(name, half, known.calls)
            self.log.append(event)
        logger.warning("fault: %s of %s fails, call %d", half, name, event.call)
        error = known.rule.error if known.rule is not None else None
        if error is not None:
            raise error(f"{half} of {name} fails on purpose (call {event.call}, seed {self.seed})")
        raise FaultInjected(name, half, event.call, self.seed)


_plan: FaultPlan | None = None


def point(name: str) -> None:
    """Before the work of ``name`` begins: fails its request when armed to.

    Raises:
        FaultInjected: or what the rule says.
    """
    if _plan is not None:
        _plan.hit(name, "request")


def replied(name: str) -> None:
    """After the work of ``name`` is done: fails its reply when armed to.

    Raises:
        FaultInjected: or what the rule says.
    """
    if _plan is not None:
        _plan.hit(name, "reply")


def parse_faults(text: str) -> FaultPlan:
    """Read a plan as the environment variable has it.

    Raises:
        ValueError: it is none; says which part and what is allowed.
    """
    rules: dict[str, dict[Half, FaultRule]] = {}
    seed: int | None = None
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, value = part.partition("=")
        if name == "seed":
            if not value.isdecimal():
                raise ValueError(f"{ENVIRONMENT}: seed {value!r} given, a number allowed")
            seed = int(value)
            continue
        halves = rules.setdefault(name, {})
        for one in value.split(","):
            short, _, when = one.strip().partition(":")
            found = _VALUE.fullmatch(when)
            if not name or short not in _HALVES or found is None:
                raise ValueError(
                    f"{ENVIRONMENT}: {part!r} given, name=req:0.1,rep:0.05x3 or name=req:@2 allowed"
                )
            halves[_HALVES[short]] = _read(found)
    return FaultPlan(rules) if seed is None else FaultPlan(rules, seed)


def _read(found: re.Match[str]) -> FaultRule:
    if found["at"] is not None:
        return FaultRule(at=frozenset(map(int, found["at"][1:].split("@"))))
    limit = int(found["limit"]) if found["limit"] is not None else None
    return FaultRule(probability=float(found["chance"]), limit=limit)


def arm(plan: FaultPlan | str) -> FaultPlan:
    """Let points fail by ``plan`` from now on, in this process. Logs it, seed included.

    Raises:
        ValueError: the text is no plan.
    """
    global _plan
    made = parse_faults(plan) if isinstance(plan, str) else plan
    _plan = made
    logger.warning("faults are armed; again with %s=%r", ENVIRONMENT, str(made))
    return made


def disarm() -> None:
    """Nothing fails any more."""
    global _plan
    _plan = None


if os.environ.get(ENVIRONMENT):
    arm(os.environ[ENVIRONMENT])
