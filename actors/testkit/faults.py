"""Arming fault points for the length of a test. What they are says ``actors.fault_points``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from actors.errors import FaultInjected
from actors.fault_points import FaultEvent, FaultPlan, FaultRule, Half, arm, disarm, parse_faults

__all__ = [
    "FaultEvent",
    "FaultInjected",
    "FaultPlan",
    "FaultRule",
    "arm",
    "armed",
    "disarm",
    "parse_faults",
]


@contextlib.contextmanager
def armed(
    rules: str | Mapping[str, Mapping[Half, FaultRule]], seed: int | None = None
) -> Iterator[FaultPlan]:
    """Points fail by ``rules`` within the block; after it nothing is armed.

    Args:
        rules: as the environment variable has them, or by name (or pattern) and half.
        seed: of the chances; a new one when not given. The log says which.

    Raises:
        ValueError: the text is no plan.
    """
    plan = parse_faults(rules) if isinstance(rules, str) else FaultPlan(rules)
    if seed is not None:
        plan.seed = seed
    arm(plan)
    try:
        yield plan
    finally:
        disarm()
