"""A pykka future that can also be awaited on an event loop."""

from __future__ import annotations

import asyncio
import functools
import logging
import queue
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Any, Self, TypeVar, cast

import pykka

from actors.waiting import handling, waiting_for

__all__ = ["Future", "answer", "fail"]

logger = logging.getLogger("actors")

T = TypeVar("T")

_LOCK = threading.Lock()
"""Held for the moment in which a result is set. One for all futures: a lock and a condition each
would be most of what an ask costs."""


def answer(future: pykka.Future[Any], value: Any) -> bool:
    """Set a result; False, and no change, when there is one already."""
    try:
        future.set(value)
    except queue.Full:
        logger.debug("a second answer to one ask was dropped")
        return False
    return True


def fail(future: pykka.Future[Any], error: BaseException) -> bool:
    """Set an exception; False, and no change, when there is a result already."""
    try:
        future.set_exception((type(error), error, error.__traceback__))
    except queue.Full:
        logger.debug("a second answer to one ask was dropped: %r", error)
        return False
    return True


class _Waker:
    """Wakes who waits on an event loop, from any thread."""

    __slots__ = ("_loop", "_owner", "ready")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ready: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._owner = threading.get_ident()

    def __call__(self) -> None:
        try:
            if threading.get_ident() == self._owner:
                self._done()
            else:
                self._loop.call_soon_threadsafe(self._done)
        except RuntimeError:
            # The asker is gone with its loop: that must not fail who answers.
            if not self._loop.is_closed():
                raise

    def _done(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)


class Future(pykka.ThreadingFuture[T]):
    """pykka's thread-safe future; awaiting it gives the loop back instead of blocking it."""

    # Defaults of the class: most futures never need to store most of these.
    _get_hook: Any = None
    _get_hook_result: Any = None
    _result: Any = None
    _callbacks: list[Callable[[], object]] | None = None
    _sources: tuple[pykka.Future[Any], ...] | None = None
    _bucket: set[Any] | None = None
    """The futures that expire at the same moment."""
    expiry: tuple[str, float] = ("", 0.0)
    """Path of who is asked, and the seconds it has."""
    target: Any = None
    """The cell that is to answer."""

    def __init__(self) -> None:
        """Nothing to store yet."""

    @classmethod
    def derived(cls, *sources: pykka.Future[Any]) -> Self:
        """A future whose get hook needs only ``sources``: it blocks no longer once they are set."""
        future = cls()
        future._sources = sources
        return future

    def get(self, *, timeout: float | None = None) -> Any:
        """The result, as pykka's ``get``: blocks until there is one.

        Raises:
            pykka.Timeout: there is none in time.
            AskCycle: the actors asked wait for the one that waits here.
        """
        hook = self._get_hook
        if hook is not None:
            if self._get_hook_result is None:
                self._get_hook_result = (hook(timeout),)
            return self._get_hook_result[0]
        if self._result is None:
            if self.target is None or handling.get() is None:
                self._block(timeout)
            else:
                with waiting_for(self):
                    self._block(timeout)
        value, exc_info = self._result
        if exc_info is None:
            return value
        kind, error, trace = exc_info
        if error is None:
            error = kind()
        if error.__traceback__ is not trace:
            raise error.with_traceback(trace)
        raise error

    def _block(self, timeout: float | None) -> None:
        there = threading.Event()
        self.when_set(there.set)
        if not there.wait(timeout):
            with _LOCK:
                if self._callbacks is not None and there.set in self._callbacks:
                    self._callbacks.remove(there.set)
            if self._result is None:
                raise pykka.Timeout(f"{timeout} seconds")

    def set(self, value: Any | None = None) -> None:
        """Set the result and wake whoever waits; raises ``queue.Full`` when there is one."""
        self._settle((value, None))

    def set_exception(self, exc_info: Any = None) -> None:
        """Set an exception, or the one in handling, and wake whoever waits."""
        self._settle((None, exc_info or sys.exc_info()))

    def set_get_hook(self, func: Callable[[float | None], Any]) -> None:
        """As pykka's: ``get`` calls ``func`` once; raises ``queue.Full`` after a result."""
        with _LOCK:
            if self._result is not None:
                raise queue.Full
            self._get_hook = func

    def _settle(self, result: tuple[Any, Any]) -> None:
        with _LOCK:
            if self._result is not None or self._get_hook is not None:
                raise queue.Full
            self._result = result
            callbacks, self._callbacks = self._callbacks, None
        if self._bucket is not None:
            self._bucket.discard(self)
        if callbacks is not None:
            for callback in callbacks:
                callback()

    def when_set(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` once there is a result, at once when there is one."""
        with _LOCK:
            if self._result is None:
                if self._callbacks is None:
                    self._callbacks = [callback]
                else:
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
        if self._result is None or self._get_hook is not None:
            if self._get_hook is None and (self.target is None or handling.get() is None):
                # The way of nearly every ask, without the generators between.
                waker = _Waker(asyncio.get_running_loop())
                self.when_set(waker)
                yield from waker.ready
            elif self.target is None or handling.get() is None:
                yield from self._settled(asyncio.get_running_loop())
            else:
                with waiting_for(self):
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
        waker = _Waker(loop)
        wait(waker)
        yield from waker.ready


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
