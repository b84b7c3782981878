"""How often the agents of a process went on without what they remember, and why."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Literal, TypeAlias

__all__ = ["MemoryOutage", "Why"]

logger = logging.getLogger("caxton.agents.memory")

Why: TypeAlias = Literal["timeout", "failed", "paused", "refused"]
"""No answer in time; an error that goes away; not asked because of one of these a moment before; an
error that stays."""


class MemoryOutage:
    """Shared by all agents of a process: one line in the log when it begins, one when it ends."""

    def __init__(self) -> None:
        self.turns: Counter[str] = Counter()
        """Turns without memory context, by ``Why``."""
        self._lasts = False
        self._since = 0
        self._refusal = ""

    def missed(self, agent: str, what: str, why: Why, reason: str) -> None:
        """An agent goes on without the memory.

        Args:
            agent: its name.
            what: it wanted: ``search`` for the context of a turn, or ``store``.
            why: of the few kinds.
            reason: in words.
        """
        if what == "search":
            self.turns[why] += 1
        if why == "refused":
            if reason != self._refusal:
                self._refusal = reason
                logger.warning("%s goes on without its memory (%s): %s", agent, what, reason)
        elif not self._lasts:
            self._lasts = True
            self._since = self.turns.total() - (what == "search")
            logger.warning(
                "%s goes on without its memory (%s), as others do while it is so: %s",
                agent, what, reason,
            )  # fmt: skip

    def answered(self) -> None:
        """The memory answered an agent."""
        if self._lasts:
            self._lasts = False
            turns = self.turns.total() - self._since
            logger.warning("the memory answers again; %d turns went on without it", turns)
