"""Asks: the envelope of one, its deadline, and the address that takes one answer.

As in OTP since EEP 53, the reply address dies with the reply or with the deadline: what comes
later is counted and dropped, and never taken for the answer to something else.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pykka
from pykka._envelope import Envelope

from actors.errors import AskTimeout
from actors.future import Future, answer, fail

if TYPE_CHECKING:
    from actors.system import ActorSystem

__all__ = ["Ask", "Deadlines", "ReplyTo"]

BUCKET_S = 0.01
"""Asks that end within this time of each other share a timer."""


class Ask(Envelope[Any]):
    """A message that is to be answered until ``deadline``, a time of the system's clock."""

    __slots__ = ("deadline",)

    def __init__(self, message: Any, reply_to: pykka.Future[Any], deadline: float | None) -> None:
        self.message = message
        self.reply_to = reply_to
        self.deadline = deadline


class ReplyTo:
    """Answers one ask later than its handler returns. Made by ``Actor.defer_reply``.

    Dropped unused, it tells the asker so.
    """

    __slots__ = ("_future", "_path", "_system")

    def __init__(self, system: ActorSystem, path: str, future: pykka.Future[Any]) -> None:
        self._system = system
        self._path = path
        self._future: pykka.Future[Any] | None = future

    def reply(self, value: Any = None) -> bool:
        """Give the answer; False when it came too late or there was one."""
        return self._settle(lambda future: answer(future, value))

    def fail(self, error: BaseException) -> bool:
        """Give an error for an answer; False when it came too late or there was one."""
        return self._settle(lambda future: fail(future, error))

    def _settle(self, how: Any) -> bool:
        future, self._future = self._future, None
        if future is None or not how(future):
            self._system.counts.late_replies += 1
            return False
        return True

    def __del__(self) -> None:
        if self._future is not None:
            fail(self._future, pykka.ActorDeadError(f"{self._path} dropped the ask unanswered"))


class Deadlines:
    """Ends asks whose time is up: one timer for all that end at about the same time."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self._buckets: dict[int, set[Future[Any]]] = {}
        self._lock = threading.Lock()

    def add(self, future: Future[Any], path: str, timeout_s: float) -> float:
        """End ``future`` with ``AskTimeout`` in ``timeout_s``; returns the deadline."""
        now = self._system.clock.now()
        deadline = now + timeout_s
        number = int(deadline / BUCKET_S) + 1
        with self._lock:
            bucket = self._buckets.get(number)
            if bucket is None:
                bucket = self._buckets[number] = set()
                fresh = True
            else:
                fresh = False
            future._bucket = bucket
            bucket.add(future)
        future.expiry = (path, timeout_s)
        if fresh:
            self._system.dispatcher.call_later(
                number * BUCKET_S - now, lambda: self._expire(number)
            )
        return deadline

    def _expire(self, number: int) -> None:
        with self._lock:
            bucket = self._buckets.pop(number, None)
        for future in list(bucket or ()):
            path, timeout_s = future.expiry
            if fail(future, AskTimeout(path, timeout_s)):
                self._system.counts.expired_asks += 1
