"""The life of an agent: one table of states and moves.

Unloaded → Loaded → Running → Draining → Stopped; Failed from Loaded, Running and Draining; Stopped
and Failed may load again.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from caxton.errors import InvalidState

__all__ = ["MOVES", "AgentState", "advance"]


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


MOVES: Final[Mapping[AgentState, frozenset[AgentState]]] = {
    AgentState.UNLOADED: frozenset({AgentState.LOADED}),
    AgentState.LOADED: frozenset({AgentState.RUNNING, AgentState.FAILED}),
    AgentState.RUNNING: frozenset({AgentState.DRAINING, AgentState.FAILED}),
    AgentState.DRAINING: frozenset({AgentState.STOPPED, AgentState.FAILED}),
    AgentState.STOPPED: frozenset({AgentState.LOADED}),
    AgentState.FAILED: frozenset({AgentState.LOADED}),
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
