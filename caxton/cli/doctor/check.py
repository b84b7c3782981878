"""What a check finds, and what checks need to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from caxton.cli.invocation import Invocation

if TYPE_CHECKING:
    from caxton.config import Loaded

__all__ = ["Check", "Level", "Surroundings", "fail", "ok", "warn"]

Level = Literal["ok", "warn", "fail"]


class Check(msgspec.Struct, frozen=True):
    """One line of the doctor."""

    level: Level
    name: str
    value: str
    remedy: str = ""
    """What to do; empty when there is nothing to do."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the checks look at."""

    invocation: Invocation
    loaded: Loaded | None
    """None when the configuration itself is wrong; its group says so."""
    config_error: str = ""


def ok(name: str, value: str, remedy: str = "") -> Check:
    """As it should be."""
    return Check("ok", name, value, remedy)


def warn(name: str, value: str, remedy: str) -> Check:
    """Works, and needs attention."""
    return Check("warn", name, value, remedy)


def fail(name: str, value: str, remedy: str) -> Check:
    """Does not work."""
    return Check("fail", name, value, remedy)
