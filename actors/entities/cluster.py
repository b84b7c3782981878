"""Entities over processes: hand-off carried by the links of ``RemoteNode``.

Every process that has entities makes an ``EntityNode``; one of them, or one without entities (the
parent of the others, best), makes the ``CoordinatorNode``. Nodes go by the names that their
``RemoteNode`` have among their peers, and each must be linked with each.

The links keep what ``handoff.Transport`` asks for. A process that is replaced gets what its
predecessor did not confirm: the rounds in it are of the past, and it is refused.
"""

from __future__ import annotations

import logging
from typing import Any

from actors.actor import Actor
from actors.entities.coordinator import Coordinator
from actors.entities.handoff import COORDINATOR, Control, Data, HandoffOptions, Report
from actors.entities.options import EntityOptions
from actors.entities.parcels import Refuse, pack, refuse_all, unpack
from actors.entities.residents import Factory
from actors.entities.sharded import Answer, Parcel, ShardedEntities
from actors.errors import NotEncodable
from actors.mailbox.spec import MailboxSpec
from actors.remote.codec import Codec, StructCodec
from actors.remote.node import RemoteNode

__all__ = ["CoordinatorNode", "EntityNode"]

logger = logging.getLogger("actors")

_INLET = MailboxSpec(capacity=10_000_000, throughput=16)
"""The links' windows bound what is in it."""


class _Inlet(Actor):
    """Gives what comes over the links to whom it is for."""

    def __init__(self, owner: EntityNode | CoordinatorNode) -> None:
        super().__init__()
        self._owner = owner

    def on_receive(self, item: Any) -> None:
        try:
            sender, *rest = item
            message = unpack(self._owner.codec, rest)
        except (NotEncodable, TypeError, ValueError) as error:
            logger.warning("%s: a message was dropped: %s", self.path, error)
            return
        self._owner.receive(sender, message)


class _Lines:
    """The lines of one process to the inlets of all, its own among them."""

    def __init__(self, remote: RemoteNode, type_name: str, role: str, owner: Any) -> None:
        self._remote = remote
        self._me = remote.identity.name
        self._type = type_name
        name = f"{role}:{type_name}"
        ref = remote.system.spawn(_Inlet, owner, name=name, mailbox=_INLET)
        remote.export(name, ref)

    def send(self, node: str, role: str, codec: Codec, message: Any, refuse: Refuse) -> None:
        packed = pack(codec, message, refuse)
        if packed is None:
            return
        name = f"{role}:{self._type}"
        item = [self._me, *packed]
        if node != self._me:
            self._remote.tell(node, name, item)
            return
        here = self._remote.exported(name)
        if here is None or not here.is_alive():
            refuse_all(message, refuse, "stopped")
            return
        here.tell(item)


class EntityNode:
    """The entities of one type, as one process of several sees them.

    Args:
        remote: of this process; linked with that of every other node and of the coordinator.
        type_name: of the entities; the same in all processes.
        factory: makes class and arguments of an entity's actor.
        coordinator: name of the process that has the ``CoordinatorNode``.
        options: of the entities in memory.
        handoff: limits; the same in all processes.
        proxy: whether this process only sends, and has no entities.
        codec: how messages travel; that of ``remote``.
    """

    def __init__(
        self,
        remote: RemoteNode,
        type_name: str,
        factory: Factory,
        *,
        coordinator: str,
        options: EntityOptions | None = None,
        handoff: HandoffOptions | None = None,
        proxy: bool = False,
        codec: Codec | None = None,
    ) -> None:
        self.codec: Codec = codec or StructCodec()
        self._coordinator = coordinator
        self._lines = _Lines(remote, type_name, "entities", self)
        self.sharded = ShardedEntities(
            remote.system,
            remote.identity.name,
            type_name,
            factory,
            self,
            options,
            handoff=handoff,
            proxy=proxy,
        )
        self.ref = self.sharded.ref
        self.leave = self.sharded.leave
        self.close = self.sharded.close

    def send(self, node: str, message: Control | Data | Answer) -> None:
        """The transport of ``ShardedEntities``."""
        if node == COORDINATOR:
            self._lines.send(self._coordinator, "coordinator", self.codec, message, self._refuse)
        else:
            self._lines.send(node, "entities", self.codec, message, self._refuse)

    def receive(self, sender: str, message: Any) -> None:
        """A message came."""
        self.sharded.receive(sender, message)

    def _refuse(self, entity_id: str, parcel: Parcel, reason: str) -> None:
        self.sharded.refuse(entity_id, parcel, reason)


class CoordinatorNode:
    """The coordinator of one type of entities. See ``Coordinator`` for ``term``.

    Args:
        remote: of this process; linked with that of every node.
        type_name: of the entities.
        handoff: limits; the same in all processes.
        term: higher than that of any coordinator before.
    """

    def __init__(
        self,
        remote: RemoteNode,
        type_name: str,
        *,
        handoff: HandoffOptions | None = None,
        term: int = 1,
    ) -> None:
        self.codec: Codec = StructCodec()
        self._system = remote.system
        self._lines = _Lines(remote, type_name, "coordinator", self)
        self._closed = False
        self.coordinator = Coordinator(self, handoff, now=self._system.clock.now(), term=term)
        self._tick()

    def node_down(self, node: str) -> None:
        """A node's process has been reaped; one that may still run is left to its lease."""
        self.coordinator.node_down(node, self._system.clock.now())

    def send(self, node: str, message: Control | Data) -> None:
        """The transport of ``Coordinator``."""
        self._lines.send(node, "entities", self.codec, message, self._refuse)

    def receive(self, _sender: str, message: Any) -> None:
        """A message came."""
        if isinstance(message, Report) and not self._closed:
            self.coordinator.receive(message, self._system.clock.now())

    def close(self) -> None:
        """Decide nothing any more: the nodes keep what they own as long as their leases."""
        self._closed = True

    def _tick(self) -> None:
        if not self._closed:
            self.coordinator.tick(self._system.clock.now())
            self._system.dispatcher.call_later(self.coordinator.options.lease_s / 8, self._tick)

    def _refuse(self, entity_id: str, _parcel: Parcel, reason: str) -> None:
        raise RuntimeError(f"a coordinator sends no message for {entity_id}: {reason}")
