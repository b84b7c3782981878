"""Profiles: values that belong together, for a laptop and for a machine that serves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PROFILES", "Cores", "Profile", "cores", "profiled"]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


@dataclass(frozen=True, slots=True)
class Cores:
    """As many as this process has cores, at most so many."""

    at_most: int

    def __call__(self) -> int:
        """The number on this machine."""
        return max(1, min(self.at_most, cores()))

    def __str__(self) -> str:
        return f"cores, at most {self.at_most}"


Profile = Mapping[str, str | int | float | bool | Cores]
"""Setting key to its value."""

PROFILES: dict[str, Profile] = {
    "standard": {},
    "development": {
        "shards": Cores(2),
        "durability": "process",
        "watch": True,
        "trace.ratio": 1.0,
        "log.level": "debug",
        "log.messages": "all",
    },
    "production": {
        "shards": Cores(16),
        "durability": "disk",
        "watch": True,
        "conversation.timeout_ms": 3_600_000,
        "message.retries": 5,
        "trace.ratio": 0.01,
        "log.level": "info",
    },
}
"""What a profile sets in place of the default; all that is given otherwise goes before it."""


def profiled(name: str) -> dict[str, Any]:
    """The values of a profile on this machine by setting key."""
    return {
        key: value() if isinstance(value, Cores) else value for key, value in PROFILES[name].items()
    }
