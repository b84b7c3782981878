"""A frame of submissions, what is owed for it after its commit, and what a router counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from caxton.message import Message
from caxton.routing.accepted import Origin

__all__ = ["Counters", "Owed", "Submission"]


class Submission(msgspec.Struct):
    """A frame of submitted messages, as the router gets it."""

    origin: Any
    first: int
    wait: bool
    messages: Sequence[bytes | msgspec.Raw]


class Counters(msgspec.Struct):
    """Plain counts since the process started."""

    accepted: int = 0
    handled: int = 0
    failed: int = 0
    duplicates: int = 0
    refused: int = 0
    dead_letters: int = 0


class Owed:
    """What is owed to the outside once the open batch is committed."""

    __slots__ = ("acks", "duplicates", "lookups", "replies", "trials")

    def __init__(self) -> None:
        self.acks: list[tuple[Origin, int, float]] = []
        self.duplicates: list[tuple[Origin, int]] = []
        self.replies: list[tuple[Origin, bytes, Message]] = []
        self.lookups: list[tuple[Origin, Message]] = []
        self.trials: list[Callable[[], None]] = []
