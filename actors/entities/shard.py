"""A shard: routes messages for entities to the node that owns them, and hands slots off.

A state machine without input or output of its own: it is given messages and the time, sends over a
``Transport``, and runs entities on a ``Host``. See ``handoff`` for the protocol.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any, Literal

from actors.entities.handoff import (
    COORDINATOR,
    Bye,
    Control,
    Data,
    Deliver,
    HandoffOptions,
    HandOver,
    Host,
    Mark,
    Payloads,
    Report,
    SlotView,
    Transport,
    View,
)
from actors.entities.ring import slot_of
from actors.entities.slot import ShardCounters, Slot

__all__ = ["Shard", "ShardCounters"]

logger = logging.getLogger("actors")


_SLOTS_KNOWN = 16_384
"""Ids of which the slot is remembered."""


class Shard:
    """See the module. Not for several threads at once.

    Args:
        node: the name of this node.
        incarnation: higher than that of any start of this node before, such as a time in
            nanoseconds.
        transport: to the other nodes and the coordinator.
        host: runs the entities.
        options: limits; the same for all nodes.
        proxy: whether it only sends, and owns nothing.
        now: the time, in seconds.
    """

    def __init__(
        self,
        node: str,
        incarnation: int,
        transport: Transport,
        host: Host,
        options: HandoffOptions | None = None,
        *,
        proxy: bool = False,
        now: float,
    ) -> None:
        self.node = node
        self.incarnation = incarnation
        self.proxy = proxy
        self.options = options or HandoffOptions()
        self.counts = ShardCounters()
        self.status: Literal["joining", "member", "left"] = "joining"
        self.leaving = False
        self.term = 0
        self.version = 0
        self._transport = transport
        self._host = host
        self._now = now
        self._slots = [Slot(number) for number in range(self.options.slots)]
        self._given: dict[int, HandOver] = {}
        """Hand-overs to this node that wait for the coordinator's word, by slot."""
        self._giving: dict[int, Slot] = {}
        self._peers: set[str] = set()
        """Nodes that messages may have been sent to."""
        self._byes: dict[str, int] = {}
        """Last incarnation of other nodes that said that no more comes of it."""
        # Hashing would be half of what a message costs here.
        self.slot_of = lru_cache(_SLOTS_KNOWN)(partial(slot_of, slots=self.options.slots))
        """The slot of an entity id."""
        self._number = 0
        self._sent: dict[int, float] = {}
        self._lease_until = float("-inf")
        self._report_at = now
        self._news = False

    def owner_of(self, slot: int) -> str:
        """The node that owns a slot; empty when it moves or is not known."""
        return self._slots[slot].owner

    # --- messages of this node's senders ---------------------------------------------------------

    def route(self, entity_id: str, payload: Any) -> None:
        """Have the entity handle a message, wherever it is."""
        slot = self._slots[self.slot_of(entity_id)]
        owner = slot.owner
        if not owner:
            self._hold(slot, entity_id, payload)
        elif owner == self.node:
            self._host.deliver(entity_id, payload)
        elif self.status == "left":
            self._refuse(entity_id, payload, "shard_left")
        else:
            self.counts.sent += 1
            self._transport.send(owner, Deliver(slot.number, slot.round, entity_id, payload))

    def _hold(self, slot: Slot, entity_id: str, payload: Any) -> None:
        if self.status == "left":
            self._refuse(entity_id, payload, "shard_left")
        elif self.counts.held >= self.options.buffer_limit:
            self._refuse(entity_id, payload, "shard_buffer_full")
        else:
            self.counts.held += 1
            slot.held.append((entity_id, payload))

    def _refuse(self, entity_id: str, payload: Any, reason: str) -> None:
        self.counts.refused += 1
        self._host.refuse(entity_id, payload, reason)

    def _lost(self, messages: Iterable[tuple[str, Any]]) -> None:
        """A node went down, and these with it; if they came now they would be out of order."""
        for entity_id, payload in messages:
            self.counts.lost += 1
            self._host.refuse(entity_id, payload, "node_lost")

    # --- what happens ----------------------------------------------------------------------------

    def receive(self, sender: str, message: Control | Data, now: float) -> None:
        """A message of another node or of the coordinator."""
        self._now = now
        self._check_lease()
        if isinstance(message, View):
            self._view(message)
        elif isinstance(message, Bye):
            self._byes[sender] = max(self._byes.get(sender, -1), message.incarnation)
            for slot in list(self._giving.values()):
                self._go_on(slot)
        elif isinstance(message, Deliver):
            self._deliver(message)
        elif isinstance(message, Mark):
            slot = self._slots[message.slot]
            slot.marks[sender] = max(slot.marks.get(sender, 0), message.round)
            self._go_on(slot)
        elif isinstance(message, HandOver):
            self._hand_over(message)
        self._tell_news()

    def tick(self, now: float) -> None:
        """Time has passed. Call at least four times per lease."""
        self._now = now
        self._check_lease()
        for slot in list(self._giving.values()):
            self._go_on(slot)
        if now >= self._report_at:
            self._news = True
        self._tell_news()

    def leave(self) -> None:
        """Hand all slots off and take part no more: ``status`` is ``left`` when that is done."""
        self.leaving = self._news = True
        self._tell_news()

    def _tell_news(self) -> None:
        if not self._news or self.status == "left":
            return
        self._news = False
        self._number += 1
        self._sent[self._number] = self._now
        if len(self._sent) > 1_000:
            del self._sent[next(iter(self._sent))]
        self._report_at = self._now + self.options.lease_s / 4
        ready = tuple((slot, given.round) for slot, given in self._given.items())
        report = Report(
            self.node,
            self.incarnation,
            self._number,
            self.version,
            ready,
            self.counts.held,
            self.leaving,
            self.proxy,
        )
        self._transport.send(COORDINATOR, report)

    # --- the lease -------------------------------------------------------------------------------

    def _check_lease(self) -> None:
        if self.status == "member" and self._now >= self._lease_until:
            logger.warning("node %s lost its lease: the coordinator is not heard", self.node)
            self._lose()

    def _lose(self) -> None:
        """This node may own nothing any more: it joins anew."""
        self.counts.leases_lost += 1
        self.status = "joining"
        self._say_bye()
        self.incarnation += 1
        self.version = 0
        self._lease_until = float("-inf")
        self._sent.clear()
        self._giving.clear()
        self.counts.owned = 0
        for slot in self._slots:
            kill = slot.serving or slot.giving == "stopping"
            slot.forget()
            if kill:
                self._host.kill(slot.number)
        given, self._given = self._given, {}
        for hand_over in given.values():
            self._lost(hand_over.messages)
        self._news = True

    def _say_bye(self) -> None:
        for node in sorted(self._peers):
            self._transport.send(node, Bye(self.incarnation))
        self._peers.clear()

    # --- views -----------------------------------------------------------------------------------

    def _view(self, view: View) -> None:
        if view.term < self.term or view.incarnation != self.incarnation:
            return
        if view.term > self.term:
            first = self.term == 0
            self.term = view.term
            if not first:
                # Another coordinator, which knows nothing of what this node owns.
                self._lose()
                return
        if view.status == "left":
            if self.status != "left":
                self.status = "left"
                self._say_bye()
            return
        if view.status == "unknown":
            self._lose()
            return
        sent_at = self._sent.pop(view.number, None)
        if sent_at is not None:
            self._lease_until = max(self._lease_until, sent_at + self.options.lease_s)
        if self._now >= self._lease_until:
            return
        self.status = "member"
        if view.since <= self.version < view.version:
            self.version = view.version
            self._news = True
            for change in view.changes:
                self._apply(self._slots[change.slot], change)

    def _apply(self, slot: Slot, view: SlotView) -> None:
        given = self._given.get(view.slot)
        slot.round = view.round
        slot.new = view.new
        mine = view.owner == self.node
        if slot.serving and not mine and view.old != self.node:
            # Never so, as long as the coordinator and this node keep to the lease.
            logger.error("slot %d of node %s was given away while it ran", view.slot, self.node)
            self._host.kill(view.slot)
            self._serve(slot, False)
        if view.owner:
            self._settle(slot, view, given)
            return
        slot.owner = ""
        if slot.giving and (view.old != self.node or slot.given_from != view.old_round):
            # That it was given away is news of the past: it goes from another, or goes again.
            slot.give_up()
            self._giving.pop(view.slot, None)
        if view.old == self.node:
            if not slot.giving:
                slot.giving = "marks"
                slot.given_from = view.old_round
                slot.given_since = view.round
                slot.deadline = self._now + self.options.timeout_s
                self._giving[view.slot] = slot
                if given is not None and given.round == view.old_round and not slot.serving:
                    # It was the owner, and heard of it only now that it is no more.
                    del self._given[view.slot]
                    slot.kept = given.messages
            slot.needed = view.regions
            slot.left = view.left
            self._go_on(slot)
        elif view.old and self.node in view.regions and slot.marked != view.round:
            slot.marked = view.round
            self._transport.send(view.old, Mark(view.slot, view.round))
        self._drop_stale(slot)
        self._sort_early(slot)

    def _settle(self, slot: Slot, view: SlotView, given: HandOver | None) -> None:
        slot.owner = view.owner
        if slot.owner != self.node:
            self._peers.add(slot.owner)
        self._giving.pop(view.slot, None)
        slot.give_up()
        if view.owner == self.node and not slot.serving:
            self._serve(slot, True)
            slot.own_round = view.round
            self._host.accept(view.slot, view.round)
        if view.owner == self.node and given is not None and given.round == view.round:
            del self._given[view.slot]
            for entity_id, payload in given.messages:
                self._host.deliver(entity_id, payload)
        self._drop_stale(slot)
        self._sort_early(slot)
        while slot.held and slot.owner == view.owner:
            self.counts.held -= 1
            self.route(*slot.held.popleft())

    def _serve(self, slot: Slot, serving: bool) -> None:
        slot.serving = serving
        self.counts.owned += 1 if serving else -1

    def _drop_stale(self, slot: Slot) -> None:
        given = self._given.get(slot.number)
        if given is not None and given.round < slot.round:
            del self._given[slot.number]
            self._stale(given)

    def _sort_early(self, slot: Slot) -> None:
        """What came early is due now, waits on, or is for somebody else after all."""
        for _ in range(len(slot.early)):
            round_, entity_id, payload = slot.early.popleft()
            self.counts.held -= 1
            self._deliver(Deliver(slot.number, round_, entity_id, payload))

    # --- data ------------------------------------------------------------------------------------

    def _deliver(self, message: Deliver) -> None:
        slot = self._slots[message.slot]
        if slot.serving and message.round == slot.own_round:
            self._host.deliver(message.entity_id, message.payload)
        elif (
            message.round > slot.round
            or (message.round == slot.round and slot.new == self.node)
            or (slot.giving == "marks" and message.round == slot.given_from)
        ):
            # This node is the owner, and is to hear of it.
            self.counts.held += 1
            slot.early.append((message.round, message.entity_id, message.payload))
        else:
            self._lost(((message.entity_id, message.payload),))

    def _hand_over(self, message: HandOver) -> None:
        slot = self._slots[message.slot]
        given = self._given.get(message.slot)
        if given is not None and given.round >= message.round:
            self._stale(message)
        elif message.round > slot.round or (message.round == slot.round and not slot.owner):
            self._given[message.slot] = message
            self._news = True
        else:
            self._stale(message)

    def _stale(self, message: HandOver) -> None:
        """One of a round that is past: its sender died, or hands over again to somebody else."""
        self.counts.stale += 1

    # --- giving a slot away --------------------------------------------------------------------

    def _go_on(self, slot: Slot) -> None:
        """Take the next step of giving a slot away, when it is due."""
        late = self._now >= slot.deadline
        if slot.giving == "marks":
            missing = [
                node
                for node in slot.needed
                if node != self.node and slot.marks.get(node, 0) < slot.given_since
            ]
            missing += [node for node, last in slot.left if self._byes.get(node, -1) < last]
            if missing and not late:
                return
            if missing:
                self.counts.forced += 1
                logger.warning("slot %d moves without the marks of %s", slot.number, missing)
            slot.giving = "stopping"
            slot.deadline = self._now + self.options.timeout_s
            if slot.serving:
                self._serve(slot, False)
                self._host.stop(slot.number, self._when_stopped(slot))
            else:
                early = tuple((entity_id, payload) for _, entity_id, payload in slot.early)
                self.counts.held -= len(early)
                slot.early.clear()
                self._stopped(slot, slot.kept + early)
        elif slot.giving == "stopping" and late:
            slot.deadline = self._now + self.options.timeout_s
            self.counts.forced += 1
            logger.warning("entities of slot %d did not stop in time: killed", slot.number)
            self._host.kill(slot.number)
        elif slot.giving == "stopped" and slot.handed != slot.round:
            slot.handed = slot.round
            self.counts.handed_over += 1
            message = HandOver(slot.number, slot.round, slot.kept)
            if slot.new == self.node:
                self._hand_over(message)
            elif slot.new:
                self._transport.send(slot.new, message)

    def _when_stopped(self, slot: Slot) -> Callable[[Payloads], None]:
        incarnation = self.incarnation

        def done(messages: Payloads) -> None:
            if incarnation == self.incarnation and slot.giving == "stopping":
                self._stopped(slot, messages)
            else:
                self._lost(messages)
            self._tell_news()

        return done

    def _stopped(self, slot: Slot, messages: Payloads) -> None:
        slot.kept = messages
        slot.giving = "stopped"
        self._go_on(slot)
