"""The life of an agent."""

from __future__ import annotations

import itertools

import pytest

from caxton.agents.lifecycle import MOVES, AgentState, advance
from caxton.errors import InvalidState


@pytest.mark.parametrize(
    ("current", "wanted"), list(itertools.product(AgentState, AgentState)), ids=str
)
def test_only_the_moves_of_the_table_are_made(current: AgentState, wanted: AgentState) -> None:
    """A move is made when the table has it, else both states are named."""
    if wanted in MOVES[current]:
        assert advance(current, wanted, "Echo") is wanted
    else:
        with pytest.raises(InvalidState, match=f"from {current.value} to {wanted.value}"):
            advance(current, wanted, "Echo")


def test_the_table_is_that_of_the_design() -> None:
    """Stopped and failed agents load again; only three states can fail."""
    fails = {state for state in AgentState if AgentState.FAILED in MOVES[state]}
    assert fails == {AgentState.LOADED, AgentState.RUNNING, AgentState.DRAINING}
    loads = {state for state in AgentState if AgentState.LOADED in MOVES[state]}
    assert loads == {AgentState.UNLOADED, AgentState.STOPPED, AgentState.FAILED}
