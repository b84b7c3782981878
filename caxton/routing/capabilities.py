"""Which agent serves a capability: one table of strategies over offers that are kept ready."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Final, Protocol

from caxton.agents.directory import Directory
from caxton.agents.offers import Offer
from caxton.capability import Strategy, split_capability
from caxton.conversations.record import ConversationRecord
from caxton.errors import NoCapabilityProviders
from caxton.message import Message, Performative
from caxton.routing.accepted import Accepted

__all__ = ["CapabilityResolver", "Queues"]

LOOKED = 32
"""Providers that one choice by score, load or speed looks at; more of them take turns."""
EXPLORE = 32
"""One choice in so many goes to the provider in turn, however slow it once was."""

Test = Callable[[bytes], bool]


class Queues(Protocol):
    """What a choice asks of the delivery."""

    def load(self, agent_id: bytes) -> float:
        """Share of its queue that an agent has in use, as this shard sees it."""
        ...

    def health(self, agent_id: bytes) -> float:
        """1 for an agent that works, less after failures, 0 while its breaker is open."""
        ...

    def blocked(self, agent_id: bytes) -> bool:
        """Whether an agent takes nothing now: its queue is full or its breaker open."""
        ...

    def expected_s(self, agent_id: bytes) -> float:
        """When one more message would be done, in seconds; 0 when nothing is known."""
        ...

    def watch_speed(self, agents: Iterable[bytes]) -> None:
        """Measure how long messages take these agents from now on."""
        ...


class CapabilityResolver:
    """Chooses a provider of a capability.

    Args:
        directory: who offers what.
        queues: load, health and speed of agents.
    """

    def __init__(self, directory: Directory, queues: Queues) -> None:
        self._offers = directory.offers
        self._near = directory.near_capability
        self._queues = queues

    def choose(
        self,
        address: str,
        record: ConversationRecord,
        sender: bytes,
        refused: Container[bytes] = (),
    ) -> bytes:
        """The provider for this conversation: the one it has, or the best there is now.

        An agent never serves its own request. A conversation leaves its provider only when that
        one is out of service, has a full queue or an open breaker, and another one is able.

        Args:
            address: name of the capability, and a range of versions if one is asked for.
            record: the conversation.
            sender: who asks.
            refused: providers that gave this message back.

        Raises:
            NoCapabilityProviders: nobody in service offers it; the text names what is near.
        """
        offer = self._offers.get(address)
        strategy = offer.strategy
        sticky = strategy is Strategy.STICKY or strategy is Strategy.BROADCAST
        held = None
        if sticky:
            held = record.assigned.get(address)
            if held is not None:
                if held not in offer.members or held == sender:
                    held = None
                elif not self._queues.blocked(held) and held not in refused:
                    return held
        queues = self._queues

        def able(one: bytes) -> bool:
            return one != sender and one not in refused and not queues.blocked(one)

        def willing(one: bytes) -> bool:
            return one != sender and one not in refused

        choice = _CHOICES[strategy]
        chosen = None
        if offer.providers:
            if sticky and "@" in address:
                chosen = self._same_name(address, offer, record, able)
            chosen = chosen or choice(self, offer, able)
            if chosen is None:
                # Everyone is blocked: it waits, where it would have gone.
                waits = held is not None and held not in refused
                chosen = held if waits else choice(self, offer, willing)
        if chosen is None:
            raise NoCapabilityProviders(capability=address, near=self._near(address))
        if held != chosen:
            record.assign(address, chosen)
        return chosen

    def _same_name(
        self, address: str, offer: Offer, record: ConversationRecord, able: Test
    ) -> bytes | None:
        """Who serves the capability in this conversation under another range, if it fits."""
        name = split_capability(address)[0]
        for given, agent in record.assigned.items():
            if agent in offer.members and split_capability(given)[0] == name and able(agent):
                return agent
        return None

    def other(self, accepted: Accepted, record: ConversationRecord | None) -> bytes | None:
        """Who else serves the capability of a message that its provider could not take."""
        message = accepted.message
        if record is None:
            return None
        address = message.capability or ""
        try:
            return self.choose(address, record, message.sender, accepted.refused)
        except NoCapabilityProviders:
            return None

    def everyone(self, message: Message) -> Sequence[bytes] | None:
        """Who gets a copy of a message; None when it goes to one agent.

        Broadcast is for an INFORM that stands outside of a protocol: inside one, an act is meant
        for the participant that plays the other role.
        """
        if message.performative is not Performative.INFORM or message.protocol is not None:
            return None
        offer = self._offers.get(message.capability or "")
        if offer.strategy is not Strategy.BROADCAST:
            return None
        found = [one for one in offer.providers if one != message.sender]
        return found or None

    def score(self, agent_id: bytes, priority: float = 1.0) -> float:
        """How well an agent would serve now; higher is better."""
        queues = self._queues
        return priority * queues.health(agent_id) * (1.0 - min(1.0, queues.load(agent_id)))

    # --- the strategies ----------------------------------------------------------------------

    def _best(self, offer: Offer, able: Test) -> bytes | None:
        priorities = offer.priorities
        found = _some(offer, able)
        return max(found, key=lambda one: self.score(one, priorities[one])) if found else None

    def _highest(self, offer: Offer, able: Test) -> bytes | None:
        turn = offer.turn
        for group in offer.groups:
            start = turn % len(group)
            found = next(filter(able, chain(group[start:], group[:start])), None)
            if found is not None:
                offer.turn = turn + 1
                return found
        return None

    def _next(self, offer: Offer, able: Test) -> bytes | None:
        providers = offer.providers
        count = len(providers)
        for place in range(offer.turn, offer.turn + count):
            found = providers[place % count]
            if able(found):
                offer.turn = place + 1
                return found
        return None

    def _least(self, offer: Offer, able: Test) -> bytes | None:
        return min(_some(offer, able), key=self._queues.load, default=None)

    def _fastest(self, offer: Offer, able: Test) -> bytes | None:
        self._queues.watch_speed(offer.providers)
        found = _some(offer, able)
        if not found or offer.turn % EXPLORE == 0:
            return found[0] if found else None
        return min(found, key=self._queues.expected_s)


def _some(offer: Offer, able: Test) -> list[bytes]:
    """Up to ``LOOKED`` that are able; who comes first takes turns, so that equal ones share."""
    providers = offer.providers
    start = offer.turn % len(providers)
    found = list(islice(filter(able, chain(providers[start:], providers[:start])), LOOKED))
    offer.turn += bool(found)
    return found


_CHOICES: Final[Mapping[Strategy, Callable[[CapabilityResolver, Offer, Test], bytes | None]]] = {
    Strategy.STICKY: CapabilityResolver._best,
    Strategy.PRIORITY: CapabilityResolver._highest,
    Strategy.ROUND_ROBIN: CapabilityResolver._next,
    Strategy.LEAST_LOADED: CapabilityResolver._least,
    Strategy.FASTEST: CapabilityResolver._fastest,
    Strategy.BROADCAST: CapabilityResolver._best,
}
"""How each strategy picks one of those that are able; None when nobody is."""
