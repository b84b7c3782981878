"""A pykka future that can also be awaited on an event loop."""

from __future__ import annotations

import asyncio
import functools
import logging
import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Any, Self, TypeVar, cast

import pykka

__all__ = ["Future", "answer", "fail"]

logger = logging.getLogger("actors")

T = TypeVar("T")


def answer(future: pykka.Future[Any], value: Any) -> None:
    """Set a result. One that comes when there is a result already is dropped."""
    try:
        future.set(value)
    except queue.Full:
        logger.debug("a second answer to one ask was dropped")


def fail(future: pykka.Future[Any], error: BaseException) -> None:
    """Set an exception. One that comes when there is a result already is dropped."""
    try:
        future.set_exception((type(error), error, error.__traceback__))
    except queue.Full:
        logger.debug("a second answer to one ask was dropped: %r", error)


class Future(pykka.ThreadingFuture[T]):
    """pykka's thread-safe future; awaiting it gives the loop back instead of blocking it."""

    def __init__(self) -> None:
        super().__init__()
        self._callbacks: list[Callable[[], object]] = []
        self._sources: tuple[pykka.Future[Any], ...] | None = None

    @classmethod
    def derived(cls, *sources: pykka.Future[Any]) -> Self:
        """A future whose get hook needs only ``sources``: it blocks no longer once they are set."""
        future = cls()
        future._sources = sources
        return future

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

    def filter(self, func: Callable[[Any], bool]) -> Any:
        """As pykka's ``filter``."""
        return self._from(pykka.ThreadingFuture.filter(cast("Any", self), func), ())

    def join(self, *futures: pykka.Future[Any]) -> Any:
        """As pykka's ``join``."""
        return self._from(super().join(*futures), futures)

    def map(self, func: Callable[[T], Any]) -> Any:
        """As pykka's ``map``."""
        return self._from(super().map(func), ())

    def reduce(self, func: Callable[[Any, Any], Any], *args: Any) -> Any:
        """As pykka's ``reduce``."""
        return self._from(pykka.ThreadingFuture.reduce(cast("Any", self), func, *args), ())

    def _from(self, made: Any, others: Iterable[pykka.Future[Any]]) -> Any:
        made._sources = (self, *others)
        return made

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the result without blocking the event loop."""
        yield from self._settled(asyncio.get_running_loop())
        result: T = self.get(timeout=0)
        return result

    def _settled(self, loop: asyncio.AbstractEventLoop) -> Generator[Any, None, None]:
        """Wait until ``get`` does not block."""
        if self._get_hook is None:
            if self._result is None:
                yield from self._woken(loop, self.when_set)
        elif self._sources is None:
            yield from self._woken(loop, functools.partial(_in_thread, self))
        else:
            for source in self._sources:
                if isinstance(source, Future):
                    yield from source._settled(loop)
                else:
                    yield from self._woken(loop, functools.partial(_in_thread, source))

    @staticmethod
    def _woken(
        loop: asyncio.AbstractEventLoop, wait: Callable[[Callable[[], None]], object]
    ) -> Generator[Any, None, None]:
        ready: asyncio.Future[None] = loop.create_future()
        owner = threading.get_ident()

        def done() -> None:
            if not ready.done():
                ready.set_result(None)

        def wake() -> None:
            try:
                if threading.get_ident() == owner:
                    done()
                else:
                    loop.call_soon_threadsafe(done)
            except RuntimeError:
                # The asker is gone with its loop: that must not fail who answers.
                if not loop.is_closed():
                    raise

        wait(wake)
        yield from ready


def _in_thread(future: pykka.Future[Any], wake: Callable[[], None]) -> None:
    """Call ``wake`` when ``future`` has its value, which only a blocking get can tell.

    A daemon thread: one of the loop's executor would hold up the end of the program.
    """

    def wait() -> None:
        try:
            future.get()
        except BaseException as error:  # noqa: BLE001 - the awaiting side gets it from its own get
            logger.debug("the awaited future failed: %r", error)
        wake()

    threading.Thread(target=wait, name="actors-await", daemon=True).start()
