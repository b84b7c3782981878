"""Who offers a capability, prepared when the directory changes: a choice only looks.

An ``Offer`` is what one address (``billing``, ``billing@>=1.2``) stands for now. It is made at its
first use after a change, so that loading ten thousand agents makes none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from operator import attrgetter

from caxton.capability import Strategy, fits, split_capability
from caxton.storage.registry import AgentRecord

__all__ = ["Offer", "Offers"]

KEPT = 10_000
"""Addresses whose offer is kept; ranges come from clients, so there is no end to them."""


class Offer:
    """The providers of one address, by falling priority and then by name."""

    __slots__ = ("generation", "groups", "members", "name", "priorities", "providers",
                 "strategy", "turn")  # fmt: skip

    def __init__(
        self,
        name: str,
        strategy: Strategy,
        records: Iterable[AgentRecord],
        generation: int,
        turn: int,
    ) -> None:
        ordered = sorted(records, key=lambda one: (-one.priority, one.name))
        self.name = name
        self.strategy = strategy
        self.generation = generation
        self.turn = turn
        """Grows with each choice by turns; goes on when the offer is made anew."""
        self.providers = tuple(one.id for one in ordered)
        self.priorities = {one.id: one.priority for one in ordered}
        self.groups = tuple(
            tuple(one.id for one in group) for _, group in groupby(ordered, attrgetter("priority"))
        )
        """Those of equal priority together."""
        self.members = frozenset(self.providers)


class Offers:
    """Offers by address.

    Args:
        providers: the records of those in service that offer a capability's name.
        strategies: strategies that were set, by name.
        default: the strategy of the others.
    """

    def __init__(
        self,
        providers: Callable[[str], Iterable[AgentRecord]],
        strategies: Mapping[str, Strategy],
        default: Strategy = Strategy.STICKY,
    ) -> None:
        self.generation = 0
        self._providers = providers
        self._strategies = strategies
        self.default = default
        self._offers: dict[str, Offer] = {}
        self._watchers: list[Callable[[], None]] = []

    def changed(self) -> None:
        """The directory or a strategy changed: offers are made anew at their next use."""
        self.generation += 1
        for told in self._watchers:
            told()

    def watch(self, told: Callable[[], None]) -> None:
        """Have ``told`` called after each change."""
        self._watchers.append(told)

    def get(self, address: str) -> Offer:
        """What ``address`` stands for now; an offer without providers when there are none."""
        found = self._offers.get(address)
        if found is None or found.generation != self.generation:
            found = self._make(address, found.turn if found else 0)
        return found

    def _make(self, address: str, turn: int) -> Offer:
        name, versions = split_capability(address)
        records = [
            one
            for one in self._providers(name)
            if not versions or fits(one.capability_version(name), versions)
        ]
        made = Offer(name, self.strategy(name), records, self.generation, turn)
        if len(self._offers) >= KEPT:
            self._offers.clear()
        self._offers[address] = made
        return made

    def strategy(self, name: str) -> Strategy:
        """The strategy of a capability."""
        return self._strategies.get(name, self.default)
