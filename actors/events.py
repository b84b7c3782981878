"""Dead letters and the event stream: what an operator can learn of the runtime."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from actors.clock import Clock

__all__ = ["DeadLetter", "DeadLetters", "Event", "EventStream"]

logger = logging.getLogger("actors")

LOGGED = 10
"""Dead letters that are logged before the rest are only counted."""
QUIET_S = 300.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that no actor will handle."""

    envelope: Any
    """The pykka envelope: ``message`` and, for an ask, ``reply_to``."""
    path: str
    """The actor it was for."""
    reason: str
    """``failed``, ``stopped``, ``mailbox_full``, ``gave_up``, ``killed`` or ``stale``; of a message
    that was for another process ``link_full``, ``closed``, ``not_encodable``, ``too_long`` or
    ``not_found``."""
    traceback: str = ""


class DeadLetters:
    """Where undeliverable messages go: counted, passed to subscribers, logged with a throttle."""

    def __init__(self, clock: Clock) -> None:
        self.count = 0
        self.by_reason: Counter[str] = Counter()
        self._clock = clock
        self._lock = threading.Lock()
        self._subscribers: list[Callable[[DeadLetter], None]] = []
        self._logged = 0
        self._quiet_since = float("-inf")

    def subscribe(self, callback: Callable[[DeadLetter], None]) -> None:
        """Call ``callback`` with each dead letter.

        On the dispatcher's thread, or on the sender's for a full mailbox and for an actor that
        stopped meanwhile. What it raises is logged.
        """
        self._subscribers.append(callback)

    def add(self, letter: DeadLetter) -> None:
        """Take a dead letter."""
        with self._lock:
            self.count += 1
            self.by_reason[letter.reason] += 1
            self._log(letter)
        for callback in self._subscribers:
            try:
                callback(letter)
            except Exception:
                logger.exception("a subscriber of dead letters failed")

    def _log(self, letter: DeadLetter) -> None:
        now = self._clock.now()
        if self._logged >= LOGGED and now - self._quiet_since >= QUIET_S:
            self._logged = 0
        if self._logged < LOGGED:
            self._logged += 1
            self._quiet_since = now
            kind = type(letter.envelope.message).__name__
            logger.info("dead letter %s for %s: %s", kind, letter.path, letter.reason)
            if self._logged == LOGGED:
                logger.info("further dead letters are counted and not logged for %.0f s", QUIET_S)


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to an actor or a process."""

    kind: str
    """``started``, ``failed``, ``resumed``, ``restarted``, ``escalated``, ``gave_up``,
    ``stopped``, ``killed``, ``overflow`` or ``slow_turn``; of a link ``link_refused``,
    ``remote_refused`` or ``frame_poisoned``."""
    path: str
    detail: str = ""


class EventStream:
    """Subscribers of runtime events, called on the dispatcher's thread."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[[Event], None]] = []

    def subscribe(self, callback: Callable[[Event], None]) -> None:
        """Call ``callback`` with each event. What it raises is logged."""
        self._subscribers.append(callback)

    @property
    def heard(self) -> bool:
        """Whether anybody subscribed."""
        return bool(self._subscribers)

    def publish(self, kind: str, path: str, detail: str = "") -> None:
        """Tell the subscribers, if there are any."""
        if self._subscribers:
            event = Event(kind, path, detail)
            for callback in self._subscribers:
                try:
                    callback(event)
                except Exception:
                    logger.exception("a subscriber of events failed")
