"""Sharded entities: those of one type over many nodes, behind one address each.

Ties the pieces of a node together: the region that runs entities, the shard that routes and hands
off, and a transport. An entity's messages take the same way wherever it is, and an ask its answer
back, also when the entity moves between the two.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pykka._envelope import Envelope

from actors.ask import Ask
from actors.entities.address import EntityRef
from actors.entities.entities import Entities
from actors.entities.entry import Held
from actors.entities.handoff import (
    Bye,
    Control,
    Data,
    Deliver,
    HandoffOptions,
    HandOver,
    Mark,
    Payloads,
    View,
)
from actors.entities.options import EntityOptions
from actors.entities.residents import Factory
from actors.entities.shard import Shard
from actors.errors import ActorError, EntityUnavailable, RemoteError
from actors.events import DeadLetter
from actors.future import Future, answer, fail
from actors.system import ActorSystem

__all__ = ["Answer", "EntityTransport", "Parcel", "ShardedEntities"]

ASK_S = 60.0
"""What an ask without a deadline has between nodes."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message as it travels: with the address of its answer, if it is an ask."""

    message: Any
    asker: str = ""
    """Node of who asks; empty for a tell."""
    number: int = 0
    left_s: float = 0.0
    """Seconds until the ask's deadline."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of an ask, to the asker's node. With ``reason`` it is an error."""

    number: int
    value: Any = None
    reason: str = ""
    detail: str = ""


class EntityTransport(Protocol):
    """``handoff.Transport``, for answers too; these from any thread. Payloads are ``Parcel``s."""

    def send(self, node: str, message: Control | Data | Answer) -> None:
        """Send; see ``handoff.Transport``."""
        ...


class _Answer(Future[Any]):
    """Takes an answer here and sends it to the node it is for."""

    asker = ""
    number = 0


class ShardedEntities:
    """See the module. Made on the thread of the system's dispatcher.

    ``receive`` has to be given what the transport brings; ``ref`` is for any thread. A sender's
    order holds as long as it sends either always from the dispatcher's thread or never.

    Args:
        system: runs the entities of this node.
        node: the name of this node.
        type_name: of the entities; the same on all nodes.
        factory: makes class and arguments of an entity's actor.
        transport: to the other nodes and the coordinator.
        options: of the entities in memory.
        handoff: limits; the same for all nodes.
        proxy: whether this node only sends, and has no entities.
        incarnation: higher than that of any start of this node before; the time when not given.
    """

    def __init__(
        self,
        system: ActorSystem,
        node: str,
        type_name: str,
        factory: Factory,
        transport: EntityTransport,
        options: EntityOptions | None = None,
        *,
        handoff: HandoffOptions | None = None,
        proxy: bool = False,
        incarnation: int | None = None,
    ) -> None:
        self.system = system
        self.node = node
        self.dispatcher = system.dispatcher
        self._transport = transport
        self._rounds: dict[int, int] = {}
        self._killed: set[int] = set()
        self._asks: dict[int, Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._inbox: deque[Callable[[], None]] = deque()
        self._scheduled = False
        self._closed = False
        self._left: Future[None] | None = None
        now = system.clock.now()
        self.shard = Shard(
            node,
            time.time_ns() if incarnation is None else incarnation,
            self,
            self,
            handoff,
            proxy=proxy,
            now=now,
        )
        self.entities = Entities(
            system,
            type_name,
            factory,
            options,
            slot_of=self.shard.slot_of,
            elsewhere=self._elsewhere,
        )
        self._tick_s = self.shard.options.lease_s / 8
        self._run(self._tick)

    # --- what users call -----------------------------------------------------------------------

    def ref(self, entity_id: str) -> EntityRef:
        """The address of an entity, wherever it is."""
        return EntityRef(self, entity_id)

    def path_of(self, entity_id: str) -> str:
        """Where an entity's actor stands in the tree of its node."""
        return self.entities.path_of(entity_id)

    def round_of(self, entity_id: str) -> int:
        """The round in which this node became the entity's owner: a fence for writes to a store
        that several nodes share. 0: it is not."""
        slot = self.shard.slot_of(entity_id)
        return self._rounds.get(slot, 0)

    def post(self, entity_id: str, envelope: Envelope[Any]) -> None:
        """Have the entity handle the message. Any thread; never raises for a full buffer."""
        if self.dispatcher.owns_thread():
            self.shard.route(entity_id, envelope)
        else:
            self._run(lambda: self.shard.route(entity_id, envelope))

    def passivate(self, entity_id: str) -> None:
        """Have the entity go from memory, if it is on this node."""
        self.entities.passivate(entity_id)

    def receive(self, sender: str, message: View | Data | Answer) -> None:
        """The transport brings a message. Any thread."""
        self._run(lambda: self._receive(sender, message))

    async def leave(self, timeout_s: float) -> bool:
        """Hand everything to the other nodes, then close; False when that took too long.

        Messages that this node's senders send once it has left are dead letters.
        """
        left = self._left = Future[None]()
        self._run(self.shard.leave)
        try:
            async with asyncio.timeout(timeout_s):
                await left
        except TimeoutError:
            await self.close(0.0)
            return False
        await self.close(timeout_s)
        return True

    async def close(self, timeout_s: float) -> bool:
        """Stop the entities of this node and take part no more, without handing them off."""
        done = await self.entities.close(timeout_s)
        self._closed = True
        for future in list(self._asks.values()):
            fail(future, EntityUnavailable(self.entities.path, "entity_closed"))
        return done

    # --- turns ---------------------------------------------------------------------------------

    def _run(self, call: Callable[[], None]) -> None:
        self._inbox.append(call)
        if not self._scheduled:
            self._scheduled = True
            self.dispatcher.schedule(self)

    def turn(self, _throughput: int) -> None:
        """Part of what a dispatcher needs."""
        try:
            for _ in range(len(self._inbox)):
                self._inbox.popleft()()
        finally:
            self._scheduled = False
            if self._inbox:
                self._scheduled = True
                self.dispatcher.schedule(self)

    def _tick(self) -> None:
        if self._closed:
            return
        self.shard.tick(self.system.clock.now())
        self._check_left()
        self.dispatcher.call_later(self._tick_s, lambda: self._run(self._tick))

    def _receive(self, sender: str, message: View | Data | Answer) -> None:
        if isinstance(message, Answer):
            self._answered(message)
        elif not self._closed:
            self.shard.receive(sender, message, self.system.clock.now())
            self._check_left()

    def _check_left(self) -> None:
        if self.shard.status == "left" and self._left is not None:
            self._left.set(None)
            self._left = None

    # --- what the shard sends ------------------------------------------------------------------

    def send(self, node: str, message: Control | Data) -> None:
        """The shard's transport: envelopes become parcels."""
        if isinstance(message, Deliver):
            message = Deliver(
                message.slot, message.round, message.entity_id, self._pack(message.payload)
            )
        elif isinstance(message, HandOver):
            packed = tuple((key, self._pack(payload)) for key, payload in message.messages)
            message = HandOver(message.slot, message.round, packed)
        elif isinstance(message, Mark | Bye) and self._closed:
            return
        self._transport.send(node, message)

    def _pack(self, payload: Envelope[Any] | Parcel) -> Parcel:
        if isinstance(payload, Parcel):
            return payload
        future: Any = payload.reply_to
        if future is None:
            return Parcel(payload.message)
        deadline = payload.deadline if isinstance(payload, Ask) else None
        left_s = ASK_S if deadline is None else deadline - self.system.clock.now()
        if isinstance(future, _Answer):
            # It came from elsewhere and goes on: its answer takes the straight way.
            return Parcel(payload.message, future.asker, future.number, left_s)
        number = next(self._numbers)
        self._asks[number] = future
        if deadline is None:
            self.system.deadlines.add(future, self.entities.path, ASK_S)
        future.when_set(lambda: self._asks.pop(number, None))
        return Parcel(payload.message, self.node, number, left_s)

    def _unpack(self, payload: Envelope[Any] | Parcel) -> Envelope[Any]:
        if not isinstance(payload, Parcel):
            return payload
        if not payload.asker:
            return Envelope(payload.message)
        if payload.asker == self.node:
            # Without a future nobody waits any more, and the entity will not handle it.
            future = self._asks.get(payload.number) or Future()
        else:
            future = _Answer()
            future.asker, future.number = payload.asker, payload.number
            future.when_set(lambda: self._answer(future))
        return Ask(payload.message, future, self.system.clock.now() + payload.left_s)

    def _answer(self, future: Any) -> None:
        try:
            found = Answer(future.number, future.get(timeout=0))
        except ActorError as error:
            found = Answer(future.number, None, getattr(error, "reason", error.code), str(error))
        except Exception as error:  # noqa: BLE001 - whatever the handler raised goes to the asker
            found = Answer(future.number, None, type(error).__name__, str(error))
        self._transport.send(future.asker, found)

    def _answered(self, message: Answer) -> None:
        future = self._asks.pop(message.number, None)
        if future is None:
            self.system.counts.late_replies += 1
        elif message.reason:
            fail(future, RemoteError(self.entities.path, message.reason, message.detail))
        else:
            answer(future, message.value)

    # --- the shard's host ----------------------------------------------------------------------

    def accept(self, slot: int, round_: int) -> None:
        """See ``handoff.Host``."""
        self._rounds[slot] = round_
        self._killed.discard(slot)
        self.entities.accept(slot)

    def deliver(self, entity_id: str, payload: Any) -> None:
        """See ``handoff.Host``."""
        self.entities.post(entity_id, self._unpack(payload))

    def stop(self, slot: int, done: Callable[[Payloads], None]) -> None:
        """See ``handoff.Host``."""

        def ended(held: list[Held]) -> None:
            self._rounds.pop(slot, None)
            done(tuple(held))

        self.entities.release(slot, ended)

    def kill(self, slot: int) -> None:
        """See ``handoff.Host``."""
        self._rounds.pop(slot, None)
        self._killed.add(slot)
        self.entities.kill(slot)

    def refuse(self, entity_id: str, payload: Any, reason: str) -> None:
        """See ``handoff.Host``."""
        envelope = self._unpack(payload)
        path = self.path_of(entity_id)
        if envelope.reply_to is not None:
            fail(envelope.reply_to, EntityUnavailable(path, reason))
        self.system.dead_letters.add(DeadLetter(envelope, path, reason))

    def _elsewhere(self, entity_id: str, envelope: Envelope[Any]) -> None:
        """The region got a message for a slot that is not here any more."""
        if self.shard.slot_of(entity_id) in self._killed:
            self.refuse(entity_id, envelope, "node_lost")
        else:
            self.post(entity_id, envelope)
