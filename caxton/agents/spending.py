"""What an agent has spent, and whether it may spend more: the budget as a breaker before the call.

Counts are kept in memory from the time a version was loaded; a restart begins them anew.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from caxton.agents.definition import Budget, Spend
from caxton.errors import BudgetSpent

__all__ = ["Ledger"]

CONVERSATIONS: Final = 10_000
"""Conversations that are counted; the one longest without a call is forgotten first."""

_WINDOWS: Final = (("hour", 3_600.0), ("day", 86_400.0))


class _Counts:
    """What was spent in one window."""

    __slots__ = ("began", "llm_calls", "tokens", "tool_calls", "turns")

    def __init__(self, began: float) -> None:
        self.began = began
        self.tokens = self.tool_calls = self.llm_calls = self.turns = 0


class Ledger:
    """The counts of one agent version.

    Args:
        agent: its name, for errors.
        budget: its limits.
        clock: seconds that only grow.
    """

    def __init__(
        self, agent: str, budget: Budget, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._agent = agent
        self._budget = budget
        self._clock = clock
        self._windows = {name: _Counts(clock()) for name, _ in _WINDOWS}
        self._conversations: OrderedDict[bytes, _Counts] = OrderedDict()

    def begin_turn(self, conversation: bytes, max_turns: int) -> None:
        """Count a turn.

        Raises:
            BudgetSpent: the conversation has had ``max_turns`` already.
        """
        counts = self._of(conversation)
        if counts.turns >= max_turns:
            raise BudgetSpent(
                agent=self._agent, spent=counts.turns, limit=max_turns, what="turns",
                window="conversation",
            )  # fmt: skip
        counts.turns += 1

    def may_call_model(self, conversation: bytes) -> None:
        """Check that one more model call is within the budget.

        Raises:
            BudgetSpent: it is not; the call must not be made.
        """
        self._check(conversation, "llm_calls", 1)
        self._check(conversation, "tokens", 1)

    def may_call_tools(self, conversation: bytes, calls: int) -> None:
        """Check that ``calls`` more tool calls are within the budget.

        Raises:
            BudgetSpent: they are not; none of them must be made.
        """
        self._check(conversation, "tool_calls", calls)

    def add(
        self, conversation: bytes, *, tokens: int = 0, tool_calls: int = 0, llm_calls: int = 0
    ) -> None:
        """Count what was spent."""
        for counts in (self._of(conversation), *self._windows.values()):
            counts.tokens += tokens
            counts.tool_calls += tool_calls
            counts.llm_calls += llm_calls

    def _of(self, conversation: bytes) -> _Counts:
        counts = self._conversations.get(conversation)
        if counts is None:
            counts = self._conversations[conversation] = _Counts(self._clock())
            if len(self._conversations) > CONVERSATIONS:
                self._conversations.popitem(last=False)
        else:
            self._conversations.move_to_end(conversation)
        return counts

    def _check(self, conversation: bytes, what: str, amount: int) -> None:
        rows: list[tuple[str, Spend, _Counts]] = [
            ("conversation", self._budget.conversation, self._of(conversation))
        ]
        now = self._clock()
        for window, seconds in _WINDOWS:
            counts = self._windows[window]
            if now - counts.began >= seconds:
                counts = self._windows[window] = _Counts(now)
            rows.append((window, getattr(self._budget, window), counts))
        for window, limits, counts in rows:
            limit, spent = getattr(limits, what), getattr(counts, what)
            if limit is not None and spent + amount > limit:
                raise BudgetSpent(
                    agent=self._agent, spent=spent, limit=limit,
                    what=what.replace("_", " "), window=window,
                )  # fmt: skip
