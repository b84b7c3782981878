"""One peer as a node sees it: what it is to get, and what is expected of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from actors.errors import RemoteError
from actors.future import Future, answer, fail
from actors.links.hello import LinkCounters
from actors.links.link import Link
from actors.remote.outgoing import Outgoing
from actors.remote.wire import ASK, TELL, WATCH
from actors.watch import Subscription, Terminated

if TYPE_CHECKING:
    from actors.dispatch.dispatcher import Timer
    from actors.links.endpoint import LinkClient
    from actors.remote.ref import RemoteRef

__all__ = ["Peer", "PeerCounters", "RemoteWatch"]


class PeerCounters(msgspec.Struct, frozen=True):
    """What one peer has to do with this process now."""

    link: LinkCounters
    up: bool
    pending: int
    """Messages that wait for the end of a turn, or for the first link."""
    waiting: int
    """Bytes in the link that are not confirmed as handled."""
    asks: int
    """Asks without an answer yet."""
    watches: int


class RemoteWatch(Subscription):
    """A watch that the other process knows of."""

    __slots__ = ("_cancelled",)

    def __init__(
        self, callback: Callable[[Terminated], None], cancelled: Callable[[], None]
    ) -> None:
        super().__init__(callback)
        self._cancelled = cancelled

    def cancel(self) -> None:
        """Be told no more."""
        if self.active:
            super().cancel()
            self._cancelled()


class Peer:
    """See the module."""

    __slots__ = (
        "_numbers",
        "_once",
        "asks",
        "client",
        "grace",
        "link",
        "name",
        "outgoing",
        "watches",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.link: Link | None = None
        self.client: LinkClient | None = None
        self.outgoing = Outgoing()
        self.asks: dict[int, Future[Any]] = {}
        self.watches: dict[int, tuple[RemoteRef, Subscription]] = {}
        self.grace: Timer | None = None
        self._numbers: dict[int, int] = {}
        """The frame that each ask and watch went out in."""
        self._once: deque[int] = deque()
        """Frames that are for one incarnation of the peer only; the confirmed ones go with time."""

    @property
    def up(self) -> bool:
        """Whether it is linked."""
        return self.link is not None and self.link.up

    def counters(self) -> PeerCounters:
        """See ``PeerCounters``."""
        link = self.link
        return PeerCounters(
            link=LinkCounters() if link is None else link.counters(),
            up=self.up,
            pending=self.outgoing.pending,
            waiting=0 if link is None else link.waiting,
            asks=len(self.asks),
            watches=len(self.watches),
        )

    def forget(self, reference: int) -> None:
        """An ask or a watch is over."""
        self.asks.pop(reference, None)
        self.watches.pop(reference, None)
        self._numbers.pop(reference, None)

    def went(self, kind: int, items: Sequence[Any], number: int) -> None:
        """Items of a kind went out in a frame."""
        if kind == TELL:
            return
        once = self._once
        confirmed = self.link.confirmed if self.link is not None else 0
        while once and once[0] <= confirmed:
            once.popleft()
        once.append(number)
        if kind in (ASK, WATCH):
            for reference, *_ in items:
                if reference in self.asks or reference in self.watches:
                    self._numbers[reference] = number

    def answered(self, reference: int, outcome: Any) -> bool:
        """Give an ask its outcome; False when nobody waits for it any more."""
        future = self.asks.pop(reference, None)
        if future is None:
            return False
        if isinstance(outcome, RemoteError):
            return fail(future, outcome)
        return answer(future, outcome)

    def replaced(self) -> None:
        """Its process is another one than before: only tells go on to that.

        An ask that was sent may have been handled, so it is not sent again, and who waits for it
        or watches is told; what was never sent is for the new process.
        """
        if self.link is not None:
            sent = self.link.sent
            self.link.withdraw({number for number in self._once if number <= sent})
            self.lost("node_lost", sent)

    def lost(self, reason: str, sent: int | None = None) -> list[int]:
        """Tell who waits for it or watches that it is lost; returns the references of the watches.

        With ``sent``, only for what went out in a frame up to that number.
        """
        number_of = self._numbers.get

        def gone(reference: int) -> bool:
            return sent is None or number_of(reference, sent + 1) <= sent

        fired = [reference for reference in list(self.watches) if gone(reference)]
        for reference in fired:
            entry = self.watches.pop(reference, None)
            if entry is not None:
                entry[1].fire(Terminated(entry[0], "node_lost"))
        for reference, future in list(self.asks.items()):
            if gone(reference):
                fail(
                    future, RemoteError(self.name, reason, "its process is gone, or this one ends")
                )
        return fired
