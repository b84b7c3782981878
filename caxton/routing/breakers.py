"""Circuit breakers: an agent that keeps failing is left alone, then tried with one message.

Each destination that fails has a breaker of its own, an actor. It is *closed* while messages go
through; after ``threshold`` failures in a row, slow handling among them, it is *open* and lets none
through; when its time is over it is *half-open* and lets one through, the probe. When the probe
succeeds it closes; when it fails it opens again, for twice as long, up to five minutes.

The breaker decides; delivery is told how many messages may be with the agent: all of its window,
one, or none. A destination that does not fail has no breaker and costs nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from actors import Actor, ActorRef, ActorSystem, RestartPolicy
from caxton.errors import CaxtonError
from caxton.routing.reasons import temporary
from caxton.types import CircuitBreakerTimeoutMs

__all__ = ["Breaker", "Breakers", "Circuit", "CircuitState", "works"]

RESTART = RestartPolicy(restart="permanent", intensity=10, period_s=10.0)
LONGEST_MS = int(CircuitBreakerTimeoutMs.high)
_OTHERS_FAULT = frozenset(
    {"AGENT_OFFLINE", "POSTPONED", "CIRCUIT_OPEN", "QUEUE_FULL", "RATE_LIMITED", "BUDGET_SPENT",
     "STORAGE_ERROR", "STORAGE_FULL"}
)  # fmt: skip
"""Failures that say nothing of whether the agent works."""


def works(error: CaxtonError) -> bool | None:
    """Whether a failure says that the agent works; None when it says nothing of the agent.

    A permanent failure is one of the message: the agent looked at it.
    """
    return None if error.code in _OTHERS_FAULT else not temporary(error)


class CircuitState(enum.StrEnum):
    """Whether messages go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(slots=True)
class Circuit:
    """What a breaker knows; it outlives a restart of its actor."""

    target: bytes
    state: CircuitState = CircuitState.CLOSED
    failures: int = 0
    """In a row; slow handling counts."""
    slow: int = 0
    """How many of them were slow."""
    opened: int = 0
    """How often it opened since it was last closed."""
    since: int = 0
    """When it came to its state, in milliseconds since 1970."""
    until: int = 0
    """When an open one lets a probe through; 0 for one that is not open."""
    probes: float = 0.0
    """The same in seconds of the system's clock, which nobody sets."""
    reason: str = ""
    """The failure that opened it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a delivery went: a failure with its reason, or a success."""

    reason: str = ""
    slow: bool = False


class _Reset:
    """Somebody says that the destination works again."""


class _Probe:
    """An open breaker's time is over."""


class Breaker(Actor):
    """The actor of one destination's breaker."""

    def __init__(self, circuit: Circuit, breakers: Breakers) -> None:
        super().__init__()
        self.circuit = circuit
        self.breakers = breakers

    def on_start(self) -> None:
        """Go on where the actor before this one was."""
        if self.circuit.state is CircuitState.OPEN:
            self._wait()

    def _wait(self) -> None:
        left_s = max(0.0, self.circuit.probes - self.breakers.clock())
        self.timers.start_single("probe", _Probe(), left_s)

    def on_receive(self, message: Any) -> None:
        """Take in how a delivery went, a reset, or the end of the open time."""
        circuit, kind = self.circuit, type(message)
        if kind is _Probe:
            if circuit.state is CircuitState.OPEN:
                self._move(CircuitState.HALF_OPEN)
        elif kind is _Reset or not message.reason:
            if kind is _Reset or circuit.state is not CircuitState.OPEN:
                self._close()
        else:
            self._failed(message)

    def _failed(self, outcome: Outcome) -> None:
        circuit = self.circuit
        if circuit.state is CircuitState.OPEN:
            # It was under way before the breaker opened.
            return
        circuit.failures += 1
        circuit.slow += outcome.slow
        probe = circuit.state is CircuitState.HALF_OPEN
        if probe or circuit.failures >= self.breakers.threshold:
            open_ms = min(LONGEST_MS, self.breakers.timeout_ms * 2**circuit.opened)
            circuit.opened += 1
            circuit.reason = outcome.reason
            circuit.until = self.breakers.now_ms() + open_ms
            circuit.probes = self.breakers.clock() + open_ms / 1_000
            self._move(CircuitState.OPEN)
            self._wait()

    def _close(self) -> None:
        circuit = self.circuit
        circuit.failures = circuit.slow = circuit.opened = circuit.until = 0
        circuit.reason = ""
        if circuit.state is not CircuitState.CLOSED:
            self.timers.cancel("probe")
            self._move(CircuitState.CLOSED)

    def _move(self, state: CircuitState) -> None:
        circuit = self.circuit
        circuit.state = state
        circuit.since = self.breakers.now_ms()
        if state is not CircuitState.OPEN:
            circuit.until = 0
        self.breakers.moved(circuit)


class Breakers:
    """The breakers of one shard, by destination.

    Args:
        system: where their actors live.
        now_ms: milliseconds since 1970.
        threshold: failures in a row that open a breaker.
        timeout_ms: how long it is open the first time.
        changed: told of each change of state, so that delivery lets through what the state allows.
    """

    def __init__(
        self,
        system: ActorSystem,
        now_ms: Callable[[], int],
        *,
        threshold: int,
        timeout_ms: int,
        changed: Callable[[Circuit], None],
    ) -> None:
        self.now_ms = now_ms
        self.clock = system.clock.now
        self.threshold = threshold
        self.timeout_ms = timeout_ms
        self.opened = 0
        """How often a breaker opened."""
        self._system = system
        self._changed = changed
        self._known: dict[bytes, tuple[Circuit, ActorRef[Any]]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def circuits(self) -> list[Circuit]:
        """Every breaker there is: of each destination that ever failed."""
        return [circuit for circuit, _ in self._known.values()]

    @property
    def open(self) -> int:
        """Breakers that are not closed."""
        return sum(one.state is not CircuitState.CLOSED for one, _ in self._known.values())

    def failed(self, target: bytes, reason: str, *, slow: bool = False) -> None:
        """A delivery to ``target`` failed, or took too long."""
        known = self._known.get(target)
        if known is None:
            circuit = Circuit(target, since=self.now_ms())
            ref = self._system.spawn(Breaker, circuit, self, restart=RESTART)
            known = self._known[target] = circuit, ref
        known[1].tell(Outcome(reason, slow))

    def succeeded(self, target: bytes) -> None:
        """A delivery to ``target`` succeeded."""
        known = self._known.get(target)
        if known is not None:
            known[1].tell(Outcome())

    def reset(self, target: bytes) -> bool:
        """Close the breaker of ``target`` now; whether it had one."""
        known = self._known.get(target)
        if known is not None:
            known[1].tell(_Reset())
        return known is not None

    def moved(self, circuit: Circuit) -> None:
        """A breaker came to another state."""
        if circuit.target in self._known:
            self.opened += circuit.state is CircuitState.OPEN
            self._changed(circuit)

    def room(self, target: bytes, window: int) -> int:
        """How many messages may be with ``target``, when ``window`` may be with one that works."""
        known = self._known.get(target)
        if known is None or known[0].state is CircuitState.CLOSED:
            return window
        return 0 if known[0].state is CircuitState.OPEN else 1

    def left_s(self, target: bytes) -> float:
        """How long ``target`` gets nothing yet, in seconds."""
        known = self._known.get(target)
        if known is None or known[0].state is not CircuitState.OPEN:
            return 0.0
        return max(0.0, known[0].probes - self.clock())

    def forget(self, target: bytes) -> None:
        """The destination is gone for good."""
        known = self._known.pop(target, None)
        if known is not None:
            known[1].stop(block=False)
