"""What only some cells have: kept apart, because most actors are idle and many."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from actors.future import answer

if TYPE_CHECKING:
    import asyncio

    from pykka._envelope import Envelope

    from actors.behaviour.receive_timeout import IdleWatch
    from actors.behaviour.timers import Timers
    from actors.future import Future
    from actors.watch import Subscription

__all__ = ["Extras", "Room"]


class Room:
    """Who waits for room in a full mailbox."""

    __slots__ = ("condition", "futures", "waiting")

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.futures: list[Future[None]] = []
        self.waiting = 0
        """Threads that wait."""

    def made(self) -> None:
        """There may be room now."""
        if not self.waiting and not self.futures:
            return
        with self.condition:
            self.condition.notify_all()
            futures, self.futures = self.futures, []
        for future in futures:
            # One whose waiter gave up has its end already.
            answer(future, None)


class Extras:
    """Made when the first of these is needed."""

    __slots__ = (
        "handing_on",
        "idle",
        "leftovers",
        "pipes",
        "room",
        "stash",
        "then",
        "timers",
        "waits",
        "watchers",
        "watching",
    )

    def __init__(self) -> None:
        self.watchers: dict[Subscription, None] | None = None
        """Who is told of this actor's end."""
        self.watching: dict[Any, Subscription] | None = None
        """Refs of the actors whose end this one is told of."""
        self.timers: Timers | None = None
        self.stash: deque[Envelope[Any]] | None = None
        self.leftovers: Callable[[Envelope[Any]], None] | None = None
        self.handing_on: threading.RLock | None = None
        """Held while ``leftovers`` is called."""
        self.room: Room | None = None
        self.idle: IdleWatch | None = None
        self.pipes: set[asyncio.Task[Any]] | None = None
        self.waits: list[tuple[Any, Future[Any]]] | None = None
        """The envelope in handling and the answer that this handling waits for."""
        self.then: Callable[[], None] | None = None
        """What to do when the handler at work has been cut off."""
