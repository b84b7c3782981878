"""Counters of an actor system, as a plain structure that a metrics exporter reads."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Counters", "Counts", "TurnCounters"]


@dataclass(slots=True)
class Counts:
    """What a system counts while it runs; a number may be read at any time."""

    started: int = 0
    stopped: int = 0
    failures: int = 0
    restarts: int = 0
    resumed: int = 0
    gave_up: int = 0
    killed: int = 0
    handled_before: int = 0
    """Messages handled by actors that have stopped."""
    overflows: int = 0
    expired_asks: int = 0
    late_replies: int = 0
    ask_cycles: int = 0


@dataclass(frozen=True, slots=True)
class TurnCounters:
    """What a dispatcher knows of its turns. Times are seconds."""

    name: str
    turns: int
    busy_s: float
    slow: int
    """Turns longer than its ``slow_turn_s``."""
    longest_s: float
    queue_delay_s: float
    """From a cell's wish for a turn to the turn: a moving mean."""
    longest_queue_delay_s: float
    ready: int
    """Cells that wait for a turn."""


@dataclass(frozen=True, slots=True)
class Counters:
    """A moment of an actor system. All but ``actors``, ``waiting`` and ``stashed`` only grow."""

    actors: int
    waiting: int
    """User messages in mailboxes."""
    stashed: int
    handled: int
    started: int
    stopped: int
    failures: int
    restarts: int
    resumed: int
    gave_up: int
    killed: int
    overflows: int
    expired_asks: int
    late_replies: int
    ask_cycles: int
    dead_letters: dict[str, int] = field(default_factory=dict)
    """By reason."""
    dispatchers: tuple[TurnCounters, ...] = ()
