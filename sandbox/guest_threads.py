"""Threads with a stack large enough for guests.

A deep recursion of a guest on a thread with a small stack is a segmentation fault of the whole
process, not a trap: the engine's stack limit must fit inside the thread's stack. Default stacks
are small on musl and macOS, so guests run only on threads made here.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

THREAD_STACK_BYTES: Final = 8 * 1024 * 1024
"""Stack of each thread: the largest guest stack (1 MiB) plus host functions, with room."""

_stack_size_lock = threading.Lock()

Result = TypeVar("Result")


class _Call:
    """A job that an event loop awaits. A future of asyncio alone costs half of what a wrapped one
    of ``concurrent.futures`` does.
    """

    __slots__ = ("_error", "_future", "_given", "_result", "_work")

    def __init__(
        self, future: asyncio.Future[object], work: Callable[..., object], given: tuple[object, ...]
    ) -> None:
        self._future = future
        self._work = work
        self._given = given
        self._result: object = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do the work, on a thread."""
        if self._future.cancelled():
            return
        try:
            self._result = self._work(*self._given)
        except BaseException as error:  # noqa: BLE001 - handed to whoever awaits the future
            self._error = error

    def deliver(self) -> None:
        """Hand the outcome to the loop."""
        loop = self._future.get_loop()
        try:
            loop.call_soon_threadsafe(self._settle)
        except RuntimeError:
            if not loop.is_closed():
                raise

    def _settle(self) -> None:
        if self._future.done():
            return
        if self._error is None:
            self._future.set_result(self._result)
        else:
            self._future.set_exception(self._error)


class _Job:
    """A job whose outcome any thread may wait for."""

    __slots__ = ("_error", "_future", "_result", "_work")

    def __init__(self, future: Future[object], work: Callable[[], object]) -> None:
        self._future = future
        self._work = work
        self._result: object = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do the work, on a thread."""
        if not self._future.set_running_or_notify_cancel():
            return
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the future
            self._error = error

    def deliver(self) -> None:
        """Hand the outcome over."""
        if self._future.cancelled():
            return
        if self._error is None:
            self._future.set_result(self._result)
        else:
            self._future.set_exception(self._error)


_Bench = queue.SimpleQueue[_Call | _Job | None]
"""Where a thread that rests gets its next job."""


class GuestThreads:
    """A fixed number of threads that run blocking jobs, in the order they came. Close it to end
    them.

    The thread that rested last gets the next job: calls one after the other stay on one thread,
    whose stack and processor are warm, which is 2.5 times as fast as taking turns.
    """

    def __init__(self, count: int, name: str = "sandbox-guest") -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Call | _Job] = deque()
        self._resting: list[_Bench] = []
        self._closed = False
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True)
            for n in range(count)
        ]
        with _stack_size_lock:
            before = threading.stack_size(THREAD_STACK_BYTES)
            try:
                for thread in self._threads:
                    thread.start()
            finally:
                threading.stack_size(before)

    @property
    def closed(self) -> bool:
        """Whether no more jobs are taken."""
        return self._closed

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Run ``work`` on one of the threads. Raises ``RuntimeError`` after ``close``."""
        future: Future[Result] = Future()
        self._put(_Job(future, work))  # type: ignore[arg-type]  # Future is invariant in its result
        return future

    def call(self, work: Callable[..., Result], *given: object) -> asyncio.Future[Result]:
        """The same for the running event loop, which awaits the outcome.

        Cancelling gives up the wait; work that has not begun is then left out.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._put(_Call(future, work, given))  # type: ignore[arg-type]  # invariant, too
        return future

    def close(self) -> None:
        """Finish what is queued and end the threads. Blocks at most as long as the jobs run."""
        with self._lock:
            self._closed = True
            while self._resting:
                self._resting.pop().put(None)
        for thread in self._threads:
            thread.join()

    def _put(self, job: _Call | _Job) -> None:
        with self._lock:
            if self._closed:
                raise RuntimeError("the guest threads are closed")
            if self._resting:
                self._resting.pop().put(job)
            else:
                self._waiting.append(job)

    def _run(self) -> None:
        bench: _Bench = queue.SimpleQueue()
        job = self._next(bench) or bench.get()
        while job is not None:
            job.run()
            # Before the outcome is known: the next call, which often follows from it, finds this
            # thread at rest.
            following = self._next(bench)
            job.deliver()
            # Otherwise the thread keeps the last guest alive until its next job.
            del job
            job = following or bench.get()

    def _next(self, bench: _Bench) -> _Call | _Job | None:
        """A job that waits, or None: then the thread rests, and gets the next one by its bench."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._closed:
                bench.put(None)
            else:
                self._resting.append(bench)
        return None
