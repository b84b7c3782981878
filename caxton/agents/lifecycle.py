"""The life of an agent: one table of states and moves.

Unloaded → Loaded → Running → Draining → Stopped; Failed from Loaded, Running and Draining; Stopped
and Failed may load again. ``docs/reference/agent-lifecycle.md`` is made from the tables.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from caxton.errors import InvalidState

__all__ = ["LIFECYCLE", "MOVES", "STATES", "AgentState", "Move", "advance"]


class AgentState(enum.Enum):
    """Where an agent is in its life."""

    UNLOADED = "unloaded"
    LOADED = "loaded"
    """Its version is in memory; it takes no messages yet."""
    RUNNING = "running"
    DRAINING = "draining"
    """It finishes what it has and takes nothing new."""
    STOPPED = "stopped"
    FAILED = "failed"
    """It is out of service until it is loaded again."""


@dataclass(frozen=True, slots=True)
class Move:
    """One row of the lifecycle: where an agent may go, and what takes it there."""

    current: AgentState
    wanted: AgentState
    cause: str


LIFECYCLE: Final = (
    Move(
        AgentState.UNLOADED, AgentState.LOADED,
        "its file is valid and its shard makes it; or an operator starts it",
    ),
    Move(AgentState.LOADED, AgentState.RUNNING, "its actor runs: it gets its route"),
    Move(AgentState.LOADED, AgentState.FAILED, "its code does not load"),
    Move(
        AgentState.RUNNING, AgentState.DRAINING,
        "its file is deleted, an operator drains or stops it, or the node stops",
    ),
    Move(
        AgentState.RUNNING, AgentState.FAILED,
        "it failed too often, or all it may do at once is stuck: it loses its route",
    ),
    Move(AgentState.DRAINING, AgentState.STOPPED, "it has finished, or its time is up"),
    Move(AgentState.DRAINING, AgentState.FAILED, "it failed while it finished"),
    Move(AgentState.STOPPED, AgentState.LOADED, "an operator starts it"),
    Move(
        AgentState.FAILED, AgentState.LOADED,
        "it is tried again, its file changed, or an operator starts it",
    ),
)  # fmt: skip
"""Every move there is. When its process ends, an agent is unloaded, whatever it was."""

STATES: Final[Mapping[AgentState, str]] = {
    AgentState.UNLOADED: "It is registered, and nothing of it is in memory.",
    AgentState.LOADED: "Its version is in memory; it takes no messages yet.",
    AgentState.RUNNING: "It takes messages, and capabilities find it.",
    AgentState.DRAINING: "It finishes what it has; new messages wait for it.",
    AgentState.STOPPED: "It is out of service until an operator starts it; messages wait for it.",
    AgentState.FAILED: "It is out of service until it works again; messages wait for it.",
}
"""What each state means."""

MOVES: Final[Mapping[AgentState, frozenset[AgentState]]] = {
    state: frozenset(move.wanted for move in LIFECYCLE if move.current is state)
    for state in AgentState
}
"""From each state, where it may go."""


def advance(current: AgentState, wanted: AgentState, agent: str) -> AgentState:
    """The state ``wanted``, when ``agent`` may go there from ``current``.

    Raises:
        InvalidState: the table has no such move; the error names both states.
    """
    if wanted in MOVES[current]:
        return wanted
    raise InvalidState(agent=agent, current=current.value, wanted=wanted.value)
