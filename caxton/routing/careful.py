"""Care after a start: a message is passed on once it is in the journal, with what is known of it.

What killed the process before comes again, from the journal or from who sent it. Only by its number
in the journal, and by how often the process died with it, is it found out.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from caxton.conversations.conversation import OpenConversation
from caxton.routing.accepted import Accepted

__all__ = ["Careful"]

CAREFUL_S = 5.0
"""For how long, when the run before ended by a death: those who sent what killed the process send
it again, as soon as there is another."""


class Careful:
    """Holds messages back until they are committed.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.active = False
        self._clock = clock
        self._held: deque[tuple[OpenConversation, Accepted]] = deque()
        self._until = -math.inf

    def begin(self, *, died: bool) -> None:
        """A run begins; whether the one before ended by a death."""
        self.active = True
        if died:
            self._until = self._clock() + CAREFUL_S

    def hold(self, conversation: OpenConversation, accepted: Accepted) -> None:
        """Pass a message on after its commit, in the order of their numbers."""
        self._held.append((conversation, accepted))

    def committed(self, following: int) -> None:
        """All messages with numbers before ``following`` are in the journal."""
        held = self._held
        while held and held[0][1].sequence < following:
            conversation, accepted = held.popleft()
            if conversation.ref is not None:
                # In a turn of its own: there may be many, and what is owed leaves before.
                conversation.ref.tell(accepted)
        if not held and self._clock() >= self._until:
            self.active = False
