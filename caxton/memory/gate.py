"""Many who read, or one who writes: reads of several steps see one moment of a remote store."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

__all__ = ["Gate"]


class Gate:
    """Lets in any number of readers, or one writer, in the order in which they came.

    Belongs to one event loop. Whoever holds it has a deadline of its own, so nobody waits forever.
    """

    def __init__(self) -> None:
        self._readers = 0
        self._writing = False
        self._waiting: deque[tuple[bool, asyncio.Future[None]]] = deque()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Hold it beside other readers."""
        await self._enter(writes=False)
        try:
            yield
        finally:
            self._readers -= 1
            self._admit()

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Hold it alone."""
        await self._enter(writes=True)
        try:
            yield
        finally:
            self._writing = False
            self._admit()

    async def _enter(self, *, writes: bool) -> None:
        if not self._waiting and self._may(writes=writes):
            self._take(writes=writes)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((writes, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove((writes, turn))
            else:
                self._leave(writes=writes)
            self._admit()
            raise

    def _may(self, *, writes: bool) -> bool:
        return not self._writing and not (writes and self._readers)

    def _take(self, *, writes: bool) -> None:
        if writes:
            self._writing = True
        else:
            self._readers += 1

    def _leave(self, *, writes: bool) -> None:
        if writes:
            self._writing = False
        else:
            self._readers -= 1

    def _admit(self) -> None:
        while self._waiting:
            writes, turn = self._waiting[0]
            if turn.cancelled():
                return
            if not self._may(writes=writes):
                return
            self._waiting.popleft()
            self._take(writes=writes)
            turn.set_result(None)
