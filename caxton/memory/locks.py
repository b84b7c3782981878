"""Turns at named things: those who want the same one are served in the order in which they came."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Hashable, Iterable
from typing import Any, Generic, TypeVar

from caxton.errors import QueueFull, Timeout

__all__ = ["KeyedLocks"]

K = TypeVar("K", bound=Hashable)


class _Lock:
    __slots__ = ("held", "waiting")

    def __init__(self) -> None:
        self.held = asyncio.Lock()
        self.waiting = 0


class KeyedLocks(Generic[K]):
    """One lock for each key that somebody holds or waits for.

    Args:
        what: what is locked, for errors.
        limit: most who hold or wait for one key.
        wait_s: longest wait for all keys of one holder, in seconds.
    """

    def __init__(self, what: str, *, limit: int = 1_000, wait_s: float = 20.0) -> None:
        self._what = what
        self._limit = limit
        self._wait_s = wait_s
        self._locks: dict[K, _Lock] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @contextlib.asynccontextmanager
    async def hold(self, keys: Iterable[K]) -> AsyncIterator[None]:
        """Hold the locks of ``keys``. They are taken in one order by all, so none waits in a ring.

        Raises:
            QueueFull: too many wait for one of them.
            Timeout: they were not free in time.
        """
        wanted: list[Any] = sorted(set(keys))
        for key in wanted:
            found = self._locks.get(key)
            if found is not None and found.waiting >= self._limit:
                raise QueueFull(queue=self._what, depth=found.waiting, limit=self._limit)
        locks = [self._locks.setdefault(key, _Lock()) for key in wanted]
        for lock in locks:
            lock.waiting += 1
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._leave, wanted)
            try:
                async with asyncio.timeout(self._wait_s):
                    for lock in locks:
                        await stack.enter_async_context(lock.held)
            except TimeoutError:
                raise Timeout(
                    what=f"turn at {self._what}", timeout_ms=int(self._wait_s * 1_000)
                ) from None
            yield

    def _leave(self, keys: list[K]) -> None:
        for key in keys:
            lock = self._locks[key]
            lock.waiting -= 1
            if not lock.waiting:
                del self._locks[key]
