"""Whose turn it is: a fair line of calls that wait, by owner.

Owners take turns, whatever each has waiting, so that one agent with a thousand calls does not keep
another from its first.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from typing import Generic, TypeVar

__all__ = ["Turns"]

Thing = TypeVar("Thing")


class Turns(Generic[Thing]):
    """Calls that wait for a thing, and how many each owner has at the moment.

    Args:
        most_each: how many an owner may have at once; 0 for no bound.
    """

    def __init__(self, most_each: int = 0) -> None:
        self._most_each = most_each
        self._line: OrderedDict[str, deque[asyncio.Future[Thing]]] = OrderedDict()
        self._held: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(not turn.done() for turns in self._line.values() for turn in turns)

    def of(self, owner: str) -> int:
        """How many calls of ``owner`` wait."""
        return sum(not turn.done() for turn in self._line.get(owner, ()))

    def may_hold(self, owner: str) -> bool:
        """Whether ``owner`` may have one more."""
        return not self._most_each or self._held[owner] < self._most_each

    def held(self, owner: str) -> None:
        """``owner`` has one more."""
        self._held[owner] += 1

    def given_back(self, owner: str) -> None:
        """``owner`` has one less."""
        self._held[owner] -= 1
        if self._held[owner] <= 0:
            del self._held[owner]

    def wait(self, owner: str) -> asyncio.Future[Thing]:
        """Stand in line; the result is the thing, which ``owner`` then holds."""
        turn: asyncio.Future[Thing] = asyncio.get_running_loop().create_future()
        self._line.setdefault(owner, deque()).append(turn)
        return turn

    def leave(self, owner: str, turn: asyncio.Future[Thing]) -> bool:
        """Leave the line; False when it had been left already."""
        turns = self._line.get(owner)
        if turns is None or turn not in turns:
            return False
        turns.remove(turn)
        if not turns:
            del self._line[owner]
        return True

    def give(self, thing: Thing) -> bool:
        """Give the thing to the next in line that may hold it; False when there is nobody."""
        found = self._next()
        if found is None:
            return False
        owner, turn = found
        self.held(owner)
        turn.set_result(thing)
        return True

    def refuse(self, error: Exception, *, all_of_them: bool = False) -> None:
        """Let the next in line, or all, fail with ``error``."""
        while (found := self._next(any_owner=True)) is not None:
            found[1].set_exception(error)
            if not all_of_them:
                return

    def _next(self, *, any_owner: bool = False) -> tuple[str, asyncio.Future[Thing]] | None:
        for owner in list(self._line):
            if not any_owner and not self.may_hold(owner):
                continue
            turns = self._line[owner]
            while turns:
                turn = turns.popleft()
                if turn.done():
                    continue
                if turns:
                    self._line.move_to_end(owner)
                else:
                    del self._line[owner]
                return owner, turn
            del self._line[owner]
        return None
