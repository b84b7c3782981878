"""How far a conversation is in its protocol, kept in its record and advanced by each message.

A protocol begins with an opening act in a message that names it, while none is under way. From then
on everything that its initiator and its participants say to each other is part of it, whether it
names the protocol or not, until every participant is in a final state. What is none of its business
is not looked at: other agents' acts that name no protocol or one that is not checked. The node's
own answers break no rule; its FAILURE about an act of the initiator ends that participant's run.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from caxton.conversations.protocols.protocol import (
    CANCELLED,
    CANCELLING,
    FAILED,
    NOT_UNDERSTOOD,
    START,
    Protocol,
    Role,
    spoken,
)
from caxton.conversations.protocols.tables import protocol_of
from caxton.errors import InternalError, ProtocolViolation
from caxton.message import Message
from caxton.performative import Performative
from caxton.types import format_id

__all__ = ["Peer", "Progress", "advance"]

UNNAMED = b""
"""Stands for the participant that a capability was asked for and that has not answered yet."""
_ASIDE = frozenset({Performative.HEARTBEAT, Performative.CAPABILITY})
"""Acts of the runtime, which no protocol knows."""
_AFTER = _ASIDE | {Performative.NOT_UNDERSTOOD, Performative.CANCEL}
"""Acts that break no rule when all is over: they may have crossed the end."""


class Peer(msgspec.Struct, array_like=True, gc=False):
    """The run between the initiator and one participant."""

    state: str
    asked: bytes = b""
    """Id of the initiator's last act."""
    asked_key: bytes = b""
    """What a reply to it names, when that is not its id."""
    asked_at: int = 0
    """When it was made, in milliseconds since 1970."""
    answered: bytes = b""
    """What a reply to the participant's last act names."""
    deadline: int = 0
    """Until when the participant is to answer, in milliseconds since 1970; 0 for no such time."""
    former: str = ""
    """The state that a CANCEL came in."""
    cancel: bytes = b""
    """What a reply to the CANCEL names."""

    @property
    def key(self) -> bytes:
        """What a reply to the initiator's last act names."""
        return self.asked_key or self.asked


class Progress(msgspec.Struct, array_like=True):
    """A protocol that is under way or over."""

    protocol: str
    """Its name in the table."""
    initiator: bytes
    peers: dict[bytes, Peer]
    """Participant to its run, in the order in which they were called."""

    @property
    def table(self) -> Protocol:
        """The protocol's table.

        Raises:
            InternalError: the record was written by a version with more protocols.
        """
        found = protocol_of(self.protocol)
        if found is None:
            raise InternalError(reason=f"this version does not know protocol {self.protocol}")
        return found

    @property
    def over(self) -> bool:
        """Whether every run has ended."""
        ends = self.table.over
        return all(peer.state in ends for peer in self.peers.values())

    @property
    def lasting(self) -> bool:
        """Whether a run is in a state that may last for any time."""
        lasting = self.table.lasting
        return any(peer.state in lasting for peer in self.peers.values())

    @property
    def deadline(self) -> int:
        """The earliest time until which a participant is to answer; 0 for none."""
        return min((peer.deadline for peer in self.peers.values() if peer.deadline), default=0)

    def unanswered(self, now: int) -> Iterator[tuple[bytes, Peer]]:
        """Participants whose deadline has passed at ``now``."""
        for participant, peer in self.peers.items():
            if peer.deadline and peer.deadline <= now:
                yield participant, peer

    def open(self) -> Iterator[tuple[bytes, Peer]]:
        """Participants whose run has not ended."""
        ends = self.table.over
        return ((one, peer) for one, peer in self.peers.items() if peer.state not in ends)

    # --- one message -------------------------------------------------------------------------

    def told(self, message: Message) -> None:
        """Take in what the node says: a FAILURE about the initiator's last act ends that run."""
        if message.performative is not Performative.FAILURE or message.receiver != self.initiator:
            return
        for _, peer in self.open():
            if message.in_reply_to == peer.key:
                self._move(peer, FAILED)
                return
            if peer.cancel and message.in_reply_to == peer.cancel:
                # The CANCEL did not arrive; all is as it was.
                self._move(peer, peer.former)
                peer.cancel = b""
                return

    def _move(self, peer: Peer, state: str) -> None:
        peer.state = state
        peer.deadline = 0

    def take(self, message: Message) -> None:
        """Take in a message of an agent or a client.

        Raises:
            ProtocolViolation: it does not fit; nothing was changed.
        """
        sender, receiver = message.sender, message.receiver
        if message.performative in _ASIDE:
            return
        if sender == self.initiator:
            self._from_initiator(message, receiver)
        elif receiver == self.initiator:
            self._from_participant(message, sender)
        else:
            self._from_outside(message)

    def _from_outside(self, message: Message) -> None:
        named = None if message.protocol is None else protocol_of(message.protocol)
        if named is not None and message.performative is not Performative.NOT_UNDERSTOOD:
            raise self._wrong(
                message,
                f"{self.protocol} of {format_id(self.initiator)} is under way in it and this is "
                "none of its acts; open a conversation of its own and name this one as its parent",
            )

    def _other(self, message: Message) -> bool:
        """Whether a message names another protocol that is checked."""
        if message.protocol is None:
            return False
        named = protocol_of(message.protocol)
        return named is not None and named.name != self.protocol

    def _from_initiator(self, message: Message, receiver: bytes | None) -> None:
        table = self.table
        peer = self._peer(receiver)
        if peer is None:
            if receiver is not None and not table.many and message.protocol is None:
                return
            self._call(message, receiver)
            return
        self._check_name(message)
        state = peer.state
        if state in table.over:
            self._after(message, peer)
            return
        if message.in_reply_to is not None and message.in_reply_to != peer.answered:
            raise self._stale(message)
        act = message.performative
        if act is Performative.NOT_UNDERSTOOD:
            self._move(peer, NOT_UNDERSTOOD)
        elif act is Performative.CANCEL and state != CANCELLING:
            peer.former, peer.cancel = state, message.reply_with or message.message_id
            peer.state = CANCELLING
        else:
            target = table.moves.get((state, Role.INITIATOR, act))
            if target is None:
                raise self._unfit(message, state, Role.INITIATOR)
            self._move(peer, target)
            self._asked(peer, message)

    def _asked(self, peer: Peer, message: Message) -> None:
        peer.asked = message.message_id
        peer.asked_key = message.reply_with or b""
        peer.asked_at = message.created_at
        if self.table.awaits(peer.state, Role.PARTICIPANT):
            peer.deadline = message.reply_by or 0

    def _peer(self, receiver: bytes | None) -> Peer | None:
        peers = self.peers
        if receiver is None:
            # To a capability: with one participant it is clear who is meant.
            return next(iter(peers.values())) if len(peers) == 1 and not self.table.many else None
        return peers.get(receiver)

    def _call(self, message: Message, receiver: bytes | None) -> None:
        """The initiator says something to one who is no participant yet."""
        table = self.table
        self._check_name(message)
        opening = table.moves.get((START, Role.INITIATOR, message.performative))
        if opening is None or (self.peers and not table.many):
            if message.performative is Performative.NOT_UNDERSTOOD:
                return
            rule = (
                f"{self.protocol} is under way in it with another participant"
                if opening is not None
                else f"{self.protocol} calls a {table.participant} with "
                f"{spoken(table.acts(START, Role.INITIATOR))}"
            )
            raise self._wrong(message, rule)
        peer = self.peers[receiver or UNNAMED] = Peer(opening)
        self._asked(peer, message)

    def _from_participant(self, message: Message, sender: bytes) -> None:
        table = self.table
        peer = self.peers.get(sender)
        unnamed = None
        if peer is None:
            unnamed = self.peers.get(UNNAMED)
            if unnamed is None or not self._fits_unnamed(message, unnamed):
                self._from_outside(message)
                return
            peer = unnamed
        self._check_name(message)
        if peer.state in table.over:
            self._after(message, peer)
            return
        self._advance_participant(message, peer)
        if unnamed is not None:
            # The one that a capability was asked for is known now.
            self.peers = {sender if one == UNNAMED else one: run for one, run in self.peers.items()}

    def _fits_unnamed(self, message: Message, unnamed: Peer) -> bool:
        return message.protocol is not None or message.in_reply_to == unnamed.key

    def _advance_participant(self, message: Message, peer: Peer) -> None:
        table, act, key = self.table, message.performative, message.in_reply_to
        state = peer.state
        if key is not None and key not in (peer.key, peer.cancel):
            raise self._stale(message)
        cancelling = state == CANCELLING
        if cancelling and key in (None, peer.cancel):
            if act is Performative.INFORM:
                self._move(peer, CANCELLED)
                return
            if act is Performative.FAILURE:
                self._move(peer, peer.former)
                peer.cancel = b""
                return
        if cancelling:
            # It crossed the CANCEL.
            state = peer.former
        if act is Performative.NOT_UNDERSTOOD:
            self._move(peer, NOT_UNDERSTOOD)
            return
        target = table.moves.get((state, Role.PARTICIPANT, act))
        if target is None and act is Performative.FAILURE:
            target = FAILED
        if target is None:
            raise self._unfit(message, peer.state, Role.PARTICIPANT)
        peer.answered = message.reply_with or message.message_id
        if cancelling and target not in table.over:
            peer.former = target
        else:
            self._move(peer, target)

    # --- what is wrong -----------------------------------------------------------------------

    def _check_name(self, message: Message) -> None:
        if self._other(message):
            raise self._wrong(
                message, f"{self.protocol} is under way in it and not {message.protocol}"
            )

    def _after(self, message: Message, peer: Peer) -> None:
        """A word after the end. NOT_UNDERSTOOD may be one, and so may what crossed the end."""
        if message.performative in _AFTER:
            return
        raise self._wrong(message, f"{self.protocol} has ended here as {peer.state}")

    def _unfit(self, message: Message, state: str, by: Role) -> ProtocolViolation:
        table = self.table
        who = table.initiator if by is Role.INITIATOR else table.participant
        acts = table.acts(state, by)
        allowed = f"says {spoken(acts)}" if acts else "waits"
        return self._wrong(message, f"{self.protocol} is {state}: the {who} {allowed}")

    def _stale(self, message: Message) -> ProtocolViolation:
        return self._wrong(
            message, f"`in_reply_to` names another message than the one that {self.protocol} awaits"
        )

    def _wrong(self, message: Message, rule: str) -> ProtocolViolation:
        return ProtocolViolation(
            performative=message.performative.value,
            conversation=format_id(message.conversation_id),
            rule=rule,
        )


def advance(progress: Progress | None, message: Message, node: bytes) -> Progress | None:
    """Where a conversation is in its protocol once ``message`` is in it.

    Args:
        progress: where it was; changed in place when the message belongs to what is under way.
        message: the next message of the conversation.
        node: the identity of the node itself.

    Raises:
        ProtocolViolation: the message does not fit; nothing was changed.
    """
    if message.sender == node:
        if progress is not None:
            progress.told(message)
        return progress
    if message.receiver == node:
        # Whatever an agent says to a FAILURE or NOT_UNDERSTOOD is not refused once more.
        return progress
    if progress is not None and not progress.over:
        progress.take(message)
        return progress
    named = None if message.protocol is None else protocol_of(message.protocol)
    if named is None or message.performative in _AFTER:
        return progress
    if (START, Role.INITIATOR, message.performative) in named.moves:
        begun = Progress(named.name, message.sender, {})
        begun.take(message)
        return begun
    begins = f"{named.name} begins with {spoken(named.acts(START, Role.INITIATOR))}"
    if progress is not None and progress.protocol == named.name:
        begins = f"{named.name} has ended in it; {begins}"
    raise ProtocolViolation(
        performative=message.performative.value,
        conversation=format_id(message.conversation_id),
        rule=begins,
    )
