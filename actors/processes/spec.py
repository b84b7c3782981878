"""What a child process is, and what a listing shows of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

from actors.supervision.restart import RestartPolicy

__all__ = ["Main", "ProcessCounters", "ProcessInfo", "ProcessSpec", "State"]

Main = Callable[..., Coroutine[Any, Any, None]]
State = Literal["starting", "ready", "restarting", "stopping", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A child process. Raises ``ValueError`` when a time is out of its range."""

    name: str
    """Shown in listings and as the process title."""
    main: Main
    """Coroutine function, importable by name: ``main(control, *args)``; runs on a loop of its own
    until the drain it awaits."""
    args: tuple[Any, ...] = ()
    """Picklable arguments, sockets included. They go to the child before it runs: small ones."""
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    start_timeout_s: float = 60.0
    """From its start to its ``ready``. More than 0."""
    heartbeat_timeout_s: float = 30.0
    """Without a heartbeat, or with a stuck event loop, for this long it is killed. More than 0;
    less than 1 s is for tests: a busy machine is late by as much."""
    shutdown_s: float = 5.0
    """Time to drain when it is stopped because another child of its group failed. At least 0;
    0 kills at once (OTP's brutal_kill)."""

    def __post_init__(self) -> None:
        checks = (
            ("start_timeout_s", self.start_timeout_s > 0, "more than 0"),
            ("heartbeat_timeout_s", self.heartbeat_timeout_s > 0, "more than 0"),
            ("shutdown_s", self.shutdown_s >= 0, "at least 0"),
        )
        for name, good, allowed in checks:
            if not good:
                raise ValueError(f"{name}: {getattr(self, name)!r} given, {allowed} allowed")


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What a listing shows."""

    name: str
    pid: int
    state: State
    restarts: int
    started_at: float
    """Time of the supervisor's clock."""
    lag_s: float
    """How far its event loop was behind at the last heartbeat."""


@dataclass(frozen=True, slots=True)
class ProcessCounters:
    """A moment of a supervisor. All but ``children`` only grow."""

    children: dict[str, int]
    """By state."""
    started: int
    """Processes, those of restarts included."""
    restarts: int
    """Processes started in place of one that ended."""
    gave_up: int
    """Children that failed more often than allowed."""
    exits: dict[str, int]
    """By how, such as ``exit code 0`` and ``signal SIGKILL``."""
    kills: dict[str, int]
    """Processes killed from here, by why: ``silent`` (no heartbeat), ``stuck`` (event loop),
    ``unready``, ``garbled`` (what it said), ``undrained``."""
    dropped_words: int
    """Words not sent because a child did not read."""
