"""Threads with a stack large enough for guests.

A deep recursion of a guest on a thread with a small stack is a segmentation fault of the whole
process, not a trap: the engine's stack limit must fit inside the thread's stack. Default stacks
are small on musl and macOS, so guests run only on threads made here.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

THREAD_STACK_BYTES: Final = 8 * 1024 * 1024
"""Stack of each thread: the largest guest stack (1 MiB) plus host functions, with room."""

_stack_size_lock = threading.Lock()

Result = TypeVar("Result")
Job = tuple[Future[object], Callable[[], object]]


class GuestThreads:
    """A fixed number of threads that run blocking jobs. Close it to end them."""

    def __init__(self, count: int, name: str = "sandbox-guest") -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
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
        if self._closed:
            raise RuntimeError("the guest threads are closed")
        future: Future[Result] = Future()
        self._jobs.put((future, work))  # type: ignore[arg-type]  # Future is invariant in its result
        return future

    def close(self) -> None:
        """Finish what is queued and end the threads. Blocks at most as long as the jobs run."""
        if not self._closed:
            self._closed = True
            for _ in self._threads:
                self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, work = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the future
                future.set_exception(error)
            else:
                future.set_result(result)
            # Otherwise the thread keeps the last guest alive until its next job.
            del job, future, work
