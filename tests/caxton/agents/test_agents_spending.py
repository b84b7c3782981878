"""Budgets: stopped before the call that would go over."""

from __future__ import annotations

import pytest

from caxton.agents import spending
from caxton.agents.definition import Budget, Spend
from caxton.agents.spending import Ledger
from caxton.errors import BudgetSpent

A, B = b"a" * 16, b"b" * 16


def test_a_conversation_has_its_own_budget() -> None:
    """What one conversation spent does not count against another."""
    ledger = Ledger("X", Budget(conversation=Spend(llm_calls=1, tool_calls=2, tokens=10)))
    ledger.may_call_model(A)
    ledger.add(A, llm_calls=1, tokens=9, tool_calls=1)
    with pytest.raises(BudgetSpent, match="1 of 1 llm calls per conversation"):
        ledger.may_call_model(A)
    ledger.may_call_model(B)
    ledger.may_call_tools(A, 1)
    with pytest.raises(BudgetSpent, match="1 of 2 tool calls"):
        ledger.may_call_tools(A, 2)


def test_windows_begin_anew() -> None:
    """An hour later the hour's budget is whole again, the day's is not."""
    now = [0.0]
    budget = Budget(hour=Spend(tokens=10), day=Spend(tokens=15))
    ledger = Ledger("X", budget, lambda: now[0])
    ledger.add(A, tokens=10)
    with pytest.raises(BudgetSpent, match="10 of 10 tokens per hour"):
        ledger.may_call_model(B)
    now[0] = 3_600.0
    ledger.may_call_model(B)
    ledger.add(B, tokens=5)
    with pytest.raises(BudgetSpent, match="per day"):
        ledger.may_call_model(B)


def test_turns_of_a_conversation_are_bounded() -> None:
    """The turn after the last allowed one is refused."""
    ledger = Ledger("X", Budget())
    ledger.begin_turn(A, 1)
    with pytest.raises(BudgetSpent, match="1 of 1 turns"):
        ledger.begin_turn(A, 1)
    ledger.begin_turn(B, 1)


def test_old_conversations_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting takes bounded memory; the one longest unused goes first."""
    monkeypatch.setattr(spending, "CONVERSATIONS", 2)
    ledger = Ledger("X", Budget())
    for conversation in (A, B, A, b"c" * 16):
        ledger.begin_turn(conversation, 5)
    assert set(ledger._conversations) == {A, b"c" * 16}
