"""What one peer is to get at the end of this turn of the event loop, in an order that holds."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

__all__ = ["PENDING", "Outgoing", "Round", "Tells"]

PENDING: Final = 1_000_000
"""Messages that may wait for the end of a turn, or for a link with the peer."""


class Tells(NamedTuple):
    """Messages of one kind that an actor is told, in order."""

    actor: str
    kind: str
    messages: list[Any]


class Round:
    """Tells, and the items that come after them."""

    __slots__ = ("asked", "items", "tells")

    def __init__(self) -> None:
        self.tells: list[Tells] = []
        self.items: list[tuple[int, Any]] = []
        """Kinds of frames with an item each."""
        self.asked: set[str] = set()
        """Actors that some of the items are for."""


class Outgoing:
    """See the module. Its node holds a lock around each call.

    All tells of a turn go in one frame, so they stand before the asks of that turn; one that comes
    after an ask, watch or stop of the same actor begins another round, as its order must hold.
    """

    __slots__ = ("_rounds", "pending")

    def __init__(self) -> None:
        self.pending = 0
        """Messages in the tells that are kept."""
        self._rounds: list[Round] = [Round()]

    def tell(self, actor: str, kind: str, messages: list[Any]) -> bool:
        """Keep messages for an actor; False when they are too many."""
        self.pending += len(messages)
        if self.pending > PENDING:
            self.pending -= len(messages)
            return False
        last = self._rounds[-1]
        if last.asked and actor in last.asked:
            last = Round()
            self._rounds.append(last)
        tells = last.tells
        if tells and tells[-1].kind == kind and tells[-1].actor == actor:
            tells[-1].messages.extend(messages)
        else:
            tells.append(Tells(actor, kind, messages))
        return True

    def say(self, kind: int, item: Any, actor: str = "") -> None:
        """Keep an item, for an actor's mailbox or for none. Its kind has a bound of its own."""
        last = self._rounds[-1]
        if actor:
            last.asked.add(actor)
        last.items.append((kind, item))

    def take(self) -> list[Round]:
        """All that is kept; nothing is from now on."""
        rounds, self._rounds = self._rounds, [Round()]
        self.pending = 0
        return rounds
