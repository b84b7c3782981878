"""Hand-off of slots between nodes: its messages, its options and what it stands on.

A *coordinator* decides who owns which slot; a *shard* on each node routes messages for entities,
holds those of slots that move, and stops and starts entities. A slot moves as in Pekko: every shard
holds its messages, the old owner stops its entities, the new one starts, what was held is sent.

**Control messages** are states, not steps: a ``Report`` says all that a shard knows of itself, a
``View`` all that changed since. Each may be lost, doubled or late; numbers tell the newer one.

**Data messages** (the rest) need a transport that keeps their order from one node to another and
loses none while both live. A ``Mark`` is the last message a node sends to the old owner; when it
has the marks of all, nothing is on its way to it any more and it stops the slot's entities. What
they left goes to the new owner in a ``HandOver``, ahead of all that was held.

**One owner.** Each change of a slot has a *round* of its own. The new owner begins only when the
coordinator has seen that it has the hand-over, which the old owner sends after its last entity has
ended. A node owns nothing without a lease (Gray and Cheriton, 1989), which each report renews: a
node that hears nothing of the coordinator kills its entities before the coordinator gives its slots
away. A store that several nodes write should refuse writes of an older round all the same: a
process that was halted for longer than its lease may finish the line of code it stands on.

Guaranteed while no node goes down or loses its lease, and no mark takes longer than its time: no
message is lost or handled twice. When one does, what its entities had and what was on the way to it
or from it may be lost: what still comes to light of it is refused (``node_lost``). Always: nothing
is handled twice, each sender's messages for an entity are handled in order, and no entity is on two
nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from actors.entities.ring import LOAD_FACTOR, SLOTS

__all__ = [
    "COORDINATOR",
    "Bye",
    "Control",
    "Data",
    "Deliver",
    "HandOver",
    "HandoffOptions",
    "Host",
    "Mark",
    "Payloads",
    "Report",
    "SlotView",
    "Transport",
    "View",
]

COORDINATOR = "coordinator"
"""The name under which a transport knows the coordinator."""

Payloads = tuple[tuple[str, Any], ...]
"""Entity ids and messages, in order."""


@dataclass(frozen=True, slots=True)
class HandoffOptions:
    """Limits of a hand-off. Raises ``ValueError`` when a value is out of its range."""

    slots: int = SLOTS
    """The same for all nodes, for ever. 1 to 65,536."""

    load_factor: float = LOAD_FACTOR
    """At most this many times its share of the slots is given to a node. 1 to 100."""

    min_nodes: int = 1
    """Nodes to wait for before the first slots are given away. 1 to 10,000."""

    move_absolute: int = 20
    """Slots that move at a time, at most. 1 to 65,536."""

    move_relative: float = 0.1
    """The same as a share of all slots; the smaller counts, but one may always move. 0 to 1."""

    timeout_s: float = 60.0
    """How long the old owner waits for marks, then for its entities to stop; after that it goes on
    without the marks, and kills the entities. 0.001 to 86,400."""

    lease_s: float = 10.0
    """How long a node may own slots without word of the coordinator. 0.01 to 86,400."""

    grace_s: float = 2.5
    """How much longer the coordinator waits before it takes a silent node for dead. More than the
    clocks of two nodes drift apart in a lease, and than a kill takes. 0 to 86,400."""

    buffer_limit: int = 100_000
    """Messages a shard holds for slots that move. A new one beyond is a dead letter.
    1 to 10,000,000."""

    def __post_init__(self) -> None:
        checks = (
            ("slots", 1 <= self.slots <= 65_536, "1 to 65,536"),
            ("load_factor", 1 <= self.load_factor <= 100, "1 to 100"),
            ("min_nodes", 1 <= self.min_nodes <= 10_000, "1 to 10,000"),
            ("move_absolute", 1 <= self.move_absolute <= 65_536, "1 to 65,536"),
            ("move_relative", 0 <= self.move_relative <= 1, "0 to 1"),
            ("timeout_s", 0.001 <= self.timeout_s <= 86_400, "0.001 to 86,400"),
            ("lease_s", 0.01 <= self.lease_s <= 86_400, "0.01 to 86,400"),
            ("grace_s", 0 <= self.grace_s <= 86_400, "0 to 86,400"),
            ("buffer_limit", 1 <= self.buffer_limit <= 10_000_000, "1 to 10,000,000"),
        )
        for name, good, allowed in checks:
            if not good:
                raise ValueError(f"{name}: {getattr(self, name)!r} given, {allowed} allowed")

    @property
    def move_limit(self) -> int:
        """Slots that may move at a time."""
        return max(1, min(self.move_absolute, int(self.move_relative * self.slots)))


@dataclass(frozen=True, slots=True)
class SlotView:
    """Who owns a slot: ``owner``, or, while that is empty, on its way from ``old`` to ``new``."""

    slot: int
    round: int
    """Grows with each change of this slot."""
    owner: str
    old: str = ""
    old_round: int = 0
    """The round in which ``old`` became its owner."""
    new: str = ""
    regions: frozenset[str] = frozenset()
    """The nodes that may have sent messages to ``old``."""
    left: frozenset[tuple[str, int]] = frozenset()
    """Incarnations of nodes that have left, of which such messages may still be on the way."""


@dataclass(frozen=True, slots=True)
class Report:
    """From a shard to the coordinator: what it knows, and that it lives. Also how it joins."""

    node: str
    incarnation: int
    """Grows with each start of the node, and each time it lost its lease."""
    number: int
    """Grows with each report."""
    version: int
    """Of the last view it applied."""
    ready: tuple[tuple[int, int], ...] = ()
    """Slots and rounds whose hand-over it has, and waits to own."""
    held: int = 0
    leaving: bool = False
    proxy: bool = False
    """It sends messages and never owns a slot."""


@dataclass(frozen=True, slots=True)
class View:
    """From the coordinator to a shard: what changed between two versions."""

    term: int
    """Grows with each start of the coordinator."""
    incarnation: int
    """Of the node it is for."""
    number: int
    """Of the report it answers, which renews the lease from when that was sent; 0: of none."""
    status: Literal["member", "unknown", "left"]
    since: int = 0
    version: int = 0
    changes: tuple[SlotView, ...] = ()


@dataclass(frozen=True, slots=True)
class Deliver:
    """A message for an entity, to the node that owns its slot since ``round``."""

    slot: int
    round: int
    entity_id: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Mark:
    """To the old owner: no more messages for the slot come from this node."""

    slot: int
    round: int


@dataclass(frozen=True, slots=True)
class Bye:
    """No more messages come from this incarnation of a node: it left, or lost its lease."""

    incarnation: int


@dataclass(frozen=True, slots=True)
class HandOver:
    """From the old owner to the new one: its entities have ended, and these messages waited."""

    slot: int
    round: int
    messages: Payloads


Control = Report | View
Data = Deliver | Mark | Bye | HandOver


class Transport(Protocol):
    """Carries messages between nodes.

    Data messages from one node to another arrive in order and exactly once while both live;
    control messages may be lost, doubled, late.
    """

    def send(self, node: str, message: Control | Data) -> None:
        """Send, or take for sending. Must neither block nor deliver before it returns."""
        ...


class Host(Protocol):
    """Runs the entities of a node."""

    def accept(self, slot: int, round_: int) -> None:
        """Entities of the slot may be made here from now on; ``round_`` fences their writes."""
        ...

    def deliver(self, entity_id: str, payload: Any) -> None:
        """Have an entity of an accepted slot handle a message."""
        ...

    def stop(self, slot: int, done: Callable[[Payloads], None]) -> None:
        """Stop the slot's entities; ``done`` gets what waited for them, once they have ended."""
        ...

    def kill(self, slot: int) -> None:
        """End the slot's entities now; a ``stop`` of it that is under way is done with that."""
        ...

    def refuse(self, entity_id: str, payload: Any, reason: str) -> None:
        """A message cannot be kept."""
        ...
