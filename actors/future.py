"""A pykka future that can also be awaited on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import pykka

__all__ = ["Future"]

T = TypeVar("T")


class Future(pykka.ThreadingFuture[T]):
    """pykka's thread-safe future; awaiting it gives the loop back instead of blocking it."""

    def __init__(self) -> None:
        super().__init__()
        self._callbacks: list[Callable[[], object]] = []

    def set(self, value: Any | None = None) -> None:
        """Set the result and wake whoever waits."""
        super().set(value)
        self._wake()

    def set_exception(self, exc_info: Any = None) -> None:
        """Set an exception and wake whoever waits."""
        super().set_exception(exc_info)
        self._wake()

    def _wake(self) -> None:
        with self._condition:
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def when_set(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` once there is a result, at once when there is one."""
        with self._condition:
            if self._result is None:
                self._callbacks.append(callback)
                return
        callback()

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the result without blocking the event loop."""
        loop = asyncio.get_running_loop()
        if self._get_hook is not None:
            # Made by map, join or stop: its value comes from others, by a get that blocks.
            hooked: T = yield from loop.run_in_executor(None, self.get)
            return hooked
        ready: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        self.when_set(lambda: loop.call_soon_threadsafe(wake))
        yield from ready
        result: T = self.get(timeout=0)
        return result
