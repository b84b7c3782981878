"""Shared by the tests of remote refs: two processes by hand, over a link that fails by seed."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from actors import Actor, ActorSystem, DeadLetter, Event, MailboxSpec
from actors.remote import RemoteNode, StructCodec
from actors.testkit import Faults, FlakyPair

TOKEN = b"secret"


class Order(msgspec.Struct, frozen=True):
    """A message with a type of its own."""

    item: str
    count: int


class Loose(msgspec.Struct, frozen=True):
    """A type that the codec was not told of."""


class Keeper(Actor):
    """Keeps what it is told; answers what it is asked."""

    def __init__(self, seen: list[Any]) -> None:
        super().__init__()
        self.seen = seen

    def on_receive(self, message: Any) -> Any:
        if message == "boom":
            raise ValueError("on purpose")
        if message == "odd answer":
            return object()
        self.seen.append(message)
        return message


class Slow(Keeper):
    """Handles when the gate is open."""

    def __init__(self, seen: list[Any], gate: asyncio.Event) -> None:
        super().__init__(seen)
        self.gate = gate

    async def on_receive(self, message: Any) -> Any:  # type: ignore[override]  # async, as handlers may be
        await self.gate.wait()
        self.seen.append(message)
        return message


class Side:
    """A process by hand: system and node."""

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self.system = ActorSystem(name)
        options = {"codec": StructCodec([Order]), "grace_s": 0.2, **options}
        self.node = RemoteNode(self.system, name, TOKEN, **options)
        self.letters: list[DeadLetter] = []
        self.events: list[Event] = []
        self.system.dead_letters.subscribe(self.letters.append)
        self.system.events.subscribe(self.events.append)


class World:
    """Two sides joined by a flaky pair."""

    def __init__(
        self, seed: int = 1, faults: Faults | None = None, grace_b: float = 0.2, **options: Any
    ) -> None:
        self.a = Side("a", **options)
        self.b = Side("b", **{**options, "grace_s": grace_b})
        self._old: list[Side] = []
        self._gates: list[asyncio.Event] = []
        self.pair = FlakyPair(
            self.a.node.make_link("b"), self.b.node.make_link("a"), seed=seed, faults=faults
        )
        self.pair.connect()
        self.seen: list[Any] = []
        self.ref = self.b.system.spawn(Keeper, self.seen, mailbox=MailboxSpec(capacity=100_000))
        self.b.node.export("keeper", self.ref)
        self.remote = self.a.node.ref("b", "keeper")

    def gate(self) -> asyncio.Event:
        """A gate for ``Slow`` that is open at the end."""
        self._gates.append(asyncio.Event())
        return self._gates[-1]

    def replace_b(self) -> None:
        """The process of b is a new one, with nothing of the old."""
        self._old.append(self.b)
        self.b = Side("b")
        self.ref = self.b.system.spawn(Keeper, self.seen, mailbox=MailboxSpec(capacity=100_000))
        self.b.node.export("keeper", self.ref)
        self.pair.replace_right(self.b.node.make_link("a"))

    def replace_a(self) -> None:
        """The process of a is a new one, with nothing of the old."""
        self.pair.close()
        self._old.append(self.a)
        self.a = Side("a")
        right = self.b.node.link("a")
        assert right is not None
        self.pair = FlakyPair(self.a.node.make_link("b"), right, seed=1)
        self.pair.connect()
        self.remote = self.a.node.ref("b", "keeper")

    async def close(self) -> None:
        for gate in self._gates:
            gate.set()
        self.pair.close()
        for side in (self.a, self.b, *self._old):
            await side.node.close()
            await side.system.stop(5)
