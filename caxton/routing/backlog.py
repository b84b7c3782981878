"""What waits for an agent: by priority, and in order within each conversation.

A message of high priority passes those of lower priority, except those of its own conversation that
came before it: they are taken first, at its priority. So order within a conversation holds, and an
urgent message is not held up by what other conversations have waiting.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Container
from itertools import takewhile
from typing import Generic, TypeVar

__all__ = ["Backlog", "Ranked"]

T = TypeVar("T")

_Token = tuple[int, int, bytes]
"""Priority (negative, so that the highest is first), order, conversation."""


class Ranked(Generic[T]):
    """Items by priority, and in order within each conversation. O(log n) for each."""

    __slots__ = ("_chains", "_count", "_heap", "_parked")

    def __init__(self) -> None:
        self._chains: dict[bytes, deque[tuple[int, int, T]]] = {}
        """Conversation to its items in order, each with its order and priority."""
        self._heap: list[_Token] = []
        """One for each item. It stands for the first of its conversation, so that an item draws
        those before it along; when they are past it, it is stale."""
        self._parked: dict[bytes, list[_Token]] = {}
        """Tokens of conversations that were not eligible."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, order: int, conversation: bytes, priority: int, item: T) -> None:
        """Add an item. ``order`` grows with each, except for one that comes back."""
        chain = self._chains.get(conversation)
        if chain is None:
            chain = self._chains[conversation] = deque()
        place = len(chain)
        while place and chain[place - 1][0] > order:
            place -= 1
        chain.insert(place, (order, priority, item))
        self._count += 1
        heapq.heappush(self._heap, (-priority, order, conversation))
        if len(self._heap) > 2 * self._count + 64:
            self._drop_stale()

    def _drop_stale(self) -> None:
        self._heap = [
            (-priority, order, conversation)
            for conversation, chain in self._chains.items()
            if conversation not in self._parked
            for order, priority, _ in chain
        ]
        heapq.heapify(self._heap)

    def first(self, busy: Container[bytes] = ()) -> T | None:
        """The next item whose conversation is not ``busy``; None when there is none."""
        heap = self._heap
        while heap:
            token = heap[0]
            conversation = token[2]
            chain = self._chains.get(conversation)
            if chain is None or chain[0][0] > token[1]:
                heapq.heappop(heap)
            elif conversation in busy:
                self._parked.setdefault(conversation, []).append(heapq.heappop(heap))
            else:
                return chain[0][2]
        return None

    def pop(self) -> T:
        """Take what ``first`` returned just now."""
        token = self._heap[0]
        chain = self._chains[token[2]]
        order, _, item = chain.popleft()
        self._count -= 1
        if not chain:
            del self._chains[token[2]]
        if order == token[1]:
            heapq.heappop(self._heap)
        return item

    def free(self, conversation: bytes) -> None:
        """A conversation is not busy any more."""
        for token in self._parked.pop(conversation, ()):
            heapq.heappush(self._heap, token)

    def take(self, conversation: bytes) -> list[T]:
        """Take all items of a conversation, in order."""
        chain = self._chains.pop(conversation, ())
        self._parked.pop(conversation, None)
        self._count -= len(chain)
        return [item for _, _, item in chain]

    def clear(self) -> list[T]:
        """Take all items, each conversation's in order."""
        items = [item for chain in self._chains.values() for _, _, item in chain]
        self._chains.clear()
        self._heap.clear()
        self._parked.clear()
        self._count = 0
        return items

    def earlier(self, order: int, conversation: bytes) -> bool:
        """Whether it has an item of a conversation that comes before ``order``."""
        chain = self._chains.get(conversation)
        return chain is not None and chain[0][0] < order

    def remove(self, order: int, conversation: bytes) -> bool:
        """Take an item out of turn. Whether it was there."""
        chain = self._chains.get(conversation)
        for place, entry in enumerate(chain or ()):
            if entry[0] == order and chain is not None:
                del chain[place]
                self._count -= 1
                if not chain:
                    del self._chains[conversation]
                return True
        return False


class Backlog(Generic[T]):
    """As ``Ranked``, and a plain queue for as long as all have one priority and none comes back.

    Args:
        plain: the priority of the plain queue.
    """

    __slots__ = ("_plain", "_priority", "_ranked")

    def __init__(self, plain: int) -> None:
        self._priority = plain
        self._plain: deque[tuple[int, bytes, T]] = deque()
        self._ranked: Ranked[T] | None = None

    def __len__(self) -> int:
        return len(self._plain) if self._ranked is None else len(self._ranked)

    def push(self, order: int, conversation: bytes, priority: int, item: T) -> None:
        """Add an item. ``order`` grows with each, except for one that comes back."""
        plain = self._plain
        if self._ranked is None:
            if priority == self._priority and (not plain or plain[-1][0] < order):
                plain.append((order, conversation, item))
                return
            self._rank()
        if self._ranked is not None:
            self._ranked.push(order, conversation, priority, item)

    def _rank(self) -> Ranked[T]:
        ranked = self._ranked
        if ranked is None:
            ranked = self._ranked = Ranked()
            for order, conversation, item in self._plain:
                ranked.push(order, conversation, self._priority, item)
            self._plain.clear()
        return ranked

    def earlier(self, order: int, conversation: bytes) -> bool:
        """Whether it has an item of a conversation that comes before ``order``."""
        if self._ranked is not None:
            return self._ranked.earlier(order, conversation)
        before = takewhile(lambda entry: entry[0] < order, self._plain)
        return any(entry[1] == conversation for entry in before)

    def pop(self) -> T:
        """Take the next item.

        Raises:
            IndexError: there is none.
        """
        ranked = self._ranked
        if ranked is None:
            return self._plain.popleft()[2]
        if ranked.first() is None:
            raise IndexError("pop from an empty backlog")
        item = ranked.pop()
        if not len(ranked):
            self._ranked = None
        return item

    def remove(self, order: int, conversation: bytes) -> bool:
        """Take an item out of turn. Whether it was there."""
        found = self._rank().remove(order, conversation)
        if self._ranked is not None and not len(self._ranked):
            self._ranked = None
        return found
