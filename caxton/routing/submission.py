"""A frame of submissions, what is owed for it after its commit, and what a router counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from caxton.errors import CaxtonError
from caxton.message import Message
from caxton.observe.histogram import Histogram
from caxton.observe.tracing import Trace
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
    errors: dict[str, int] = {}
    """Error code to messages that were refused or failed with it."""

    def refuse(self, error: CaxtonError) -> None:
        """A message was refused."""
        self.refused += 1
        self.errors[error.code] = self.errors.get(error.code, 0) + 1

    def fail(self, error: CaxtonError) -> None:
        """A message failed for good."""
        self.failed += 1
        self.errors[error.code] = self.errors.get(error.code, 0) + 1


class Owed:
    """What is owed to the outside once the open batch is committed."""

    __slots__ = ("acks", "duplicates", "lookups", "replies", "traces", "trials")

    def __init__(self) -> None:
        self.acks: list[tuple[Origin, int, int, float]] = []
        """Origin, first reference, how many, and when they were accepted."""
        self.duplicates: list[tuple[Origin, int]] = []
        self.replies: list[tuple[Origin, bytes, Message]] = []
        self.lookups: list[Message] = []
        self.trials: list[Callable[[], None]] = []
        self.traces: list[Trace] = []

    def run(self, origin: Origin, first: int, following: int, since: float) -> None:
        """An acknowledgement for the references from ``first`` to before ``following``."""
        if following > first:
            self.acks.append((origin, first, following - first, since))

    def confirm(self, now: float, ack_us: Histogram, *, disk: bool) -> None:
        """Tell origins what is in the journal: runs of references, each as first and count."""
        runs: dict[int, tuple[Origin, list[int]]] = {}
        for origin, first, count, since in self.acks:
            ack_us.add(int((now - since) * 1e6), count)
            entry = runs.get(id(origin))
            if entry is None:
                runs[id(origin)] = (origin, [first, count])
                continue
            run = entry[1]
            if run[-2] + run[-1] == first:
                run[-1] += count
            else:
                run += (first, count)
        for origin, run in runs.values():
            origin.acked(run, disk=disk)
        for origin, reference in self.duplicates:
            origin.duplicate([reference], disk=disk)
