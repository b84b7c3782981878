"""The coordinator: decides which node owns which slot, one change of a slot after the other.

A state machine without input or output of its own: it is given reports and the time, and sends
views over a ``Transport``. See ``handoff`` for the protocol. There is one per cluster. One that is
started again has a higher term: all nodes then drop what they own and join anew, and it gives
nothing away until the leases of the term before have run out.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from actors.entities.handoff import HandoffOptions, Report, SlotView, Transport, View
from actors.entities.ring import assign

__all__ = ["Coordinator"]

logger = logging.getLogger("actors")


_TERM_BITS = 32
"""Rounds of a term begin above those of any term before: they grow over all of them."""
_TERMS = 1 << 31


@dataclass(slots=True)
class _Member:
    incarnation: int
    granted_at: float
    number: int = 0
    version: int = 0
    held: int = 0
    leaving: bool = False
    proxy: bool = False


class _Slot:
    __slots__ = (
        "changed",
        "left",
        "new",
        "old",
        "old_round",
        "owned_at",
        "owner",
        "regions",
        "round",
    )

    def __init__(self, first_round: int) -> None:
        self.round = first_round
        self.owner = ""
        self.old = ""
        self.old_round = 0
        self.new = ""
        self.regions: frozenset[str] = frozenset()
        self.left: frozenset[tuple[str, int]] = frozenset()
        self.changed = 0
        self.owned_at = 0
        """The version in which its last owner became that."""

    def settle(self, owner: str) -> None:
        self.owner = owner
        self.old = self.new = ""
        self.old_round = 0
        self.regions = frozenset()
        self.left = frozenset()

    @property
    def moving(self) -> bool:
        return bool(self.old)


class Coordinator:
    """See the module. Not for several threads at once.

    Args:
        transport: takes the views.
        options: limits; the same for all nodes.
        now: the time, in seconds.
        term: higher than that of any coordinator before, such as a time in seconds. 1: there was
            none.

    Raises:
        ValueError: the term is not within 1 to 2,147,483,647.
    """

    def __init__(
        self,
        transport: Transport,
        options: HandoffOptions | None = None,
        *,
        now: float,
        term: int = 1,
    ) -> None:
        if not 1 <= term < _TERMS:
            raise ValueError(f"term: {term!r} given, 1 to 2,147,483,647 allowed")
        self.options = options or HandoffOptions()
        self.term = term
        self.version = 0
        self.moved = 0
        """Slots that changed their owner by a complete hand-off."""
        self._transport = transport
        self._members: dict[str, _Member] = {}
        self._gone: dict[str, tuple[int, bool]] = {}
        """Last incarnation of nodes that are no members, and whether they left in good order."""
        self._left: dict[str, tuple[int, int]] = {}
        """Nodes that left, of which messages may still be on the way: incarnation, version."""
        self._slots = [_Slot(term << _TERM_BITS) for _ in range(self.options.slots)]
        self._not_before = now if term == 1 else now + self._patience_s
        self._began = False
        self._dirty = True
        self._told = 0

    @property
    def _patience_s(self) -> float:
        return self.options.lease_s + self.options.grace_s

    @property
    def members(self) -> frozenset[str]:
        """The nodes that take part."""
        return frozenset(self._members)

    @property
    def moving(self) -> int:
        """Slots on their way."""
        return sum(slot.moving for slot in self._slots)

    def owners(self) -> tuple[str, ...]:
        """The owner of each slot; empty for one that moves or has none."""
        return tuple(slot.owner for slot in self._slots)

    # --- what happens --------------------------------------------------------------------------

    def receive(self, report: Report, now: float) -> None:
        """A shard reports."""
        node, member = report.node, self._members.get(report.node)
        gone, left = self._gone.get(node, (-1, False))
        if report.incarnation <= gone:
            status = View(
                self.term, report.incarnation, report.number, "left" if left else "unknown"
            )
            self._transport.send(node, status)
            return
        if member is not None and report.incarnation != member.incarnation:
            if report.incarnation < member.incarnation:
                return
            # It says itself that it has dropped what it owned.
            self._down(node)
            member = None
        if member is None:
            member = self._members[node] = _Member(report.incarnation, now, proxy=report.proxy)
            self._left.pop(node, None)
            self._dirty = True
        member.granted_at = max(member.granted_at, now)
        member.version = max(member.version, min(report.version, self.version))
        if report.number > member.number:
            member.number = report.number
            member.held = report.held
            if report.leaving and not member.leaving:
                member.leaving = self._dirty = True
        for number, round_ in report.ready:
            slot = self._slots[number]
            if slot.moving and slot.new == node and slot.round == round_:
                slot.settle(node)
                self.moved += 1
                self._changed(slot)
        self._plan(now)
        if self._may_leave(node, member):
            self._gone[node] = (member.incarnation, True)
            self._left[node] = (member.incarnation, self.version)
            del self._members[node]
            self._dirty = True
            self._transport.send(node, View(self.term, member.incarnation, report.number, "left"))
            self._plan(now)
        else:
            self._transport.send(node, self._view(member, report.number))
        self._publish()

    def node_down(self, node: str, now: float) -> None:
        """A node is dead for certain: its process has been reaped. Safe to call again.

        For a node that may still run, its lease decides: call nothing.
        """
        if node in self._members:
            self._down(node)
            self._plan(now)
            self._publish()
        elif self._left.pop(node, None) is not None:
            self._out_of_regions(node)
            self._publish()

    def tick(self, now: float) -> None:
        """Time has passed. Call at least four times per lease."""
        for node, member in list(self._members.items()):
            if now >= member.granted_at + self._patience_s:
                logger.warning("node %s was silent for longer than its lease", node)
                self._down(node)
        self._plan(now)
        self._publish()

    # --- what follows --------------------------------------------------------------------------

    def _changed(self, slot: _Slot) -> None:
        self.version += 1
        slot.changed = self.version
        if slot.owner:
            slot.owned_at = self.version
        self._dirty = True

    def _down(self, node: str) -> None:
        member = self._members.pop(node)
        self._gone[node] = (member.incarnation, False)
        self._dirty = True
        for slot in self._slots:
            if slot.owner == node:
                slot.owner = ""
                self._changed(slot)
            elif not slot.moving:
                continue
            elif slot.old == node:
                # Its hand-over may be at the new owner already, in this very round.
                heir = slot.new if slot.new in self._members else ""
                slot.settle(heir)
                self._changed(slot)
            elif slot.new == node:
                slot.new = ""  # another one is found when plans are made
        self._out_of_regions(node)

    def _out_of_regions(self, node: str) -> None:
        """No mark comes from this node."""
        for slot in self._slots:
            left = frozenset(one for one in slot.left if one[0] != node)
            if node in slot.regions or left != slot.left:
                slot.regions -= {node}
                slot.left = left
                self._changed(slot)

    def _plan(self, now: float) -> None:
        """Give away slots without an owner, and begin as many moves as may be under way."""
        if not self._dirty or now < self._not_before:
            return
        owners = [node for node, member in self._members.items() if not member.proxy]
        if not self._began:
            if len(owners) < self.options.min_nodes:
                return
            self._began = True
        self._dirty = False
        staying = [node for node in owners if not self._members[node].leaving]
        # With nobody else, a node that wants to leave keeps its slots.
        target = assign(staying or owners, self.options.slots, load_factor=self.options.load_factor)
        if not target:
            return
        moving = self.moving
        for number, slot in enumerate(self._slots):
            wanted = target[number]
            if slot.moving:
                if not slot.new:
                    slot.round += 1
                    slot.new = wanted
                    self._note_senders(slot)
                    self._changed(slot)
            elif not slot.owner:
                slot.round += 1
                slot.settle(wanted)
                self._changed(slot)
            elif slot.owner != wanted and moving < self.options.move_limit:
                moving += 1
                slot.old, slot.old_round = slot.owner, slot.round
                slot.owner, slot.new = "", wanted
                slot.round += 1
                self._note_senders(slot)
                self._changed(slot)
        self._dirty = False

    def _note_senders(self, slot: _Slot) -> None:
        """Write down who may have sent to the owner of a slot."""
        slot.regions = frozenset(self._members)
        slot.left = frozenset(
            (node, incarnation)
            for node, (incarnation, version) in self._left.items()
            if version >= slot.owned_at
        )

    def _may_leave(self, node: str, member: _Member) -> bool:
        # As long as it sees a slot without an owner, it may come to hold a message for it.
        return (
            member.leaving
            and not member.held
            and member.version == self.version
            and all(slot.owner not in ("", node) for slot in self._slots)
        )

    def _view(self, member: _Member, number: int) -> View:
        since = member.version
        changes: tuple[SlotView, ...] = ()
        if since < self.version:
            changes = tuple(
                SlotView(
                    number,
                    slot.round,
                    slot.owner,
                    slot.old,
                    slot.old_round,
                    slot.new,
                    slot.regions,
                    slot.left,
                )
                for number, slot in enumerate(self._slots)
                if slot.changed > since
            )
        return View(self.term, member.incarnation, number, "member", since, self.version, changes)

    def _publish(self) -> None:
        """Tell the members what is new to any of them."""
        if self._told == self.version:
            return
        self._told = self.version
        for node, member in self._members.items():
            self._transport.send(node, self._view(member, 0))
