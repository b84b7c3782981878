"""Shared by the tests of the actor runtime."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from actors import Actor, ActorRef, ActorSystem, DeadLetter, Event, MailboxSpec, RestartPolicy
from actors.cell import Cell
from actors.testkit import ManualClock, SyncDispatcher

QUICK = RestartPolicy(min_backoff_s=1.0, max_backoff_s=8.0, random_factor=0.0, intensity=3)


class Boom(Exception):
    """What the tests' handlers raise."""


async def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Look until ``condition`` holds; fail at the deadline."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {timeout_s:g} s: {condition}")
        await asyncio.sleep(0.001)


class Bench:
    """A system on a synchronous dispatcher, with all it publishes written down."""

    def __init__(self, throughput: int = 1) -> None:
        self.clock = ManualClock()
        self.dispatcher = SyncDispatcher(self.clock, throughput=throughput)
        self.system = ActorSystem("bench", clock=self.clock, dispatcher=self.dispatcher)
        self.letters: list[DeadLetter] = []
        self.events: list[Event] = []
        self.system.dead_letters.subscribe(self.letters.append)
        self.system.events.subscribe(self.events.append)

    def kinds(self) -> list[str]:
        """The kinds of the events so far."""
        return [event.kind for event in self.events]

    def dead(self) -> list[Any]:
        """The messages of the dead letters so far."""
        return [letter.envelope.message for letter in self.letters]

    def spawn(
        self,
        cls: type[Actor],
        *args: Any,
        capacity: int = 1_000,
        restart: RestartPolicy | None = None,
        **kwargs: Any,
    ) -> Any:
        """Start an actor."""
        spec = MailboxSpec(capacity=capacity)
        return self.system.spawn(cls, *args, mailbox=spec, restart=restart, **kwargs)


def cell_of(ref: ActorRef[Any]) -> Cell:
    """The cell of an actor."""
    cell = ref.actor_inbox
    assert isinstance(cell, Cell)
    return cell


class Recorder(Actor):
    """Writes down what it handles; raises on ``"boom"`` and stops this actor on ``"exit"``."""

    def __init__(self, seen: list[Any]) -> None:
        super().__init__()
        self.seen = seen

    def on_receive(self, message: Any) -> Any:
        self.seen.append(message)
        if message == "boom":
            raise Boom("on purpose")
        if message == "exit":
            raise KeyboardInterrupt
        return message
