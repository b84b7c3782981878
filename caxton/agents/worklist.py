"""What an agent has in hand: it outlives the agent's actors, versions and outages."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from itertools import count

from caxton.routing.accepted import Handling
from caxton.routing.backlog import Ranked

__all__ = ["Worklist"]

HELD = 10_000
"""Conversations per agent that wait for a message that comes again; more are not held in order."""

_failures = count()


def _nothing() -> None:
    """No actor runs."""


class Worklist:
    """The messages that one agent has begun, has waiting, and gets again."""

    __slots__ = ("arrived", "begin", "beginning", "busy", "held", "tasks", "waiting")

    def __init__(self) -> None:
        self.busy: set[bytes] = set()
        """Conversations in handling."""
        self.waiting: Ranked[Handling] = Ranked()
        """What the actor took from its mailbox and has no room for, or behind its conversation."""
        self.arrived = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.begin: Callable[[], None] = _nothing
        """Begins what waits, in the actor that runs now."""
        self.beginning = False
        """Whether what waits is being begun just now."""
        self.held: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()
        """Conversations with messages that come again: the number of the earliest, and its id with
        which of its failures it was. Who was told of one failure may not pass after the next."""

    def push(self, handling: Handling) -> None:
        """Have a message wait for its turn."""
        message = handling.message
        self.arrived += 1
        self.waiting.push(
            self.arrived, message.conversation_id, message.delivery_options.priority, handling
        )

    def ended(self, conversation: bytes) -> None:
        """A conversation is not in handling any more."""
        self.busy.discard(conversation)
        self.waiting.free(conversation)
        self.begin()

    def go_on(self) -> None:
        """Begin what still waits, in whichever actor runs by now."""
        self.begin()

    def hold(self, handling: Handling) -> None:
        """Take no later message of the conversation before this one comes again."""
        message = handling.message
        held = self.held
        first = held.get(message.conversation_id)
        if first is None or handling.sequence <= first[0]:
            failure = message.message_id + next(_failures).to_bytes(8, "big")
            held[message.conversation_id] = (handling.sequence, failure)
        if len(held) > HELD:
            held.popitem(last=False)

    def first(self, handling: Handling) -> bytes | None:
        """Which failure a message has to wait for; None when it may be handled."""
        conversation = handling.message.conversation_id
        held = self.held.get(conversation)
        if held is None:
            return None
        first = held[1]
        if handling.resumes == first or handling.message.message_id == first[:16]:
            del self.held[conversation]
            return None
        return first
