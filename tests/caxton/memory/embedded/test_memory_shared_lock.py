"""Many who read, or one who writes."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from caxton.memory.embedded.shared_lock import SharedLock

WAIT_S = 20


def test_readers_are_together_and_writers_alone() -> None:
    """Two read at once; who writes waits for both, and who comes after waits for the writer."""
    lock = SharedLock()
    both, go = threading.Barrier(2), threading.Event()
    order: list[str] = []

    def read() -> None:
        with lock.shared():
            both.wait(WAIT_S)
            assert go.wait(WAIT_S)
            order.append("read")

    def write() -> None:
        with lock.alone():
            order.append("write")

    def late() -> None:
        with lock.shared():
            order.append("late")

    with ThreadPoolExecutor(4) as pool:
        reading = [pool.submit(read), pool.submit(read)]
        writing = pool.submit(write)
        deadline = time.monotonic() + WAIT_S
        while not lock.wanted:
            assert time.monotonic() < deadline
            threading.Event().wait(0.001)
        after = pool.submit(late)
        go.set()
        for one in (*reading, writing, after):
            one.result(WAIT_S)
    assert order == ["read", "read", "write", "late"]


def test_it_is_free_after_an_error() -> None:
    """Of a reader and of a writer."""
    lock = SharedLock()
    for held in (lock.shared, lock.alone):
        try:
            with held():
                raise KeyError
        except KeyError:
            pass
    with lock.alone():
        pass


def test_counts_are_whole_under_many_threads() -> None:
    """Nobody writes while another does, or while somebody reads."""
    lock, held = SharedLock(), [0, 0]

    def work(number: int) -> None:
        for _ in range(200):
            if number % 2:
                with lock.alone():
                    before = held[0]
                    held[0], held[1] = before + 1, before + 1
            else:
                with lock.shared():
                    assert held[0] == held[1]

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert held == [600, 600]
