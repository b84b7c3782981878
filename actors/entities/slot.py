"""What a shard knows of one slot, and what it counts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

from actors.entities.handoff import Payloads

__all__ = ["ShardCounters", "Slot"]


@dataclass(slots=True)
class ShardCounters:
    """What a shard counts. All but ``owned`` and ``held`` only grow."""

    owned: int = 0
    """Slots whose entities run here."""
    held: int = 0
    """Messages held for slots that move."""
    sent: int = 0
    """Messages sent to other nodes."""
    lost: int = 0
    """Messages that went down with a node, or came for a slot that this one does not own any more
    because one did."""
    handed_over: int = 0
    """Hand-overs sent."""
    stale: int = 0
    """Hand-overs of a round that is past, dropped: their sender died, or hands over again."""
    forced: int = 0
    """Marks not waited for any longer, and slots whose entities were killed for it."""
    refused: int = 0
    """Messages beyond ``buffer_limit``, or after the node left."""
    leases_lost: int = 0


class Slot:
    """What this node knows of a slot."""

    __slots__ = (
        "deadline",
        "early",
        "given_from",
        "given_since",
        "giving",
        "handed",
        "held",
        "kept",
        "left",
        "marked",
        "marks",
        "needed",
        "new",
        "number",
        "own_round",
        "owner",
        "round",
        "serving",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.held: deque[tuple[str, Any]] = deque()
        """Messages of this node's senders while nobody owns the slot."""
        self.early: deque[tuple[int, str, Any]] = deque()
        """Messages of other nodes, which know already that this one is the owner; with rounds."""
        self.marks: dict[str, int] = {}
        self.forget()

    def forget(self) -> None:
        """Know nothing but the messages that wait."""
        self.round = 0
        self.owner = ""
        self.new = ""
        self.own_round = 0
        self.serving = False
        self.marked = 0
        self.marks.clear()
        self.give_up()

    def give_up(self) -> None:
        """It is not on its way from here."""
        self.giving: Literal["", "marks", "stopping", "stopped"] = ""
        self.given_from = 0
        self.given_since = 0
        self.needed: frozenset[str] = frozenset()
        self.left: frozenset[tuple[str, int]] = frozenset()
        self.deadline = 0.0
        self.kept: Payloads = ()
        self.handed = 0
