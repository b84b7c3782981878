"""What a protocol is: states, and which act of which role leads from one to the next.

Every protocol here runs between one initiator and each of its participants by itself: a contract
net with ten bidders is ten such runs that share an initiator. A run is over in a final state.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from caxton.performative import Performative

__all__ = [
    "CANCELLED",
    "CANCELLING",
    "FAILED",
    "GENERIC",
    "NOT_UNDERSTOOD",
    "START",
    "Protocol",
    "Role",
    "Step",
    "by_name",
    "spoken",
]

START = "start"
FAILED = "failed"
NOT_UNDERSTOOD = "not-understood"
CANCELLING = "cancelling"
CANCELLED = "cancelled"

GENERIC = (FAILED, NOT_UNDERSTOOD, CANCELLED)
"""Final states that every protocol has."""


class Role(enum.IntEnum):
    """Who says something."""

    INITIATOR = 0
    PARTICIPANT = 1


@dataclass(frozen=True, slots=True)
class Step:
    """In each of the ``sources`` ``by`` may say one of the ``acts``; that leads to ``target``."""

    sources: tuple[str, ...]
    by: Role
    acts: tuple[Performative, ...]
    target: str


@dataclass(frozen=True)
class Protocol:
    """One protocol, as declared.

    Args:
        name: what a message names in ``protocol``.
        aliases: other names for it.
        source: the document that it follows.
        about: one sentence for the reference.
        initiator, participant: what the roles are called.
        steps: all moves, without those that every protocol has (FAILURE of a participant,
            NOT_UNDERSTOOD of either side, CANCEL of the initiator).
        final: states in which a run is over, without those that every protocol has.
        many: whether there may be several participants.
        lasting: states that may last for any time without a word.
    """

    name: str
    aliases: tuple[str, ...]
    source: str
    about: str
    initiator: str
    participant: str
    steps: tuple[Step, ...]
    final: frozenset[str]
    many: bool = False
    lasting: frozenset[str] = frozenset()
    moves: dict[tuple[str, Role, Performative], str] = field(init=False, repr=False)
    over: frozenset[str] = field(init=False, repr=False)
    """All final states."""

    def __post_init__(self) -> None:
        """Index the steps.

        Raises:
            ValueError: an act of a role leads to two states, or a state leads nowhere.
        """
        moves: dict[tuple[str, Role, Performative], str] = {}
        for step in self.steps:
            for source in step.sources:
                for act in step.acts:
                    if moves.setdefault((source, step.by, act), step.target) != step.target:
                        raise ValueError(f"{self.name}: {act.value} in {source} is ambiguous")
        sources = {source for source, _, _ in moves}
        stuck = {step.target for step in self.steps} - sources - self.final
        if stuck or self.final & sources:
            raise ValueError(f"{self.name}: final states are {self.final}, stuck in {stuck}")
        object.__setattr__(self, "moves", moves)
        object.__setattr__(self, "over", self.final | set(GENERIC))

    @property
    def states(self) -> list[str]:
        """Its own states in the order of the table."""
        found = dict.fromkeys((START,))
        for step in self.steps:
            found.update(dict.fromkeys((*step.sources, step.target)))
        return list(found)

    def acts(self, state: str, by: Role) -> list[Performative]:
        """What a role may say in a state, besides what every protocol has."""
        return [act for source, role, act in self.moves if source == state and role is by]

    def awaits(self, state: str, by: Role) -> bool:
        """Whether it is the turn of a role."""
        return any(source == state and role is by for source, role, _ in self.moves)


def by_name(protocols: Iterable[Protocol]) -> dict[str, Protocol]:
    """Protocols by their names and aliases.

    Raises:
        ValueError: two share a name.
    """
    found: dict[str, Protocol] = {}
    for protocol in protocols:
        for name in (protocol.name, *protocol.aliases):
            if found.setdefault(name, protocol) is not protocol:
                raise ValueError(f"two protocols are called {name}")
    return found


def spoken(acts: Sequence[Performative]) -> str:
    """Acts as a person reads them."""
    names = [act.value for act in acts]
    return " or ".join((", ".join(names[:-1]), names[-1]) if len(names) > 1 else names)
